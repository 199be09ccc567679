"""Write the files of a store: shards as they are filled, index and manifest once all are there."""

from __future__ import annotations

import importlib.metadata
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from fastpath import __version__
from fastpath.store import format as fmt
from fastpath.system.files import durably, temporary_name, write_durably

if TYPE_CHECKING:
    import pyarrow as pa


def write_shard(path: Path, patch_shape: tuple[int, int, int], num_rows: int, blocks: Iterable[np.ndarray]) -> str:
    """Write one shard, under its name only when it is whole and on disk; the caller syncs the directory.

    Args:
        path: The shard's final name; its directory exists.
        patch_shape: Height, width, channels.
        num_rows: Patches expected; fewer may come, where some were skipped.
        blocks: uint8 [n, H, W, C] arrays, C-order, in row order.

    Returns:
        The xxh3-128 of the file, 32 hex digits.
    """
    temporary = temporary_name(path)
    header, written = fmt.npy_header((num_rows, *patch_shape)), 0
    digest = xxhash.xxh3_128(header)
    try:
        with temporary.open("xb", buffering=0) as file:
            file.write(header)
            for block in blocks:
                view = memoryview(block.data).cast("B")
                digest.update(view)
                while view:  # a raw write may be cut short, by a full disk first of all
                    view = view[file.write(view) :]
                written += len(block)
            if written != num_rows:
                file.seek(0)
                file.write(fmt.npy_header((written, *patch_shape)))
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return digest.hexdigest() if written == num_rows else fmt.hash_file(path)


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything about a store's patches but their pixels, in row order.

    Attributes:
        ids: Names, unique.
        labels_N: int8, -1 where unknown.
        groups: Slides, or None where unknown for all.
        sites: Sites, or None where unknown for all.
        shard_N: int32, the shard of each row.
        row_N: int32, the row within that shard.
        rows_N: What was learned from the pixels (`format.ROW`).
    """

    ids: Sequence[str]
    labels_N: np.ndarray
    groups: Sequence[str] | None
    shard_N: np.ndarray
    row_N: np.ndarray
    rows_N: np.ndarray
    sites: Sequence[str] | None = None

    @property
    def fingerprint(self) -> str:
        """The store's fingerprint: what it holds, however it is cut into shards."""
        return fmt.fingerprint(self.ids, self.labels_N, self.groups, self.rows_N["hash"].tobytes(), self.sites)


INDEX_ROWS = 1 << 16  # rows that are made into columns, and written, at a time


def write_index(path: Path, contents: Contents) -> str:
    """Write `index.parquet` durably and return its hash."""
    import pyarrow.parquet as pq

    first = _columns(contents, 0)
    with durably(path) as file, pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        writer.write_table(first, row_group_size=INDEX_ROWS)
        for start in range(INDEX_ROWS, len(contents.rows_N), INDEX_ROWS):
            writer.write_table(_columns(contents, start), row_group_size=INDEX_ROWS)
    return fmt.hash_file(path)


def _columns(contents: Contents, start: int) -> pa.Table:
    """Return some rows of the index as Arrow columns."""
    import pyarrow as pa

    here = slice(start, start + INDEX_ROWS)
    rows = contents.rows_N[here]
    count = len(rows)

    def fixed(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        """An Arrow column of NumPy values; `pa.array` would import pandas, which takes longer than the writing."""
        numbers = values if kind == pa.binary(16) else values.astype(kind.to_pandas_dtype())
        return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(numbers.tobytes())])

    def strings(values: Sequence[str]) -> pa.Array:
        encoded = [value.encode() for value in values]
        offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
        return pa.StringArray.from_buffers(count, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded)))

    columns = {
        "id": strings(contents.ids[here]),
        "label": fixed(contents.labels_N[here], pa.int8()),
        "group": pa.nulls(count, pa.string()) if contents.groups is None else strings(contents.groups[here]),
        "shard": fixed(contents.shard_N[here], pa.int32()),
        "row": fixed(contents.row_N[here], pa.int32()),
        "hash": fixed(rows["hash"], pa.binary(16)),
    }
    for kind, name in (("sum", "sums"), ("squares", "squares")):
        for position, channel in enumerate("rgb"):
            columns[f"{kind}_{channel}"] = fixed(rows[name][:, position], pa.int64())
    columns["sharpness"] = fixed(rows["sharpness"], pa.float32())
    columns["phash"] = fixed(rows["phash"], pa.uint64())
    columns["flags"] = fixed(rows["flags"], pa.int32())
    if contents.sites is not None:
        columns["site"] = strings(contents.sites[here])
    return pa.table(columns)


def write_manifest(
    folder: Path,
    contents: Contents,
    *,
    patch_shape: tuple[int, int, int],
    shards: Sequence[fmt.ShardEntry],
    flag_counts: dict[str, int],
    source: dict[str, str | int],
    index_hash: str,
) -> fmt.Manifest:
    """Write `manifest.json`, the file that makes a directory a store, and return what it says."""
    rows, counts = contents.rows_N, Counter(contents.labels_N.tolist())
    pixels = patch_shape[0] * patch_shape[1]
    mean_3, std_3 = channel_moments(rows["sums"], rows["squares"], pixels)
    manifest = fmt.Manifest(
        patch_shape=patch_shape,
        num_patches=len(rows),
        class_counts={"0": counts[0], "1": counts[1], "unlabelled": counts[fmt.UNLABELLED]},
        num_groups=len(set(contents.groups)) if contents.groups is not None else 0,
        mean_3=mean_3,
        std_3=std_3,
        fingerprint=contents.fingerprint,
        flag_counts=flag_counts,
        source=source,
        index_hash=index_hash,
        shards=list(shards),
        software=_software(),
    )
    write_durably(folder / fmt.MANIFEST, fmt.dump_document(manifest))
    return manifest


Triple = tuple[float, float, float]


def channel_moments(sums_N3: np.ndarray, squares_N3: np.ndarray, pixels: int) -> tuple[Triple, Triple]:
    """Return exact channel means and population standard deviations, in units of 0 to 1.

    Args:
        sums_N3: int64, each patch's sum of pixel values by channel.
        squares_N3: int64, each patch's sum of squared pixel values by channel.
        pixels: Pixels of a patch.
    """
    count = len(sums_N3) * pixels
    means, deviations = [], []
    for channel in range(3):
        # Python integers: no rounding before the one division, and no overflow at any size.
        total, squares = _exact_sum(sums_N3[:, channel]), _exact_sum(squares_N3[:, channel])
        means.append(total / (count * 255) if count else 0.0)
        deviations.append(((squares * count - total * total) / (count * count)) ** 0.5 / 255 if count else 0.0)
    return (means[0], means[1], means[2]), (deviations[0], deviations[1], deviations[2])


def _exact_sum(values_N: np.ndarray, together: int = 1 << 16) -> int:
    return sum(sum(values_N[first : first + together].tolist()) for first in range(0, len(values_N), together))


def _software() -> dict[str, str]:
    names = ("numpy", "pillow", "pyarrow", "tifffile", "xxhash")
    return {"fastpath": __version__} | {name: importlib.metadata.version(name) for name in names}
