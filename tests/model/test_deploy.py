"""The network with its surroundings, against the evaluation graph and views turned by NumPy."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastpath.config import parse
from fastpath.data.loader import eval_loader
from fastpath.model.deploy import Deployed, resize_matrix
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats, Samples

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))


class Sided(nn.Module):
    """A logit that tells the eight views apart, and the images it was given."""

    def forward(self, images_NCHW: Tensor) -> Tensor:
        weights = torch.arange(images_NCHW[0].numel(), dtype=torch.float32).sin().view_as(images_NCHW[0])
        self.images_NCHW = images_NCHW
        return (images_NCHW * weights).sum((1, 2, 3))


@pytest.fixture
def patches_NHWC() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)


class _Memory:
    """Patches as a loader wants them."""

    patch_size_px = 24

    def __init__(self, images_NHWC: np.ndarray) -> None:
        self.images_NHWC, self.labels_N = images_NHWC, np.zeros(len(images_NHWC), np.int8)

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        return self.images_NHWC[indices_N]


@pytest.mark.dali
@pytest.mark.parametrize("size", [16, 20, 24, 31, 56])
def test_images_are_those_of_the_evaluation_graph(patches_NHWC: np.ndarray, size: int) -> None:
    network = Sided()
    Deployed(network, STATS, 24, size)(torch.from_numpy(patches_NHWC))
    config = parse({"data": {"image_size_px": size, "batch_size": 5}})
    runtime = Runtime(torch.device("cpu"), num_threads=1)
    with closing(eval_loader(Samples(_Memory(patches_NHWC), np.arange(5), STATS), config, runtime)) as loader:
        (batch,) = loader
        np.testing.assert_allclose(network.images_NCHW.numpy(), batch.images_NCHW.numpy(), atol=2e-4)


def test_resizing_keeps_an_even_image_even() -> None:
    for source, target in ((96, 40), (96, 224), (96, 96), (7, 5)):
        np.testing.assert_allclose(resize_matrix(source, target).sum(axis=1), 1.0)
    np.testing.assert_array_equal(resize_matrix(8, 8), np.eye(8))


def test_the_eight_views_are_averaged(patches_NHWC: np.ndarray) -> None:
    plain, turned = (Deployed(Sided(), STATS, 24, 24, d4=d4) for d4 in (False, True))
    views = [np.rot90(side, turns, (1, 2)) for side in (patches_NHWC, patches_NHWC[:, :, ::-1]) for turns in range(4)]
    logits_VN = np.stack([plain(torch.from_numpy(view.copy()))[0].numpy() for view in views])
    assert (logits_VN.std(axis=0) > 0.1).all()
    np.testing.assert_allclose(turned(torch.from_numpy(patches_NHWC))[0].numpy(), logits_VN.mean(axis=0), rtol=1e-4)


def test_calibration_is_applied_to_the_logit(patches_NHWC: np.ndarray) -> None:
    patches = torch.from_numpy(patches_NHWC)
    raw = Deployed(Sided(), STATS, 24, 24)(patches)[0].numpy()
    logits_N, probability_N = Deployed(Sided(), STATS, 24, 24, line_2=(0.01, 0.3))(patches)
    np.testing.assert_allclose(logits_N.numpy(), 0.01 * raw + 0.3, rtol=1e-5)
    np.testing.assert_allclose(probability_N.numpy(), logits_N.sigmoid().numpy())
    knots, heights = np.quantile(raw, [0.2, 0.5, 0.8]), np.array([0.1, 0.4, 0.95])
    stepped = Deployed(Sided(), STATS, 24, 24, knots_K=knots.tolist(), heights_K=heights.tolist())(patches)
    np.testing.assert_allclose(stepped[1].numpy(), np.interp(raw, knots, heights), atol=1e-5)
    np.testing.assert_allclose(stepped[0].numpy(), torch.logit(stepped[1]).numpy())
