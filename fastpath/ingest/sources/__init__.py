"""Sources of patches: each lists what it holds; the kind is chosen by looking, or by name.

`KINDS` names the file of each kind, in the order in which a path is looked at; docs/extending.md adds one. Nothing is
imported before it is asked for: the command line names the kinds in its help.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fastpath.errors import DataError, UsageError

if TYPE_CHECKING:
    from fastpath.ingest.sources.listing import Listing, Source
    from fastpath.ingest.sources.tables import Orphans

KINDS = {
    "kaggle": "kaggle",
    "store": "packed",
    "pcam": "pcam",
    "classes": "classes",
    "folder": "folder",
    "table": "table",
}
"""By kind, the module of this package that has its `SOURCE`."""


def source_of(kind: str) -> Source:
    """Return what one of `KINDS` does."""
    source: Source = importlib.import_module(f"{__name__}.{KINDS[kind]}").SOURCE
    return source


def detect(source: Path) -> str:
    """Say which kind of source a path is.

    Raises:
        DataError: There is nothing, or nothing known.
    """
    from fastpath.ingest.sources.contents import ARCHIVES

    if not source.exists():
        raise DataError(source, "found nothing, wanted a folder of patches", "check the path")
    for kind in KINDS:
        if source_of(kind).holds(source):
            return kind
    remedy = "unpack it, and give the folder" if source.name.lower().endswith(ARCHIVES) else "give the folder"
    raise DataError(source, "found a file, wanted a folder of patches or a table of paths", remedy)


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
    from fastpath.ingest.sources.links import OPTION, Links
    from fastpath.ingest.sources.tables import join_groups, keep_only
    from fastpath.ingest.sources.url import list_url
    from fastpath.urls import behind_url, located

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
    chosen = source_of(kind)
    if labels is not None and not chosen.takes_labels:
        problem = f"found a label table for a source of kind {kind}, which has labels of its own"
        raise UsageError("--labels", problem, "leave it out")
    Links(source, follow)  # refuses what is no folder, whether or not the kind looks at links
    listing = chosen.list(source, labels, follow)
    if groups is None and listing.groups is None and source.is_dir() and (source / "groups.csv").exists():
        groups = source / "groups.csv"
    listing = listing if groups is None else join_groups(listing, groups, orphans)
    return listing if only is None else keep_only(listing, only)
