"""A table is judged without what only a network needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fastpath.store.reader import open_store
from fastpath.workflows import pack

CODE = """
import sys
from fastpath.cli.main import app
app(sys.argv[1:], standalone_mode=False)
print(sorted({"torch", "torchvision", "timm", "nvidia"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("gallery", [False, True])
def test_judging_a_table_loads_neither_torch_nor_dali_nor_timm(
    gallery: bool, kaggle_folder: Path, tmp_path: Path
) -> None:
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    store = open_store(tmp_path / "store")
    logits_N = 3.0 * store.labels_N - 1.5 + np.random.default_rng(0).normal(0, 2, len(store))
    table = {"id": store.ids_N, "label": store.labels_N, "logit": logits_N, "group": store.groups_N}
    pd.DataFrame(table).to_parquet(tmp_path / "table.parquet")
    words = ["evaluate", tmp_path / "table.parquet", "-o", tmp_path / "out", "--json", "-q"]
    words += ["--store", tmp_path / "store"] if gallery else []
    done = subprocess.run([sys.executable, "-c", CODE, *map(str, words)], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"
    facts = json.loads(done.stdout)
    assert facts["num_patches"] == len(store)
    assert (tmp_path / "out" / "gallery.csv").exists() == gallery
