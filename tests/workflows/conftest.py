"""A small network that has really learned, for what looks at what networks do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def learned(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A run on 1,280 synthetic patches of which 256 validate, AUC above .95, with its store beside it."""
    from fastpath import config
    from fastpath.ingest.synth import write_kaggle_folder
    from fastpath.runtime import resolve
    from fastpath.workflows import pack
    from fastpath.workflows.train import train

    def fill(folder: Path) -> None:
        write_kaggle_folder(folder / "patches", num_train=1280, num_test=0, num_slides=10, seed=42)
        pack.run(folder / "patches", folder / "store", workers=1)
        train.run(folder / "store", folder / "run", config.load(config.recipe("demo")), resolve("cpu"))

    return once("learned", fill) / "run"
