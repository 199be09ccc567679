"""The eight views are the symmetry group of the square, and looking once is plain prediction."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from fastpath.engine.step import LogitTable, infer
from fastpath.engine.tta import NUM_VIEWS, d4_views, predict_views
from fastpath.runtime import resolve
from fastpath.types import Batch


def _image(side: int = 5) -> Tensor:
    return torch.arange(3.0 * side * side).reshape(1, 3, side, side)


def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 1), nn.Flatten(0))


def _batches() -> list[Batch]:
    images = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    rows = torch.arange(10)
    return [
        Batch(images[part].contiguous(memory_format=torch.channels_last), torch.zeros(len(rows[part])), rows[part])
        for part in (slice(0, 7), slice(7, 10))
    ]


def test_the_views_are_the_group() -> None:
    views = list(d4_views(_image()))
    assert len(views) == NUM_VIEWS
    assert all(not torch.equal(view, other) for view, other in itertools.combinations(views, 2))
    for view in views:  # closed: every view of a view is a view
        for again in d4_views(view):
            assert sum(torch.equal(again, view) for view in views) == 1
        # every element has an inverse
        assert sum(torch.equal(again, views[0]) for again in d4_views(view)) == 1


def test_views_move_pixels_and_keep_them() -> None:
    image = _image()
    for view in d4_views(image):
        assert torch.equal(view.flatten().sort().values, image.flatten().sort().values)
        assert torch.equal(view[:, :, 2, 2], image[:, :, 2, 2])
        assert view.is_contiguous(memory_format=torch.channels_last) or view is image


def test_the_first_view_is_the_patch_itself() -> None:
    image = _image()
    assert next(iter(d4_views(image))) is image


def test_one_view_equals_plain_prediction_bit_for_bit_and_so_does_the_first_of_eight() -> None:
    model, runtime = _network(), resolve("cpu")
    table = LogitTable(runtime)
    for batch, logits_N in infer(model, _batches(), runtime):
        table.add(batch, logits_N)
    plain = table.predictions()
    for num_views in (1, 8):
        viewed = predict_views(model, _batches(), runtime, 10, num_views=num_views)
        assert viewed.logits_NV.shape == (10, num_views)
        np.testing.assert_array_equal(viewed.logits_NV[:, 0], plain.logits_N)
        np.testing.assert_array_equal(viewed.indices_N, plain.indices_N)


def test_turning_the_patch_permutes_its_views() -> None:
    model, runtime = _network(), resolve("cpu")
    logits_NV = predict_views(model, _batches(), runtime, 10).logits_NV
    turned = [Batch(torch.rot90(b.images_NCHW, 1, (2, 3)).flip(3), b.labels_N, b.indices_N) for b in _batches()]
    moved = predict_views(model, turned, runtime, 10).logits_NV
    np.testing.assert_allclose(np.sort(moved, axis=1), np.sort(logits_NV, axis=1), atol=1e-5)
    assert not np.allclose(moved, logits_NV, atol=1e-3)


def test_nothing_gives_nothing_and_progress_is_told() -> None:
    model, runtime, done = _network(), resolve("cpu"), list[int]()
    assert predict_views(model, [], runtime, 0).logits_NV.shape == (0, 8)
    predict_views(model, _batches(), runtime, 10, num_views=2, advance=done.append)
    assert done == [7, 10]
