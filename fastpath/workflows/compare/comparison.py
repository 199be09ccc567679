"""Scores of the same patches put side by side: which differences are more than chance. R scores, N patches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import delong, intervals, metrics, paired
from fastpath.analysis.paired import PairedDifference
from fastpath.analysis.seed_comparison import SIGNIFICANT
from fastpath.errors import DataError

RESULT = "comparison.json"

Decider = Literal["paired jackknife of slides", "paired bootstrap of patches", "nothing"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One run.

    Attributes:
        name: The shortest end of its path that sets it apart.
        model: The network.
        epoch: Epochs its weights were trained for.
        auc: On the validation patches.
        standard_error: By slides, or by patches where slides are unknown; NaN with too few slides.
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
        delong_p: DeLong's paired test, which takes patches as independent; NaN where slides are known, and so are not.
        low: Lower end of the 95 % interval of the difference, as `intervals` gives it; NaN with too few slides.
        high: Its upper end.
        p_value: Of the same test; NaN with too few slides.
        p_corrected: The same, corrected for all pairs (Holm).
        verdict: `better` where that is below 0.05; `too few slides` where nothing can be said.
    """

    first: str
    second: str
    difference: float
    delong_p: float
    low: float
    high: float
    p_value: float
    p_corrected: float
    verdict: Literal["better", "not distinguishable", "too few slides"]


@dataclass(frozen=True, slots=True)
class CompareResult:
    """Runs compared.

    Attributes:
        runs: The best first.
        pairs: All of them, the largest difference first.
        num_patches: Validation patches.
        num_groups: Slides that were left out in turn; 0 where patches were drawn.
        decided_by: What the verdicts rest on; `nothing` with fewer slides than `intervals.MIN_SLIDES`.
        optimistic: Whether patches were drawn as if independent, because slides are unknown.
        notices: What the reader of the numbers should know.
        store: The name of the store, or of the first table.
        split_kind: How the store was divided.
        output: Where comparison.json, comparison.png and predictions.parquet lie.
    """

    runs: list[Entry]
    pairs: list[Pair]
    num_patches: int
    num_groups: int
    decided_by: Decider
    optimistic: bool
    notices: list[str]
    store: str
    split_kind: str
    output: str


def check_labels(labels_N: NDArray[np.int8], location: object) -> None:
    """Refuse patches that no AUC is defined for, before any is scored.

    Raises:
        DataError: They are of one class, or some are unlabelled.
    """
    num_positive, num_negative = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    if not num_positive or not num_negative or num_positive + num_negative < len(labels_N):
        problem = f"found {num_positive} tumour and {num_negative} normal of {len(labels_N)} patches"
        raise DataError(location, f"{problem}, wanted all labelled, and both classes", "compare on other patches")


def compare_scores(
    models: Sequence[tuple[str, int]],
    names: Sequence[str],
    labels_N: NDArray[np.int8],
    logits_RN: NDArray[np.float32],
    groups_N: NDArray[np.object_] | None,
    *,
    store: str,
    kind: str,
    output: Path,
    notices: Sequence[str] = (),
) -> CompareResult:
    """Compare all pairs of scores on the same patches.

    Args:
        models: Each one's network and the epochs it was trained for.
        names: Each one's name.
        labels_N: 0 or 1, both present.
        logits_RN: Finite; a row each.
        groups_N: Slides; None where unknown.
        store: The name of where the patches lie.
        kind: How they were divided.
        output: Where the result is going to lie.
        notices: What else the reader should know.
    """
    order = np.argsort([-metrics.roc_auc(labels_N, logits_N) for logits_N in logits_RN], kind="stable").tolist()
    places = list(itertools.combinations(order, 2))
    num_groups = 0 if groups_N is None else len(set(groups_N))
    units = intervals.units_of(groups_N, len(labels_N), labels_N)
    mute = num_groups > 0 and units.kind == "patch"  # patches of one slide are known not to be independent
    by: Decider = "paired jackknife of slides" if num_groups else "paired bootstrap of patches"
    result = paired.compare_paired(labels_N, logits_RN, units, places)
    entries = [
        Entry(name, model, epoch, auc=auc.value, standard_error=math.nan if mute else auc.error)
        for (model, epoch), name, auc in zip(models, names, result.aucs, strict=True)
    ]
    exact = [
        math.nan if num_groups else delong.paired_test(labels_N, logits_RN[a], logits_RN[b]).p_value for a, b in places
    ]
    pairs = _pairs([(names[a], names[b]) for a, b in places], result.pairs, exact, mute=mute)
    return CompareResult(
        runs=[entries[at] for at in order],
        pairs=sorted(pairs, key=lambda pair: -pair.difference),
        num_patches=len(labels_N),
        num_groups=0 if mute else num_groups,
        decided_by="nothing" if mute else by,
        optimistic=not num_groups,
        notices=[notice for notice in (*notices, _trust(num_groups, mute=mute)) if notice],
        store=store,
        split_kind=kind,
        output=str(output),
    )


def _pairs(
    names: Sequence[tuple[str, str]], differences: Sequence[PairedDifference], exact: Sequence[float], *, mute: bool
) -> list[Pair]:
    """Return the pairs with their verdicts; with neither interval nor p-value where there are too few slides."""
    undefined = math.nan
    p_values = [undefined if mute else result.p_value for result in differences]
    return [
        Pair(
            first=first,
            second=second,
            difference=result.difference,
            delong_p=by_patch,
            low=undefined if mute else result.low,
            high=undefined if mute else result.high,
            p_value=p_value,
            p_corrected=corrected,
            verdict="too few slides" if mute else "better" if corrected < SIGNIFICANT else "not distinguishable",
        )
        for (first, second), result, by_patch, p_value, corrected in zip(
            names, differences, exact, p_values, paired.holm(p_values), strict=True
        )
    ]


def _trust(num_groups: int, *, mute: bool) -> str:
    """Return what is wrong with the verdicts; nothing where slides were drawn."""
    if mute:
        wanted = f"found patches of {num_groups} slides, wanted at least {intervals.MIN_SLIDES}"
        return f"{wanted} to tell a difference from chance: there is no verdict, whatever the AUCs"
    if not num_groups:
        return "slides are unknown, so patches are taken as independent: intervals and verdicts are optimistic"
    return ""


def without_comparisons(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the paths but those that an earlier comparison was written to, which `runs/*` names too; and a notice."""
    left_out = [path for path in paths if (path / RESULT).is_file() and not (path / "config.json").exists()]
    names = ", ".join(map(str, left_out))
    notice = [f"left out {names}, which an earlier 'fastpath compare' wrote"] if left_out else []
    return [path for path in paths if path not in left_out], notice


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that set them apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names
