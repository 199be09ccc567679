"""Read a packed store: memory-mapped pixels without a copy, and the index beside them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpath.errors import StoreError
from fastpath.shards import format as fmt
from fastpath.shards.remote import Remote, open_remote
from fastpath.urls import behind_url, located

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class Store:
    """A packed store, opened for reading. Safe to use from several threads.

    Attributes:
        path: The store's directory.
        manifest: What the store says of itself.
        remote: Where its shards are fetched from, for a store behind a URL; None for one on disk.
    """

    def __init__(self, path: Path, manifest: fmt.Manifest, remote: Remote | None = None) -> None:
        self.path, self.manifest, self.remote = path, manifest, remote
        self._shards: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[type[Store], tuple[Path, fmt.Manifest, Remote | None]]:
        """Travel to another process as a place and not as pixels: there the files are mapped anew."""
        return Store, (self.path, self.manifest, self.remote)

    def __len__(self) -> int:
        return self.manifest.num_patches

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
        """Where it lies, to be kept: its path in full, or its URL without secrets (`shards.recorded`)."""
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
    def fingerprint(self) -> str:
        """32 hex digits that name the content: ids, labels, groups and pixels in row order."""
        return self.manifest.fingerprint

    @cached_property
    def _proven_index(self) -> Path:
        """The index's file, which has the manifest's hash and rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path / fmt.INDEX
        try:
            if fmt.hash_file(path) != self.manifest.index_hash:  # cheap, and a damaged index mislabels patches
                raise StoreError(path, "found other bytes than the manifest's hash", "pack again")
            found = pq.read_metadata(path).num_rows
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from None
        if found != len(self):
            raise StoreError(path, f"found {found} rows, wanted {len(self)}", "run 'fastpath verify'")
        return path

    def _read(self, names: Sequence[str] | None = None) -> pa.Table:
        """Read columns of the index, None for all. None is kept: of a large store, a few are a lot of memory."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._proven_index
        try:
            with pq.ParquetFile(path) as file:  # read_table would import pandas, which takes a while
                return file.read(columns=names)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(path, error) from None

    @cached_property
    def index(self) -> pd.DataFrame:
        """The index, one row a patch, in row order; columns as docs/shard-format.md lists them."""
        frame: pd.DataFrame = self._read().to_pandas()
        return frame

    def column(self, name: str) -> np.ndarray:
        """Return one column of the index: an array of its type, or of str or bytes objects."""
        return _values(self._read([name])[name])

    @cached_property
    def ids_N(self) -> np.ndarray:
        """Names, an object array of str."""
        return self.column("id")

    @cached_property
    def labels_N(self) -> np.ndarray:
        """Labels, int8; -1 where unknown."""
        return self.column("label")

    @cached_property
    def groups_N(self) -> np.ndarray | None:
        """Slides, an object array of str, or None where they are unknown."""
        return self.column("group") if self.manifest.num_groups else None

    @property
    def hash_halves_N2(self) -> np.ndarray:
        """Each patch's pixel hash as two numbers, uint64 [N, 2]: a sixth of what bytes objects take."""
        column = self._read(["hash"])["hash"].combine_chunks()
        halves = np.frombuffer(column.buffers()[1], "<u8").reshape(-1, 2)
        return halves[column.offset : column.offset + len(column)]

    @cached_property
    def sums_N3(self) -> np.ndarray:
        """Each patch's exact sum of pixel values by channel, int64 [N, 3]."""
        return self._by_channel("sum")

    @cached_property
    def squares_N3(self) -> np.ndarray:
        """Each patch's exact sum of squared pixel values by channel, int64 [N, 3]."""
        return self._by_channel("squares")

    def _by_channel(self, kind: str) -> np.ndarray:
        found_N3 = np.empty((len(self), 3), np.int64)
        for channel, letter in enumerate("rgb"):
            found_N3[:, channel] = self.column(f"{kind}_{letter}")
        return found_N3

    @cached_property
    def mean_rgb_N3(self) -> np.ndarray:
        """Each patch's channel means, float32 [N, 3], 0 to 255."""
        mean: np.ndarray = self.sums_N3 / (self.manifest.patch_shape[0] * self.manifest.patch_shape[1])
        return mean.astype(np.float32)

    @cached_property
    def _places(self) -> tuple[list[int], list[int]]:
        """Shard and row of each patch, as lists: indexing one by one is several times faster than in NumPy."""
        return self.column("shard").tolist(), self.column("row").tolist()

    def shard(self, number: int) -> np.ndarray:
        """Return one shard, uint8 [n, H, W, 3], memory-mapped and read-only.

        Raises:
            StoreError: The file is missing or not of the shape the manifest gives.
        """
        if number not in self._shards:
            self._shards[number] = self._map(number)
        return self._shards[number]

    def shard_bytes(self, number: int) -> int:
        """Return the size that the manifest gives a shard's file, header included."""
        shape = (self.manifest.shards[number].rows, *self.manifest.patch_shape)
        return len(fmt.npy_header(shape)) + math.prod(shape)

    def _map(self, number: int) -> np.ndarray:
        """Map one shard. Its header is known in advance, so none is parsed: numpy's parser trips over damage."""
        entry = self.manifest.shards[number]
        path, shape = self.path / entry.file, (entry.rows, *self.manifest.patch_shape)
        header, wanted_bytes = fmt.npy_header(shape), self.shard_bytes(number)
        if self.remote is not None:
            self.remote.fetch_shard(number, wanted_bytes)
        try:
            with path.open("rb") as file:
                found, found_bytes = file.read(len(header)), os.fstat(file.fileno()).st_size
                if found != header or found_bytes != wanted_bytes:
                    problem = f"found {found_bytes} bytes, wanted {wanted_bytes} that begin with the header of {shape}"
                    raise StoreError(path, problem, "run 'fastpath verify'")
                if not entry.rows:
                    return np.zeros(shape, np.uint8)
                # A plain view of the map: np.memmap's own indexing costs more than copying a patch does.
                return np.asarray(np.memmap(file, np.uint8, "r", len(header), shape))
        except OSError as error:
            raise StoreError(path, f"cannot be read ({error.strerror})", "run 'fastpath verify'") from None

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        """Copy patches out of the shards.

        Args:
            indices_N: Rows of the store, in any order, repeats allowed.
            out_NHWC: Where to write, uint8 [N, H, W, 3], strided or not; None makes a new array.

        Returns:
            uint8 [N, H, W, 3].

        Raises:
            IndexError: A row is out of range.
        """
        rows = self._checked(indices_N)
        if out_NHWC is None:
            out_NHWC = np.empty((len(rows), *self.manifest.patch_shape), np.uint8)
        shard_of, row_of = self._places
        for position, row in enumerate(rows.tolist()):
            out_NHWC[position] = self.shard(shard_of[row])[row_of[row]]
        return out_NHWC

    def sampled(self, indices_N: np.ndarray, grid: slice) -> np.ndarray:
        """Copy some pixels of patches, and read no others.

        Args:
            indices_N: Rows of the store, in any order, repeats allowed.
            grid: Which pixels, along either side.

        Returns:
            uint8 [N, K, K, 3].

        Raises:
            IndexError: A row is out of range.
        """
        rows, side = self._checked(indices_N), len(range(*grid.indices(self.patch_size_px)))
        found_NKK3 = np.empty((len(rows), side, side, 3), np.uint8)
        shard_of, row_of = self._places
        for position, row in enumerate(rows.tolist()):
            found_NKK3[position] = self.shard(shard_of[row])[row_of[row], grid, grid]
        return found_NKK3

    def _checked(self, indices_N: np.ndarray) -> np.ndarray:
        rows = np.asarray(indices_N, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"row {rows.min() if rows.min() < 0 else rows.max()} of a store of {len(self)}")
        return rows


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of the index as an array of its type, or of str or bytes objects."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_fixed_size_binary(column.type):
        return np.array(column.to_pylist(), dtype=object)
    whole = column.combine_chunks()
    values = np.frombuffer(whole.buffers()[1], whole.type.to_pandas_dtype())
    return values[whole.offset : whole.offset + len(whole)].copy()


def _unreadable(path: Path, error: Exception) -> StoreError:
    problem = f"cannot be read ({str(error).splitlines()[0]})"
    return StoreError(path, problem, "run 'fastpath verify', then pack again")


def locate(ids_N: np.ndarray, wanted: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """Return the rows of patches by id, int64, in the order wanted, and the ids that none of them has.

    Args:
        ids_N: Ids by row.
        wanted: Ids looked for.
    """
    row_of = {str(name): row for row, name in enumerate(ids_N)}
    found = [(str(name), row_of.get(str(name))) for name in wanted]
    rows = np.array([row for _, row in found if row is not None], np.int64)
    return rows, [name for name, row in found if row is None]


def open_store(path: Path) -> Store:
    """Open a packed store: a directory, or a URL such as `s3://bucket/store`, whose shards are cached locally.

    Raises:
        StoreError: The directory is not a store, is damaged, or is of a newer format.
    """
    path = located(path)
    url = behind_url(path)
    if url is not None:
        remote = open_remote(url)
        return Store(remote.cache, remote.manifest, remote)
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise StoreError(path, f"found {found}, wanted the directory of a packed store", "run 'fastpath pack' first")
    return Store(path, fmt.load_document(path / fmt.MANIFEST, fmt.Manifest))
