"""Train a recipe once for each of several divisions, and predict every patch by the network that did not see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpath.analysis import intervals, metrics, weighted
from fastpath.analysis import sites as site_facts
from fastpath.config import Config
from fastpath.data.residency import ResidencyChoice
from fastpath.engine.checkpoint import MAY_CHANGE
from fastpath.errors import ConfigError, StoreError, UsageError
from fastpath.ingest.split import leak_notice
from fastpath.runs import best_epoch, out_of_fold, output_place, row_history
from fastpath.runs import run_directory as directory
from fastpath.runs.mined_training import with_extra
from fastpath.runs.precision import settle
from fastpath.runs.run_data import check_classes, run_data_of
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import Runtime
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import SplitTable, read_split
from fastpath.system import json_values, run_log
from fastpath.system.files import write_durably
from fastpath.text import command_line
from fastpath.types import Split
from fastpath.workflows.train import train
from fastpath.workflows.train.trackers import listening, require

if TYPE_CHECKING:
    import pandas as pd

Watch = Callable[[str], AbstractContextManager[Callable[[Any], None]]]
"""Given what is trained, a block in which events of training are told to what it yields."""


@dataclass(frozen=True, slots=True)
class FoldsResult:
    """How folds ended. AUCs are of the best epoch's weights, chosen on the very patches: a little optimistic.

    Attributes:
        run_dir: Where the folds' runs lie, and the table of their predictions.
        status: `finished`, or `interrupted`: then the folds so far can be gone on from, and the rest is missing.
        num_folds: Folds asked for.
        aucs: Validation AUC of each fold.
        mean_auc: Over folds; NaN before all are done.
        sd_auc: Standard deviation between folds.
        pooled_auc: Of all predictions together, each by the fold that did not train on its patch.
        pooled_low: Lower end of its 95 % interval.
        pooled_high: Upper end.
        interval_over: What was resampled for the interval: `slide` or `patch`.
        num_patches: Patches predicted.
        table: The predictions; empty before all are done.
        notices: What the reader of the numbers should know.
        sites: Each site's AUC and how much they differ, as `site_facts` has it; None where sites are unknown.
    """

    run_dir: Path
    status: str
    num_folds: int
    aucs: list[float]
    mean_auc: float
    sd_auc: float
    pooled_auc: float
    pooled_low: float
    pooled_high: float
    interval_over: str
    num_patches: int
    table: str
    notices: list[str]
    sites: dict[str, Any] | None = None


def train_folds(
    store_path: Path,
    run_dir: Path,
    config: Config,
    runtime: Runtime,
    num_folds: int,
    *,
    resume: bool = False,
    split_file: Path | None = None,
    residency: ResidencyChoice = "auto",
    trackers: tuple[str, ...] = (),
    watch: Watch | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> FoldsResult:
    """Train each fold into `run_dir/fold-k` and write `out_of_fold.parquet` and `folds.json`.

    Args:
        store_path: A store divided into as many folds.
        run_dir: Where to write; must not hold a run, unless resuming.
        config: The recipe.
        runtime: Device and precision.
        num_folds: Folds.
        resume: Go on where the folds stand.
        split_file: Where the folds lie; None is in the store or, resuming, where the run had them.
        residency: Where patches wait to be fed; decides nothing about the result.
        trackers: Of `trackers.TRACKERS`; each fold is a run of its own to them.
        watch: Shows the training of each fold.
        notice: Told in a sentence when a tracker stays away.

    Raises:
        StoreError: The store is not divided so.
        ConfigError: The recipe trains on validation patches.
        UsageError: The directory is not as it should be, or a tracker's package is not installed.
    """
    require(trackers)
    output_place.check_new(run_dir)
    split_file = split_file or (directory.split_file_of(run_dir) if resume else None)
    store = open_store(store_path, split_file=split_file)
    stored_folds = read_split(store).num_folds
    if stored_folds != num_folds:
        elsewhere = () if split_file is None else ("-o", split_file)
        remedy = f"run: {command_line('fastpath', 'split', store_path, '--folds', num_folds, *elsewhere)}"
        raise StoreError(store_path, f"found {stored_folds or 'no'} folds, wanted {num_folds}", remedy)
    splits = [read_split(store, fold) for fold in range(num_folds)]
    stood = directory.standing(run_dir)
    directory.check_vacancy(run_dir, resume=resume)
    frame = train_all(
        store,
        run_dir,
        config,
        runtime,
        splits,
        residency=residency,
        trackers=trackers,
        watch=watch,
        notice=notice,
        stood=stood,
        may_change=MAY_CHANGE,
    )
    result = _result(run_dir, num_folds, frame, leak_notice(store, splits[0]), config.train.epochs)
    if frame is not None:
        facts = {key: value for key, value in asdict(result).items() if key != "run_dir"}
        facts["table"] = out_of_fold.NAME
        write_durably(run_dir / out_of_fold.SUMMARY, (json_values.dumps(facts) + "\n").encode())
    return result


def train_all(
    store: Store,
    run_dir: Path,
    config: Config,
    runtime: Runtime,
    splits: Sequence[SplitTable],
    *,
    residency: ResidencyChoice = "auto",
    trackers: tuple[str, ...] = (),
    watch: Watch | None = None,
    notice: Callable[[str], None] = lambda _text: None,
    stood: directory.Standing | None = None,
    may_change: Sequence[str] = (),
) -> pd.DataFrame | None:
    """Train by each division into `run_dir/fold-k`, or go on with what is there; see `train_folds`.

    Args:
        store: The store.
        run_dir: Where to write; held against other processes until all is done.
        config: The recipe.
        runtime: Device and precision.
        splits: The divisions.
        residency: Where patches wait to be fed.
        trackers: Of `trackers.TRACKERS`.
        watch: Shows the training of each fold.
        notice: Told in a sentence when a tracker stays away.
        stood: What `run_directory.standing` said when the directory was looked at; None where it was not.
        may_change: Keys whose values may be others than those that what is there began with.

    Returns:
        The table of predictions, as `out_of_fold` describes it, also in the directory; None where it was interrupted.

    Raises:
        ConfigError: The recipe trains on validation patches.
        DataError: A fold holds one class alone.
        CheckpointError: What is there is of another recipe, store or division.
        UsageError: Another process trains in the directory, or has done so since.
    """
    _check(config, runtime)
    for split in splits:  # all before the first is trained, which may take hours
        check_classes(with_extra(run_data_of(store, config, split), config))
    with directory.claimed(run_dir, stood), run_log.kept_in(run_dir):
        return _train_each(
            store, run_dir, config, runtime, splits, residency, trackers, watch or _unwatched, notice, may_change
        )


def _train_each(
    store: Store,
    run_dir: Path,
    config: Config,
    runtime: Runtime,
    splits: Sequence[SplitTable],
    residency: ResidencyChoice,
    trackers: tuple[str, ...],
    watch: Watch,
    notice: Callable[[str], None],
    may_change: Sequence[str],
) -> pd.DataFrame | None:
    """Do what `train_all` says, in a directory that is this process's own."""
    if (run_dir / directory.CONFIG).exists():
        directory.check_config(run_dir, config.to_dict(), may_change)
    runtime = settle(runtime, config, began=directory.precision_of(run_dir))  # one for all folds
    write_durably(run_dir / directory.CONFIG, (json.dumps(config.to_dict(), indent=2) + "\n").encode())
    for fold, split in enumerate(splits):
        path = run_dir / f"fold-{fold}"
        resume = (path / directory.CONFIG).exists()
        with (
            watch(f"fold {fold + 1} of {len(splits)}") as show,
            listening(trackers, path, config, show, notice) as tell,
        ):
            done = train.train_run(
                store.address,
                path,
                config,
                runtime,
                resume=resume,
                split=split,
                split_file=store.split_file,
                residency=residency,
                on_event=tell,
            )
        if done.status == "interrupted":
            return None
    rows = [split.rows(Split.VAL) for split in splits]
    logits = [score(open_run(run_dir / f"fold-{fold}"), store, rows_N, runtime) for fold, rows_N in enumerate(rows)]
    return out_of_fold.write(
        run_dir / out_of_fold.NAME,
        store,
        np.concatenate(rows),
        np.concatenate(logits),
        np.repeat(np.arange(len(rows)), [len(rows_N) for rows_N in rows]),
        history=row_history.EPOCH if config.train.epochs > 1 else row_history.HELD_OUT,
    )


def _unwatched(_name: str) -> AbstractContextManager[Callable[[Any], None]]:
    return nullcontext(lambda _event: None)


def _check(config: Config, runtime: Runtime) -> None:
    if config.train.include_val:
        problem = "found true, wanted false: folds predict the patches that they do not train on"
        raise ConfigError("train.include_val", problem, "set it to false")
    if runtime.world_size > 1:
        problem = f"found {runtime.world_size} ranks, wanted one process"
        raise UsageError("--folds", problem, "train single folds under torchrun, after 'fastpath split --fold K'")


def _result(run_dir: Path, num_folds: int, frame: pd.DataFrame | None, notice: str, num_epochs: int) -> FoldsResult:
    notices = [notice] if notice else []
    if frame is None:
        nothing: dict[str, Any] = {
            name: float("nan") for name in ("mean_auc", "sd_auc", "pooled_auc", "pooled_low", "pooled_high")
        }
        return FoldsResult(
            run_dir, "interrupted", num_folds, [], **nothing, interval_over="", num_patches=0, table="", notices=notices
        )
    aucs = fold_aucs(frame)
    pooled, over = auc_interval(frame)
    sites = json_values.plain(_sites(frame))
    notices = [best_epoch_notice(frame, pooled, num_folds, num_epochs), *notices]
    return FoldsResult(
        run_dir=run_dir,
        status="finished",
        num_folds=num_folds,
        aucs=aucs,
        mean_auc=float(np.mean(aucs)),
        sd_auc=float(np.std(aucs, ddof=1)),
        pooled_auc=pooled.value,
        pooled_low=pooled.low,
        pooled_high=pooled.high,
        interval_over=over,
        num_patches=len(frame),
        table=str(run_dir / out_of_fold.NAME),
        notices=[text for text in (*notices, *(sites["words"] if sites else ())) if text],
        sites=sites,
    )


def _sites(frame: pd.DataFrame) -> dict[str, Any] | None:
    """Return how the networks do at each site; of folds that leave one site out, each at the site it has not seen."""
    sites_N = frame["site"].to_numpy(object) if "site" in frame else None
    return site_facts.facts(frame["label"].to_numpy(), frame["logit"].to_numpy(), groups_of(frame), sites_N, seed=0)


def best_epoch_notice(frame: pd.DataFrame, pooled: intervals.Interval, num_folds: int, num_epochs: int) -> str:
    """Say that each fold's epoch was chosen by the patches it predicts; the size is that of one fold's AUC."""
    num_units = intervals.units_of(groups_of(frame), len(frame)).num
    error = row_history.auc_error(asdict(pooled), num_units)
    error = None if error is None else error * num_folds**0.5
    return best_epoch.of_aucs(num_epochs, error, what="AUCs are each fold's,")


def fold_aucs(frame: pd.DataFrame) -> list[float]:
    """Return the AUC of each fold of a table of predictions: of one network each, where pooled ones are of several."""
    labels_N, logits_N, folds_N = (frame[name].to_numpy() for name in ("label", "logit", "fold"))
    return [metrics.roc_auc(labels_N[folds_N == fold], logits_N[folds_N == fold]) for fold in np.unique(folds_N)]


def auc_interval(frame: pd.DataFrame) -> tuple[intervals.Interval, str]:
    """Return the AUC of a table of predictions with its interval, and what was resampled for it."""
    scores = weighted.prepare(frame["label"].to_numpy(), frame["logit"].to_numpy())
    units = intervals.units_of(groups_of(frame), len(frame), frame["label"].to_numpy())
    estimates = intervals.bootstrap(lambda weights_BN: weighted.auc(scores, weights_BN)[:, None], units, ["logit"])
    return estimates[0], units.kind


def groups_of(frame: pd.DataFrame) -> np.ndarray | None:
    """Return the slides of a table of predictions, None where they are unknown."""
    return None if frame["group"].isna().any() else frame["group"].to_numpy(object)
