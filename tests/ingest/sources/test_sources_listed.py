"""Tables are joined on id and never believed; folders hold what they should and nothing that leads out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastpath.errors import DataError
from fastpath.ingest.sources import list_source

IDS = ["b", "a", "d", "c"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Kaggle folder of four small patches, labelled in the order b a d c."""
    root = tmp_path / "kaggle"
    (root / "train").mkdir(parents=True)
    for value, name in enumerate(IDS):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(root / "train" / f"{name}.tif")
    (root / "train_labels.csv").write_text("id,label\nb,0\na,1\nd,1\nc,0\n")
    return root


def test_rows_come_in_the_order_of_the_labels(folder: Path) -> None:
    listing = list_source(folder)
    assert (listing.kind, listing.ids, listing.labels_N.tolist()) == ("kaggle", IDS, [0, 1, 1, 0])
    assert list(listing.names) == [f"train/{name}.tif" for name in IDS]
    assert listing.groups is None


def test_without_labels_rows_come_sorted_and_unlabelled(folder: Path) -> None:
    (folder / "train_labels.csv").unlink()
    for listing in (list_source(folder), list_source(folder / "train")):
        assert listing.ids == sorted(IDS)
        assert listing.labels_N.tolist() == [-1] * 4


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffid,label\nb,0\na,1\nd,1\nc,0\n",
        '"id","label"\n"b","0"\n"a","1"\n"d","1"\n"c","0"\n',
        "id,label\r\nb,0\r\na,1\r\nd,1\r\nc,0\r\n",
        "label,note,id\n0,x,b\n1,,a\n1,,d\n0,,c\n",
        " id , label \n b , 0 \na, 1\n\nd,1\nc,0",
    ],
    ids=["byte order mark", "quotes", "CRLF", "more columns", "spaces and a blank line"],
)
def test_harmless_ways_to_write_a_table(folder: Path, text: str) -> None:
    (folder / "train_labels.csv").write_bytes(text.encode())
    listing = list_source(folder)
    assert (listing.ids, listing.labels_N.tolist()) == (IDS, [0, 1, 1, 0])


WRONG_LABELS = {
    "empty file": (b"", "wanted 'id,label'"),
    "no header": (b"b,0\na,1\n", "wanted 'id,label'"),
    "bars": (b"id|label\nb|0\n", "wanted 'id,label'"),
    "duplicate id": (b"id,label\nb,0\na,1\nd,1\nc,0\nb,0\n", "found id 'b' twice"),
    "empty id": (b"id,label\n,0\nb,0\na,1\nd,1\nc,0\n", "found id ''"),
    "id with a slash": (b"id,label\n../../etc/passwd,0\n", "found id '../../etc/passwd', wanted a plain name"),
    "id of dots": (b"id,label\n..,0\n", "found id '..'"),
    "id with a backslash": (b"id,label\na\\x,0\n", "wanted a plain name"),
    "id with a zero byte": (b"id,label\na\0b,0\n", ""),
    "id over two lines": (b'id,label\n"a\nb",0\n', "wanted a plain name"),
    "label 2": (b"id,label\nb,2\n", "found label '2' of id 'b', wanted 0 or 1"),
    "label -1": (b"id,label\nb,-1\n", "wanted 0 or 1"),
    "label nan": (b"id,label\nb,NaN\n", "found label 'NaN'"),
    "label 1.0": (b"id,label\nb,1.0\n", "found label '1.0'"),
    "label empty": (b"id,label\nb,\n", "found label ''"),
    "label true": (b"id,label\nb,true\n", "found label 'true'"),
    "line too short": (b"id,label\nb\n", "line 2: found 1 values, wanted 2"),
    "line too long": (b"id,label\nb,0,0\n", "line 2: found 3 values, wanted 2"),
    "open quote": (b'id,label\n"b,0\na,1\n', "is not CSV"),
    "Latin-1": (b"id,label\n\xe9,0\n", "is not CSV in UTF-8"),
    "UTF-16 without a byte order mark": ("id,label\nb,0\n".encode("utf-16-le"), "is not CSV in UTF-8"),
    "unknown id": (b"id,label\nb,0\na,1\nd,1\nc,0\ne,1\n", "found 1 ids without a file"),
    "missing id": (b"id,label\nb,0\na,1\nd,1\n", "lacks 1 ids of files"),
}


@pytest.mark.parametrize("fault", WRONG_LABELS)
def test_a_wrong_label_table_is_a_named_error(folder: Path, fault: str) -> None:
    content, message = WRONG_LABELS[fault]
    (folder / "train_labels.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        list_source(folder)
    assert message in str(caught.value)
    assert "train_labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_groups_are_joined_on_id_whatever_their_order(folder: Path) -> None:
    (folder / "groups.csv").write_text("id,wsi\nc,s2\nb,s1\nelsewhere,s9\nd,s1\na,s2\n")
    assert list_source(folder).groups == ["s1", "s2", "s1", "s2"]
    (folder / "groups.csv").rename(folder / "slides.csv")
    assert list_source(folder).groups is None
    assert list_source(folder, groups=folder / "slides.csv").groups == ["s1", "s2", "s1", "s2"]


def test_patches_without_a_group(folder: Path) -> None:
    (folder / "groups.csv").write_text("id,wsi\nb,s1\nd,s1\na,s2\n")
    with pytest.raises(DataError, match=r"lacks 1 of 4 ids \(first: 'c'\).*--orphans own-group or --orphans drop"):
        list_source(folder)
    alone = list_source(folder, orphans="own-group")
    assert alone.groups == ["s1", "s2", "s1", "orphan-c"]
    dropped = list_source(folder, orphans="drop")
    assert (dropped.ids, dropped.groups, dropped.labels_N.tolist()) == (["b", "a", "d"], ["s1", "s2", "s1"], [0, 1, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,wsi\nb,s1\na,s1\nd,s1\nc,\n", "found no group for id 'c'"),
        ("id,wsi\nb,s1\na,s1\nd,s1\nc,s1\nb,s2\n", "found id 'b' in groups 's1' and 's2'"),
        ("id,label\nb,1\n", "wanted 'id,wsi'"),
    ],
)
def test_a_wrong_group_table_is_a_named_error(folder: Path, text: str, message: str) -> None:
    (folder / "groups.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        list_source(folder)
    assert message in str(caught.value)


def test_links_may_not_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "c.tif").rename(tmp_path / "elsewhere.tif")
    (folder / "train" / "c.tif").symlink_to(tmp_path / "elsewhere.tif")
    with pytest.raises(DataError, match=r"c\.tif: is a symbolic link out of its folder"):
        list_source(folder)


def test_links_within_the_folder_and_to_the_folder_are_fine(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "c.tif").rename(folder / "train" / "kept.data")
    (folder / "train" / "c.tif").symlink_to("kept.data")
    (tmp_path / "linked").symlink_to(folder)
    assert list_source(tmp_path / "linked").ids == IDS


def test_two_files_of_one_id(folder: Path) -> None:
    Image.new("RGB", (8, 8)).save(folder / "train" / "c.png")
    with pytest.raises(DataError, match="wanted one file for id 'c'"):
        list_source(folder)


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing, wanted a folder"):
        list_source(tmp_path / "absent")
    with pytest.raises(DataError, match="found no patches"):
        list_source(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="found a file"):
        list_source(tmp_path / "file")
