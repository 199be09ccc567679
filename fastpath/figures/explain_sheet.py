"""One picture of several explained patches, a row each, with what the centre holds under every map."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastpath.figures import png, style

NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
"""Of methods, as their authors write them."""


def sheet(
    strips_NHWC: NDArray[np.uint8],
    captions: Sequence[str],
    columns: Sequence[str],
    masses: Mapping[str, NDArray[np.float64]],
    title: str = "",
) -> bytes:
    """Draw strips of equally wide pictures below each other.

    Args:
        strips_NHWC: uint8 [N, side, side·len(columns), 3].
        captions: What each row shows.
        columns: What each part of a strip shows; parts with an entry in `masses` get its number.
        masses: Share in the centre by column, float64 [N] or longer.
        title: A sentence or two above all.

    Returns:
        A PNG, the same for the same input.
    """
    num, side = strips_NHWC.shape[:2]
    figure = style.canvas((1.3 + 2.2 * len(columns), 0.5 + 2.45 * num), 100)
    axes = figure.subplots(num, len(columns), squeeze=False)
    for row in range(num):
        for number, name in enumerate(columns):
            panel = axes[row, number]
            panel.imshow(strips_NHWC[row, :, number * side : (number + 1) * side], interpolation="antialiased")
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
            if row == 0:
                panel.set_title(NAMES.get(name, name.replace("_", " ")), fontsize=10)
            if name in masses:
                value = masses[name][row]
                panel.set_xlabel(f"centre {value:.0%}" if np.isfinite(value) else "no map", fontsize=9)
        axes[row, 0].set_ylabel(captions[row], rotation=0, ha="right", va="center", fontsize=8, labelpad=6)
    if title:
        width = 14 * (1 + len(columns))  # letters of this size that the figure is wide
        figure.suptitle(textwrap.fill(title, max(40, width + 14)), x=0.01, ha="left", fontsize=10)
    return png.of_figure(figure)
