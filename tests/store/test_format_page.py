"""docs/shard-format.md is enough to read a store: this reader uses it, NumPy, Arrow and xxhash, and nothing of ours."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import xxhash

from fastpath.ingest.quality import Flag, names
from fastpath.store.format import Manifest
from fastpath.workflows import pack

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "shard-format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "store"
    pack.pack_source(kaggle_folder, path, pack.PackOptions(shard_bytes=1 << 20), workers=1)
    return path


def test_a_reader_written_from_the_page_alone(store: Path, kaggle_folder: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    manifest = json.loads((store / "manifest.json").read_text())
    table = pq.read_table(store / "index.parquet").to_pylist()
    height, width, channels = manifest["patch_shape"]
    size = height * width * channels
    assert len(table) == manifest["num_patches"]
    totals = np.zeros((2, 3))
    for line in table:
        with (store / f"shard-{line['shard']:05d}.npy").open("rb") as file:
            file.seek(128 + line["row"] * size)
            raw = file.read(size)
        pixels = np.frombuffer(raw, np.uint8).reshape(height, width, channels)
        np.testing.assert_array_equal(pixels, tifffile.imread(kaggle_folder / "train" / f"{line['id']}.tif"))
        assert xxhash.xxh3_128(raw).digest() == line["hash"]
        wide = pixels.reshape(-1, 3).astype(np.int64)
        assert [line[f"sum_{channel}"] for channel in "rgb"] == wide.sum(0).tolist()
        assert [line[f"squares_{channel}"] for channel in "rgb"] == (wide**2).sum(0).tolist()
        assert line["phash"] == perceptual_hash(pixels)
        totals += [wide.sum(0), (wide**2).sum(0)]
    mean = totals[0] / (len(table) * height * width)
    np.testing.assert_allclose(manifest["mean_3"], mean / 255, rtol=1e-12)
    variance = totals[1] / (len(table) * height * width) - mean**2
    np.testing.assert_allclose(manifest["std_3"], np.sqrt(variance) / 255, rtol=1e-9)
    for entry in manifest["shards"]:
        assert xxhash.xxh3_128((store / entry["file"]).read_bytes()).hexdigest() == entry["hash"]
        assert np.load(store / entry["file"], mmap_mode="r").shape == (entry["rows"], height, width, channels)
    assert xxhash.xxh3_128((store / "index.parquet").read_bytes()).hexdigest() == manifest["index_hash"]
    ids, groups = ("\n".join(line[name] for line in table) for name in ("id", "group"))
    labels = np.array([line["label"] for line in table], np.int8).tobytes()
    whole = ids.encode() + labels + groups.encode() + b"".join(line["hash"] for line in table)
    assert xxhash.xxh3_128(whole).hexdigest() == manifest["fingerprint"]


def perceptual_hash(pixels: np.ndarray) -> int:
    """Cosine coefficients of 32 sampled rows by 32 bands of columns, of the sum over channels, in rounded integers."""
    step = len(pixels) // 32
    rows = pixels[step // 2 : 32 * step : step].astype(np.int64).sum(2)
    bands = rows[:, : 32 * step].reshape(32, 32, step).sum(2)
    angles = np.pi * np.arange(8)[:, None] * (2 * np.arange(32) + 1) / 64
    low = np.rint(1024 * np.cos(angles)) @ bands @ np.rint(127 * np.cos(angles)).T
    return sum(1 << bit for bit, value in enumerate(low.ravel()) if value > np.median(low))


def test_documents_carry_their_own_checksum(store: Path) -> None:
    for name in ("manifest.json", "split.json"):
        document = json.loads((store / name).read_text())
        checksum = document.pop("checksum")
        assert xxhash.xxh3_128(json.dumps(document, sort_keys=True).encode()).hexdigest() == checksum


def test_the_split_is_a_character_a_row(store: Path) -> None:
    split = json.loads((store / "split.json").read_text())
    manifest = json.loads((store / "manifest.json").read_text())
    assert len(split["rows"]) == manifest["num_patches"]
    assert set(split["rows"]) == {"t", "v"}
    assert split["store"] == manifest["fingerprint"]


def test_the_page_names_every_key_column_and_flag(store: Path) -> None:
    mentioned = set(re.findall(r"`([^`\n]+)`", PAGE))
    assert set(json.loads((store / "manifest.json").read_text())) <= mentioned
    assert set(json.loads((store / "split.json").read_text())) <= mentioned
    assert set(pq.read_schema(store / "index.parquet").names) <= mentioned
    for flag, name in zip(Flag, names(), strict=True):
        assert f"| {int(flag)} | `{name}` |" in PAGE
    assert list(Manifest.model_fields) == [key for key in json.loads((store / "manifest.json").read_text())][:-1]


def test_nothing_in_a_store_names_a_place_or_a_time(store: Path, kaggle_folder: Path) -> None:
    for path in store.iterdir():
        content = path.read_bytes()
        assert str(kaggle_folder).encode() not in content
        assert str(store.parent).encode() not in content
        assert not re.search(rb"20\d\d-\d\d-\d\d", content if path.suffix == ".json" else b"")
