"""One page in which a slide and its heatmap can be zoomed, that needs nothing beside it and fetches nothing.

OpenSeadragon (vendor/, BSD licence) moves and zooms; tiles, heatmap and outlines are within the page.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fastpath.analysis.outlines import Outline
from fastpath.figures import page, png, style
from fastpath.figures.slide_map import NICE_UM, SlideMap, alpha

_HEAT_PX = 2048  # longest side of the heatmap at most: cells stay sharp where each has several pixels


def render(
    shown: SlideMap,
    facts: Mapping[str, Any],
    pyramid: Mapping[str, Any],
    tiles: Mapping[str, bytes],
    top: Sequence[Mapping[str, Any]],
) -> bytes:
    """Return the page as UTF-8.

    Args:
        shown: The slide, its heatmap and outlines.
        facts: Plain values of a `slide.SlideResult`.
        pyramid: `width`, `height`, `min_level`, `max_level`, `tile_px`; `scale`, pixels of full resolution a pixel.
        tiles: JPEG files by `level/column_row`.
        top: The surest tiles: `x`, `y`, `probability`, and `jpeg`, a picture.
    """
    rows, columns = shown.map_HW.shape
    scene = {
        **pyramid,
        "um": shown.mpp * pyramid["scale"],
        "lengths": NICE_UM,
        "heat": _uri(_heat(shown), "png"),
        "heat_width": columns * shown.cell_px / pyramid["scale"],
        "tiles": {name: base64.b64encode(content).decode("ascii") for name, content in tiles.items()},
    }
    library = resources.files("fastpath.figures") / "vendor"
    content = page.render(
        facts,
        {},
        "viewer.html",
        scene=scene,
        size_px=(columns * shown.cell_px, rows * shown.cell_px),
        called=_path(shown.called),
        lesions=_path(shown.lesions),
        outline_colours={"called": style.CALLED, "lesion": style.LESION},
        top=[{**each, "uri": _uri(each["jpeg"], "jpeg")} for each in top],
        licence=(library / "openseadragon-LICENSE.txt").read_text(encoding="utf-8"),
        library=Markup((library / "openseadragon-6.1.1.min.js").read_text(encoding="utf-8")),
    )
    return content.encode()


def _heat(shown: SlideMap) -> bytes:
    """Return the heatmap as a PNG with alpha, each cell a square of pixels."""
    from matplotlib import colormaps

    colours_HW4 = np.rint(255 * colormaps[style.HEAT](np.nan_to_num(shown.map_HW))).astype(np.uint8)
    colours_HW4[..., 3] = np.rint(255 * alpha(shown.map_HW, shown.threshold)).astype(np.uint8)
    times = max(1, _HEAT_PX // max(shown.map_HW.shape))
    return png.of_image(colours_HW4.repeat(times, axis=0).repeat(times, axis=1))


def _path(outlines: Sequence[Outline]) -> str:
    """Return outlines as the `d` of an SVG path, in pixels of full resolution."""
    return "".join(_ring(ring) for outline in outlines for ring in (outline.exterior, *outline.holes))


def _ring(ring: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in np.round(ring, 1).tolist()) + "Z"


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
