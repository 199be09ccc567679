"""Which patches to look at: the worst mistakes, the undecided, and as many that went well. N patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEANINGS = {
    "false positive": "called tumour, labelled normal; the surest mistakes first",
    "false negative": "called normal, labelled tumour; the surest mistakes first",
    "borderline": "nearest to the threshold, as many of each label",
    "correct": "called right; a random draw, as many of each label",
}


@dataclass(frozen=True, slots=True)
class Pick:
    """A patch to show.

    Attributes:
        category: A key of `MEANINGS`.
        rank: From 1, within its category.
        position: Place in the table.
        margin: Probability less the threshold; its sign is the decision.
    """

    category: str
    rank: int
    position: int
    margin: float


def choose(
    labels_N: NDArray[Any], probability_N: NDArray[Any], *, threshold: float = 0.5, num: int = 8, seed: int = 0
) -> list[Pick]:
    """Choose patches of four categories, at most `num` of each; none is chosen twice.

    Args:
        labels_N: 0 or 1.
        probability_N: 0 to 1; at least `threshold` is called positive.
        threshold: Of the decision.
        num: Patches a category; even, so that both labels have as many.
        seed: Decides the random draw.
    """
    positive_N, margin_N = np.asarray(labels_N) == 1, np.asarray(probability_N, np.float64) - threshold
    called_N, taken_N = margin_N >= 0, np.zeros(len(margin_N), bool)
    nearest_N, surest_N = np.abs(margin_N), -np.abs(margin_N)
    drawn_N = np.random.Generator(np.random.Philox(seed)).random(len(margin_N))
    plans = [
        ("false positive", [(called_N & ~positive_N, num)], surest_N),
        ("false negative", [(~called_N & positive_N, num)], surest_N),
        ("borderline", [(positive_N, num // 2), (~positive_N, num // 2)], nearest_N),
        ("correct", [(called_N & positive_N, num // 2), (~called_N & ~positive_N, num // 2)], drawn_N),
    ]
    picks = []
    for category, pools, order_N in plans:
        rank = 0
        for pool_N, count in pools:
            there = np.flatnonzero(pool_N & ~taken_N)
            for position in there[np.argsort(order_N[there], kind="stable")][:count].tolist():
                taken_N[position] = True
                rank += 1
                picks.append(Pick(category, rank, position, float(margin_N[position])))
    return picks
