"""Damaged tables of frames, over which OpenSlide's DICOM reader ends the process, are refused before it sees them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_writer import write_level

from fastpath.errors import DataError
from fastpath.ingest.formats.dicom_header import check_frames, is_dicom
from fastpath.ingest.formats.unreadable import UnreadableError
from fastpath.ingest.slide_bounds import check_file

PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
SYNTAX = struct.pack("<HH2sH", 0x02, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.4.50"
SHARED = struct.pack("<HH2sHI", 0x5200, 0x9229, b"SQ", 0, 58)
OPENED = SHARED[:-4] + b"\xff" * 4 + b"\xfe\xff\0\xe0" + b"\xff" * 4  # a sequence and an item, of no length
NUM_FRAMES = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("dicom") / "slide.dcm"
    write_level(path, np.full((300, 300, 3), 200, np.uint8), 0.5, number=1)
    return path.read_bytes()


def _at(content: bytes, offset: int, value: int, kind: str = "<I") -> bytes:
    """Put a number into what follows the head of the pixel data: the table's item begins there."""
    at = content.index(PIXELS) + len(PIXELS) + offset
    return content[:at] + struct.pack(kind, value) + content[at + struct.calcsize(kind) :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "no table": lambda content: _at(content, 0, 0),
    "a table of fewer frames": lambda content: _at(content, 4, 4 * (NUM_FRAMES - 1)),
    "a table of more frames": lambda content: _at(content, 4, 4 * (NUM_FRAMES + 1)),
    "a table of a billion frames": lambda content: _at(content, 4, 2**32 - 4),
    "a table of half a frame": lambda content: _at(content, 4, 4 * NUM_FRAMES + 2),
    "a frame beyond the end": lambda content: _at(content, 8 + 4, 2**32 - 1),
    "a frame within another": lambda content: _at(content, 8 + 4, 6),
    "a frame that is too long": lambda content: _at(content, 8 + 4 * NUM_FRAMES + 4, 2**31),
    "compressed pixels of a length": lambda content: content.replace(PIXELS, PIXELS[:-4] + struct.pack("<I", 100)),
    "a sequence beyond the end": lambda content: content.replace(SHARED, SHARED[:-4] + struct.pack("<I", 2**31)),
    "a sequence without an end": lambda content: content.replace(SHARED, SHARED[:-4] + struct.pack("<I", 2**32 - 1)),
    "sequences without end": lambda content: content.replace(SHARED, OPENED * 99),
    "the end is cut off": lambda content: content[:-900],
    "nothing but the mark": lambda content: content[:132] + b"\0" * 3,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table_is_one_line(damage: str, whole: bytes, tmp_path: Path) -> None:
    content = DAMAGES[damage](whole)
    assert content != whole
    with pytest.raises(UnreadableError):
        check_frames(content)
    (tmp_path / "slide.dcm").write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_file(tmp_path / "slide.dcm")
    assert "\n" not in str(caught.value)


def test_a_whole_file_passes_in_every_layout(whole: bytes) -> None:
    """Sequences and items with a length or up to a mark; a table of frames, or none; pixels that are not compressed."""
    assert is_dicom(whole)
    check_frames(whole)
    start = whole.index(SHARED) + len(SHARED)
    item = whole[start : start + 58]
    marked = SHARED[:-4] + b"\xff" * 4 + item[:4] + b"\xff" * 4 + item[8:]
    marked += struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    check_frames(whole[: start - len(SHARED)] + marked + whole[start + 58 :])
    at = whole.index(PIXELS) + len(PIXELS)
    check_frames(whole[:at] + struct.pack("<HHI", 0xFFFE, 0xE000, 0) + whole[at + 8 + 4 * NUM_FRAMES :])
    plain = whole.replace(SYNTAX, struct.pack("<HH2sH", 0x02, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0")
    check_frames(plain[: plain.index(PIXELS)] + PIXELS[:-4] + struct.pack("<I", 12) + b"\0" * 12)


def test_the_other_files_of_a_slide_are_looked_at_too(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "fine.dcm").write_bytes(whole)
    (tmp_path / "note.txt").write_text("no slide")
    check_file(tmp_path / "fine.dcm")
    (tmp_path / "coarse.dcm").write_bytes(DAMAGES["a frame beyond the end"](whole))
    with pytest.raises(DataError, match=r"coarse\.dcm: is a damaged DICOM file"):
        check_file(tmp_path / "fine.dcm")


def test_no_change_of_bytes_raises_anything_else(whole: bytes) -> None:
    rng, end, refused = np.random.default_rng(7), whole.index(PIXELS) + 60, 0
    for _ in range(600):
        content = bytearray(whole)
        for at in rng.integers(132, end, rng.integers(1, 4)):
            content[at] = rng.integers(256)
        try:
            check_frames(bytes(content))
        except UnreadableError:
            refused += 1
    assert 100 < refused < 600
