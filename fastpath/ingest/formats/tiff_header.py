"""The directories of a TIFF file, read within bounds from bytes or from a file mapped into memory.

tifffile counts all directories before it says whether there is a second one, which for a chain that bites its tail
never ends, and reads every tag, so that a broken one that nobody needs spoils the file. Here a tag is read when it is
asked for.
Source: Adobe, TIFF 6.0 (1992), section 2; AWare Systems, The BigTIFF File Format.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator

import numpy as np

from fastpath.ingest.formats.unreadable import damaged

MAX_TAGS = 4096  # of one directory; the richest known have about a hundred
MAX_VALUES = 1 << 17  # of one tag that is read: offsets of strips or tiles, or the bytes of JPEG tables

_WHOLE = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of whole numbers
_ORDERS = {b"II": "<", b"MM": ">"}


class Directory:
    """One directory: what is said of one picture.

    Attributes:
        offset: Where it lies in the file.
        after: Offset of the next one; 0 where it is the last.
    """

    __slots__ = ("_data", "_entries", "_order", "after", "offset")

    def __init__(self, data: bytes | mmap.mmap, order: str, offset: int, *, big: bool, far: bool = False) -> None:
        entry, number, pointer = (f"{order}HHQ8s", "Q", 8) if big else (f"{order}HHI4s", "H", 4)
        head = struct.calcsize(f"{order}{number}")
        if not 8 <= offset <= len(data) - head:
            raise damaged(f"a directory at byte {offset} of {len(data)}")
        (count,) = struct.unpack(order + number, data[offset : offset + head])
        if not 0 < count <= MAX_TAGS:
            raise damaged(f"a directory of {count} tags, wanted 1 to {MAX_TAGS}")
        start, size = offset + head, struct.calcsize(entry)
        end = start + count * size
        if end > len(data):
            raise damaged(f"a directory that ends at byte {end} of {len(data)}")
        self._data, self._order, self.offset = data, order, offset
        self._entries = {
            tag: (kind, number, start + size * (row + 1) - pointer, value)
            for row, (tag, kind, number, value) in reversed(list(enumerate(struct.iter_unpack(entry, data[start:end]))))
        }
        wide = 8 if big or far else 4
        self.after = int.from_bytes(data[end : end + wide], "little" if order == "<" else "big")

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def _bytes(self, tag: int, size: int) -> bytes:
        """Return a tag's value, elements of `size` bytes."""
        _, count, at, value = self._entries[tag]
        if count > MAX_VALUES:
            raise damaged(f"{count} values of tag {tag}, wanted at most {MAX_VALUES}")
        length = count * size
        if length <= len(value):
            return bytes(value[:length])
        start = int.from_bytes(value, "little" if self._order == "<" else "big")
        if start + length > len(self._data):
            raise damaged(f"tag {tag} at byte {at} reaches to byte {start + length} of {len(self._data)}")
        return bytes(self._data[start : start + length])

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> list[int]:
        """Return a tag's whole numbers.

        Raises:
            UnreadableError: It is of another type, or lies outside the file.
        """
        if tag not in self._entries:
            return list(default)
        kind = _WHOLE.get(self._entries[tag][0])
        if kind is None:
            raise damaged(f"tag {tag} of type {self._entries[tag][0]}, wanted whole numbers")
        read: list[int] = np.frombuffer(self._bytes(tag, int(kind[1])), self._order + kind).tolist()
        return read

    def number(self, tag: int, default: int) -> int:
        """Return a tag's only number; see `numbers`."""
        result = self.numbers(tag, (default,))
        if len(result) != 1:
            raise damaged(f"{len(result)} values of tag {tag}, wanted one")
        return result[0]

    def fractions(self, tag: int, default: tuple[float, ...]) -> list[float]:
        """Return a tag's rational numbers; the default where it has another type or number of them.

        Raises:
            UnreadableError: It lies outside the file.
        """
        if tag not in self._entries or self._entries[tag][:2] != (5, len(default)):
            return list(default)
        pairs = np.frombuffer(self._bytes(tag, 8), f"{self._order}u4").reshape(-1, 2).tolist()
        return [above / below if below else float("nan") for above, below in pairs]

    def raw(self, tag: int) -> bytes:
        """Return a tag's bytes; none where it is missing."""
        return self._bytes(tag, 1) if tag in self._entries else b""


def directories(data: bytes | mmap.mmap, most: int, *, far: bool = False) -> Iterator[Directory]:
    """Yield a file's directories in order, up to `most`, each once: a chain that bites its tail ends there.

    Args:
        data: The file's bytes.
        most: Directories to look at.
        far: Offsets of directories take 8 bytes in a classic TIFF, as Hamamatsu writes it.

    Raises:
        UnreadableError: The header or a directory is damaged.
    """
    order = _ORDERS.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        raise damaged(f"a TIFF of {len(data)} bytes")
    big = struct.unpack(f"{order}H", data[2:4])[0] == 43
    at, width = (8, 8) if big else (4, 8 if far else 4)
    offset = int.from_bytes(data[at : at + width], "little" if order == "<" else "big")
    seen: set[int] = set()
    while len(seen) < most:
        directory = Directory(data, order, offset, big=big, far=far)
        yield directory
        seen.add(offset)
        offset = directory.after
        if not offset or offset in seen:
            return
