"""Tables of predictions are compared as runs are, row by row of the same patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fastpath.errors import DataError, UsageError
from fastpath.workflows.compare import compare_tables


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """A good and a poor recipe's folds, in different orders of patches."""
    rng = np.random.default_rng(2)
    labels_N = rng.integers(0, 2, 300)
    paths = []
    for name, noise in (("good", 0.5), ("poor", 3.0)):
        frame = pd.DataFrame(
            {
                "id": [f"p{at}" for at in range(300)],
                "group": [f"s{at % 12}" for at in range(300)],
                "label": labels_N,
                "logit": labels_N + rng.normal(size=300) * noise,
            }
        )
        (tmp_path / name).mkdir()
        frame.sample(frac=1, random_state=len(paths)).to_parquet(tmp_path / name / "out_of_fold.parquet")
        paths.append(tmp_path / name)
    return paths


def test_two_recipes_are_told_apart(tables: list[Path], tmp_path: Path) -> None:
    assert compare_tables.are_tables(tables)
    comparison = compare_tables.compare_tables(tables)
    assert [entry.name for entry in comparison.runs] == ["good", "poor"]
    for path, entry in zip(tables, comparison.runs, strict=True):
        frame = pd.read_parquet(path / "out_of_fold.parquet")
        assert entry.auc == pytest.approx(roc_auc_score(frame["label"], frame["logit"]))
    assert (comparison.pairs[0].verdict, comparison.num_groups) == ("better", 12)
    assert {path.name for path in (tmp_path / "comparison").iterdir()} == {
        "comparison.json",
        "comparison.png",
        "predictions.parquet",
    }


def test_a_table_by_its_own_name(tables: list[Path], tmp_path: Path) -> None:
    files = [path / "out_of_fold.parquet" for path in tables]
    assert compare_tables.compare_tables(files, tmp_path / "out").runs[0].name == "good/out_of_fold"


def test_other_patches_or_labels_are_refused(tables: list[Path]) -> None:
    path = tables[1] / "out_of_fold.parquet"
    whole = pd.read_parquet(path)
    for wrong in (whole.iloc[1:], whole.assign(label=1 - whole["label"]), whole.assign(id="x" + whole["id"])):
        wrong.to_parquet(path)
        with pytest.raises(DataError, match="found other patches or labels than those of"):
            compare_tables.compare_tables(tables)


def test_a_run_among_tables_or_one_table_is_refused(tables: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wanted tables or runs alone"):
        compare_tables.compare_tables([tables[0], tmp_path])
    with pytest.raises(UsageError, match="wanted two or more, all different"):
        compare_tables.compare_tables([tables[0], tables[0]])
