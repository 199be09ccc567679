"""A folder behind a URL, in the Kaggle layout or plain."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from fastpath.errors import DataError
from fastpath.ingest.sources.contents import SUFFIXES
from fastpath.ingest.sources.listing import Listing, check_ids, unlabelled
from fastpath.ingest.sources.tables import Orphans, join_groups, join_labels
from fastpath.store import transfer
from fastpath.system.litter import is_litter
from fastpath.urls import without_secrets

TABLES = ("train_labels.csv", "groups.csv")
TABLE_BYTES_MAX = 1 << 30  # of ids of 40 characters, 20 million
# What S3, Google's and Azure's stores, HTTP servers, SFTP and fsspec's own systems call a version or a time of change.
_VERSIONS = (
    "ETag",
    "etag",
    "content_md5",
    "generation",
    "LastModified",
    "last_modified",
    "mtime",
    "modified",
    "created",
)


def list_url(url: str, labels: Path | None, orphans: Orphans) -> Listing:
    """List `url/train/*` with its `train_labels.csv`, or `url/*`, and `groups.csv` where there is one.

    Args:
        url: The folder.
        labels: A local table of `id,label` in place of the folder's own.
        orphans: What to do with patches that the folder's group table does not name.

    Raises:
        DataError: The folder holds no images, or a table is not as it should be.
        FastpathError: The server refuses, or does not answer.
    """
    place, server = without_secrets(url), transfer.server_of(url)
    within = server.listed("train")
    prefix = "train/" if within is not None else ""
    entries = server.listed("") if within is None else within
    names: dict[str, str] = {}
    for file in sorted(entries or {}):
        if is_litter(file) or Path(file).suffix.lower() not in SUFFIXES:
            continue
        if names.setdefault(Path(file).stem, prefix + file) != prefix + file:
            problem = f"found '{names[Path(file).stem]}' and '{prefix}{file}', wanted one file for each id"
            raise DataError(place, problem, "remove one of the two")
    if not names or entries is None:
        remedy = "give the URL of a folder of patches that the server lists, or of its parent with train/"
        raise DataError(place, "found no patches", remedy)
    tables = {name: content for name in TABLES if (content := _table(server, name)) is not None}
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in tables.items():
            (Path(scratch) / name).write_bytes(content)
        if labels is None and TABLES[0] in tables:
            labels = Path(scratch) / TABLES[0]
        ids, labels_N = sorted(names), unlabelled(len(names))
        check_ids(ids, place)
        if labels is not None:
            ids, labels_N = join_labels(labels, names, Path(place))
        kind = "kaggle" if prefix else "folder"
        files = [names[name] for name in ids]
        stamps_N = np.array([_stamp(entries[file.removeprefix(prefix)]) for file in files], np.uint64)
        listing = Listing(kind, Path(url), "url", files, ids, labels_N, stamps_N=stamps_N)
        if TABLES[1] in tables:
            listing = join_groups(listing, Path(scratch) / TABLES[1], orphans)
    return listing


def _table(server: transfer.Server, name: str) -> bytes | None:
    """Return a table of the folder, None where it has none."""
    try:
        return transfer.read(server, name, TABLE_BYTES_MAX, DataError)
    except transfer.Absent:
        return None


def _stamp(entry: Mapping[str, Any]) -> int:
    """Return a number that differs when the listing says that a file was written again."""
    return xxhash.xxh3_64_intdigest(repr([entry.get("size"), *(entry.get(name) for name in _VERSIONS)]).encode())
