"""Put trained runs side by side on the same validation patches, and say which differences are more than chance."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastpath.analysis import delong, paired
from fastpath.analysis.blocks import SIGNIFICANT
from fastpath.engine import journal
from fastpath.errors import CheckpointError, DataError, UsageError
from fastpath.ingest.split import read_split
from fastpath.runtime import Runtime
from fastpath.shards.reader import Store
from fastpath.types import Split
from fastpath.workflows import compare_figure, json_values, output_place
from fastpath.workflows import run_directory as directory
from fastpath.workflows.score_views import score
from fastpath.workflows.trained import TrainedRun, Which, open_run

MIN_GROUPS = 5
"""With fewer slides than this, drawing them says nothing, and patches are drawn instead."""

RESULT, PICTURE, PREDICTIONS = "comparison.json", "comparison.png", "predictions.parquet"


@dataclass(frozen=True, slots=True)
class Entry:
    """One run.

    Attributes:
        name: The shortest end of its path that sets it apart.
        model: The network.
        epoch: Epochs its weights were trained for.
        auc: On the validation patches.
        standard_error: DeLong's, of patches as independent.
    """

    name: str
    model: str
    epoch: int
    auc: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs, the one with the higher AUC first.

    Attributes:
        first: Name.
        second: Name.
        difference: Of their AUCs, not negative.
        delong_p: DeLong's paired test, patches as independent.
        low: Lower end of the 95 % interval of the difference, by the paired bootstrap.
        high: Its upper end.
        bootstrap_p: By the paired bootstrap, whole slides drawn where they are known.
        p_corrected: The p-value that decides, corrected for all pairs (Holm): the bootstrap's where slides were
            drawn, else DeLong's.
        verdict: `better` where that is below 0.05.
    """

    first: str
    second: str
    difference: float
    delong_p: float
    low: float
    high: float
    bootstrap_p: float
    p_corrected: float
    verdict: Literal["better", "not distinguishable"]


@dataclass(frozen=True, slots=True)
class CompareResult:
    """Runs compared.

    Attributes:
        runs: The best first.
        pairs: All of them, the largest difference first.
        num_patches: Validation patches.
        num_groups: Slides that were drawn whole; 0 where patches were drawn.
        decided_by: The test that the verdicts rest on.
        store: The name of the store, or of the first table.
        split_kind: How the store was divided.
        output: Where comparison.json, comparison.png and predictions.parquet lie.
    """

    runs: list[Entry]
    pairs: list[Pair]
    num_patches: int
    num_groups: int
    decided_by: Literal["paired bootstrap of slides", "DeLong"]
    store: str
    split_kind: str
    output: str


def run(
    runs: Sequence[Path],
    runtime: Runtime,
    *,
    store_path: Path | None = None,
    output: Path | None = None,
    which: Which = "best",
    advance: Callable[[int, int], None] | None = None,
) -> CompareResult:
    """Score every run on the whole validation split and compare all pairs.

    Runs may have trained on a draw of the training split, or validated on a draw of the other (`data.limit`,
    `data.val_limit`): none has trained on a validation patch, so all are scored on all of these.

    Args:
        runs: Directories of runs, or checkpoints' files; two at least.
        runtime: Device and precision.
        store_path: Where the store lies now; None takes the first run's.
        output: Where to write; None is `comparison` beside the first run.
        which: The best epoch's weights or the last's.
        advance: Called with patches scored and in all, over all runs.

    Raises:
        UsageError: Fewer than two runs, or the same one twice.
        CheckpointError: A run was trained on another store or split, naming both.
        DataError: The validation patches are of one class.
    """
    if len(runs) < 2 or len({path.resolve() for path in runs}) < len(runs):
        raise UsageError("arguments", f"found {len(runs)} runs, wanted two or more, all different", "name several runs")
    trained = [open_run(path, which) for path in runs]
    output = output or trained[0].path.parent.parent / "comparison"
    output_place.check_directory(output, RESULT, (*runs, store_path))
    store = trained[0].open_store(store_path)
    for one in trained:
        check_same_split(one, store)
    table = read_split(store)
    rows_N = table.rows(Split.VAL)
    check_labels(store.labels_N[rows_N], store.path)
    total = len(rows_N) * len(trained)
    logits_RN = np.stack(
        [score(one, store, rows_N, runtime, _part(advance, at * len(rows_N), total)) for at, one in enumerate(trained)]
    )
    names = short_names(runs)
    labels_N = store.labels_N[rows_N]
    groups_N = None if store.groups_N is None else store.groups_N[rows_N]
    models = [(one.config.model.name, one.checkpoint.epoch) for one in trained]
    place = store.name
    result = compare(models, names, labels_N, logits_RN, groups_N, store=place, kind=table.kind, output=output)
    journals = [_epochs(one.path.parent / directory.JOURNAL) for one in trained]
    write(output, result, labels_N, logits_RN, names, journals, store.ids_N[rows_N])
    return result


def check_labels(labels_N: NDArray[np.int8], where: object) -> None:
    """Refuse patches that no AUC is defined for, before any is scored.

    Raises:
        DataError: They are of one class, or some are unlabelled.
    """
    num_positive, num_negative = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    if not num_positive or not num_negative or num_positive + num_negative < len(labels_N):
        found = f"found {num_positive} positive and {num_negative} negative of {len(labels_N)} patches"
        raise DataError(where, f"{found}, wanted all labelled, and both classes", "compare on other patches")


def _epochs(path: Path) -> list[dict[str, object]]:
    """Return the epochs to draw of a run; none where its journal is not one, which no number depends on."""
    try:
        found = journal.read(path)
    except (OSError, ValueError, RecursionError):
        return []
    whole = all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in found)
    return found if whole and all(isinstance(row.get("val_auc"), float | None) for row in found) else []


def check_same_split(run: TrainedRun, store: Store) -> None:
    """Refuse a run that was trained on other patches than the store's training split.

    Raises:
        CheckpointError: Naming what was found in the checkpoint and what the store has.
    """
    if run.config.train.include_val:
        problem = "was trained on the validation patches too (train.include_val), which would flatter it"
        raise CheckpointError(run.path, problem, "compare a run of the same recipe with train.include_val=false")
    difference = run.differs(store)
    if difference is not None:
        what, wanted, found = difference
        problem = f"was trained on another {what} than {store}: found {found}, wanted {wanted}"
        raise CheckpointError(run.path, problem, "compare runs of one store and one split")


def compare(
    models: Sequence[tuple[str, int]],
    names: Sequence[str],
    labels_N: NDArray[np.int8],
    logits_RN: NDArray[np.float32],
    groups_N: NDArray[np.object_] | None,
    *,
    store: str,
    kind: str,
    output: Path,
) -> CompareResult:
    """Compare all pairs of scores; see `run`. Models are named with the epochs they were trained for."""
    if groups_N is not None and len(set(groups_N)) < MIN_GROUPS:
        groups_N = None
    entries = [
        Entry(
            name=name,
            model=model,
            epoch=epoch,
            auc=float(delong.placements(labels_N, logits_N)[0].mean()),
            standard_error=math.sqrt(max(delong.variance(labels_N, logits_N), 0.0)),
        )
        for (model, epoch), name, logits_N in zip(models, names, logits_RN, strict=True)
    ]
    order = sorted(range(len(entries)), key=lambda at: -entries[at].auc)
    places = list(itertools.combinations(order, 2))
    tests = [delong.paired_test(labels_N, logits_RN[a], logits_RN[b]) for a, b in places]
    draws = [paired.bootstrap(labels_N, logits_RN[a], logits_RN[b], groups_N) for a, b in places]
    corrected = paired.holm(
        [test.p_value if groups_N is None else draw.p_value for test, draw in zip(tests, draws, strict=True)]
    )
    pairs = [
        Pair(
            first=entries[a].name,
            second=entries[b].name,
            difference=test.difference,
            delong_p=test.p_value,
            low=draw.low,
            high=draw.high,
            bootstrap_p=draw.p_value,
            p_corrected=p_value,
            verdict="better" if p_value < SIGNIFICANT else "not distinguishable",
        )
        for (a, b), test, draw, p_value in zip(places, tests, draws, corrected, strict=True)
    ]
    return CompareResult(
        runs=[entries[at] for at in order],
        pairs=sorted(pairs, key=lambda pair: -pair.difference),
        num_patches=len(labels_N),
        num_groups=0 if groups_N is None else len(set(groups_N)),
        decided_by="DeLong" if groups_N is None else "paired bootstrap of slides",
        store=store,
        split_kind=kind,
        output=str(output),
    )


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that set them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def _part(advance: Callable[[int, int], None] | None, before: int, total: int) -> Callable[[int, int], None] | None:
    return None if advance is None else lambda done, _total: advance(before + done, total)


def write(
    output: Path,
    result: CompareResult,
    labels_N: NDArray[np.int8],
    logits_RN: NDArray[np.float32],
    names: Sequence[str],
    journals: Sequence[list[dict[str, object]]],
    ids_N: NDArray[np.object_],
) -> None:
    """Write the three files as a set."""
    table = io.BytesIO()
    columns = {"id": ids_N.astype(str), "label": labels_N}
    # A run called `label` would take the labels' place.
    columns |= {f"run {name}" if name in columns else name: one_N for name, one_N in zip(names, logits_RN, strict=True)}
    pd.DataFrame(columns).to_parquet(table, index=False)
    title = f"{result.num_patches:,} validation patches of a {result.split_kind} split"
    facts = {key: value for key, value in asdict(result).items() if key != "output"}
    content = {
        PREDICTIONS: table.getvalue(),
        PICTURE: compare_figure.draw(names, labels_N, logits_RN, journals, title),
        RESULT: (json_values.dumps(facts) + "\n").encode(),
    }
    output_place.write_set(output, RESULT, content)
