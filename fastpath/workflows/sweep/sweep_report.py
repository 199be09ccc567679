"""What a sweep leaves beside its runs: result.json, settings.csv, pairs.csv and sweep.png."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastpath.figures.sweep_settings import draw_sweep
from fastpath.runs import output_place
from fastpath.text import to_csv
from fastpath.workflows.sweep.sweep_result import SweepResult

RESULT, SETTINGS, PAIRS, PICTURE = "result.json", "settings.csv", "pairs.csv", "sweep.png"


def write(output: Path, result: SweepResult) -> None:
    """Write the tables, the picture and the result as a set."""
    settings = [
        {
            "setting": row.name,
            "mean_auc": row.mean,
            "sd_auc": row.spread,
            "verdict": row.verdict,
            **{f"seed_{seed}": auc for seed, auc in zip(result.seeds, row.aucs, strict=True)},
        }
        for row in result.settings
    ]
    columns = ("first", "second", "difference", "standard_error", "p_value", "p_corrected", "verdict")
    facts = {key: value for key, value in asdict(result).items() if key != "output"}
    content = {
        SETTINGS: _csv(settings),
        PAIRS: _csv(result.pairs, columns),
        PICTURE: draw_sweep(result.settings, f"{len(result.seeds)} seeds, {result.num_val:,} validation patches"),
        RESULT: (json.dumps(facts, indent=2) + "\n").encode(),
    }
    output_place.write_set(output, RESULT, content)


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> bytes:
    names = list(columns or rows[0])
    return to_csv(names, ([row[name] for name in names] for row in rows))
