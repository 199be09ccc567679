"""A network that takes patches as they are stored: normalisation, resizing, turns and calibration within."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastpath.types import ChannelStats


class Deployed(nn.Module):
    """From patches uint8 to logits and probabilities, with nothing left to do around it.

    Args:
        network: Maps normalised images [N, 3, S, S] to logits [N]; in evaluation mode.
        stats: What it was trained to be normalised with.
        patch_size_px: Side of the patches.
        image_size_px: Side of the network's input.
        d4: Average the logits of the eight views.
        knots_K: Calibration: logits, rising.
        heights_K: Calibrated probabilities at the knots; straight lines between. Empty for none of this kind.
        line_2: Calibration: slope and intercept of the logit.
    """

    scale: Tensor
    offset: Tensor
    rows: Tensor
    columns: Tensor
    knots: Tensor
    heights: Tensor

    def __init__(
        self,
        network: nn.Module,
        stats: ChannelStats,
        patch_size_px: int,
        image_size_px: int,
        *,
        d4: bool = False,
        line_2: tuple[float, float] = (1.0, 0.0),
        knots_K: Sequence[float] = (),
        heights_K: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.network, self.d4, self.line_2 = network, d4, line_2
        self.patch_size_px, self.resized = patch_size_px, patch_size_px != image_size_px
        constants = {
            "scale": 1 / (255 * np.array(stats.std_3)).reshape(1, 3, 1, 1),
            "offset": -(np.array(stats.mean_3) / np.array(stats.std_3)).reshape(1, 3, 1, 1),
            "rows": resize_matrix(patch_size_px, image_size_px),
            "columns": resize_matrix(patch_size_px, image_size_px).T,
        }
        self.stepped = bool(len(knots_K))
        if self.stepped:  # not empty otherwise: torch.export cannot save a tensor of no elements
            constants |= {"knots": np.array(knots_K), "heights": np.array(heights_K)}
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value, np.float32)))

    def forward(self, patches_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits float32 [N] and probabilities float32 [N] of RGB patches uint8 [N, P, P, 3]."""
        images_NCHW = patches_NHWC.permute(0, 3, 1, 2).float() * self.scale + self.offset
        if self.resized:
            # Resizing is linear in each direction: as a product of matrices it means the same in every runtime.
            images_NCHW = self.rows @ images_NCHW @ self.columns
        logits_N = self._averaged(images_NCHW) if self.d4 else self.network(images_NCHW)
        slope, intercept = self.line_2
        calibrated_N = slope * logits_N + intercept
        if not self.stepped:
            return calibrated_N, torch.sigmoid(calibrated_N)
        probability_N = self._interpolated(logits_N)
        return torch.logit(probability_N), probability_N

    def _averaged(self, images_NCHW: Tensor) -> Tensor:
        """Return the mean logit of the eight views."""
        views = []
        for image in (images_NCHW, images_NCHW.flip(3)):
            turned = image.transpose(2, 3)
            views += [image, turned.flip(2), image.flip(2).flip(3), turned.flip(3)]
        # One batch of eight views a patch: the network stands in the file once.
        logits_M = self.network(torch.cat(views))
        mean_N: Tensor = logits_M.reshape(len(views), -1).mean(dim=0)
        return mean_N

    def _interpolated(self, logits_N: Tensor) -> Tensor:
        """Return heights between knots, the outermost beyond them."""
        knots, heights = self.knots, self.heights
        share_NK = ((logits_N[:, None] - knots[:-1]) / (knots[1:] - knots[:-1])).clamp(0, 1)
        return heights[0] + (share_NK * (heights[1:] - heights[:-1])).sum(dim=1)


def resize_matrix(source_px: int, target_px: int) -> NDArray[np.float64]:
    """Return [target, source], the weights by which a row of pixels is resized as the evaluation graph does it.

    Bilinear, with pixel centres at halves and the outermost pixel going on beyond the edge; where the target is
    smaller, the triangle is widened to average over the pixels it skips.
    """
    scale = source_px / target_px
    reach = max(1.0, scale)
    centre_T = (np.arange(target_px) + 0.5) * scale
    beyond = int(np.ceil(reach))
    place_K = np.arange(-beyond, source_px + beyond)
    weight_TK = np.clip(1 - np.abs(place_K + 0.5 - centre_T[:, None]) / reach, 0, None)
    weight_TK /= weight_TK.sum(axis=1, keepdims=True)
    matrix = np.zeros((target_px, source_px))
    np.add.at(matrix.T, np.clip(place_K, 0, source_px - 1), weight_TK.T)
    return matrix
