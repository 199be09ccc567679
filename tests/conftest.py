"""Fixtures that more than one test module needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """5,000 real patches in the Kaggle layout; the test is skipped where they are absent."""
    root = Path(os.environ.get("FASTPATH_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    folder = root / "kaggle_sample"
    if not (folder / "train_labels.csv").exists():
        pytest.skip("no real patches here: set FASTPATH_SAMPLE_DATA to a folder that holds kaggle_sample/")
    return folder


@pytest.fixture(scope="session")
def kaggle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 synthetic training patches of 6 slides and 8 test patches, in the Kaggle layout with groups.csv."""
    from fastpath.ingest.synth import write_kaggle_folder

    folder = tmp_path_factory.mktemp("synthetic") / "kaggle"
    write_kaggle_folder(folder, num_train=96, num_test=8, num_slides=6, seed=7)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, in which sums are taken in the same order every time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
