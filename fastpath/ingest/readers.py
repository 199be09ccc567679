"""How each kind of source gets from a name to pixels, and how it is known that nothing changed meanwhile."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.formats.decode import MAX_FILE_BYTES, decode, decode_file, read_plain
from fastpath.ingest.sources import KINDS, source_of
from fastpath.ingest.sources.listing import OpenReader, Read, Stamp, stamp_of
from fastpath.ingest.stain import Normalise, normaliser
from fastpath.store import transfer
from fastpath.urls import as_url

Place = Callable[[str, np.ndarray], str]
"""From a name and uint8 [H, W, 3] to fill to the stamp of its file; empty where `Read` has to be asked instead."""


def open_reader(reader: str, root: Path, resize_px: int = 0, stain: str = "none") -> tuple[Read, Stamp]:
    """Return the functions that read and that stamp the patches of a listing.

    Args:
        reader: `Listing.reader`.
        root: `Listing.root`.
        resize_px: Side to bring every patch to; 0 leaves them as they are.
        stain: How to normalise their stains (`fastpath.ingest.stain`), at that side.
    """
    read, stamp = _opener(reader)(root)
    if resize_px:
        read = _resized(read, resize_px, root)
    if stain != "none":
        read = _normalised(read, normaliser(stain, root))
    return read, stamp


def _opener(reader: str) -> OpenReader:
    if reader in READERS:
        return READERS[reader]
    return next(readers[reader] for kind in KINDS if reader in (readers := source_of(kind).readers))


def _resized(read: Read, side_px: int, root: Path) -> Read:
    return lambda name, notes: resize(read(name, notes), side_px, root / name)


def _normalised(read: Read, normalise: Normalise) -> Read:
    def normalised(name: str, notes: Counter[str]) -> np.ndarray:
        patch = read(name, notes)
        result = normalise(patch)
        if result is patch:
            notes["patches_of_too_little_tissue_to_normalise"] += 1
        return result

    return normalised


def open_place(reader: str, root: Path, resize_px: int = 0, stain: str = "none") -> Place:
    """Return the function that reads the common case, an uncompressed file, straight into place; see `open_reader`."""
    if reader != "files" or resize_px or stain != "none":
        return lambda name, out: ""
    prefix = f"{root}{os.sep}"

    def place(name: str, out_HWC: np.ndarray) -> str:
        decoded = read_plain(name if name.startswith(os.sep) else prefix + name, out_HWC)
        return f"{decoded.st_size} {decoded.st_mtime_ns} {decoded.st_ino}" if decoded else ""

    return place


def resize(image_HWC: np.ndarray, side_px: int, location: object) -> np.ndarray:
    """Resize a square with Pillow's antialiased bilinear filter.

    Args:
        image_HWC: uint8 [H, W, 3].
        side_px: New height and width.
        location: Named where the patch is not square.

    Raises:
        DataError: It is not square, and would be distorted.
    """
    from PIL import Image

    height, width = image_HWC.shape[:2]
    if height != width:
        raise DataError(location, f"found {width} by {height} pixels, wanted a square to resize", "cut square patches")
    if height == side_px:
        return image_HWC
    return np.asarray(Image.fromarray(image_HWC).resize((side_px, side_px), Image.Resampling.BILINEAR))


def _files(root: Path) -> tuple[Read, Stamp]:
    prefix = f"{root}{os.sep}"

    def path_of(name: str) -> str:  # joining by hand: pathlib and os.path take longer than opening the file
        return name if name.startswith(os.sep) else prefix + name

    return lambda name, notes: decode_file(path_of(name), notes), lambda name: stamp_of(path_of(name))


def _url(root: Path) -> tuple[Read, Stamp]:
    url = as_url(root)
    assert url is not None, root
    server = transfer.server_of(url)

    def read(name: str, notes: Counter[str]) -> np.ndarray:
        address = transfer.place_of(url, name)
        try:
            data = transfer.read(server, name, MAX_FILE_BYTES, DataError)
        except transfer.Absent:
            raise DataError(address, "was not found, though the folder lists it", "restore the file") from None
        return decode(data, address, notes)

    return read, lambda _: ""  # asking would double the requests: the listing has told (`Listing.stamps_N`)


READERS: Mapping[str, OpenReader] = {"files": _files, "url": _url}
"""By `Listing.reader`; what only one kind of source has is among its `Source.readers`."""
