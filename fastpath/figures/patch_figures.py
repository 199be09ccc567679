"""Pictures of a set of patches. Each returns the bytes of a PNG, the same for the same input.

One panel a picture: a page can then set them side by side on a screen and below each other on a telephone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.pixels import eda
from fastpath.analysis.pixels.eda import CLASS_NAMES, CLASS_WORDS
from fastpath.figures import png, style
from fastpath.figures.page import percent
from fastpath.types import CENTRE

if TYPE_CHECKING:
    from matplotlib.ticker import Locator

_GAP_PX, _HEADING_PX, _CAPTION_PX = 6, 26, 18
SMOOTHED_LEVELS = 3  # grey levels that a histogram's curve averages over: stored values favour some levels
_BLOCK_PX = 4
THUMBNAIL_PX = 128  # the largest side at which a patch is shown among many


@dataclass(frozen=True, slots=True)
class Row:
    """A row of patches in a picture of many.

    Attributes:
        heading: What they are; empty for no line of its own.
        images_NHWC: uint8 [N, H, W, 3].
        captions: One a patch, or none at all.
    """

    heading: str
    images_NHWC: NDArray[np.uint8]
    captions: Sequence[str] = ()


def balance(parts: Mapping[str, Mapping[int, int]]) -> bytes:
    """Draw how many patches of each label each part has.

    Args:
        parts: By name, first on top: patches by label.
    """
    figure, axes = style.panel()
    names, largest = list(parts), max(max(sum(counts.values()) for counts in parts.values()), 1)
    for place, counts in enumerate(parts.values()):
        left, total = 0, sum(counts.values())
        for label in (label for label in CLASS_NAMES if counts.get(label)):
            axes.barh(place, counts[label], left=left, height=0.55, color=style.CLASSES[label])
            left += counts[label]
        labelled = total - counts.get(-1, 0)
        share = f"\n{percent(counts[1] / labelled, labelled)} tumour" if counts.get(1) else ""
        axes.text(total + 0.02 * largest, place, f"{total:,}{share}", va="center", fontsize=8, color=style.INK)
    present = [label for label in CLASS_NAMES if any(counts.get(label) for counts in parts.values())]
    handles = [axes.barh(0, 0, color=style.CLASSES[label], label=CLASS_WORDS[label]) for label in present]
    axes.legend(
        handles=handles, frameon=False, fontsize=style.SMALL_PT, ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 0.99)
    )
    axes.set_yticks(range(len(names)), [png.literal(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, largest * 1.33)  # room for the words
    style.finish(axes, "", "patches", "")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(_ticks(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    return png.of_figure(figure)


def histogram(channel: int, histograms: Mapping[int, NDArray[np.int64]]) -> bytes:
    """Draw how often each grey level of one channel occurs, by label; the two ends are told in words, not drawn.

    Args:
        channel: 0 red, 1 green, 2 blue.
        histograms: By label, int64 [3, 256].
    """
    figure, axes = style.panel()
    levels, kernel, ends = np.arange(1, 255), np.ones(SMOOTHED_LEVELS) / SMOOTHED_LEVELS, []
    for label, counts_3L in histograms.items():
        share_L = 100 * counts_3L[channel] / max(int(counts_3L[channel].sum()), 1)
        smooth = np.convolve(np.pad(share_L[1:-1], SMOOTHED_LEVELS // 2, mode="edge"), kernel, mode="valid")
        axes.fill_between(levels, smooth, color=style.CLASSES[label], alpha=0.16, linewidth=0)
        axes.plot(levels, smooth, color=style.CLASSES[label], linewidth=1.5, label=CLASS_WORDS[label])
        ends.append(f"{CLASS_WORDS[label]}: {share_L[0]:.1f}% at 0, {share_L[255]:.1f}% at 255")
    axes.text(1, 1.02, "\n".join(ends), transform=axes.transAxes, ha="right", fontsize=7.5, color=style.INK)
    axes.set_xlim(0, 255)
    axes.set_ylim(bottom=0)
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    style.finish(axes, ("Red", "Green", "Blue")[channel], "grey level (0 to 255)", "share of pixels (%)")
    return png.of_figure(figure)


def brightness_saturation(
    brightness_N: NDArray[np.float64], saturation_N: NDArray[np.float64], labels_N: NDArray[np.integer]
) -> bytes:
    """Draw each patch as a point: mean luma (0 to 255) across, mean saturation (0 to 1) upwards."""
    figure, axes = style.panel()
    order = np.random.default_rng(0).permutation(len(labels_N))  # so that no class lies on top of the others
    colours = np.array([style.CLASSES[int(label)] for label in labels_N], dtype=object)
    axes.scatter(brightness_N[order], saturation_N[order], c=colours[order].tolist(), s=5, alpha=0.45, linewidths=0)
    for label in (label for label in CLASS_NAMES if (labels_N == label).any()):
        text = f"{CLASS_WORDS[label]} ({int((labels_N == label).sum()):,})"
        axes.scatter([], [], color=style.CLASSES[label], s=16, label=text)
    axes.legend(frameon=False, fontsize=8)
    axes.set_ylim(bottom=0)
    style.finish(axes, "", "brightness (mean luma, 0 to 255)", "saturation (mean, 0 to 1)")
    return png.of_figure(figure)


def stains(stains_N23: NDArray[np.float64]) -> bytes:
    """Draw each patch's two stains by how much red and blue they absorb, in the colour they have.

    Args:
        stains_N23: float64 [N, 2, 3], haematoxylin and eosin; no NaN, at least one.
    """
    figure, axes = style.panel()
    middle_23 = np.median(stains_N23, axis=0)
    for stain, (name, marker) in enumerate((("haematoxylin", "o"), ("eosin", "s"))):
        points = stains_N23[:, stain]
        colours = [tuple(value / 255 for value in eda.stain_colour(point)) for point in points]
        axes.scatter(points[:, 0], points[:, 2], c=colours, s=9, marker=marker, alpha=0.6, linewidths=0)
        face = tuple(value / 255 for value in eda.stain_colour(2 * middle_23[stain]))
        axes.scatter(
            middle_23[stain, 0],
            middle_23[stain, 2],
            color=[face],
            s=90,
            marker=marker,
            edgecolors=style.INK,
            label=f"{name}, median",
        )
        reference = eda.REFERENCE_STAINS_23[stain]
        marker = "+" if stain == 0 else "x"
        axes.scatter(
            reference[0], reference[2], color=style.INK, s=50, marker=marker, label=f"{name}, Ruifrok & Johnston"
        )
    axes.legend(frameon=False, fontsize=7.5, loc="upper left", ncols=2, bbox_to_anchor=(-0.12, 1.17))
    style.finish(axes, "", "red absorbed (unit vector)", "blue absorbed (unit vector)")
    return png.of_figure(figure)


def mean_difference(positive_HW3: NDArray[np.float64], negative_HW3: NDArray[np.float64]) -> bytes:
    """Draw by how much luma the mean positive patch differs from the mean negative one, in grey levels.

    Averaged over blocks of 4 by 4 pixels, which are then as steady as 16 times as many patches would make them.
    """
    values_HW = (positive_HW3 - negative_HW3) @ eda.LUMA_3
    size = len(values_HW)
    if size % _BLOCK_PX == 0:
        blocks = size // _BLOCK_PX
        values_HW = values_HW.reshape(blocks, _BLOCK_PX, blocks, _BLOCK_PX).mean(axis=(1, 3))
    figure, axes = style.panel()
    reach = float(np.abs(values_HW).max()) or 1.0
    extent = (0.0, float(size), float(size), 0.0)
    shown = axes.imshow(
        values_HW, cmap=style.DIVERGING, vmin=-reach, vmax=reach, interpolation="nearest", extent=extent
    )
    bar = figure.colorbar(shown, ax=axes, shrink=0.85, aspect=22)
    bar.set_label("luma, tumour less normal (grey levels)", fontsize=8, color=style.INK)
    bar.ax.tick_params(labelsize=7.5, colors=style.INK)
    low, high = CENTRE.edges(size)
    axes.plot([low, high, high, low, low], [low, low, high, high, low], color=style.INK, linewidth=1.2, linestyle="--")
    axes.set_xticks([0, size])
    axes.set_yticks([0, size])
    style.finish(axes, "", "pixels", "")
    axes.grid(visible=False)
    return png.of_figure(figure)


def slides(groups: Sequence[eda.Group]) -> bytes:
    """Draw each slide's patches, most first: from below those with tumour, normal ones, those without a label."""
    figure, axes = style.panel()
    edges = np.arange(len(groups) + 1)
    columns = ((group.num_positive, group.num_labelled, group.num_patches) for group in groups)
    positive, labelled, total = np.array(list(columns)).T
    below = np.zeros_like(total)
    for label, top in ((1, positive), (0, labelled), (-1, total)):
        if (top > below).any():
            colour, name = style.CLASSES[label], CLASS_WORDS[label]
            axes.stairs(top, edges, baseline=below, fill=True, color=colour, label=name)
        below = top
    axes.set_xlim(0, len(groups))
    axes.xaxis.set_major_locator(_ticks(8, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(frameon=False, fontsize=style.SMALL_PT, ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 0.99))
    style.finish(axes, "", "slides, most patches first", "patches")
    return png.of_figure(figure)


def slide_shares(groups: Sequence[eda.Group]) -> bytes:
    """Draw each slide as a point: labelled patches across, the share of positives among them upwards."""
    figure, axes = style.panel()
    known = np.array([(group.num_labelled, group.num_positive) for group in groups if group.num_labelled])
    labelled, positive = known.reshape(-1, 2).T
    axes.scatter(labelled, 100 * positive / labelled, s=14, color=style.CLASSES[1], alpha=0.6, linewidths=0)
    axes.set_xscale("log")
    axes.set_ylim(-4, 104)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    style.finish(axes, "", "labelled patches of the slide (logarithmic)", "tumour (%)")
    return png.of_figure(figure)


def contact_sheet(rows: Sequence[Row], columns: int, *, scale: int = 1, centre: bool = False) -> bytes:
    """Lay out patches, pixel for pixel, in rows of `columns`.

    Args:
        rows: Patches of one size; one with more than `columns` takes several lines.
        columns: Patches side by side.
        scale: Side of a stored pixel in the picture.
        centre: Frame the square that the label speaks of.
    """
    side = rows[0].images_NHWC.shape[1] * scale
    line_px = [side + _GAP_PX + (_CAPTION_PX if row.captions else 0) for row in rows]
    lines = [-(-len(row.images_NHWC) // columns) for row in rows]
    heights = [_HEADING_PX * bool(row.heading) + n * px for row, n, px in zip(rows, lines, line_px, strict=True)]
    width, height = columns * (side + _GAP_PX) + _GAP_PX, sum(heights) + _GAP_PX
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = style.canvas((width / 100, height / 100), 100, constrained=False)
    at_y = _GAP_PX
    for row, pixels in zip(rows, line_px, strict=True):
        if row.heading:
            figure.text(
                _GAP_PX / width, 1 - at_y / height, png.literal(row.heading), va="top", fontsize=10.5, color=style.INK
            )
            at_y += _HEADING_PX
        for place, image in enumerate(row.images_NHWC):
            top, left = at_y + place // columns * pixels, _GAP_PX + place % columns * (side + _GAP_PX)
            canvas[top : top + side, left : left + side] = enlarge(image, scale, centre=centre)
            if row.captions:
                x, y = left / width, 1 - (top + side + 2) / height
                figure.text(x, y, png.literal(row.captions[place]), va="top", fontsize=7, color=style.INK)
        at_y += -(-len(row.images_NHWC) // columns) * pixels
    figure.figimage(canvas[::-1], origin="lower")
    return png.of_figure(figure)


def thumbnails(images_NHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return patches small enough to show many of: as they are, or averaged over whole blocks of pixels."""
    num, size = images_NHWC.shape[:2]
    step = -(-size // THUMBNAIL_PX)
    if step == 1:
        return images_NHWC
    side = size // step
    blocks = images_NHWC[:, : side * step, : side * step].reshape(num, side, step, side, step, 3)
    return np.asarray(np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8))


def enlarge(image_HWC: NDArray[np.uint8], scale: int, *, centre: bool = False) -> NDArray[np.uint8]:
    """Return a patch with every pixel repeated `scale` times a side; `centre` frames what the label speaks of."""
    large = image_HWC.repeat(scale, axis=0).repeat(scale, axis=1)
    return frame_centre(large, scale) if centre else large


def frame_centre(large_HWC: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Draw, in place, a frame around what the label speaks of, and return the picture.

    It lies outside, so that no pixel of the centre is hidden, and is as wide in every picture of one scale.

    Args:
        large_HWC: A picture of a patch, or of what was found in it.
        scale: Pixels of the picture a pixel of the patch.
    """
    middle = CENTRE.pixels(large_HWC.shape[0] // scale)
    if middle.start:
        first, last = middle.start * scale, middle.stop * scale
        width = max(1, scale // 2)
        for offset in range(2 * width):  # light inside, dark outside: one of the two is seen on any tissue
            low, high = first - 1 - offset, last + offset
            colour = (255, 255, 255) if offset < width else style.rgb(style.FRAME)
            large_HWC[[low, high], low : high + 1] = colour
            large_HWC[low : high + 1, [low, high]] = colour
    return large_HWC


def _ticks(count: int, *, integer: bool = False) -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, integer=integer)
