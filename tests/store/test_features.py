from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastpath.errors import FastpathError, IntegrityError, StoreError, UsageError
from fastpath.store import feature_writer, features
from fastpath.store.feature_writer import Unfinished
from fastpath.store.features import MANIFEST, PARTIAL, ROWS, SHARD_ROWS, Features, Origin

NUM, WIDTH = SHARD_ROWS + 5, 3
ORIGIN = Origin(
    store="store",
    store_fingerprint="0" * 32,
    model="vit",
    weights_hash="1" * 32,
    pooling="as the network pools",
    image_size_px=32,
    mean_3=(0.5, 0.5, 0.5),
    std_3=(0.5, 0.5, 0.5),
    precision="float32",
)
VALUES_ND = np.random.default_rng(0).normal(size=(NUM, WIDTH)).astype(np.float32)


def write(path: Path, upto: int = 2) -> None:
    """Write the first shards, and the rest where that is all of them."""
    with feature_writer.unfinished(path, ORIGIN, NUM) as place:
        assert isinstance(place, Unfinished)
        for number in range(upto):
            place.write(number, VALUES_ND[number * SHARD_ROWS : (number + 1) * SHARD_ROWS])
        if upto == 2:
            place.finish(b"rows", WIDTH, licence="", split=None, software={})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "out")
    opened = features.open_features(tmp_path / "out")
    assert np.array_equal(opened.read(), VALUES_ND)
    assert np.array_equal(np.load(tmp_path / "out" / "features-00001.npy"), VALUES_ND[SHARD_ROWS:])
    assert not (tmp_path / "out" / PARTIAL).exists()
    with feature_writer.unfinished(tmp_path / "out", ORIGIN, NUM) as place:
        assert isinstance(place, Features)


def test_unfinished_ones_are_gone_on_with_from_the_first_shard_that_is_not_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", upto=1)
    with pytest.raises(UsageError, match="stopped"):
        features.open_features(tmp_path / "out")
    with feature_writer.unfinished(tmp_path / "out", ORIGIN, NUM) as place:
        assert isinstance(place, Unfinished)
        assert place.known(WIDTH) == SHARD_ROWS
        assert place.known(WIDTH + 1) == 0
    content = (tmp_path / "out" / "features-00000.npy").read_bytes()
    (tmp_path / "out" / "features-00000.npy").write_bytes(content[:-4])
    with feature_writer.unfinished(tmp_path / "out", ORIGIN, NUM) as place:
        assert isinstance(place, Unfinished)
        assert place.known(WIDTH) == 0


OTHER = {
    "store_fingerprint": "2" * 32,
    "model": "another",
    "weights_hash": "3" * 32,
    "pooling": "mean",
    "image_size_px": 64,
    "mean_3": (0.1, 0.5, 0.5),
    "std_3": (0.1, 0.5, 0.5),
    "precision": "bfloat16",
}


@pytest.mark.parametrize("upto", [1, 2], ids=["unfinished", "whole"])
@pytest.mark.parametrize("name", OTHER)
def test_features_of_another_origin_are_refused(name: str, upto: int, tmp_path: Path) -> None:
    write(tmp_path / "out", upto)
    other = ORIGIN.model_copy(update={name: OTHER[name]})
    with (
        pytest.raises(UsageError, match=f"is of another {name}"),
        feature_writer.unfinished(tmp_path / "out", other, NUM),
    ):
        pass


def test_a_store_that_was_renamed_is_the_same(tmp_path: Path) -> None:
    write(tmp_path / "out")
    with feature_writer.unfinished(tmp_path / "out", ORIGIN.model_copy(update={"store": "moved"}), NUM) as place:
        assert isinstance(place, Features)


def test_only_one_process_writes(tmp_path: Path) -> None:
    with (
        feature_writer.unfinished(tmp_path / "out", ORIGIN, NUM),
        pytest.raises(UsageError, match="another process"),
        feature_writer.unfinished(tmp_path / "out", ORIGIN, NUM),
    ):
        pass


def test_shards_of_unknown_origin_are_not_gone_on_with(tmp_path: Path) -> None:
    write(tmp_path / "out", upto=1)
    (tmp_path / "out" / PARTIAL).unlink()
    with pytest.raises(UsageError, match="without features"), feature_writer.unfinished(tmp_path / "out", ORIGIN, NUM):
        pass


@pytest.mark.parametrize("name", [MANIFEST, ROWS, "features-00000.npy", "features-00001.npy"])
def test_a_flipped_byte_is_caught(name: str, tmp_path: Path) -> None:
    write(tmp_path / "out")
    content = bytearray((tmp_path / "out" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "out" / name).write_bytes(content)

    def read() -> object:
        opened = features.open_features(tmp_path / "out")
        return opened.read(), opened.rows

    with pytest.raises((IntegrityError, StoreError)):
        read()


@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 100, b"[" * 9000, b'{"format_version": 99}'])
@pytest.mark.parametrize("name", [MANIFEST, PARTIAL])
def test_a_damaged_document_is_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FastpathError) as refused, feature_writer.unfinished(tmp_path, ORIGIN, NUM):
        pass
    assert refused.value.exit_status == 2
    assert "packed store" not in str(refused.value)
