"""What is measured of pixels is exact; what is flagged is what a person would flag."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fastpath.errors import UsageError
from fastpath.ingest import quality
from fastpath.ingest.quality import Flag, flags_of
from fastpath.ingest.stats import measure
from fastpath.store import format as fmt


def tissue(seed: int, side: int = 96) -> np.ndarray:
    """Textured H&E-like noise: pink, with structure at several scales."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.normal(0, 30, (side // 8, side // 8)), np.ones((8, 8)))
    grey = coarse + rng.normal(0, 15, (side, side))
    return np.clip(np.array([200, 130, 190]) + grey[..., None], 0, 255).astype(np.uint8)


def rows_of(images_NHWC: np.ndarray) -> np.ndarray:
    import xxhash

    rows, measures = np.zeros(len(images_NHWC), fmt.ROW), measure(images_NHWC)
    rows["sums"], rows["squares"] = measures.sums_N3, measures.squares_N3
    rows["sharpness"], rows["phash"] = measures.sharpness_N, measures.phash_N
    rows["hash"] = np.array([xxhash.xxh3_128_digest(image.tobytes()) for image in images_NHWC], "V16")
    return rows


def flags(images: list[np.ndarray], labels: list[int] | None = None) -> list[Flag]:
    images_NHWC = np.stack(images)
    labels_N = np.array(labels or [0] * len(images), np.int8)
    flags_N = flags_of(rows_of(images_NHWC), images_NHWC[0, ..., 0].size, labels_N)
    return [Flag(int(value)) for value in flags_N]


@settings(deadline=None, max_examples=40)
@given(
    num=st.integers(1, 9),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    bright=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_exact_for_any_shape(num: int, height: int, width: int, bright: bool, seed: int) -> None:
    low = 255 if bright else 0
    images = np.random.default_rng(seed).integers(low, 256, (num, height, width, 3), dtype=np.uint8)
    measures, wide = measure(images), images.astype(np.int64).reshape(num, -1, 3)
    np.testing.assert_array_equal(measures.sums_N3, wide.sum(1))
    np.testing.assert_array_equal(measures.squares_N3, (wide**2).sum(1))


def test_sums_are_exact_where_float32_would_round() -> None:
    images = np.full((1, 600, 600, 3), 255, np.uint8)
    images[0, 0, 0] = 254
    wide = images.astype(np.int64).reshape(1, -1, 3)
    np.testing.assert_array_equal(measure(images).squares_N3, (wide**2).sum(1))


def test_sharpness_is_the_variance_of_the_laplacian_of_every_sixteenth_row() -> None:
    image = tissue(0).astype(np.int64)
    lap = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:] - 4 * image[1:-1, 1:-1]
    assert measure(tissue(0)[None]).sharpness_N[0] == pytest.approx(lap[::16].var(), rel=1e-6)


def test_measures_do_not_depend_on_company() -> None:
    images = np.stack([tissue(seed) for seed in range(11)])
    together = measure(images)
    for row in range(11):
        alone = measure(images[row : row + 1])
        assert alone.sharpness_N[0] == together.sharpness_N[row]
        assert alone.phash_N[0] == together.phash_N[row]


def test_the_perceptual_hash_barely_moves_under_noise_and_moves_under_another_picture() -> None:
    rng = np.random.default_rng(0)
    image = tissue(1)
    noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    same, near, other = measure(np.stack([image, noisy, tissue(2)])).phash_N
    assert np.bitwise_count(same ^ near) <= quality.NEAR_BITS
    assert np.bitwise_count(same ^ other) > 15


def recompressed(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=75)
    return np.asarray(Image.open(file))


def test_the_perceptual_hash_finds_on_real_patches_what_imagehash_finds(sample_folder: Path) -> None:
    rng = np.random.default_rng(0)
    files = sorted((sample_folder / "train").iterdir())[:300]
    patches = np.stack([np.asarray(Image.open(file)) for file in files])
    patches = patches[patches.reshape(len(patches), -1, 3).std(axis=1).max(axis=1) > quality.NEAR_STD]
    changed = {
        "brighter": np.clip(patches.astype(int) + 8, 0, 255).astype(np.uint8),
        "noisy": np.clip(patches + rng.normal(0, 4, patches.shape), 0, 255).astype(np.uint8),
        "recompressed": np.stack([recompressed(patch) for patch in patches]),
    }

    def theirs(images: np.ndarray) -> np.ndarray:
        return np.stack([imagehash.phash(Image.fromarray(image)).hash.ravel() for image in images])

    ours, library = measure(patches).phash_N, theirs(patches)
    for name, images in changed.items():
        share_near = np.mean(np.bitwise_count(ours ^ measure(images).phash_N) <= quality.NEAR_BITS)
        reference = np.mean((library ^ theirs(images)).sum(axis=1) <= quality.NEAR_BITS)
        assert share_near > reference - 0.06, name
        assert share_near > 0.93, name
    others = np.bitwise_count(ours[:, None] ^ ours[None])[~np.eye(len(ours), dtype=bool)]
    assert (others > quality.NEAR_BITS).all(), "no two different patches are taken for near duplicates"


def test_plain_tissue_has_no_flag() -> None:
    assert flags([tissue(seed) for seed in range(20)]) == [Flag(0)] * 20


def test_blank_patches() -> None:
    black, white, pink = (np.full((96, 96, 3), value, np.uint8) for value in (0, 253, (220, 160, 200)))
    assert flags([black, white, pink, tissue(0)]) == [
        Flag.BLACK | Flag.CONSTANT,
        Flag.WHITE | Flag.CONSTANT,
        Flag.CONSTANT,
        Flag(0),
    ]


def test_near_black_counts_as_black_and_the_darkest_tissue_does_not() -> None:
    """What JPEG leaves of black, a bright edge in it, and a patch as dark as the darkest real one."""
    rng = np.random.default_rng(0)
    noisy, edged = rng.integers(8, 18, (96, 96, 3), np.uint8), rng.integers(0, 6, (96, 96, 3), np.uint8)
    edged[:, :6] = 240
    darkest = np.clip(rng.normal(52.9, 33, (96, 96, 3)), 0, 255).astype(np.uint8)
    assert [bool(flag & Flag.BLACK) for flag in flags([noisy, edged, darkest])] == [True, True, False]


def test_no_real_patch_is_nearly_black(sample_folder: Path) -> None:
    paths = sorted((sample_folder / "train").glob("*.tif"))[::50]
    assert not any(flag & Flag.BLACK for flag in flags([np.asarray(Image.open(path)) for path in paths]))


def test_a_blurred_patch_is_not_a_blank_one() -> None:
    ramp = np.linspace(100, 220, 96)
    smooth = np.repeat(np.repeat(ramp[:, None, None], 96, 1), 3, 2) * [1, 0.7, 0.9]
    assert flags([smooth.astype(np.uint8)]) == [Flag.BLURRED]


def test_a_green_patch_is_out_of_palette() -> None:
    assert flags([tissue(0)[..., [1, 0, 2]]]) == [Flag.PALETTE]


def test_duplicates_conflicts_and_near_duplicates() -> None:
    first, second = tissue(1), tissue(2)
    nearly = first.copy()
    nearly[0, 0] ^= 1
    flags_N = flags([first, second, first, nearly, second, second], [0, 1, 0, 0, 0, -1])
    assert flags_N == [
        Flag(0),
        Flag.CONFLICT,
        Flag.DUPLICATE,
        Flag.NEAR_DUPLICATE,
        Flag.DUPLICATE | Flag.CONFLICT,
        Flag.DUPLICATE,
    ]


@settings(deadline=None)
@given(data=st.data())
def test_near_duplicates_are_those_that_brute_force_finds(data: st.DataObject) -> None:
    base = data.draw(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, 63), max_size=5)
    hashes = [data.draw(st.sampled_from(base)) for _ in range(12)]
    for row in range(12):
        for bit in data.draw(flips):
            hashes[row] ^= 1 << bit
    near_N = quality._near_duplicates(np.array(hashes, np.uint64), np.ones(12, bool))
    real = [
        value != 0 and any(other and (value ^ other).bit_count() <= quality.NEAR_BITS for other in hashes[:row])
        for row, value in enumerate(hashes)
    ]
    assert near_N.tolist() == real


def test_many_near_copies_are_compared_as_often_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    count = np.bitwise_count

    def counting(values: np.ndarray) -> np.ndarray:
        compared.append(len(values))
        return count(values)

    monkeypatch.setattr(np, "bitwise_count", counting)
    hashes = np.random.default_rng(0).integers(1, 2**63, 20, dtype=np.uint64)[np.arange(4000) % 20]
    assert quality._near_duplicates(hashes, np.ones(4000, bool)).sum() == 3980
    assert sum(compared) <= 4 * 4000  # once in each band, where pairs would be 4 * 4000 * 199 / 2


def test_ids_that_are_no_hashes_are_not_held_against_a_source() -> None:
    rows = rows_of(np.stack([tissue(seed) for seed in range(4)]))
    labels_N = np.zeros(4, np.int8)
    rows["flags"] = [0, 0, 0, int(Flag.ID_MISMATCH)]
    assert flags_of(rows, 96 * 96, labels_N)[3] == int(Flag.ID_MISMATCH)
    rows["flags"] = int(Flag.ID_MISMATCH)
    assert flags_of(rows, 96 * 96, labels_N).tolist() == [0] * 4


def test_names_round_trip_and_a_wrong_one_is_refused() -> None:
    assert [quality.parse(name) for name in quality.names()] == list(Flag)
    with pytest.raises(UsageError, match="--drop: found 'foggy', wanted one of duplicate, conflict"):
        quality.parse("foggy")
