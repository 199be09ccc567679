"""Intervals that know what was sampled: slides where they are known, patches otherwise.

U units are resampled, N patches belong to them, B replicates, M measures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
MIN_SLIDES = 5
"""With fewer slides than this, resampling them says nothing, and patches are resampled instead."""

_BLOCK = 1 << 19  # weights in memory at once: small enough for the cache
_EFFORT = 2e7  # weights in all, above which fewer replicates are drawn
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
    """

    kind: Literal["slide", "patch"]
    of_N: NDArray[np.int64]
    num: int

    def part(self, in_part_N: NDArray[np.bool_]) -> Units:
        """Return the units of some of the patches: of the same kind, however few they are."""
        found, of_M = np.unique(self.of_N[in_part_N], return_inverse=True)
        return Units(self.kind, of_M.astype(np.int64), len(found))


def units_of(groups_N: NDArray[Any] | None, num_patches: int) -> Units:
    """Return slides as units where there are at least `MIN_SLIDES`, patches otherwise.

    Ask it of a whole table, and its answer for a `part` of it: half of eight slides are four slides, not patches.
    """
    if groups_N is not None:
        found, of_N = np.unique(groups_N.astype(str), return_inverse=True)
        if len(found) >= MIN_SLIDES:
            return Units("slide", of_N.astype(np.int64), len(found))
    return Units("patch", np.arange(num_patches), num_patches)


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
    found = estimates(statistic, units, scales, replicates=replicates, seed=seed)
    return [one.interval(level) for one in found]


def estimates(
    statistic: Statistic, units: Units, scales: Sequence[Scale], *, replicates: int | None = None, seed: int = 0
) -> list[Estimate]:
    """Return an estimate for each measure: bias and spread from resamples of whole units, on the measure's own scale.

    The centre is the estimate less the bias that resampling shows; the reach is Student's quantile for that many units
    times the standard error. For slides the error is the larger of the bootstrap's and the jackknife's (CR3), since
    few slides make the bootstrap too sure. How often such intervals cover the truth is in docs/evaluation.md.

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
    count = replicates or num_replicates(units)
    drawn_BM = np.concatenate([statistic(weights_BN) for weights_BN in resamples(units, count, seed)])
    left_out_JM = np.empty((0, len(value_M)))
    if units.kind == "slide":
        left_out_JM = np.concatenate([statistic(weights_JN) for weights_JN in _leave_out(units)])
    return [
        _estimate(float(value), drawn_BM[:, at], left_out_JM[:, at], scales[at], units.num)
        for at, value in enumerate(value_M)
    ]


def resamples(units: Units, replicates: int, seed: int) -> Iterator[Floats]:
    """Yield weights [b, N] of `replicates` resamples, units drawn with replacement."""
    rng = np.random.Generator(np.random.Philox(seed))
    size = max(1, _BLOCK // max(len(units.of_N), units.num))
    for start in range(0, replicates, size):
        rows = min(size, replicates - start)
        drawn = rng.integers(units.num, size=(rows, units.num)) + np.arange(rows)[:, None] * units.num
        counts_BU = np.bincount(drawn.ravel(), minlength=rows * units.num).reshape(rows, units.num)
        yield counts_BU[:, units.of_N].astype(np.float64)


def _leave_out(units: Units) -> Iterator[Floats]:
    """Yield weights that leave out one unit at a time, or one block of units where there are many."""
    num_blocks = min(units.num, _BLOCKS_LEFT_OUT)
    # Dealt in turn, so that a block is not a stretch of the table.
    block_of_N = units.of_N % num_blocks
    size = max(1, _BLOCK // len(block_of_N))
    for start in range(0, num_blocks, size):
        blocks = np.arange(start, min(start + size, num_blocks))
        yield (block_of_N[None, :] != blocks[:, None]).astype(np.float64)


def _estimate(value: float, drawn_B: Floats, left_out_J: Floats, scale: Scale, num_units: int) -> Estimate:
    forward, _ = _SCALES[scale]
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = float(forward(np.float64(value)))
        drawn_B, left_out_J = forward(drawn_B), forward(left_out_J)
    drawn_B, left_out_J = drawn_B[np.isfinite(drawn_B)], left_out_J[np.isfinite(left_out_J)]
    if not math.isfinite(centre) or len(drawn_B) < 2 or num_units < 2:
        return Estimate(value, scale, math.nan, math.nan, math.nan)
    error = float(drawn_B.std(ddof=1)) * math.sqrt(num_units / (num_units - 1))
    error = max(error, math.sqrt(float(((left_out_J - centre) ** 2).sum())))
    if error < _NOTHING:
        return Estimate(value, scale, centre, 0.0, num_units - 1)
    bias = float(drawn_B.mean()) - centre
    # The bias is an estimate too. Half of it as a further error matters to the ECE alone, whose bias is large.
    return Estimate(value, scale, centre - bias, math.hypot(error, bias / 2), num_units - 1)


def _positive_part(value: Any) -> Any:  # noqa: ANN401 (a number or an array of them)
    return np.maximum(value, 0.0)


_SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "logit": (metrics.logits, metrics.probabilities),
    "log": (np.log, np.exp),
    "plain": (np.asarray, np.asarray),
    "not negative": (np.asarray, _positive_part),
}


def critical(freedom: float, level: float) -> float:
    """Return Student's two-sided quantile for that many degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def proportion(hits_N: NDArray[Any], of_N: NDArray[Any], units: Units, level: float = LEVEL) -> Interval:
    """Return the share of hits among some patches, with Wilson's interval for as many patches as they are worth.

    Patches of one slide resemble each other, so n of them are worth n divided by the design effect: the variance of
    the share between slides over that of independent patches (Korn and Graubard 1998; Dean and Pagano 2015). Where it
    cannot be seen, because all or none are hits, a slide counts once. For patches as units this is Wilson's interval.

    Args:
        hits_N: Whether each patch is a hit; read where `of_N`.
        of_N: Which patches are counted.
        units: What was sampled.
        level: Share of samples whose interval should cover the truth.
    """
    counted_N = np.asarray(of_N, bool)
    size = int(counted_N.sum())
    if not size:
        return Interval(math.nan, math.nan, math.nan)
    hits_U: Floats = np.bincount(units.of_N[counted_N], np.asarray(hits_N, np.float64)[counted_N], units.num).astype(
        np.float64
    )
    sizes_U: Floats = np.bincount(units.of_N[counted_N], minlength=units.num).astype(np.float64)
    share = float(hits_U.sum() / size)
    if units.kind == "slide":
        worth, present = _effective_size(hits_U, sizes_U, share)
        quantile = critical(max(present - 1, 1), level)
    else:
        from scipy.special import ndtri

        worth, quantile = float(size), float(ndtri((1 + level) / 2))
    squared = quantile**2
    centre = (share + squared / (2 * worth)) / (1 + squared / worth)
    half = quantile / (1 + squared / worth) * math.sqrt(share * (1 - share) / worth + squared / (4 * worth**2))
    return Interval(share, max(centre - half, 0.0), min(centre + half, 1.0))


def _effective_size(hits_U: Floats, sizes_U: Floats, share: float) -> tuple[float, int]:
    """Return how many independent patches these are worth, and the slides they are of.

    At most their number, at least the slides. The variance is the jackknife's, leaving out a slide at a time.
    """
    there_U = sizes_U > 0
    hits_U, sizes_U = hits_U[there_U], sizes_U[there_U]
    present, size = len(sizes_U), float(sizes_U.sum())
    if not 0.0 < share < 1.0 or present < 2:
        return float(present), present
    between = float((((hits_U.sum() - hits_U) / (size - sizes_U) - share) ** 2).sum())
    if between <= 0.0:
        return size, present
    return float(np.clip(share * (1 - share) / between, min(present, size), size)), present
