"""Batches: the planned samples, the same whatever the batch size, threads, ranks or starting point."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.data import loader, order
from fastpath.errors import UsageError
from fastpath.runtime import Runtime
from fastpath.types import Batch, ChannelStats, Patches, Samples

pytestmark = pytest.mark.dali
ROWS = np.arange(4, 60, dtype=np.int64)


def config(batch_size: int = 16, image_size_px: int = 64, **values: object) -> Config:
    return Config(data=DataConfig(batch_size=batch_size, image_size_px=image_size_px, **values))


def epoch(
    patches: Patches, stats: ChannelStats, settings: Config, runtime: Runtime, number: int = 1, first_step: int = 0
) -> list[Batch]:
    batches = loader.train_loader(Samples(patches, ROWS, stats), settings, runtime)
    return list(batches.epoch(number, first_step))


def joined(batches: list[Batch]) -> tuple[NDArray[np.int64], bytes]:
    indices = np.concatenate([batch.indices_N.numpy() for batch in batches])
    return indices, torch.cat([batch.images_NCHW for batch in batches]).numpy().tobytes()


def test_a_batch_is_what_its_type_says(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    batches = epoch(patches, stats, config(), runtime)
    assert [len(batch.labels_N) for batch in batches] == [16, 16, 16, 8]
    for batch in batches:
        assert batch.images_NCHW.shape[1:] == (3, 64, 64)
        assert batch.images_NCHW.dtype == torch.float32
        assert batch.images_NCHW.is_contiguous(memory_format=torch.channels_last)
        assert batch.indices_N.dtype == torch.int64
        np.testing.assert_array_equal(batch.labels_N.numpy(), patches.labels_N[batch.indices_N.numpy()])


@pytest.mark.parametrize("sampling", ["natural", "weighted", "systematic"])
def test_the_order_is_the_plans(
    patches: Patches, stats: ChannelStats, runtime: Runtime, sampling: order.Sampling
) -> None:
    settings = config(sampling=sampling)
    indices, _ = joined(epoch(patches, stats, settings, runtime, number=3))
    wanted = ROWS[order.epoch_order(patches.labels_N[ROWS], sampling, settings.seed, 3)]
    np.testing.assert_array_equal(indices, wanted)


def test_samples_do_not_depend_on_batch_size_or_threads(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    wanted = joined(epoch(patches, stats, config(16), runtime))
    for batch_size in (1, 7, 64):
        for threads in (1, 2):
            indices_and_bytes = joined(
                epoch(patches, stats, config(batch_size), dataclasses.replace(runtime, num_threads=threads))
            )
            np.testing.assert_array_equal(indices_and_bytes[0], wanted[0])
            assert indices_and_bytes[1] == wanted[1], (batch_size, threads)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_each_step_of_the_same_global_order(
    patches: Patches, stats: ChannelStats, runtime: Runtime, world_size: int
) -> None:
    whole = epoch(patches, stats, config(), runtime)
    ranks = [
        epoch(patches, stats, config(), dataclasses.replace(runtime, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    for step, batch in enumerate(whole):
        assert joined([rank[step] for rank in ranks]) == (pytest.approx(batch.indices_N.numpy()), joined([batch])[1])


def test_an_epoch_can_be_entered_at_any_step(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    batches = loader.train_loader(Samples(patches, ROWS, stats), config(), runtime)
    through = [[joined([batch])[1] for batch in batches.epoch(number)] for number in range(3)]
    for number, step in ((2, 3), (0, 0), (1, 2)):
        images = [joined([batch])[1] for batch in batches.epoch(number, step)]
        assert images == through[number][step:]
    assert len({image for epoch_images in through for image in epoch_images}) == 12


def test_batches_stay_valid_while_later_ones_are_made(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    batches = loader.train_loader(Samples(patches, ROWS, stats), config(), runtime)
    kept = list(batches.epoch(0))
    copies = [batch.images_NCHW.clone() for batch in kept]
    list(batches.epoch(1))
    assert all(torch.equal(batch.images_NCHW, copy) for batch, copy in zip(kept, copies, strict=True))


def test_evaluation_yields_every_row_once_in_order_on_every_pass(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    batches = loader.eval_loader(Samples(patches, ROWS, stats), config(), runtime)
    assert len(batches) == 4
    assert batches.num_patches == len(ROWS)
    first = joined(list(batches))
    np.testing.assert_array_equal(first[0], ROWS)
    abandoned = iter(batches)
    next(abandoned)
    assert joined(list(batches))[1] == first[1]


@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_has_a_batch_size_of_its_own(
    patches: Patches, stats: ChannelStats, runtime: Runtime, world_size: int
) -> None:
    plain = list(loader.eval_loader(Samples(patches, ROWS, stats), config(), runtime))
    settings = config(eval_batch_size=25)
    places = [dataclasses.replace(runtime, rank=rank, world_size=world_size) for rank in range(world_size)]
    ranks = [list(loader.eval_loader(Samples(patches, ROWS, stats), settings, place)) for place in places]
    assert [[len(batch.labels_N) for batch in step] for step in zip(*ranks, strict=True)] == (
        [[25], [25], [6]] if world_size == 1 else [[8, 8, 9], [8, 8, 9], [2, 2, 2]]
    )
    assert [batch.num_total for batch in ranks[0]] == [25, 25, 6]
    assert joined([batch for step in zip(*ranks, strict=True) for batch in step])[1] == joined(plain)[1]
    training = loader.train_loader(Samples(patches, ROWS, stats), settings, runtime)
    assert [len(batch.labels_N) for batch in training.epoch(0)] == [16, 16, 16, 8]


def test_unlabelled_patches_have_nan_labels(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    class Unlabelled:
        labels_N = np.full(64, -1, np.int8)
        patch_size_px = patches.patch_size_px
        gather = staticmethod(patches.gather)

    batch = next(iter(loader.eval_loader(Samples(Unlabelled(), ROWS, stats), config(), runtime)))
    assert torch.isnan(batch.labels_N).all()


def test_the_seed_decides_the_batches(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    settings = config()
    same = joined(epoch(patches, stats, settings, runtime))[1]
    assert joined(epoch(patches, stats, settings, runtime))[1] == same
    assert joined(epoch(patches, stats, settings.model_copy(update={"seed": 1}), runtime))[1] != same


def test_without_rotation_or_with_clamped_borders_there_is_no_frame(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    black = torch.tensor([-mean / std for mean, std in zip(stats.mean_3, stats.std_3, strict=True)])
    still = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    for values, has_black in (
        ({"rotation_deg": 15.0}, True),
        ({"rotation_deg": 15.0, "border": "clamp"}, False),
        ({"rotation_deg": 0.0}, False),
    ):
        settings = config(image_size_px=224, augment=AugmentConfig(**still, **values))
        images = torch.cat([batch.images_NCHW for batch in epoch(patches, stats, settings, runtime)])
        near = (images - black[:, None, None]).abs().amax(dim=1) < 1e-2
        assert bool(near.any()) == has_black


def test_a_stock_loop_takes_a_loader(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    samples = Samples(patches, ROWS, stats)
    with loader.train_loader(samples, config(), runtime) as batches:
        assert len(batches) == 4
        passes = [[batch.indices_N.tolist() for batch in batches] for _ in range(2)]
        batches.set_epoch(0)
        again = [batch.indices_N.tolist() for batch in batches]
        wanted = [[batch.indices_N.tolist() for batch in batches.epoch(number)] for number in range(2)]
        assert passes == wanted
        assert again == wanted[0] != wanted[1]
        batches.set_epoch(5)
        images, labels = next(iter(batches))
        assert images.shape == (16, 3, 64, 64)
        assert labels.shape == (16,)
    with loader.eval_loader(samples, config(), runtime) as batches:
        batches.set_epoch(3)
        assert sum(len(batch) for batch in batches) == len(samples)


def test_settings_may_be_named_one_by_one(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    samples = Samples(patches, ROWS, stats)
    named = loader.train_loader(samples, batch_size=8, image_size=32, augment="d4", seed=5, device="cpu")
    data = DataConfig(batch_size=8, image_size_px=32, augment=AugmentConfig(policy="d4"))
    whole = loader.train_loader(samples, Config(data=data, seed=5), runtime)
    for array, wanted in zip(joined(list(named)), joined(list(whole)), strict=True):
        assert np.array_equal(array, wanted)
    changed = loader.train_loader(samples, Config(data=data, seed=5), runtime, image_size=48)
    assert next(iter(changed)).images_NCHW.shape == (8, 3, 48, 48)
    wide = loader.eval_loader(samples, Config(data=data), runtime, batch_size=28)
    assert [len(batch) for batch in wide] == [28, 28]


def test_a_batch_travels_to_a_device_as_lightning_asks_for_it(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    batch = epoch(patches, stats, config(), runtime)[0]
    assert batch.to("cpu").images_NCHW.data_ptr() == batch.images_NCHW.data_ptr()
    assert batch.to("meta", non_blocking=True).labels_N.device.type == "meta"


def test_a_loader_is_read_by_one_at_a_time(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    batches = loader.train_loader(Samples(patches, ROWS, stats), config(), runtime)
    first = iter(batches)
    next(first)
    next(iter(batches))
    with pytest.raises(UsageError, match="a second iteration begun amid the first"):
        next(first)


def test_no_samples_are_refused(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    with pytest.raises(UsageError, match="found no samples"):
        loader.train_loader(Samples(patches, ROWS[:0], stats), config(), runtime)
