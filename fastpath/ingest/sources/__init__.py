"""Sources of patches: each lists what it holds; the kind is chosen by looking, or by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastpath.errors import DataError, UsageError
from fastpath.ingest.sources.classes import class_folders, list_classes
from fastpath.ingest.sources.contents import ARCHIVES, has_images
from fastpath.ingest.sources.folder import list_folder
from fastpath.ingest.sources.links import OPTION, Links
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.sources.opened import is_table
from fastpath.ingest.sources.packed import list_store
from fastpath.ingest.sources.pcam import list_pcam, parts_in
from fastpath.ingest.sources.table import list_table
from fastpath.ingest.sources.tables import Orphans, join_groups, keep_only
from fastpath.ingest.sources.unlabelled import labels_in
from fastpath.ingest.sources.url import list_url
from fastpath.store.format import MANIFEST
from fastpath.urls import behind_url, located

KINDS = ("kaggle", "folder", "classes", "table", "pcam", "store")


def detect(source: Path) -> str:
    """Say which kind of source a path is.

    Raises:
        DataError: There is nothing, or nothing known.
    """
    if not source.exists():
        raise DataError(source, "found nothing, wanted a folder of patches", "check the path")
    if not source.is_dir():
        if is_table(source.name):
            return "table"
        remedy = "unpack it, and give the folder" if source.name.lower().endswith(ARCHIVES) else "give the folder"
        raise DataError(source, "found a file, wanted a folder of patches or a table of paths", remedy)
    if (source / "train").is_dir() and (labels_in(source) is not None or not class_folders(source / "train")):
        return "kaggle"
    if (source / MANIFEST).exists():
        return "store"
    if parts_in(source):
        return "pcam"
    return "classes" if len(class_folders(source)) >= 2 and not has_images(source) else "folder"


def list_source(
    source: Path,
    *,
    kind: str | None = None,
    labels: Path | None = None,
    groups: Path | None = None,
    orphans: Orphans = "refuse",
    only: Path | None = None,
    follow: Sequence[Path] = (),
) -> Listing:
    """List a source's patches in the order the store will have.

    Args:
        source: Where the patches are: a path, or the URL of a folder.
        kind: One of `KINDS`; None looks.
        labels: Table of `id,label`; None takes the one that lies in the source, if any.
        groups: Table of `id,wsi`; None takes `groups.csv` of the source, if any.
        orphans: What to do with patches that the group table does not name.
        only: Table with a column `id`: keep those.
        follow: Folders outside the source that symbolic links in it may lead into.

    Raises:
        DataError: The source or a table is not as it should be, or a link leads elsewhere.
    """
    source = located(source)
    url = behind_url(source)
    if url is not None:
        if follow:
            raise UsageError(OPTION, "found a source behind a URL, which has no links", "leave it out")
        listing = list_url(url, labels, orphans)
        listing = listing if groups is None else join_groups(listing, groups, orphans)
        return listing if only is None else keep_only(listing, only)
    kind = kind or detect(source)
    if kind not in KINDS:
        raise UsageError("--source-kind", f"found '{kind}', wanted one of {', '.join(KINDS)}", "correct the name")
    if labels is not None and kind not in ("kaggle", "folder"):
        problem = f"found a label table for a source of kind {kind}, which has labels of its own"
        raise UsageError("--labels", problem, "leave it out")
    listing = _list(source, kind, labels, follow)
    if groups is None and listing.groups is None and source.is_dir() and (source / "groups.csv").exists():
        groups = source / "groups.csv"
    listing = listing if groups is None else join_groups(listing, groups, orphans)
    return listing if only is None else keep_only(listing, only)


def _list(source: Path, kind: str, labels: Path | None, follow: Sequence[Path]) -> Listing:
    """List a source of a known kind, without its groups."""
    if kind in ("kaggle", "folder"):
        prefix = "train/" if kind == "kaggle" else ""
        return list_folder(source, labels or labels_in(source), kind=kind, prefix=prefix, follow=follow)
    if kind == "classes":
        return list_classes(source, follow)
    Links(source, follow)  # refuses what is no folder; the kinds below hold no links, or name files wherever they are
    return {"table": list_table, "pcam": list_pcam, "store": list_store}[kind](source)


__all__ = ["KINDS", "Listing", "Orphans", "detect", "list_source"]
