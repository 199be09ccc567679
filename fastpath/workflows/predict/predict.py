"""Score patches without labels, with one run or several, and write a submission table."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import combine, metrics
from fastpath.analysis.combine import Mean
from fastpath.errors import UsageError
from fastpath.ingest.loose_patches import LoosePatches, open_source
from fastpath.runs import calibration_file, output_place
from fastpath.runs.calibration_file import Kept
from fastpath.runs.precision import newly_told, settle
from fastpath.runs.row_history import COLUMN, RowHistory, worst
from fastpath.runs.row_lookup import history_of
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store, open_store
from fastpath.system.files import durably, write_durably
from fastpath.types import Tta
from fastpath.workflows.predict import ensemble, submission

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """How patches are scored.

    Attributes:
        tta: Views of a patch.
        mean: What is averaged over views.
        ensemble: What is averaged over runs.
        weights: One a run; None weighs them alike.
        calibrate: Use the calibration of a run, where it has one; of several runs, one of their mean.
        checkpoint: The best epoch's weights or the last's.
    """

    tta: Tta = "none"
    mean: Mean = "logits"
    ensemble: Mean = "logits"
    weights: tuple[float, ...] | None = None
    calibrate: bool = True
    checkpoint: CheckpointName = "best"


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What was predicted.

    Attributes:
        num_patches: Rows of the submission.
        order: `sample` where the order is a sample submission's, else `store` or `source`.
        mean_probability: Over all patches.
        share_positive: Share of probabilities of at least 0.5.
        runs: Runs that were averaged.
        checkpoint: `best` or `last`.
        epoch: Epochs the weights were trained for, of each run.
        calibration: Method of each run's calibration; one alone where the mean of several is calibrated.
        history: What each run has done with these patches: counts, as `row_history.RowHistory.facts` has them.
        notices: What the reader of the numbers should know.
        output: The submission.
    """

    num_patches: int
    order: str
    mean_probability: float
    share_positive: float
    runs: int
    checkpoint: CheckpointName
    epoch: list[int]
    calibration: list[str]
    history: list[dict[str, Any]]
    notices: list[str]
    output: str


def predict_patches(
    run_dirs: Sequence[Path],
    patches: Store | LoosePatches,
    output: Path,
    runtime: Runtime,
    *,
    sample: Path | None = None,
    options: PredictOptions | None = None,
    table: Path | None = None,
    advance: Advance | None = None,
) -> PredictResult:
    """Write a CSV of `id,label`, the label being a probability.

    Patches stream through the loader: memory holds a few batches, and a few bytes a patch.

    Args:
        run_dirs: One run directory or several, whose opinions are averaged.
        patches: From `open_patches`.
        output: The CSV.
        runtime: Device and precision.
        sample: A sample submission whose ids and order are kept; None keeps the patches'. The table written is checked
            against it.
        options: Views, means, weights, calibration, checkpoint; None takes the defaults.
        table: Also write id, logit, probability, and slide, label and the views' spread where there are any, as
            Parquet: `evaluate` judges it where labels are known. Its `history` is the worst that any run has done with
            the patch.
        advance: Called with patches done and in all, over all runs.

    Raises:
        UsageError: A run, the target or the weights are not as they should be.
        DataError: The sample names other ids than the patches, or these cannot be scored.
    """
    options = options or PredictOptions()
    runs = check_runs(run_dirs, options.checkpoint, output)
    _check_places(output, table, (*run_dirs, patches.path, sample))
    rows_N = np.arange(len(patches)) if sample is None else submission.rows_of(sample, patches.ids_N)
    combine.combine(np.zeros((1, len(runs))), "logits", options.weights)  # refuses weights before minutes of scoring
    scored = [
        _score(trained, patches, rows_N, runtime, options, _share(advance, number, len(runs)))
        for number, trained in enumerate(runs)
    ]
    logits_NR, kept = (
        np.stack([run_scores.logits_N for run_scores in scored], axis=1),
        [run_scores.kept for run_scores in scored],
    )
    pooled = ensemble.pool(logits_NR, kept, options.ensemble, options.weights)
    logits_N = pooled.logits_N
    notices = [text for run_scores in scored for text in run_scores.notices]
    probability_N, ids = metrics.probabilities(logits_N), patches.ids_N[rows_N].tolist()
    content = submission.render(ids, probability_N)
    if sample is not None:
        submission.prove(content, output, sample)
    spread_N = np.mean([run_scores.spread_N for run_scores in scored], axis=0) if options.tta != "none" else None
    between_N = combine.spread(pooled.members_NR) if len(runs) > 1 else None
    more = {**_known(patches, rows_N), COLUMN: worst([run_scores.history for run_scores in scored])}
    more |= {"spread": spread_N, "run_spread": between_N}
    _write(output, content, table, b"" if table is None else _to_parquet(ids, logits_N, more))
    return PredictResult(
        num_patches=len(rows_N),
        order="sample" if sample is not None else "store" if isinstance(patches, Store) else "source",
        mean_probability=float(probability_N.mean()) if len(rows_N) else 0.0,
        share_positive=float((probability_N >= 0.5).mean()) if len(rows_N) else 0.0,
        runs=len(runs),
        checkpoint=options.checkpoint,
        epoch=[trained.checkpoint.epoch for trained in runs],
        calibration=pooled.methods,
        history=[run_scores.history.facts() for run_scores in scored],
        notices=[*dict.fromkeys((*_labelled(patches, rows_N), *pooled.notices, *notices)), *_constant(probability_N)],
        output=str(output),
    )


@dataclass(frozen=True, slots=True)
class _Scored:
    """One run's opinion: logits as they are and the views' spread, float64 [N]; its calibration.

    Also what the run has done with these patches, and what the reader should know.
    """

    logits_N: NDArray[np.float64]
    spread_N: NDArray[np.float64]
    kept: Kept
    history: RowHistory
    notices: list[str]


def _score(
    trained: TrainedRun,
    patches: Store | LoosePatches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    options: PredictOptions,
    advance: Advance | None,
) -> _Scored:
    kept = calibration_file.load(trained.path, options.tta, options.mean) if options.calibrate else Kept()
    decided = settle(runtime, trained.config, training=False)
    if isinstance(patches, LoosePatches):
        patches = patches.of_stain(trained.checkpoint.stain)
    views_NV = score_views(trained, patches, rows_N, decided, options.tta, advance)
    logits_N = combine.combine(views_NV, options.mean)
    history = history_of(trained, patches, rows_N, kept.fitted_on)
    notices = (*history.notices(calibrated=kept.calibrator.method != "none"), newly_told(decided, runtime))
    return _Scored(logits_N, combine.spread(views_NV), kept, history, [text for text in notices if text])


def open_patches(store: Path | None, source: Path | None, follow: Sequence[Path] = ()) -> Store | LoosePatches:
    """Open what is to be scored.

    Args:
        store: A packed store, or
        source: what `pack` takes.
        follow: Folders outside the source that symbolic links in it may lead into.

    Raises:
        UsageError: Neither was given, or both.
        DataError: The source is not as it should be.
        StoreError: There is no store.
    """
    if store is not None and source is None:
        return open_store(store)
    if source is not None and store is None:
        return open_source(source, follow)
    problem = "neither" if store is None else "both"
    raise UsageError("--store, --source", f"found {problem}, wanted one of them", "give the patches to predict")


def check_runs(run_dirs: Sequence[Path], checkpoint: CheckpointName, output: Path) -> list[TrainedRun]:
    """Open the runs and see that the target can be a table.

    Raises:
        UsageError: A run or the target is not as it should be.
    """
    if output.is_dir():
        raise UsageError(output, "found a directory, wanted the name of a CSV", "give for example -o submission.csv")
    return [open_run(run_dir, checkpoint) for run_dir in run_dirs]


def _labelled(patches: Store | LoosePatches, rows_N: NDArray[np.int64]) -> list[str]:
    """Return a notice where files are scored that have labels: a training set, given for want of a test set."""
    num = int((patches.labels_N[rows_N] >= 0).sum())
    if isinstance(patches, Store) or not num:
        return []
    return [
        f"{num:,} of the {len(rows_N):,} patches scored have labels, as those of a training set do: for a submission "
        f"give the folder of the test patches as --source, or one that holds them as test/"
    ]


def _constant(probability_N: NDArray[np.float64]) -> list[str]:
    """Return a notice where a submission ranks nothing."""
    if len(probability_N) < 2 or np.ptp(probability_N) > 0:
        return []
    return [f"all {len(probability_N)} patches have one probability, {probability_N[0]:.4g}: train for longer"]


def _share(advance: Advance | None, number: int, num_runs: int) -> Advance | None:
    """Return progress over all runs."""
    if advance is None:
        return None
    return lambda done, total: advance(number * total + done, num_runs * total)


def _check_places(output: Path, table: Path | None, inputs: Sequence[Path | None]) -> None:
    """Refuse to write over what is read, or one table over the other.

    Raises:
        UsageError: Naming the file.
    """
    output_place.check_file(output, inputs)
    if table is None:
        return
    output_place.check_file(table, inputs, "--table")
    if table.resolve() == output.resolve():
        raise UsageError(table, "is both -o and --table", "give two names")


def _write(output: Path, content: bytes, table: Path | None, table_content: bytes) -> None:
    """Write the submission, and the table with it: both lie whole on the disk before either takes its name.

    A submission is there beside a table of the same prediction alone: an older one goes before the table changes.
    """
    output_place.make_parent(output)
    if table is None:
        write_durably(output, content)
        return
    output_place.make_parent(table)
    with durably(output) as submitted:
        submitted.write(content)
        submitted.flush()
        os.fsync(submitted.fileno())
        with durably(table) as more:
            more.write(table_content)
            more.flush()
            os.fsync(more.fileno())
            output.unlink(missing_ok=True)


def _known(patches: Store | LoosePatches, rows_N: NDArray[np.int64]) -> dict[str, Any]:
    """Return the columns of slides and labels, where any are known; an unknown label is null."""
    import pyarrow as pa

    labels_N = patches.labels_N[rows_N]
    groups_N = patches.groups_N if isinstance(patches, Store) else None
    return {
        "group": None if groups_N is None else pa.array(groups_N[rows_N].tolist(), pa.string()),
        "label": pa.array(labels_N, pa.int8(), mask=labels_N < 0) if (labels_N >= 0).any() else None,
    }


def _to_parquet(ids: Sequence[str], logits_N: NDArray[np.float64], more: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"id": pa.array(ids, pa.string()), "logit": logits_N, "probability": metrics.probabilities(logits_N)}
    columns |= {name: values for name, values in more.items() if values is not None}
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content)
    return content.getvalue()
