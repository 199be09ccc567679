"""Free-response ROC as CAMELYON16 defines it: lesions found against false alarms a slide.

A detection is a point with a score. One that lies in a lesion finds it, and a lesion scores as its best detection; any
other detection is a false alarm. Detections in isolated tumour cells count as neither. (Ehteshami Bejnordi et al.,
"Diagnostic assessment of deep learning algorithms for detection of lymph node metastases", JAMA 2017, and the
challenge's evaluation code.) L lesions, D detections, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import intervals
from fastpath.analysis.intervals import Interval
from fastpath.errors import DataError

RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False alarms a slide at which sensitivity is read; the score is the mean over them."""

JOINED_UM = 75.0  # lesions no further apart than five tumour cells are one
ISOLATED_UM = 275.0  # a lesion whose longest axis, widened by the above, is shorter counts as isolated tumour cells

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lesions:
    """The lesions of one slide, drawn on a grid.

    Attributes:
        label_HW: int32, 0 outside lesions, else the lesion's number from 1.
        isolated: Numbers of lesions that are isolated tumour cells.
        pixel_um: Side of a grid cell.
    """

    label_HW: NDArray[np.int32]
    isolated: frozenset[int]
    pixel_um: float

    @property
    def num_lesions(self) -> int:
        """Lesions to be found."""
        return int(self.label_HW.max(initial=0)) - len(self.isolated)


@dataclass(frozen=True, slots=True)
class Hits:
    """What the detections of one slide come to.

    Attributes:
        lesions_L: Best score in each lesion; -inf where it was missed.
        false_alarms_F: Scores of the detections outside lesions.
    """

    lesions_L: Floats
    false_alarms_F: Floats


@dataclass(frozen=True, slots=True)
class Froc:
    """Sensitivity against false alarms a slide.

    Attributes:
        thresholds_T: Falling; a detection counts when its score is at least this. The first is infinite.
        rates_T: False alarms a slide.
        sensitivity_T: Share of lesions found.
        score: Mean sensitivity at `RATES`.
        sensitivity_at: Sensitivity at each of `RATES`.
        num_lesions: Over all slides.
        num_slides: Slides.
    """

    thresholds_T: Floats
    rates_T: Floats
    sensitivity_T: Floats
    score: float
    sensitivity_at: dict[float, float]
    num_lesions: int
    num_slides: int


def lesions(mask_HW: NDArray[np.bool_], pixel_um: float) -> Lesions:
    """Number the lesions of a mask: close ones joined, holes filled, touching at a corner counted as touching.

    Args:
        mask_HW: True in tumour.
        pixel_um: Side of a pixel.
    """
    from scipy import ndimage

    if not mask_HW.any():
        return Lesions(np.zeros(mask_HW.shape, np.int32), frozenset(), pixel_um)
    distance_HW = ndimage.distance_transform_edt(~mask_HW)
    filled_HW = ndimage.binary_fill_holes(distance_HW < JOINED_UM / (2 * pixel_um))
    label_HW, num = ndimage.label(filled_HW, structure=np.ones((3, 3), bool))
    isolated = {
        number
        for number, window in enumerate(ndimage.find_objects(label_HW), start=1)
        if major_axis(label_HW[window] == number) * pixel_um < ISOLATED_UM
    }
    assert num == label_HW.max(initial=0)
    return Lesions(label_HW.astype(np.int32), frozenset(isolated), pixel_um)


def major_axis(shape_HW: NDArray[np.bool_]) -> float:
    """Return the longer axis of the ellipse with a shape's second moments, in pixels."""
    places_2N = np.array(np.nonzero(shape_HW), np.float64)
    centred_2N = places_2N - places_2N.mean(axis=1, keepdims=True)
    # 1/12 is the variance within a pixel.
    moments_22 = centred_2N @ centred_2N.T / places_2N.shape[1] + np.eye(2) / 12
    return float(4 * np.sqrt(np.linalg.eigvalsh(moments_22)[-1]))


def match(slide_lesions: Lesions, places_D2: NDArray[np.int64], scores_D: Floats) -> Hits:
    """Tell which lesion each detection finds.

    Args:
        slide_lesions: The slide's lesions.
        places_D2: Row and column of each detection on the lesions' grid; outside of it counts as outside lesions.
        scores_D: Finite; higher is more certain.
    """
    height, width = slide_lesions.label_HW.shape
    y_D, x_D = np.asarray(places_D2, np.int64).reshape(-1, 2).T
    inside_D = (y_D >= 0) & (y_D < height) & (x_D >= 0) & (x_D < width)
    number_D = np.zeros(len(scores_D), np.int64)
    number_D[inside_D] = slide_lesions.label_HW[y_D[inside_D], x_D[inside_D]]
    best = np.full(int(slide_lesions.label_HW.max(initial=0)) + 1, -np.inf)
    np.maximum.at(best, number_D, scores_D)
    kept = [number for number in range(1, len(best)) if number not in slide_lesions.isolated]
    return Hits(best[kept], np.asarray(scores_D, np.float64)[number_D == 0])


def froc(slides: Sequence[Hits]) -> Froc:
    """Count lesions found and false alarms at every threshold.

    Raises:
        DataError: There is no lesion to find.
    """
    lesions_L = np.concatenate([hits.lesions_L for hits in slides]) if slides else np.empty(0)
    alarms_F = np.concatenate([hits.false_alarms_F for hits in slides]) if slides else np.empty(0)
    if not len(lesions_L):
        problem = f"found no lesion in {len(slides)} slides that is more than isolated tumour cells"
        raise DataError("lesions", f"{problem}, wanted one to find", "leave lesions out to score the slide alone")
    scores = np.concatenate([lesions_L, alarms_F])
    thresholds_T = np.append(np.inf, np.unique(scores[np.isfinite(scores)])[::-1])
    rates_T = _at_least(alarms_F, thresholds_T) / len(slides)
    sensitivity_T = _at_least(lesions_L, thresholds_T) / len(lesions_L)
    # At a rate that several thresholds share, this takes the last, that is the most sensitive.
    at = np.interp(RATES, rates_T, sensitivity_T)
    return Froc(
        thresholds_T=thresholds_T,
        rates_T=rates_T,
        sensitivity_T=sensitivity_T,
        score=float(at.mean()),
        sensitivity_at={rate: float(value) for rate, value in zip(RATES, at, strict=True)},
        num_lesions=len(lesions_L),
        num_slides=len(slides),
    )


def score_interval(slides: Sequence[Hits]) -> Interval:
    """Return the score with its interval over slides, leaving one out in turn; without ends where slides are few.

    Raises:
        DataError: See `froc`.
    """
    whole = froc(slides).score
    if len(slides) < intervals.MIN_SLIDES:
        return Interval(whole, np.nan, np.nan)

    def statistic(weights_BG: Floats) -> Floats:
        kept = ([hits for hits, weight in zip(slides, row, strict=True) if weight] for row in weights_BG.tolist())
        return np.array([[froc(some).score if any(len(hits.lesions_L) for hits in some) else np.nan] for some in kept])

    has_lesions_G = np.array([len(hits.lesions_L) > 0 for hits in slides])
    units = intervals.units_of(np.arange(len(slides)), len(slides), has_lesions_G)
    return intervals.bootstrap(statistic, units, ["logit"])[0]


def _at_least(scores: Floats, thresholds_T: Floats) -> Floats:
    counts: Floats = (len(scores) - np.searchsorted(np.sort(scores), thresholds_T, side="left")).astype(np.float64)
    return counts
