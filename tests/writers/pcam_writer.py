"""A writer of PatchCamelyon's nine files as they are published, only smaller."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from fastpath.ingest import tissue
from fastpath.ingest.sources.pcam import STEM

SIZES = {"train": 96, "valid": 60, "test": 80}
SLIDES = {"train": (0, 12), "valid": (12, 8), "test": (20, 10)}  # the first slide of a part, and how many it has


def write_pcam(folder: Path) -> dict[str, np.ndarray]:
    """Write the set as it is published, only smaller: images, packed labels, tables of slides; returns the labels."""
    h5py, labels = pytest.importorskip("h5py"), {}
    folder.mkdir(parents=True)
    for number, (part, size) in enumerate(SIZES.items()):
        labels[part] = np.random.default_rng(number).permutation(np.arange(size) % 2).astype(np.int8)
        first, num = SLIDES[part]
        slides_N = first + np.arange(size) % num
        images_NHWC = np.concatenate(list(tissue.paint_patches(labels[part], slides_N, seed=number, chunk=0))).reshape(
            size, 96, 96, 3
        )
        names = {what: folder / f"{STEM.format(part=part, what=what)}" for what in "xy"}
        with h5py.File(f"{names['x']}.h5", "w") as file:
            file.create_dataset("x", data=images_NHWC, chunks=(1, 96, 96, 3), compression="gzip")
        with h5py.File(f"{names['y']}.h5", "w") as file:
            file["y"] = labels[part].astype(np.uint8).reshape(-1, 1, 1, 1)
        content = Path(f"{names['y']}.h5").read_bytes()
        Path(f"{names['y']}.h5").unlink()
        Path(f"{names['y']}.h5.gz").write_bytes(gzip.compress(content))
        lines = [f"{row},camelyon16_{part}_{slide:03d}" for row, slide in enumerate(slides_N)]
        (folder / f"{STEM.format(part=part, what='meta')}.csv").write_text("\n".join([",wsi", *lines]) + "\n")
    return labels
