"""What the tests that drive a browser share: the browser, and pages to open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; the test is skipped where it or Playwright is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install '.[dev]'")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def packed(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the synthetic patches, with slides."""
    from fastpath.workflows import pack

    path = tmp_path_factory.mktemp("packed") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="session")
def evaluated(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of made-up scores of the synthetic patches, with slides and a gallery."""
    from fastpath.store.reader import open_store
    from fastpath.workflows.evaluate import evaluate_table
    from fastpath.workflows.evaluate.report_facts import EvaluateOptions

    folder, store = tmp_path_factory.mktemp("evaluated"), open_store(packed)
    noise = np.random.default_rng(0).normal(0, 2, len(store))
    table = {"id": store.ids_N, "label": store.labels_N, "logit": 3.0 * store.labels_N - 1.5 + noise}
    pd.DataFrame({**table, "group": store.groups_N}).to_parquet(folder / "table.parquet")
    choices = EvaluateOptions(prevalence=0.02)
    table_path = folder / "table.parquet"
    evaluate_table.evaluate_table(table_path, output=folder / "out", store_path=packed, options=choices)
    return folder / "out"
