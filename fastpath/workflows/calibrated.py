"""A run's calibration on disk: fitted by `evaluate`, used by `predict`, bound to the very weights it was fitted for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastpath.analysis import calibration
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.errors import DataError
from fastpath.files import write_durably
from fastpath.shards.format import hash_file
from fastpath.workflows.score_views import Tta

NAME = "calibration.json"


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
    write_durably(checkpoint.parent / NAME, (json.dumps(values, indent=1) + "\n").encode())


def load(checkpoint: Path, tta: Tta) -> tuple[Calibrator, str]:
    """Return the map for these weights, and a notice: the identity, with the reason, where there is none that fits.

    Raises:
        DataError: There is a file that is not a calibration.
    """
    path = checkpoint.parent / NAME
    if not path.exists():
        return calibration.IDENTITY, "probabilities are not calibrated: 'fastpath evaluate' of the run does that"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        chosen, weights, seen = calibration.from_dict(values), values["weights"], values["tta"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, AttributeError) as error:
        problem = f"is not a calibration ({type(error).__name__}: {error})"
        raise DataError(path, problem, "run 'fastpath evaluate' again") from None
    again = "so probabilities are not calibrated: run 'fastpath evaluate' again"
    if weights != hash_file(checkpoint, follow=True):
        return calibration.IDENTITY, f"{path} belongs to other weights than {checkpoint.name}, {again}"
    if seen != tta:
        return calibration.IDENTITY, f"{path} was fitted with --tta {seen}, {again} with --tta {tta}"
    return chosen, ""
