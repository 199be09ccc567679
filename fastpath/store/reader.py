"""Read a packed store: pixels by row, and the index beside them."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from fastpath.errors import StoreError
from fastpath.store import format as fmt
from fastpath.store.columns import Columns
from fastpath.store.index import Index
from fastpath.store.open_shards import OpenShards
from fastpath.store.remote import Remote, open_remote
from fastpath.store.split_document import read_document
from fastpath.store.split_table import samples_of
from fastpath.types import Patch, Samples, Split
from fastpath.urls import behind_url, located

_LOGGER = logging.getLogger(__name__)


class Store(Columns):
    """A packed store, opened for reading. Safe to use from several threads.

    Attributes:
        path: The store's directory.
        manifest: What the store says of itself.
        remote: Where its shards are fetched from, for a store behind a URL; None for one on disk.
        split_file: The file of the split in use; None is the store's own.
    """

    def __init__(
        self,
        path: Path,
        manifest: fmt.Manifest,
        remote: Remote | None = None,
        seen: fmt.Stamp | None = None,
        split_file: Path | None = None,
    ) -> None:
        super().__init__(manifest, Index(path / fmt.INDEX, manifest))
        self.path, self.remote, self._seen, self.split_file = path, remote, seen, split_file
        self._shards = OpenShards(path, manifest, remote, seen)

    def __reduce__(self) -> tuple[type[Store], tuple[Any, ...]]:
        """Travel to another process as a place and not as pixels: there the files are opened anew."""
        return Store, (self.path, self.manifest, self.remote, self._seen, self.split_file)

    def with_split(self, split_file: Path | None) -> Store:
        """Return the same store, divided by a file that lies elsewhere; None is by its own.

        The file is looked at when the split is read: who needs none can do without it.
        """
        if split_file == self.split_file:
            return self
        other = copy.copy(self)
        other.split_file = split_file
        other.__dict__.pop("groups_N", None)
        return other

    def with_groups(self, groups_N: np.ndarray) -> Store:
        """Return the same store with slides that its index does not name: an object array of str."""
        other = copy.copy(self)
        other.__dict__["groups_N"] = groups_N
        return other

    @property
    def split_path(self) -> Path:
        """Where the split in use lies, whether or not there is one."""
        return self.split_file or self.path / fmt.SPLIT

    def split(self, part: Split | str, fold: int | None = None) -> Samples:
        """Return one part of the split that the store was opened with.

        Args:
            part: `train`, `val` or `test`.
            fold: Which fold is validation; None is the one the split was written with.

        Raises:
            UsageError: There is no such part.
            StoreError: There is no split, it is damaged or of another store, or it has no such fold.
        """
        return samples_of(self, part, fold)

    def __getitem__(self, row: int) -> Patch:
        """Return one patch; negative rows count from the end. Many at once come cheaper from `gather`.

        Raises:
            IndexError: There is no such row.
        """
        at = row + len(self) if row < 0 else row
        if not 0 <= at < len(self):
            raise IndexError(f"row {row} of a store of {len(self)}")
        label = int(self.labels_N[at])
        group = None if self.groups_N is None else str(self.groups_N[at])
        pixels = self.gather(np.array([at]))[0]
        return Patch(pixels, None if label == fmt.UNLABELLED else label, str(self.ids_N[at]), group)

    def __repr__(self) -> str:
        """What it holds and where it lies; reads nothing but the manifest."""
        about = f"{len(self):,} patches of {self.patch_size_px} px"
        groups = f", {self.manifest.num_groups:,} slides" if self.manifest.num_groups else ""
        return f"Store({str(self)!r}: {about}{groups}, fingerprint {self.fingerprint[:8]})"

    @property
    def local(self) -> bool:
        """Whether all shards are on this machine."""
        return self.remote is None or all((self.path / entry.file).exists() for entry in self.manifest.shards)

    def __str__(self) -> str:
        """Where it lies, to be shown: its path, or its URL without secrets."""
        return self.remote.place if self.remote else str(self.path)

    @property
    def name(self) -> str:
        """What reports that are handed on call it: its directory's name, or its URL without secrets."""
        return self.remote.place if self.remote else self.path.resolve().name

    @property
    def place(self) -> str:
        """Where it lies, to be kept: its path in full, or its URL without secrets (`store.recorded`)."""
        return self.remote.place if self.remote else str(self.path.resolve())

    @property
    def address(self) -> Path:
        """What opens it again: its path, or its URL with all that the server wants, which is never shown or kept."""
        return Path(self.remote.url) if self.remote else self.path

    @property
    def patch_size_px(self) -> int:
        """Height and width of every patch, in pixels."""
        return self.manifest.patch_shape[0]

    @property
    def stain(self) -> str:
        """How the stains of its patches were normalised when they were packed; `none` where they were not."""
        return str(self.manifest.source.get("stain", "none"))

    @property
    def fingerprint(self) -> str:
        """32 hex digits that name the content: ids, labels, groups, sites and pixels in row order."""
        return self.manifest.fingerprint

    @cached_property
    def groups_N(self) -> np.ndarray | None:
        """Slides, an object array of str: the index's, or those that came with the split; None where neither has any.

        A split that is none is its reader's to refuse: who asks for slides alone does without.
        """
        if self.manifest.num_groups:
            return self.packed_groups_N
        if not os.path.lexists(self.split_path):
            return None
        with contextlib.suppress(StoreError):
            return read_document(self).groups_N
        return None

    @cached_property
    def _places(self) -> tuple[list[int], list[int]]:
        """Shard and row of each patch, as lists: indexing one by one is several times faster than in NumPy."""
        return self.column("shard").tolist(), self.column("row").tolist()

    def block(self, number: int, start: int, stop: int) -> np.ndarray:
        """Return rows of one shard, listed in the index or not, uint8 [n, H, W, 3].

        Raises:
            StoreError: The file is missing or not of the shape the manifest gives.
            IntegrityError: It was cut while it was read.
        """
        images_NHWC = np.empty((stop - start, *self.manifest.patch_shape), np.uint8)
        self._shards.block(number, start, images_NHWC)
        return images_NHWC

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        """Copy patches out of the shards.

        Args:
            indices_N: Rows of the store, in any order, repeats allowed.
            out_NHWC: Where to write, uint8 [N, H, W, 3], strided or not; None makes a new array.

        Returns:
            uint8 [N, H, W, 3].

        Raises:
            IndexError: A row is out of range.
            StoreError: A shard is missing or not of the shape the manifest gives.
            IntegrityError: The store has changed since it was opened.
        """
        rows = self._checked(indices_N)
        if out_NHWC is None:
            out_NHWC = np.empty((len(rows), *self.manifest.patch_shape), np.uint8)
        if not len(rows):
            return out_NHWC
        if out_NHWC[0].flags.c_contiguous:
            for _ in self._shards.patches(*self._places_of(rows), out_NHWC):
                pass
            return out_NHWC
        whole = np.empty(self.manifest.patch_shape, np.uint8)  # stays in the core's cache
        for patch, _ in zip(out_NHWC, self._shards.patches(*self._places_of(rows), repeat(whole)), strict=True):
            patch[...] = whole
        return out_NHWC

    def sampled(self, indices_N: np.ndarray, grid: slice) -> np.ndarray:
        """Copy some pixels of patches.

        Args:
            indices_N: Rows of the store, in any order, repeats allowed.
            grid: Which pixels, along either side.

        Returns:
            uint8 [N, K, K, 3].

        Raises:
            As `gather`.
        """
        rows, side = self._checked(indices_N), len(range(*grid.indices(self.patch_size_px)))
        found_NKK3, whole = (
            np.empty((len(rows), side, side, 3), np.uint8),
            np.empty(self.manifest.patch_shape, np.uint8),
        )
        for pixels, _ in zip(found_NKK3, self._shards.patches(*self._places_of(rows), repeat(whole)), strict=True):
            pixels[...] = whole[grid, grid]
        return found_NKK3

    def _places_of(self, rows_N: np.ndarray) -> tuple[list[int], list[int]]:
        shard_of, row_of = self._places
        rows = rows_N.tolist()
        return [shard_of[row] for row in rows], [row_of[row] for row in rows]

    def _checked(self, indices_N: np.ndarray) -> np.ndarray:
        rows = np.asarray(indices_N, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"row {rows.min() if rows.min() < 0 else rows.max()} of a store of {len(self)}")
        return rows


def open_store(path: Path | str, *, checked: bool = True, split_file: Path | str | None = None) -> Store:
    """Open a packed store: a directory, or a URL such as `s3://bucket/store`, whose shards are cached locally.

    Args:
        path: The place.
        checked: Whether to check the index now; else only its hash and schema are looked at, when it is first read. For
            who tells of all damage, or opens what another process has checked.
        split_file: A split of the store that lies elsewhere; None is its own.

    Raises:
        StoreError: The directory is not a store, is damaged, or is of a newer format.
    """
    path, split_file = located(Path(path)), None if split_file is None else Path(split_file)
    url = behind_url(path)
    if url is not None:
        remote = open_remote(url)
        store = Store(remote.cache, remote.manifest, remote)
    elif not path.is_dir():
        problem = "a file" if path.exists() else "nothing"
        raise StoreError(path, f"found {problem}, wanted the directory of a packed store", "run 'fastpath pack' first")
    else:
        seen = None
        with contextlib.suppress(OSError):  # looked at first: what is replaced from here on is noticed
            seen = fmt.stamp_of((path / fmt.MANIFEST).stat(follow_symlinks=False))
        store = Store(path, fmt.load_document(path / fmt.MANIFEST, fmt.Manifest), seen=seen)
    if checked:
        store.check_index()
    _LOGGER.debug("%s", f"opened the store {url or path}: {store.manifest.num_patches:,} patches")
    return store.with_split(split_file)
