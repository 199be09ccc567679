"""Which command comes next, by what a command has left. Each can be pasted and runs as it stands."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from fastpath.cli.render import Words
from fastpath.urls import as_url

_ERRORS_MAX = 16  # a page of them


def to_open(folder: Path | str, *names: str) -> Path:
    """Return the first of these files that a command has left, or else the folder itself."""
    files = [Path(folder) / name for name in names]
    return next((file for file in files if file.is_file()), Path(folder))


def free(path: Path) -> Path:
    """Return a path that nothing lies at: this one, or with the first number after its name that makes it so."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], numbered) if not os.path.lexists(each))


def train(store: Path, *more: object, run: str = "first") -> Words:
    """Return what trains on a divided store, into a run of its own."""
    return ("fastpath", "train", store, *more, "-o", free(Path("runs") / run), "--amp")


def split(store: Path, *more: object) -> Words:
    """Return what divides a store."""
    return ("fastpath", "split", store, *more)


def inspect(store: Path) -> Words:
    """Return what looks at a store."""
    return ("fastpath", "inspect", store)


def probe(features: Path) -> Words:
    """Return what trains a head on features of a divided store."""
    return ("fastpath", "probe", features, "-o", free(features.with_name(f"{features.name}-probe")))


def is_divided(store: Path) -> bool:
    """Return whether a store has a split of its own; of one behind a URL it is taken for granted."""
    from fastpath.store import format as fmt

    return as_url(store) is not None or os.path.lexists(store / fmt.SPLIT)


def train_or_split(store: Path, split_file: Path | None) -> Words:
    """Return what comes after a labelled store was looked at: training, or the division it lacks.

    Args:
        store: The store.
        split_file: Where its split lies; None is in the store.
    """
    if split_file is not None:
        return train(store, "--split-file", split_file)
    return train(store) if is_divided(store) else split(store)


def explain(run: Path, num_errors: int, *more: object) -> Words:
    """Return what shows where a run finds its calls: the wrong ones, where there are any."""
    errors = ("--errors", min(num_errors, _ERRORS_MAX)) if num_errors else ()
    return ("fastpath", "explain", run, *errors, *more, "-o", beside(run, "explained"))


def beside(run: Path, name: str) -> Path:
    """Return a free place for something made of a run: in its directory, or beside a checkpoint's file."""
    return free(run / name if run.is_dir() else run.with_name(f"{run.stem}-{name}"))
