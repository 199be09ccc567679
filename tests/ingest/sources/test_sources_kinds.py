"""Each kind of source is known by looking, and packs to the same pixels; parts merge to the whole."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fastpath.errors import DataError, IntegrityError, StoreError, UsageError
from fastpath.ingest.readers import open_place, open_reader
from fastpath.ingest.sources import KINDS, detect, list_source, source_of
from fastpath.ingest.sources.listing import Listing, Read, Source, Stamp
from fastpath.ingest.sources.pcam import official_parts
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import merge, pack, split
from fastpath.workflows.verify import verify

PIXELS = np.random.default_rng(1).integers(0, 256, (12, 10, 10, 3), dtype=np.uint8)
LABELS = [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0]
IDS = [f"p{number:02}" for number in range(12)]


def packed(source: Path, output: Path, **options: object) -> Store:
    pack.pack_source(source, output, pack.PackOptions(**options), workers=1)  # type: ignore[arg-type]
    return open_store(output)


def kaggle(folder: Path) -> Path:
    (folder / "train").mkdir(parents=True)
    for name, image in zip(IDS, PIXELS, strict=True):
        Image.fromarray(image).save(folder / "train" / f"{name}.tif")
    lines = [f"{name},{label}\n" for name, label in zip(IDS, LABELS, strict=True)]
    (folder / "train_labels.csv").write_text("id,label\n" + "".join(lines))
    lines = [f"{name},s{number % 4}\n" for number, name in enumerate(IDS)]
    (folder / "groups.csv").write_text("id,wsi\n" + "".join(lines))
    return folder


def classes(folder: Path) -> Path:
    for name, image, label in zip(IDS, PIXELS, LABELS, strict=True):
        place = folder / ("Normal", "Tumor")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{name}.png")
    return folder


def table(folder: Path, suffix: str) -> Path:
    root = kaggle(folder)
    frame = pd.DataFrame({"path": [f"train/{name}.tif" for name in IDS], "label": LABELS, "wsi": ["a", "b"] * 6})
    path = root / f"patches{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    return path


def pcam(folder: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    folder.mkdir()
    for part, rows in (("train", slice(0, 8)), ("valid", slice(8, 12))):
        stem = folder / f"camelyonpatch_level_2_split_{part}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file.create_dataset("x", data=PIXELS[rows], chunks=(3, 10, 10, 3), compression="gzip")
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array(LABELS[rows]).reshape(-1, 1, 1, 1)
        with Path(f"{stem}_meta.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["", "coord_y", "coord_x", "tumor_patch", "center_tumor_patch", "wsi"])
            for row in range(rows.stop - rows.start):
                writer.writerow([row, 1, 2, True, True, f"camelyon16_{part}_{row % 3:03}"])
    return folder


def store(folder: Path) -> Path:
    packed(kaggle(folder / "kaggle"), folder / "store", shard_bytes=1000)
    return folder / "store"


MAKERS = {
    "kaggle": kaggle,
    "classes": classes,
    "table": lambda folder: table(folder, ".csv"),
    "table ": lambda folder: table(folder, ".parquet"),
    "pcam": pcam,
    "store": store,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_packs_to_the_same_pixels(kind: str, tmp_path: Path) -> None:
    source = MAKERS[kind](tmp_path / "source")
    assert detect(source) == kind.strip()
    packed_store = packed(source, tmp_path / "out")
    np.testing.assert_array_equal(packed_store.gather(np.arange(12)), PIXELS)
    assert packed_store.labels_N.tolist() == LABELS
    if kind == "pcam":
        assert packed_store.ids_N.tolist() == [f"train-{row:06}" for row in range(8)] + [
            f"valid-{row:06}" for row in range(4)
        ]
        assert packed_store.groups_N is not None
        assert packed_store.groups_N[[0, 8]].tolist() == ["camelyon16_train_000", "camelyon16_valid_000"]
    else:
        assert packed_store.ids_N.tolist() == IDS
    assert packed_store.manifest.source["kind"] == kind.strip()
    result = verify.verify_store(tmp_path / "out", source=source, workers=1)
    assert (result.damages, result.compared) == ([], 12)


def test_patchcamelyon_keeps_its_own_division(tmp_path: Path) -> None:
    source = pcam(tmp_path / "source")
    packed_store = packed(source, tmp_path / "out")
    table = read_split(packed_store)
    assert table.kind == "official"
    assert table.rows(Split.TRAIN).tolist() == list(range(8))
    assert table.rows(Split.VAL).tolist() == list(range(8, 12))
    assert split.split_store(packed_store.path, kind="group", val=0.5).kind == "group"
    counted = split.split_store(packed_store.path, kind="official")
    assert (counted.num_train, counted.num_val, counted.num_test, counted.notice) == (8, 4, 0, "")
    assert read_split(packed(packed_store.path, tmp_path / "again")).kind == "official", (
        "ids say it, whatever the source"
    )
    with pytest.raises(DataError, match=r"found 2 folds, wanted PatchCamelyon's own.*--kind group"):
        split.split_store(packed_store.path, kind="official", folds=2)


def test_a_division_without_validation_is_not_official(tmp_path: Path) -> None:
    source = pcam(tmp_path / "source")
    for path in source.glob("*_valid_*"):
        path.unlink()
    packed_store = packed(source, tmp_path / "out")
    assert not (packed_store.path / "split.json").exists(), "three slides are too few for the usual five folds"
    assert split.split_store(packed_store.path, val=0.5).kind == "group"
    with pytest.raises(DataError, match="found ids of no official division"):
        split.split_store(packed_store.path, kind="official")


def test_official_parts_are_read_from_ids() -> None:
    parts = [Split.TRAIN, Split.VAL, Split.TEST]
    assert official_parts(["train-000000", "valid-0000001", "test-000002"]) == parts
    for ids in (["train-000000"], ["train-000000", "test-000000"], ["train-000000", "valid-0"], ["x"], []):
        assert official_parts(ids) is None


def test_the_kinds_of_the_help_text_are_the_kinds() -> None:
    from fastpath.cli.commands.pack import command

    (text,) = [option.help for option in command.params if option.name == "source_kind"]  # type: ignore[attr-defined]
    assert text == f"What SOURCE is: {', '.join([*KINDS][:-1])} or {[*KINDS][-1]}. Default: look."


def test_class_folders_must_say_which_is_which(tmp_path: Path) -> None:
    (classes(tmp_path / "source") / "Tumor").rename(tmp_path / "source" / "Other")
    with pytest.raises(DataError, match="found class folders 'Normal, Other', wanted two such as"):
        packed(tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.tif,0\n", "wanted 'path'"),
        ("path,label\n", "wanted 'path' and at least one row"),
        ("path,label\ntrain/p00.tif,2\n", "found label '2'"),
        ("path,label\ntrain/p00.tif,0\ntrain/p00.tif,0\n", "found id 'p00' twice"),
        ("path,id\ntrain/p00.tif,../x\n", "found id '../x'"),
        ("path,wsi\ntrain/p00.tif,\n", "found no group for id 'p00'"),
        ("path,label\ntrain/p00.tif\n", "found 1 values, wanted 2"),
        ("path\ntrain/absent.tif\n", "cannot be read"),
    ],
)
def test_a_wrong_table_is_a_named_error(tmp_path: Path, text: str, message: str) -> None:
    path = kaggle(tmp_path / "source") / "patches.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        packed(path, tmp_path / "out")
    assert message in str(caught.value)


def test_damaged_hdf5_is_a_named_error(tmp_path: Path) -> None:
    source = pcam(tmp_path / "source")
    file = source / "camelyonpatch_level_2_split_valid_x.h5"
    content = file.read_bytes()
    file.write_bytes(content[:1000])
    with pytest.raises(DataError, match="is not a PatchCamelyon file"):
        packed(source, tmp_path / "out")
    file.write_bytes(content)
    (source / "camelyonpatch_level_2_split_valid_meta.csv").write_text("wsi\na\n")
    with pytest.raises(DataError, match="found 1 rows, wanted 4 with a column 'wsi'"):
        packed(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("shape", "chunks", "words"),
    [
        ((4, 10**6, 10**6, 3), (1, 96, 96, 3), "H and W of at most 4096"),
        ((10**6, 96, 96, 3), (10**5, 96, 96, 3), "wanted at most 256 MB each"),
    ],
)
def test_hdf5_that_claims_too_much_is_refused(
    shape: tuple[int, ...], chunks: tuple[int, ...], words: str, tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", shape, np.uint8, chunks=chunks, compression="gzip")
    read, _ = open_reader("hdf5", tmp_path)
    with pytest.raises(DataError, match=words):
        read("x.h5:0", Counter())


def test_a_name_that_no_file_can_have_is_one_line(tmp_path: Path) -> None:
    read, stamp = open_reader("files", tmp_path)
    assert stamp("a\0b.tif") == ""
    assert open_place("files", tmp_path)("a\0b.tif", PIXELS[0]) == ""
    with pytest.raises(DataError, match="is no name that a file can have"):
        read("a\0b.tif", Counter())


def test_a_damaged_store_is_no_source(tmp_path: Path) -> None:
    source = store(tmp_path / "source")
    shard = source / "shard-00001.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="differs from its hash"):
        packed(source, tmp_path / "out")


def test_packing_a_store_again_cuts_it_anew_and_names_the_same_content(tmp_path: Path) -> None:
    source = store(tmp_path / "source")
    again = packed(source, tmp_path / "out")
    assert again.fingerprint == open_store(source).fingerprint
    assert len(again.manifest.shards) == 1
    assert len(open_store(source).manifest.shards) == 4


def test_a_subset(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "source")
    (tmp_path / "some.csv").write_text("id\np07\np02\np11\n")
    packed_store = packed(source, tmp_path / "out", only=tmp_path / "some.csv")
    assert packed_store.ids_N.tolist() == ["p02", "p07", "p11"]
    (tmp_path / "some.csv").write_text("id\np07\nq\n")
    with pytest.raises(DataError, match=r"found 1 ids that are not in the source \(first: 'q'\)"):
        packed(source, tmp_path / "other", only=tmp_path / "some.csv")


def test_resized_patches_are_those_of_pillow_and_the_manifest_says_so(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "source")
    packed_store = packed(source, tmp_path / "out", resize_px=16)
    wanted = Image.fromarray(PIXELS[3]).resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(packed_store.gather(np.array([3]))[0], np.asarray(wanted))
    assert packed_store.manifest.source["resize_px"] == 16
    assert verify.verify_store(tmp_path / "out", source=source, workers=1).damages == []


def test_dropped_patches_leave_the_index_and_a_second_pack_leaves_their_pixels_behind(tmp_path: Path) -> None:
    from fastpath.ingest.quality import Flag

    source = kaggle(tmp_path / "source")
    Image.fromarray(PIXELS[3]).save(source / "train" / "p05.tif")
    packed_store = packed(source, tmp_path / "out", drop=(Flag.DUPLICATE,))
    assert packed_store.ids_N.tolist() == [name for name in IDS if name != "p05"]
    assert packed_store.manifest.shards[0].rows == 12
    assert verify.verify_store(tmp_path / "out", source=source, workers=1).not_in_store == 1
    again = packed(tmp_path / "out", tmp_path / "again")
    assert again.manifest.shards[0].rows == 11
    np.testing.assert_array_equal(again.gather(np.arange(11)), packed_store.gather(np.arange(11)))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_parts_merge_to_the_bytes_of_the_whole(tmp_path: Path, count: int) -> None:
    source = kaggle(tmp_path / "source")
    whole = packed(source, tmp_path / "whole", shard_bytes=1000)
    parts = [tmp_path / f"part{number}" for number in range(count)]
    for number, part in enumerate(parts):
        packed(source, part, shard_bytes=1000, part=(number + 1, count))
    merge.merge_stores(parts[::-1], tmp_path / "merged")
    assert len(whole.manifest.shards) == 4
    names = sorted(path.name for path in whole.path.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "merged").iterdir())
    for name in names:
        assert (tmp_path / "merged" / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_duplicates_across_parts_are_left_out_as_one_pack_leaves_them(tmp_path: Path) -> None:
    from fastpath.ingest.quality import Flag

    source = kaggle(tmp_path / "source")
    for name in ("p05", "p10"):  # another shard than p03's: no part sees the two together
        Image.fromarray(PIXELS[3]).save(source / "train" / f"{name}.tif")
    for drop in ((Flag.DUPLICATE,), ()):
        scratch = tmp_path / f"{len(drop)}"
        whole = packed(source, scratch / "whole", shard_bytes=1000, drop=drop)
        parts = [scratch / f"part{number}" for number in range(3)]
        for number, part in enumerate(parts):
            packed(source, part, shard_bytes=1000, part=(number + 1, 3), drop=drop)
        merge.merge_stores(parts, scratch / "merged")
        merged = open_store(scratch / "merged")
        for file in whole.path.iterdir():
            assert (merged.path / file.name).read_bytes() == file.read_bytes(), file.name
        assert len(merged) == (10 if drop else 12)
        assert merged.manifest.flag_counts["duplicate"] == (0 if drop else 2)


def test_what_cannot_be_merged(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "source")
    first = packed(source, tmp_path / "first", shard_bytes=1000, part=(1, 2)).path
    with pytest.raises(UsageError, match="found parts 1/2, wanted 1/1"):
        merge.merge_stores([first], tmp_path / "out")
    with pytest.raises(UsageError, match="found 5 parts for 4 shards"):
        packed(source, tmp_path / "fifth", shard_bytes=1000, part=(1, 5))
    whole = packed(source, tmp_path / "whole").path
    with pytest.raises(DataError, match="found id 'p00' twice"):
        merge.merge_stores([whole, whole], tmp_path / "out")
    other = packed(source, tmp_path / "resized", resize_px=16).path
    with pytest.raises(UsageError, match="found patches of 2 sizes"):
        merge.merge_stores([whole, other], tmp_path / "out")
    with pytest.raises(StoreError):
        merge.merge_stores([source], tmp_path / "out")
    shard = whole / "shard-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="found other bytes than the manifest's hash"):
        merge.merge_stores([whole], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_stores_of_different_sources_merge(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("id\np00\np01\np02\n")
    (tmp_path / "more.csv").write_text("id\np07\np08\n")
    source = kaggle(tmp_path / "source")
    first = packed(source, tmp_path / "first", only=tmp_path / "some.csv")
    (source / "train_labels.csv").unlink()  # or it would be asked whether they are forgotten
    second = packed(first.path.parent / "source" / "train", tmp_path / "second", only=tmp_path / "more.csv")
    with pytest.raises(DataError, match="found no groups, wanted them as the other stores have"):
        merge.merge_stores([first.path, second.path], tmp_path / "merged")
    plain = packed(source / "train", tmp_path / "plain", only=tmp_path / "some.csv")
    merge.merge_stores([second.path, plain.path], tmp_path / "merged")
    merged = open_store(tmp_path / "merged")
    assert merged.ids_N.tolist() == ["p07", "p08", "p00", "p01", "p02"]
    np.testing.assert_array_equal(merged.gather(np.arange(5)), PIXELS[[7, 8, 0, 1, 2]])
    assert verify.verify_store(tmp_path / "merged", workers=1).damages == []


def test_a_kind_is_its_module_and_its_line_among_the_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that no other code knows is seen, listed, read and told of in errors."""
    (tmp_path / "grey.levels").write_text("10 200 30")

    def listed(path: Path, labels: Path | None, follow: object) -> Listing:
        levels = (path / "grey.levels").read_text().split()
        return Listing("levels", path, "level", levels, [f"p{level}" for level in levels], np.zeros(3, np.int8))

    def opened(root: Path) -> tuple[Read, Stamp]:
        return lambda name, notes: np.full((8, 8, 3), int(name), np.uint8), lambda name: "unchanged"

    module = ModuleType("levels")
    source = Source(lambda path: (path / "grey.levels").exists(), listed, readers={"level": opened})
    monkeypatch.setattr(module, "SOURCE", source, raising=False)
    monkeypatch.setitem(sys.modules, "fastpath.ingest.sources.levels", module)
    before = dict(KINDS)
    monkeypatch.setattr("fastpath.ingest.sources.KINDS", {"levels": "levels", **before})
    monkeypatch.setattr("fastpath.ingest.readers.KINDS", {"levels": "levels", **before})
    assert detect(tmp_path) == "levels"
    listing = list_source(tmp_path)
    assert listing.ids == ["p10", "p200", "p30"]
    read, stamp = open_reader(listing.reader, listing.root, resize_px=4)
    assert read("200", Counter()).shape == (4, 4, 3)
    assert stamp("200") == "unchanged"
    with pytest.raises(UsageError, match="wanted one of levels, kaggle"):
        list_source(tmp_path, kind="unheard of")
    with pytest.raises(UsageError, match="which has labels of its own"):
        list_source(tmp_path, labels=tmp_path / "labels.csv")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_source_and_a_row_of_the_documentation(kind: str) -> None:
    assert isinstance(source_of(kind), Source)
    page = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert f"| `{kind}` |" in page
