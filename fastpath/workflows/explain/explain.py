"""Show where a trained run finds its calls, and measure how much of that lies where the label is decided."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics, verdicts
from fastpath.analysis.intervals import Interval
from fastpath.analysis.pixels.eda import CLASS_WORDS
from fastpath.analysis.verdicts import Sampled, Verdict
from fastpath.errors import DataError, FastpathError, UsageError
from fastpath.figures import attribution_overlay, patch_figures, png
from fastpath.figures.explain_sheet import sheet
from fastpath.model import attribution
from fastpath.model.attribution import METHODS, Method
from fastpath.runs import output_place
from fastpath.runs.inference import all_logits
from fastpath.runs.row_lookup import history_of
from fastpath.runs.trained import CheckpointName, open_run
from fastpath.runtime import Runtime
from fastpath.store.patch_ids import rows_by_id
from fastpath.store.reader import Store
from fastpath.store.split_table import read_split
from fastpath.system import files, json_values
from fastpath.text import from_cell, to_csv
from fastpath.types import CENTRE, Split
from fastpath.workflows.explain.attribution_maps import CentreMass, Maps, explain_rows, summary, untrained_masses
from fastpath.workflows.explain.occlusion import OcclusionTest, measure_occlusion

TABLE, SHEET, FACTS, PICTURES = "attributions.csv", "explain.png", "explain.json", "patches"
SAMPLE = 64
"""Patches explained where none are named."""
SHEET_ROWS = 12
ZOOM = 4
TABLE_BYTES_MAX = 1 << 28


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """Which patches to explain: those named, or the most confident errors, or else a random sample."""

    ids: tuple[str, ...] = ()
    errors: int = 0
    sample: int = SAMPLE


@dataclass(frozen=True, slots=True)
class ExplainResult:
    """What was explained and how much of it lies in the centre.

    Attributes:
        num_patches: Patches explained.
        chosen: How they were chosen.
        centre_area: The share that an even map would have in the centre.
        centre_mass: By method.
        centre_mass_untrained: The same of networks with random weights: what a method gives where nothing was learned.
        audit: AUC with parts of all patches of the split hidden; None where it was not asked for.
        verdicts: What the occlusion test comes to, in words.
        notices: What the reader of these numbers should know: what the run has done with the patches.
        split: The part of the store that errors, sample and occlusion test are of.
        checkpoint: `best` or `last`.
        output: Where everything lies.
    """

    num_patches: int
    chosen: str
    centre_area: float
    centre_mass: dict[str, CentreMass]
    centre_mass_untrained: dict[str, CentreMass]
    audit: OcclusionTest | None
    verdicts: list[Verdict]
    notices: list[str]
    split: Split
    checkpoint: CheckpointName
    output: str


def explain_run(
    run_dir: Path,
    output: Path,
    runtime: Runtime,
    *,
    options: ExplainOptions | None = None,
    store_path: Path | None = None,
    split_file: Path | None = None,
    split: Split = Split.VAL,
    methods: Sequence[Method] = METHODS,
    with_audit: bool = True,
    checkpoint: CheckpointName = "best",
    advance: Callable[[int, int], None] | None = None,
) -> ExplainResult:
    """Write explain.json, attributions.csv, explain.png and one picture a patch.

    Args:
        run_dir: A run directory.
        output: Where to write.
        runtime: Device and precision.
        options: Which patches; None is a sample.
        store_path: The packed store; None takes the run's own.
        split_file: Where its split lies; None is where the run had it.
        split: The part of the store that errors, sample and occlusion test are of.
        methods: Ways to attribute.
        with_audit: Score the split with parts hidden.
        checkpoint: The best epoch's weights or the last's.
        advance: Called with patches done and in all, over every pass.

    Raises:
        UsageError: An id is not in the store, or a method does not suit the network.
        DataError: The split cannot be measured, or holds no errors.
    """
    output_place.check_directory(output, FACTS, (run_dir, store_path))
    if (output / PICTURES).exists() and not (output / TABLE).exists():
        problem = f"holds '{PICTURES}' that no 'fastpath explain' wrote"
        raise UsageError(output, problem, "choose another -o")
    options, trained = options or ExplainOptions(), open_run(run_dir, checkpoint)
    store = trained.open_store(store_path, split_file)
    trained.check_patches(store)
    model = runtime.prepare(trained.network())
    wants_split = with_audit or not options.ids
    rows_M = _labelled_rows(store, split) if wants_split else np.empty(0, np.int64)
    passes = 1 + 2 * with_audit if wants_split else 0
    report = _reporter(advance, passes * len(rows_M))
    logits_M = np.empty(0, np.float32)
    if wants_split:
        logits_M = all_logits(trained, model, store, rows_M, runtime, report(0))
    occlusions = None
    if with_audit:
        groups_M = None if store.groups_N is None else store.groups_N[rows_M]
        occlusions = measure_occlusion(
            trained, model, store, rows_M, logits_M, runtime, report(len(rows_M)), groups_N=groups_M
        )
    rows_N, chosen = _choose(options, store, rows_M, logits_M, trained.config.seed)
    maps, logits_N = explain_rows(trained, model, store, rows_N, methods, runtime)
    masses = {method: attribution.centre_mass(maps[method]) for method in methods}
    result = ExplainResult(
        num_patches=len(rows_N),
        chosen=chosen,
        centre_area=CENTRE.area,
        centre_mass={method: summary(mass_N) for method, mass_N in masses.items()},
        centre_mass_untrained=untrained_masses(trained, store, rows_N, methods, runtime),
        audit=occlusions,
        verdicts=[] if occlusions is None else [_where_it_looks(occlusions)],
        notices=history_of(trained, store, rows_M if wants_split else rows_N).notices(),
        split=split,
        checkpoint=checkpoint,
        output=str(output),
    )
    _write(output, result, store, rows_N, logits_N, maps, masses)
    return result


def _where_it_looks(result: OcclusionTest) -> Verdict:
    return verdicts.where_it_looks(
        Interval(result.centre_over_ring, result.centre_over_ring_low, result.centre_over_ring_high),
        Interval(result.auc_centre_masked, result.chance_low, result.chance_high),
        Sampled(result.num_slides),
    )


def _labelled_rows(store: Store, split: Split) -> NDArray[np.int64]:
    rows_M: NDArray[np.int64] = read_split(store).rows(split)
    labels_M = store.labels_N[rows_M]
    num_positive, num_negative = int((labels_M == 1).sum()), int((labels_M == 0).sum())
    if not num_positive or not num_negative:
        problem = f"found {num_positive} tumour and {num_negative} normal patches in the {split} split"
        raise DataError(store, f"{problem}, wanted both", "choose another --split, or name patches with --ids")
    return rows_M[labels_M >= 0]


def _choose(
    options: ExplainOptions, store: Store, rows_M: NDArray[np.int64], logits_M: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.int64], str]:
    """Return the rows to explain and how they were chosen."""
    if options.ids:
        return rows_by_id(store.ids_N, options.ids, "the store's index.parquet"), "ids"
    if options.errors:
        return rows_M[_worst_errors(store.labels_N[rows_M], logits_M, options.errors)], "errors"
    rng = np.random.default_rng(seed)
    return np.sort(rng.permutation(rows_M)[: options.sample]), "sample"


def _worst_errors(labels_M: NDArray[np.int8], logits_M: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return positions of the most confident errors, false positives and false negatives in turn."""
    order_M = np.argsort(-np.abs(logits_M), kind="stable")
    wrong_M = order_M[(logits_M >= 0)[order_M] != (labels_M == 1)[order_M]]
    if not len(wrong_M):
        raise DataError("--errors", f"found none among {len(labels_M)} patches", "drop it, or choose another --split")
    rank_M = np.empty(len(wrong_M), np.int64)
    for label in (0, 1):
        mine = labels_M[wrong_M] == label
        rank_M[mine] = np.arange(mine.sum())
    in_turn: NDArray[np.int64] = wrong_M[np.argsort(rank_M, kind="stable")][:count]
    return in_turn


def _reporter(advance: Callable[[int, int], None] | None, total: int) -> Callable[[int], Callable[[int], None] | None]:
    """Return a function from where a pass starts to what reports its patches."""
    return lambda start: None if advance is None else (lambda done: advance(start + done, total))


def _write(
    output: Path,
    result: ExplainResult,
    store: Store,
    rows_N: NDArray[np.int64],
    logits_N: NDArray[np.float64],
    maps: Maps,
    masses: dict[Method, NDArray[np.float64]],
) -> None:
    """Write the table, the pictures and the facts as a set; pictures that an older table names go with it."""
    ids, labels_N, probability_N = store.ids_N[rows_N], store.labels_N[rows_N], metrics.probabilities(logits_N)
    patches_NHWC = store.gather(rows_N)
    nothing = 0 * next(iter(maps.values()))
    pictures = [attribution_overlay.overlay(patches_NHWC, maps_NHW, ZOOM) for maps_NHW in (nothing, *maps.values())]
    for image_HWC in (image_HWC for images_NHWC in pictures for image_HWC in images_NHWC):
        patch_figures.frame_centre(image_HWC, ZOOM)
    strips = np.concatenate(pictures, axis=2)
    table = []
    for row, name in enumerate(ids):
        numbers = (logits_N[row], probability_N[row], *(mass_N[row] for mass_N in masses.values()))
        table.append((name, labels_N[row] if labels_N[row] >= 0 else "", *(f"{value:.9g}" for value in numbers)))
    header = ("id", "label", "logit", "probability", *(f"centre_{method}" for method in masses))
    content = {TABLE: to_csv(header, table)}  # first: it tells whose the pictures are
    content |= {name: png.of_image(strip) for name, strip in zip(_pictures(ids.tolist()), strips, strict=True)}
    captions = [
        f"{png.literal(name, 12)}\nlabel {CLASS_WORDS[int(label)]}\nprobability {probability:.3f}"
        for name, label, probability in zip(ids, labels_N, probability_N, strict=True)
    ]
    columns = {str(method): mass_N for method, mass_N in masses.items()}
    title = "\n".join(verdict.text for verdict in result.verdicts)
    content[SHEET] = sheet(strips[:SHEET_ROWS], captions[:SHEET_ROWS], ["patch", *maps], columns, title)
    values = {key: value for key, value in asdict(result).items() if key != "output"}
    content[FACTS] = (json_values.dumps(values) + "\n").encode()
    output_place.write_set(output, FACTS, content, stale=_older(output / TABLE))


def _pictures(ids: Sequence[object]) -> list[str]:
    """Return the path of each patch's picture: its id as far as a file can be called so, and never the same twice."""
    pictures: dict[str, None] = {}
    for row, name in enumerate(ids):
        stem = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in str(name))[:60]
        while f"{PICTURES}/{stem}.png" in pictures:
            stem = f"{stem}-{row}"
        pictures[f"{PICTURES}/{stem}.png"] = None
    return list(pictures)


def _older(table: Path) -> list[str]:
    """Return the pictures that an older table names; none where it cannot be read.

    The table, not explain.json: what is put in place after the pictures have gone tells of all that are left by a kill.
    """
    try:
        text = files.read_regular(table, bytes_max=TABLE_BYTES_MAX, follow=False).decode()
        return _pictures([from_cell(row["id"]) for row in csv.DictReader(io.StringIO(text, newline=""))])
    except (FastpathError, ValueError, KeyError, csv.Error):
        return []
