"""Stores that a file names, such as a run's `run.json`: the file may be anyone's."""

from __future__ import annotations

from pathlib import Path

from fastpath.errors import StoreError, UsageError
from fastpath.store.reader import Store, open_store
from fastpath.store.remote import open_known
from fastpath.text import command_line
from fastpath.urls import behind_url, without_secrets


def open_recorded(place: str, path: Path, remedy: str = "if it was moved, say where it lies now with --store") -> Store:
    """Open a store that a file names. A URL counts only where the user has opened it here: a file may be anyone's.

    Args:
        place: What the file says.
        path: The file.
        remedy: What to do where there is no store any more.

    Raises:
        UsageError: It is a URL that was never opened here.
        StoreError: There is no store, or none any more.
    """
    if behind_url(place) is None:
        if not Path(place).is_dir():
            problem = f"is not there, though {path} names it as the store"
            raise StoreError(place, problem, remedy)
        return open_store(Path(place))
    remote = open_known(place)
    if remote is None:
        url = without_secrets(place)
        problem = f"names a store behind a URL that was never opened from here, {url}"
        again = command_line("fastpath", "verify", url)
        raise UsageError(path, problem, f"if you trust it, give it by --store, or run once: {again}")
    return Store(remote.cache, remote.manifest, remote)
