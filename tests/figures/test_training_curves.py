"""The picture of a run: drawn whatever the journal holds, and the same for the same journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastpath.figures import style, training_curves
from fastpath.figures.training_curves import draw_curves


def records(count: int, **changes: Any) -> list[dict[str, Any]]:
    epoch_facts = {
        "train_loss": 0.5,
        "val_loss": 0.4,
        "val_auc": 0.9,
        "lr_head": 1e-3,
        "lr_trunk": 1e-4,
        "improved": True,
    }
    return [{"epoch": epoch, **epoch_facts, **changes} for epoch in range(1, count + 1)]


@pytest.mark.parametrize("given", [[], records(1), records(3), records(2, val_auc=None, improved=False)])
def test_draws_any_journal(given: list[dict[str, Any]], tmp_path: Path) -> None:
    draw_curves(tmp_path / "a.png", given, "a run")
    draw_curves(tmp_path / "b.png", given, "a run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 2 * picture.height > 600


def _drawn(path: Path, rates: dict[str, list[tuple[float, float]]]) -> np.ndarray:
    draw_curves(path, records(2), "a run", (), rates)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def _share(picture: np.ndarray, colour: str) -> float:
    """Return the share of the third panel, that of learning rates, in a colour."""
    panel = picture[:, picture.shape[1] // 2 : 3 * picture.shape[1] // 4]
    return float((np.abs(panel - np.array(style.rgb(colour))).max(axis=2) < 8).mean())


def test_each_parameter_group_has_its_learning_rate_and_equal_ones_have_one_line(tmp_path: Path) -> None:
    rise, low = [(0.0, 1e-4), (0.5, 1e-3), (2.0, 1e-6)], [(0.0, 1e-5), (2.0, 1e-7)]
    (head, _), (trunk, _) = training_curves.RATES["head"], training_curves.RATES["trunk"]
    alone, both, same = (
        _drawn(tmp_path / f"{number}.png", rates)
        for number, rates in enumerate(({"head": rise}, {"head": rise, "trunk": low}, {"head": rise, "trunk": rise}))
    )
    assert _share(alone, head) > 0
    assert _share(alone, trunk) == _share(same, trunk) == 0
    assert _share(both, trunk) > 0
