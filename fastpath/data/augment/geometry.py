"""Flip, turn, rotation, crop and resize as one matrix a sample, and what that matrix shows of the patch.

Coordinates are continuous with (0, 0) at the corner of pixel 0, so that a resize is a scaling and nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment.draw import Augmentation, draw_augmentation
from fastpath.types import CENTRE

FRAME_PROBES = 16  # points a side at which the share of an image that lies inside its patch is sampled


@dataclass(frozen=True, slots=True)
class WarpLayout:
    """How a patch lies in the array that is warped.

    Attributes:
        patch_px: Side of the patch.
        frame_px: Width of the black frame around it, which a rotation brings into view.
        size_px: Side of the warped array: patch and frame, after shrinking where the output is smaller.
        output_px: Side of the network's input.
        reflected: Whether the patch is mirrored beyond its edge; otherwise the outermost pixel, of the patch or its
            frame, goes on.
    """

    patch_px: int
    frame_px: int
    size_px: int
    output_px: int
    reflected: bool = False

    @property
    def framed_px(self) -> int:
        """Side of patch and frame as gathered."""
        return self.patch_px + 2 * self.frame_px


def warp_layout(patch_px: int, output_px: int, *, framed: bool) -> WarpLayout:
    """Lay out the array to be warped.

    A warp samples between neighbours and does not average, so an output smaller than the patch is shrunk first
    (with antialiasing) to about its own size. The frame is then still a pixel wide.
    """
    shrink = max(1.0, patch_px / output_px)
    frame = int(np.ceil(shrink)) if framed else 0
    return WarpLayout(patch_px, frame, round((patch_px + 2 * frame) / shrink), output_px)


def training_warp_layout(policy: AugmentConfig, patch_px: int, output_px: int) -> WarpLayout:
    """Lay out training patches: framed in black only where something can bring into view what lies outside."""
    layout = warp_layout(patch_px, output_px, framed=policy.moves and policy.border == "black")
    return replace(layout, reflected=policy.border == "reflect")


def warp_matrices(augmentation: Augmentation, layout: WarpLayout) -> NDArray[np.float32]:
    """Return float32 [N, 3, 3]: for each output point (x, y, 1), in pixels, the point of the warped array it shows.

    Composed in the notebook's order: flips, quarter turns, rotation (with zoom, then shift, as torchvision's `affine`
    has them), crop, resize. A positive angle turns counter-clockwise as seen, like torchvision's `rotate`.
    """
    linear = _linear(augmentation) / augmentation.zoom_N[:, None, None]
    top, left, height, width = (augmentation.crop_N4 / layout.output_px).T
    scale = layout.size_px / layout.framed_px
    matrices = np.zeros((len(augmentation), 3, 3))
    matrices[:, 2, 2] = 1.0
    matrices[:, :2, :2] = linear * np.stack([width, height], axis=1)[:, None, :]
    matrices[:, :2, :2] *= layout.patch_px * scale / layout.output_px
    corner = np.stack([left, top], axis=1) - 0.5 - augmentation.shift_px_N2 / layout.patch_px
    offset = np.einsum("nij,nj->ni", linear, corner) + 0.5
    matrices[:, :2, 2] = (offset * layout.patch_px + layout.frame_px) * scale
    return matrices.astype(np.float32)


def _linear(augmentation: Augmentation) -> NDArray[np.float64]:
    """Return [N, 2, 2]: undo rotation, then turns, then flips, about the centre; y points down."""
    # Whole quarter turns come from a table, so that D4 is exact to the last bit.
    table_cos, table_sin = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 1.0, 0.0, -1.0])
    angle = np.deg2rad(augmentation.angle_deg_N)
    turns = augmentation.turns_N % 4
    cos = np.cos(angle) * table_cos[turns] - np.sin(angle) * table_sin[turns]
    sin = np.sin(angle) * table_cos[turns] + np.cos(angle) * table_sin[turns]
    linear = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    mirror = np.stack([np.where(augmentation.hflip_N, -1.0, 1.0), np.where(augmentation.vflip_N, -1.0, 1.0)], axis=1)
    return np.asarray(linear * mirror[:, :, None])


def coverage(matrices_N33: NDArray[np.float32], layout: WarpLayout) -> NDArray[np.float64]:
    """Return float64 [N]: the share of each output image that shows the patch and not its frame, from 256 points."""
    centres = (np.arange(FRAME_PROBES) + 0.5) * layout.output_px / FRAME_PROBES
    x, y = np.meshgrid(centres, centres)
    points = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    shown = matrices_N33[:, :2].astype(np.float64) @ points
    edge = layout.frame_px * layout.size_px / layout.framed_px
    # A probe stands for a cell; where the patch's edge cuts the cell, it counts for its share.
    cell = (layout.size_px - 2 * edge) / FRAME_PROBES
    depth = np.minimum(shown - edge, layout.size_px - edge - shown) / cell
    return np.asarray(np.clip(depth + 0.5, 0.0, 1.0).prod(axis=1).mean(axis=1))


def centre_lost_share(config: AugmentConfig, patch_px: int, output_px: int, draws: int = 20_000) -> float:
    """Return the share of samples in which augmentation cuts into the centre that decides the label.

    The label speaks of the centre 32×32 pixels of a 96×96 patch only, so a sample whose crop leaves some of them out
    may carry a label that it no longer shows. Estimated from that many draws, with a fixed seed.

    Args:
        config: The policy.
        patch_px: Side of a patch.
        output_px: Side of the network's input.
        draws: Samples drawn; the standard error is at most 0.5 / sqrt(draws).
    """
    layout = warp_layout(patch_px, output_px, framed=False)
    matrices = warp_matrices(draw_augmentation(config, output_px, 0, 0, range(draws)), layout)[:, :2].astype(np.float64)
    low, high = CENTRE.edges(layout.size_px)
    corners = np.array([[low, low, high, high], [low, high, low, high]])
    shown_at = np.linalg.solve(matrices[:, :, :2], corners - matrices[:, :, 2:])
    outside = (shown_at < -1e-6 * output_px) | (shown_at > output_px * (1 + 1e-6))
    return float(outside.any(axis=(1, 2)).mean())
