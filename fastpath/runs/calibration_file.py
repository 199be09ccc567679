"""A run's calibration on disk: fitted by `evaluate`, used by `predict`, bound to the very weights it was fitted for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastpath.analysis import calibration
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.analysis.combine import Mean
from fastpath.errors import DataError
from fastpath.runs.score_views import Tta
from fastpath.store.format import hash_file
from fastpath.system.files import read_regular, write_durably
from fastpath.text import brief

NAME = "calibration.json"

_BYTES_MAX = 64 << 20  # an isotonic map of a million knots stays below


def save(
    checkpoint: Path,
    method: Method,
    fitted: Mapping[Method, Calibrator],
    about: Mapping[str, Any],
    predictions: Path | None = None,
) -> None:
    """Write the maps beside a checkpoint; the file as a whole reads as the one to use (`calibration.from_dict`).

    Args:
        checkpoint: The weights that gave the logits.
        method: The one to use.
        fitted: All of them.
        about: What they were fitted on; `tta` and `mean` must be among it.
        predictions: The table of `evaluate` that they were fitted on, for the calibration of a mean of runs.
    """
    maps = {name: calibration.to_dict(one) for name, one in fitted.items()}
    chosen = calibration.to_dict(fitted.get(method, calibration.IDENTITY))
    values = {**chosen, "weights": hash_file(checkpoint, follow=True), **about, "others": maps}
    if predictions is not None:
        where = os.path.relpath(predictions, checkpoint.parent)
        values["predictions"] = {"path": where, "hash": hash_file(predictions, follow=True)}
    values["checksum"] = _checksum(values)
    write_durably(checkpoint.parent / NAME, (json.dumps(values, indent=1) + "\n").encode())


@dataclass(frozen=True, slots=True)
class Kept:
    """A run's calibration.

    Attributes:
        calibrator: The identity where there is none that fits.
        missing: Why there is none; empty where there is one.
        cautions: What its evaluation said against it.
        predictions: What it was fitted on, a table of `evaluate`; None where that is not told.
        predictions_hash: Of that file.
    """

    calibrator: Calibrator = calibration.IDENTITY
    missing: str = ""
    cautions: tuple[str, ...] = ()
    predictions: Path | None = None
    predictions_hash: str = ""

    @property
    def notices(self) -> list[str]:
        """What the reader of the probabilities should know."""
        told = [f"of the run's calibration, its evaluation says: {text}" for text in self.cautions]
        return [self.missing, *told] if self.missing else told


def load(checkpoint: Path, tta: Tta, mean: Mean) -> Kept:
    """Return the calibration for these weights, scored this way.

    Args:
        checkpoint: The weights.
        tta: Views of a patch.
        mean: What is averaged over views; not compared where there is one view.

    Raises:
        DataError: There is a file that is not a calibration, or not the one that was written. One without a checksum
            was written by hand, and is taken where its numbers are in order.
    """
    path = checkpoint.parent / NAME
    if not os.path.lexists(path):
        return Kept(missing="probabilities are not calibrated: 'fastpath evaluate' of the run does that")
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
        found = f"was fitted with --mean {values['mean']}" if "mean" in values else "does not tell the mean of views"
        return Kept(missing=f"{path} {found}, {again} with --mean {mean}")
    return Kept(chosen, "", cautions, None if table is None else path.parent / str(table), table_hash)


def _checksum(values: Mapping[str, Any]) -> str:
    """Return 16 hex digits that differ when any value does."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
