"""Wherever patches wait, the batches are the same bytes; what fits where is decided by the memory there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
import torch

from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.data import loader, residency
from fastpath.data.augment import colour
from fastpath.data.residency import Pixels, ResidentPixels, StagedPixels, StorePixels
from fastpath.errors import UsageError
from fastpath.runtime import Runtime
from fastpath.types import Batch, ChannelStats, Patches, Samples

ROWS = np.arange(4, 60, dtype=np.int64)[::-1].copy()
PLACES: dict[str, Callable[[Patches, Runtime], Pixels]] = {
    "device": lambda patches, runtime: ResidentPixels(patches, np.unique(ROWS), runtime),
    "device, framed": lambda patches, runtime: ResidentPixels(patches, np.unique(ROWS), runtime, 1),
    "device, wide frame": lambda patches, runtime: ResidentPixels(patches, np.unique(ROWS), runtime, 2),
    "staged": StagedPixels,
}


def batches_of(batches: list[Batch]) -> list[tuple[list[int], bytes]]:
    return [(batch.indices_N.tolist(), batch.images_NCHW.numpy().tobytes()) for batch in batches]


@pytest.mark.dali
@pytest.mark.parametrize("size_px", [96, 48])  # below the patch's size the frame is wider
@pytest.mark.parametrize("border", ["black", "clamp"])
@pytest.mark.parametrize("place", PLACES)
def test_batches_are_the_same_bytes_in_every_residency(
    patches: Patches, stats: ChannelStats, runtime: Runtime, place: str, border: str, size_px: int
) -> None:
    augment = AugmentConfig.model_validate({"border": border})
    config = Config(data=DataConfig(batch_size=16, image_size_px=size_px, augment=augment))
    pixels = PLACES[place](patches, runtime)
    for make, read in (
        (loader.train_loader, lambda batches: [*batches.epoch(2, 1), *batches.epoch(3)]),
        (loader.eval_loader, list),
    ):
        with (
            closing(make(Samples(patches, ROWS, stats), config, runtime)) as usual,
            closing(make(Samples(patches, ROWS, stats), config, runtime, pixels=pixels)) as placed,
        ):
            assert batches_of(read(placed)) == batches_of(read(usual))


@pytest.mark.parametrize("frame_px", [0, 1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_pixels_and_probes_are_those_of_the_store(
    patches: Patches, runtime: Runtime, place: str, frame_px: int
) -> None:
    pixels, rng = PLACES[place](patches, runtime), np.random.default_rng(2)
    # Sizes rise and fall, so that buffers are used again for fewer and made anew for more.
    for count in (5, 9, 2, 9, 1, 30):
        rows = rng.choice(ROWS, count)
        images, probes = pixels.fetch_with_probes(rows, frame_px)
        wanted = np.pad(patches.gather(rows), ((0, 0), (frame_px,) * 2, (frame_px,) * 2, (0, 0)))
        np.testing.assert_array_equal(images, wanted)
        np.testing.assert_array_equal(pixels.fetch(rows, frame_px), wanted)
        np.testing.assert_array_equal(probes, colour.probe_pixels(patches.gather(rows)))


@pytest.mark.parametrize("place", PLACES)
def test_what_was_taken_is_not_overwritten_by_what_is_taken_later(
    patches: Patches, runtime: Runtime, place: str
) -> None:
    pixels = PLACES[place](patches, runtime)
    kept = [pixels.fetch(ROWS[start : start + 4], 1) for start in range(40)]
    for start, images in enumerate(kept):
        inside = residency.inner(np.asarray(images), 1)
        np.testing.assert_array_equal(inside, patches.gather(ROWS[start : start + 4]))


def test_a_buffer_is_filled_anew_only_when_its_copy_is_done(
    patches: Patches, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def mark(_runtime: Runtime) -> Callable[[], None]:
        number = sum(line.startswith("copied") for line in events)
        events.append(f"copied {number}")
        return lambda: events.append(f"awaited {number}")

    monkeypatch.setattr(Runtime, "record_event", mark)
    pixels = StagedPixels(patches, runtime)
    for _ in range(residency.SLOTS + 2):
        pixels.fetch(ROWS[:4])
    copies = [f"copied {number}" for number in range(residency.SLOTS)]
    assert events == [*copies, "awaited 0", f"copied {residency.SLOTS}", "awaited 1", f"copied {residency.SLOTS + 1}"]


def test_the_device_is_chosen_when_as_much_again_stays_free(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    cuda = dataclasses.replace(runtime, device=torch.device("cuda", 0))
    monkeypatch.setattr(Runtime, "free_bytes", property(lambda _: 2 * 1000 * 96 * 96 * 3))
    for asked, residence, count, wanted in (
        ("auto", cuda, 1000, "device"),
        ("auto", cuda, 1001, "host"),
        ("device", cuda, 2000, "device"),
        ("host", cuda, 10, "host"),
        ("auto", runtime, 10, "host"),
        ("device", runtime, 10, "device"),
    ):
        budget = residency.budget(asked, count, 96, residence)  # type: ignore[arg-type]
        assert budget.residency == wanted
        assert budget.split_bytes == count * 27_648
        assert budget.reserve_bytes == budget.free_bytes // 2
    with pytest.raises(UsageError, match="use --residency host"):
        residency.budget("device", 2001, 96, cuda)
    with pytest.raises(UsageError, match="use --residency host"):
        residency.budget("device", 2000, 96, cuda, frame_px=1)


def test_the_budget_is_told_in_one_line(runtime: Runtime) -> None:
    line = residency.Budget("device", 6 << 30, 15 << 30, 7 << 30).describe()
    assert line == (
        "patches all on the device (6.00 GiB of pixels, 15.00 GiB free, 7.00 GiB of it kept for the network)"
    )
    assert 0 < runtime.free_bytes < 1 << 50


def test_each_residency_has_its_pixels(patches: Patches, runtime: Runtime) -> None:
    repeated = np.concatenate([ROWS, ROWS])
    assert isinstance(residency.make_pixel_source(patches, repeated, "host", runtime), StorePixels)
    resident = residency.make_pixel_source(patches, repeated, "device", runtime)
    assert isinstance(resident, ResidentPixels)
    np.testing.assert_array_equal(resident.fetch(ROWS), patches.gather(ROWS))
    framed = residency.make_pixel_source(patches, repeated, "device", runtime, frame_px=1)
    assert isinstance(framed, ResidentPixels)
    assert framed._images.shape[1:3] == (98, 98)
