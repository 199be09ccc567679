"""Where settings come from: a recipe that ships with fastpath, a TOML file, or a run, whose settings are used again."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastpath.config.augment import AugmentConfig
from fastpath.config.core import Config, parse
from fastpath.errors import ConfigError
from fastpath.system.files import read_regular
from fastpath.text import brief

BYTES_MAX = 1 << 20  # a recipe has a few hundred
RECIPES = Path(__file__).resolve().parent.parent / "recipes"
GRIDS = RECIPES / "sweeps"
RUN_CONFIG = "config.json"
"""What a run's directory holds its settings in."""


def load(source: Path | str | None, overrides: Iterable[str] = ()) -> Config:
    """Read settings (the defaults where `source` is None) and apply `a.b=value` overrides.

    Args:
        source: A TOML file, a run's directory or its `config.json`, or, as a `str`, the name of a recipe. A recipe wins
            over a file of its name; a `Path` is always a file or a directory.
        overrides: They win over what is read.

    Raises:
        ConfigError: There is no such file or recipe, it is not what it should be, or a key or value is wrong.
    """
    values: dict[str, Any] = {}
    path = None if source is None else find(source, RECIPES)
    if path is not None:
        values = _read_run(path) if path.suffix == ".json" else read_toml(path)
    for override in overrides:
        _apply(values, override)
    return parse(values, path or "configuration")


def recipe(name: str, folder: Path = RECIPES) -> Path:
    """Return the TOML file of a recipe that ships with fastpath, such as `demo`.

    Raises:
        ConfigError: There is no such recipe.
    """
    known = names(folder)
    if name not in known:
        hint = nearest(name, known) or "choose one of these"
        raise ConfigError(name, f"is not a recipe; known are {', '.join(known)}", hint)
    return folder / f"{name}.toml"


def names(folder: Path = RECIPES) -> list[str]:
    """Return the names of the recipes in a folder of the package, in alphabetical order."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def find(source: Path | str, folder: Path = RECIPES) -> Path:
    """Return the file that settings are read from.

    Raises:
        ConfigError: There is none; the nearest recipe is named.
    """
    if isinstance(source, str) and source in names(folder):
        return folder / f"{source}.toml"
    path = Path(source)
    if path.is_dir() and (path / RUN_CONFIG).exists():
        return path / RUN_CONFIG
    if not path.exists() and path == Path(path.name):
        known = names(folder)
        hint = nearest(path.stem, known) or f"give a file, or one of {', '.join(known)}"
        raise ConfigError(path, "is neither a file nor a recipe", hint)
    return path


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question that names what is most like a name; empty where nothing is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file of any keys.

    Raises:
        ConfigError: It is missing, too large or not TOML.
    """
    content = read_regular(path, bytes_max=BYTES_MAX, follow=True, kind=ConfigError)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, UnicodeDecodeError, a number of 5,000 digits
        raise ConfigError(path, f"is not TOML ({brief(error, 200)})", "correct that line") from None


def _read_run(path: Path) -> dict[str, Any]:
    """Read a run's settings, less what its policy and its stages' common tables give: an override changes those too."""
    content = read_regular(path, bytes_max=BYTES_MAX, follow=True, kind=ConfigError)
    try:
        values = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(path, f"is not JSON ({brief(error, 200)})", "give the config.json of a run") from None
    if not isinstance(values, dict):
        raise ConfigError(path, f"found a {type(values).__name__}, wanted a table", "give the config.json of a run")
    return given(parse(values, path))


def given(config: Config) -> dict[str, Any]:
    """Return the fewest values that make this configuration, as a person would have written them in TOML."""
    full = config.to_dict()
    written = _differing(full, Config().to_dict())
    _write_augment(written, full)
    stages = []
    for stage in full["stages"]:
        table = {name: part for name, part in stage.items() if name == "epochs"}
        for name in ("data", "model", "optim", "schedule"):
            if differing := _differing(stage[name], full[name]):
                table[name] = differing
        stages.append(table)
    if stages:
        written["stages"] = stages
    # Stages that start from a policy of their own may need more said: then all is.
    return written if parse(written) == config else full


def _write_augment(written: dict[str, Any], full: Mapping[str, Any]) -> None:
    """Name a policy and what differs from it, in place of what differs from the defaults."""
    augment = full["data"]["augment"]
    base = AugmentConfig.model_validate({"policy": augment["policy"]}).model_dump(mode="json")
    table = {"policy": augment["policy"], **_differing(augment, base)}
    if table != {"policy": AugmentConfig().policy}:
        written.setdefault("data", {})["augment"] = table


def _differing(values: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested values that differ from those of a base."""
    differing: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping):
            if inner := _differing(value, base[key]):
                differing[key] = inner
        elif value != base.get(key):
            differing[key] = value
    return differing


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `a.b=value` in nested `values`; the value is read as TOML, and as a bare string failing that."""
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError("--set", f"found '{override}', wanted key=value", "write for example --set train.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except RecursionError:
        raise ConfigError("--set", f"'{dotted}' is nested too deeply", "give it a value") from None
    except ValueError:  # TOMLDecodeError, or a number of 5,000 digits
        value = text.strip()
    table = values
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigError("--set", f"'{dotted}' goes below '{key}', which is a value", "drop what follows it")
    table[keys[-1]] = value


def to_toml(values: Mapping[str, Any]) -> str:
    """Return nested plain values as TOML, a dotted key a line, stages as tables."""
    lines = [f"{key} = {_literal(value)}" for key, value in _flat(values) if key != "stages"]
    for stage in values.get("stages", ()):
        lines += ["", "[[stages]]", *(f"{key} = {_literal(value)}" for key, value in _flat(stage))]
    return "\n".join(lines) + "\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested values by dotted key; those that TOML cannot say (None) left out."""
    keys: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            keys += _flat(value, f"{prefix}{key}.")
        elif value is not None:
            keys.append((prefix + key, value))
    return keys


def _literal(value: object) -> str:
    """Return a value as TOML writes it: JSON's strings, numbers and lists are TOML's."""
    return json.dumps(value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )  # which JSON leaves bare and TOML does not take
