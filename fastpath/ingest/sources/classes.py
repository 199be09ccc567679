"""A folder with one sub-folder of images for each of two classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastpath.errors import DataError
from fastpath.ingest.sources.contents import SUFFIXES, has_images
from fastpath.ingest.sources.folder import scan
from fastpath.ingest.sources.links import Links
from fastpath.ingest.sources.listing import Listing, Source, check_ids
from fastpath.system.litter import is_litter
from fastpath.text import visible

NEGATIVE = ("0", "normal", "negative", "benign", "non-tumour", "non-tumor", "no_tumour", "no_tumor")
POSITIVE = ("1", "tumour", "tumor", "positive", "malignant", "cancer", "metastasis")


def class_folders(folder: Path) -> list[str]:
    """Return the names of sub-folders that hold images."""
    try:
        children = [child for child in folder.iterdir() if not is_litter(child.name) and child.is_dir()]
        children = [child for child in children if child.suffix.lower() not in SUFFIXES]
        return sorted(child.name for child in children if has_images(child))
    except OSError as error:
        location = error.filename or folder
        raise DataError(location, f"cannot be read ({error.strerror})", "give a folder of patches") from None


def list_classes(folder: Path, follow: Sequence[Path] = ()) -> Listing:
    """List `folder/<class>/*`, by sorted id.

    Args:
        folder: Holds the two class folders.
        follow: Folders that links may lead into.

    Raises:
        DataError: There are not two class folders whose names say which is positive, or an id is in both.
    """
    result = class_folders(folder)
    negative = [name for name in result if name.lower() in NEGATIVE]
    positive = [name for name in result if name.lower() in POSITIVE]
    if len(result) != 2 or len(negative) != 1 or len(positive) != 1:
        names = ", ".join(map(visible, result[:5]))
        problem = f"found class folders '{names}', wanted two such as '0' and '1' or 'normal' and 'tumor'"
        raise DataError(folder, problem, "rename the folders, or pack a table of path,label")
    links = Links(folder, follow)
    files = {name: scan(folder / name, links) for name in (negative[0], positive[0])}
    rows = sorted((name, kind, file) for kind, members in files.items() for name, file in members.suffix_of.items())
    ids = [name for name, _, _ in rows]
    check_ids(ids, folder)
    return Listing(
        kind="classes",
        root=folder,
        reader="files",
        names=[f"{kind}/{name}{suffix}" for name, kind, suffix in rows],
        ids=ids,
        labels_N=np.array([kind == positive[0] for _, kind, _ in rows], dtype=np.int8),
        about={"class_0": negative[0], "class_1": positive[0]},
        notices=tuple(notice for members in files.values() for notice in members.notices()),
    )


def _holds(path: Path) -> bool:
    return path.is_dir() and len(class_folders(path)) >= 2 and not has_images(path)


SOURCE = Source(_holds, lambda path, labels, follow: list_classes(path, follow))
