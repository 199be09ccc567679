"""What every contestant shares: its arguments and its clock. Standard library only, to run in any environment."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

# The notebook's settings, in units of 0 to 1.
MEAN, STD = (0.6999, 0.5416, 0.6931), (0.2213, 0.2659, 0.1982)
ROTATION_DEG, CROP_SCALE, JITTER = 15, (0.8, 1.0), (0.2, 0.2, 0.2, 0.1)


@dataclass(frozen=True)
class Task:
    """What to load: the same for every contestant.

    Attributes:
        folder: A folder in the Kaggle layout.
        store: The same patches, packed.
        mode: `train` (the notebook's full augmentation) or `val` (resize and normalise).
        image_size_px: Side of the output.
        batch_size: Patches a batch.
        threads: CPU cores to use.
        warm: Batches before the clock starts: more than any contestant prefetches.
        batches: Batches on the clock.
    """

    folder: Path
    store: Path
    mode: str
    image_size_px: int
    batch_size: int
    threads: int
    warm: int
    batches: int


def main(load: Callable[[Task], Iterator[int]]) -> None:
    """Time an iterator that yields the number of images of each batch once the batch is in memory; print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--mode", choices=["train", "val"], required=True)
    for name in ("image-size-px", "batch-size", "threads", "warm", "batches"):
        parser.add_argument(f"--{name}", type=int, required=True)
    task = Task(**vars(parser.parse_args()))
    batches = load(task)
    for _ in range(task.warm):
        next(batches)
    images, start = 0, time.perf_counter()
    for _ in range(task.batches):
        images += next(batches)
    seconds = time.perf_counter() - start
    print(json.dumps({"images": images, "seconds": seconds, "images_per_s": images / seconds}), flush=True)
    os._exit(0)  # worker processes with full queues must not hold up the next contestant
