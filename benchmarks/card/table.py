"""Markdown of a check's results: what was asked, what came out, and where each figure stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.card.stages import STAGES, Stage
from benchmarks.card.targets import CARD, TARGETS, Rows, rows_of

STATUSES = ("skipped", "begun", "done", "failed", "ended")
META = {"stage", "at_s", "status"}


def table(rows: Rows, stages: Sequence[Stage] = STAGES) -> str:
    """Return the whole report."""
    parts = [_targets(rows), _stages(rows, stages)]
    for stage in stages:
        stage_rows = [row for row in rows_of(rows, stage.name) if "status" not in row]
        parts += [f"## {stage.asks}", *_tables(stage_rows)] if stage_rows else []
    return "\n\n".join(parts)


def status_of(rows: Rows, stage: str) -> str:
    """Return how a stage ended, `begun` where the check ended before it, or `not run`."""
    statuses = [row["status"] for row in rows_of(rows, stage) if row.get("status") in STATUSES]
    return str(statuses[-1]) if statuses else "not run"


def failures(rows: Rows, stages: Sequence[Stage] = STAGES) -> list[str]:
    """Return the stages of correctness that did not pass, skipped ones aside."""
    broken = {"failed", "ended", "begun"}
    return [stage.name for stage in stages if stage.correctness and status_of(rows, stage.name) in broken]


def _targets(rows: Rows) -> str:
    lines = [f"| on one {CARD} | wanted | found | |", "|---|---|---|---|"]
    for target in TARGETS:
        measured, verdict = target.figure(rows), target.verdict(rows)
        wanted = f"{'≥' if target.at_least else '≤'} {target.shown.format(target.bound)}"
        shown = "" if measured is None else target.shown.format(measured)
        lines.append(f"| {target.name} | {wanted} | {shown} | {'**short**' if verdict == 'short' else verdict} |")
    return "\n".join(lines)


def _stages(rows: Rows, stages: Sequence[Stage]) -> str:
    lines = ["| stage | | took | expected |", "|---|---|---|---|"]
    for stage in stages:
        ended = [row for row in rows_of(rows, stage.name) if "status" in row]
        took = f"{ended[-1]['seconds']} s" if ended and "seconds" in ended[-1] else ""
        why = f": {_plain(ended[-1]['error'])}" if ended and "error" in ended[-1] else ""
        status = status_of(rows, stage.name)
        shown = f"**{status}**{why}" if status in {"failed", "ended"} else status
        lines.append(f"| {stage.name} | {shown} | {took} | {stage.seconds:g} s |")
    return "\n".join(lines)


def _tables(rows: Rows) -> Iterable[str]:
    """Yield a table for each kind of row: those with the same columns, in the order in which they came."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        flat = {key: value for key, value in row.items() if key not in META}
        groups.setdefault(tuple(flat), []).append(flat)
    for columns, members in groups.items():
        heads = [column.replace("_", " ") for column in columns]
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += [f"| {' | '.join(_cell(member[column]) for column in columns)} |" for member in members]
        yield "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, dict):
        return _plain(", ".join(f"{key} {item}" for key, item in value.items() if not isinstance(item, dict)))
    return _plain(value)


def _plain(value: object) -> str:
    """Return text that a cell can hold."""
    return " ".join(str(value).split()).replace("|", "/")
