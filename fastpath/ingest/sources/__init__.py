"""Sources of patches: each lists what it holds; the kind is chosen by looking, or by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastpath.errors import DataError, UsageError
from fastpath.ingest.sources.classes import class_folders, list_classes
from fastpath.ingest.sources.folder import SUFFIXES, list_folder
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.sources.packed import list_store
from fastpath.ingest.sources.pcam import list_pcam, parts_in
from fastpath.ingest.sources.table import list_table
from fastpath.ingest.sources.tables import Orphans, join_groups, keep_only
from fastpath.ingest.sources.url import list_url
from fastpath.shards.format import MANIFEST
from fastpath.shards.remote import as_url

KINDS = ("kaggle", "folder", "classes", "table", "pcam", "store")
_OTHERS: dict[str, Callable[[Path], Listing]] = {
    "classes": list_classes,
    "table": list_table,
    "pcam": list_pcam,
    "store": list_store,
}


def detect(source: Path) -> str:
    """Say which kind of source a path is.

    Raises:
        DataError: There is nothing, or nothing known.
    """
    if not source.exists():
        raise DataError(source, "found nothing, wanted a folder of patches", "check the path")
    if not source.is_dir():
        if source.suffix in (".csv", ".parquet"):
            return "table"
        raise DataError(source, "found a file, wanted a folder of patches or a table of paths", "give the folder")
    if (source / "train").is_dir() and ((source / "train_labels.csv").exists() or not class_folders(source / "train")):
        return "kaggle"
    if (source / MANIFEST).exists():
        return "store"
    if parts_in(source):
        return "pcam"
    has_images = any(path.suffix.lower() in SUFFIXES for path in source.iterdir())
    return "folder" if has_images or len(class_folders(source)) < 2 else "classes"


def list_source(
    source: Path,
    *,
    kind: str | None = None,
    labels: Path | None = None,
    groups: Path | None = None,
    orphans: Orphans = "refuse",
    only: Path | None = None,
) -> Listing:
    """List a source's patches in the order the store will have.

    Args:
        source: Where the patches are: a path, or the URL of a folder.
        kind: One of `KINDS`; None looks.
        labels: Table of `id,label`; None takes the one that lies in the source, if any.
        groups: Table of `id,wsi`; None takes `groups.csv` of the source, if any.
        orphans: What to do with patches that the group table does not name.
        only: Table with a column `id`: keep those.

    Raises:
        DataError: The source or a table is not as it should be.
    """
    url = as_url(source)
    if url is not None and not source.exists():
        listing = list_url(url, labels, orphans)
        listing = listing if groups is None else join_groups(listing, groups, orphans)
        return listing if only is None else keep_only(listing, only)
    kind = kind or detect(source)
    if kind not in KINDS:
        raise UsageError("--source-kind", f"found '{kind}', wanted one of {', '.join(KINDS)}", "correct the name")
    if kind in _OTHERS:
        if labels is not None:
            problem = f"found a label table for a source of kind {kind}, which has labels of its own"
            raise UsageError("--labels", problem, "leave it out")
        listing = _OTHERS[kind](source)
    else:
        beside = source / "train_labels.csv"
        labels = labels or (beside if kind == "kaggle" and beside.exists() else None)
        listing = list_folder(source, labels, kind=kind, prefix="train/" if kind == "kaggle" else "")
    if groups is None and listing.groups is None and source.is_dir() and (source / "groups.csv").exists():
        groups = source / "groups.csv"
    listing = listing if groups is None else join_groups(listing, groups, orphans)
    return listing if only is None else keep_only(listing, only)


__all__ = ["KINDS", "Listing", "Orphans", "detect", "list_source"]
