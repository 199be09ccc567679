"""Patches read from their files as they are asked for: a source that is scored once needs no packing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.errors import DataError
from fastpath.ingest.readers import open_reader
from fastpath.ingest.sources import list_source
from fastpath.ingest.sources.listing import Listing
from fastpath.ingest.stain import NAMED
from fastpath.urls import behind_url, located


class LoosePatches:
    """What a loader needs of a store, read from a source. Holds names, never pixels.

    Args:
        path: The source.
        listing: What lies there.
        stain: How to normalise the patches' stains.

    Attributes:
        path: The source.
        ids_N: object, names in the order of rows.
        labels_N: int8, -1 where unknown.
        patch_size_px: Side of the first patch, which all must have.
        stain: How the patches' stains are normalised.
    """

    def __init__(self, path: Path, listing: Listing, stain: str = "none") -> None:
        self.path, self._listing, self.stain = path, listing, str(listing.about.get(NAMED, stain))
        self._read, _ = open_reader(listing.reader, listing.root, stain="none" if NAMED in listing.about else stain)
        self._notes: Counter[str] = Counter()
        self.ids_N: NDArray[np.object_] = np.array(listing.ids, dtype=object)
        self.labels_N: NDArray[np.int8] = listing.labels_N
        self.patch_size_px = self._patch(0).shape[0]

    def __len__(self) -> int:
        return len(self._listing)

    def of_stain(self, stain: str) -> LoosePatches:
        """Return the same patches with their stains normalised as asked; those of a store stay as it has them."""
        return self if stain == self.stain else LoosePatches(self.path, self._listing, stain)

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the patches of these rows, uint8 [N, H, W, 3].

        Raises:
            DataError: A file cannot be read, or is of another size than the first.
        """
        side = self.patch_size_px
        buffer = np.empty((len(indices_N), side, side, 3), np.uint8) if out_NHWC is None else out_NHWC
        for position, row in enumerate(np.asarray(indices_N).tolist()):
            buffer[position] = self._patch(row)
        return buffer

    def _patch(self, row: int) -> NDArray[np.uint8]:
        image = self._read(self._listing.names[row], self._notes)
        wanted = getattr(self, "patch_size_px", image.shape[0])
        if image.shape != (wanted, wanted, 3):
            location = self._listing.root / self._listing.names[row]
            problem = f"found {image.shape[1]} by {image.shape[0]} pixels, wanted {wanted} by {wanted}"
            raise DataError(location, problem, "remove the file, or cut it to the size of the others")
        return image


def open_source(source: Path, follow: Sequence[Path] = ()) -> LoosePatches:
    """List a source's patches to be scored: a folder of image files or any other source that `pack` takes.

    Of a folder in the Kaggle layout, its `test/`.

    Args:
        source: The source.
        follow: Folders outside it that symbolic links in it may lead into.

    Raises:
        DataError: The source is not as it should be, or its first patch cannot be read.
    """
    source = located(source)
    folder = source / "test" if behind_url(source) is None and (source / "test").is_dir() else source
    listing = list_source(folder, follow=follow)
    return LoosePatches(folder, listing)
