"""A run's calibration on disk: fitted by `evaluate`, used by `predict`, bound to the very weights it was fitted for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastpath.analysis import calibration
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.errors import DataError
from fastpath.files import read_regular, write_durably
from fastpath.shards.format import hash_file
from fastpath.text import brief
from fastpath.workflows.score_views import Tta

NAME = "calibration.json"

_BYTES_MAX = 64 << 20  # an isotonic map of a million knots stays below


def save(checkpoint: Path, method: Method, fitted: Mapping[Method, Calibrator], about: Mapping[str, Any]) -> None:
    """Write the maps beside a checkpoint; the file as a whole reads as the one to use (`calibration.from_dict`).

    Args:
        checkpoint: The weights that gave the logits.
        method: The one to use.
        fitted: All of them.
        about: What they were fitted on; `tta` must be among it.
    """
    maps = {name: calibration.to_dict(one) for name, one in fitted.items()}
    chosen = calibration.to_dict(fitted.get(method, calibration.IDENTITY))
    values = {**chosen, "weights": hash_file(checkpoint, follow=True), **about, "others": maps}
    values["checksum"] = _checksum(values)
    write_durably(checkpoint.parent / NAME, (json.dumps(values, indent=1) + "\n").encode())


def load(checkpoint: Path, tta: Tta) -> tuple[Calibrator, str]:
    """Return the map for these weights, and a notice: the identity, with the reason, where there is none that fits.

    Raises:
        DataError: There is a file that is not a calibration, or not the one that was written. One without a checksum
            was written by hand, and is taken where its numbers are in order.
    """
    path = checkpoint.parent / NAME
    if not os.path.lexists(path):
        return calibration.IDENTITY, "probabilities are not calibrated: 'fastpath evaluate' of the run does that"
    try:
        values = json.loads(read_regular(path, bytes_max=_BYTES_MAX, follow=True, kind=DataError))
        wanted = values.pop("checksum", None)
        if wanted not in (None, _checksum(values)):
            raise ValueError("its values are not those that were written: the checksum is another")
        chosen, weights, seen = calibration.from_dict(values), values["weights"], values["tta"]
    except (ValueError, KeyError, TypeError, ArithmeticError, AttributeError, RecursionError) as error:
        problem = f"is not a calibration ({type(error).__name__}: {brief(error, 200)})"
        raise DataError(path, problem, "run 'fastpath evaluate' again") from None
    again = "so probabilities are not calibrated: run 'fastpath evaluate' again"
    if weights != hash_file(checkpoint, follow=True):
        return calibration.IDENTITY, f"{path} belongs to other weights than {checkpoint.name}, {again}"
    if seen != tta:
        return calibration.IDENTITY, f"{path} was fitted with --tta {seen}, {again} with --tta {tta}"
    return chosen, ""


def _checksum(values: Mapping[str, Any]) -> str:
    """Return 16 hex digits that differ when any value does."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
