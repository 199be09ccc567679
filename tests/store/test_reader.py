"""A store gives back what was packed, whatever the shard borders; nothing else is taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from fastpath.errors import StoreError
from fastpath.store import format as fmt
from fastpath.store.reader import open_store
from fastpath.store.writer import Contents, channel_moments, write_index, write_manifest, write_shard


def make_store(folder: Path, images: np.ndarray, rows_per_shard: int, labels: list[int] | None = None) -> None:
    """Write a store of given pixels through the writer alone."""
    folder.mkdir(parents=True)
    shape, entries, shard_N, row_N = images.shape[1:], [], [], []
    for number, first in enumerate(range(0, len(images), rows_per_shard)):
        block = images[first : first + rows_per_shard]
        name = fmt.shard_name(number)
        digest = write_shard(folder / name, shape, len(block), [block])
        entries.append(fmt.ShardEntry(file=name, rows=len(block), hash=digest))
        shard_N += [number] * len(block)
        row_N += range(len(block))
    rows = np.zeros(len(images), fmt.ROW)
    rows["hash"] = np.array([xxhash.xxh3_128_digest(image.tobytes()) for image in images], "V16")
    rows["sums"] = images.reshape(len(images), -1, 3).sum(1, dtype=np.int64)
    rows["squares"] = (images.astype(np.int64) ** 2).reshape(len(images), -1, 3).sum(1)
    contents = Contents(
        ids=[f"patch{row}" for row in range(len(images))],
        labels_N=np.array(labels if labels is not None else [0] * len(images), np.int8),
        groups=None,
        shard_N=np.array(shard_N),
        row_N=np.array(row_N),
        rows_N=rows,
    )
    index_hash = write_index(folder / fmt.INDEX, contents)
    write_manifest(
        folder, contents, patch_shape=shape, shards=entries, flag_counts={}, source={}, index_hash=index_hash
    )


def random_images(count: int, side: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@settings(max_examples=10, deadline=None)
@given(count=st.integers(1, 23), rows=st.integers(1, 9), data=st.data())
def test_gather_is_the_identity_across_shard_borders(
    tmp_path_factory: pytest.TempPathFactory, count: int, rows: int, data: st.DataObject
) -> None:
    images = random_images(count)
    folder = tmp_path_factory.mktemp("gather") / "store"
    make_store(folder, images, rows)
    store = open_store(folder)
    wanted = np.array(data.draw(st.lists(st.integers(0, count - 1), max_size=40)), np.int64)
    np.testing.assert_array_equal(store.gather(wanted), images[wanted])
    strided = np.zeros((len(wanted), 3, 5, 5), np.uint8).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(store.gather(wanted, strided), images[wanted])


def test_gather_refuses_rows_outside_the_store(tmp_path: Path) -> None:
    make_store(tmp_path / "store", random_images(3), 2)
    store = open_store(tmp_path / "store")
    with pytest.raises(IndexError, match="row -1 of a store of 3"):
        store.gather(np.array([0, -1]))
    with pytest.raises(IndexError, match="row 3 of a store of 3"):
        store.gather(np.array([3]))


def test_a_store_says_what_it_holds(tmp_path: Path) -> None:
    images = random_images(7)
    make_store(tmp_path / "store", images, 3, labels=[0, 1, 1, -1, 0, 0, 1])
    store = open_store(tmp_path / "store")
    assert len(store) == 7
    assert store.patch_size_px == 5
    assert store.ids_N.tolist() == [f"patch{row}" for row in range(7)]
    assert store.labels_N.dtype == np.int8
    assert store.labels_N.tolist() == [0, 1, 1, -1, 0, 0, 1]
    assert store.groups_N is None
    assert store.manifest.class_counts == {"0": 3, "1": 3, "unlabelled": 1}
    np.testing.assert_allclose(store.mean_rgb_N3, images.mean((1, 2)), rtol=1e-6)
    pixels = images.reshape(-1, 3).astype(np.float64) / 255
    np.testing.assert_allclose(store.manifest.mean_3, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(store.manifest.std_3, pixels.std(0), rtol=1e-12)


def test_numpy_alone_reads_a_shard(tmp_path: Path) -> None:
    images = random_images(4)
    make_store(tmp_path / "store", images, 4)
    shard = np.load(tmp_path / "store" / "shard-00000.npy", mmap_mode="r")
    assert shard.flags.c_contiguous
    np.testing.assert_array_equal(shard, images)


def test_a_short_shard_has_the_header_of_what_it_holds(tmp_path: Path) -> None:
    images = random_images(3)
    digest = write_shard(tmp_path / "shard.npy", (5, 5, 3), 1000, [images])
    np.testing.assert_array_equal(np.load(tmp_path / "shard.npy"), images)
    assert digest == fmt.hash_file(tmp_path / "shard.npy")
    assert digest == write_shard(tmp_path / "again.npy", (5, 5, 3), 3, [images[:1], images[1:]])


@given(shape=st.tuples(*[st.integers(0, 10**9)] * 3, st.just(3)))
def test_the_header_is_what_numpy_parses(shape: tuple[int, ...]) -> None:
    import io

    header = io.BytesIO(fmt.npy_header(shape))
    assert np.lib.format.read_magic(header) == (1, 0)
    assert np.lib.format.read_array_header_1_0(header) == (shape, False, np.dtype("u1"))
    assert header.tell() == 128


@given(num=st.integers(1, 10**9), patch=st.integers(3, 3 * 1024**2))
def test_shards_stay_within_their_bounds(num: int, patch: int) -> None:
    rows = fmt.rows_per_shard(num, patch)
    assert rows >= 1
    assert -(-num // rows) <= fmt.SHARDS_MAX
    fewest = -(-num // fmt.SHARDS_MAX)
    assert rows <= fewest or rows == 1 or rows * patch <= fmt.SHARD_BYTES_MAX
    assert fmt.rows_per_shard(num, patch, 1 << 30) == max(1, (1 << 30) // patch, fewest)


def test_moments_of_nothing_are_zero() -> None:
    empty = np.zeros((0, 3), np.int64)
    assert channel_moments(empty, empty, 100) == ((0, 0, 0), (0, 0, 0))


def test_what_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="found nothing, wanted the directory of a packed store"):
        open_store(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="found a file"):
        open_store(tmp_path / "file")
    with pytest.raises(StoreError, match="is not a packed store"):
        open_store(tmp_path)


def test_a_newer_format_is_refused_with_the_remedy(tmp_path: Path) -> None:
    make_store(tmp_path / "store", random_images(2), 2)
    path = tmp_path / "store" / fmt.MANIFEST
    values = json.loads(path.read_text()) | {"format_version": 2, "unheard_of": True}
    path.write_text(json.dumps(values))
    with pytest.raises(StoreError, match="format version 2, wanted at most 1; upgrade fastpath"):
        open_store(tmp_path / "store")


@pytest.fixture(scope="module")
def manifest_text(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("manifest") / "store"
    make_store(folder, random_images(2), 1)
    return (folder / fmt.MANIFEST).read_bytes()


@given(data=st.data())
def test_any_changed_byte_of_the_manifest_is_noticed(
    manifest_text: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / fmt.MANIFEST
    text = bytearray(manifest_text)
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(text)
    with pytest.raises(StoreError):
        fmt.load_document(path, fmt.Manifest)


@given(text=st.one_of(st.binary(max_size=200), st.recursive(st.none(), lambda x: st.lists(x)).map(json.dumps)))
def test_any_text_for_a_manifest_is_a_named_error(tmp_path_factory: pytest.TempPathFactory, text: bytes | str) -> None:
    path = tmp_path_factory.getbasetemp() / fmt.MANIFEST
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StoreError):
        fmt.load_document(path, fmt.Manifest)


def test_a_damaged_index_is_never_read(tmp_path: Path) -> None:
    make_store(tmp_path / "store", random_images(2), 2)
    path = tmp_path / "store" / fmt.INDEX
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"index\.parquet: found other bytes than the manifest's hash"):
        open_store(tmp_path / "store")
    store = open_store(tmp_path / "store", checked=False)
    with pytest.raises(StoreError, match=r"index\.parquet: found other bytes than the manifest's hash"):
        _ = store.ids_N


def test_a_missing_or_reshaped_shard_is_named(tmp_path: Path) -> None:
    make_store(tmp_path / "store", random_images(4), 2)
    store = open_store(tmp_path / "store")
    np.save(tmp_path / "store" / "shard-00000.npy", np.zeros((1, 5, 5, 3), np.uint8))
    (tmp_path / "store" / "shard-00001.npy").unlink()
    with pytest.raises(StoreError, match=r"shard-00000\.npy: found 203 bytes, wanted 278"):
        store.gather(np.array([0]))
    with pytest.raises(StoreError, match=r"shard-00001\.npy: cannot be read"):
        store.gather(np.array([2]))
