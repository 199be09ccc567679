"""Features of a store's patches on disk: shards of float32, one row a patch, and what they were made of.

A directory of `features-NNNNN.npy` (C-order float32 [n, D]; `numpy.load` reads it with no help from here),
`rows.parquet` (one row a patch, in the order of the store: id, label, group, part) and `features.json`, written last
(what the features are of, a hash of every other file). While they are made, `.features.partial` says what of.
docs/embed.md says the same in prose; `feature_writer` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fastpath.errors import IntegrityError, StoreError, UsageError
from fastpath.store import format as fmt
from fastpath.system import files, tables

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float32]

MANIFEST, ROWS, PARTIAL = "features.json", "rows.parquet", ".features.partial"
SHARD_ROWS = 2048
"""Patches of a shard, of which a kill loses one at most: seconds of a large encoder on a card, minutes on a CPU."""
FEATURES_MAX = 1 << 20  # numbers a patch
REMEDY = "choose another -o, or remove that directory"
"""What to do about a directory that cannot be gone on with."""


class Origin(fmt.Strict):
    """All that decides the numbers: features of another origin are other features."""

    store: fmt.Word
    """The store's name."""
    store_fingerprint: fmt.Hash
    """Of its patches."""
    model: fmt.Word
    """What timm calls the encoder."""
    weights_hash: fmt.Hash
    """xxh3-128 of its parameters and buffers."""
    pooling: fmt.Word
    """How one vector is made of what it emits."""
    image_size_px: Annotated[int, Field(ge=1, le=fmt.SIDE_MAX_PX)]
    """Height and width of its input."""
    mean_3: tuple[float, float, float]
    """What pixels are normalised with, red green blue, in units of 0 to 1."""
    std_3: tuple[float, float, float]
    """The same."""
    precision: Literal["float32", "bfloat16", "float16"]
    """Of its products; features are kept in float32."""


class Division(fmt.Strict):
    """The split that the store had, kept so that features can be used without it."""

    kind: fmt.Word
    """How it was dealt."""
    leaks: dict[Literal["val", "test"], Annotated[str, Field(max_length=4096)]]
    """What scores on a part cannot be trusted for, where there is anything."""


class FeatureManifest(fmt.Strict):
    """What a directory of features holds. Neither paths nor times, like a store's."""

    format: Literal["fastpath-features"] = "fastpath-features"
    format_version: Annotated[int, Field(ge=1, le=1)] = 1
    """Raised when an older reader would misread the files."""
    num_patches: Annotated[int, Field(ge=1, le=fmt.SHARDS_MAX * SHARD_ROWS)]
    """Rows."""
    num_features: Annotated[int, Field(ge=1, le=FEATURES_MAX)]
    """Numbers a row, float32."""
    origin: Origin
    """What they were made of."""
    licence: fmt.Word
    """Of the encoder's weights, as their configuration states it; empty where it does not."""
    split: Division | None
    """None where the store had none."""
    rows_hash: fmt.Hash
    """xxh3-128 of rows.parquet."""
    shards: Annotated[list[fmt.ShardEntry], Field(min_length=1, max_length=fmt.SHARDS_MAX)]
    """In row order."""
    software: dict[fmt.Word, fmt.Word]
    """Versions that made them."""


def shard_name(number: int) -> str:
    """Return a shard's file name."""
    return f"features-{number:05d}.npy"


@dataclass(frozen=True)
class Features:
    """Features that are whole, opened for reading.

    Attributes:
        path: Their directory.
        manifest: What they are.
    """

    path: Path
    manifest: FeatureManifest

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row a patch: id, label (-1 where unknown), group and part, the last two None where unknown.

        Raises:
            IntegrityError: The file is another one than the manifest's.
        """
        path = self.path / ROWS
        _check_hash(path, self.manifest.rows_hash)
        frame, _ = tables.read(path, "embed again")
        return frame

    def read(self) -> Floats:
        """Return all features, float32 [N, D].

        Raises:
            IntegrityError: A shard is another one than the manifest's.
        """
        features_ND = np.empty((self.manifest.num_patches, self.manifest.num_features), np.float32)
        end = 0
        for number, entry in enumerate(self.manifest.shards):
            _check_hash(self.path / entry.file, entry.hash)
            features_ND[end : end + entry.rows] = load_shard(self.path, number, entry.rows, self.manifest.num_features)
            end += entry.rows
        return features_ND


def open_features(path: Path) -> Features:
    """Open what `fastpath embed` wrote.

    Raises:
        UsageError: It is no such directory, or one whose making was stopped.
        StoreError: The manifest is damaged.
    """
    if not (path / MANIFEST).exists():
        stopped = (path / PARTIAL).exists()
        state = "features whose making was stopped" if stopped else f"no {MANIFEST}"
        remedy = "run the same 'fastpath embed' again, which goes on" if stopped else "run 'fastpath embed' first"
        raise UsageError(path, f"found {state}, wanted a directory of features", remedy)
    manifest = read_document(path / MANIFEST, FeatureManifest)
    names = [shard_name(number) for number in range(len(manifest.shards))]
    counted = sum(entry.rows for entry in manifest.shards)
    if [entry.file for entry in manifest.shards] != names or counted != manifest.num_patches:
        raise StoreError(path / MANIFEST, "names shards that cannot be of one set", "embed again")
    return Features(path, manifest)


def read_document(path: Path, kind: type[fmt.Document]) -> fmt.Document:
    """Read a manifest of features, or the origin of unfinished ones.

    Raises:
        StoreError: It is damaged, of a newer format, or no such file.
    """
    try:
        return fmt.load_document(path, kind)
    except StoreError as error:
        problem = error.problem.replace("a packed store's", "what 'fastpath embed' writes,")
        raise StoreError(path, problem, REMEDY) from None


def load_shard(path: Path, number: int, rows: int, num_features: int) -> Floats:
    """Return a shard.

    Raises:
        IntegrityError: It is not of this shape, or holds what is no number.
        StoreError: There is none.
    """
    place = path / shard_name(number)
    with files.open_regular(place, follow=False, kind=StoreError) as file:
        try:
            features_ND: Floats = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise IntegrityError(place, f"cannot be read ({fmt.one_line(str(error), 120)})", "embed again") from None
    if features_ND.shape != (rows, num_features) or features_ND.dtype != np.dtype("<f4"):
        problem = f"found {features_ND.dtype} {list(features_ND.shape)}, wanted float32 [{rows}, {num_features}]"
        raise IntegrityError(place, problem, "embed again")
    if not np.isfinite(features_ND).all():
        raise IntegrityError(place, "holds NaN or infinity", "embed again")
    return features_ND


def _check_hash(path: Path, wanted: str) -> None:
    actual = fmt.hash_file(path)
    if actual != wanted:
        raise IntegrityError(path, f"found hash {actual}, wanted {wanted}", "embed again into a free directory")
