"""The check for the first person with a card, with the CPU in the card's place."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from click.testing import CliRunner

from fastpath import runtime
from fastpath.errors import UsageError
from fastpath.workflows.bounds import Published

TOOL = Path(__file__).resolve().parent.parent.parent / "tools" / "gpu_check.py"


@pytest.fixture(scope="module")
def gpu_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def row(device: str, rate: float, bound: tuple[float, float] | None, published: float | None) -> dict[str, object]:
    rates = {"loader_images_per_s": 9000.0, "model_images_per_s": rate * 1.01, "train_images_per_s": rate}
    rates |= {"bound_images_per_s": 4 * rate, "published_images_per_s": published, "batch_size": 64}
    rates |= {"epoch_train_images_per_s": rate, "epoch_val_images_per_s": 2 * rate, "epoch_stall_share": 0.01}
    seconds = 176_020 / rate + 44_005 / (2 * rate)
    told = {"stall_share": 0.005, "verdict": "model-bound", "runtime": device}
    return rates | told | {"notebook_epoch_s": seconds, "epoch_bound_s": bound}


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
    found = {"mixed": row("NVIDIA A100", 3520.4, (28.5, 57.6), 6120.0), "float32": row("NVIDIA A100", 1000, None, None)}
    lines = gpu_check.report(found).splitlines()
    cells = {
        (number, line.split(" | ")[0]): [cell.strip() for cell in line.strip("|").split("|")]
        for number, line in enumerate(lines)
        if line.startswith("| mixed") or line.startswith("| float32")
    }
    rates, _, epochs, unbound = cells.values()
    assert rates[1:] == ["9000", "3556 (14082; 6120)", "3520", "18.2", "0.5%"]
    assert epochs[1:] == ["3520", "7041", "56 s", "28 to 58 s", "17.07x"]
    assert unbound[3:5] == ["198 s", "none"]
    assert "- mixed (NVIDIA A100): model-bound" in lines


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


SMALL = ("data.image_size_px=16", "data.batch_size=16", "model.name=baseline_cnn", "model.trainable=all")


@pytest.mark.dali
@pytest.mark.e2e
def test_the_whole_check_is_rehearsed_with_the_cpu_in_the_cards_place(
    cpu_bfloat16: bool, gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def tested(command: list[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(gpu_check, "subprocess", SimpleNamespace(run=tested))
    placed: list[tuple[str, str]] = []
    for module in (gpu_check.bench, gpu_check.train):
        real, name = module.place, module.__name__.rsplit(".", 1)[1]
        monkeypatch.setattr(module, "place", lambda *a, real=real, name=name: placed.append((name, a[2])) or real(*a))
    spots = [gpu_check.SPOTS[0], gpu_check.SPOTS[3], gpu_check.SPOTS[4]]  # each residency once
    monkeypatch.setattr(gpu_check, "SPOTS", spots)
    monkeypatch.setattr(gpu_check, "POLICIES_COMPARED", {"d4": {"policy": "d4"}})
    monkeypatch.setattr(gpu_check.bounds, "peak_flop_per_s", lambda _runtime: 1e12)
    rates = Published(inference=(200, 400))
    monkeypatch.setattr(gpu_check.bounds, "PUBLISHED", {("cpu", mixed): rates for mixed in (False, True)})
    monkeypatch.setattr(gpu_check.harness, "RECORDS", tmp_path)
    changes = [word for change in SMALL for word in ("--set", change)]
    few = ["--device", "cpu", "--patches", "64", "--batches", "2", "--cpu-batches", "1"]
    done = CliRunner().invoke(gpu_check.main, [*few, *changes])
    assert done.exit_code == 0, done.output
    assert asked[0][1:4] == ["-m", "pytest", "-m"]
    (record,) = tmp_path.glob("gpu-check-cpu_*.json")
    results = json.loads(record.read_text(encoding="utf-8"))["results"]
    assert set(results["agreement"]) == {"d4, host", "d4, device"}
    assert placed == [(name, spot.residency) for spot in spots for name in ("bench", "train")]
    assert [spot.residency for spot in spots] == ["device", "host", "host"]
    assert list(results["rates"]) == [spot.name for spot in spots]
    for spot, found in zip(spots, results["rates"].values(), strict=True):
        assert ", float32, " in found["runtime"] or (spot.amp and cpu_bfloat16)
        assert found["bound_images_per_s"] == pytest.approx(1e12 / 1e9 / found["step_gflop"])
        assert found["epoch_bound_s"] == pytest.approx([(176_020 * 1.346 + 44_005) / rate for rate in (400, 200)])
        rates = found["epoch_train_images_per_s"], found["epoch_val_images_per_s"]
        assert found["notebook_epoch_s"] == pytest.approx(176_020 / rates[0] + 44_005 / rates[1])
        assert found["train_images_per_s"] > 0
    assert "| d4, device | 0.0000 | 0.00 | 0.00% | agrees |" in record.with_suffix(".md").read_text(encoding="utf-8")
