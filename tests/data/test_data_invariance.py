"""A sample is a function of (seed, epoch, position) alone: not of batch size, threads, ranks or where reading began."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
import xxhash

from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.config.augment import Policy
from fastpath.data import loader, order, step_inputs
from fastpath.data.augment.stages import noise
from fastpath.data.dali import graph
from fastpath.runtime import Runtime
from fastpath.types import Batch, ChannelStats, Patches, Samples

pytestmark = pytest.mark.dali

NUM_ROWS, SIZE_PX = 300, 16
WINDOW = 100  # positions compared of each (seed, epoch)
BATCH_SIZES, THREADS, WORLDS = (1, 7, 64, 256), (1, 2), (1, 2, 4)
ROWS = np.random.default_rng(5).integers(0, 64, NUM_ROWS)

Sample = tuple[int, int]
"""Row of the store, and the hash of the augmented image's bytes."""


def settings(seed: int, batch_size: int) -> Config:
    # Odd seeds leave the frame out and jitter the stains.
    policy = AugmentConfig(policy="strong" if seed % 2 else "notebook")
    data = DataConfig(batch_size=batch_size, image_size_px=SIZE_PX, augment=policy, sampling="systematic")
    return Config(seed=seed, data=data)


def samples(batch: Batch) -> list[Sample]:
    images = batch.images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    hashes = [xxhash.xxh3_64_intdigest(image.tobytes()) for image in images]
    return list(zip(batch.indices_N.tolist(), hashes, strict=True))


def window(
    patches: Patches, stats: ChannelStats, config: Config, runtime: Runtime, epoch: int, first: int, last: int
) -> list[list[Sample]]:
    """Return what one rank sees in each of the steps that hold positions `first` to `last`."""
    size = config.data.batch_size
    first_step, count = first // size, last // size - first // size + 1
    with closing(loader.train_loader(Samples(patches, ROWS, stats), config, runtime)) as batches:
        reading = batches.epoch(epoch, first_step)
        return [samples(next(reading)) for _ in range(count)]


def variants(runtime: Runtime) -> Iterator[tuple[int, list[Runtime]]]:
    """Every batch size and number of threads with the runtimes of all ranks."""
    for batch_size in BATCH_SIZES:
        for threads in THREADS:
            for world in WORLDS:
                ranks = [
                    dataclasses.replace(runtime, num_threads=threads, rank=rank, world_size=world)
                    for rank in range(world)
                ]
                yield batch_size, ranks


@pytest.mark.parametrize("odd", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_100_positions_do_not_depend_on_batch_size_threads_ranks_or_start(
    patches: Patches, stats: ChannelStats, runtime: Runtime, odd: int
) -> None:
    rng = np.random.default_rng(11)
    seed, epoch = int(rng.integers(2**31)) * 2 + odd, int(rng.integers(10_000))
    first = int(rng.integers(NUM_ROWS - WINDOW))
    wanted = None
    for batch_size, ranks in variants(runtime):
        config = settings(seed, batch_size)
        by_rank = [window(patches, stats, config, rank, epoch, first, first + WINDOW - 1) for rank in ranks]
        in_order = [
            sample for shares in zip(*by_rank, strict=True) for rank_samples in shares for sample in rank_samples
        ]
        skipped = first - first // batch_size * batch_size
        in_window = in_order[skipped : skipped + WINDOW]
        wanted = wanted or in_window
        assert in_window == wanted, (seed, epoch, batch_size, ranks[0])
    assert len(set(wanted or [])) > WINDOW // 2
    order_M = ROWS[order.epoch_order(patches.labels_N[ROWS], "systematic", seed, epoch)]
    assert [row for row, _ in wanted or []] == order_M[first : first + WINDOW].tolist()


Triple = tuple[int, int, int]
"""Seed, epoch, position."""


def sampled(
    patches: Patches, stats: ChannelStats, runtime: Runtime, batch_size: int, policy: Policy, triples: list[Triple]
) -> list[Sample | None]:
    """Return each triple's sample where it is this rank's: one pipeline, each step of another seed and epoch."""
    steps = order.num_steps(NUM_ROWS, batch_size)
    data = DataConfig(
        batch_size=batch_size, image_size_px=SIZE_PX, augment=AugmentConfig(policy=policy), sampling="systematic"
    )

    def place(position: int) -> int:
        step = position // batch_size
        rank_positions = order.step_positions(NUM_ROWS, batch_size, step, runtime.rank, runtime.world_size)
        return position - rank_positions.start if position in rank_positions else -1

    mine = [triple for triple in triples if place(triple[2]) >= 0]

    def feed(number: int) -> step_inputs.StepInputs:
        seed, epoch, position = mine[number % len(mine)]  # prefetched beyond the last
        config = Config(seed=seed, data=data)
        return step_inputs.training_feed(Samples(patches, ROWS, stats), config, runtime)(
            epoch * steps + position // batch_size
        )

    sample_of: dict[Triple, Sample] = {}
    if mine:
        layout, rank_batch_size = (
            step_inputs.training_layout(96, Config(data=data)),
            -(-batch_size // runtime.world_size),
        )
        pipeline = graph.training_graph(feed, 0, layout, rank_batch_size, runtime, data.augment)
        for triple in mine:
            images, rows = (np.asarray(output.as_tensor()) for output in pipeline.run())
            at = place(triple[2])
            sample_of[triple] = int(rows[at]), xxhash.xxh3_64_intdigest(images[at].tobytes())
    return [sample_of.get(triple) for triple in triples]


@pytest.mark.parametrize("policy", ["notebook", "strong"])
@pytest.mark.parametrize(
    ("part", "count"), [(0, 5), *(pytest.param(part, 100, marks=pytest.mark.slow) for part in range(5))]
)
def test_random_triples_do_not_depend_on_batch_size_threads_or_ranks(
    patches: Patches,
    stats: ChannelStats,
    runtime: Runtime,
    policy: Policy,
    part: int,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise, "FIELD_PX", 16)  # a field of noise is drawn for every seed
    rng = np.random.default_rng([part, count, len(policy)])
    ends = (2**32, 10_000, NUM_ROWS)
    triples = [
        (int(rng.integers(ends[0])), int(rng.integers(ends[1])), int(rng.integers(ends[2]))) for _ in range(count)
    ]
    wanted: list[Sample] = []
    for batch_size, ranks in variants(runtime):
        by_rank = [sampled(patches, stats, rank, batch_size, policy, triples) for rank in ranks]
        seen = [[sample for sample in shares if sample] for shares in zip(*by_rank, strict=True)]
        assert [len(shares) for shares in seen] == [1] * len(triples)  # each is one rank's
        drawn_samples = [sample for (sample,) in seen]
        wanted = wanted or drawn_samples
        assert drawn_samples == wanted, (batch_size, ranks[0])
    assert len(set(wanted)) == len(triples)
    orders = [order.epoch_order(patches.labels_N[ROWS], "systematic", seed, epoch) for seed, epoch, _ in triples]
    rows = [ROWS[order_M[position]] for order_M, (_, _, position) in zip(orders, triples, strict=True)]
    assert [row for row, _ in wanted] == rows


def test_reading_can_go_on_from_every_step_of_an_epoch(patches: Patches, stats: ChannelStats, runtime: Runtime) -> None:
    config = settings(8, 7)
    with closing(loader.train_loader(Samples(patches, ROWS, stats), config, runtime)) as through:
        whole = [samples(batch) for batch in through.epoch(4)]
        onward = samples(next(through.epoch(5)))
    assert len(whole) == order.num_steps(NUM_ROWS, 7) == 43
    for step in range(len(whole)):
        with closing(loader.train_loader(Samples(patches, ROWS, stats), config, runtime)) as resumed:
            reading = resumed.epoch(4, step)
            assert samples(next(reading)) == whole[step]
            if step >= len(whole) - 3:  # and on into the next epoch, across the short last batch
                assert [samples(batch) for batch in reading] == whole[step + 1 :]
                assert samples(next(resumed.epoch(5))) == onward


def test_a_rank_without_a_sample_in_a_step_still_takes_that_step(
    patches: Patches, stats: ChannelStats, runtime: Runtime
) -> None:
    config = settings(2, 256)
    rows = ROWS[:258]  # the last step has 2 samples for 4 ranks
    ranks = [dataclasses.replace(runtime, rank=rank, world_size=4) for rank in range(4)]
    shares = []
    for rank in ranks:
        with closing(loader.train_loader(Samples(patches, rows, stats), config, rank)) as batches:
            *_, last = batches.epoch(0)
        assert last.images_NCHW.shape == (len(last.labels_N), 3, SIZE_PX, SIZE_PX)
        shares.append(len(last.indices_N))
    assert shares == [0, 1, 0, 1]
