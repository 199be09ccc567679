"""What a checkpoint's values have to look like, before anything is made of them: each field names its form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import torch
from torch import Tensor

from fastpath.engine.archive import tensors
from fastpath.errors import CheckpointError
from fastpath.system.tensor_file import not_finite

PATCH_PX_MAX = 4096  # of a patch's side; a network's input has 1,024 at most
_COUNT_MAX = 2**53  # what a float64, in which JSON keeps it, can count to
_TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Form:
    """What the values of a field may be, besides their type.

    Attributes:
        holds: Whether a value of the field's type is one.
        wanted: What is wanted, for an error; empty where nothing short says it.
        weights: Whether it is a state dict of a network, whose numbers are to be finite.
    """

    holds: Callable[[Any], bool]
    wanted: str
    weights: bool = False


def check_fields(values: Mapping[str, Any], kind: type, path: Path) -> None:
    """Refuse a table that lacks a field, has one too many, or holds a value of another type or form.

    Args:
        values: The checkpoint's, by field.
        kind: The dataclass whose fields they are to become.
        path: Its file, for an error.

    Raises:
        CheckpointError: Naming the field.
    """
    hints = get_type_hints(kind)
    forms: dict[str, Form] = {field.name: field.metadata["form"] for field in fields(kind) if "form" in field.metadata}
    odd = sorted(set(hints) ^ set(values))
    odd += [name for name, hint in hints.items() if not odd and not isinstance(values[name], get_origin(hint) or hint)]
    if not odd:
        odd = [name for name, form in forms.items() if not form.holds(values[name])]
    if odd:
        wanted = f", wanted {forms[odd[0]].wanted}" if odd[0] in forms and forms[odd[0]].wanted else ""
        problem = f"'{odd[0][:80]}' is not what a checkpoint holds there{wanted}"
        raise CheckpointError(path, problem, "give best.pt or last.pt as it was written, or train again")
    for part in (name for name, form in forms.items() if form.weights):
        nonfinite = not_finite(values[part])
        if nonfinite is not None:
            problem = f"its weights are not finite ('{part}.{nonfinite}' holds NaN or infinity)"
            raise CheckpointError(path, problem, "train again with a lower learning rate, or use an earlier one")


def _number(low: float, high: float, *, above: bool = False) -> Callable[[object], bool]:
    """Return whether something is a finite number of a range, `low` excluded where it has to be above."""
    return lambda value: type(value) in (int, float) and (low < value if above else low <= value) and value <= high  # type: ignore[operator]


def _three(holds: Callable[[object], bool]) -> Callable[[Any], bool]:
    return lambda values: len(values) == 3 and all(map(holds, values))


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < _COUNT_MAX


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_MAX


def _scalar(value: Tensor) -> bool:
    return value.dim() == 0 and value.is_floating_point() and bool(torch.isfinite(value)) and bool(value >= 0)


def _state(values: Mapping[str, Any]) -> bool:
    """Whether an optimiser's or scaler's state holds finite numbers, and rates that are not negative."""
    if any(tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()) for _, tensor in tensors(values)):
        return False
    groups = values.get("param_groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        return False
    rates = [group.get(name, 0) for group in groups for name in ("lr", "initial_lr", "eps", "weight_decay")]
    return all(map(_number(0, 1e38), (rate for rate in rates if not isinstance(rate, Tensor))))


def _no_nan(value: object) -> bool:
    """Whether nested values hold no NaN; a schedule's best value begins at infinity."""
    if isinstance(value, Mapping):
        return all(map(_no_nan, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_no_nan, value))
    return not (isinstance(value, float) and math.isnan(value))


def _tensors(values: Mapping[str, Any]) -> bool:
    return all(isinstance(value, Tensor) for value in values.values())


def _metadata(holds: Callable[[Any], bool], wanted: str, *, weights: bool = False) -> Mapping[str, Form]:
    """Return a form as the metadata of a dataclass's field."""
    return {"form": Form(holds, wanted, weights)}


COUNT = _metadata(_count, "a count from 0 on")
SUM = _metadata(_scalar, "one finite number from 0 on")
BEST_AUC = _metadata(_number(-1.0, 1.0), "a number of 0 to 1, or -1 before the first")
FINGERPRINT = _metadata(_text, "a fingerprint")
STAIN = _metadata(_text, "the name of a stain normalisation")
TWO_NAMES = _metadata(lambda names: len(names) == 2 and all(map(_text, names)), "two names")
VERSIONS = _metadata(lambda result: all(map(_text, result)) and all(map(_text, result.values())), "versions by name")
THREE_MEANS = _metadata(_three(_number(0.0, 1.0)), "three numbers of 0 to 1")
THREE_DEVIATIONS = _metadata(_three(_number(0.0, 1.0, above=True)), "three numbers above 0 and up to 1")
PATCH_SIZE = _metadata(lambda value: _count(value) and 1 <= value <= PATCH_PX_MAX, f"1 to {PATCH_PX_MAX} pixels")
STATE = _metadata(_state, "finite numbers, and no rate below 0")
NO_NAN = _metadata(_no_nan, "no NaN")
WEIGHTS = _metadata(_tensors, "", weights=True)
