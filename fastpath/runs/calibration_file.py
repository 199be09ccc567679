"""A run's calibrations on disk: fitted by `evaluate`, used by `predict`, each bound to the weights it was fitted for.

There is one a checkpoint, a number of views and a mean of them, each in a file of its own beside the checkpoint, so
that scores of eight views are never mapped by what was fitted to scores of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastpath.analysis import calibration
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.analysis.combine import Mean
from fastpath.errors import DataError, FastpathError
from fastpath.store.format import hash_file
from fastpath.system.files import read_regular, write_durably
from fastpath.text import brief
from fastpath.types import Split, Tta

NAME = "calibration.json"
"""Of the calibration of `best.pt` scored in one view; `name_of` tells the others'."""

_NAMES = re.compile(r"calibration(-.+)?\.json")
_BYTES_MAX = 64 << 20  # an isotonic map of a million knots stays below


def suffix_of(checkpoint: Path, tta: Tta, mean: Mean) -> str:
    """Return what tells files on a checkpoint scored this way from those on the best one in a single view: `-d4`."""
    parts = [] if checkpoint.stem == "best" else [checkpoint.stem]
    if tta != "none":  # the mean of one view is that view
        parts += [tta] if mean == "logits" else [tta, mean]
    return "".join(f"-{part}" for part in parts)


def name_of(checkpoint: Path, tta: Tta, mean: Mean) -> str:
    """Return the name of the file that keeps the calibration of a checkpoint scored this way."""
    return f"calibration{suffix_of(checkpoint, tta, mean)}.json"


def save(
    checkpoint: Path,
    method: Method,
    fitted: Mapping[Method, Calibrator],
    about: Mapping[str, Any],
    predictions: Path | None = None,
) -> str:
    """Write the maps beside a checkpoint; the file as a whole reads as the one to use (`calibration.from_dict`).

    Args:
        checkpoint: The weights that gave the logits.
        method: The one to use.
        fitted: All of them.
        about: What they were fitted on; `tta` and `mean` must be among it.
        predictions: The table of `evaluate` that they were fitted on, for the calibration of a mean of runs.

    Returns:
        What is to be said where another calibration of these weights, scored this way, was replaced; else nothing.
    """
    maps = {name: calibration.to_dict(calibrator) for name, calibrator in fitted.items()}
    chosen = calibration.to_dict(fitted.get(method, calibration.IDENTITY))
    values = {**chosen, "weights": hash_file(checkpoint, follow=True), **about, "others": maps}
    if predictions is not None:
        place = os.path.relpath(predictions, checkpoint.parent)
        values["predictions"] = {"path": place, "hash": hash_file(predictions, follow=True)}
    values["checksum"] = _checksum(values)
    path = checkpoint.parent / name_of(checkpoint, about["tta"], about.get("mean", "logits"))
    replaced = _replaced(path, json.loads(json.dumps(values)))
    write_durably(path, (json.dumps(values, indent=1) + "\n").encode())
    return replaced


def _replaced(path: Path, values: Mapping[str, Any]) -> str:
    """Return what is to be said of a calibration of the same weights that another takes the place of."""
    with suppress(FastpathError, ValueError, RecursionError, AttributeError):
        older = json.loads(read_regular(path, bytes_max=_BYTES_MAX, follow=True))
        chosen = ("method", "fitted_on", *calibration.to_dict(calibration.from_dict(dict(values))))
        if older.get("weights") != values["weights"] or all(older.get(key) == values.get(key) for key in chosen):
            return ""
        return (
            f"{path.name} held {_in_words(older)} and now holds {_in_words(values)}, which 'fastpath predict' takes "
            f"from now on"
        )
    return ""


def _in_words(values: Mapping[str, Any]) -> str:
    fitted_on = values.get("fitted_on") or {}
    part, num = fitted_on.get("of", fitted_on.get("split")), fitted_on.get("num_patches")
    of = f" fitted on {num:,} patches of the {part} split" if isinstance(num, int) else ""
    return f"a calibration ({values.get('method')}){of}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A run's calibration.

    Attributes:
        calibrator: The identity where there is none that fits.
        missing: Why there is none; empty where there is one.
        cautions: What its evaluation said against it.
        predictions: What it was fitted on, a table of `evaluate`; None where that is not told.
        predictions_hash: Of that file.
        path: The file; None where there is none.
        about: What else the file tells, such as `fitted_on`.
    """

    calibrator: Calibrator = calibration.IDENTITY
    missing: str = ""
    cautions: tuple[str, ...] = ()
    predictions: Path | None = None
    predictions_hash: str = ""
    path: Path | None = field(default=None, compare=False)
    about: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def notices(self) -> list[str]:
        """What the reader of the probabilities should know."""
        cautions = [f"of the run's calibration, its evaluation says: {text}" for text in self.cautions]
        return [self.missing, *cautions] if self.missing else cautions

    @property
    def fitted_on(self) -> Split | None:
        """The part of the store that it was fitted on, or on a half of; None without one, or where it does not tell."""
        facts = self.about.get("fitted_on")
        if self.missing or not isinstance(facts, Mapping):
            return None
        split = facts.get("of", facts.get("split"))
        if split == Split.TEST and "of" not in facts:  # older files name what was judged
            return Split.VAL
        return Split(split) if split in set(Split) else None


def load(checkpoint: Path, tta: Tta, mean: Mean) -> Kept:
    """Return the calibration for these weights, scored this way, whatever its file beside them is called.

    Args:
        checkpoint: The weights.
        tta: Views of a patch.
        mean: What is averaged over views; not compared where there is one view.

    Raises:
        DataError: None fits, and there is a file that is not a calibration, or not the one that was written. One
            without a checksum was written by hand, and is taken where its numbers are in order.
    """
    first = name_of(checkpoint, tta, mean)
    names = sorted({NAME, *_written(checkpoint.parent)}, key=lambda name: (name != first, name != NAME, name))
    missing, damage = "", None
    for path in (checkpoint.parent / name for name in names):
        if not os.path.lexists(path):
            continue
        try:
            kept = _read(path, checkpoint, tta, mean)
        except DataError as error:
            if path.name == first:
                raise
            damage = damage or error
            continue
        if not kept.missing:
            return kept
        missing = missing or kept.missing
    if damage is not None and not missing:
        raise damage
    return Kept(missing=missing or "probabilities are not calibrated: 'fastpath evaluate' of the run does that")


def _written(folder: Path) -> list[str]:
    """Return the names of calibrations in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        return [entry.name for entry in entries if _NAMES.fullmatch(entry.name)]
    return []


def _read(path: Path, checkpoint: Path, tta: Tta, mean: Mean) -> Kept:
    """Return what a file keeps, or why that is not for these weights, scored this way."""
    try:
        values = json.loads(read_regular(path, bytes_max=_BYTES_MAX, follow=True, kind=DataError))
        wanted = values.pop("checksum", None)
        if wanted not in (None, _checksum(values)):
            raise ValueError("its values are not those that were written: the checksum is another")
        chosen, weights, seen = calibration.from_dict(values), values["weights"], values["tta"]
        cautions = tuple(str(text) for text in values.get("cautions", ()))
        fitted_on = values.get("predictions") or {"path": None, "hash": ""}
        table, table_hash = fitted_on["path"], str(fitted_on["hash"])
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        problem = f"is not a calibration ({type(error).__name__}: {brief(error, 200)})"
        raise DataError(path, problem, "run 'fastpath evaluate' again") from None
    again = "so probabilities are not calibrated: run 'fastpath evaluate' again"
    if weights != hash_file(checkpoint, follow=True):
        return Kept(missing=f"{path} belongs to other weights than {checkpoint.name}, {again}")
    if seen != tta:
        return Kept(missing=f"{path} was fitted with --tta {seen}, {again} with --tta {tta}")
    if tta != "none" and values.get("mean") != mean:
        description = (
            f"was fitted with --mean {values['mean']}" if "mean" in values else "does not tell the mean of views"
        )
        return Kept(missing=f"{path} {description}, {again} with --mean {mean}")
    predictions = None if table is None else path.parent / str(table)
    return Kept(chosen, "", cautions, predictions, table_hash, path, values)


def _checksum(values: Mapping[str, Any]) -> str:
    """Return 16 hex digits that differ when any value does."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
