"""PatchCamelyon's HDF5 files: `camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5` and their meta tables."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fastpath.errors import DataError, UsageError
from fastpath.ingest.formats.unreadable import MAX_SIDE_PX, reason
from fastpath.ingest.sources.columns import read_columns
from fastpath.ingest.sources.listing import Listing, Read, Source, Stamp, stamp_of
from fastpath.store.format import UNLABELLED
from fastpath.types import Split

PARTS = {"train": Split.TRAIN, "valid": Split.VAL, "test": Split.TEST}
_ID = re.compile(rf"({'|'.join(PARTS)})-[0-9]{{6,}}")
STEM = "camelyonpatch_level_2_split_{part}_{what}"
MAX_CHUNK_BYTES = 256 << 20  # is read whole for any patch in it
MAX_PATCHES, MAX_LABELS_BYTES = 1 << 24, 64 << 20  # 64 times what the largest file of the set holds


def h5py() -> Any:  # noqa: ANN401 (a module of an optional dependency)
    """Return the module.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import h5py as module
    except ImportError:
        problem = "found no h5py, wanted it to read HDF5"
        raise UsageError("fastpath", problem, "run: pip install 'fastpath[hdf5]'") from None
    return module


def parts_in(folder: Path) -> list[str]:
    """Return which of the set's parts a folder holds."""
    return [part for part in PARTS if (folder / f"{STEM.format(part=part, what='x')}.h5").is_file()]


def labels_of(folder: Path, part: str) -> Path | None:
    """Return the file with a part's labels, which is small enough to be read from its .gz; None where there is none."""
    stem = STEM.format(part=part, what="y")
    return next((folder / f"{stem}{end}" for end in (".h5", ".h5.gz") if (folder / f"{stem}{end}").is_file()), None)


def official_parts(ids: Iterable[str]) -> list[Split] | None:
    """Return the part of PatchCamelyon's own division that each id is of.

    None where an id is not one that `list_pcam` gives, or there is nothing to train on or nothing to validate on.
    """
    parts = []
    for name in ids:
        match = _ID.fullmatch(name)
        if match is None:
            return None
        parts.append(PARTS[match[1]])
    return parts if {Split.TRAIN, Split.VAL} <= set(parts) else None


def list_pcam(folder: Path) -> Listing:
    """List every part that is there, in the files' order; ids are `train-000000` and so on.

    Raises:
        DataError: A file is not what PatchCamelyon's are, or counts differ.
    """
    parts = parts_in(folder)
    if not parts:
        wanted = STEM.format(part="train", what="x") + ".h5"
        raise DataError(folder, f"found no PatchCamelyon files, wanted such as {wanted}", "unpack the .gz files first")
    names: list[str] = []
    ids: list[str] = []
    labels: list[np.ndarray] = []
    groups: list[str] = []
    for part in parts:
        file = f"{STEM.format(part=part, what='x')}.h5"
        count = len(open_images(folder / file))
        names += [f"{file}:{row}" for row in range(count)]
        ids += [f"{part}-{row:06d}" for row in range(count)]
        labels.append(_labels(labels_of(folder, part), count))
        groups += _groups(folder / f"{STEM.format(part=part, what='meta')}.csv", count)
    known = groups if "" not in groups else None
    return Listing("pcam", folder, "hdf5", names, ids, np.concatenate(labels), known)


def open_images(path: Path) -> Any:  # noqa: ANN401 (an h5py data set)
    """Open the data set `x`, uint8 [N, H, W, 3], with a cache that holds its chunks.

    Raises:
        DataError: The file is not HDF5 or has no such data set.
    """
    try:
        images = _data_set(h5py().File(path, "r", rdcc_nbytes=64 << 20), "x", path)
        shape, kind = images.shape, images.dtype
    except (OSError, KeyError, AttributeError) as error:
        raise DataError(path, f"is not a PatchCamelyon file ({error})", "download it again") from None
    if kind != np.uint8 or len(shape) != 4 or shape[3] != 3 or shape[0] > MAX_PATCHES or max(shape[1:3]) > MAX_SIDE_PX:
        wanted = f"uint8 [N, H, W, 3], N of at most {MAX_PATCHES}, H and W of at most {MAX_SIDE_PX}"
        raise DataError(path, f"found {kind} {list(shape)}, wanted {wanted}", "download it again")
    return images


def _data_set(file: Any, name: str, path: Path) -> Any:  # noqa: ANN401 (of an optional dependency)
    """Return a data set whose values lie in this very file: HDF5 may name any other file of the machine as a part.

    Raises:
        DataError: It reaches into another file, or is kept in pieces that would fill memory.
        KeyError, AttributeError: There is no such data set.
    """
    link = file.get(name, getlink=True)
    if link is None:
        raise KeyError(f"no data set '{name}'")
    result = file[name] if isinstance(link, h5py().HardLink) else None
    if result is None or result.external or result.is_virtual:
        raise DataError(path, f"names another file for its data set '{name}', wanted the values", "download it again")
    if result.chunks and np.prod(result.chunks, dtype=np.float64) > MAX_CHUNK_BYTES:
        problem = f"found chunks of {list(result.chunks)}, wanted at most {MAX_CHUNK_BYTES >> 20} MB each"
        raise DataError(path, problem, "write it with one patch a chunk")
    return result


def _labels(path: Path | None, count: int) -> np.ndarray:
    if path is None:
        return np.full(count, UNLABELLED, np.int8)
    try:
        with h5py().File(_content(path), "r") as file:
            result = _data_set(file, "y", path)
            labels = np.asarray(result).reshape(-1) if result.size == count else np.zeros(0, np.uint8)
            num_labels = int(result.size)
    except (OSError, EOFError, zlib.error, KeyError, AttributeError, ValueError) as error:
        raise DataError(path, f"is not a PatchCamelyon file ({error})", "download it again") from None
    if num_labels != count or not np.isin(labels, (0, 1)).all():
        problem = f"found {num_labels} labels from {labels.min(initial=0)} to {labels.max(initial=0)}"
        raise DataError(path, f"{problem}, wanted {count} of 0 or 1", "download it again")
    return labels.astype(np.int8)


def _content(path: Path) -> Path | io.BytesIO:
    """Return a file of labels as h5py opens it: one that is packed is unpacked in memory."""
    if path.suffix != ".gz":
        return path
    with gzip.open(path) as file:
        content = file.read(MAX_LABELS_BYTES + 1)
    if len(content) > MAX_LABELS_BYTES:
        raise DataError(path, f"holds more than {MAX_LABELS_BYTES >> 20} MB, wanted labels", "download it again")
    return io.BytesIO(content)


def _groups(path: Path, count: int) -> list[str]:
    """Slides of one part; its table has no ids, but numbers its rows, and those are checked."""
    if not path.exists():
        return [""] * count
    table = read_columns(path, ["", "wsi"], needed=[["wsi"]])
    slides = table.cells["wsi"]
    if len(slides) != count:
        raise DataError(path, f"found {len(slides)} rows, wanted {count} with a column 'wsi'", "download it again")
    for row, number in enumerate(table.cells.get("", ())):
        if number != str(row):
            problem = f"found row number {number[:40]!r}, wanted {row}: rows must be in order"
            raise DataError(table.location_of(row), problem, "download it again")
    return slides


def _open(root: Path) -> tuple[Read, Stamp]:
    @cache
    def images(file: str) -> Any:  # noqa: ANN401 (an h5py data set)
        return open_images(root / file)

    def read(name: str, _: Counter[str]) -> np.ndarray:
        file, row = name.split(":")
        try:
            patch: np.ndarray = images(file)[int(row)]
        except (DataError, MemoryError):
            raise
        except Exception as error:  # h5py raises what it likes over a damaged file
            raise DataError(root / name, f"cannot be read ({reason(error)})", "download the file again") from None
        return patch

    return read, lambda name: stamp_of(str(root / name.partition(":")[0]))


SOURCE = Source(
    lambda path: bool(parts_in(path)), lambda path, labels, follow: list_pcam(path), readers={"hdf5": _open}
)
