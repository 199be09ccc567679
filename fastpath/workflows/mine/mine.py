"""Find the patches worth training on more, those whose label is likely wrong, and labels for those that have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastpath.analysis import label_errors, metrics
from fastpath.analysis.calibration import Calibrator
from fastpath.analysis.pixels.eda import CLASS_WORDS
from fastpath.analysis.verdicts import Verdict
from fastpath.errors import StoreError
from fastpath.runs import mined_table, out_of_fold, output_place
from fastpath.runs.mined_table import MinedKind
from fastpath.runs.mined_training import held_out_twins
from fastpath.runs.run_data import RunData, run_data_of
from fastpath.runs.score_views import score
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.workflows.mine import pseudo_labels, review
from fastpath.workflows.mine.mined_rows import MinedRows, to_frame

Advance = Callable[[int, int], None]
Begin = Callable[[int], Advance | None]
"""Given the patches of a pass, returns what that pass tells its progress to."""


@dataclass(frozen=True, slots=True)
class MineOptions:
    """What is worth a row.

    Attributes:
        hard_share: Share of each class's training patches, those of the highest loss, that count as hard.
        errors: Likely label errors to list, those of the highest loss; None lists as many as confident learning
            suspects.
        confidence: Calibrated probability of either class from which an unlabelled patch gets a label.
    """

    hard_share: float = 0.05
    errors: int | None = None
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class MineResult:
    """What was found.

    Attributes:
        table: The table.
        review: The page on which to look at its patches, and to keep, flip or drop them.
        num_rows: The table's rows.
        hard_negatives: Of these, negatives of high loss.
        hard_positives: Positives of high loss.
        label_errors: Patches whose label is likely wrong.
        estimated_errors: Wrong labels by confident learning, those that the network does not contradict included.
        pseudo_negatives: Unlabelled patches that got the label 0.
        pseudo_positives: Unlabelled patches that got the label 1.
        num_labelled: Training patches looked at.
        num_unlabelled: Unlabelled patches looked at.
        evidence: `out of fold` or `training`: whether the losses are of networks that did not see the labels.
        calibration: How probabilities of unlabelled patches were calibrated; `none` where they are raw.
        verdicts: What the likely label errors come to, in words.
        notices: What the user should know.
    """

    table: Path
    review: Path
    num_rows: int
    hard_negatives: int
    hard_positives: int
    label_errors: int
    estimated_errors: float
    pseudo_negatives: int
    pseudo_positives: int
    num_labelled: int
    num_unlabelled: int
    evidence: str
    calibration: str
    verdicts: list[Verdict]
    notices: list[str]


@dataclass(frozen=True, slots=True)
class _MiningInputs:
    """What is mined, and with what.

    Attributes:
        trained: The network; of folds, the one whose validation fold is the store's.
        data: The store it was trained on, and the rows.
        predictions: Table of out-of-fold predictions; None where there is none.
    """

    trained: TrainedRun
    data: RunData
    predictions: Path | None


def mine_patches(
    run_dir: Path,
    output: Path,
    runtime: Runtime,
    *,
    stores: Sequence[Path] = (),
    predictions: Path | None = None,
    split_file: Path | None = None,
    options: MineOptions | None = None,
    checkpoint: CheckpointName = "best",
    advance: Advance | None = None,
) -> MineResult:
    """Write a table of patches for `data.extra`, and a page to review it on.

    Nothing is mined that is held out of training, by id, pixels or slide.

    Args:
        run_dir: A run, or the directory of `train --folds`.
        output: The table, `.parquet` or `.csv`.
        runtime: Device and precision.
        stores: Where to look; none is the run's own. Of any other store, only unlabelled patches are looked at.
        predictions: Out-of-fold predictions of the run's own store; None takes those of `run_dir`, if there are.
        split_file: Where the split of the run's own store lies; None is where the run had it.
        options: What is worth a row.
        checkpoint: The best epoch's weights or the last's.
        advance: Called with patches scored and in all.

    Raises:
        UsageError: The run, a store or the target is not as it should be.
    """
    options = options or MineOptions()
    mined_table.check_target(output)
    read = (run_dir, predictions, *stores)
    output_place.check_file(output, read)
    output_place.check_directory(review.page_of(output).parent, review.PAGE, read)
    inputs = _mining_inputs(run_dir, predictions, checkpoint, stores, split_file)
    own = inputs.data.store
    places = [_or_own(open_store(path), own) for path in stores] or [own]
    for store in places:
        inputs.trained.check_patches(store)
    rows = [pseudo_labels.unlabelled(inputs.data, store) for store in places]
    mines_own = own.fingerprint in {store.fingerprint for store in places}
    notices: list[str] = []
    own_scored = len(inputs.data.train_rows_N) if mines_own and inputs.predictions is None else 0
    begin = _counter(advance, own_scored + sum(map(len, rows)))

    mined, suspects, verdicts = [], None, list[Verdict]()
    if mines_own:
        result, suspects, verdicts = _labelled(inputs, options, runtime, begin)
        mined.append(result)
        notices.append(mined_table.SEEN_BY_FOLDS if inputs.predictions else mined_table.SEEN_BY_ITSELF)
    needed = any(len(rows_N) for rows_N in rows)
    calibrator = pseudo_labels.calibrator(inputs.trained, inputs.data, inputs.predictions, notices, needed=needed)
    for store, rows_N in zip(places, rows, strict=True):
        mined.append(_pseudo(inputs.trained, store, rows_N, calibrator, options, runtime, begin))
    frame = to_frame(mined, inputs.data.split, _evidence(inputs))
    about = _review_evidence(run_dir, inputs, options, calibrator.method)
    cautions = [*notices, *(verdict.text for verdict in verdicts if verdict.caution)]
    review.write(output, mined, frame, inputs.trained, inputs.data, about, runtime, notices=cautions, advance=advance)
    return _result(output, mined, inputs, suspects, rows, calibrator, verdicts, notices)


def _result(
    output: Path,
    mined: Sequence[MinedRows],
    inputs: _MiningInputs,
    suspects: label_errors.Suspects | None,
    rows: Sequence[np.ndarray],
    calibrator: Calibrator,
    verdicts: list[Verdict],
    notices: list[str],
) -> MineResult:
    """Count what was found."""
    kinds = Counter(str(kind) for each in mined for kind in each.kinds_N)
    pseudo_N = np.concatenate([each.labels_N[each.kinds_N == MinedKind.PSEUDO_LABEL] for each in mined])
    return MineResult(
        table=output,
        review=review.page_of(output),
        num_rows=sum(kinds.values()),
        hard_negatives=kinds[MinedKind.HARD_NEGATIVE],
        hard_positives=kinds[MinedKind.HARD_POSITIVE],
        label_errors=kinds[MinedKind.LABEL_ERROR],
        estimated_errors=suspects.estimated_errors if suspects else 0.0,
        pseudo_negatives=int((pseudo_N == 0).sum()),
        pseudo_positives=int((pseudo_N == 1).sum()),
        num_labelled=len(inputs.data.train_rows_N) if suspects else 0,
        num_unlabelled=sum(map(len, rows)),
        evidence=_evidence(inputs),
        calibration=calibrator.method,
        verdicts=verdicts,
        notices=notices,
    )


def _mining_inputs(
    run_dir: Path, predictions: Path | None, checkpoint: CheckpointName, stores: Sequence[Path], split_file: Path | None
) -> _MiningInputs:
    """Open the network to mine with and the store it was trained on, which must be unchanged."""
    folds = (run_dir / out_of_fold.NAME).exists()
    trained = open_run(run_dir / "fold-0" if folds else run_dir, checkpoint)
    own = trained.checkpoint.store_fingerprint
    moved = next((path for path in stores if open_store(path, checked=False).fingerprint == own), None)
    store = trained.open_store(moved, split_file)
    if folds:
        # The network that never saw what the store now holds out: no other may label patches.
        trained = open_run(run_dir / f"fold-{read_split(store).fold}", checkpoint)
        predictions = predictions or run_dir / out_of_fold.NAME
    difference = trained.differs(store)
    if difference is not None:
        problem = "is not the {} that the run was trained on: found {}, wanted {}".format(*difference)
        raise StoreError(store, problem, "restore it, or train a run on it as it is")
    return _MiningInputs(trained, run_data_of(store, trained.config), predictions)


def _or_own(store: Store, own: Store) -> Store:
    """Return the run's own store, with the split it was opened with, where another is the same."""
    return own if store.fingerprint == own.fingerprint else store


def _counter(advance: Advance | None, total: int) -> Begin:
    """Return what begins a pass: several together count from 0 to `total`."""
    before = 0

    def begin(count: int) -> Advance | None:
        nonlocal before
        start, before = before, before + count
        return (lambda done, _total: advance(start + done, total)) if advance else None

    return begin


def _labelled(
    inputs: _MiningInputs, options: MineOptions, runtime: Runtime, begin: Begin
) -> tuple[MinedRows, label_errors.Suspects, list[Verdict]]:
    """Find hard patches and likely label errors among those trained on; hard ones are not among the errors."""
    data = inputs.data
    rows_N = data.train_rows_N[~held_out_twins(data.store, data.split, data.store, data.train_rows_N)]
    if inputs.predictions is None:
        logits_N: np.ndarray = score(inputs.trained, data.store, rows_N, runtime, begin(len(rows_N)))
    else:
        table = out_of_fold.read(inputs.predictions)
        logits_N = out_of_fold.logits_of(table, inputs.predictions, data.store, rows_N)
    labels_N = data.store.labels_N[rows_N]
    suspects = label_errors.find(labels_N, logits_N)
    loss_N = label_errors.losses(labels_N, logits_N)
    order_N = np.argsort(-loss_N, kind="stable")
    wrong_N = suspects.suspected_N
    if options.errors is not None:
        wrong_N = np.zeros(len(rows_N), bool)
        wrong_N[order_N[: options.errors]] = True
    taken = [(MinedKind.LABEL_ERROR, order_N[wrong_N[order_N]])]
    for label, kind in ((0, MinedKind.HARD_NEGATIVE), (1, MinedKind.HARD_POSITIVE)):
        candidates_N = order_N[(labels_N[order_N] == label) & ~wrong_N[order_N]]
        taken.append((kind, candidates_N[: round(options.hard_share * int((labels_N == label).sum()))]))
    at_N = np.concatenate([at for _, at in taken])
    kinds_N = np.concatenate([np.full(len(at), kind, object) for kind, at in taken])
    probability_N = metrics.probabilities(logits_N[at_N])
    result = MinedRows(data.store, rows_N[at_N], kinds_N, labels_N[at_N], probability_N, loss_N[at_N])
    verdicts = label_errors.in_words(labels_N, logits_N, int(wrong_N.sum()), out_of_fold=inputs.predictions is not None)
    return result, suspects, verdicts


def _pseudo(
    trained: TrainedRun,
    store: Store,
    rows_N: np.ndarray,
    calibrator: Calibrator,
    options: MineOptions,
    runtime: Runtime,
    begin: Begin,
) -> MinedRows:
    """Label the unlabelled patches that the network is sure of, the surest first."""
    logits_N = np.zeros(0)
    if len(rows_N):
        logits_N = np.asarray(calibrator.apply(score(trained, store, rows_N, runtime, begin(len(rows_N)))))
    labels_N, sure_N = (logits_N > 0).astype(np.int8), metrics.probabilities(np.abs(logits_N))
    at_N = np.argsort(-sure_N, kind="stable")
    at_N = at_N[sure_N[at_N] >= options.confidence]
    return MinedRows(
        store=store,
        rows_N=rows_N[at_N],
        kinds_N=np.full(len(at_N), MinedKind.PSEUDO_LABEL, object),
        labels_N=labels_N[at_N],
        probability_N=metrics.probabilities(logits_N[at_N]),
        loss_N=label_errors.losses(labels_N[at_N], logits_N[at_N]),
    )


def _evidence(inputs: _MiningInputs) -> str:
    return mined_table.OUT_OF_FOLD if inputs.predictions else mined_table.TRAINING


def _review_evidence(run_dir: Path, inputs: _MiningInputs, options: MineOptions, calibration: str) -> review.Evidence:
    """Return what the page says of why a patch was taken, and of whose its probability is."""
    suspected = "confident learning suspects the label: the network is sure enough of the other one"
    if options.errors is not None:
        suspected = f"among the {options.errors:,} training patches of the highest loss (--errors)"
    hard = "among the {:.3g}% of {} training patches with the highest loss (--hard)"
    fold_of: dict[str, int] = {}
    if inputs.predictions is not None:
        table = out_of_fold.read(inputs.predictions)
        fold_of = dict(zip(table["id"], table["fold"], strict=True)) if "fold" in table else {}
    return review.Evidence(
        run=run_dir.resolve().name,
        reasons={
            MinedKind.LABEL_ERROR: suspected,
            MinedKind.HARD_NEGATIVE: hard.format(100 * options.hard_share, CLASS_WORDS[0]),
            MinedKind.HARD_POSITIVE: hard.format(100 * options.hard_share, CLASS_WORDS[1]),
            MinedKind.PSEUDO_LABEL: f"no label, and a probability of {options.confidence} or more (--confidence)",
        },
        losses=_evidence(inputs),
        fold_of=fold_of,
        calibration=calibration,
    )
