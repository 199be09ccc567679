"""Stage: the card's batches against the CPU's, for every policy in every residency."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.card import patches
from benchmarks.card.check import Check
from fastpath import config as configuration
from fastpath.config import Config
from fastpath.config.augment import POLICIES
from fastpath.data.loader import train_loader
from fastpath.data.residency import Residency, make_pixel_source
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import Store, open_store
from fastpath.types import ChannelStats, Samples

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
RINGS = {"ring_blur_p": 0.5, "ring_stain_p": 0.5, "ring_swap_p": 0.5}
COMPARED: dict[str, dict[str, Any]] = {name: {"policy": name} for name in POLICIES}
COMPARED |= {f"notebook, {border}": {"border": border} for border in ("clamp", "reflect")}
COMPARED["everything"] = {"policy": "strong", "border": "black", **RINGS}
RESIDENCIES: tuple[Residency, ...] = ("host", "device")
# Grey levels of 0 to 255. The two back ends may round differently, most of all in JPEG's cosine transform, so a mean
# is asked for; where pixels are only moved to where they are read anyway, every single one.
MEAN_BOUND, LARGEST_BOUND = 0.5, 1.0
EXACT = ("none", "d4")
NUM_PATCHES, BATCH_SIZE = 256, 64


def tell(check: Check) -> None:
    """Tell of each policy in each residency; raises at the end when one differs."""
    store = open_store(patches.store(check))
    count, batch_size, size = (24, 8, 32) if check.tiny else (NUM_PATCHES, BATCH_SIZE, 224)
    rows, differing = np.arange(min(len(store), count)), []
    for name, policy in COMPARED.items():
        data = {"batch_size": batch_size, "image_size_px": size, "augment": policy}
        settings = configuration.parse({"data": data})
        wanted = images(store, rows, settings, resolve("cpu"), "host")
        for residency in RESIDENCIES:
            row = distance(images(store, rows, settings, check.runtime(amp=False), residency), wanted)
            row["agrees"] = agrees(name, row)
            check.tell("batches", policy=name, residency=residency, **row)
            differing += [] if row["agrees"] else [f"{name} ({residency})"]
    if differing:
        raise AssertionError(f"batches differ from the CPU's: {', '.join(differing)}")


def agrees(policy: str, row: dict[str, Any]) -> bool:
    """Whether a distance is within the bounds of its policy."""
    return bool(row["mean"] < MEAN_BOUND and (policy not in EXACT or row["largest"] <= LARGEST_BOUND))


def distance(images_NHWC: NDArray[np.float32], wanted: NDArray[np.float32]) -> dict[str, Any]:
    """Return how far normalised images [N, H, W, 3] lie apart, in grey levels."""
    apart = np.abs(images_NHWC - wanted) * 255 * np.array(STATS.std_3, np.float32)
    beyond = float((apart > 1).any(axis=-1).mean())
    return {"mean": float(apart.mean()), "largest": float(apart.max()), "beyond_one_level": beyond}


def images(
    store: Store, rows: NDArray[np.int64], settings: Config, runtime: Runtime, residency: Residency
) -> NDArray[np.float32]:
    """Return the second epoch of these rows, float32 [N, H, W, 3]."""
    pixels = make_pixel_source(store, rows, residency, runtime)
    with closing(train_loader(Samples(store, rows, STATS), settings, runtime, pixels=pixels)) as loader:
        batches = [batch.images_NCHW.permute(0, 2, 3, 1).cpu().numpy().copy() for batch in loader.epoch(1)]
    return np.concatenate(batches)
