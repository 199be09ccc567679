"""How much a random split flatters: one recipe, trained and validated by each of several divisions of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpath.analysis import intervals, weighted
from fastpath.config import Config
from fastpath.errors import ConfigError, DataError, UsageError
from fastpath.ingest.split import deal
from fastpath.runs import best_epoch, output_place
from fastpath.runtime import Runtime
from fastpath.store.reader import Store, open_store
from fastpath.store.split_document import SplitKind
from fastpath.store.split_table import SplitTable
from fastpath.system import json_values, run_log
from fastpath.system.files import write_durably
from fastpath.workflows.train import folds
from fastpath.workflows.train.folds import Watch

if TYPE_CHECKING:
    import pandas as pd

KINDS: tuple[SplitKind, SplitKind] = ("random", "group")
SUMMARY = "leak.json"


@dataclass(frozen=True, slots=True)
class LeakResult:
    """What a recipe scores by patch and by slide. Positive differences are what a random split flatters by.

    Attributes:
        output: Where the runs lie, in `random/` and `group/`, and `leak.json`.
        status: `finished`, or `interrupted`: run again to go on.
        num_slides: Slides of the store.
        num_folds: Folds trained of each division; 1 where each was one division.
        random_auc: AUC on patches whose slides were trained on.
        random_low: Lower end of its 95 % interval.
        random_high: Upper end.
        random_fold_auc: Mean of the AUCs of its folds: the pooled one compares logits of different networks, and is
            lower where their scales differ.
        group_auc: AUC on patches of slides that were not.
        group_low: Lower end of its 95 % interval.
        group_high: Upper end.
        group_fold_auc: Mean of the AUCs of its folds.
        difference: `random_auc - group_auc`.
        difference_low: Lower end of its 95 % interval.
        difference_high: Upper end.
        interval_over: What was resampled, for both together: `slide` or `patch`.
        verdict: The difference in words.
        notices: What the reader of these numbers should know.
    """

    output: Path
    status: str
    num_slides: int
    num_folds: int
    random_auc: float
    random_low: float
    random_high: float
    random_fold_auc: float
    group_auc: float
    group_low: float
    group_high: float
    group_fold_auc: float
    difference: float
    difference_low: float
    difference_high: float
    interval_over: str
    verdict: str
    notices: list[str] = field(default_factory=list)


def parse_kinds(text: str) -> None:
    """See that `random,group` was asked for, in either order: nothing else has a leak to compare.

    Raises:
        UsageError: It was not.
    """
    if sorted(text.replace(" ", "").split(",")) != sorted(KINDS):
        raise UsageError("--splits", f"found '{text}', wanted random,group", "write --splits random,group")


def measure_leak(
    store_path: Path,
    output: Path,
    config: Config,
    runtime: Runtime,
    *,
    num_folds: int = 0,
    seed: int = 42,
    watch: Watch | None = None,
) -> LeakResult:
    """Train by a random and by a grouped division of a store, whose own division stays as it is.

    What is there already is gone on from, so an interrupted comparison can be run again.

    Args:
        store_path: A labelled store with groups.
        output: Where to write.
        config: The recipe.
        runtime: Device and precision.
        num_folds: Folds of each division, all of them trained; 0 trains one 80/20 division of each.
        seed: Decides the divisions.
        watch: Shows each training.

    Raises:
        DataError: The store has no groups, or cannot be divided.
        ConfigError: The recipe uses mined patches, which belong to one split.
    """
    output_place.check_new(output)
    store = open_store(store_path)
    if store.groups_N is None:
        problem = "found no groups, wanted each patch's slide: without them nothing tells whether a split leaks"
        raise DataError(store_path, problem, "pack with --groups CSV (id,wsi)")
    if config.data.extra is not None:
        raise ConfigError("data.extra", "found mined patches, which belong to one split, wanted none", "leave it out")
    splits = {
        kind: [deal(store, kind, folds=num_folds, fold=fold, seed=seed) for fold in range(max(1, num_folds))]
        for kind in KINDS
    }
    with run_log.kept_in(output):
        return _train_both(store, output, config, runtime, splits, num_folds, watch)


def _train_both(
    store: Store,
    output: Path,
    config: Config,
    runtime: Runtime,
    splits: Mapping[SplitKind, Sequence[SplitTable]],
    num_folds: int,
    watch: Watch | None,
) -> LeakResult:
    """Train by each division, compare, and write down what it comes to."""
    frames: dict[str, pd.DataFrame] = {}
    for kind in KINDS:
        frame = folds.train_all(store, output / kind, config, runtime, splits[kind], watch=watch)
        if frame is None:
            return _interrupted(output, store, num_folds)
        frames[kind] = frame
    result = _compared(output, store, frames, num_folds)
    text = best_epoch.of_aucs(config.train.epochs, None, what="AUCs of either split are")
    result = replace(result, notices=[text] if text else [])
    facts = {key: value for key, value in asdict(result).items() if key != "output"}
    write_durably(output / SUMMARY, (json_values.dumps(facts) + "\n").encode())
    return result


def difference(frames: Mapping[str, pd.DataFrame]) -> tuple[Sequence[intervals.Interval], str]:
    """Return the AUC of each table, their difference (first less second), and what was resampled.

    Slides are drawn for both tables at once: what a slide does to one of them it does to the other.
    """
    first, second = frames.values()
    labels_N, logits_N, groups_N = (
        np.concatenate([frame[name].to_numpy() for frame in (first, second)]) for name in ("label", "logit", "group")
    )
    cut = len(first)
    parts = [weighted.prepare(labels_N[at], logits_N[at]) for at in (slice(None, cut), slice(cut, None))]
    units = intervals.units_of(groups_N, len(labels_N), labels_N)

    def statistic(weights_BN: np.ndarray) -> np.ndarray:
        one_B, other_B = weighted.auc(parts[0], weights_BN[:, :cut]), weighted.auc(parts[1], weights_BN[:, cut:])
        return np.stack([one_B, other_B, one_B - other_B], axis=1)

    return intervals.bootstrap(statistic, units, ["logit", "logit", "plain"]), units.kind


def _compared(output: Path, store: Store, frames: Mapping[str, pd.DataFrame], num_folds: int) -> LeakResult:
    (by_patch, by_slide, gap), over = difference(frames)
    by_fold = {kind: float(np.mean(folds.fold_aucs(frame))) for kind, frame in frames.items()}
    if gap.low > 0:
        verdict = f"a random split flatters this recipe by {gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f})"
    elif gap.high < 0:
        verdict = f"the grouped split scores higher by {-gap.value:.3f}: its slides are easier, which is no leak"
    else:
        verdict = f"no leak shown: {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}) may be chance"
    if num_folds:
        verdict += f"; the mean AUCs of folds differ by {by_fold['random'] - by_fold['group']:+.3f}"
    return LeakResult(
        output=output,
        status="finished",
        num_slides=len(set(store.groups_N)) if store.groups_N is not None else 0,
        num_folds=max(1, num_folds),
        random_auc=by_patch.value,
        random_low=by_patch.low,
        random_high=by_patch.high,
        random_fold_auc=by_fold["random"],
        group_auc=by_slide.value,
        group_low=by_slide.low,
        group_high=by_slide.high,
        group_fold_auc=by_fold["group"],
        difference=gap.value,
        difference_low=gap.low,
        difference_high=gap.high,
        interval_over=over,
        verdict=verdict,
    )


def _interrupted(output: Path, store: Store, num_folds: int) -> LeakResult:
    names = [name for name in LeakResult.__dataclass_fields__ if name.split("_")[0] in (*KINDS, "difference")]
    unknown: dict[str, Any] = dict.fromkeys(names, float("nan"))
    return LeakResult(
        output=output,
        status="interrupted",
        num_slides=len(set(store.groups_N)) if store.groups_N is not None else 0,
        num_folds=max(1, num_folds),
        **unknown,
        interval_over="",
        verdict="run the same again to go on",
    )
