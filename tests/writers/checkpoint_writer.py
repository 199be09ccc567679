"""Checkpoints as released versions wrote them: these functions never change, and what they write stays readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

Values = dict[str, Any]


def version_2() -> Values:
    """Return the values of a checkpoint of format version 2."""
    return {
        "format": "fastpath-checkpoint",
        "version": 2,
        "config": {"seed": 42, "data": {"batch_size": 64}},
        "store_fingerprint": "aaaa",
        "split_fingerprint": "bbbb",
        "mean_3": (0.7, 0.54, 0.69),
        "std_3": (0.2, 0.3, 0.2),
        "patch_size_px": 96,
        "classes": ("normal", "tumour"),
        "software": {"fastpath": "0.1.0", "torch": "2.9.0"},
        "extra_fingerprint": "cccc",
        "stain": "macenko",
        "epoch": 2,
        "step": 7,
        "best_auc": 0.875,
        "best_epoch": 1,
        "epochs_since_best": 1,
        "loss_sum": torch.tensor(0.5, dtype=torch.float64),
        "num_seen": 448,
        "model": {"weight": torch.arange(4.0)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.001, "params": [0]}]},
        "schedule": {"best": float("-inf"), "last_epoch": 2},
        "scaler": {"scale": 65536.0},
        "num_skipped": torch.tensor(1.0),
        "average": {"weight": torch.full((4,), 0.5)},
        "num_averaged": 135,
    }


def write(values: Values, path: Path) -> Path:
    """Write values as every version has so far: a table, by torch's own `save`."""
    torch.save(values, path)
    return path
