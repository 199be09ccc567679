"""The check for the first person with a card, with the CPU in the card's place."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fastpath import runtime
from fastpath.errors import UsageError

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(device: str, rate: float) -> dict[str, object]:
    rates = {"loader_images_per_s": 9000.0, "model_images_per_s": rate * 1.01, "train_images_per_s": rate}
    return rates | {"stall_share": 0.005, "verdict": "model-bound", "runtime": device}


def test_without_a_card_it_says_so_in_one_line_and_exits_2() -> None:
    try:
        runtime.resolve("cuda")
        pytest.skip("there is a card here")
    except UsageError:
        done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu-check: ")
    assert done.stderr.count("\n") == 1


def test_the_report_sets_each_figure_beside_the_notebook_and_the_bound(gpu_check: ModuleType) -> None:
    table = gpu_check.report({"float32": row("NVIDIA A100-SXM4-40GB", 1760.2), "amp": row("NVIDIA A100", 3520.4)})
    assert "100 s" in table
    assert "50 s" in table
    assert "19.20x of its 960 s" in table
    assert "29 to 58 s" in table


def test_a_card_without_a_published_bound_is_said_to_have_none(gpu_check: ModuleType) -> None:
    assert gpu_check.bound_s("NVIDIA GeForce RTX 4090") is None
    assert "No published bound" in gpu_check.report({"float32": row("cpu", 10.0)})


@pytest.mark.dali
def test_batches_of_every_policy_are_compared_in_every_residency(
    gpu_check: ModuleType, kaggle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastpath.workflows import pack

    pack.run(kaggle_folder, tmp_path / "store")
    compared = gpu_check.compare(tmp_path / "store", "cpu")
    assert len(compared) == 2 * 8
    assert {name.split(",")[0] for name in compared} == {"notebook", "none", "d4", "strong", "ring", "everything"}
    # The CPU in the card's place: the same code must give the same bytes.
    assert {row["max"] for row in compared.values()} == {0.0}
    assert gpu_check.agreement(compared).count("| agrees |") == 16

    real = gpu_check._images
    monkeypatch.setattr(gpu_check, "POLICIES_COMPARED", {"d4": {"policy": "d4"}})
    monkeypatch.setattr(gpu_check, "_images", lambda *args: real(*args) + (args[-1] == "device"))
    wrong = gpu_check.compare(tmp_path / "store", "cpu")
    assert [row["agrees"] for row in wrong.values()] == [True, False]
    assert "**differs**" in gpu_check.agreement(wrong)


@pytest.mark.slow
def test_the_whole_check_can_be_rehearsed_on_the_cpu(gpu_check: ModuleType, tmp_path: Path) -> None:
    from fastpath.ingest.synth import write_kaggle_folder
    from fastpath.workflows import pack

    write_kaggle_folder(tmp_path / "kaggle", num_train=64, num_test=0)
    pack.run(tmp_path / "kaggle", tmp_path / "store")
    small = ["data.image_size_px=64", "data.batch_size=8", "model.name=resnet18", "model.pretrained=false"]
    found = gpu_check.measure(tmp_path / "store", "cpu", 2, small)
    assert set(found) == {"float32", "mixed precision"}
    assert all(measured["train_images_per_s"] > 0 for measured in found.values())
    assert "model-bound" in gpu_check.report(found) or "loader-bound" in gpu_check.report(found)
