"""What every contestant shares: its arguments and its clock. Standard library only, to run in any environment."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# The notebook's settings, in units of 0 to 1.
MEAN, STD = (0.6999, 0.5416, 0.6931), (0.2213, 0.2659, 0.1982)
ROTATION_DEG, CROP_SCALE, CROP_RATIO, JITTER = 15, (0.8, 1.0), (3 / 4, 4 / 3), (0.2, 0.2, 0.2, 0.1)

ENOUGH_S = 4.0  # on the clock: a slow loader need not make all the batches asked for

Batches = Iterator[tuple[Any, Any]]


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
        variant: Which of a module's ways of doing it.
        device: Where the loops train, `cpu` or `cuda`; loaders alone stay on the CPU.
    """

    folder: Path
    store: Path
    mode: str
    image_size_px: int
    batch_size: int
    threads: int
    warm: int
    variant: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class Work:
    """How a contestant's training batches compare with the notebook's.

    Attributes:
        cannot: Parts of the notebook's work that it leaves undone, having no such thing.
        differs: Parts that it does, but otherwise.
    """

    cannot: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()


def main(
    load: Callable[[Task], Batches],
    works: Mapping[str, Work] | None = None,
    packages: Sequence[str] = (),
    settle: Callable[[Task], None] = lambda _task: None,
) -> None:
    """Serve an iterator of (images, labels), each yielded once it is in memory, until standard input ends.

    Each line of input asks for a number of batches, `{"batches": 50}` on the clock (or what four seconds allow) or
    `{"describe": 16}` to look at, and is answered by one line of JSON. A contestant thus compiles and warms up once,
    however often it is timed.

    Args:
        load: Makes the iterator; endless. What it prepares before its first batch is not on the clock.
        works: By variant, or `val` for validation: what it does otherwise than the notebook.
        packages: Distributions whose versions the result names.
        settle: Waits until the device has done all that was asked of it; on both ends of the clock.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--mode", choices=["train", "val"], required=True)
    parser.add_argument("--variant", default="")
    parser.add_argument("--device", default="cpu")
    for name in ("image-size-px", "batch-size", "threads", "warm"):
        parser.add_argument(f"--{name}", type=int, required=True)
    task = Task(**vars(parser.parse_args()))
    batches = load(task)
    constant: dict[str, Any] = asdict((works or {}).get("val" if task.mode == "val" else task.variant, Work()))
    constant["versions"] = _installed(packages)
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        if "describe" in asked:
            answer = _describe(batches, asked["describe"])
        else:
            answer = _time(batches, task.warm, asked["batches"], lambda: settle(task))
        print(json.dumps(answer | constant), file=answers, flush=True)
    os._exit(0)  # worker processes with full queues must not hold up the next contestant


def _installed(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those that are installed as distributions: of DALI's builds an environment has one."""
    versions = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _time(batches: Batches, warm: int, count: int, settle: Callable[[], None]) -> dict[str, Any]:
    """Return images a second, once warm: whatever was prefetched while idle is then used up."""
    for _ in range(warm):
        next(batches)
    settle()
    images, start = 0, time.perf_counter()
    for _ in range(count):
        images += len(next(batches)[0])
        if time.perf_counter() - start > ENOUGH_S:
            break
    settle()
    seconds = time.perf_counter() - start
    return {"images": images, "seconds": seconds, "images_per_s": images / seconds}


def _describe(batches: Batches, count: int) -> dict[str, Any]:
    """Return shape, type, mean, spread and share of positives over `count` batches: whether the work is done."""
    moments = []
    for _ in range(count):
        images, labels = next(batches)
        moments.append((float(images.mean()), float(images.std()), sum(map(float, labels)) / len(labels)))
    mean, std, positive = (sum(column) / len(moments) for column in zip(*moments, strict=True))
    described = {"shape": list(images.shape), "dtype": str(images.dtype).removeprefix("torch.")}
    return described | {"mean": mean, "std": std, "positive": positive}
