"""Mixup and CutMix: pairs, shares and labels, whatever the batch size, ranks or starting point."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from fastpath.config import Config, DataConfig, MixConfig
from fastpath.config.augment import AugmentConfig
from fastpath.data import loader
from fastpath.data.augment import mix
from fastpath.errors import ConfigError
from fastpath.runtime import Runtime
from fastpath.types import Batch, ChannelStats, Patches, Samples

CPU = Runtime(torch.device("cpu"))
BOTH = MixConfig(mixup_p=0.4, mixup_alpha=0.4, cutmix_p=0.4)


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(0, 10_000), st.integers(0, 40))
def test_a_draw_depends_on_its_pair_only_and_is_the_same_for_both(
    seed: int, epoch: int, start: int, count: int
) -> None:
    drawn = mix.draw_mixing(BOTH, seed, epoch, range(start, start + count))
    whole = mix.draw_mixing(BOTH, seed, epoch, range(start // 2 * 2, (start + count) // 2 * 2 + 2))
    for field in dataclasses.fields(mix.Mixing):
        drawn_field, all_of_them = getattr(drawn, field.name), getattr(whole, field.name)
        np.testing.assert_array_equal(drawn_field, all_of_them[start % 2 :][:count])
        np.testing.assert_array_equal(all_of_them[::2], all_of_them[1::2])
    assert not (drawn.blend_N.astype(bool) & drawn.box_N4.any(axis=1)).any()


def test_shares_follow_their_distributions() -> None:
    drawn = mix.draw_mixing(BOTH, 3, 0, range(100_000))
    blend, box = drawn.blend_N[::2], drawn.box_N4[::2]
    assert (blend > 0).mean() == pytest.approx(0.4, abs=0.01)
    assert box.any(axis=1).mean() == pytest.approx(0.4, abs=0.01)
    assert kstest(blend[blend > 0], beta(0.4, 0.4).cdf).pvalue > 1e-3
    whole = box[(box[:, :2] > 0).all(axis=1) & (box[:, 2:] < 1).all(axis=1)]
    np.testing.assert_allclose(whole[:, 2] - whole[:, 0], whole[:, 3] - whole[:, 1])


def batch_of(count: int, size: int = 12) -> Batch:
    torch.manual_seed(0)
    images = torch.randn(count, 3, size, size).to(memory_format=torch.channels_last)
    return Batch(images, torch.arange(count) % 2 * 1.0, torch.arange(count))


def test_mixup_blends_images_and_labels_alike() -> None:
    batch = batch_of(4)
    drawn = mix.Mixing(np.array([0.25, 0.25, 0.0, 0.0]), np.zeros((4, 4)))
    blended = mix.mixed(batch, range(6, 10), drawn, CPU)
    torch.testing.assert_close(blended.images_NCHW[0], 0.75 * batch.images_NCHW[0] + 0.25 * batch.images_NCHW[1])
    torch.testing.assert_close(blended.images_NCHW[1], 0.75 * batch.images_NCHW[1] + 0.25 * batch.images_NCHW[0])
    assert torch.equal(blended.images_NCHW[2:], batch.images_NCHW[2:])
    assert blended.labels_N.tolist() == [0.25, 0.75, 0.0, 1.0]
    assert blended.images_NCHW.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(blended.indices_N, batch.indices_N)


@pytest.mark.parametrize(
    ("box", "share"),
    [((0, 0, 1, 1), 1.0), ((0, 0, 1 / 3, 1), 0.0), ((0, 0, 0.5, 0.5), 0.25), ((1 / 3, 1 / 3, 2 / 3, 2 / 3), 1.0)],
)
def test_cutmix_pastes_and_its_label_follows_the_centre(box: tuple[float, ...], share: float) -> None:
    batch = batch_of(2)
    pasted = mix.mixed(batch, range(0, 2), mix.Mixing(np.zeros(2), np.tile(box, (2, 1)).astype(float)), CPU)
    wanted = batch.images_NCHW.clone()
    top, left, bottom, right = (round(12 * edge) for edge in box)
    wanted[:, :, top:bottom, left:right] = batch.images_NCHW.flip(0)[:, :, top:bottom, left:right]
    assert torch.equal(pasted.images_NCHW, wanted)
    assert pasted.labels_N.tolist() == pytest.approx([share, 1 - share])


def test_a_sample_without_its_partner_stays_as_it_is() -> None:
    batch = batch_of(3)
    mixed = mix.mixed(batch, range(1, 4), mix.Mixing(np.full(3, 0.3), np.zeros((3, 4))), CPU)
    assert torch.equal(mixed.images_NCHW[0], batch.images_NCHW[0])
    assert not torch.equal(mixed.images_NCHW[1], batch.images_NCHW[1])
    alone = mix.mixed(batch_of(1), range(4, 5), mix.Mixing(np.full(1, 0.3), np.zeros((1, 4))), CPU)
    assert torch.equal(alone.images_NCHW, batch_of(1).images_NCHW)


ROWS = np.arange(4, 62, dtype=np.int64)


def epoch(
    patches: Patches,
    stats: ChannelStats,
    runtime: Runtime,
    batch_size: int,
    first_step: int = 0,
    mixing: MixConfig = BOTH,
) -> tuple[torch.Tensor, torch.Tensor]:
    data = DataConfig(batch_size=batch_size, image_size_px=32, augment=AugmentConfig(policy="d4"), mix=mixing)
    batches = list(loader.train_loader(Samples(patches, ROWS, stats), Config(data=data), runtime).epoch(2, first_step))
    return torch.cat([b.images_NCHW for b in batches]), torch.cat([b.labels_N for b in batches])


@pytest.mark.dali
def test_mixing_does_not_depend_on_an_even_batch_size_ranks_or_where_it_begins(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    images, labels = epoch(patches, stats, runtime, 16)
    assert ((labels > 0) & (labels < 1)).any()
    for batch_size in (2, 8, 64):
        images_and_labels = epoch(patches, stats, runtime, batch_size)
        assert torch.equal(images_and_labels[0], images)
        assert torch.equal(images_and_labels[1], labels)
    assert torch.equal(epoch(patches, stats, runtime, 16, first_step=2)[0], images[32:])
    halves = [epoch(patches, stats, dataclasses.replace(runtime, rank=rank, world_size=2), 16) for rank in range(2)]
    for step in range(3):
        ranks = [half[0][step * 8 : step * 8 + 8] for half in halves]
        assert torch.equal(torch.cat(ranks), images[step * 16 : step * 16 + 16])


@pytest.mark.dali
def test_any_batch_size_trains_on_some_mixed_samples_and_one_on_none(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    plain = epoch(patches, stats, runtime, 16, mixing=MixConfig())
    odd, single = epoch(patches, stats, runtime, 7), epoch(patches, stats, runtime, 1)
    assert torch.equal(single[0], plain[0])
    assert torch.equal(single[1], plain[1])
    changed = (odd[0] != plain[0]).flatten(1).any(dim=1)
    assert 0.4 < changed.float().mean() < 0.9
    assert not changed[6]
    assert not changed[7]


def test_more_than_certainty_is_refused() -> None:
    with pytest.raises(ConfigError, match="wanted at most 1"):
        MixConfig(mixup_p=0.7, cutmix_p=0.5)
