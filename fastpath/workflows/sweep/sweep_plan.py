"""What a sweep tries: every combination of some values of configuration keys, each with the same seeds."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastpath import config as configuration
from fastpath.config import Config, sources
from fastpath.errors import ConfigError

_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination.

    Attributes:
        name: What sets it apart, such as `optim.weight_decay=1e-05`.
        slug: The same, fit for a directory.
        config: The whole configuration, with the first seed.
    """

    name: str
    slug: str
    config: Config


@dataclass(frozen=True, slots=True)
class Plan:
    """A sweep's settings and seeds.

    Attributes:
        settings: In the order of the grid, its last key moving fastest.
        seeds: Tried with every setting.
    """

    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]


def make_plan(
    config_path: Path | None,
    grid: Iterable[str] = (),
    *,
    grid_file: Path | None = None,
    overrides: Sequence[str] = (),
    repeats: int | None = None,
) -> Plan:
    """Read what to try, and prove every configuration before any is trained.

    Args:
        config_path: TOML that all settings share; None takes the grid file's, or the defaults.
        grid: `a.b=v1,v2` each; commas within brackets or quotes separate nothing.
        grid_file: TOML with `grid`, a table of lists by dotted key, and at will `config`, `set` and `repeats`.
        overrides: `a.b=value` that all settings share; they win over the grid file's.
        repeats: Seeds, counted up from the configuration's; None takes the grid file's, or 1.

    Raises:
        ConfigError: A key or value is wrong, there is nothing to try, or two settings are the same.
    """
    from_file = _read(grid_file) if grid_file is not None else {}
    if config_path is None and grid_file is not None and "config" in from_file:
        named = str(from_file["config"])
        config_path = sources.recipe(named) if named in sources.names() else grid_file.parent / named
    axes = [[f"{key}={json.dumps(value)}" for value in values] for key, values in from_file.get("grid", {}).items()]
    axes += [parse_axis(text) for text in grid]
    if not axes:
        raise ConfigError("--grid", "found nothing to try", "write for example --grid optim.weight_decay=1e-5,1e-4")
    shared = [*from_file.get("set", []), *overrides]
    settings: list[Setting] = []
    for number, changes in enumerate(itertools.product(*axes)):
        if any(change.partition("=")[0] == "seed" for change in changes):
            raise ConfigError("--grid", "found 'seed', which is no setting", "use --repeats for more seeds")
        config = configuration.load(config_path, [*shared, *changes])
        name = ", ".join(changes).replace('"', "")
        settings.append(Setting(name, f"{number:02d}-{_slug(name)}", config))
    _check_distinct(settings)
    first = settings[0].config.seed
    count = repeats or int(from_file.get("repeats", 1))
    return Plan(tuple(settings), tuple(range(first, first + count)))


def parse_axis(text: str) -> list[str]:
    """Take `a.b=v1,v2` apart into `a.b=v1` and `a.b=v2`.

    Raises:
        ConfigError: There is no key, or no value.
    """
    key, equals, values = text.partition("=")
    parts = [part.strip() for part in _split(values)]
    if not equals or not key.strip() or not all(parts):
        raise ConfigError("--grid", f"found '{text}', wanted key=value,value", "write for example --grid seed=1,2")
    return [f"{key.strip()}={part}" for part in parts]


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _read(path: Path) -> dict[str, Any]:
    """Read a grid file; a key it does not know is an error."""
    document = sources.read_toml(sources.find(path, sources.GRIDS))
    wanted: dict[str, type] = {"config": str, "set": list, "repeats": int, "grid": dict}
    for key, value in document.items():
        if not isinstance(value, wanted.get(key, ())):
            known = ", ".join(wanted)
            raise ConfigError(
                path, f"'{key}' is not what a grid file holds", f"its keys are {known}; see docs/sweeps.md"
            )
    for key, values in document.get("grid", {}).items():
        if not isinstance(values, list) or not values:
            raise ConfigError(path, f"grid.{key}: found {values!r}, wanted a list of values", "write it in brackets")
    return document


def _check_distinct(settings: list[Setting]) -> None:
    seen: dict[str, str] = {}
    for setting in settings:
        other = seen.setdefault(setting.config.fingerprint(), setting.name)
        if other is not setting.name:
            raise ConfigError("--grid", f"'{setting.name}' is the same as '{other}'", "drop one of them")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=+-]+", "_", name)[:80].strip("_")
