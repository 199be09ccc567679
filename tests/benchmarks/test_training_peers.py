"""The loops that fastpath is raced against: they take steps, on the device that they are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.peers import notebook_loop, strong_loop
from benchmarks.peers.common import Task
from fastpath.workflows import pack


@pytest.fixture(scope="module")
def task(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Task:
    store = tmp_path_factory.mktemp("peers") / "store"
    pack.pack_source(kaggle_folder, store, workers=1)
    return Task(kaggle_folder, store, "train", 32, 4, 1, 1, device="cpu")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.nn.Module]:
    """A network whose trained parts are named as the notebook's, in the place of ResNet-50."""
    made: dict[str, torch.nn.Module] = {}

    def network() -> torch.nn.Module:
        layers = {"pool": torch.nn.AdaptiveAvgPool2d(2), "layer4": torch.nn.Flatten(), "fc": torch.nn.Linear(12, 1)}
        made["network"] = torch.nn.Sequential()
        for name, layer in layers.items():
            made["network"].add_module(name, layer)
        return made["network"]

    for module in (notebook_loop, strong_loop):
        monkeypatch.setattr(module, "network", network)
    # Parameters of `layer4` are none here, which an optimiser refuses in a group of its own.
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, **options: torch.optim.SGD(groups[0]["params"], lr=0.1))
    return made


@pytest.mark.parametrize("variant", ["eager", "batch,eager"])
def test_the_strong_loop_trains_on_patches_of_the_device(
    task: Task, small: dict[str, torch.nn.Module], variant: str
) -> None:
    steps = strong_loop.load(replace(task, variant=variant))
    images, labels_N = next(steps)
    assert images.shape == (4, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.dtype == torch.float32
    assert set(labels_N.tolist()) <= {0.0, 1.0}
    before = small["network"].fc.weight.clone()
    next(steps)
    assert not torch.equal(before, small["network"].fc.weight)


def test_the_strong_loops_images_are_drawn_each_for_itself_or_a_batch_at_once(task: Task) -> None:
    patches = strong_loop.ResidentPatches(task)
    patches._patches_NCHW = patches._patches_NCHW[:1].expand(len(patches._patches_NCHW), -1, -1, -1)
    transform = strong_loop.transform_for(task)
    torch.manual_seed(0)
    alike, _ = patches.batch(transform, at_once=True)
    each, _ = patches.batch(transform, at_once=False)
    assert torch.equal(alike[0], alike[1])
    assert not torch.equal(each[0], each[1])


def test_the_notebooks_loop_uses_the_device_it_is_told(
    task: Task, small: dict[str, torch.nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    monkeypatch.setattr(notebook_loop.notebook, "load", lambda _task: iter([batch]))
    with pytest.raises(RuntimeError, match="meta"):  # what a mean loss on a device without memory ends in
        next(notebook_loop.load(replace(task, device="meta")))
    assert small["network"].fc.weight.device.type == "meta"
    next(notebook_loop.load(task))
    assert small["network"].fc.weight.device.type == "cpu"
