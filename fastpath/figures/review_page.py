"""The page on which somebody looks at mined patches and keeps, flips or drops them, one key each.

It lies beside its pictures, fetches nothing else, and keeps its decisions in the browser's localStorage. What is
downloaded is the table that was mined, as CSV, with label and weight as decided: `data.extra` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastpath.analysis.pixels.eda import CLASS_WORDS
from fastpath.figures import page
from fastpath.text import to_cell
from fastpath.types import CENTRE

KIND_WORDS: Mapping[str, str] = {
    "label_error": "likely label error",
    "hard_negative": "hard normal",
    "hard_positive": "hard tumour",
    "pseudo_label": "new label",
}
"""What the page calls each kind of a mined table."""


@dataclass(frozen=True, slots=True)
class SimilarPatch:
    """A training patch that resembles a mined one.

    Attributes:
        id: Its name.
        label: 0 or 1.
        similarity: Cosine of the features, up to 1.
        same_slide: Whether both are of one slide; None where slides are unknown.
        same_pixels: Whether it is the same picture under another name.
    """

    id: str
    label: int
    similarity: float
    same_slide: bool | None
    same_pixels: bool


@dataclass(frozen=True, slots=True)
class MinedPatch:
    """A patch to decide on.

    Attributes:
        row: Its row of the table.
        id: Its name.
        kind: A key of `KIND_WORDS`.
        label: 0 or 1, as mined.
        slide: None where slides are unknown.
        loss: In nats.
        probability: Of tumour.
        source: Whose probability it is.
        reason: Why it was mined.
        picture: Path of its PNG, from the page.
        strip: Path of the picture of `similar`, side by side; empty where there are none.
        similar: The likest first.
    """

    row: int
    id: str
    kind: str
    label: int
    slide: str | None
    loss: float
    probability: float
    source: str
    reason: str
    picture: str
    strip: str
    similar: Sequence[SimilarPatch]


def render(
    facts: Mapping[str, Any],
    patches: Sequence[MinedPatch],
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    weights: Mapping[str, Mapping[str, float]],
    notices: Sequence[str] = (),
) -> bytes:
    """Return the page as UTF-8.

    Args:
        facts: `table`, its name; `fingerprint`, of its content; `run`, the run's name; `side_px`, of a patch.
        patches: Those to decide on.
        columns: Of the table; the page adds `decision`.
        rows: Every row of the table as `tables.cells` gives it, whether it is shown or not.
        weights: By kind and decision, the weight of a row.
        notices: What the reader should know.
    """
    kinds = [kind for kind in KIND_WORDS if any(patch.kind == kind for patch in patches)]
    counts = {kind: sum(patch.kind == kind for patch in patches) for kind in kinds}
    scene = {
        "key": f"fastpath-review:{facts['fingerprint']}",
        "file": f"{facts['table'].rsplit('.', 1)[0]}-reviewed.csv",
        "columns": list(columns),
        "rows": [[str(to_cell(cell)) for cell in row] for row in rows],
        "weights": weights,
        "words": [CLASS_WORDS[label] for label in (0, 1)],
        "kinds": KIND_WORDS,
        "side_px": facts["side_px"],
        "patches": [asdict(patch) for patch in patches],
    }
    low, high = CENTRE.edges(100)
    content = page.render(
        facts,
        {},
        "review.html",
        scene=scene,
        kinds=[(kind, KIND_WORDS[kind], counts[kind]) for kind in kinds],
        num_shown=len(patches),
        num_rows=len(rows),
        frame={"inset": low, "side": high - low},
        notices=notices,
    )
    return content.encode()
