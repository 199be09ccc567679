"""The files of a comparison, put in place together."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fastpath.figures import run_comparison
from fastpath.runs import output_place
from fastpath.system import json_values
from fastpath.workflows.compare.comparison import RESULT, CompareResult

PICTURE, PREDICTIONS = "comparison.png", "predictions.parquet"


def write(
    output: Path,
    result: CompareResult,
    labels_N: NDArray[np.int8],
    logits_RN: NDArray[np.float32],
    names: Sequence[str],
    journals: Sequence[list[dict[str, object]]],
    ids_N: NDArray[np.object_],
) -> None:
    """Write the three files as a set."""
    table = io.BytesIO()
    columns = {"id": ids_N.astype(str), "label": labels_N}
    # A run called `label` would take the labels' place.
    columns |= {f"run {name}" if name in columns else name: one_N for name, one_N in zip(names, logits_RN, strict=True)}
    pd.DataFrame(columns).to_parquet(table, index=False)
    title = f"{result.num_patches:,} validation patches of a {result.split_kind} split"
    facts = {key: value for key, value in asdict(result).items() if key != "output"}
    content = {
        PREDICTIONS: table.getvalue(),
        PICTURE: run_comparison.draw_comparison(names, labels_N, logits_RN, journals, title),
        RESULT: (json_values.dumps(facts) + "\n").encode(),
    }
    output_place.write_set(output, RESULT, content)
