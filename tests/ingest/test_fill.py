"""A shard is filled in the listing's order whatever its files are; what cannot be read is left out by name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fastpath.errors import DataError
from fastpath.ingest.formats import decode as module
from fastpath.store.reader import open_store
from fastpath.workflows import pack

PIXELS = np.random.default_rng(5).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def content(number: int) -> tuple[str, bytes]:
    """A patch as one of several kinds of file, plain ones between the others."""
    file, image = io.BytesIO(), PIXELS[number]
    if number % 2 == 0:
        tifffile.imwrite(file, image, photometric="rgb")
    elif number % 3 == 0:
        Image.fromarray(image).save(file, "PNG")
    else:
        Image.fromarray(image).save(file, "TIFF", compression="tiff_lzw")
    return f"p{number:02}.{'png' if number % 6 == 3 else 'tif'}", file.getvalue()


def source(folder: Path) -> Path:
    folder.mkdir()
    for name, data in map(content, range(12)):
        (folder / name).write_bytes(data)
    return folder


def test_order_is_kept_among_kinds_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    folder = source(tmp_path / "source")
    (folder / "p05.tif").write_bytes(b"<html>not found</html>")
    (folder / "p08.tif").write_bytes(content(8)[1][:-300])
    options = pack.PackOptions(shard_bytes=4 * PIXELS[0].nbytes, on_error="skip", kind="folder")
    result = pack.pack_source(folder, tmp_path / "store", options, workers=1)
    store = open_store(tmp_path / "store")
    kept = [row for row in range(12) if row not in (5, 8)]
    assert store.ids_N.tolist() == [f"p{row:02}" for row in kept]
    np.testing.assert_array_equal(store.gather(np.arange(len(kept))), PIXELS[kept])
    html, cut = result.skipped
    assert html[0] == "p05.tif"
    assert html[1].startswith("found a web page or XML")
    assert cut[1].startswith(("is truncated", "is damaged"))


def test_what_no_one_foresaw_is_one_line_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source(tmp_path / "source")

    def fail(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(module.png, "decode_png", fail)
    with pytest.raises(DataError, match=r"p03\.png: cannot be decoded \(ZeroDivisionError: two lines\)"):
        pack.pack_source(folder, tmp_path / "store", pack.PackOptions(kind="folder"), workers=1)
    assert not (tmp_path / "store").exists()
