"""A folder behind a URL that fsspec knows, in the Kaggle layout or plain."""

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
from fastpath.litter import is_litter
from fastpath.shards.remote import file_system

TABLES = ("train_labels.csv", "groups.csv")
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
        DataError: The folder cannot be listed or holds no images, or a table is not as it should be.
    """
    system, root = file_system(url)
    try:
        prefix = "train/" if system.isdir(f"{root}/train") else ""
        system.invalidate_cache()  # a listing from before a change would hide it
        found = system.ls(f"{root}/{prefix}".rstrip("/"), detail=True)
        tables = {name: system.cat_file(f"{root}/{name}") for name in TABLES if system.exists(f"{root}/{name}")}
    except OSError as error:
        raise DataError(url, f"cannot be listed ({type(error).__name__}: {error})", "check the URL") from None
    entries = {str(entry["name"]).rsplit("/", 1)[-1]: entry for entry in found}
    files = [file for file in entries if Path(file).suffix.lower() in SUFFIXES and not is_litter(file)]
    names = {Path(file).stem: prefix + file for file in files}
    if not names:
        raise DataError(url, "found no patches", "give the URL of a folder of patches, or its parent with train/")
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in tables.items():
            (Path(scratch) / name).write_bytes(content)
        if labels is None and TABLES[0] in tables:
            labels = Path(scratch) / TABLES[0]
        ids, labels_N = sorted(names), unlabelled(len(names))
        check_ids(ids, url)
        if labels is not None:
            ids, labels_N = join_labels(labels, names, Path(url))
        kind = "kaggle" if prefix else "folder"
        files = [names[name] for name in ids]
        stamps_N = np.array([_stamp(entries[file.removeprefix(prefix)]) for file in files], np.uint64)
        listing = Listing(kind, Path(url), "url", files, ids, labels_N, stamps_N=stamps_N)
        if TABLES[1] in tables:
            listing = join_groups(listing, Path(scratch) / TABLES[1], orphans)
    return listing


def _stamp(entry: Mapping[str, Any]) -> int:
    """Return a number that differs when the listing says that a file was written again."""
    return xxhash.xxh3_64_intdigest(repr([entry.get("size"), *(entry.get(name) for name in _VERSIONS)]).encode())
