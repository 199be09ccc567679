"""Weight files under other names than timm's: the PyPI wheel of EfficientNet-Lite0."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError
from fastpath.model.published_names import renamed
from fastpath.model.registry import build

MARKS = {"conv_stem.weight": "_conv_stem", "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv"}
MARKS |= {"classifier.weight": "_fc", "classifier.bias": "_fc"}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Lite0's tensors in their order, under names that say little but the last part."""
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    names = {key: f"{MARKS.get(key, f'_{number}')}.{key.split('.')[-1]}" for number, key in enumerate(state)}
    return {names[key]: value for key, value in state.items()}


def test_the_wheels_file_loads_as_it_is(published: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "efficientnet-lite0.pth")
    config = ModelConfig(name="tf_efficientnet_lite0", weights=tmp_path / "efficientnet-lite0.pth", trainable="all")
    own = build(config, 32).trunk.state_dict()
    tensors = [value for key, value in published.items() if not key.endswith("num_batches_tracked")]
    names = [key for key in own if not key.endswith("num_batches_tracked")]
    for name, value in list(zip(names, tensors, strict=True))[:-2]:  # less the thousand-class head
        assert torch.equal(own[name], value), name


@pytest.mark.parametrize("other", ["tf_efficientnet_lite1", "resnet18"])
def test_it_is_refused_for_another_network(other: str, published: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(published, tmp_path / "lite0.pth")
    with pytest.raises(ConfigError, match=r"of another network \(it holds 247 tensors of EfficientNet-Lite0") as caught:
        build(ModelConfig(name=other, weights=tmp_path / "lite0.pth", trainable="all"), 32)
    assert "\n" not in str(caught.value)


def test_every_pair_must_agree_in_shape_and_last_name(published: dict[str, Tensor]) -> None:
    own = timm.create_model("tf_efficientnet_lite0", num_classes=1).state_dict()
    with pytest.raises(ValueError, match=r"_conv_stem\.weight \[1\], wanted conv_stem\.weight \[32, 3, 3, 3\]"):
        renamed(published | {"_conv_stem.weight": torch.zeros(1)}, own)
    keys = list(published)
    keys[0], keys[1] = keys[1], keys[0]
    with pytest.raises(ValueError, match=r"wanted conv_stem\.weight"):
        renamed({key: published[key] for key in keys}, own)


def test_other_files_are_left_as_they_are() -> None:
    state = {"conv_stem.weight": torch.zeros(1)}
    assert renamed(state, {"other": torch.zeros(1)}) is state
