"""What a folder holds when it does not hold what was wanted: looked at a few levels deep, and told in one line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fastpath.errors import DataError
from fastpath.system.litter import is_litter
from fastpath.text import visible

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
MAX_DEPTH, MAX_ENTRIES = 3, 20_000  # of a look around; a folder of 200,000 strangers is told by the first of them
NAMED = 3  # kinds of files, and folders, that a message names


def has_images(folder: Path) -> bool:
    """Return whether a folder itself holds a file that ends like an image and is no litter.

    Raises:
        OSError: It cannot be read.
    """
    with os.scandir(folder) as entries:
        return any(_is_image(entry.name) for entry in entries)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not is_litter(name)


@dataclass(slots=True)
class _Look:
    """What was seen: names of files by their ending, at the top and at all, and folders that could be given instead."""

    endings: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    hdf5: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    stores: list[str] = field(default_factory=list)


def no_patches(folder: Path) -> DataError:
    """Return the error for a folder without patches, that names what it holds instead and what to give."""
    look = _look(folder)
    wanted = "wanted files ending in " + " ".join(SUFFIXES)
    remedy, result = visible(_remedy(folder, look)), visible(_contents_text(look))
    return DataError(folder, f"found no patches{f' but {result}' if result else ''}, {wanted}", remedy)


def _contents_text(look: _Look) -> str:
    kinds = look.endings.most_common(NAMED)
    parts = [f"{count} {ending} files" if count > 1 else f"a file {ending}" for ending, count in kinds]
    parts += [f"patches in {name}/" for name in sorted(look.images)[:NAMED]]
    return ", ".join(parts)


def _remedy(folder: Path, look: _Look) -> str:
    """Say what to give instead, by what was seen."""
    packed = [name for name in look.hdf5 if not name.endswith(".h5")]
    if look.stores:
        return f"give the store {folder / look.stores[0]}"
    if look.images:
        return _of_images(folder, look)
    if packed:
        return f"unpack {packed[0]} and the others first (gunzip), and give their folder"
    if look.hdf5:
        place = PurePosixPath(look.hdf5[0]).parent
        return f"give {folder / place}, with files named as PatchCamelyon names them"
    if look.archives:
        return f"unpack {look.archives[0]} first, and give its folder"
    if look.endings:
        return "convert them to TIFF or PNG, or give the folder of the patches"
    return "give a folder of patches, or its parent with train/"


def _of_images(folder: Path, look: _Look) -> str:
    places = sorted(look.images, key=lambda name: (-look.images[name], name))
    parents = Counter(str(PurePosixPath(name).parent) for name in places)
    parent, count = parents.most_common(1)[0]
    if len(places) == 1 or count < 2:
        place = PurePosixPath(places[0])
        return f"give {folder / (place.parent if place.name == 'train' else place)}"
    if count == 2:
        return f"give {folder / parent}, whose folders are two classes, or one of the folders"
    return "give one of these folders, or a table with a column path"


def _look(folder: Path) -> _Look:
    look = _Look()
    for name in _walk(folder):
        path = PurePosixPath(name)
        lower = path.name.lower()
        parent = str(path.parent)
        if _is_image(path.name):
            if parent != ".":
                look.images[parent] += 1
            continue
        if path.name == "manifest.json" and parent != ".":
            look.stores.append(parent)
        if lower.endswith((".h5", ".hdf5", ".h5.gz", ".hdf5.gz", ".h5.zip")):
            look.hdf5.append(name)
        elif lower.endswith(ARCHIVES):
            look.archives.append(name)
        look.endings[_ending(path)] += 1
    look.stores = [place for place in look.stores if (folder / place / "index.parquet").is_file()]
    look.hdf5.sort(key=lambda name: (name.endswith(".h5"), name))
    return look


def _ending(path: PurePosixPath) -> str:
    """Return how a file's name ends: `.h5.gz`, or the whole name where it has no dot."""
    *_, first, second = ["", "", *path.suffixes]
    if second.lower() in (".gz", ".bz2", ".xz", ".zip") and first.isascii() and len(first) <= 6:
        return f"{first}{second}"
    return second or path.name[:40]


def _walk(folder: Path) -> Iterator[str]:
    """Yield names of files below a folder with their folders, without litter and without following links."""
    left = MAX_ENTRIES
    waiting = [("", 0)]
    while waiting and left > 0:
        place, depth = waiting.pop(0)
        try:
            with os.scandir(folder / place) as entries:
                for entry in entries:
                    left -= 1
                    if left <= 0:
                        break
                    if is_litter(entry.name):
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        yield f"{place}{entry.name}"
                    elif depth < MAX_DEPTH:
                        waiting.append((f"{place}{entry.name}/", depth + 1))
        except OSError:
            continue  # a folder that cannot be read is passed over: this only helps a message
