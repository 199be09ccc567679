"""A slide with its heatmap laid over it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.outlines import Outline
from fastpath.figures import png, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NICE_UM = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
"""Lengths of scale bars, in micrometres."""

_WIDTH_IN, _DPI = 11.0, 150
_ALPHA = 0.7  # of what is called tumour: the tissue under it can still be seen
_CLEAR = 0.2  # of the threshold: what is less likely tumour than that is not coloured at all


@dataclass(frozen=True, slots=True)
class SlideMap:
    """A slide and what was found in it. Outlines and lengths are in pixels of full resolution.

    Attributes:
        overview: The slide, uint8 [H·k, W·k, 3].
        map_HW: Probability of each cell; NaN where none was scored.
        cell_px: Side of a cell.
        mpp: Micrometres a pixel.
        threshold: Probability from which a cell is called tumour.
        called: Outlines of what is.
        lesions: Outlines of what is known to be tumour.
    """

    overview: NDArray[np.uint8]
    map_HW: NDArray[np.float64]
    cell_px: float
    mpp: float
    threshold: float
    called: Sequence[Outline]
    lesions: Sequence[Outline]


def alpha(probability: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return how opaque a probability is drawn: nothing at the low end, most from the threshold on; NaN not at all."""
    share = np.nan_to_num(probability) / max(threshold, 1e-6)
    opaque: NDArray[np.float64] = _ALPHA * np.clip((share - _CLEAR) / (1 - _CLEAR), 0, 1)
    return opaque


def heatmap(shown: SlideMap, lines: Sequence[str]) -> bytes:
    """Draw the slide, and beside it the slide under its probabilities, with outlines.

    Args:
        shown: The slide.
        lines: What stands above, folded to the figure's width.

    Returns:
        A PNG, the same for the same input.
    """
    rows, columns = shown.map_HW.shape
    # Side by side where the slide is upright, else one above the other.
    panels = (1, 2) if rows > columns else (2, 1)
    height_in = min(24.0, max(3.0, _WIDTH_IN * rows / columns * (0.5 if rows > columns else 2.0)) + 1.0)
    figure = style.canvas((_WIDTH_IN, height_in), _DPI)
    right, bottom = columns * shown.cell_px, rows * shown.cell_px
    plain, scored = figure.subplots(*panels)
    for panel in (plain, scored):
        panel.imshow(shown.overview, extent=(0.0, right, bottom, 0.0), interpolation="antialiased")
        panel.set(xticks=[], yticks=[], xlim=(0, right), ylim=(bottom, 0))
        panel.spines[:].set_visible(False)
        scale_bar(panel, right, bottom, shown.mpp)
    _probabilities(shown, scored)
    for panel, outlines, colour, name in (
        (plain, shown.lesions, style.LESION, "known tumour"),
        (scored, shown.called, style.CALLED, f"probability of at least {shown.threshold:g}"),
        (scored, shown.lesions, style.LESION, "known tumour"),
    ):
        _outlines(panel, outlines, colour, name)
    title = "\n".join(textwrap.fill(png.literal(line, 400), 150) for line in lines)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return png.of_figure(figure)


def _probabilities(shown: SlideMap, panel: Axes) -> None:
    """Lay the probabilities over a panel; the bar beside it shows them as opaque as they lie on white."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    steps = np.linspace(0, 1, 256)
    colours_256x4 = colormaps[style.HEAT](steps)
    colours_256x4[:, 3] = alpha(steps, shown.threshold)
    rows, columns = shown.map_HW.shape
    drawn = panel.imshow(
        np.ma.masked_invalid(shown.map_HW),
        extent=(0.0, columns * shown.cell_px, rows * shown.cell_px, 0.0),
        cmap=ListedColormap(colours_256x4),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    bar = panel.figure.colorbar(drawn, ax=panel, shrink=0.8, label="probability of tumour", pad=0.01)
    if bar.solids is not None:  # half-opaque steps whose edges overlap would show as stripes
        bar.solids.set(edgecolor="none", linewidth=0, antialiased=False)
    bar.ax.axhline(shown.threshold, color=style.CALLED, linewidth=1.2)


def _outlines(panel: Axes, outlines: Sequence[Outline], colour: str, name: str) -> None:
    from matplotlib.collections import LineCollection

    rings = [np.concatenate([ring, ring[:1]]) for ring in _rings(outlines)]
    if rings:
        panel.add_collection(LineCollection(rings, colors="white", linewidths=2.4, alpha=0.8))
        panel.add_collection(LineCollection(rings, colors=colour, linewidths=1.2, label=name))
        panel.legend(loc="upper right", fontsize=8, framealpha=0.9)


def _rings(outlines: Sequence[Outline]) -> Iterator[NDArray[np.float64]]:
    for outline in outlines:
        yield outline.exterior
        yield from outline.holes


def scale_bar(panel: Axes, width: float, height: float, mpp: float) -> None:
    """Draw a bar of a round length in a panel's lower left corner, on white, so that it is seen on any tissue.

    Args:
        panel: Its x runs from 0 to `width`, its y downwards from 0 to `height`.
        width: In pixels.
        height: In pixels.
        mpp: Micrometres a pixel.
    """
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
    from matplotlib.patches import Rectangle

    um = round_length_um(width * mpp / 4)
    bar = AuxTransformBox(panel.transData)
    bar.add_artist(Rectangle((0, 0), um / mpp, height * 0.006, facecolor="black", linewidth=0))
    packed = VPacker(children=[TextArea(length(um), textprops={"fontsize": 8}), bar], align="center", pad=0, sep=2)
    box = AnchoredOffsetbox("lower left", child=packed, pad=0.4, borderpad=0.6, frameon=True)
    box.patch.set(facecolor="white", edgecolor="none", alpha=0.85)
    panel.add_artist(box)


def round_length_um(most: float) -> int:
    """Return the largest round number of micrometres up to `most`, the smallest of all where none is."""
    return max((um for um in NICE_UM if um <= most), default=NICE_UM[0])


def length(um: int) -> str:
    """Return a length in words: micrometres, or from 1,000 on millimetres."""
    return f"{um / 1000:g} mm" if um >= 1000 else f"{um} µm"
