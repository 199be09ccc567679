"""timm's variety: a small member of every family either trains, folds and is averaged, or is refused in one line."""

from __future__ import annotations

import re

import pytest
import timm
import torch

from fastpath.config import ModelConfig
from fastpath.engine.ema import ModelEMA
from fastpath.engine.step import train_step
from fastpath.errors import FastpathError
from fastpath.model.depthwise import pad_first
from fastpath.model.feature_maps import feature_layer
from fastpath.model.fold import fold_frozen
from fastpath.model.freeze import freeze, parameter_groups
from fastpath.model.lean import lean
from fastpath.model.registry import build
from fastpath.runtime import Runtime
from fastpath.types import Batch

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 96
# fmt: off
WORDS = (
    "test", "zepto", "atto", "femto", "pico", "nano", "xxxs", "xxs", "xxtiny", "xtiny", "xxsmall", "xs", "tiny", "t0",
    "b0", "s0", "tn", "ti", "mini", "lite", "small", "s12", "s", "b1", "b", "m", "medium", "base", "l", "large",
)
# fmt: on
"""How timm calls its sizes, the small ones first."""
LARGEST = 45_000_000
"""Parameters of what is tried."""
SAMPLE = {
    "crossvit_tiny_240": "use data.image_size_px=240",  # two branches, each of its own fixed size
    "halonet26t": "use data.image_size_px=256",  # blocks of pixels that must divide the map
    "deit_tiny_distilled_patch16_224": "",  # two heads
    "levit_128s": "",  # two heads of BatchNorm and linear layer
    "efficientformerv2_s0": "",  # two heads
    "test_vit": "",
    "test_efficientnet": "",
    "test_convnext": "",
    "test_resnet": "",
    "test_nfnet": "",  # no BatchNorm; weights are standardised at each pass
    "test_byobnet": "",
    "mobilenetv4_conv_small_035": "",
    "skresnet18": "",  # BatchNorm over samples alone
}
"""A name, and the remedy where it is refused; empty where it runs."""


def _rank(name: str) -> tuple[int, int, str]:
    size = min((WORDS.index(part) for part in name.split("_") if part in WORDS), default=len(WORDS))
    numbers = re.findall(r"\d+", name.partition("_")[2] or name)
    return size, sum(map(int, numbers)), name


def families() -> list[str]:
    """Return the smallest member, by its name, of all models whose names begin alike."""
    members: dict[str, list[str]] = {}
    for name in timm.list_models():
        members.setdefault(name.split("_")[0], []).append(name)
    return [min(names, key=_rank) for names in members.values()]


def walk(name: str) -> list[str]:
    """Build a network and take it through all that training and explaining do; return what was refused."""
    torch.manual_seed(0)
    runtime = Runtime(torch.device("cpu"), "float32")
    refused = []
    try:
        model = build(ModelConfig(name=name, pretrained=False, trainable="all"), SIZE)
    except FastpathError as error:
        return [str(error)]
    average = ModelEMA(model, 0.9)
    images = torch.randn(model.least_batch, 3, SIZE, SIZE)
    network = lean(pad_first(model), SIZE, runtime).train()
    optimizer = torch.optim.Adam([{"params": group} for group in parameter_groups(model) if group], lr=1e-4)
    batch = Batch(images, torch.tensor([1.0, 0.0])[: len(images)], torch.arange(len(images)))
    assert torch.isfinite(train_step(network, batch, optimizer, runtime.grad_scaler(), runtime))
    average.update(model)
    freeze(model, "head", "folded")
    try:
        lean(pad_first(fold_frozen(model, SIZE)), SIZE, runtime)
    except FastpathError as error:
        refused.append(str(error))
    try:
        layer = feature_layer(model.eval(), images)
        names = [path for path, module in model.named_modules() if module is layer]
        assert not any(re.search(r"attn|attention|pos_embed|rel_pos|softmax", path) for path in names)
    except FastpathError as error:
        refused.append(str(error))
    return refused


@pytest.mark.parametrize("name", SAMPLE)
def test_a_network_of_each_kind_trains_or_is_refused_with_a_remedy(name: str) -> None:
    refused = walk(name)
    assert not any("\n" in line for line in refused)
    if SAMPLE[name]:
        assert SAMPLE[name] in refused[0]
    else:
        assert all("cannot be folded" in line or "use integrated_gradients" in line for line in refused)


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_a_member_of_every_family_trains_or_is_refused_in_one_line(name: str) -> None:
    with torch.device("meta"):
        large = sum(parameter.numel() for parameter in timm.create_model(name).parameters()) > LARGEST
    if large:
        pytest.skip("too large to try on any machine")
    assert not any("\n" in line for line in walk(name))


def test_there_are_families_enough() -> None:
    assert len(families()) > 250
