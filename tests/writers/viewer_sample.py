"""A slide's viewer to open in a browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fastpath.analysis.outlines import Outline
from fastpath.figures import slide_viewer
from fastpath.figures.slide_map import SlideMap
from fastpath.ingest.slide_pyramid import TILE_PX, Pyramid, jpeg
from fastpath.ingest.slide_reader import open_slide

SIZE_PX, CELL_PX, MPP = (1536, 1152), 96.0, 0.5
TISSUE = (205, 130, 175)
TUMOUR_CELLS = (slice(3, 6), slice(9, 13))  # rows and columns of cells that are called tumour
NAME = "</script><b>a&b.svs"


def write_viewer(folder: Path) -> Path:
    """Write the viewer of a plain slide with a block that is called tumour, and a lesion around it."""
    Image.new("RGB", SIZE_PX, TISSUE).save(folder / "slide.png")
    map_HW = np.full((12, 16), 0.02)
    map_HW[TUMOUR_CELLS] = 0.95
    corners = np.array([[9, 3], [13, 3], [13, 6], [9, 6]]) * CELL_PX
    outline = Outline(corners, (corners / 4 + [900, 300],))
    slide = open_slide(folder / "slide.png")
    pyramid = Pyramid(slide)
    (width, height), (first, last) = pyramid.size_px, pyramid.levels
    levels = {"width": width, "height": height, "scale": 1.0, "min_level": first, "max_level": last, "tile_px": TILE_PX}
    shown = SlideMap(np.zeros((12, 16, 3), np.uint8), map_HW, CELL_PX, MPP, 0.5, [outline], [outline])
    facts = {
        "image": NAME, "num_called": 12, "num_tiles": 192, "called_mm2": 0.0276, "threshold": 0.5, "notice": "",
        "scores": {"max": 0.95}, "verdicts": [{"about": "tissue", "text": "it is foreign", "caution": True}],
    }  # fmt: skip
    top = [{"x": 1008, "y": 336, "probability": 0.95, "jpeg": jpeg(Image.new("RGB", (96, 96)))}]
    page = slide_viewer.render(shown, facts, levels, dict(pyramid.tiles()), top)
    slide.close()
    (folder / "viewer.html").write_bytes(page)
    return folder / "viewer.html"
