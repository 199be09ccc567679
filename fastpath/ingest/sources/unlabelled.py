"""Labels that lie about: the table that is read unasked, and those that look like one and would be forgotten."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastpath.errors import DataError
from fastpath.ingest.sources.columns import header_of, read_columns
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.sources.mending import plain_key
from fastpath.ingest.sources.opened import COMPRESSED, is_table
from fastpath.store.format import UNLABELLED
from fastpath.store.transfer import server_of
from fastpath.system.litter import is_litter
from fastpath.text import visible
from fastpath.urls import as_url, without_secrets

LABELS = "train_labels.csv"
MAX_FILES, MAX_TABLES, MAX_TABLE_BYTES = 300_000, 100, 1 << 29  # of a look for forgotten labels, in each folder
MATCHED = 1000  # ids of a listing that a table's are compared with letter by letter and otherwise

_NAME = re.compile(r"label|annotation|ground.?truth", re.IGNORECASE)
_NO_NAME = re.compile(r"submission|prediction", re.IGNORECASE)  # ids with labels that nobody knows
_SCORED = {"logit", "probability", "weight"}  # columns of what fastpath itself writes of patches
_ID_COLUMN = re.compile(r"(image|img|patch|file)?[ _-]?(id|name|file|path)s?|image|img|patch|file", re.IGNORECASE)
_LABEL_COLUMN = re.compile(
    r"labels?|target|class|y|diagnosis"
    r"|(is|has|center|centre)?[ _-]?(tumou?r|cancer|malignant|metastas[ie]s)([ _-]?patch)?",
    re.IGNORECASE,
)


def labels_in(source: Path) -> Path | None:
    """Return the label table of a source that is read without being named, plain or compressed; None without one."""
    names = (LABELS, *(f"{LABELS}{suffix}" for suffix in COMPRESSED))
    return next((source / name for name in names if (source / name).exists()), None)


def refuse_forgotten(listing: Listing, source: Path) -> None:
    """Refuse a listing without labels where what looks like its labels lies in, below or beside its folder.

    Args:
        listing: What was listed.
        source: What it was listed from.

    Raises:
        DataError: Naming the file that looks like labels, and what to do.
    """
    if listing.kind == "pcam":
        _refuse_without_y(source)
        return
    if not (listing.labels_N == UNLABELLED).all() or listing.kind == "store":
        return  # a table that leaves out some labels says so
    if listing.reader == "url":
        _refuse_at_url(source)
        return
    if listing.kind == "table":
        _refuse_other_column(source)
    folder = source if source.is_dir() else source.parent
    ids = _Ids(listing.ids)
    for path in _candidates(folder):
        if path != source and _is_of(path, ids, within=path.parent != folder.absolute().parent):
            problem = f"found no labels, though {visible(path)} looks like a table of them"
            remedy = f"give --labels {shlex.quote(visible(path))}, or move it away to pack without labels"
            if listing.kind == "table":
                remedy = f"write its labels into {source.name} as a column label, or move it away"
            raise DataError(source, problem, remedy)


class _Ids:
    """Ids of a listing, to be met by a table's however these are written."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = set(ids)
        self._keys = {plain_key(name) for name in itertools.islice(ids, MATCHED)}

    def meet(self, names: Sequence[str]) -> bool:
        """Whether any of a table's ids is one of them: as it is, or, of some, but for how it is written."""
        return any(name in self._ids for name in names) or any(plain_key(name) in self._keys for name in names)


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield tables, and what is named like labels, in a folder, in its train/ and one level up, nearest first."""
    for place in (folder, folder / "train", folder.absolute().parent):
        try:
            with os.scandir(place) as entries:
                names = [entry.name for entry in itertools.islice(entries, MAX_FILES) if _is_candidate(entry.name)]
        except OSError:
            continue
        names.sort(key=lambda name: (not _NAME.search(name), name))  # what is named like labels first
        yield from (place / name for name in names[:MAX_TABLES] if (place / name).is_file())


def _is_candidate(name: str) -> bool:
    if is_litter(name) or _NO_NAME.search(name):
        return False
    return is_table(name) or (bool(_NAME.search(name)) and name.lower().endswith((".xlsx", ".xls", ".ods", ".zip")))


def _is_of(path: Path, ids: _Ids, *, within: bool) -> bool:
    """Whether a table names patches of the listing and says something of each that could be a label.

    One that cannot be read is judged by its name, where it lies within the source.
    """
    named = bool(_NAME.search(path.name))
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            return named and within
        header = header_of(path)
        if _SCORED & set(header):
            return False
        column = next((name for name in header if _ID_COLUMN.fullmatch(name)), header[0] if named and header else None)
        if column is None or not (named or any(map(_LABEL_COLUMN.fullmatch, header))):
            return False
        return ids.meet([column, *read_columns(path, [column]).cells[column]])
    except DataError:
        return named and within


def _refuse_other_column(table: Path) -> None:
    """Refuse a table of paths without a column `label` but with one of another name that looks like it."""
    header = header_of(table)
    if any(name.casefold() == "label" for name in header):
        return  # whose cells are empty, which is the table's to say
    other = next((name for name in header if _LABEL_COLUMN.fullmatch(name)), None)
    if other is not None:
        problem = f"found no column 'label', though '{other}' looks like labels"
        raise DataError(table, problem, "rename that column to label, with values 0 and 1, or remove it")


def _refuse_at_url(source: Path) -> None:
    """Refuse a folder behind a URL with a file named like labels beside its patches; one level up is not looked at."""
    url = as_url(source)
    assert url is not None, source
    server = server_of(url)
    for folder in ("", "train"):
        names = server.listed(folder) or {}
        other = next((name for name in sorted(names) if _is_candidate(name) and _NAME.search(name)), None)
        if other is not None:
            problem = f"found no labels, though {visible(other)} beside the patches looks like a table of them"
            raise DataError(without_secrets(url), problem, f"download it and give it by --labels, or name it {LABELS}")


def _refuse_without_y(folder: Path) -> None:
    """Refuse PatchCamelyon's files where labels of some part lie there under another name, or of other parts only."""
    from fastpath.ingest.sources.pcam import labels_of, parts_in

    parts = parts_in(folder)
    without = [part for part in parts if labels_of(folder, part) is None]
    names = sorted(path.name for path in folder.iterdir() if not is_litter(path.name))
    for part in without:
        wanted = f"camelyonpatch_level_2_split_{part}_y.h5"
        other = next((name for name in names if re.search(rf"{part}[ _-]?(y|labels?)\b", name, re.IGNORECASE)), None)
        if other is not None:
            problem = f"found no labels of its part '{part}', though {visible(other)} looks like them"
            raise DataError(folder, problem, f"unpack or rename it to {wanted}, or move it away to pack without labels")
    if without and len(without) < len(parts):
        problem = f"found labels of some parts, but none of '{without[0]}'"
        raise DataError(folder, problem, f"download camelyonpatch_level_2_split_{without[0]}_y.h5 as well")
