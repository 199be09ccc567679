"""Commands that read tables of scores load nothing that only a network needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fastpath.store.reader import open_store
from fastpath.workflows import pack

COMMANDS = (
    "evaluate {a} -o {out}/alone",
    "evaluate {a} -o {out}/pictures --store {store}",
    "compare {a} {b} -o {out}/compared",
    "slide --table {a} -o {out}/slides",
)
CODE = """
import json, sys
from fastpath.cli.main import app
for line in sys.argv[1:]:
    app([*line.split(), "--json", "-q"], standalone_mode=False)
    heavy = sorted({"torch", "torchvision", "timm", "nvidia"} & set(sys.modules))
    print(json.dumps([line, heavy]), file=sys.stderr)
"""


def test_tables_of_scores_load_neither_torch_nor_dali_nor_timm(kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder, tmp_path / "store", workers=1)
    store = open_store(tmp_path / "store")
    for seed, name in enumerate("ab"):
        logits_N = 3.0 * store.labels_N - 1.5 + np.random.default_rng(seed).normal(0, 2, len(store))
        table = {"id": store.ids_N, "label": store.labels_N, "logit": logits_N, "group": store.groups_N}
        pd.DataFrame(table).assign(probability=1 / (1 + np.exp(-logits_N))).to_parquet(tmp_path / f"{name}.parquet")
    places = {"a": tmp_path / "a.parquet", "b": tmp_path / "b.parquet", "store": tmp_path / "store", "out": tmp_path}
    lines = [command.format(**places) for command in COMMANDS]
    done = subprocess.run([sys.executable, "-c", CODE, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = [json.loads(text) for text in done.stderr.splitlines() if text.startswith("[")]
    assert loaded == [[line, []] for line in lines]
    assert (tmp_path / "pictures" / "gallery.csv").exists()
