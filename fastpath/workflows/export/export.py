"""Write a trained run as one file that takes patches as they are, and prove that it computes the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.analysis.calibration import Calibrator
from fastpath.engine.tta import predict_views
from fastpath.errors import FastpathError, IntegrityError, UsageError
from fastpath.ingest.split import read_split
from fastpath.model.deploy import Deployed
from fastpath.model.export_formats import READERS, WRITERS, Compute
from fastpath.runs import calibration_file as calibrations
from fastpath.runs import output_place
from fastpath.runs.inference import batches
from fastpath.runs.score_views import Tta
from fastpath.runs.trained import TrainedRun, Which, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store
from fastpath.system.file_sets import FileSet
from fastpath.types import Split
from fastpath.workflows.export import model_card, model_card_page

Kind = Literal["onnx", "pt2", "ts"]
Advance = Callable[[int, int], None]

TOLERANCE = 1e-3
"""Largest difference in logits between the file and the run that is accepted."""

CHECKED = 1000
"""Patches compared, where the split has that many."""

_BATCHES = (1, 33, 64)  # sizes tried: the first dimension must be free


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes:
        kind: `onnx`, `pt2` (torch.export) or `ts` (TorchScript).
        input: Name, type and shape of the input.
        outputs: Names and what they hold.
        tta: Whether the eight views are averaged within.
        calibration: The calibration within; `none` where probabilities are raw.
        notice: Why the run's calibration is not within, where it was asked for, and what the card leaves out.
        num_checked: Patches on which file and run were compared.
        max_difference: Largest difference in logits; None where nothing was compared.
        size_bytes: Of the file.
        card: The model card, beside it as .md and .json.
        output: The file.
    """

    kind: Kind
    input: str
    outputs: str
    tta: Tta
    calibration: str
    notice: str
    num_checked: int
    max_difference: float | None
    size_bytes: int
    card: str
    output: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The run as every other command computes it: through the DALI graph, a view at a time.

    Attributes:
        trained: The run.
        store: Patches to compare on.
        tta: Whether the eight views are averaged.
        calibrator: Applied to the mean logit.
        runtime: Device and precision.
        check: Patches to compare.
    """

    trained: TrainedRun
    store: Store
    tta: Tta
    calibrator: Calibrator
    runtime: Runtime
    check: int

    def logits(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return rows of the store and their calibrated logits."""
        rows_N = _rows(self.store, self.check)
        seen = batches(self.trained, self.store, rows_N, self.runtime)
        model, num_views = self.runtime.prepare(self.trained.network()), 8 if self.tta == "d4" else 1
        views = predict_views(model, seen, self.runtime, len(rows_N), num_views=num_views)
        return rows_N, self.calibrator.apply(views.logits_NV.astype(np.float64).mean(axis=1))


def export_run(
    run_dir: Path,
    output: Path,
    runtime: Runtime,
    *,
    tta: Tta = "none",
    calibrated: bool = True,
    store_path: Path | None = None,
    split_file: Path | None = None,
    check: int = CHECKED,
    which: Which = "best",
    advance: Advance | None = None,
) -> ExportResult:
    """Write the file and its card as a set, once the file has been compared.

    Args:
        run_dir: A run directory.
        output: A file ending in .onnx, .pt2 or .ts.
        runtime: Where the comparison's reference is computed.
        tta: `d4` averages the logits of the eight views within.
        calibrated: Include the run's calibration where it has one.
        store_path: Patches to compare on; None takes the run's own store.
        split_file: Where the split of the run's own store lies; None is where the run had it.
        check: Patches to compare; 0 compares none and needs no store.
        which: The best epoch's weights or the last's.
        advance: Called with patches compared and in all.

    Raises:
        UsageError: The ending is unknown, what it needs is not installed, or the run's stains are normalised.
        IntegrityError: File and run differ by more than `TOLERANCE`; nothing is left behind.
    """
    kind, card = _kind(output), output.with_name(f"{output.name}.card")
    for name in (output, *model_card.files(card)):
        output_place.check_file(name, (run_dir, store_path))
    trained = open_run(run_dir, which)
    trained = replace(trained, split_file=split_file or trained.split_file)
    _check_stain(trained)
    store = trained.open_store(store_path) if check else None
    kept = calibrations.load(trained.path, tta, "logits") if calibrated else calibrations.Kept()
    calibrator = kept.calibrator
    reference = None if store is None else Reference(trained, store, tta, calibrator, runtime, check)
    content, num, difference = _proven(deployed(trained, tta, calibrator), kind, _example(trained), reference, advance)
    side = trained.checkpoint.patch_size_px
    evaluations, untold = model_card.evaluations(run_dir, trained.checkpoint.epoch)
    result = ExportResult(
        kind=kind,
        input=f"patches: uint8 [N, {side}, {side}, 3], red green blue, any N",
        outputs="logit: float32 [N]; probability: float32 [N]",
        tta=tta,
        calibration=calibrator.method,
        notice="; ".join(text for text in (*kept.notices, untold) if text),
        num_checked=num,
        max_difference=difference,
        size_bytes=len(content),
        card=str(card),
        output=str(output),
    )
    names = ("kind", "input", "outputs", "tta", "calibration", "num_checked", "max_difference", "size_bytes")
    artefact = {"file": output.name} | {name: getattr(result, name) for name in names}
    described = model_card.describe(trained, artefact, evaluations, kept.fitted_on)
    facts, page = model_card.files(card)
    with FileSet(output.parent, facts.name) as written:
        written.write(output.name, content)
        written.write(page.name, model_card_page.markdown(described).encode())
        written.write(facts.name, (json.dumps(described, indent=2) + "\n").encode())
    return result


def _check_stain(trained: TrainedRun) -> None:
    """Refuse a run whose patches were normalised in stain: the file would be given patches as they are.

    Raises:
        UsageError: Naming the normalisation.
    """
    stain = trained.checkpoint.stain
    if stain != "none":
        problem = f"was trained on patches of stain normalisation '{stain}', which no exported file computes"
        remedy = "score with 'fastpath predict' or 'fastpath slide', or train on patches packed without --stain"
        raise UsageError(trained.path, problem, remedy)


def deployed(trained: TrainedRun, tta: Tta, calibrator: Calibrator) -> Deployed:
    """Return a run's network with all that surrounds it, in evaluation mode on the CPU."""
    config, checkpoint = trained.config, trained.checkpoint
    knots = calibrator.knots_K
    heights = metrics.probabilities(np.array(calibrator.heights_K)) if knots else np.empty(0)
    module = Deployed(
        trained.network(),
        trained.stats,
        checkpoint.patch_size_px,
        config.data.image_size_px,
        d4=tta == "d4",
        line_2=(calibrator.slope, calibrator.intercept),
        knots_K=knots,
        heights_K=heights.tolist(),
    )
    return module.eval().requires_grad_(False)


def _proven(
    module: Deployed,
    kind: Kind,
    example: torch.Tensor,
    reference: Reference | None,
    advance: Advance | None,
) -> tuple[bytes, int, float | None]:
    """Return what the file is to hold, and `compare`'s findings of it."""
    num, difference = 0, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about their own workings
        content = WRITERS[kind](module, example)
        if reference is not None:
            num, difference = compare(READERS[kind](content), reference, advance)
    return content, num, difference


def compare(compute: Compute, reference: Reference, advance: Advance | None) -> tuple[int, float]:
    """Return how many patches were compared and the largest difference in calibrated logits.

    Raises:
        IntegrityError: The difference is larger than `TOLERANCE`.
    """
    rows_N, wanted_N = reference.logits()
    worst, done, turn, total = 0.0, 0, 0, len(rows_N)
    while done < total:
        rows = slice(done, done + _BATCHES[min(turn, len(_BATCHES) - 1)])
        found_N = compute(reference.store.gather(rows_N[rows]))
        worst = max(worst, float(np.abs(found_N - wanted_N[rows]).max()))
        done, turn = min(rows.stop, total), turn + 1
        if advance is not None:
            advance(done, total)
    if not worst <= TOLERANCE:
        problem = f"found logits that differ by up to {worst:.3g} from the run's, wanted at most {TOLERANCE:g}"
        raise IntegrityError("export", problem, "export to another format, and report this with the model's name")
    return total, worst


def _rows(store: Store, check: int) -> NDArray[np.int64]:
    """Return rows to compare on: validation patches first, then others."""
    try:
        val_rows = read_split(store).rows(Split.VAL)
    except FastpathError:
        val_rows = np.empty(0, np.int64)
    others = np.setdiff1d(np.arange(len(store)), val_rows)
    return np.concatenate([val_rows, others])[:check]


def _kind(output: Path) -> Kind:
    kind = output.suffix.removeprefix(".")
    if kind not in WRITERS:
        problem = f"found '{output.name}', wanted a file ending in {', '.join(f'.{name}' for name in WRITERS)}"
        raise UsageError("--output", problem, "give for example -o model.onnx")
    if kind == "onnx":
        missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
        if missing:
            raise UsageError(output, f"{missing[0]} is not installed", "pip install 'fastpath[export]'")
    return kind  # type: ignore[return-value]


def _example(trained: TrainedRun) -> torch.Tensor:
    side = trained.checkpoint.patch_size_px
    return torch.zeros((2, side, side, 3), dtype=torch.uint8)  # two: a batch of one would be taken for a constant
