"""Sources of patches: each lists what it holds; the kind is chosen by looking, or by name."""

from __future__ import annotations

from pathlib import Path

from fastpath.errors import DataError
from fastpath.ingest.sources.folder import list_folder
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.sources.tables import Orphans, join_groups

KINDS = ("kaggle", "folder")


def detect(source: Path) -> str:
    """Say which kind of source a path is.

    Raises:
        DataError: There is nothing, or nothing known.
    """
    if not source.exists():
        raise DataError(source, "found nothing, wanted a folder of patches", "check the path")
    if not source.is_dir():
        raise DataError(source, "found a file, wanted a folder of patches", "give the folder")
    return "kaggle" if (source / "train").is_dir() else "folder"


def list_source(
    source: Path,
    *,
    kind: str | None = None,
    labels: Path | None = None,
    groups: Path | None = None,
    orphans: Orphans = "refuse",
) -> Listing:
    """List a source's patches in the order the store will have.

    Args:
        source: Where the patches are.
        kind: One of `KINDS`; None looks.
        labels: Table of `id,label`; None takes the one that lies in the source, if any.
        groups: Table of `id,wsi`; None takes `groups.csv` of the source, if any.
        orphans: What to do with patches that the group table does not name.

    Raises:
        DataError: The source or a table is not as it should be.
    """
    kind = kind or detect(source)
    beside = source / "train_labels.csv"
    labels = labels or (beside if kind == "kaggle" and beside.exists() else None)
    listing = list_folder(source, labels, kind=kind, prefix="train/" if kind == "kaggle" else "")
    if groups is None and (source / "groups.csv").exists():
        groups = source / "groups.csv"
    return listing if groups is None else join_groups(listing, groups, orphans)


__all__ = ["KINDS", "Listing", "Orphans", "detect", "list_source"]
