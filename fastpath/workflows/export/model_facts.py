"""What a file of a model says of itself, in the fields that its format has for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastpath import __version__
from fastpath.analysis import metrics
from fastpath.analysis.calibration import Calibrator
from fastpath.config import Config
from fastpath.runs.trained import TrainedRun
from fastpath.types import Tta
from fastpath.workflows.export.model_card import INTENDED_USE


def describe(trained: TrainedRun, calibrator: Calibrator, tta: Tta, *, within: bool) -> dict[str, Any]:
    """Return what whoever feeds the model or reads its scores has to know: plain values.

    Args:
        trained: The run.
        calibrator: Its calibration, the identity where there is none.
        tta: Views averaged within.
        within: Whether normalisation, resizing and calibration are computed by the file itself.
    """
    checkpoint, config = trained.checkpoint, trained.config
    return {
        "producer": f"fastpath {__version__}",
        "intended_use": INTENDED_USE,
        "architecture": config.model.name,
        "pretrained": config.model.pretrained or config.model.weights is not None,
        "classes": list(checkpoint.classes),
        "patch_size_px": checkpoint.patch_size_px,
        "image_size_px": config.data.image_size_px,
        "mean": list(checkpoint.mean_3),
        "std": list(checkpoint.std_3),
        "normalisation": "(pixel / 255 - mean) / std, red green blue" + (", within" if within else ""),
        "tta": tta,
        "calibration": _calibration(calibrator),
        "calibration_note": calibration_note(calibrator, within=within),
        "epoch": checkpoint.epoch,
        "store_fingerprint": checkpoint.store_fingerprint,
        "split_fingerprint": checkpoint.split_fingerprint,
        "config_fingerprint": Config.fingerprint(config),
    }


def as_text(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return facts for formats whose metadata are text: what is not text as JSON."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def calibration_note(calibrator: Calibrator, *, within: bool) -> str:
    """Return in words what turns the file's logit into a probability."""
    if within:
        return f"{calibrator.method}, within: probability = sigmoid(logit)"
    if calibrator.method == "none":
        return "none was fitted; sigmoid(logit) is not a calibrated probability"
    if calibrator.knots_K:
        return "isotonic: straight lines between the knots (logits) and the probabilities listed in 'calibration'"
    return f"{calibrator.method}: probability = sigmoid({calibrator.slope:.6g} * logit + {calibrator.intercept:.6g})"


def _calibration(calibrator: Calibrator) -> dict[str, Any]:
    values: dict[str, Any] = {"method": calibrator.method, "slope": calibrator.slope, "intercept": calibrator.intercept}
    if calibrator.knots_K:
        values["knots"] = list(calibrator.knots_K)
        values["probabilities"] = metrics.probabilities(np.array(calibrator.heights_K)).tolist()
    return values
