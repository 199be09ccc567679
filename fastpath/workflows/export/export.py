"""Write a trained run for others to use, and prove that what is written computes the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from fastpath.analysis import metrics
from fastpath.analysis.calibration import IDENTITY, Calibrator
from fastpath.errors import UsageError
from fastpath.model.deploy import Deployed
from fastpath.model.export_formats import READERS, WRITERS
from fastpath.model.freeze import LogitNetwork
from fastpath.runs import calibration_file as calibrations
from fastpath.runs import output_place
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.system.file_sets import FileSet
from fastpath.types import Tta
from fastpath.workflows.export import model_card, model_card_page, model_facts, timm_folder
from fastpath.workflows.export.proof import CHECKED, Advance, Reference, compare_with_reference

ExportKind = Literal["onnx", "pt2", "ts", "safetensors", "timm"]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written.

    Attributes:
        kind: `onnx`, `pt2` (torch.export), `ts` (TorchScript), `safetensors` (weights) or `timm` (a folder).
        input: Name, type and shape of the input.
        outputs: Names and what they hold.
        tta: Whether the eight views are averaged within.
        calibration: The calibration within; `none` where probabilities are raw.
        notice: Why the run's calibration is not within, where it was asked for, and what the card leaves out.
        num_checked: Patches on which file and run were compared.
        max_difference: Largest difference in logits; None where nothing was compared.
        size_bytes: Of the file; of the weights in a folder.
        card: The model card, beside it as .md and .json; in a folder README.md.
        output: The file or folder.
    """

    kind: ExportKind
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
class Written:
    """What is to be written, beside its card.

    Attributes:
        content: The file; in a folder the weights.
        trunk: The network within.
        config: Of a folder, what timm makes the network of; None for a file.
    """

    content: bytes
    trunk: nn.Module
    config: dict[str, Any] | None = None


def export_run(
    run_dir: Path,
    output: Path,
    runtime: Runtime,
    *,
    kind: ExportKind | None = None,
    tta: Tta = "none",
    calibrated: bool = True,
    store_path: Path | None = None,
    split_file: Path | None = None,
    check: int = CHECKED,
    checkpoint: CheckpointName = "best",
    advance: Advance | None = None,
) -> ExportResult:
    """Write the file and its card as a set, or the folder, once what was written has been compared.

    Args:
        run_dir: A run directory.
        output: A file ending in .onnx, .pt2, .ts or .safetensors; a folder for `timm`.
        runtime: Where the comparison's reference is computed.
        kind: What to write; None goes by the file's ending.
        tta: `d4` averages the logits of the eight views within.
        calibrated: Include the run's calibration where it has one; weights alone come with it in words and numbers.
        store_path: Patches to compare on; None takes the run's own store.
        split_file: Where the split of the run's own store lies; None is where the run had it.
        check: Patches to compare; 0 compares none and needs no store.
        checkpoint: The best epoch's weights or the last's.
        advance: Called with patches compared and in all.

    Raises:
        UsageError: The ending is unknown, what it needs is not installed, the run's stains are normalised, or weights
            alone are asked for with views or of a network that timm does not know.
        IntegrityError: File and run differ by more than `TOLERANCE`; nothing is left behind.
    """
    kind = _kind(output, kind)
    _check_place(output, kind, (run_dir, store_path))
    trained = open_run(run_dir, checkpoint)
    trained = replace(trained, split_file=split_file or trained.split_file)
    _check_stain(trained)
    whole = kind not in ("safetensors", "timm")
    _check_weights_alone(trained, kind, tta)
    store = trained.open_store(store_path) if check else None
    if store is not None:
        trained.check_patches(store)
    kept = calibrations.load(trained.path, tta, "logits") if calibrated else calibrations.Kept()
    calibrator = kept.calibrator if whole else IDENTITY
    reference = None if store is None else Reference(trained, store, tta, calibrator, runtime, check)
    facts = model_facts.describe(trained, kept.calibrator, tta, within=whole)
    written, num, difference = _proven(trained, deployed(trained, tta, calibrator), kind, facts, reference, advance)
    evaluations, untold = model_card.evaluations(run_dir, trained.checkpoint.epoch)
    result = ExportResult(
        kind=kind,
        **_ends(trained, facts, whole=whole),
        tta=tta,
        calibration=calibrator.method,
        notice="; ".join(text for text in (*kept.notices, untold) if text),
        num_checked=num,
        max_difference=difference,
        size_bytes=len(written.content),
        card=str(output / timm_folder.README if kind == "timm" else _card(output)),
        output=str(output),
    )
    names = ("kind", "input", "outputs", "tta", "calibration", "num_checked", "max_difference", "size_bytes")
    artefact = {"file": output.name} | {name: getattr(result, name) for name in names}
    _write(output, written, model_card.describe(trained, artefact, evaluations, kept.fitted_on))
    return result


def _check_place(output: Path, kind: ExportKind, inputs: tuple[Path | None, ...]) -> None:
    if kind == "timm":
        timm_folder.check_place(output, inputs)
        return
    for name in (output, *model_card.files(_card(output))):
        output_place.check_file(name, inputs)


def _card(output: Path) -> Path:
    return output.with_name(f"{output.name}.card")


def _check_weights_alone(trained: TrainedRun, kind: ExportKind, tta: Tta) -> None:
    """Refuse what weights alone cannot hold.

    Raises:
        UsageError: Views are asked for, or a folder for timm of a network that it does not know.
    """
    if kind == "timm":
        timm_folder.check_network(trained)
    if kind in ("timm", "safetensors") and tta != "none":
        problem = f"found {tta}, wanted none: '{kind}' holds weights, and no views of patches"
        raise UsageError("--tta", problem, "average the views where you score, or export to .onnx, .pt2 or .ts")


def _ends(trained: TrainedRun, facts: Mapping[str, Any], *, whole: bool) -> dict[str, str]:
    """Return in words what goes in and comes out."""
    if whole:
        side = trained.checkpoint.patch_size_px
        patches = f"patches: uint8 [N, {side}, {side}, 3], red green blue, any N"
        return {"input": patches, "outputs": "logit: float32 [N]; probability: float32 [N]"}
    side = trained.config.data.image_size_px
    images = f"images: float32 [N, 3, {side}, {side}], {facts['normalisation']}"
    return {"input": images, "outputs": f"logit: float32 [N, 1]; calibration: {facts['calibration_note']}"}


def _write(output: Path, written: Written, card: Mapping[str, Any]) -> None:
    """Put the file and its card, or the folder, in place as a set."""
    page, facts = model_card_page.markdown(card), (json.dumps(card, indent=2) + "\n").encode()
    if written.config is not None:
        content = {
            timm_folder.WEIGHTS: written.content,
            timm_folder.README: timm_folder.readme(page, written.config, written.trunk).encode(),
            timm_folder.CARD: facts,
            timm_folder.CONFIG: (json.dumps(written.config, indent=2) + "\n").encode(),
        }
        output_place.write_set(output, timm_folder.CONFIG, content, logged=False)
        return
    facts_path, page_path = model_card.files(_card(output))
    with FileSet(output.parent, facts_path.name) as files:
        files.write(output.name, written.content)
        files.write(page_path.name, page.encode())
        files.write(facts_path.name, facts)


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


def deployed(trained: TrainedRun, tta: Tta, calibrator: Calibrator, network: LogitNetwork | None = None) -> Deployed:
    """Return a run's network, or another in its place, with all that surrounds it, in evaluation mode on the CPU."""
    config, checkpoint = trained.config, trained.checkpoint
    knots = calibrator.knots_K
    heights = metrics.probabilities(np.array(calibrator.heights_K)) if knots else np.empty(0)
    module = Deployed(
        network or trained.network(),
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
    trained: TrainedRun,
    module: Deployed,
    kind: ExportKind,
    facts: Mapping[str, Any],
    reference: Reference | None,
    advance: Advance | None,
) -> tuple[Written, int, float | None]:
    """Return what is to be written, and `compare_with_reference`'s findings of it."""
    num, difference = 0, None
    trunk: nn.Module = module.network.trunk  # type: ignore[assignment]
    stored: Literal["onnx", "pt2", "ts", "safetensors"] = "safetensors" if kind == "timm" else kind
    config = timm_folder.config(trained, trunk, facts) if kind == "timm" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about their own workings
        written = Written(WRITERS[stored](module, _example(trained), model_facts.as_text(facts)), trunk, config)
        if config is not None:  # what is compared is what timm makes of the folder
            module = deployed(trained, "none", IDENTITY, LogitNetwork(timm_folder.network(config)))
        if reference is not None:
            num, difference = compare_with_reference(READERS[stored](written.content, module), reference, advance)
    return written, num, difference


def _kind(output: Path, kind: ExportKind | None) -> ExportKind:
    ending = output.suffix.removeprefix(".")
    if kind is None and ending not in WRITERS:
        problem = f"found '{output.name}', wanted a file ending in {', '.join(f'.{name}' for name in WRITERS)}"
        raise UsageError("--output", problem, "give for example -o model.onnx, or --format timm for a folder")
    kind = kind or ending  # type: ignore[assignment]
    if ending in WRITERS and ending != kind:
        problem = f"found '{output.name}' and --format {kind}, which disagree"
        raise UsageError("--output", problem, "drop --format, or give another name")
    if kind == "onnx":
        missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
        if missing:
            raise UsageError(output, f"{missing[0]} is not installed", "pip install 'fastpath[export]'")
    return kind  # type: ignore[return-value]


def _example(trained: TrainedRun) -> torch.Tensor:
    side = trained.checkpoint.patch_size_px
    return torch.zeros((2, side, side, 3), dtype=torch.uint8)  # two: a batch of one would be taken for a constant
