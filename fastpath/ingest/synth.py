"""Synthetic patches on disk, in the layout of the Kaggle set, for the demo and for tests."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from fastpath.errors import DataError, UsageError
from fastpath.ingest import tissue
from fastpath.system.files import as_failure, clear_temporaries, temporary_name

POSITIVE_SHARE = 0.4
"""Share of the training patches labelled 1, as in the Kaggle set (40.5 %)."""

_CHUNK = 128  # patches drawn at once: small enough for the cache, and part of what a seed means


def write_kaggle_folder(
    folder: Path,
    *,
    num_train: int,
    num_test: int,
    num_slides: int = 8,
    seed: int = 0,
    advance: Callable[[int, int], None] | None = None,
) -> None:
    """Write `train/`, `train_labels.csv`, `groups.csv`, `test/` and `sample_submission.csv`; same seed, same bytes.

    Files are uncompressed RGB TIFFs of 96×96 pixels named by the SHA-1 of their raw pixels. The folder appears
    whole or not at all.

    Args:
        folder: Where to write; must not exist, or be empty.
        num_train: Labelled patches, `POSITIVE_SHARE` of them positive.
        num_test: Patches without a label; they come from slides of their own.
        num_slides: Slides that the training patches come from, in equal parts.
        seed: Decides every pixel and label.
        advance: Called with (patches done, patches in all).

    Raises:
        UsageError: A count is out of range.
        DataError: The folder already holds something.
        FastpathError: It cannot be written.
    """
    if num_train < 1 or num_test < 0 or num_slides < 1:
        problem = f"found {num_train} training patches, {num_test} test patches, {num_slides} slides"
        raise UsageError("synthetic patches", f"{problem}, wanted at least 1, 0 and 1", "ask for more")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(folder, "already holds something, wanted a new folder", "remove it or name another")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear_temporaries(folder)  # left by runs that were killed; their content follows from a seed
        with _held(temporary_name(folder)) as staging:
            _write(staging, num_train, num_test, num_slides, seed, advance or (lambda done, total: None))
            staging.rename(folder)
    except OSError as error:
        raise as_failure(folder, error) from error


@contextmanager
def _held(staging: Path) -> Iterator[Path]:
    """Make a directory, hold it against whoever clears up after killed runs, and remove it if it is still there."""
    staging.mkdir()
    lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        os.close(lock)


def _write(
    folder: Path, num_train: int, num_test: int, num_slides: int, seed: int, advance: Callable[[int, int], None]
) -> None:
    rng = np.random.default_rng([seed, 3])
    total = num_train + num_test
    labels_N = np.zeros(total, np.int8)
    labels_N[: round(POSITIVE_SHARE * num_train)] = 1
    rng.shuffle(labels_N[:num_train])
    labels_N[num_train:] = rng.random(num_test) < POSITIVE_SHARE
    train_slides_N = rng.permutation(num_train) % num_slides
    test_slides_N = num_slides + np.arange(num_test) % max(1, num_slides // 4)
    slides_N = np.concatenate([train_slides_N, test_slides_N])

    for name in ("train", "test"):
        (folder / name).mkdir(parents=True)
    header = _tiff_header()
    ids = []
    for row, patch in enumerate(_patches(labels_N, slides_N, seed)):
        pixels = patch.tobytes()
        ids.append(hashlib.sha1(pixels, usedforsecurity=False).hexdigest())
        place = folder / ("train" if row < num_train else "test") / f"{ids[-1]}.tif"
        place.write_bytes(header + pixels)
        advance(row + 1, total)

    train_ids = ids[:num_train]
    names = [f"synthetic_{seed}_{slide:03d}" for slide in slides_N[:num_train]]
    _write_csv(folder / "train_labels.csv", ("id", "label"), zip(train_ids, labels_N.tolist(), strict=False))
    _write_csv(folder / "groups.csv", ("id", "wsi"), zip(train_ids, names, strict=True))
    _write_csv(folder / "sample_submission.csv", ("id", "label"), ((name, 0) for name in sorted(ids[num_train:])))


def _patches(labels_N: NDArray[np.int8], slides_N: NDArray[np.int64], seed: int) -> Iterator[NDArray[np.uint8]]:
    for chunk, start in enumerate(range(0, len(labels_N), _CHUNK)):
        rows = slice(start, start + _CHUNK)
        yield from tissue.paint_patches(labels_N[rows], slides_N[rows], seed=seed, chunk=chunk)


def _tiff_header() -> bytes:
    """Return what precedes the pixels in an uncompressed TIFF: the same bytes for every patch, so made once."""
    blank = np.full((tissue.PATCH_SIZE_PX, tissue.PATCH_SIZE_PX, 3), 128, np.uint8)
    file = io.BytesIO()
    # No metadata, software or date: the file depends on the pixels alone.
    tifffile.imwrite(file, blank, photometric="rgb", compression=None, metadata=None, software="", datetime=None)
    header = file.getvalue()[: -blank.nbytes]
    assert header + blank.tobytes() == file.getvalue(), "tifffile puts something after the pixels"
    return header


def _write_csv(path: Path, header: tuple[str, str], rows: Iterable[tuple[object, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
