"""Batches enlarged on the CPU: the evaluation graph's, in order, whatever the batch size and threads."""

from __future__ import annotations

import dataclasses
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastpath.config import Config, DataConfig
from fastpath.data import enlarge, loader, step_inputs
from fastpath.data.augment import geometry
from fastpath.data.dali import graph
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats, Patches, Samples

ROWS = np.arange(4, 61, dtype=np.int64)
LAYOUT = geometry.warp_layout(96, 128, framed=False)


def repeated(image: NDArray[np.float32], size: tuple[int, int], dst: NDArray[np.float32], **_: object) -> None:
    """Stands in for `cv2.resize`: the nearest pixel."""
    dst[:] = image[np.ix_(*(np.arange(side) * len(image) // side for side in size))]


@pytest.fixture
def without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it run where OpenCV is not installed, too."""
    stand_in = SimpleNamespace(resize=repeated, setNumThreads=lambda _: None, INTER_LINEAR=1)
    monkeypatch.setitem(sys.modules, "cv2", stand_in)
    monkeypatch.setattr(enlarge, "find_spec", lambda _: object())


def config(batch_size: int, image_size_px: int = 128) -> Config:
    return Config(data=DataConfig(image_size_px=image_size_px, batch_size=batch_size))


def joined(batches: list[Any]) -> tuple[list[int], bytes]:
    rows = [row for batch in batches for row in batch.indices_N.tolist()]
    images = [batch.images_NCHW.permute(0, 2, 3, 1).numpy().tobytes() for batch in batches]
    return rows, b"".join(images)


@pytest.mark.usefixtures("without_opencv")
def test_batches_are_the_same_whatever_their_size_the_threads_and_the_ranks(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    whole = joined(list(loader.eval_loader(Samples(patches, ROWS, stats), config(16), runtime)))
    assert whole[0] == ROWS.tolist()
    for batch_size, threads, world_size in ((57, 3, 1), (8, 1, 3), (7, 5, 2), (2, 2, 3)):
        places = [Runtime(torch.device("cpu"), "float32", threads, rank, world_size) for rank in range(world_size)]
        ranks = [list(loader.eval_loader(Samples(patches, ROWS, stats), config(batch_size), place)) for place in places]
        assert joined([batch for step in zip(*ranks, strict=True) for batch in step]) == whole


@pytest.mark.usefixtures("without_opencv")
def test_passes_repeat_and_batches_stay_valid_while_later_ones_are_made(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    batches = loader.eval_loader(Samples(patches, ROWS, stats), config(8), runtime)
    first = list(batches)
    assert first[0].images_NCHW.is_contiguous(memory_format=torch.channels_last)
    copies = [batch.images_NCHW.clone() for batch in first]
    abandoned = iter(batches)
    next(abandoned)
    assert joined(list(batches)) == joined(first)
    assert all(torch.equal(batch.images_NCHW, copy) for batch, copy in zip(first, copies, strict=True))
    batches.close()


@pytest.mark.usefixtures("without_opencv")
def test_what_the_feed_raises_is_raised_where_the_batch_is_asked_for(stats: ChannelStats, runtime: Runtime) -> None:
    def feed(step: int) -> step_inputs.StepInputs:
        if step == 5:
            raise OSError("gone")
        return {"patches": np.full((2, 96, 96, 3), step, np.uint8), "rows": np.arange(2)}

    batches = enlarge.Enlargement(feed, 4, LAYOUT, stats, 2, runtime)
    images, rows = (filled.as_tensor() for filled in batches.run())
    assert images.shape == (2, 128, 128, 3)
    assert rows.tolist() == [0, 1]
    with pytest.raises(OSError, match="gone"):
        batches.run()


def test_only_what_is_enlarged_on_the_host_is_made_here(
    monkeypatch: pytest.MonkeyPatch, stats: ChannelStats, runtime: Runtime
) -> None:
    monkeypatch.setattr(enlarge, "find_spec", lambda _: object())
    assert enlarge.serves(LAYOUT, runtime)
    assert not enlarge.serves(LAYOUT, Runtime(torch.device("cuda:0")))
    for same_or_smaller in (96, 48):
        assert not enlarge.serves(geometry.warp_layout(96, same_or_smaller, framed=False), runtime)
    monkeypatch.setattr(enlarge, "find_spec", lambda _: None)
    assert not enlarge.serves(LAYOUT, runtime)


@pytest.mark.dali
@pytest.mark.parametrize("size", [97, 128, 224, 300])
def test_images_are_the_evaluation_graphs_to_a_hundredth_of_a_grey_level(
    patches: Patches, stats: ChannelStats, runtime: Runtime, size: int
) -> None:
    pytest.importorskip("cv2")
    layout, alone = geometry.warp_layout(96, size, framed=False), dataclasses.replace(runtime, num_threads=1)
    feed = step_inputs.evaluation_feed(Samples(patches, ROWS, stats), 16, runtime)
    here = enlarge.Enlargement(feed, 1, layout, stats, 16, runtime).run()
    there = graph.evaluation_graph(feed, 1, layout, stats, 16, alone).run()
    (images, rows), (wanted, wanted_rows) = (
        [np.asarray(part.as_tensor()) for part in parts] for parts in (here, there)
    )
    np.testing.assert_array_equal(rows, wanted_rows)
    assert np.abs((images - wanted) * 255 * np.array(stats.std_3)).max() < 0.01
