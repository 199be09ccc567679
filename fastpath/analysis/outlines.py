"""Outlines of the areas of a mask: what a drawing program or a slide viewer takes in place of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""Corners in order, float64 [M, 2] of x and y; the first is not repeated at the end."""

_Corner = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Outline:
    """An area without gaps.

    Attributes:
        exterior: Its border.
        holes: Borders of what lies within and is not part of it.
    """

    exterior: Ring
    holes: tuple[Ring, ...] = ()


def trace(mask_HW: NDArray[np.bool_]) -> Iterator[tuple[Outline, NDArray[np.int64]]]:
    """Yield the outline of each area of a mask, along the edges of its pixels, with the pixels that it holds.

    Pixels that touch at an edge are of one area, those that touch at a corner alone are not: so an outline never
    crosses or touches itself, which geometry libraries ask of a polygon. Exteriors run from x to y (positive by the
    shoelace formula), holes the other way, as RFC 7946 has it.

    Args:
        mask_HW: True in the areas.

    Yields:
        The outline in pixels, the upper left corner of the mask being (0, 0), and int64 [M, 2] of row and column.
    """
    from scipy import ndimage

    label_HW, _ = ndimage.label(mask_HW)
    for number, window in enumerate(ndimage.find_objects(label_HW), start=1):
        area_HW = label_HW[window] == number
        top_left_2 = np.array([part.start for part in window])
        rings = [_straightened(ring) + top_left_2[::-1] for ring in _rings(_edges(area_HW))]
        exterior = next(ring for ring in rings if _signed_area(ring) > 0)  # the only one: an area has no gaps
        holes = tuple(ring for ring in rings if _signed_area(ring) < 0)
        yield Outline(exterior, holes), np.argwhere(area_HW) + top_left_2


def _edges(area_HW: NDArray[np.bool_]) -> dict[_Corner, list[_Corner]]:
    """Return the edges between inside and outside by where they start, the inside on the same side of all."""
    padded = np.pad(area_HW, 1)
    inside = padded[1:-1, 1:-1]
    ends: dict[_Corner, list[_Corner]] = {}
    for outside, start, end in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),  # above: from left to right
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for y, x in np.argwhere(inside & ~outside).tolist():
            ends.setdefault((x + start[0], y + start[1]), []).append((x + end[0], y + end[1]))
    return ends


def _rings(ends: dict[_Corner, list[_Corner]]) -> Iterator[list[_Corner]]:
    """Yield closed walks along edges, none of which passes a corner twice: there it is cut into two."""
    while ends:
        path = [next(iter(ends))]
        steps = {path[0]: 0}
        while path[-1] in ends:
            left = ends[path[-1]]
            corner = left.pop()
            if not left:
                del ends[path[-1]]
            if corner not in steps:
                steps[corner] = len(path)
                path.append(corner)
                continue
            ring = path[steps[corner] :]
            yield ring
            for passed in ring[1:]:
                del steps[passed]
            del path[steps[corner] + 1 :]


def _straightened(ring: Sequence[_Corner]) -> Ring:
    """Leave out corners at which the border goes straight on."""
    corners_M2 = np.array(ring, np.float64)
    turns_M = ((np.roll(corners_M2, -1, axis=0) - corners_M2) != (corners_M2 - np.roll(corners_M2, 1, axis=0))).any(1)
    straightened: Ring = corners_M2[turns_M]
    return straightened


def _signed_area(ring: Ring) -> float:
    x_M, y_M = ring.T
    return float((x_M * np.roll(y_M, -1) - y_M * np.roll(x_M, -1)).sum() / 2)
