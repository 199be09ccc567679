"""A small network that has really learned, for what looks at what networks do."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 1,280 synthetic patches of which 256 validate, AUC above .95, with its store beside it."""
    from fastpath import config
    from fastpath.ingest.synth import write_kaggle_folder
    from fastpath.runtime import resolve
    from fastpath.workflows import pack, train

    folder = tmp_path_factory.mktemp("learned")
    write_kaggle_folder(folder / "patches", num_train=1280, num_test=0, num_slides=10, seed=42)
    pack.run(folder / "patches", folder / "store", workers=1)
    recipe = config.load(config.recipe("demo"))
    train.run(folder / "store", folder / "run", recipe, resolve("cpu"))
    return folder / "run"
