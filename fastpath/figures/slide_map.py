"""A slide with its heatmap laid over it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastpath.figures import png

_WIDTH_IN, _DPI = 11.0, 150
_NICE_UM = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


def heatmap(overview: NDArray[np.uint8], map_HW: NDArray[np.float64], cell_um: float, lines: Sequence[str]) -> bytes:
    """Draw the slide, and beside it the slide under its probabilities, with a line around what is called tumour.

    Args:
        overview: uint8 [H·k, W·k, 3].
        map_HW: Probability of each cell; NaN where none was scored.
        cell_um: Side of a cell in micrometres.
        lines: What stands above, folded to the figure's width.

    Returns:
        A PNG, the same for the same input.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = map_HW.shape
    upright = rows > columns
    # Side by side where the slide is upright, else one above the other.
    panels = (1, 2) if upright else (2, 1)
    height_in = min(24.0, max(3.0, _WIDTH_IN * rows / columns * (0.5 if upright else 2.0)) + 1.0)
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    extent = (0.0, float(columns), float(rows), 0.0)
    plain, scored = figure.subplots(*panels)
    for panel in (plain, scored):
        panel.imshow(overview, extent=extent, interpolation="antialiased")
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    known_HW = np.nan_to_num(map_HW)
    # What is surely normal stays as it looks; tumour is covered most.
    alpha_HW = np.where(np.isnan(map_HW), 0.0, 0.12 + 0.58 * known_HW)
    shown = scored.imshow(
        known_HW, extent=extent, cmap="viridis", vmin=0, vmax=1, alpha=alpha_HW, interpolation="nearest"
    )
    if min(map_HW.shape) > 1 and (known_HW >= 0.5).any() and (known_HW < 0.5).any():
        middles = (np.arange(columns) + 0.5, np.arange(rows) + 0.5)
        scored.contour(*middles, known_HW, levels=[0.5], colors="black", linewidths=0.8)
    figure.colorbar(shown, ax=scored, shrink=0.8, label="probability of tumour", pad=0.01)
    um = max([um for um in _NICE_UM if um <= columns * cell_um / 4], default=_NICE_UM[0])
    plain.plot([columns * 0.02, columns * 0.02 + um / cell_um], [rows * 0.97] * 2, color="black", linewidth=3)
    name = f"{um / 1000:g} mm" if um >= 1000 else f"{um} µm"
    plain.annotate(name, (columns * 0.02, rows * 0.955), fontsize=8, va="bottom")
    title = "\n".join(textwrap.fill(png.literal(line, 400), 150) for line in lines)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return png.of_figure(figure)
