"""What counts as a feature map: not what attention emits, nor what the image or the logit has no part in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from fastpath.errors import UsageError
from fastpath.model.feature_maps import feature_layer

pytestmark = pytest.mark.usefixtures("one_thread")


class Branched(nn.Module):
    """A convolution whose map decides the logit, and after it a layer that emits something else of four dimensions."""

    def __init__(self, other: Callable[[Tensor], Tensor], share: float = 1e-3) -> None:
        super().__init__()
        self.convolution, self.late, self.fc = nn.Conv2d(3, 4, 3, padding=1, stride=4), nn.Identity(), nn.Linear(4, 1)
        self.first = nn.Identity()  # half of the layers come before the map
        self.other, self.share = other, share

    def forward(self, images_NCHW: Tensor) -> Tensor:
        maps = self.convolution(self.first(images_NCHW))
        late = self.late(self.other(maps))
        return self.fc(maps.mean((2, 3))).squeeze(1) + self.share * late.sum() / len(images_NCHW)


def shares(maps: Tensor) -> Tensor:
    tokens = maps.flatten(2).transpose(1, 2)[:, :12]
    return torch.softmax(tokens @ tokens.transpose(1, 2), -1)[:, None]


@pytest.mark.parametrize(
    ("other", "is_map"),
    [
        (lambda maps: maps * 2, True),
        (lambda maps: maps[:, :, ::2, ::2] * 2, True),
        (lambda maps: maps.mean((2, 3), keepdim=True), False),  # one place
        (lambda maps: maps[:, :, :5] * 2, False),  # not square
        (lambda maps: maps[:, :, :11, :11] * 2, False),  # no stride makes 11 of 48
        (lambda maps: maps.repeat(2, 1, 1, 1), False),  # windows in the batch
        (lambda maps: maps[:1] * 2, False),  # one for all images, as a position embedding
        (lambda maps: maps * 0 + torch.rand(1, 4, 12, 12), False),  # the same for every image
        (lambda maps: torch.rand(2, 4, 12, 12), False),  # made of nothing
        (lambda maps: maps.detach() * 2, False),  # no gradient
        (shares, False),  # rows that add up to 1
    ],
)
def test_only_what_is_of_the_image_and_decides_the_logit_is_a_map(
    other: Callable[[Tensor], Tensor], is_map: bool
) -> None:
    torch.manual_seed(0)
    model = Branched(other).eval()
    layer = feature_layer(model, torch.randn(3, 3, 48, 48))
    assert layer is (model.late if is_map else model.convolution)


def test_a_map_that_the_logit_does_not_depend_on_is_none() -> None:
    model = Branched(lambda maps: maps * 2, share=0.0).eval()
    assert feature_layer(model, torch.randn(1, 3, 48, 48)) is model.convolution


ATTENTION = ("convit_tiny", "cait_xxs24_224", "swinv2_cr_tiny_ns_224", "test_vit", "xcit_nano_12_p16_224")


@pytest.mark.parametrize("name", ATTENTION[:2])
def test_attention_is_not_drawn(name: str) -> None:
    _attention_is_not_drawn(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *ATTENTION[2:],
        "swinv2_tiny_window8_256",
        "swin_tiny_patch4_window7_224",
        "beit_base_patch16_224",
        "deit3_small_patch16_224",
        "crossvit_9_dagger_240",
        "coat_lite_tiny",
        "pit_ti_224",
        "tnt_s_legacy_patch16_224",
        "visformer_tiny",
        "twins_svt_small",
        "vit_relpos_small_patch16_224",
        "pvt_v2_b0",
        "volo_d1_224",
    ],
)
def test_attention_is_not_drawn_in_any_family(name: str) -> None:
    _attention_is_not_drawn(name)


def _attention_is_not_drawn(name: str) -> None:
    size = 240 if "240" in name else 224 if "volo" in name else 96
    fixed = {"img_size": size} if timm.models.get_pretrained_cfg(name).fixed_input_size else {}
    model = timm.create_model(name, pretrained=False, num_classes=1, **fixed).eval()
    emitted: list[Tensor] = []
    try:
        layer = feature_layer(model, torch.randn(1, 3, size, size))
    except UsageError:
        return
    path = next(path for path, module in model.named_modules() if module is layer)
    assert "attn" not in path
    layer.register_forward_hook(lambda _module, _inputs, output: emitted.append(output))
    with torch.no_grad():
        model(torch.randn(2, 3, size, size))
    assert emitted[0].shape[0] == 2
    assert emitted[0].shape[-1] == emitted[0].shape[-2] <= size // 2
