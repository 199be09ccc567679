"""Whether what a command is to read is there, and is what it is called: told before seconds of imports.

Looks only, into names and manifests: what is within a file is for the workflow to say.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from fastpath.errors import CheckpointError, StoreError, UsageError
from fastpath.urls import as_url

_OF_RUN = ("config.json", "run.json", "best.pt", "last.pt", "out_of_fold.parquet", "folds.json")
_MENDS = ("verify", "repair")  # commands that tell themselves what is wrong with a store


def check_inputs(command: str | None, given: Mapping[str, Any], paths: Iterable[str]) -> None:
    """Refuse a path that is not there, a store without a manifest, and a directory that is no run.

    Args:
        command: The command's name.
        given: Its parameters by name; URLs are left to the workflow.
        paths: Names of those that are paths to read.

    Raises:
        UsageError: Naming the first of them; a subclass where it is to be a store or a run.
    """
    for name in paths:
        values = given[name] if isinstance(given[name], tuple) else (given[name],)
        for path in values:
            if isinstance(path, Path) and as_url(path) is None:
                _kind_of(name, command, given)(path)


def _kind_of(name: str, command: str | None, given: Mapping[str, Any]) -> Callable[[Path], None]:
    """Return what looks at a parameter's path."""
    if name in ("store", "stores") or (name == "runs" and given.get("splits") is not None):
        return _check_there_as_store if command in _MENDS else _check_store
    if name in ("run", "runs", "run_dir"):
        return _check_run
    if name == "features":
        return _check_features
    return _check_lesions if name == "lesions" else check_there


def check_there(path: Path) -> None:
    """Refuse a path at which nothing lies.

    Raises:
        UsageError: Naming it.
    """
    if not os.path.lexists(path):
        raise UsageError(path, "found nothing, wanted something to read", "check the path")


def _check_lesions(path: Path) -> None:
    if str(path) != "none":
        check_there(path)


def _check_there_as_store(path: Path) -> None:
    if not os.path.lexists(path):
        raise StoreError(path, "found nothing, wanted the directory of a packed store", "run 'fastpath pack' first")


def _check_store(path: Path) -> None:
    _check_there_as_store(path)
    if path.is_dir():
        from fastpath.store import format as fmt

        fmt.load_document(path / fmt.MANIFEST, fmt.Manifest)


def _check_run(path: Path) -> None:
    if not os.path.lexists(path):
        wanted = "wanted the directory of a run, a checkpoint or a table"
        raise CheckpointError(path, f"found nothing, {wanted}", "give what 'fastpath train -o' wrote")
    if path.is_dir() and not any((path / name).exists() for name in _OF_RUN):
        problem = f"found none of {', '.join(_OF_RUN)}, wanted the directory of a run, a checkpoint or a table"
        raise CheckpointError(path, problem, "give what 'fastpath train -o' wrote")


def _check_features(path: Path) -> None:
    check_there(path)
    if path.is_dir():
        from fastpath.store.features import open_features

        open_features(path)
