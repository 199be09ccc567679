"""What every table of the configuration is: frozen, strict about its keys, and its errors are the house's."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from fastpath.errors import ConfigError

_SHOWN = 100  # characters of a key or value that an error shows

if TYPE_CHECKING:
    _Base = BaseModel
else:

    class _HouseErrors(type(BaseModel)):
        """Of tables made by name, `DataConfig(batch_size=0)`: those within another are the outer one's to tell of."""

        def __call__(cls, *args: object, **values: object) -> object:
            try:
                return super().__call__(*args, **values)
            except ValidationError as error:
                raise explain(error, cls.__name__, cls.model_fields) from None

    class _Base(BaseModel, metaclass=_HouseErrors):
        """What tells of a wrong value as a `ConfigError`."""


class Section(_Base):
    """Base of every table of the configuration: frozen, and a key it does not know is an error.

    Raises:
        ConfigError: Made by name, of a key or value that is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def _shown(value: object) -> str:
    """Return a value as Python writes it, cut where it would fill more than a line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def explain(error: ValidationError, location: object, known: Iterable[str]) -> ConfigError:
    """Turn the first of pydantic's complaints into one line.

    Args:
        error: What pydantic raised.
        location: Where the values came from.
        known: Keys that there are, dotted.
    """
    first = error.errors()[0]
    dotted = ".".join(str(part) for part in first["loc"])[:_SHOWN]
    if first["type"] == "extra_forbidden":
        keys = [*known]
        keys += list({key.split(".")[0] for key in keys})
        longer = [key for key in keys if key.startswith(dotted) or key.endswith(f".{dotted}")]
        near = longer[:2] or difflib.get_close_matches(dotted, keys, n=1, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "'fastpath config keys' explains them all"
        return ConfigError(location, f"unknown key '{dotted}'", hint)
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return ConfigError(location, f"'{dotted}' is missing", "give it a value")
    # What concerns several tables names its keys itself.
    problem = f"{dotted}: found {_shown(first['input'])}; {problem}" if dotted else problem
    return ConfigError(location, problem, "correct that value")
