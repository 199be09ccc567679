"""Intervals that know what was sampled: slides where they are known, patches otherwise.

U units are resampled, N patches belong to them, B replicates, M measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics

Floats = NDArray[np.float64]
Scale = Literal["logit", "log", "plain", "not negative"]
Statistic = Callable[[Floats], Floats]
"""From weights float64 [B, N] to values float64 [B, M]."""

LEVEL = 0.95
REPLICATES = 1000
FEWEST_REPLICATES = 300
FEW_SLIDES = 10.0
"""Where a class lies in what is worth fewer slides, intervals of Brier score, log loss and ECE may be too narrow (the
record of benchmarks/suites/coverage)."""

MIN_SLIDES = 5
"""With fewer slides than this, resampling them says nothing, and patches are resampled instead."""

_BLOCK = 1 << 19  # weights in memory at once: small enough for the cache
_EFFORT = 2e7  # weights in all, above which fewer replicates are drawn
_LEAST_FREEDOM = 0.2  # of a class that one slide holds: not 0, so that the other class is heard
_NOTHING = 1e-12  # an error below this is of rounding
_BLOCKS_LEFT_OUT = 200  # groups of units left out in turn for the jackknife


@dataclass(frozen=True, slots=True)
class Interval:
    """A measure with what it might have been in another sample of the same size.

    Attributes:
        value: Of this sample; NaN where undefined.
        low: Lower end; NaN where undefined.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its error, on the scale where errors are about normal.

    Attributes:
        value: Of this sample, as it is; NaN where undefined.
        scale: The scale.
        centre: The value on that scale, less the bias that resampling shows; NaN where the error is undefined.
        error: Standard error on that scale; 0 where no resample differs, NaN where undefined.
        freedom: Degrees of freedom of the error.
    """

    value: float
    scale: Scale
    centre: float
    error: float
    freedom: float

    def interval(self, level: float = LEVEL) -> Interval:
        """Return Student's interval; without ends where the error is 0 or undefined."""
        if not self.error > 0:
            return Interval(self.value, math.nan, math.nan)
        reach, back = critical(self.freedom, level) * self.error, _SCALES[self.scale][1]
        return Interval(self.value, *(float(back(np.float64(self.centre + side * reach))) for side in (-1, 1)))

    def p_value(self) -> float:
        """Return the two-sided probability that chance alone takes the measure as far from 0, on its scale."""
        from scipy.special import stdtr

        return 2 * float(stdtr(self.freedom, -abs(self.centre) / self.error)) if self.error > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Units:
    """What is drawn anew in a resample.

    Attributes:
        kind: `slide` or `patch`.
        of_N: int64, the unit of each patch.
        num: Units.
        positive_N: Which patches are positive, so that slides with few of a class count for little; None where unknown.
    """

    kind: Literal["slide", "patch"]
    of_N: NDArray[np.int64]
    num: int
    positive_N: NDArray[np.bool_] | None = None

    def part(self, in_part_N: NDArray[np.bool_]) -> Units:
        """Return the units of some of the patches: of the same kind, however few they are."""
        member_units, of_M = np.unique(self.of_N[in_part_N], return_inverse=True)
        positive_M = None if self.positive_N is None else self.positive_N[in_part_N]
        return Units(self.kind, of_M.astype(np.int64), len(member_units), positive_M)


def units_of(groups_N: NDArray[Any] | None, num_patches: int, labels_N: NDArray[Any] | None = None) -> Units:
    """Return slides as units where there are at least `MIN_SLIDES`, patches otherwise.

    Ask it of a whole table, and its answer for a `part` of it: half of eight slides are four slides, not patches.

    Args:
        groups_N: Slides; None where unknown.
        num_patches: N.
        labels_N: 0 or 1, for measures that compare the classes.
    """
    positive_N = None if labels_N is None else np.asarray(labels_N) == 1
    if groups_N is not None:
        names, of_N = np.unique(groups_N.astype(str), return_inverse=True)
        if len(names) >= MIN_SLIDES:
            return Units("slide", of_N.astype(np.int64), len(names), positive_N)
    return Units("patch", np.arange(num_patches), num_patches, positive_N)


def num_replicates(units: Units) -> int:
    """Return how many resamples are drawn: fewer where each takes long."""
    return int(np.clip(_EFFORT / max(len(units.of_N), 1), FEWEST_REPLICATES, REPLICATES))


def bootstrap(
    statistic: Statistic,
    units: Units,
    scales: Sequence[Scale],
    *,
    replicates: int | None = None,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Interval]:
    """Return the interval of each estimate; see `estimates`."""
    result = estimates(statistic, units, scales, replicates=replicates, seed=seed)
    return [each.interval(level) for each in result]


def estimates(
    statistic: Statistic, units: Units, scales: Sequence[Scale], *, replicates: int | None = None, seed: int = 0
) -> list[Estimate]:
    """Return an estimate for each measure from resamples of whole units, on the measure's own scale.

    Slides: the error is the jackknife's (CR3), leaving out a slide in turn; few slides make the bootstrap too sure.
    Student's degrees of freedom are of the slides that hold each class, weighed by what each class adds to the error
    (`_freedom`). Patches: the error is the bootstrap's and the centre is the value less the bias that it shows, as for
    a measure that cannot be negative, whose bias is large. How often such intervals cover the truth is in
    docs/evaluation.md.

    Args:
        statistic: Of weights, each patch's being how often its unit was drawn.
        units: What is resampled.
        scales: One a measure: where its errors are about normal.
        replicates: Resamples; None takes `num_replicates`.
        seed: Decides the resamples.

    Returns:
        One a measure; without an error where that, or the measure, is undefined: perfect separation has none.
    """
    value_M = statistic(np.ones((1, len(units.of_N))))[0]
    if units.kind == "patch" or "not negative" in scales:
        count = replicates or num_replicates(units)
        drawn_BM = np.concatenate([statistic(weights_BN) for weights_BN in resamples(units, count, seed)])
    if units.kind == "patch":
        return [_by_patch(float(value), drawn_BM[:, at], scales[at], units.num) for at, value in enumerate(value_M)]
    left_out_JM = np.concatenate([statistic(weights_JN) for weights_JN in _leave_out(units)])
    freedom_M, results = _freedom(statistic, units, value_M), []
    for at, value in enumerate(value_M.tolist()):
        estimate = _by_slide(value, left_out_JM[:, at], scales[at], float(freedom_M[at]))
        results.append(_unbiased(estimate, drawn_BM[:, at]) if scales[at] == "not negative" else estimate)
    return results


def resamples(units: Units, replicates: int, seed: int) -> Iterator[Floats]:
    """Yield weights [b, N] of `replicates` resamples, units drawn with replacement."""
    rng = np.random.Generator(np.random.Philox(seed))
    size = max(1, _BLOCK // max(len(units.of_N), units.num))
    for start in range(0, replicates, size):
        rows = min(size, replicates - start)
        drawn = rng.integers(units.num, size=(rows, units.num)) + np.arange(rows)[:, None] * units.num
        counts_BU = np.bincount(drawn.ravel(), minlength=rows * units.num).reshape(rows, units.num)
        yield counts_BU[:, units.of_N].astype(np.float64)


def _leave_out(units: Units, of_N: NDArray[np.bool_] | None = None) -> Iterator[Floats]:
    """Yield weights that leave out one unit at a time, or a block of units where they are many; of it, `of_N` only."""
    num_blocks = min(units.num, _BLOCKS_LEFT_OUT)
    # Dealt in turn, so that a block is not a stretch of the table.
    block_of_N = units.of_N % num_blocks
    if of_N is not None:
        block_of_N = np.where(of_N, block_of_N, -1)
    size = max(1, _BLOCK // len(block_of_N))
    for start in range(0, num_blocks, size):
        blocks = np.arange(start, min(start + size, num_blocks))
        yield (block_of_N[None, :] != blocks[:, None]).astype(np.float64)


def effective_number(sizes_U: NDArray[Any]) -> float:
    """Return how many units of equal size these are worth (Kish 1965): all of them where they are equal."""
    total = float(sizes_U.sum())
    return total**2 / float((np.asarray(sizes_U, np.float64) ** 2).sum()) if total else 0.0


def worth_of_classes(units: Units) -> dict[str, float]:
    """Return how many slides of equal size hold the tumour patches, and the normal ones, by `effective_number`."""
    assert units.positive_N is not None
    return {
        name: effective_number(np.bincount(units.of_N[of_N], minlength=units.num))
        for name, of_N in (("tumour", units.positive_N), ("normal", ~units.positive_N))
    }


def _freedom(statistic: Statistic, units: Units, value_M: Floats) -> Floats:
    """Return the degrees of freedom of each measure's error by slide, 1 to slides - 1.

    Welch and Satterthwaite's, of two parts: what it does to the measure to leave out the positives of a slide in turn,
    and the negatives. Each part has as many slides as hold that class, by `effective_number`, less 1.
    """
    if units.positive_N is None:
        return np.full(len(value_M), max(units.num - 1.0, 1.0))
    parts_M, rest_M = np.zeros(len(value_M)), np.zeros(len(value_M))
    for of_N in (units.positive_N, ~units.positive_N):
        left_out_JM = np.concatenate([statistic(weights_JN) for weights_JN in _leave_out(units, of_N)])
        with np.errstate(invalid="ignore"):
            moved_JM = left_out_JM - value_M
        part_M = np.nansum(np.where(np.isfinite(moved_JM), moved_JM, np.nan) ** 2, axis=0)
        slides = effective_number(np.bincount(units.of_N[of_N], minlength=units.num))
        parts_M, rest_M = parts_M + part_M, rest_M + part_M**2 / max(slides - 1, _LEAST_FREEDOM)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom_M = np.nan_to_num(parts_M**2 / rest_M, nan=units.num - 1.0, posinf=units.num - 1.0)
    found_M: Floats = np.clip(freedom_M, 1.0, max(units.num - 1.0, 1.0))
    return found_M


def _by_slide(value: float, left_out_J: Floats, scale: Scale, freedom: float) -> Estimate:
    """Return an estimate with the jackknife's error; without one where the measure hangs on a single slide."""
    forward, _, steepness = _SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, moved_J = float(forward(np.float64(value))), forward(left_out_J)
    if not math.isfinite(centre) or not np.isfinite(left_out_J).all() or len(left_out_J) < 2:
        return Estimate(value, scale, math.nan, math.nan, math.nan)
    if np.isfinite(moved_J).all():
        error = math.sqrt(float(((moved_J - centre) ** 2).sum()))
    else:  # without some slide classes are separated, which is infinitely far: by the delta method
        error = math.sqrt(float(((left_out_J - value) ** 2).sum())) * steepness(value)
    return Estimate(value, scale, centre, 0.0 if error < _NOTHING else error, freedom)


def _by_patch(value: float, drawn_B: Floats, scale: Scale, num_units: int) -> Estimate:
    forward = _SCALES[scale][0]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre, drawn_B = float(forward(np.float64(value))), forward(drawn_B)
    drawn_B = drawn_B[np.isfinite(drawn_B)]
    if not math.isfinite(centre) or len(drawn_B) < 2 or num_units < 2:
        return Estimate(value, scale, math.nan, math.nan, math.nan)
    error = float(drawn_B.std(ddof=1)) * math.sqrt(num_units / (num_units - 1))
    estimate = Estimate(value, scale, centre, 0.0 if error < _NOTHING else error, num_units - 1)
    return _unbiased(estimate, drawn_B)


def _unbiased(estimate: Estimate, drawn_B: Floats) -> Estimate:
    """Return an estimate less the bias that resamples show; they are on its scale."""
    drawn_B = drawn_B[np.isfinite(drawn_B)]
    if not estimate.error > 0 or not len(drawn_B):
        return estimate
    bias = float(drawn_B.mean()) - estimate.centre
    # The bias is an estimate too. Half of it as a further error matters to the ECE alone, whose bias is large.
    return replace(estimate, centre=estimate.centre - bias, error=math.hypot(estimate.error, bias / 2))


def _positive_part(value: Any) -> Any:  # noqa: ANN401 (a number or an array of them)
    return np.maximum(value, 0.0)


# To the scale, back from it, and how steep it is at a value.
_SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Callable[[float], float]]] = {
    "logit": (metrics.logits, metrics.probabilities, lambda value: 1 / (value * (1 - value))),
    "log": (np.log, np.exp, lambda value: 1 / value),
    "plain": (np.asarray, np.asarray, lambda _value: 1.0),
    "not negative": (np.asarray, _positive_part, lambda _value: 1.0),
}


def critical(freedom: float, level: float) -> float:
    """Return Student's two-sided quantile for that many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))
