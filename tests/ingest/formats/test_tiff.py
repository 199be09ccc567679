"""One picture has the same pixels in every form of TIFF that is read."""

from __future__ import annotations

import io
import itertools
import warnings
from collections import Counter

import numpy as np
import PIL
import pytest
from PIL import Image
from tiff_writer import DEFLATE, JPEG, LOSSLESS, LZMA, LZW, NONE, OLD_DEFLATE, RGB, TRUTH, YCBCR, ZSTD, Form, tiff

from fastpath.ingest.formats.decode import ALPHA, TURNED, decode_general


def allowed(form: Form) -> bool:
    """Whether the form can be written at all, and is read."""
    if form.predictor == 2 and form.compression not in (LZW, DEFLATE, OLD_DEFLATE, LZMA, ZSTD):
        return False
    if form.block != (1, 1) and (form.photometric == RGB or form.planar == 2 or form.alpha is not None):
        return False
    if form.block != (1, 1) and (form.predictor == 2 or form.compression == JPEG):
        return False
    return form.compression != JPEG or (form.alpha is None and (form.planar == 1 or form.photometric == RGB))


def forms() -> list[Form]:
    """The whole product."""
    axes = (
        (*LOSSLESS, JPEG),
        (RGB, YCBCR),
        ((1, 1), (1, 2), (2, 2), (1, 4)),
        range(1, 9),
        (None, 0, 1, 2),
        (1, 2),
        (1, 2),
        (None, 8, (16, 16), (32, 16)),
        "<>",
        (False, True),
    )
    return [form for form in itertools.starmap(Form, itertools.product(*axes)) if allowed(form)]


ALL = forms()


def check(form: Form) -> None:
    notes: Counter[str] = Counter()
    pixels = decode_general(tiff(TRUTH, form), form, notes)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    error = np.abs(pixels.astype(int) - TRUTH).max() if pixels.shape == TRUTH.shape else pixels.shape
    exact = form.photometric == RGB and form.compression != JPEG and form.alpha != 1
    bound = 0 if exact else 3 + 2 * (form.alpha == 1) + 4 * (form.block != (1, 1))
    assert error <= bound, form
    assert set(notes) == ({ALPHA} if form.alpha is not None else set()) | ({TURNED} if form.orientation > 1 else set())


def test_the_product_is_whole() -> None:
    assert len(ALL) > 10_000
    for axis, name in enumerate(Form._fields):
        assert len({form[axis] for form in ALL}) == {"compression": len(LOSSLESS) + 1, "orientation": 8}.get(
            name, 2
        ) or axis in (
            2,
            4,
            7,
        )


@pytest.mark.parametrize("compression", [*LOSSLESS, JPEG])
def test_a_picture_is_the_same_in_every_form(compression: int) -> None:
    for form in [form for form in ALL if form.compression == compression][::61]:
        check(form)


def by_pillow(data: bytes) -> np.ndarray | None:
    """What Pillow reads; None where it does not read the form."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "RGBa" else image)[..., :3]
    except (OSError, ValueError):
        return None


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="an older Pillow turns some forms and others not")
def test_pillow_says_the_same_where_it_is_right() -> None:
    """It takes samples of uncompressed YCbCr for RGB, and reads no big-endian BigTIFF and little YCbCr with alpha."""
    agreed = 0
    for form in ALL[::97]:
        data = tiff(TRUTH, form)
        wanted = by_pillow(data)
        if wanted is not None and (form.compression, form.photometric) != (NONE, YCBCR):
            pixels = decode_general(data, form, Counter()).astype(int)
            assert np.abs(pixels - wanted).max() <= (2 if form.photometric == YCBCR or form.alpha == 1 else 0), form
            agreed += 1
    assert agreed > len(ALL[::97]) / 3


@pytest.mark.slow
@pytest.mark.parametrize("compression", [*LOSSLESS, JPEG])
def test_a_picture_is_the_same_in_the_whole_product(compression: int) -> None:
    for form in [form for form in ALL if form.compression == compression]:
        check(form)
