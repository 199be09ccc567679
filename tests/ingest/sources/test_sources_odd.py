"""Folders and tables as people have them: each is read, or refused in one line that names the file and the remedy."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from fastpath.cli.main import app
from fastpath.errors import DataError, FastpathError
from fastpath.ingest.sources import list_source
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.sources.unlabelled import refuse_forgotten
from fastpath.system.litter import is_litter
from fastpath.workflows.predict import submission
from fastpath.workflows.slide import slide_pool

TABLE = "id,label\nb,0\na,1\nd,1\nc,0\n"
LABELS = {"a": 1, "b": 0, "c": 0, "d": 1}
PATCHES = {f"train/{name}.tif": b"" for name in "abcd"}  # a listing reads no pixels
BESIDE = {f"{name}.tif": b"" for name in "abcd"}

Files = Mapping[str, bytes | str]


def made(root: Path, files: Files) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def listed(source: Path, **options: Any) -> Listing:
    listing = list_source(source, **options)
    refuse_forgotten(listing, source)
    return listing


def labels_of(listing: Listing) -> dict[str, int]:
    return dict(zip(listing.ids, listing.labels_N.tolist(), strict=True))


def refused(source: Path, *fragments: str, **options: Any) -> None:
    """Refused in one line, which holds these texts, whatever terminal it is printed to."""
    with pytest.raises(FastpathError) as caught:
        listed(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.encode("utf-8", "strict")
    assert caught.value.exit_status == 2
    for fragment in fragments:
        assert fragment in text, text


def zipped(files: Files) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, packed_file in files.items():
            archive.writestr(name, packed_file)
    return content.getvalue()


def parquet(columns: Mapping[str, Any]) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), content)
    return content.getvalue()


# Label tables that are read, by what is odd about them: the file's name and its bytes.
READ: dict[str, tuple[str, bytes]] = {
    "plain": ("train_labels.csv", TABLE.encode()),
    "byte order mark": ("train_labels.csv", b"\xef\xbb\xbf" + TABLE.encode()),
    "UTF-16, little-endian": ("train_labels.csv", TABLE.encode("utf-16")),
    "UTF-16, big-endian": ("train_labels.csv", b"\xfe\xff" + TABLE.encode("utf-16-be")),
    "a spreadsheet's Unicode text": ("train_labels.csv", TABLE.replace(",", "\t").encode("utf-16")),
    "semicolons": ("train_labels.csv", TABLE.replace(",", ";").encode()),
    "tabs": ("train_labels.csv", TABLE.replace(",", "\t").encode()),
    "semicolons with commas in a note": ("train_labels.csv", b'id;label;note\nb;0;x,y\na;1;"p;q"\nd;1;\nc;0;,\n'),
    "CRLF": ("train_labels.csv", TABLE.replace("\n", "\r\n").encode()),
    "CR alone": ("train_labels.csv", TABLE.replace("\n", "\r").encode()),
    "quotes": ("train_labels.csv", b'"id","label"\n"b","0"\n"a","1"\n"d","1"\n"c","0"\n'),
    "blanks around": ("train_labels.csv", b" id , label \n b , 0\na ,1 \n d,1\nc, 0\n"),
    "blank lines": ("train_labels.csv", b"id,label\n\nb,0\na,1\n\n  \nd,1\nc,0\n\n"),
    "lines of separators alone at the end": ("train_labels.csv", TABLE.encode() + b",,,\n,,,\n"),
    "no end of the last line": ("train_labels.csv", TABLE.rstrip().encode()),
    "more columns": ("train_labels.csv", b"note,label,id\nx,0,b\n,1,a\n,1,d\n,0,c\n"),
    "a number before each row": ("train_labels.csv", b",id,label\n0,b,0\n1,a,1\n2,d,1\n3,c,0\n"),
    "capital names of columns": ("train_labels.csv", TABLE.replace("id,label", "ID,Label").encode()),
    "gzip": ("train_labels.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
    "bzip2": ("train_labels.csv.bz2", bz2.compress(TABLE.encode())),
    "xz": ("train_labels.csv.xz", lzma.compress(TABLE.encode())),
    "zip": ("train_labels.csv.zip", zipped({"train_labels.csv": TABLE})),
    "zip with a folder": ("train_labels.csv.zip", zipped({"data/": "", "data/train_labels.csv": TABLE})),
    "zip of macOS": ("train_labels.csv.zip", zipped({"l.csv": TABLE, "__MACOSX/._l.csv": "x", ".DS_Store": "x"})),
    "gzip under the plain name": ("train_labels.csv", gzip.compress(TABLE.encode(), mtime=0)),
}


@pytest.mark.parametrize("oddity", READ)
@pytest.mark.parametrize("layout", ["kaggle", "folder"])
def test_label_tables_that_are_read(tmp_path: Path, oddity: str, layout: str) -> None:
    name, content = READ[oddity]
    source = made(tmp_path, {**(PATCHES if layout == "kaggle" else BESIDE), name: content})
    listing = listed(source)
    assert (listing.kind, labels_of(listing)) == (layout, LABELS)
    assert listing.ids == ["b", "a", "d", "c"], "in the table's order"
    assert labels_of(listed(source, labels=source / name)) == LABELS


# Label tables that are refused: the bytes, and what the line says.
REFUSED: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("wanted 'id,label'", "give a table")),
    "no header": (b"b,0\na,1\nd,1\nc,0\n", ("'b,0'", "no header")),
    "no header, semicolons": (b"b;0\na;1\nd;1\nc;0\n", ("no header",)),
    "other columns": (b"image,y\na,1\n", ("'image,y'", "wanted 'id,label'")),
    "bars": (b"id|label\na|1\n", ("'id|label'",)),
    "a column twice": (b"id,label,label\nb,0,1\n", ("found 2 columns 'label'", "rename")),
    "a column twice but for capitals": (b"Id,ID,label\nb,x,0\n", ("found 2 columns",)),
    "contradiction": (TABLE.encode() + b"b,1\n", ("line 6: found id 'b' with label 1, and with 0 before (line 2)",)),
    "repetition": (
        TABLE.encode() + b"b,0\n",
        ("line 6: found id 'b' twice, wanted each id once (before in line 2)", "remove one"),
    ),
    "text": (TABLE.replace("a,1", "a,tumor").encode(), ("line 3: found label 'tumor' of id 'a'", "1 where")),
    "floats": (TABLE.replace("a,1", "a,1.0").encode(), ("line 3: found label '1.0'", "whole numbers 0 and 1")),
    "booleans": (TABLE.replace("a,1", "a,True").encode(), ("line 3: found label 'True'", "whole numbers 0 and 1")),
    "not a number": (TABLE.replace("a,1", "a,NaN").encode(), ("line 3: found label 'NaN'", "give it a label")),
    "nothing": (TABLE.replace("a,1", "a,").encode(), ("line 3: found label ''", "give it a label")),
    "a third class": (TABLE.replace("a,1", "a,2").encode(), ("line 3: found label '2'", "wanted 0 or 1")),
    "minus one": (TABLE.replace("a,1", "a,-1").encode(), ("line 3: found label '-1'",)),
    "full-width digits": (TABLE.replace("a,1", "a,\uff11").encode(), ("line 3: found label",)),
    "a long label": (TABLE.replace("a,1", f"a,{'x' * 5000}").encode(), ("line 3: found label",)),
    "a line too short": (TABLE.replace("a,1", "a").encode(), ("line 3: found 1 values, wanted 2",)),
    "a line too long": (TABLE.replace("a,1", "a,1,").encode(), ("line 3: found 3 values, wanted 2",)),
    "after a cell over two lines": (b'id,label,n\nb,0,"x\ny"\na,9,\n', ("line 4: found label '9'",)),
    "an open quote": (b'id,label\n"b,0\na,1\n', ("is not CSV",)),
    "zero bytes": (b"id,label\nb\0,0\n", ("id 'b\\x00'",)),
    "UTF-16 without a byte order mark": (TABLE.encode("utf-16-le"), ("zero bytes in line 1", "UTF-8")),
    "UTF-16, cut": (TABLE.encode("utf-16")[:-1], ("is not CSV",)),
    "Latin-1": (TABLE.replace("a,1", "\xe9,1").encode("latin-1"), ("not CSV in UTF-8 (line 3, byte 0xe9)",)),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0", ("is not CSV in UTF-8",)),
    "Parquet by another name": (parquet({"id": ["a"], "label": [1]}), ("train_labels.csv",)),
    "a workbook": (zipped({"[Content_Types].xml": "", "xl/workbook.xml": ""}), ("a workbook", "save it as CSV")),
    "a zip of two tables": (zipped({"a.csv": TABLE, "b.csv": TABLE}), ("found 2 files in this zip",)),
    "a zip of nothing": (zipped({}), ("train_labels.csv",)),
    "a damaged zip": (zipped({"a.csv": TABLE})[:40], ("cannot be unpacked",)),
    "a damaged gzip": (gzip.compress(TABLE.encode(), mtime=0)[:-9], ("cannot be unpacked",)),
    "a gzip of a picture": (gzip.compress(b"\x89PNG\r\n\x1a\n", mtime=0), ("is not CSV in UTF-8",)),
    "one long line": (b"id,label," + b"x" * (1 << 20), ("found a line of",)),
    "a bomb": (gzip.compress(b"id,label\n" + bytes(1 << 22), mtime=0), ("line 2: found a line of",)),
    "an id with a path": (b"id,label\n../../etc/passwd,0\n", ("found id '../../etc/passwd'",)),
    "an id of dots": (b"id,label\n..,0\n", ("found id '..'",)),
    "an id over two lines": (b'id,label\n"b\nb",0\n', ("found id 'b\\nb'",)),
}


@pytest.mark.parametrize("oddity", REFUSED)
def test_label_tables_that_are_refused(tmp_path: Path, oddity: str) -> None:
    content, fragments = REFUSED[oddity]
    source = made(tmp_path, {**PATCHES, "train_labels.csv": content})
    refused(source, "train_labels.csv", *fragments)


# Ids and files that do not meet: names of files, the table's ids, and what the line says.
UNMET: dict[str, tuple[list[str], list[str], tuple[str, ...]]] = {
    "suffixes": (["a", "b"], ["a.tif", "b.tif"], ("2 of 2 would match but for endings such as '.tif'",)),
    "suffixes of another format": (["a", "b"], ["a.PNG", "b.PNG"], ("2 of 2 would match but for endings",)),
    "OME": (["a.ome", "b.ome"], ["a", "b"], ("2 of 2 would match but for endings",)),
    "folders": (["a", "b"], ["train/a", "train/b"], ("2 of 2 would match but for the folders before ids",)),
    "folders of Windows": (["a", "b"], ["train\\a", "train\\b"], ("but for the folders before ids",)),
    "folders and suffixes": (["a", "b"], ["t/a.tif", "t/b.tif"], ("but for the folders before ids and endings",)),
    "capitals": (["a1f", "b2f"], ["A1F", "B2F"], ("2 of 2 would match but for capital letters",)),
    "zeros": (["0001", "0002"], ["1", "2"], ("2 of 2 would match but for zeros before numbers",)),
    "numbers with a point": (["0001", "0002"], ["1.0", "2.0"], ("2 of 2 would match but for zeros",)),
    "NFD files": (["e\u0301", "b"], ["\u00e9", "b"], ("1 of 1 would match but for the Unicode form",)),
    "NFC files": (["\u00e9", "b"], ["e\u0301", "b"], ("1 of 1 would match but for the Unicode form",)),
    "blanks within": (["a1", "b2"], ["a 1", "b 2"], ("2 of 2 would match but for blanks and quotes",)),
    "blanks in files' names": (["a ", "b "], ["a", "b"], ("2 of 2 would match but for blanks",)),
    "invisible characters": (["a", "b"], ["a\u200b", "b"], ("1 of 1 would match but for blanks",)),
    "quotes of another kind": (["a", "b"], ["'a'", "'b'"], ("2 of 2 would match but for blanks and quotes",)),
    "some of them": (["a", "b", "c"], ["a.tif", "b", "x"], ("found 2 ids", "1 of 2 would match but for endings")),
    "capitals that would be ambiguous": (["a", "A"], ["Á", "x"], ("found 2 ids without a file", "restore")),
    "others altogether": (["a", "b"], ["x", "y"], ("found 2 ids without a file", "restore the files or remove")),
    "one too many": (["a", "b"], ["a", "b", "c"], ("line 4: found 1 ids without a file", "restore")),
    "one too few": (["a", "b", "c"], ["a", "b"], ("lacks 1 ids of files", "'c'", "add those labels")),
}


@pytest.mark.parametrize("oddity", UNMET)
def test_ids_that_do_not_meet_say_what_would_mend_them(tmp_path: Path, oddity: str) -> None:
    names, ids, fragments = UNMET[oddity]
    lines = "".join(f"{name},{at % 2}\n" for at, name in enumerate(ids))
    source = made(tmp_path, {**{f"train/{name}.tif": b"" for name in names}, "train_labels.csv": "id,label\n" + lines})
    refused(source, "train_labels.csv", *fragments)


@pytest.mark.parametrize("option", ["groups", "only"])
def test_other_tables_say_what_would_mend_them_too(tmp_path: Path, option: str) -> None:
    source = made(tmp_path, {**BESIDE, "more.csv": "id,wsi\n" + "".join(f"{name}.tif,s\n" for name in "abcd")})
    refused(source, "more.csv", "4 of 4 would match but for endings", **{option: source / "more.csv"})


@pytest.mark.parametrize("orphans", ["own-group", "drop"])
@pytest.mark.parametrize(
    ("suffix", "remedy"), [(".tif", "4 of 4 would match but for endings"), ("x", "give the groups")]
)
def test_groups_of_no_patch_are_another_sources(tmp_path: Path, orphans: str, suffix: str, remedy: str) -> None:
    table = "id,wsi\n" + "".join(f"{name}{suffix},s\n" for name in "abcd")
    refused(made(tmp_path, {**BESIDE, "groups.csv": table}), "lacks 4 of 4 ids", remedy, orphans=orphans)


# Labels that lie about unasked: what is there, what is given as the source, and what the line names.
FORGOTTEN: dict[str, tuple[Files, str, str]] = {
    "a second download": ({**PATCHES, "train_labels (1).csv": TABLE}, "", "train_labels (1).csv"),
    "with the patches": ({**PATCHES, "train/train_labels.csv": TABLE}, "", "train/train_labels.csv"),
    "with the patches, zipped": (
        {**PATCHES, "train/train_labels.csv.zip": zipped({"a": TABLE})},
        "",
        "train_labels.csv.zip",
    ),
    "one level up": ({**PATCHES, "train_labels.csv": TABLE}, "train", "train_labels.csv"),
    "one level up, gzip": (
        {**PATCHES, "labels.csv.gz": gzip.compress(TABLE.encode(), mtime=0)},
        "train",
        "labels.csv.gz",
    ),
    "another name": ({**BESIDE, "labels.csv": TABLE}, "", "labels.csv"),
    "another name and other columns": ({**BESIDE, "meta.csv": "image_id,target\na,1\n"}, "", "meta.csv"),
    "tabs": ({**BESIDE, "truth.tsv": "file\ttumor\na.tif\t1\n"}, "", "truth.tsv"),
    "no header": ({**BESIDE, "labels.txt": "a,1\nb,0\n"}, "", "labels.txt"),
    "a workbook": ({**BESIDE, "labels.xlsx": zipped({"[Content_Types].xml": ""})}, "", "labels.xlsx"),
    "Parquet": ({**BESIDE, "labels.parquet": parquet({"id": ["a"], "label": [1]})}, "", "labels.parquet"),
    "a damaged table": ({**BESIDE, "train_labels_v2.csv": b"\x80"}, "", "train_labels_v2.csv"),
    "a table without them": (
        {**BESIDE, "patches.csv": "path\na.tif\n", "labels.csv": "id,label\na,1\n"},
        "patches.csv",
        "labels.csv",
    ),
}


@pytest.mark.parametrize("oddity", FORGOTTEN)
def test_labels_are_not_forgotten(tmp_path: Path, oddity: str) -> None:
    files, source, name = FORGOTTEN[oddity]
    refused(made(tmp_path, files) / source, "found no labels", f"{name} looks like a table of them")


UNLABELLED: dict[str, tuple[Files, str]] = {
    "nothing about": (BESIDE, ""),
    "Kaggle's test": (
        {"test/x.tif": b"", "train_labels.csv": TABLE, "sample_submission.csv": "id,label\nx,0\n"},
        "test",
    ),
    "a submission": ({**BESIDE, "submission.csv": "id,label\na,0.5\n"}, ""),
    "a workbook one level up": ({**PATCHES, "labels.xlsx": zipped({"[Content_Types].xml": ""})}, "train"),
    "a table whose labels are empty": ({**BESIDE, "patches.csv": "path,label\na.tif,\n"}, "patches.csv"),
    "a mined table": ({**BESIDE, "mined.csv": "id,label,weight\na,1,2.0\n"}, ""),
    "groups": ({**BESIDE, "groups.csv": "id,wsi\na,s\nb,s\nc,s\nd,s\n"}, ""),
    "a table of something else": ({**BESIDE, "labels_of_other_patches.csv": "id,label\nx,1\n"}, ""),
    "litter of a label table": ({**BESIDE, "._train_labels.csv": b"\0", "train_labels.csv~": TABLE}, ""),
}


@pytest.mark.parametrize("oddity", UNLABELLED)
def test_what_has_no_labels_is_taken_without_them(tmp_path: Path, oddity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, source = UNLABELLED[oddity]
    assert set(listed(made(tmp_path, files) / source).labels_N.tolist()) == {-1}
    monkeypatch.chdir(tmp_path)
    assert set(listed(Path(source or ".")).labels_N.tolist()) == {-1}


def test_a_table_may_leave_out_some_labels(tmp_path: Path) -> None:
    files = {**BESIDE, "patches.csv": "path,label\na.tif,\nb.tif,1\n", "labels.csv": TABLE}
    assert labels_of(listed(made(tmp_path, files) / "patches.csv")) == {"a": -1, "b": 1}


@pytest.mark.parametrize("name", ["train_labels (1).csv", "train_labels.csv.zip", "train/labels.csv"])
def test_labels_behind_a_url_are_not_forgotten(name: str) -> None:
    fsspec = pytest.importorskip("fsspec")
    system, root = fsspec.filesystem("memory"), f"/odd/{name.replace('/', '-')}"
    try:
        for path in (*PATCHES, name):
            system.pipe_file(f"{root}/{path}", b"")
        refused(Path(f"memory:/{root}"), "found no labels", name.rpartition("/")[2], "--labels")
    finally:
        system.rm("/odd", recursive=True)


LITTER = (
    "._a.tif",
    ".DS_Store",
    ".hidden.png",
    "Thumbs.db",
    "desktop.ini",
    "__MACOSX",
    "@eaDir",
    ".ipynb_checkpoints",
    "$RECYCLE.BIN",
    "#recycle",
    "a.tif~",
    "a.csv.bak",
    "#a.csv#",
    ".a.csv.swp",
    "~$labels.xlsx",
    "a.tif.part",
    "SYNOFILE_THUMB_M.jpg",
)


@pytest.mark.parametrize("name", LITTER)
def test_litter_is_no_patch_wherever_it_lies(tmp_path: Path, name: str) -> None:
    assert is_litter(name)
    odd = {f"train/{name}/a.tif": b""} if "." not in name or name.startswith(".ipynb") else {f"train/{name}": b"x"}
    assert labels_of(listed(made(tmp_path / "k", {**PATCHES, "train_labels.csv": TABLE, **odd}))) == LABELS
    odd = {f"{name}/a.tif": b"", f"0/{name}/a.tif": b""} if "." not in name else {f"0/{name}": b"x", f"1/{name}": b"x"}
    classes = listed(made(tmp_path / "c", {"0/a.tif": b"", "1/b.tif": b"", **odd}))
    assert (classes.kind, labels_of(classes)) == ("classes", {"a": 0, "b": 1})


@pytest.mark.parametrize("name", ["a.tif", "0123456789abcdef.png", "tile-1_2.jpg", "part.tif", "bak.tif", "normal"])
def test_what_is_no_litter(name: str) -> None:
    assert not is_litter(name)


def test_litter_that_ends_like_patches_is_told(tmp_path: Path) -> None:
    source = made(
        tmp_path / "k", {**PATCHES, "train_labels.csv": TABLE, **{f"train/._{name}.tif": b"" for name in "abcd"}}
    )
    (notice,) = listed(source).notices
    assert notice.startswith("4 files were left out as litter")
    assert "'._a.tif'" in notice
    table = (
        made(tmp_path / "t", {"patches.csv": "path,label\na.tif,1\n._a.tif,1\n__MACOSX/b.tif,0\nb.tif,0\n"})
        / "patches.csv"
    )
    listing = listed(table)
    assert labels_of(listing) == {"a": 1, "b": 0}
    assert listing.notices[0].startswith("2 rows were left out as litter")


def test_a_folder_that_is_named_like_a_patch_is_none(tmp_path: Path) -> None:
    source = made(tmp_path, {**PATCHES, "train/e.tif/x": b"", "train_labels.csv": TABLE})
    assert labels_of(listed(source)) == LABELS


# Sources without patches: what is there, and what the line says of it.
NOTHING: dict[str, tuple[Files, tuple[str, ...]]] = {
    "nothing": ({}, ("found no patches, wanted",)),
    "litter alone": ({"._a.tif": b"", "Thumbs.db": b""}, ("found no patches, wanted",)),
    "one level too high": ({"kaggle/train/a.tif": b""}, ("patches in kaggle/train/", "/kaggle")),
    "a nested folder": ({"patches/a.png": b""}, ("patches in patches/", "/patches")),
    "two classes below train": (
        {"train/0/a.tif": b"", "train/1/b.tif": b""},
        ("train/0/, patches in train/1/", "/train"),
    ),
    "many classes": ({f"x/c{at}/a.tif": b"" for at in range(4)}, ("patches in x/c0/", "give one of these folders")),
    "classes alone": ({f"c{at}/a.tif": b"" for at in range(4)}, ("found class folders 'c0, c1, c2, c3'",)),
    "packed HDF5": ({"camelyonpatch_level_2_split_train_x.h5.gz": b""}, (".h5.gz", "gunzip")),
    "HDF5 below": ({"pcam/camelyonpatch_level_2_split_train_x.h5": b""}, ("a file .h5", "/pcam")),
    "HDF5 of another name": ({"train_x.h5": b""}, (".h5", "PatchCamelyon names them")),
    "an archive": ({"train.zip": b""}, ("a file .zip", "unpack train.zip first")),
    "a tar": ({"train.tar.gz": b""}, ("a file .tar.gz", "unpack train.tar.gz first")),
    "other pictures": ({"a.bmp": b"", "b.bmp": b""}, ("2 .bmp files", "convert")),
    "slides": ({"a.svs": b""}, ("a file .svs",)),
    "a store below": ({"store/manifest.json": b"", "store/index.parquet": b""}, ("give the store", "/store")),
    "an empty train": ({"train/readme": b"", "train_labels.csv": TABLE}, ("train: found no patches", "a file readme")),
    "classes of which one is empty": ({"0/a.tif": b"", "1/readme": b""}, ("patches in 0/",)),
}


@pytest.mark.parametrize("oddity", NOTHING)
def test_what_is_found_in_place_of_patches_is_named(tmp_path: Path, oddity: str) -> None:
    files, fragments = NOTHING[oddity]
    (tmp_path / "source").mkdir()
    refused(made(tmp_path / "source", files), *fragments)


@pytest.mark.parametrize(
    ("name", "fragment"), [("a.zip", "unpack it"), ("a.h5", "give the folder"), ("a.tif", "give the folder")]
)
def test_a_file_is_no_source(tmp_path: Path, name: str, fragment: str) -> None:
    refused(made(tmp_path, {name: b""}) / name, "found a file", fragment)


PATHS = ["a.tif", "b.tif"]
STRUCT = pa.array([{"label": 1}, {"label": 0}])
PARQUET: dict[str, dict[str, Any]] = {
    "plain": {"path": PATHS, "label": [1, 0]},
    "embeddings": {"path": PATHS, "label": [1, 0], "embedding": [[0.1, 0.2], [0.3, 0.4]]},
    "structs": {"path": PATHS, "label": [1, 0], "about": STRUCT},
    "maps": {"path": PATHS, "label": [1, 0], "m": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64()))},
    "bytes": {"path": PATHS, "label": [1, 0], "thumbnail": [b"\xff\xd8", b"\xff\xd8"]},
    "dictionaries": {"path": pa.array(PATHS).dictionary_encode(), "label": pa.array(["1", "0"]).dictionary_encode()},
    "categories of numbers": {"path": PATHS, "label": pa.array([1, 0]).dictionary_encode()},
    "large strings": {"path": pa.array(PATHS, pa.large_string()), "label": pa.array([1, 0], pa.uint8())},
    "binary text": {"path": pa.array([name.encode() for name in PATHS]), "label": [1, 0]},
    "floats": {"path": PATHS, "label": [1.0, 0.0]},
    "booleans": {"path": PATHS, "label": [True, False]},
    "timestamps": {"path": PATHS, "label": [1, 0], "when": pa.array([0, 1], pa.timestamp("ns", "UTC"))},
    "capital names": {"Path": PATHS, "LABEL": [1, 0]},
}


@pytest.mark.parametrize("oddity", PARQUET)
def test_parquet_tables_that_are_read(tmp_path: Path, oddity: str) -> None:
    table = made(tmp_path, {"patches.parquet": parquet(PARQUET[oddity])}) / "patches.parquet"
    assert labels_of(listed(table)) == {"a": 1, "b": 0}


WRONG_PARQUET: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "no paths": (parquet({"file": PATHS}), ("found columns 'file', wanted 'path'",)),
    "a nested path": (parquet({"path": [["a.tif"], ["b.tif"]]}), ("found a column of type list<",)),
    "a nested label": (parquet({"path": PATHS, "label": STRUCT}), ("found a column of type struct<",)),
    "a third class": (parquet({"path": PATHS, "label": [2, 0]}), ("row 1: found label '2'",)),
    "a share": (parquet({"path": PATHS, "label": [0.5, 0.0]}), ("row 1: found label '0.5'",)),
    "not a number": (parquet({"path": PATHS, "label": [0.0, float("nan")]}), ("row 2: found label 'nan'",)),
    "a path that is none, with an id": (parquet({"path": ["a.tif", None], "id": PATHS}), ("row 2: found path ''",)),
    "a path with a zero byte": (parquet({"path": ["a.tif", "b\0"], "id": PATHS}), ("row 2: found path 'b\\x00'",)),
    "a group of nothing": (parquet({"path": PATHS, "wsi": ["s", "NaN"]}), ("row 2: found no group for id 'b'",)),
    "a path that is none": (parquet({"path": ["a.tif", None]}), ("row 2: found path ''",)),
    "bytes that are no text": (parquet({"path": [b"\xff", b"b"]}), ("cannot be read as Parquet",)),
    "no rows": (parquet({"path": pa.array([], pa.string())}), ("found no rows",)),
    "cut": (parquet({"path": PATHS})[:-9], ("cannot be read as Parquet",)),
    "no Parquet": (b"path\na.tif\n", ("cannot be read as Parquet",)),
    "labels by another name": (parquet({"path": PATHS, "target": [1, 0]}), ("'target' looks like labels", "rename")),
}


@pytest.mark.parametrize("oddity", WRONG_PARQUET)
def test_parquet_tables_that_are_refused(tmp_path: Path, oddity: str) -> None:
    content, fragments = WRONG_PARQUET[oddity]
    refused(made(tmp_path, {"patches.parquet": content}) / "patches.parquet", "patches.parquet", *fragments)


CSV_TABLES: dict[str, tuple[str, bytes, str]] = {
    "semicolons": ("p.csv", b"path;label\na.tif;1\n", ""),
    "tabs": ("p.tsv", b"path\tlabel\na.tif\t1\n", ""),
    "gzip": ("p.csv.gz", gzip.compress(b"path,label\na.tif,1\n", mtime=0), ""),
    "UTF-16": ("p.csv", "path,label\na.tif,1\n".encode("utf-16"), ""),
    "text": ("p.txt", b"path,label\na.tif,1\n", ""),
    "a label of another name": ("p.csv", b"path,tumor\na.tif,1\n", "'tumor' looks like labels"),
    "a line too short": ("p.csv", b"path,label\na.tif,1\nb.tif\n", "line 3: found 1 values"),
    "a label that is none": ("p.csv", b"path,label\na.tif,yes\n", "line 2: found label 'yes' of id 'a'"),
}


@pytest.mark.parametrize("oddity", CSV_TABLES)
def test_tables_of_paths(tmp_path: Path, oddity: str) -> None:
    name, content, fragment = CSV_TABLES[oddity]
    table = made(tmp_path, {name: content}) / name
    if fragment:
        refused(table, name, fragment)
    else:
        assert labels_of(listed(table)) == {"a": 1}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def into(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(path.parent / target if target.startswith("..") else target)


LINKS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "out of the source": (into("../../lab/a.tif"), ("out of its folder", "--follow-symlinks")),
    "to nothing": (into("absent.tif"), ("is a symbolic link to nothing",)),
    "to itself": (into("z.tif"), ("is a symbolic link in a circle",)),
    "to a folder": (into("."), ("is a symbolic link to no file",)),
    "to a folder outside": (into("../../lab"), ("out of its folder",)),
}


@pytest.mark.parametrize("oddity", LINKS)
def test_links_that_are_refused(tmp_path: Path, oddity: str) -> None:
    make, fragments = LINKS[oddity]
    made(tmp_path / "lab", {"a.tif": b""})
    source = made(tmp_path / "source", {"train/b.tif": b""})
    make(source / "train" / "z.tif")
    refused(source, "z.tif", *fragments)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A store of patches, and folders of links into it, directly and by a link between."""
    made(tmp_path / "lab" / "deep", BESIDE)
    made(tmp_path / "source" / "train", {})
    (tmp_path / "source" / "train").mkdir(parents=True)
    for name in "abc":
        (tmp_path / "source" / "train" / f"{name}.tif").symlink_to(tmp_path / "lab" / "deep" / f"{name}.tif")
    (tmp_path / "lab" / "between.tif").symlink_to("deep/d.tif")
    (tmp_path / "source" / "train" / "d.tif").symlink_to("../../lab/between.tif")
    made(tmp_path / "source", {"train_labels.csv": TABLE})
    return tmp_path / "lab"


def test_links_are_followed_into_folders_that_are_named(lab: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    refused(source, "out of its folder", "--follow-symlinks")
    assert labels_of(listed(source, follow=[lab])) == LABELS
    assert labels_of(listed(source, follow=[lab / "deep"])) == LABELS
    (tmp_path / "alias").symlink_to(lab)
    assert labels_of(listed(source, follow=[tmp_path / "alias"])) == LABELS
    refused(source, "out of its folder", follow=[made(tmp_path / "other", {"x": b""})])
    refused(source, "--follow-symlinks: found no folder", follow=[tmp_path / "absent"])
    (tmp_path / "lab2").mkdir()
    refused(source, "out of its folder", follow=[tmp_path / "la", tmp_path / "lab2"][1:])


def test_a_link_may_not_lead_on_from_a_named_folder(lab: Path, tmp_path: Path) -> None:
    made(tmp_path / "elsewhere", {"a.tif": b""})
    (lab / "deep" / "a.tif").unlink()
    (lab / "deep" / "a.tif").symlink_to(tmp_path / "elsewhere" / "a.tif")
    refused(tmp_path / "source", "a.tif: is a symbolic link out of its folder, to", "elsewhere", follow=[lab])


@pytest.mark.parametrize("layout", ["kaggle", "classes"])
def test_a_folder_that_is_a_link_is_one_too(tmp_path: Path, layout: str) -> None:
    made(tmp_path / "lab", {"a.tif": b""})
    source = made(tmp_path / "source", {"0/b.tif": b""} if layout == "classes" else {"readme": b""})
    name = "1" if layout == "classes" else "train"
    (source / name).symlink_to(tmp_path / "lab")
    refused(source, f"{name}: is a symbolic link out of its folder", "--follow-symlinks")
    assert "a" in listed(source, follow=[tmp_path / "lab"]).ids


@pytest.mark.parametrize("option", ["labels", "groups", "only"])
def test_a_pipe_is_no_table_and_does_not_hold_us(tmp_path: Path, option: str) -> None:
    source = made(tmp_path / "source", BESIDE)
    pipe(tmp_path / "table.csv")
    refused(source, "table.csv", "regular file", **{option: tmp_path / "table.csv"})


NOT_UTF8 = os.fsdecode(b"caf\xe9.tif")


@pytest.mark.parametrize("layout", ["", "train/", "0/"])
def test_names_that_are_not_utf8_are_refused_and_shown(tmp_path: Path, layout: str) -> None:
    source = made(tmp_path, {f"{layout}a.tif": b"", "1/b.tif" if layout == "0/" else f"{layout}b.tif": b""})
    (source / layout / NOT_UTF8).write_bytes(b"")
    refused(source, "not UTF-8", "caf\\xe9.tif", "rename it")


@pytest.mark.parametrize("name", [b"a\nlabels.csv", b"labels\xe9.csv", b"labels [red].csv", b"labels $(x).csv"])
def test_odd_names_are_told_in_one_line(tmp_path: Path, name: bytes) -> None:
    source = made(tmp_path / "a", BESIDE)
    (source / os.fsdecode(name)).write_text(TABLE)
    refused(source, "found no labels", "--labels '")
    (tmp_path / "b" / os.fsdecode(name.replace(b".csv", b""))).mkdir(parents=True)
    (tmp_path / "b" / os.fsdecode(name.replace(b".csv", b"")) / "c.tif").write_bytes(b"")
    refused(tmp_path / "b", "found no patches but patches in")
    made(tmp_path / "b", {"x/c.tif": b"", "y/c.tif": b""})
    refused(tmp_path / "b", "found class folders")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / os.fsdecode(name)).write_bytes(b"")
    refused(tmp_path / "c", "found no patches but a file .csv")


def test_files_of_other_names_may_have_any(tmp_path: Path) -> None:
    source = made(tmp_path, {**PATCHES, "train_labels.csv": TABLE})
    (source / "train" / os.fsdecode(b"notes\xe9.txt")).write_bytes(b"")
    (source / os.fsdecode(b"labels\xe9.doc")).write_bytes(b"")
    assert labels_of(listed(source)) == LABELS


def test_an_id_in_either_unicode_form_is_kept_as_the_file_has_it(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "né")
    assert listed(made(tmp_path, {f"{name}.tif": b""})).ids == [name]


STEM = "camelyonpatch_level_2_split_{}_{}.h5"


def pcam(folder: Path, *parts: str, labelled: tuple[str, ...] | None = None) -> Path:
    h5py = pytest.importorskip("h5py")
    folder.mkdir(exist_ok=True)
    for part in parts:
        with h5py.File(folder / STEM.format(part, "x"), "w") as file:
            file["x"] = np.zeros((4, 8, 8, 3), np.uint8)
        if part in (parts if labelled is None else labelled):
            with h5py.File(folder / STEM.format(part, "y"), "w") as file:
                file["y"] = np.array([0, 1, 1, 0], np.uint8).reshape(-1, 1, 1, 1)
    return folder


def test_patchcamelyons_labels_are_read_from_a_gz(tmp_path: Path) -> None:
    source = pcam(tmp_path, "train", "valid")
    for path in list(source.glob("*_y.h5")):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    assert listed(source).labels_N.tolist() == [0, 1, 1, 0] * 2


@pytest.mark.parametrize("name", ["_y (1).h5", "_y.h5.zip", "_y.hdf5", "_labels.h5"])
def test_patchcamelyons_labels_are_not_forgotten(tmp_path: Path, name: str) -> None:
    source = pcam(tmp_path, "train", labelled=())
    (source / f"camelyonpatch_level_2_split_train{name}").write_bytes(b"")
    refused(source, "found no labels of its part 'train'", name, "_train_y.h5")


def test_patchcamelyon_labelled_in_part_is_refused_and_without_any_taken(tmp_path: Path) -> None:
    refused(pcam(tmp_path / "a", "train", "valid", labelled=("train",)), "none of 'valid'", "download")
    assert set(listed(pcam(tmp_path / "b", "train", labelled=())).labels_N.tolist()) == {-1}


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b", gzip.compress(b"x", mtime=0), gzip.compress(b"\x89HDF\r\n\x1a\n", mtime=0)]
)
def test_patchcamelyons_damaged_labels(tmp_path: Path, content: bytes) -> None:
    source = pcam(tmp_path, "train", labelled=())
    (source / f"{STEM.format('train', 'y')}.gz").write_bytes(content)
    refused(source, "is not a PatchCamelyon file")


def external(file: Any, secret: Path) -> None:
    file.create_dataset("x", (2, 8, 8, 3), np.uint8, external=[(str(secret), 0, 384)])


def linked(file: Any, secret: Path) -> None:
    import h5py

    file["x"] = h5py.ExternalLink(str(secret), "x")


def virtual(file: Any, secret: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((2, 8, 8, 3), np.uint8)
    layout[:] = h5py.VirtualSource(str(secret), "x", (2, 8, 8, 3))
    file.create_virtual_dataset("x", layout)


def pieces(file: Any, _: Path) -> None:
    file.create_dataset("x", (1 << 20, 96, 96, 3), np.uint8, chunks=(1 << 14, 96, 96, 3), compression="gzip")


def many(file: Any, _: Path) -> None:
    file.create_dataset("x", (1 << 40, 8, 8, 3), np.uint8, chunks=(1, 8, 8, 3))


def large(file: Any, _: Path) -> None:
    file.create_dataset("x", (1, 1 << 20, 1 << 20, 3), np.uint8, chunks=(1, 8, 8, 3))


def another(file: Any, _: Path) -> None:
    file["images"] = np.zeros((2, 8, 8, 3), np.uint8)


def group(file: Any, _: Path) -> None:
    file.create_group("x")


HOSTILE = {
    another: "no data set 'x'",
    group: "is not a PatchCamelyon file",
    external: "names another file",
    linked: "names another file",
    virtual: "names another file",
    pieces: "found chunks of",
    many: "N of at most",
    large: "H and W of at most",
}


@pytest.mark.parametrize("make", HOSTILE)
def test_hdf5_reads_no_other_file_and_fills_no_memory(tmp_path: Path, make: Callable[[Any, Path], None]) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "secret").write_bytes(bytes(range(256)) * 2)
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source" / STEM.format("train", "x"), "w") as file:
        make(file, tmp_path / "secret")
    refused(tmp_path / "source", HOSTILE[make])


def test_labels_are_asked_for_where_a_store_is_packed_only(tmp_path: Path) -> None:
    source = made(tmp_path, {**PATCHES, "labels.csv": TABLE})
    assert list_source(source).ids == ["a", "b", "c", "d"], "what is scored or compared needs none"
    with pytest.raises(DataError, match="looks like a table of them"):
        listed(source)


def test_a_sample_submission_says_what_would_mend_it(tmp_path: Path) -> None:
    sample = made(tmp_path, {"sample_submission.csv": "id;label\na.tif;0\nb.tif;0\n"}) / "sample_submission.csv"
    with pytest.raises(DataError, match=r"names 2 of 2 ids .* 2 of 2 would match but for endings"):
        submission.rows_of(sample, np.array(["a", "b"], dtype=object))
    assert submission.sample_ids(sample) == ["a.tif", "b.tif"]


def test_slides_of_litter_are_not_pooled(tmp_path: Path) -> None:
    made(tmp_path, {".ipynb_checkpoints/slide.json": "{}", "__MACOSX/slide.json": "{}"})
    with pytest.raises(DataError, match="found no"):
        slide_pool.pool_slides(tmp_path, tmp_path / "out")


def test_the_option_is_taken_by_every_command_that_lists_a_source(tmp_path: Path) -> None:
    made(tmp_path / "lab", {"a.png": b""})
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "lab" / "a.png")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.png").symlink_to(tmp_path / "lab" / "a.png")
    source, store, lab = str(tmp_path / "source"), str(tmp_path / "store"), str(tmp_path / "lab")
    for command in (["pack", source, "-o", store, "--workers", "1"], ["verify", store, "--source", source]):
        with pytest.raises(DataError, match="out of its folder"):
            CliRunner().invoke(app, command, catch_exceptions=False, standalone_mode=False)
        result = CliRunner().invoke(app, [*command, "--follow-symlinks", lab], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    for name in ("repair", "predict"):
        assert "follow" in {option.name for option in app.get_command(None, name).params}
