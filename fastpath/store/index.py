"""The index of a store: one strict schema, and every value within bounds before it is used.

What a forged file could claim is looked at before memory is taken for it: the number and size of row groups, the size
of dictionaries (a string of megabytes in one could stand for itself a million times), and the lengths of strings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import xxhash

from fastpath.errors import StoreError
from fastpath.store import format as fmt
from fastpath.system import arrow_files
from fastpath.system.files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = {"id": "string", "label": "int8", "group": "string", "shard": "int32", "row": "int32"}
COLUMNS |= {"hash": "fixed_size_binary[16]"}
COLUMNS |= {f"{kind}_{channel}": "int64" for kind in ("sum", "squares") for channel in "rgb"}
COLUMNS |= {"sharpness": "float", "phash": "uint64", "flags": "int32"}
SITE = {"site": "string"}
"""A last column that a store has or has not: one without is, to the byte, what it was before there were sites."""

ROW_GROUP = 1 << 16  # rows of a row group, of the last maybe fewer
ROW_BYTES = 128  # of a row in memory, its strings aside
SMALL_BYTES, EXPANSION = 1 << 29, 64  # what an index may take in memory, or how many times its own size
PAGE_BYTES = 2 << 20  # Arrow ends dictionaries at 1 MiB
TOGETHER = 256  # strings read at once while their lengths are unknown: a dictionary's longest so many times


class Index:
    """The index of a store, read by column.

    Args:
        path: The file.
        manifest: Of its store.
    """

    def __init__(self, path: Path, manifest: fmt.Manifest) -> None:
        self._path, self._manifest, self._has_sites = path, manifest, False

    @cached_property
    def _proven(self) -> fmt.Stamp:
        """Which file has the manifest's hash, the schema, and as many rows as the manifest says."""
        with open_regular(self._path, follow=False, kind=StoreError) as file:
            status = os.fstat(file.fileno())
            if status.st_size > self._manifest.num_patches * (fmt.ID_BYTES_MAX + fmt.GROUP_BYTES_MAX + 256) + (1 << 20):
                raise self._wrong(f"found {status.st_size:,} bytes for {self._manifest.num_patches:,} rows")
            digest = xxhash.xxh3_128()
            while block := file.read(1 << 20):
                digest.update(block)
            if digest.hexdigest() != self._manifest.index_hash:  # cheap, and a damaged index mislabels patches
                raise StoreError(self._path, "found other bytes than the manifest's hash", "pack again")
            with self._parsed(file) as parquet:
                self._check_layout(parquet, file, status.st_size)
        return fmt.stamp_of(status)

    @contextmanager
    def _parsed(self, file: BinaryIO, dictionary: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        """Open the Parquet file; what Arrow says of a bad one becomes one line."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # read_table would import pandas, which takes a while
            with arrow_files.of_file(file) as content:
                yield pq.ParquetFile(content, read_dictionary=list(dictionary))
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise self._wrong(f"cannot be read ({str(error).splitlines()[0][:200]})") from None

    @contextmanager
    def _open(self, dictionary: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
        """Open the proven file again.

        Raises:
            StoreError: It is another one by now.
        """
        proven = self._proven
        with open_regular(self._path, follow=False, kind=StoreError) as file:
            if fmt.stamp_of(os.fstat(file.fileno())) != proven:
                raise StoreError(self._path, "has changed since it was opened", "run it again on a store at rest")
            with self._parsed(file, dictionary) as parquet:
                yield parquet

    def _check_layout(self, parquet: pq.ParquetFile, file: BinaryIO, size_bytes: int) -> None:
        """Check the schema and all sizes that are claimed, before anything is read of their size."""
        metadata, wanted = parquet.metadata, self._manifest.num_patches
        schema = [(field.name, str(field.type)) for field in parquet.schema_arrow]
        self._has_sites = schema == list((COLUMNS | SITE).items())
        if not self._has_sites and schema != list(COLUMNS.items()):
            strange = [f"{name}: {kind}" for name, kind in schema if COLUMNS.get(name) != kind]
            raise self._wrong(f"found columns of another schema ({', '.join(strange)[:120] or 'some are missing'})")
        if metadata.num_rows != wanted:
            raise self._wrong(f"found {metadata.num_rows} rows, wanted {wanted}")
        if wanted * ROW_BYTES > max(SMALL_BYTES, EXPANSION * size_bytes):
            raise self._wrong(f"found {wanted:,} rows in {size_bytes:,} bytes")
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            if not 0 <= group.num_rows <= ROW_GROUP:
                raise self._wrong(f"found a row group of {group.num_rows} rows, wanted at most {ROW_GROUP}")
            for name, longest in (("id", fmt.ID_BYTES_MAX), *((name, fmt.GROUP_BYTES_MAX) for name in self._shared())):
                column = group.column([schema_field for schema_field, _ in schema].index(name))
                if column.total_uncompressed_size > group.num_rows * (longest + 4) + PAGE_BYTES:
                    raise self._wrong(f"found {column.total_uncompressed_size:,} bytes of '{name}'")
                page = column.dictionary_page_offset
                if page is not None and not 0 <= _page_bytes(file, page) <= PAGE_BYTES:
                    raise self._wrong(f"found a dictionary of '{name}' that is too large")

    def _shared(self) -> tuple[str, ...]:
        """Return the columns whose values many rows share."""
        return ("group", "site") if self._has_sites else ("group",)

    @property
    def has_sites(self) -> bool:
        """Whether there is a column of sites."""
        assert self._proven
        return self._has_sites

    def read(self, names: Sequence[str] | None = None) -> pa.Table:
        """Read columns, None for all. None is kept: of a large store, a few are a lot of memory.

        Raises:
            StoreError: The index is not the manifest's, or lacks a value.
        """
        with self._open() as parquet:
            table = parquet.read(columns=None if names is None else list(names))
        for name in table.column_names:
            nulls = table[name].null_count
            if nulls and not (name == "group" and nulls == len(table) and not self._manifest.num_groups):
                raise self._wrong(f"found {nulls} rows without '{name}'")
        return table

    def column(self, name: str) -> np.ndarray:
        """Return one column: an array of its type, or of str or bytes objects."""
        import pyarrow as pa

        column = self.read([name])[name]
        if pa.types.is_string(column.type) or pa.types.is_fixed_size_binary(column.type):
            return np.array(column.to_pylist(), dtype=object)
        return numbers(column).copy()

    def check(self) -> None:
        """Check that every row has a name of its own, a label and a place.

        Raises:
            StoreError: Naming the first that has not.
        """
        self._check_ids()
        self._check_shared("group", 0 if self._manifest.num_groups else self._manifest.num_patches)
        if self.has_sites:
            self._check_shared("site", 0)
        table = self.read(["label", "shard", "row"])
        label_N, shard_N, row_N = (numbers(table[name]) for name in table.column_names)
        if label_N.min() < -1 or label_N.max() > 1:
            raise self._wrong(f"found label {label_N[(label_N < -1) | (label_N > 1)][0]}, wanted 0, 1 or -1")
        rows = np.array([entry.rows for entry in self._manifest.shards], np.int64)
        if shard_N.min() < 0 or shard_N.max() >= len(rows) or row_N.min() < 0 or (row_N >= rows[shard_N]).any():
            raise self._wrong("found rows outside the shards")
        unlabelled, zeros, ones = (int((label_N == label).sum()) for label in (fmt.UNLABELLED, 0, 1))
        if self._manifest.class_counts != {"0": zeros, "1": ones, "unlabelled": unlabelled}:
            raise self._wrong(f"found {zeros}, {ones} and {unlabelled} rows of class 0, 1 and none")

    def _check_shared(self, name: str, wanted_nulls: int) -> None:
        """Check that groups, or sites, are there for all rows or for none, and no longer than they may be."""
        num_nulls = 0
        with self._open([name]) as parquet:
            # As a dictionary, so that a long value is in memory once, however often it stands.
            for batch in parquet.iter_batches(ROW_GROUP, columns=[name], use_threads=False):
                values = batch.column(0)
                num_nulls += values.null_count
                lengths = np.diff(_offsets(values.dictionary))
                if len(lengths) and lengths.max() > fmt.GROUP_BYTES_MAX:
                    raise self._wrong(f"found a {name} of {lengths.max()} bytes")
        if num_nulls != wanted_nulls:
            raise self._wrong(f"found {num_nulls} rows without a {name}, wanted {wanted_nulls}")

    def _check_ids(self) -> None:
        """Check that ids could name a file each, as packing wants them, and that none comes twice."""
        weights = np.random.default_rng().integers(0, 2**64, fmt.ID_BYTES_MAX // 4 + 2, np.uint64)
        hashes = []
        with self._open() as parquet:
            for ids in self._id_blocks(parquet):
                offsets = _offsets(ids)
                data = np.frombuffer(ids.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
                self._check_names(ids, offsets, data)
                hashes.append(_hashes(offsets - offsets[0], data, weights))
        hash_N = np.concatenate(hashes)
        ascending = np.sort(hash_N)
        if (ascending[1:] == ascending[:-1]).any():  # by chance, once in many stores
            self._refuse_repeats(hash_N)

    def _refuse_repeats(self, hash_N: np.ndarray) -> None:
        """Compare the ids whose hashes agree."""
        order, ids = np.argsort(hash_N, kind="stable"), self.read(["id"])["id"]
        for at in np.flatnonzero(hash_N[order][1:] == hash_N[order][:-1]):
            if ids[int(order[at])] == ids[int(order[at + 1])]:
                raise self._wrong("found an id twice")

    def _id_blocks(self, parquet: pq.ParquetFile) -> Iterator[pa.Array]:
        """Yield ids, a row group or less at a time."""
        import pyarrow as pa

        held: list[pa.Array] = []
        for batch in parquet.iter_batches(TOGETHER, columns=["id"], use_threads=False):
            ids = batch.column(0)
            if ids.null_count or ids.nbytes > TOGETHER * (fmt.ID_BYTES_MAX + 8):
                raise self._wrong("found rows without an id" if ids.null_count else "found ids that are too long")
            held.append(ids)
            if len(held) * TOGETHER >= ROW_GROUP:
                yield pa.concat_arrays(held)
                held = []
        if held:
            yield pa.concat_arrays(held)

    def _check_names(self, ids: pa.Array, offsets_N: np.ndarray, data: np.ndarray) -> None:
        lengths_N = np.diff(offsets_N)
        if lengths_N.min() == 0 or lengths_N.max() > fmt.ID_BYTES_MAX:
            raise self._wrong(f"found an id of {lengths_N.min()} or {lengths_N.max()} bytes")
        plain = data.min() >= ord(" ") and data.max() < 127
        try:
            plain = plain or data.tobytes().decode().isprintable()
        except UnicodeDecodeError:
            raise self._wrong("found an id that is not UTF-8") from None
        short = {ids[int(at)].as_py() for at in np.flatnonzero(lengths_N <= 2)[:ROW_GROUP]}
        if not plain or (data == ord("/")).any() or (data == ord("\\")).any() or short & {".", ".."}:
            raise self._wrong("found an id with a separator or control character, wanted plain names")

    def _wrong(self, problem: str) -> StoreError:
        return StoreError(self._path, problem, "run 'fastpath verify', then pack again")


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers as an array; it may be a read-only view."""
    whole = column.combine_chunks()
    values = np.frombuffer(whole.buffers()[1], whole.type.to_pandas_dtype())
    return values[whole.offset : whole.offset + len(whole)]


def _offsets(strings: pa.Array) -> np.ndarray:
    """Return where each string begins, and where the last ends, int32 [N + 1]."""
    if not len(strings):
        return np.zeros(1, np.int32)
    return np.frombuffer(strings.buffers()[1], np.int32)[strings.offset : strings.offset + len(strings) + 1]


def _page_bytes(file: BinaryIO, offset: int) -> int:
    """Return the size of a page when unpacked, as its header gives it, or -1 where that cannot be told.

    The header is a struct in Thrift's compact encoding whose first two fields are 32-bit integers: type and size.
    """
    file.seek(offset)
    head, at, values = file.read(24), 0, []
    for _ in range(2):
        if at >= len(head) or head[at] != 0x15:
            return -1
        value, shift, at = 0, 0, at + 1
        while at < len(head):
            value, shift, at = value | (head[at] & 0x7F) << shift, shift + 7, at + 1
            if head[at - 1] < 0x80:
                break
        values.append(value >> 1 ^ -(value & 1))
    return values[1]


def _hashes(offsets_N: np.ndarray, data: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return a hash of each string, uint64, by weights that nobody can know beforehand."""
    lengths_N = np.diff(offsets_N)
    found_N = np.empty(len(lengths_N), np.uint64)
    for length in np.unique(lengths_N).tolist():
        at = np.flatnonzero(lengths_N == length)
        words = np.zeros((len(at), -(-length // 4)), np.uint32)
        whole = len(at) == len(lengths_N)
        texts = data.reshape(-1, length) if whole else data[offsets_N[at][:, None] + np.arange(length)]
        words.view(np.uint8)[:, :length] = texts
        found_N[at] = np.einsum("ij,j->i", words.astype(np.uint64), weights[: words.shape[1]])
        found_N[at] += weights[-1:] * np.uint64(length)
    return found_N
