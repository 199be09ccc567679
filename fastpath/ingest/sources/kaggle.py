"""Kaggle's layout: a folder `train` of image files, and `train_labels.csv` beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fastpath.ingest.sources.classes import class_folders
from fastpath.ingest.sources.folder import list_folder
from fastpath.ingest.sources.listing import Listing, Source
from fastpath.ingest.sources.unlabelled import labels_in


def _holds(path: Path) -> bool:
    train = path / "train"
    return path.is_dir() and train.is_dir() and (labels_in(path) is not None or not class_folders(train))


def _list(path: Path, labels: Path | None, follow: Sequence[Path]) -> Listing:
    return list_folder(path, labels or labels_in(path), kind="kaggle", prefix="train/", follow=follow)


SOURCE = Source(_holds, _list, takes_labels=True)
