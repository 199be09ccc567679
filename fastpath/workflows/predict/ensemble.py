"""The calibration of a mean of runs: fitted to the mean itself, on patches that calibrate every one of them.

The mean of calibrated runs is not calibrated: runs that err in different places agree less than each is sure, so their
mean is too unsure (Rahaman and Thiery 2021, "Uncertainty quantification and deep ensembles": pool, then calibrate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fastpath.analysis import calibration, combine, intervals
from fastpath.analysis.calibration import Calibrator, Method
from fastpath.analysis.combine import Mean
from fastpath.errors import FastpathError
from fastpath.runs import report_calibration
from fastpath.runs.calibration_file import Kept
from fastpath.runs.report_table import CALIBRATING, HELD, Floats, ScoredTable
from fastpath.store.format import hash_file

_LEAST = 20
"""Patches of each class below which no calibration of a mean is fitted, and each run keeps its own."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """Runs made one.

    Attributes:
        logits_N: float64, of the mean, calibrated where it can be.
        members_NR: float64, what was averaged.
        methods: Method of each run's calibration; one alone where the mean is calibrated.
        notices: What the reader of the probabilities should know.
    """

    logits_N: Floats
    members_NR: Floats
    methods: list[str]
    notices: list[str]


def pool(logits_NR: Floats, kept: Sequence[Kept], mean: Mean, weights: Sequence[float] | None = None) -> Pooled:
    """Average runs and calibrate the mean; where that cannot be done, each run, and say so.

    Args:
        logits_NR: float64, each run's, as the network gives them.
        kept: Each run's calibration.
        mean: What is averaged over runs.
        weights: One a run; None weighs them alike.
    """
    fitted, refusals = (None, []) if len(kept) == 1 or mean == "ranks" else calibrate(kept, mean, weights)
    if fitted is not None:
        return Pooled(fitted.apply(combine.combine(logits_NR, mean, weights)), logits_NR, [fitted.method], refusals)
    members_NR = np.stack(
        [run_calibration.calibrator.apply(logits_NR[:, at]) for at, run_calibration in enumerate(kept)], axis=1
    )
    notices = [*(text for run_calibration in kept for text in run_calibration.notices), *refusals]
    methods = [str(run_calibration.calibrator.method) for run_calibration in kept]
    return Pooled(combine.combine(members_NR, mean, weights), members_NR, methods, notices)


def calibrate(
    kept: Sequence[Kept], mean: Mean, weights: Sequence[float] | None, seed: int = 42
) -> tuple[Calibrator | None, list[str]]:
    """Fit a calibration to the mean of several runs, on the patches that each run's own was fitted on.

    Those are validation patches of every run, so no run has trained on them. Common patches that were judged, and not
    calibrated on, tell whether it helps.

    Args:
        kept: Each run's calibration.
        mean: What is averaged over runs.
        weights: One a run; None weighs them alike.
        seed: Decides resamples.

    Returns:
        None where it cannot be fitted; and what the reader should know.
    """
    if not any(run_calibration.calibrator.method != "none" for run_calibration in kept):
        return None, []  # raw on demand, or no run has any, which each says
    if any(run_calibration.missing for run_calibration in kept):
        return None, [_each_alone_notice("not every run has a calibration")]
    try:
        tables = [_read(run_calibration) for run_calibration in kept]
    except (FastpathError, OSError, ValueError, KeyError) as error:
        return None, [_each_alone_notice(str(error))]
    scored = _common(tables, mean, weights)
    assert scored.is_calibration_N is not None
    labels_N = scored.labels_N[scored.is_calibration_N]
    num_positive, num_negative = (int((labels_N == label).sum()) for label in (1, 0))
    if min(num_positive, num_negative) < _LEAST:
        problem = f"found {num_positive} tumour and {num_negative} normal patches that calibrated every run"
        return None, [_each_alone_notice(f"{problem}, wanted {_LEAST} of each")]
    return _fit(scored, _method(kept), seed)


def _common(tables: Sequence[pd.DataFrame], mean: Mean, weights: Sequence[float] | None) -> ScoredTable:
    """Return the patches that calibrated every run, and those that were held out of every run's calibration."""
    common = tables[0].index
    for table in tables[1:]:
        common = common[common.isin(table.index)]
    parts_NR, labels_NR, logits_NR = (
        np.stack([table[name][common].to_numpy() for table in tables], axis=1) for name in ("part", "label", "logit")
    )
    fits_N = np.isin(parts_NR, CALIBRATING).all(axis=1)
    held_N = np.isin(parts_NR, HELD).all(axis=1)
    known_N = (fits_N | held_N) & (labels_NR == labels_NR[:, :1]).all(axis=1)
    groups = tables[0]["group"][common[known_N]]
    return ScoredTable(
        ids_N=common[known_N].to_numpy(object),
        labels_N=labels_NR[known_N, 0].astype(np.int8),
        logits_N=combine.combine(logits_NR[known_N], mean, weights),
        groups_N=groups.to_numpy(object) if groups.notna().all() else None,
        is_calibration_N=np.asarray(fits_N)[known_N],
    )


def _fit(scored: ScoredTable, method: Method, seed: int) -> tuple[Calibrator, list[str]]:
    assert scored.is_calibration_N is not None
    fits_N = scored.is_calibration_N
    used = calibration.fit(method, scored.labels_N[fits_N], scored.logits_N[fits_N])
    num = int(fits_N.sum())
    notices = [f"the mean of the runs is calibrated ({method}) on {num:,} patches that calibrated every run"]
    if len(set(scored.labels_N[~fits_N].tolist())) == 2:
        units = intervals.units_of(scored.groups_N, len(scored), scored.labels_N).part(~fits_N)
        judgements = report_calibration.verdicts_of(scored, used, units, seed)
        notices += [f"{judgement.about} of the mean: {judgement.text}" for judgement in judgements if judgement.caution]
    return used, notices


def _method(kept: Sequence[Kept]) -> Method:
    """Return the runs' method where they have one, the default where they differ."""
    methods = {run_calibration.calibrator.method for run_calibration in kept}
    return methods.pop() if len(methods) == 1 else calibration.DEFAULT


def _read(kept: Kept) -> pd.DataFrame:
    """Return the table that a calibration was fitted on, by id.

    Raises:
        ValueError: It is not told, or is not the one that was written.
    """
    path = kept.predictions
    if path is None or not path.is_file():
        raise ValueError(f"the predictions that a calibration was fitted on are gone{_of(path)}")
    if hash_file(path, follow=True) != kept.predictions_hash:
        raise ValueError(f"{path} was written anew since the calibration")
    return pd.read_parquet(path, columns=["id", "group", "label", "part", "logit"]).set_index("id")


def _of(path: Path | None) -> str:
    return "" if path is None else f": {path}"


def _each_alone_notice(why: str) -> str:
    return (
        f"each run is calibrated alone and not their mean, which is then less sure than it should be: {why}; run "
        "'fastpath evaluate' of every run again, on a split they share"
    )
