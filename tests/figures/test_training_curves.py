"""The picture of a run: drawn whatever the journal holds, and the same for the same journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


def test_a_head_alone_has_one_rate(tmp_path: Path) -> None:
    alone = records(3)
    for record in alone:
        del record["lr_trunk"]
    draw_curves(tmp_path / "alone.png", alone, "a run")
    draw_curves(tmp_path / "both.png", records(3), "a run")
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("alone", "both")]
    assert not np.array_equal(*pictures)
