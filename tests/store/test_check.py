"""Whatever byte of a store changes, `verify` says so and `repair` mends it where the source can."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastpath.errors import FastpathError, StoreError
from fastpath.store import format as fmt
from fastpath.workflows import pack, repair
from fastpath.workflows.verify import verify


@pytest.fixture(scope="module")
def made(labelled_source: Callable[[], Path]) -> tuple[Path, Path]:
    """A source of 20 small labelled patches and its store of 5 shards."""
    source = labelled_source()
    store = source.with_name("store")
    pack.pack_source(source, store, pack.PackOptions(shard_bytes=4 * 768), workers=1)
    return source, store


@pytest.fixture
def store(made: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(made[1], tmp_path / "store")
    return tmp_path / "store"


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_anywhere_is_caught(made: tuple[Path, Path], data: st.DataObject) -> None:
    path = made[1] / data.draw(st.sampled_from(sorted(file.name for file in made[1].iterdir())))
    content = path.read_bytes()
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    try:
        assert blamed(made[1]) == {path.name}
    finally:
        path.write_bytes(content)


def blamed(store: Path) -> set[str]:
    """The files that `verify` names, or the manifest where that cannot be read."""
    try:
        return {damage.file for damage in verify.verify_store(store, workers=1).damages}
    except StoreError as error:
        return {Path(error.location).name}


def test_a_whole_store_is_whole(made: tuple[Path, Path]) -> None:
    verified = verify.verify_store(made[1], source=made[0], workers=1)
    assert (verified.damages, verified.num_patches, verified.num_shards, verified.compared) == ([], 20, 5, 20)


def test_missing_truncated_and_strange_files_are_named(store: Path) -> None:
    (store / "shard-00001.npy").unlink()
    (store / "shard-00003.npy").write_bytes((store / "shard-00003.npy").read_bytes()[:-1])
    (store / "notes.txt").write_text("x")
    assert {damage.file for damage in verify.verify_store(store, workers=1).damages} == {
        "shard-00001.npy",
        "shard-00003.npy",
        "notes.txt",
    }


def test_repair_gives_the_same_bytes_back(made: tuple[Path, Path], store: Path) -> None:
    content = bytearray((store / "shard-00002.npy").read_bytes())
    content[128 + 768 + 3] ^= 1
    (store / "shard-00002.npy").write_bytes(content)
    (store / "shard-00000.npy").unlink()
    damaged = verify.verify_store(store, workers=1).damages
    assert [(damage.file, damage.ids) for damage in damaged] == [
        ("shard-00000.npy", ()),
        ("shard-00002.npy", ("p09",)),
    ]
    repaired = repair.repair_store(store, made[0], workers=1)
    assert repaired.repaired == ["shard-00000.npy", "shard-00002.npy"]
    assert repaired.damages == []
    for path in made[1].iterdir():
        assert (store / path.name).read_bytes() == path.read_bytes()
    assert len(list(store.iterdir())) == len(list(made[1].iterdir()))


def test_repair_does_not_trust_a_source_that_has_changed(made: tuple[Path, Path], store: Path, tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "source")
    Image.new("RGB", (16, 16)).save(tmp_path / "source" / "train" / "p00.tif")
    damaged = (store / "shard-00000.npy").read_bytes()[:-5]
    (store / "shard-00000.npy").write_bytes(damaged)
    repaired = repair.repair_store(store, tmp_path / "source", workers=1)
    assert repaired.repaired == []
    assert "the source gives other pixels now" in repaired.damages[0].problem
    assert (store / "shard-00000.npy").read_bytes() == damaged
    compared = verify.verify_store(made[1], source=tmp_path / "source", workers=1).damages
    assert [(damage.file, damage.ids) for damage in compared] == [("shard-00000.npy", ("p00",))]


def test_repair_needs_the_index(made: tuple[Path, Path], store: Path) -> None:
    (store / fmt.INDEX).write_bytes(b"PAR1")
    with pytest.raises(FastpathError, match="pack again"):
        repair.repair_store(store, made[0], workers=1)


def test_a_source_that_lost_files_is_named(made: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "source")
    (tmp_path / "source" / "train" / "p07.tif").write_bytes(b"")
    damages = verify.verify_store(made[1], source=tmp_path / "source", workers=1).damages
    assert [(damage.file, damage.ids) for damage in damages] == [("shard-00001.npy", ("p07",))]
    (tmp_path / "source" / "train" / "p07.tif").unlink()
    labels = tmp_path / "source" / "train_labels.csv"
    labels.write_text(labels.read_text().replace("p07,1\n", ""))
    damages = verify.verify_store(made[1], source=tmp_path / "source", workers=1).damages
    assert [(damage.file, damage.ids) for damage in damages] == [("index.parquet", ("p07",))]
