"""The occlusion test: how well a network ranks patches when it may see only the ring, or only the centre."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fastpath.analysis import metrics, paired
from fastpath.analysis.intervals import units_of
from fastpath.runs.inference import all_logits
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.types import CENTRE, ChannelStats, Patches

Part = Literal["ring", "centre"]


@dataclass(frozen=True, slots=True)
class OcclusionTest:
    """AUC with nothing hidden and with either part of each patch hidden behind the mean colour.

    Attributes:
        auc: Nothing hidden.
        auc_ring_masked: Only the middle third by middle third is seen.
        auc_centre_masked: Only what surrounds it is seen.
        chance_low: A ranking that knows nothing of a patch, but maybe its slide, stays above this in 97.5 % of cases.
        chance_high: And below this.
        chance_over: Whether slides were known for that: `slide`, or `patch`, which is too narrow where slides differ.
        mask_colour_3: What hides a part: the mean colour of the training patches, red green blue, 0 to 255.
        num_patches: Patches scored.
        num_slides: Their slides; 0 where unknown.
        centre_over_ring: AUC of the centre alone (`auc_ring_masked`) less that of the ring alone.
        centre_over_ring_low: Lower end of its 95 % interval, whole slides drawn where at least five are known.
        centre_over_ring_high: Upper end.
    """

    auc: float
    auc_ring_masked: float
    auc_centre_masked: float
    chance_low: float
    chance_high: float
    chance_over: Literal["slide", "patch"]
    mask_colour_3: tuple[int, int, int]
    num_patches: int
    num_slides: int
    centre_over_ring: float
    centre_over_ring_low: float
    centre_over_ring_high: float


@dataclass(frozen=True)
class Masked:
    """Patches of which one part is painted over with one colour.

    Attributes:
        patches: Where they come from.
        hidden: The middle third by middle third, or all but that.
        colour_3: uint8 [3].
    """

    patches: Patches
    hidden: Part
    colour_3: NDArray[np.uint8]

    @property
    def labels_N(self) -> NDArray[np.int8]:
        """Label of each row, -1 where unknown."""
        return self.patches.labels_N

    @property
    def patch_size_px(self) -> int:
        """Side of a patch."""
        return self.patches.patch_size_px

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the patches of these rows, masked."""
        found_NHWC = self.patches.gather(indices_N, out_NHWC)
        middle = CENTRE.pixels(self.patch_size_px)
        centre = found_NHWC[:, middle, middle]
        if self.hidden == "centre":
            centre[:] = self.colour_3
        else:
            kept = centre.copy()
            found_NHWC[:] = self.colour_3
            centre[:] = kept
        return found_NHWC


def mean_colour(stats: ChannelStats) -> NDArray[np.uint8]:
    """Return the mean colour of the training patches, uint8 [3]."""
    colour: NDArray[np.uint8] = np.rint(255 * np.array(stats.mean_3)).astype(np.uint8)
    return colour


def measure_occlusion(
    run: TrainedRun,
    model: nn.Module,
    patches: Patches,
    rows_N: NDArray[np.int64],
    logits_N: NDArray[np.float32],
    runtime: Runtime,
    advance: Callable[[int], None] | None = None,
    *,
    groups_N: NDArray[np.object_] | None = None,
) -> OcclusionTest:
    """Score labelled patches with either part hidden.

    Args:
        run: Configuration and normalisation.
        model: The run's network.
        patches: Where the rows lie.
        rows_N: int64 [N], labelled rows of both classes.
        logits_N: Theirs with nothing hidden.
        runtime: Device and precision.
        advance: Called with the patches done so far, of two passes.
        groups_N: The slide of each row; None where unknown.
    """
    labels_N, colour_3 = patches.labels_N[rows_N], mean_colour(run.stats)
    masked_N: dict[str, NDArray[np.float32]] = {}
    for number, hidden in enumerate(get_args(Part)):
        masked = Masked(patches, hidden, colour_3)
        report = _shifted(advance, number * len(rows_N))
        masked_N[hidden] = all_logits(run, model, masked, rows_N, runtime, report)
    num_slides = 0 if groups_N is None else len(set(groups_N.tolist()))
    apart = paired.difference(labels_N, masked_N["ring"], masked_N["centre"], units_of(groups_N, len(rows_N), labels_N))
    low, high = chance_band(labels_N, groups_N)
    red, green, blue = colour_3.tolist()
    return OcclusionTest(
        auc=metrics.roc_auc(labels_N, logits_N),
        auc_ring_masked=metrics.roc_auc(labels_N, masked_N["ring"]),
        auc_centre_masked=metrics.roc_auc(labels_N, masked_N["centre"]),
        chance_low=low,
        chance_high=high,
        chance_over="patch" if groups_N is None else "slide",
        mask_colour_3=(red, green, blue),
        num_patches=len(rows_N),
        num_slides=num_slides,
        centre_over_ring=apart.difference,
        centre_over_ring_low=apart.low,
        centre_over_ring_high=apart.high,
    )


def chance_band(
    labels_N: NDArray[np.int8], groups_N: NDArray[np.object_] | None = None, draws: int = 2000
) -> tuple[float, float]:
    """Return where 95 % of the AUCs of a ranking that knows nothing of a patch lie.

    What knows nothing of a patch may still know its slide: stain tells slides apart, and slides have shares of tumour
    of their own. So slides are ranked at random, whole, and the band is that of 95 % of these rankings; at least that
    of patches ranked at random, by Mann and Whitney's variance. Where slides are unknown it is the latter alone.

    Args:
        labels_N: 0 or 1, both present.
        groups_N: Slides; None where unknown.
        draws: Random rankings of slides.
    """
    num_positive, num_negative = int((labels_N == 1).sum()), int((labels_N == 0).sum())
    reach = 1.96 * math.sqrt((num_positive + num_negative + 1) / (12 * num_positive * num_negative))
    if groups_N is None:
        return 0.5 - reach, 0.5 + reach
    _, of_N = np.unique(groups_N.astype(str), return_inverse=True)
    positive_U, negative_U = (np.bincount(of_N, labels_N == label) for label in (1, 0))
    rng = np.random.Generator(np.random.Philox(0))
    order_DU = np.argsort(rng.random((draws, len(positive_U))), axis=1)
    below_DU = np.cumsum(negative_U[order_DU], axis=1) - negative_U[order_DU] / 2  # within a slide all are tied
    auc_D = (positive_U[order_DU] * below_DU).sum(axis=1) / (num_positive * num_negative)
    # Every ranking has its reverse, so the band is even about one half.
    reach = max(reach, float(np.quantile(np.abs(auc_D - 0.5), 0.95)))
    return max(0.5 - reach, 0.0), min(0.5 + reach, 1.0)


def _shifted(advance: Callable[[int], None] | None, by: int) -> Callable[[int], None] | None:
    return None if advance is None else lambda done: advance(by + done)
