"""From one version of the checkpoint's format to the next, so that a newer release reads what an older one wrote.

Whoever changes the fields of `Checkpoint` raises `VERSION`, and adds the function that makes the new values of the old
ones to `MIGRATIONS`; docs/extending.md has the steps. A checkpoint of a version that no chain of migrations brings here
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastpath.errors import CheckpointError
from fastpath.text import brief

VERSION = 2
"""Of what `save_checkpoint` writes."""

Migration = Callable[[dict[str, Any]], dict[str, Any]]
"""From the values of a version to those of the next, by field. They are not trusted, and are checked afterwards."""

MIGRATIONS: dict[int, Migration] = {}
"""By the version that each is from. Of version 1 there is none: it did not name the data it belongs to."""

ADDED: Mapping[int, Mapping[str, Any]] = {2: {"stain": "none"}}
"""Fields that a version got after it was first written, with what a checkpoint without them means."""


def migrated(values: dict[str, Any], version: object, path: Path) -> dict[str, Any]:
    """Return a checkpoint's values as `VERSION` has them.

    Args:
        values: As they were written, by field.
        version: Of the file.
        path: The file, for an error.

    Raises:
        CheckpointError: The version is a newer one, none at all, or one that nothing migrates from.
    """
    at = version if type(version) is int else None
    while at != VERSION:
        if at not in MIGRATIONS:
            description = f"{version}" if type(version) is int else f"a {type(version).__name__}"
            problem = f"found format version {description}, wanted {VERSION}"
            raise CheckpointError(path, problem, "use the release that wrote it")
        try:
            values, at = MIGRATIONS[at]({**ADDED.get(at, {}), **values}), at + 1
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            problem = f"is not what format version {at} holds ({brief(error, 160)})"
            raise CheckpointError(path, problem, "give best.pt or last.pt as it was written, or train again") from None
    return {**ADDED.get(VERSION, {}), **values}
