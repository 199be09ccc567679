"""Of several runs the mean is calibrated, on patches that calibrated each; else each run, and that is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastpath.analysis import calibration, combine, metrics
from fastpath.runs.calibration_file import Kept
from fastpath.runs.report_table import CALIBRATING, HELD
from fastpath.store.format import hash_file
from fastpath.workflows.predict import ensemble

NUM, NUM_RUNS = 4000, 4


def _labels_and_scores(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Runs that are each right by themselves, and err in different places."""
    rng = np.random.default_rng(seed)
    labels_N = (rng.random(NUM) < 0.3).astype(np.int8)
    logits_NR = 3.0 * (labels_N[:, None] - 0.5) + rng.normal(0, 3.0**0.5, (NUM, NUM_RUNS)) + np.log(0.3 / 0.7)
    return labels_N, logits_NR


def _kept(folder: Path, labels_N: np.ndarray, logits_NR: np.ndarray, shift: int = 0) -> list[Kept]:
    """Each run's calibration with the table that it was fitted on; `shift` rows on for each run."""
    kept_runs = []
    for number in range(logits_NR.shape[1]):
        rows_N = (np.arange(NUM // 2) + shift * number) % NUM
        fits_N, path = np.arange(len(rows_N)) % 2 == 0, folder / f"{number}.parquet"
        columns = {"id": [f"p{row}" for row in rows_N], "group": None, "label": labels_N[rows_N]}
        names = (CALIBRATING[number % 2], HELD[number % 2])
        columns |= {"part": np.where(fits_N, *names), "logit": logits_NR[rows_N, number]}
        pd.DataFrame(columns).to_parquet(path)
        own = calibration.fit("platt", labels_N[rows_N[fits_N]], logits_NR[rows_N[fits_N], number])
        kept_runs.append(Kept(own, predictions=path, predictions_hash=hash_file(path)))
    return kept_runs


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_the_mean_of_runs_is_calibrated_and_no_longer_unsure(tmp_path: Path, mean: combine.Mean) -> None:
    labels_N, logits_NR = _labels_and_scores()
    kept, new_N = _kept(tmp_path, labels_N, logits_NR), slice(NUM // 2, None)
    pooled = ensemble.pool(logits_NR[new_N], kept, mean)
    assert pooled.methods == ["platt"]
    assert "1,000 patches that calibrated every run" in pooled.notices[0]
    each_NR = np.stack([run.calibrator.apply(logits_NR[new_N, at]) for at, run in enumerate(kept)], axis=1)
    apart = metrics.log_loss(labels_N[new_N], combine.combine(each_NR, mean))
    assert metrics.log_loss(labels_N[new_N], pooled.logits_N) < apart - 0.02
    assert calibration.fit("platt", labels_N[new_N], pooled.logits_N).slope == pytest.approx(1.0, abs=0.25)


def test_runs_without_common_patches_are_calibrated_each_and_that_is_said(tmp_path: Path) -> None:
    labels_N, logits_NR = _labels_and_scores()
    kept = _kept(tmp_path, labels_N, logits_NR[:, :2], shift=NUM // 2)
    pooled = ensemble.pool(logits_NR[:, :2], kept, "logits")
    assert pooled.methods == ["platt", "platt"]
    assert "found 0 tumour and 0 normal patches that calibrated every run" in pooled.notices[0]
    own_NR = np.stack([run.calibrator.apply(logits_NR[:, at]) for at, run in enumerate(kept)], axis=1)
    np.testing.assert_array_equal(pooled.logits_N, combine.combine(own_NR))


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_predictions_that_are_not_those_of_the_calibration_are_not_used(tmp_path: Path, damage: str) -> None:
    labels_N, logits_NR = _labels_and_scores()
    kept = _kept(tmp_path, labels_N, logits_NR)
    assert kept[1].predictions is not None
    kept[1].predictions.unlink() if damage == "gone" else pd.DataFrame({"id": []}).to_parquet(kept[1].predictions)
    pooled = ensemble.pool(logits_NR, kept, "logits")
    assert pooled.methods == ["platt"] * NUM_RUNS
    assert ("are gone" if damage == "gone" else "written anew") in pooled.notices[-1]


def test_a_run_that_is_not_calibrated_leaves_the_mean_as_it_was(tmp_path: Path) -> None:
    labels_N, logits_NR = _labels_and_scores()
    kept = [*_kept(tmp_path, labels_N, logits_NR)[1:], Kept(missing="no calibration")]
    pooled = ensemble.pool(logits_NR, kept, "logits")
    assert any("not every run has a calibration" in text for text in pooled.notices)
    raw = ensemble.pool(logits_NR, [Kept()] * NUM_RUNS, "logits")
    np.testing.assert_array_equal(raw.logits_N, combine.combine(logits_NR))
    assert raw.notices == []
