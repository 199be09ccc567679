"""What is said of AUCs on the patches that chose the epoch or the setting."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastpath.analysis import selection
from fastpath.config import parse
from fastpath.errors import ConfigError
from fastpath.runs import best_epoch
from fastpath.runs.row_history import HONEST, RowHistory, auc_error
from fastpath.workflows.sweep import sweep_trust
from fastpath.workflows.sweep.sweep_plan import Setting


@pytest.mark.parametrize(
    ("num_epochs", "num_settings", "error", "wanted"),
    [
        (1, 1, 0.01, ""),
        (15, 1, 0.0097, "of the best of 15 epochs, chosen by these very patches, so optimistic, by about 0.006"),
        (15, 1, None, "of the best of 15 epochs, chosen by these very patches, so optimistic; "),
        (15, 1, math.nan, "so optimistic; "),
        (1, 4, 0.01, "of the best of 4 settings, chosen"),
        (3, 4, 0.01, f"of the best of 3 epochs and the best of 4 settings, {''}chosen"),
    ],
)
def test_a_choice_is_told_with_its_size(num_epochs: int, num_settings: int, error: float | None, wanted: str) -> None:
    notice = best_epoch.of_aucs(num_epochs, error, num_settings=num_settings)
    assert wanted in notice
    assert bool(wanted) == bool(notice) == (HONEST in notice)
    if error and math.isfinite(error) and notice:
        assert f"{selection.optimism(num_epochs * num_settings, error):.3f}" in notice


def test_a_training_tells_what_its_best_auc_is_worth() -> None:
    labels_M = (np.arange(1000) % 2).astype(np.int8)

    def notices(num_epochs: int, best_auc: float = 0.9, **train: Any) -> list[str]:
        return best_epoch.of_training(parse({"train": train}), num_epochs, best_auc, labels_M)

    assert notices(1) == notices(5, best_auc=-1.0) == []
    (notice,) = notices(15)
    assert "the best validation AUC is of the best of 15 epochs" in notice
    assert "by at least about 0.006" in notice
    assert notices(1, include_val=True) == notices(9, include_val=True) == [best_epoch.TRAINED_ON]


def test_runs_that_are_compared_tell_who_is_flattered_more() -> None:
    nobody_N, every_N = np.zeros(100, bool), np.ones(100, bool)
    plain = RowHistory(nobody_N, nobody_N, nobody_N, nobody_N)
    chosen = replace(plain, epoch_N=every_N, num_epochs=15)
    assert best_epoch.of_runs(["a", "b"], [plain, replace(chosen, stopped=True)], [0.01, 0.01]) == []
    (notice,) = best_epoch.of_runs(["a", "b"], [chosen, chosen], [0.01, 0.02])
    assert notice.startswith("each run's AUC is of the best epoch by these very patches")
    assert f"by about {selection.optimism(15, 0.02):.3f} at most" in notice
    first, second = best_epoch.of_runs(["a", "b"], [plain, chosen], [math.nan, math.nan])
    assert first.startswith("b's AUC is")
    assert "at most" not in first
    assert "among 1 to 15 epochs, on 0 to 100 of these patches" in second


def test_a_sweep_of_a_setting_that_is_trained_on_its_judges_is_refused() -> None:
    settings = [Setting(name, name, parse({"train": {"include_val": name == "b"}})) for name in "ab"]
    with pytest.raises(ConfigError, match=r"train.include_val: found true in setting 'b'"):
        sweep_trust.check(settings)
    sweep_trust.check(settings[:1])


def test_an_interval_tells_its_standard_error_back() -> None:
    from scipy.special import stdtrit

    reach = stdtrit(7, 0.975) * 0.02 / (0.9 * 0.1)
    low, high = (1 / (1 + math.exp(-(math.log(9) + sign * reach))) for sign in (-1, 1))
    assert auc_error({"value": 0.9, "low": low, "high": high}, 8) == pytest.approx(0.02)
    assert auc_error({"value": 1.0, "low": None, "high": None}, 8) is None
    assert auc_error({"value": 0.9, "low": math.nan, "high": math.nan}, 8) is None
