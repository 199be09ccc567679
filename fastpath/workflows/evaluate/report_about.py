"""What a report says of itself: of which run and patches it is, and what its reader must know of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastpath.runs.row_history import UNTOLD, RowHistory, error_of
from fastpath.store.reader import Store
from fastpath.types import Split
from fastpath.workflows.evaluate.report_facts import EvaluateOptions, Evaluation

if TYPE_CHECKING:
    from fastpath.runs.trained import CheckpointName, TrainedRun


def about_run(
    trained: TrainedRun,
    store: Store,
    *,
    split: Split | None,
    split_kind: str | None,
    checkpoint: CheckpointName,
    options: EvaluateOptions,
    history: dict[str, Any] | None,
    notices: Iterable[str],
) -> dict[str, Any]:
    """Return the facts that name a run, the patches it is judged on, and how they were scored.

    Args:
        trained: The run.
        store: Where the patches lie.
        split: The part of the store; None is all of it.
        split_kind: How the store is divided; None where that does not matter.
        checkpoint: The best epoch's weights or the last's.
        options: Views.
        history: What the run has done with these patches.
        notices: What the reader must know; empty ones are left out.
    """
    return {
        "split": split,
        "checkpoint": checkpoint,
        "epoch": trained.checkpoint.epoch,
        "run": trained.path.parent.absolute().name,
        "model": trained.config.model.name,
        "store": store.name,
        "store_fingerprint": store.fingerprint,
        "split_kind": split_kind,
        "tta_views": options.tta,
        "history": history,
        "notices": [notice for notice in notices if notice],
    }


def uncalibrated(options: EvaluateOptions, history: RowHistory | None) -> EvaluateOptions:
    """Return choices that leave probabilities as they are where patches were trained on: these calibrate nothing."""
    return replace(options, method="none") if history is not None and history.trained_N.any() else options


def notices_and_facts(history: RowHistory | None, evaluation: Evaluation) -> tuple[list[str], dict[str, Any] | None]:
    """Return what is to be said of the patches that are judged, and the facts; None where nothing tells."""
    if history is None:
        return [UNTOLD], None
    error = error_of(evaluation.facts)
    return history.notices(auc_error=error), history.facts() | {"auc_optimism": history.optimism(error)}
