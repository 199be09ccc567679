"""Make a directory of features, shard by shard, so that what was begun can be gone on with; see `features`."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from fastpath.errors import DataError, IntegrityError, StoreError, UsageError
from fastpath.store import format as fmt
from fastpath.store.features import (
    MANIFEST,
    PARTIAL,
    REMEDY,
    ROWS,
    SHARD_ROWS,
    Division,
    FeatureManifest,
    Features,
    Floats,
    Origin,
    load_shard,
    open_features,
    read_document,
    shard_name,
)
from fastpath.system import files


class Unfinished:
    """Features that are being made, in a directory that no other process writes to meanwhile.

    Args:
        path: The directory.
        origin: What they are of.
        num_patches: Rows in all.
    """

    def __init__(self, path: Path, origin: Origin, num_patches: int) -> None:
        self.path, self.origin, self.num_patches = path, origin, num_patches

    def known(self, num_features: int) -> int:
        """Return the rows that an earlier run has left, all of shards that are whole; `num_features` a row."""
        end = 0
        while end < self.num_patches:
            rows = min(SHARD_ROWS, self.num_patches - end)
            try:
                load_shard(self.path, end // SHARD_ROWS, rows, num_features)
            except (IntegrityError, StoreError):
                break
            end += rows
        return end

    def write(self, number: int, features_ND: Floats) -> None:
        """Put a shard in its place, whole.

        Raises:
            FastpathError: It cannot be written.
        """
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(features_ND, "<f4"))
        files.write_durably(self.path / shard_name(number), content.getvalue())

    def finish(
        self, rows: bytes, num_features: int, *, licence: str, split: Division | None, software: dict[str, str]
    ) -> FeatureManifest:
        """Write what makes the directory whole, `rows` being the content of rows.parquet."""
        files.write_durably(self.path / ROWS, rows)
        counts = [min(SHARD_ROWS, self.num_patches - start) for start in range(0, self.num_patches, SHARD_ROWS)]
        names = [shard_name(number) for number in range(len(counts))]
        manifest = FeatureManifest(
            num_patches=self.num_patches,
            num_features=num_features,
            origin=self.origin,
            licence=licence,
            split=split,
            rows_hash=fmt.hash_file(self.path / ROWS),
            shards=[
                fmt.ShardEntry(file=name, rows=count, hash=fmt.hash_file(self.path / name))
                for name, count in zip(names, counts, strict=True)
            ],
            software=software,
        )
        files.write_durably(self.path / MANIFEST, fmt.dump_document(manifest))
        (self.path / PARTIAL).unlink(missing_ok=True)
        return manifest


@contextmanager
def unfinished(path: Path, origin: Origin, num_patches: int) -> Iterator[Unfinished | Features]:
    """Hold the directory of features to be made; yields what is there, where all of it is.

    Args:
        path: The directory; made where it is missing.
        origin: What they are of.
        num_patches: Rows in all.

    Raises:
        UsageError: It holds features of another origin, or another process writes to it.
    """
    lock = _locked(path)
    try:
        if (path / MANIFEST).exists():
            present = open_features(path)
            _check_origin(path / MANIFEST, present.manifest.origin, origin)
            (path / PARTIAL).unlink(missing_ok=True)  # of a run that was killed as it ended
            yield present
        else:
            if (path / PARTIAL).exists():
                _check_origin(path / PARTIAL, read_document(path / PARTIAL, Origin), origin)
            else:
                _check_free(path)
                files.write_durably(path / PARTIAL, fmt.dump_document(origin))
            yield Unfinished(path, origin, num_patches)
    finally:
        os.close(lock)


def _check_origin(path: Path, present: Origin, wanted: Origin) -> None:
    """Refuse features of another origin, and say in what it differs."""
    theirs, ours = present.model_dump(), wanted.model_dump()
    for name, value in ours.items():
        if theirs[name] != value and name != "store":  # which may have been renamed
            raise UsageError(path, f"is of another {name}: found {theirs[name]}, wanted {value}", REMEDY)


def _check_free(path: Path) -> None:
    """Refuse a directory that holds shards nobody knows the origin of."""
    if (path / shard_name(0)).exists():
        raise UsageError(path, f"holds {shard_name(0)} without {MANIFEST}", REMEDY)


def _locked(path: Path) -> int:
    """Make a directory where it is missing and lock it; returns the descriptor that holds the lock."""
    lock = -1
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(PermissionError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        problem = "another process embeds into it"
        raise UsageError(path, problem, "wait for it, or choose another -o") from None
    except OSError as error:
        if lock < 0:
            raise files.as_failure(path, error) from error
    return lock


def check_finite(features_ND: Floats, model: str) -> None:
    """Refuse features that are no numbers.

    Raises:
        DataError: Naming the encoder.
    """
    if not np.isfinite(features_ND).all():
        raise DataError(model, "gives features that are not finite", "use --precision float32, or other weights")
