"""Stores that a file names, such as a run's `run.json`: the file may be anyone's."""

from __future__ import annotations

import shlex
from pathlib import Path

from fastpath.errors import UsageError
from fastpath.shards.reader import Store, open_store
from fastpath.shards.remote import open_known
from fastpath.urls import behind_url, without_secrets


def open_recorded(place: str, where: Path) -> Store:
    """Open a store that a file names. A URL counts only where the user has opened it here: a file may be anyone's.

    Args:
        place: What the file says.
        where: The file.

    Raises:
        UsageError: It is a URL that was never opened here.
        StoreError: There is no store.
    """
    if behind_url(place) is None:
        return open_store(Path(place))
    remote = open_known(place)
    if remote is None:
        quoted = shlex.quote(without_secrets(place))
        problem = f"names a store behind a URL that was never opened from here, {quoted}"
        raise UsageError(where, problem, f"if you trust it, run 'fastpath verify {quoted}' once, or give it by --store")
    return Store(remote.cache, remote.manifest, remote)
