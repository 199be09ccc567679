"""The patches of a report that are worth a look, with what the network made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath import text
from fastpath.analysis import combine, gallery, metrics
from fastpath.analysis.gallery import Pick
from fastpath.errors import UsageError
from fastpath.figures import attribution_overlay, png
from fastpath.model import attribution
from fastpath.runs import inference
from fastpath.runs.report_table import Floats, ScoredTable
from fastpath.runs.score_views import score_views
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.store.reader import Store

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
    run: TrainedRun | None,
    runtime: Runtime,
    *,
    num: int,
    seed: int,
) -> list[Card]:
    """Choose patches and fetch their pixels.

    Args:
        table: The predictions.
        calibrated_N: Calibrated logits.
        store: Where the patches lie.
        rows_N: Row of the store of each patch of the table.
        run: The network, for D4 spread and HiResCAM; None leaves them out.
        runtime: Device and precision.
        num: Patches a category.
        seed: Decides the random draw.
    """
    picks = gallery.choose(table.labels_N, metrics.probabilities(calibrated_N), threshold=THRESHOLD, num=num, seed=seed)
    shown_K = rows_N[[pick.position for pick in picks]]
    patches_KHWC = store.gather(shown_K)
    spread_K = _spread(table, picks, run, store, shown_K, runtime)
    maps_KHWC = _attributed(run, store, shown_K, patches_KHWC, runtime)
    return [
        Card(
            facts=_facts(table, calibrated_N, pick, None if spread_K is None else float(spread_K[at])),
            patch=png.of_image(patches_KHWC[at]),
            attributed=None if maps_KHWC is None else png.of_image(maps_KHWC[at]),
        )
        for at, pick in enumerate(picks)
    ]


def _spread(
    table: ScoredTable,
    picks: Sequence[Pick],
    run: TrainedRun | None,
    store: Store,
    shown_K: NDArray[np.int64],
    runtime: Runtime,
) -> Floats | None:
    if table.spread_N is not None:
        return table.spread_N[[pick.position for pick in picks]]
    return None if run is None else combine.spread(score_views(run, store, shown_K, runtime, "d4"))


def _attributed(
    run: TrainedRun | None,
    store: Store,
    shown_K: NDArray[np.int64],
    patches_KHWC: NDArray[np.uint8],
    runtime: Runtime,
) -> NDArray[np.uint8] | None:
    if run is None or not len(shown_K):
        return None
    model = runtime.prepare(run.network())
    try:
        maps = [
            attribution.attribute(model, batch.images_NCHW, "hirescam")
            for batch in inference.batches(run, store, shown_K, runtime)
        ]
    except UsageError:  # a network without feature maps has no such maps; the rest of the card stands
        return None
    return attribution_overlay.overlay(patches_KHWC, np.concatenate(maps))


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
