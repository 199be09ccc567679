"""No TIFF, whatever it claims and however it unpacks, takes memory beyond the bound."""

from __future__ import annotations

import lzma
import resource
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiff_writer import DEFLATE, JPEG, LONG, LZMA, LZW, PACKBITS, SHORT, TRUTH, Form, made, patched, segments, stored

from fastpath.errors import DataError
from fastpath.ingest.formats.decode import decode_general

ROOM = 400 << 20  # for what the largest patch takes several times over, and far less than a bomb would


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Refuse memory beyond what the process has and `ROOM`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def swollen(form: Form, content: bytes, **changes: tuple[int, list[int]] | None) -> bytes:
    """A TIFF whose only strip is something else."""
    size = len(segments(stored(TRUTH, form), form)[0])
    data, at = made(form, **changes), len(made(form)) + 200
    return patched(patched(data.ljust(at, b"\0") + content, 273, value=at), 279, value=len(content)) if size else data


def deflated(num_bytes: int) -> bytes:
    """Zeros without an end: one block that stands alone, again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 22)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\x9c" + block * (num_bytes >> 22)


def greedy_lzma() -> bytes:
    """A stream whose dictionary, of 1.5 GiB, has to be there before the first byte."""
    return lzma.compress(TRUTH.tobytes(), filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 3 << 20}])


def with_dictionary(stream: bytes, size_code: int) -> bytes:
    """The same xz stream with another size of its dictionary, as its block header codes it."""
    data = bytearray(stream)
    length = (data[12] + 1) * 4
    at = data.index(b"\x21\x01", 12) + 2
    data[at] = size_code
    data[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(data[12 : 12 + length - 4]))
    return bytes(data)


def repeated_packbits(num_bytes: int) -> bytes:
    return b"\x81\0" * (num_bytes // 128)


HUGE = {"t256": (LONG, [4096]), "t257": (LONG, [4096]), "t278": (LONG, [4096])}
BOMBS: dict[str, Callable[[], bytes]] = {
    "Deflate of 4 GiB in a small strip": lambda: swollen(Form(DEFLATE), deflated(1 << 32)),
    "Deflate of 4 GiB in the largest": lambda: swollen(Form(DEFLATE), deflated(1 << 32), **HUGE),
    "Deflate in tiles that each hold all": lambda: made(
        Form(DEFLATE, segment=(16, 16)), t324=(LONG, [8] * 6), t325=(LONG, [60] * 6), t322=(SHORT, [4096])
    ),
    "LZMA with a dictionary of 1.5 GiB": lambda: swollen(Form(LZMA), with_dictionary(greedy_lzma(), 37)),
    "LZMA with a dictionary of 4 GiB": lambda: swollen(Form(LZMA), with_dictionary(greedy_lzma(), 40)),
    "PackBits of 1 GiB": lambda: swollen(Form(PACKBITS), repeated_packbits(1 << 30)),
    "LZW that claims the largest": lambda: made(Form(LZW), **HUGE),
    "PackBits that claims the largest": lambda: made(Form(PACKBITS), **HUGE),
    "plain that claims the largest": lambda: made(**HUGE),
    "JPEG that claims the largest": lambda: made(Form(JPEG), **HUGE),
    "65,536 tiles of the same bytes": lambda: made(
        Form(LZW, segment=(16, 16)),
        t256=(SHORT, [4096]),
        t257=(SHORT, [4096]),
        t324=(LONG, [8] * 65536),
        t325=(LONG, [60] * 65536),
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.timeout(60)
def test_no_bomb_takes_memory_beyond_the_bound(bomb: str, little_memory: None) -> None:
    try:
        pixels = decode_general(BOMBS[bomb](), bomb, Counter())
    except DataError:
        return
    assert pixels.shape == TRUTH.shape, "pixels of a patch, however much lies behind them"
