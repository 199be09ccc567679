"""The patches of a report that are worth a look, with what the network made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastpath import text
from fastpath.analysis import gallery, metrics
from fastpath.analysis.gallery import Pick
from fastpath.figures import png
from fastpath.runs.report_table import Floats, ScoredTable
from fastpath.store.reader import Store

if TYPE_CHECKING:
    from fastpath.workflows.evaluate.network_view import NetworkView

THRESHOLD = 0.5
COLUMNS = ("category", "rank", "id", "slide", "label", "probability", "margin", "d4_spread")


@dataclass(frozen=True, slots=True)
class Card:
    """One patch of the gallery.

    Attributes:
        facts: `COLUMNS`.
        patch: PNG as stored.
        attributed: PNG with HiResCAM laid over it; None where the network has no feature maps, or is not at hand.
    """

    facts: dict[str, Any]
    patch: bytes
    attributed: bytes | None


def make(
    table: ScoredTable,
    calibrated_N: Floats,
    store: Store,
    rows_N: NDArray[np.int64],
    network: NetworkView | None,
    *,
    num: int,
    seed: int,
) -> list[Card]:
    """Choose among the patches that are judged, and fetch their pixels.

    Args:
        table: The predictions.
        calibrated_N: Calibrated logits of the table's patches.
        store: Where the patches lie.
        rows_N: Row of the store of each patch of the table.
        network: Of the scores, for D4 spread and HiResCAM; None leaves them out.
        num: Patches a category.
        seed: Decides the random draw.
    """
    judged_N = table.judged_N
    table, calibrated_N, rows_N = table.part(judged_N), calibrated_N[judged_N], rows_N[judged_N]
    picks = gallery.choose(table.labels_N, metrics.probabilities(calibrated_N), threshold=THRESHOLD, num=num, seed=seed)
    positions = [pick.position for pick in picks]
    shown_K = rows_N[positions]
    patches_KHWC = store.gather(shown_K)
    maps_KHWC = None if network is None else network.attributed(shown_K, patches_KHWC)
    spread_K = None if table.spread_N is None else table.spread_N[positions]
    if spread_K is None and network is not None:
        spread_K = network.spread(shown_K)
    return [
        Card(
            facts=_facts(table, calibrated_N, pick, None if spread_K is None else float(spread_K[at])),
            patch=png.of_image(patches_KHWC[at]),
            attributed=None if maps_KHWC is None else png.of_image(maps_KHWC[at]),
        )
        for at, pick in enumerate(picks)
    ]


def _facts(table: ScoredTable, calibrated_N: Floats, pick: Pick, spread: float | None) -> dict[str, Any]:
    at = pick.position
    return {
        "category": pick.category,
        "rank": pick.rank,
        "id": str(table.ids_N[at]),
        "slide": None if table.groups_N is None else str(table.groups_N[at]),
        "label": int(table.labels_N[at]),
        "probability": float(metrics.probabilities(calibrated_N[at : at + 1])[0]),
        "margin": pick.margin,
        "d4_spread": spread,
    }


def to_csv(cards: Sequence[Card]) -> bytes:
    """Return the gallery's facts as CSV."""
    return text.to_csv(COLUMNS, ([card.facts[name] for name in COLUMNS] for card in cards))
