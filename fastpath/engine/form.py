"""What a checkpoint's values have to look like, before anything is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_origin

import torch
from torch import Tensor

from fastpath.engine.archive import tensors
from fastpath.errors import CheckpointError
from fastpath.system.tensor_file import not_finite

WEIGHTS = ("model", "average")
PATCH_PX_MAX = 4096  # of a patch's side; a network's input has 1,024 at most
_COUNT_MAX = 2**53  # what a float64, in which JSON keeps it, can count to
_TEXT_MAX = 1000


def check_fields(values: Mapping[str, Any], hints: Mapping[str, Any], path: Path) -> None:
    """Refuse a table that lacks a field, has one too many, or holds a value of another type or out of range.

    Args:
        values: The checkpoint's, by field.
        hints: Types of its fields.
        path: Its file, for an error.

    Raises:
        CheckpointError: Naming the field.
    """
    odd = sorted(set(hints) ^ set(values))
    odd += [name for name, hint in hints.items() if not odd and not isinstance(values[name], get_origin(hint) or hint)]
    if not odd:
        odd = [name for name in WEIGHTS if not all(isinstance(value, Tensor) for value in values[name].values())]
    if not odd:
        odd = [name for name, (holds, _) in _RANGES.items() if not holds(values[name])]
    if odd:
        wanted = f", wanted {_RANGES[odd[0]][1]}" if odd[0] in _RANGES else ""
        problem = f"'{odd[0][:80]}' is not what a checkpoint holds there{wanted}"
        raise CheckpointError(path, problem, "give best.pt or last.pt as it was written, or train again")
    for part in WEIGHTS:
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


_COUNT = (_count, "a count from 0 on")
_FINGERPRINT = (_text, "a fingerprint")
_STATE = (_state, "finite numbers, and no rate below 0")
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "mean_3": (_three(_number(0.0, 1.0)), "three numbers of 0 to 1"),
    "std_3": (_three(_number(0.0, 1.0, above=True)), "three numbers above 0 and up to 1"),
    "patch_size_px": (lambda value: _count(value) and 1 <= value <= PATCH_PX_MAX, f"1 to {PATCH_PX_MAX} pixels"),
    "classes": (lambda names: len(names) == 2 and all(map(_text, names)), "two names"),
    "stain": (_text, "the name of a stain normalisation"),
    "software": (lambda found: all(map(_text, found)) and all(map(_text, found.values())), "versions by name"),
    "best_auc": (_number(-1.0, 1.0), "a number of 0 to 1, or -1 before the first"),
    "loss_sum": (_scalar, "one finite number from 0 on"),
    "num_skipped": (_scalar, "one finite number from 0 on"),
    "optimizer": _STATE,
    "scaler": _STATE,
    "schedule": (_no_nan, "no NaN"),
    **dict.fromkeys(("store_fingerprint", "split_fingerprint", "extra_fingerprint"), _FINGERPRINT),
    **dict.fromkeys(("epoch", "step", "best_epoch", "epochs_since_best", "num_seen", "num_averaged"), _COUNT),
}
