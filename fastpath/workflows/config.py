"""What settings there are: the recipes that ship with fastpath, what one of them or a run says, and every key."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastpath import config as configuration
from fastpath.config import sources
from fastpath.errors import ConfigError


def recipes() -> dict[str, str]:
    """Return the sentence that each recipe begins with by the recipe's name; grids stand as `sweeps/NAME`."""
    summaries = {name: _summary(sources.recipe(name)) for name in sources.names()}
    grids = {f"sweeps/{name}": sources.GRIDS / f"{name}.toml" for name in sources.names(sources.GRIDS)}
    return summaries | {name: _summary(path) for name, path in grids.items()}


def written(source: Path | str | None, overrides: Sequence[str] = ()) -> str:
    """Return settings as TOML, to begin some of one's own with: a file as it is, comments included, where it is one.

    Args:
        source: As `fastpath.config.load` takes it.
        overrides: `a.b=value` each.

    Raises:
        ConfigError: As `fastpath.config.load`.
    """
    settings = configuration.load(source, overrides)
    path = None if source is None else sources.find(source)
    if path is None or path.suffix == ".json" or overrides:
        return sources.to_toml(sources.given(settings))
    return path.read_text(encoding="utf-8")


def keys(pattern: str | None = None) -> list[dict[str, Any]]:
    """Return every key that matches a pattern such as `optim.*` with its default and meaning.

    Raises:
        ConfigError: No key does.
    """
    known = configuration.keys()
    chosen = [key for key in known if pattern is None or fnmatch.fnmatch(key, pattern) or key.startswith(f"{pattern}.")]
    if not chosen:
        hint = sources.nearest(str(pattern), known) or "run 'fastpath config keys' for all"
        raise ConfigError(str(pattern), "matches no key", hint)
    defaults = configuration.Config().to_dict()
    return [{"key": key, "default": _at(defaults, key), "meaning": known[key]} for key in chosen]


def _at(values: Any, key: str) -> Any:  # noqa: ANN401 (nested plain values)
    for part in key.split("."):
        values = values[part]
    return values


def _summary(path: Path) -> str:
    """Return the line that a recipe begins with."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()
