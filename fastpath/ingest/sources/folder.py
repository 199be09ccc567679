"""A folder of image files, named by their ids: the Kaggle layout, or the files alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastpath.errors import DataError
from fastpath.ingest.sources.contents import SUFFIXES, no_patches
from fastpath.ingest.sources.links import Links
from fastpath.ingest.sources.listing import FileNames, Listing, Source, check_ids, unlabelled
from fastpath.ingest.sources.tables import join_labels
from fastpath.system.litter import is_litter
from fastpath.text import visible


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a folder holds.

    Attributes:
        suffix_of: What follows each id in its file's name (`.tif`), in the file system's order.
        num_litter: Files that end like patches and are litter.
        litter: One of them; empty where there is none.
    """

    suffix_of: dict[str, str]
    num_litter: int
    litter: str

    def notices(self) -> tuple[str, ...]:
        """Say what was left out."""
        if not self.num_litter:
            return ()
        return (f"{self.num_litter} files were left out as litter, such as '{visible(self.litter)}'",)


def scan(folder: Path, links: Links) -> Scanned:
    """Find the image files of one folder.

    Raises:
        DataError: The folder cannot be read or holds no images, two files share an id, a name is not UTF-8, or a link
            leads where it may not.
    """
    suffixes: dict[str, str] = {}
    num_litter, litter = 0, ""
    links.check_folder(folder)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                stem, dot, suffix = name.rpartition(".")  # 220,025 Path objects would cost a second
                if not (dot and stem) or f".{suffix.lower()}" not in SUFFIXES or entry.is_dir(follow_symlinks=False):
                    continue
                if is_litter(name):
                    num_litter, litter = num_litter + 1, min(litter or name, name)
                    continue
                if not name.isascii():
                    _check_name(folder, name)
                if entry.is_symlink():
                    links.check_file(entry.path)
                if stem in suffixes:
                    problem = f"found {stem + suffixes[stem]!r} and {name!r}, wanted one file for id {stem!r}"
                    raise DataError(folder, problem, "remove one of the two")
                suffixes[stem] = sys.intern(f".{suffix}")
    except OSError as error:
        raise DataError(folder, f"cannot be read ({error.strerror})", "give a folder of patches") from None
    if not suffixes:
        raise no_patches(folder)
    return Scanned(suffixes, num_litter, litter)


def _check_name(folder: Path, name: str) -> None:
    """Refuse a name that is not text: an id is kept as UTF-8, and another name would not find the file again."""
    try:
        name.encode()
    except UnicodeEncodeError:
        problem = f"found a file whose name is not UTF-8, '{visible(name)}'"
        raise DataError(visible(folder), problem, "rename it, for example with convmv") from None


def list_folder(
    folder: Path, labels: Path | None, *, kind: str = "folder", prefix: str = "", follow: Sequence[Path] = ()
) -> Listing:
    """List `folder/prefix*.{tif,png,jpg}`.

    Args:
        folder: The root of the listing.
        labels: A table of `id,label` whose order becomes the store's; None lists by sorted id, unlabelled.
        kind: Recorded as the kind of source.
        prefix: Sub-folder, with a slash at its end, or empty.
        follow: Folders that links may lead into.

    Raises:
        DataError: Folder or labels are not as they should be.
    """
    scanned = scan(folder / prefix, Links(folder, follow))
    suffixes = scanned.suffix_of
    if labels is None:
        ids = sorted(suffixes)
        check_ids(ids, folder / prefix)
        labels_N = unlabelled(len(ids))
    else:
        ids, labels_N = join_labels(labels, suffixes, folder / prefix)
    names = FileNames.of(prefix, ids, suffixes)
    return Listing(kind, folder, "files", names, ids, labels_N, notices=scanned.notices())


def _list(path: Path, labels: Path | None, follow: Sequence[Path]) -> Listing:
    from fastpath.ingest.sources.unlabelled import labels_in

    return list_folder(path, labels or labels_in(path), follow=follow)


SOURCE = Source(Path.is_dir, _list, takes_labels=True)
