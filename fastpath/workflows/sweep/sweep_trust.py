"""What a sweep's table does not tell: how far its AUCs would move on other patches, and what flatters them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastpath.analysis import intervals, paired
from fastpath.analysis.seed_comparison import auc_error
from fastpath.errors import ConfigError
from fastpath.ingest.split import leak_notice
from fastpath.runs import best_epoch
from fastpath.runs.run_data import RunData
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.runtime import Runtime
from fastpath.workflows.sweep.sweep_plan import Setting

MIN_SEEDS = 3
"""With fewer, nothing tells settings apart from seeds."""


@dataclass(frozen=True, slots=True)
class Chance:
    """How far an AUC would move on other validation patches.

    Attributes:
        error: Standard error.
        over: What was taken as drawn: `slide`, or `patch` where fewer slides are known than `intervals.MIN_SLIDES`.
        num_units: How many of these.
    """

    error: float
    over: Literal["slide", "patch"]
    num_units: int


def check(settings: Sequence[Setting]) -> None:
    """Refuse settings that are trained on the patches by which they are compared.

    Raises:
        ConfigError: Naming the setting.
    """
    for setting in settings:
        if setting.config.train.include_val:
            problem = f"found true in setting '{setting.name}': settings are compared on the validation patches"
            raise ConfigError("train.include_val", problem, "set it to false, and train the final network apart")


def chance(best_auc: float, best_run: Path, data: RunData, runtime: Runtime) -> Chance:
    """Return the standard error that the choice of validation patches gives the best setting.

    Where slides are known, its first run is scored and slides are resampled; otherwise the error is Hanley and
    McNeil's for patches that are independent, which patches of one slide are not.

    Args:
        best_auc: The best setting's mean.
        best_run: Its first run.
        data: Store and validation rows.
        runtime: To score in.
    """
    rows_N, labels_N = data.val_rows_N, data.store.labels_N[data.val_rows_N]
    groups_N = None if data.store.groups_N is None else data.store.groups_N[rows_N]
    units = intervals.units_of(groups_N, len(rows_N), labels_N)
    if units.kind == "patch":
        num_positive = int((labels_N == 1).sum())
        return Chance(auc_error(best_auc, num_positive, len(labels_N) - num_positive), "patch", len(rows_N))
    logits_N = score(open_run(best_run), data.store, rows_N, runtime)
    return Chance(paired.compare_paired(labels_N, logits_N[None], units, []).aucs[0].error, "slide", units.num)


def notices(num_seeds: int, result: Chance | None, data: RunData, *, num_settings: int, num_epochs: int) -> list[str]:
    """Return what the reader of the table should know."""
    error = None if result is None else result.error
    notices_ = [best_epoch.of_aucs(num_epochs, error, num_settings=num_settings)]
    if num_seeds < MIN_SEEDS:
        notices_.append(f"{num_seeds} seed{'s' * (num_seeds > 1)} cannot tell settings apart: use --repeats 3 or more")
    notices_.append(leak_notice(data.store, data.split))
    if result is not None:
        by = (
            f"by {result.num_units} slides" if result.over == "slide" else "of patches taken as independent: optimistic"
        )
        notices_.append(
            f"the verdicts speak of seeds on these {len(data.val_rows_N):,} validation patches; on other patches each "
            f"AUC would move by about ±{result.error:.3f} (standard error {by}): 'fastpath compare' tests runs for it"
        )
    return [text for text in notices_ if text]
