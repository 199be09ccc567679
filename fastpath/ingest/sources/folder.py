"""A folder of image files, named by their ids: the Kaggle layout, or the files alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fastpath.errors import DataError
from fastpath.ingest.sources.listing import FileNames, Listing, check_ids, unlabelled
from fastpath.ingest.sources.tables import join_labels

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def scan(folder: Path) -> dict[str, str]:
    """Return what follows each id in its file's name (`.tif`), in the file system's order.

    Raises:
        DataError: The folder cannot be read or holds no images, two files share an id, or a link leads out.
    """
    suffixes: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")  # 220,025 Path objects would cost a second
                if not (dot and stem) or f".{suffix.lower()}" not in SUFFIXES:
                    continue
                if entry.is_symlink():
                    _check_link(folder, Path(entry.path))
                if stem in suffixes:
                    problem = f"found '{stem}{suffixes[stem]}' and '{entry.name}', wanted one file for id '{stem}'"
                    raise DataError(folder, problem, "remove one of the two")
                suffixes[stem] = sys.intern(f".{suffix}")
    except OSError as error:
        raise DataError(folder, f"cannot be read ({error.strerror})", "give a folder of patches") from None
    if not suffixes:
        wanted = "wanted files ending in " + " ".join(SUFFIXES)
        raise DataError(folder, f"found no patches, {wanted}", "give a folder of patches, or its parent with train/")
    return suffixes


def _check_link(folder: Path, link: Path) -> None:
    """Refuse a link whose target is outside the folder: what it points at can change unseen."""
    target = link.resolve()
    if folder.resolve() not in target.parents:
        problem = f"is a symbolic link out of its folder, to {target.name}; wanted a file"
        raise DataError(link, problem, "copy the file in place of the link")


def list_folder(folder: Path, labels: Path | None, *, kind: str = "folder", prefix: str = "") -> Listing:
    """List `folder/prefix*.{tif,png,jpg}`.

    Args:
        folder: The root of the listing.
        labels: A table of `id,label` whose order becomes the store's; None lists by sorted id, unlabelled.
        kind: Recorded as the kind of source.
        prefix: Sub-folder, with a slash at its end, or empty.

    Raises:
        DataError: Folder or labels are not as they should be.
    """
    suffixes = scan(folder / prefix)
    if labels is None:
        ids = sorted(suffixes)
        check_ids(ids, folder / prefix)
        labels_N = unlabelled(len(ids))
    else:
        ids, labels_N = join_labels(labels, suffixes, folder / prefix)
    return Listing(kind, folder, "files", FileNames.of(prefix, ids, suffixes), ids, labels_N)
