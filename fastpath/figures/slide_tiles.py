"""A slide's surest tiles, large enough to be looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastpath.figures import png, style
from fastpath.figures.slide_map import scale_bar

COLUMNS = 4
_SIDE_IN, _CAPTION_IN, _HEAD_IN, _DPI = 2.9, 0.28, 0.5, 110


def sheet(images_NHWC: NDArray[np.uint8], captions: Sequence[str], cell_share: float, mpp: float, title: str) -> bytes:
    """Draw tiles side by side, the cell that each score speaks of framed, each with a scale bar.

    Args:
        images_NHWC: uint8 [N, S, S, 3], at least one.
        captions: What stands below each.
        cell_share: Side of a cell as a share of a tile's.
        mpp: Micrometres a pixel of these images.
        title: What stands above all.

    Returns:
        A PNG, the same for the same input.
    """
    from matplotlib.patches import Rectangle

    num, side = images_NHWC.shape[:2]
    rows = -(-num // COLUMNS)
    size_in = (COLUMNS * _SIDE_IN, rows * (_SIDE_IN + _CAPTION_IN) + _HEAD_IN)
    figure = style.canvas(size_in, _DPI)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    low, width = side * (1 - cell_share) / 2, side * cell_share
    for number, panel in enumerate(panels):
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        if number >= num:
            continue
        panel.imshow(images_NHWC[number], extent=(0, side, side, 0), interpolation="antialiased")
        for colour, line in (("white", 2.4), ("black", 0.9)):
            panel.add_patch(Rectangle((low, low), width, width, fill=False, edgecolor=colour, linewidth=line))
        panel.set_xlabel(png.literal(captions[number]), fontsize=8, labelpad=3)
        scale_bar(panel, side, side, mpp)
    figure.suptitle(png.literal(title, 200), x=0.01, ha="left", fontsize=10)
    return png.of_figure(figure)
