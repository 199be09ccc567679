"""What came of a sweep: its settings, best first, and what can be told between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One setting over its seeds.

    Attributes:
        name: The setting.
        aucs: Best validation AUC of each seed; None where that run has none.
        mean: Of these; None where one is missing.
        spread: Standard deviation over seeds; None with one seed.
        verdict: `best`; `worse` or `not distinguishable`, compared with the best; `incomplete`.
    """

    name: str
    aucs: tuple[float | None, ...]
    mean: float | None
    spread: float | None
    verdict: Literal["best", "worse", "not distinguishable", "incomplete"]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How a sweep ended.

    Attributes:
        status: `finished`, `failed` where runs failed, or `interrupted`.
        settings: The best mean first.
        pairs: Every pair of complete settings: names, difference, p-values, and a sentence.
        seeds: Of every setting.
        chance: Standard error that the choice of validation patches gives the best mean; None without one.
        chance_over: What was resampled for it: `slide`, or `patch` as if independent where slides are unknown or few.
        num_val: Validation patches.
        failures: `run: error` of each run that failed.
        notices: What the reader of the table should know.
        output: Where everything lies.
    """

    status: Literal["finished", "failed", "interrupted"]
    settings: list[Row]
    pairs: list[dict[str, Any]]
    seeds: tuple[int, ...]
    chance: float | None
    chance_over: Literal["slide", "patch"] | None
    num_val: int
    failures: list[str]
    notices: list[str]
    output: str
