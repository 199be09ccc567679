"""What the check's figures are held against, on an H100."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[dict[str, Any]]
CARD = "H100"


@dataclass(frozen=True, slots=True)
class Target:
    """One figure and its bound.

    Attributes:
        name: What it is.
        figure: From all rows to the figure, None where it was not measured.
        bound: What it is to be at most, or at least.
        shown: How figure and bound are written.
        at_least: Which of both.
    """

    name: str
    figure: Callable[[Rows], float | None]
    bound: float
    shown: str
    at_least: bool = False

    def verdict(self, rows: Rows) -> str:
        """Return `met`, `short` or `not measured`."""
        measured = self.figure(rows)
        if measured is None:
            return "not measured"
        return "met" if (measured >= self.bound if self.at_least else measured <= self.bound) else "short"


def rows_of(rows: Rows, stage: str, **values: object) -> list[dict[str, Any]]:
    """Return the results of a stage that have these values."""
    return [
        row for row in rows if row["stage"] == stage and all(row.get(key) == wanted for key, wanted in values.items())
    ]


def _last(rows: Rows, key: str) -> float | None:
    figures = [row[key] for row in rows if row.get(key) is not None]
    return float(figures[-1]) if figures else None


def notebook_epoch_s(rows: Rows) -> float | None:
    """Return the notebook's whole epoch."""
    return _last(rows_of(rows, "epochs", recipe="notebook"), "epoch_s")


def fast_epoch_s(rows: Rows) -> float | None:
    """Return the mean of the fast recipe's five epochs: four like its second, one like its last."""
    by_number = {row["epoch"]: row["epoch_s"] for row in rows_of(rows, "epochs", recipe="fast") if "epoch_s" in row}
    return (4 * by_number[2] + by_number[3]) / 5 if {2, 3} <= set(by_number) else None


def loader_images_per_s(rows: Rows) -> float | None:
    """Return the loader's best rate of all sizes of batch, with patches on the card."""
    resident = rows_of(rows, "sweep", name="patches", residency="device")
    rates = [row["images_per_s"] for row in rows_of(rows, "sweep", kind="loader", recipe="notebook")]
    return max(rates) if rates and resident else None


def stall_share(rows: Rows) -> float | None:
    """Return the share of the notebook's epoch that training waited for the loader."""
    return _last(rows_of(rows, "epochs", recipe="notebook"), "stall_share")


def host_ms(rows: Rows) -> float | None:
    """Return the calling thread's time for a step of the notebook's, feed included."""
    return _last(rows_of(rows, "sweep", kind="both", recipe="notebook", batch=64), "host_ms")


TARGETS = (
    Target("the notebook's epoch, checkpoints included", notebook_epoch_s, 25, "{:.1f} s"),
    Target("an epoch of the fast recipe, mean of its five", fast_epoch_s, 5, "{:.1f} s"),
    Target("loader alone, patches on the card", loader_images_per_s, 60_000, "{:,.0f} patches/s", at_least=True),
    Target("training waits for the loader", stall_share, 0.02, "{:.1%}"),
    Target("host time a step, batches of 64", host_ms, 1, "{:.2f} ms"),
)
