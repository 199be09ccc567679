"""Attribution maps against formulas written out, and networks whose evidence is known by construction."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fastpath.errors import UsageError
from fastpath.model import attribution
from fastpath.model.feature_maps import feature_layer
from fastpath.types import CENTRE


class Pooled(nn.Module):
    """Convolution, ReLU, mean over places, linear: what Grad-CAM was made for."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.act = nn.Conv2d(3, 5, 3, padding=1, stride=2), nn.ReLU(inplace=True)
        self.classifier = nn.Linear(5, 1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.classifier(self.act(self.convolution(images_NCHW)).mean((2, 3))).squeeze(1)


class Centred(nn.Module):
    """Sees nothing but the middle third of 24 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.classifier = nn.Conv2d(3, 4, 1), nn.Linear(4 * 64, 1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.classifier(self.convolution(images_NCHW)[:, :, 8:16, 8:16].flatten(1)).squeeze(1)


@pytest.fixture
def images_NCHW() -> Tensor:
    return torch.randn(6, 3, 24, 24, generator=torch.Generator().manual_seed(5))


def _seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(11)
    return kind().requires_grad_(False)


def test_grad_cam_is_the_published_formula_and_signed_by_the_call(images_NCHW: Tensor) -> None:
    model = _seeded(Pooled)
    maps_NHW = attribution.attribute(model, images_NCHW, "gradcam")
    features = torch.relu(model.convolution(images_NCHW))  # type: ignore[operator]
    # d logit / d feature = weight / places, everywhere the same, so its mean is that too.
    weights_C = model.classifier.weight[0] / features[0, 0].numel()  # type: ignore[index,union-attr]
    wanted = torch.einsum("nchw,c->nhw", features, weights_C) * torch.sign(model(images_NCHW))[:, None, None]
    wanted = nn.functional.interpolate(wanted.relu()[:, None], (24, 24), mode="bilinear")[:, 0]
    assert maps_NHW.dtype == np.float32
    np.testing.assert_allclose(maps_NHW, wanted.numpy(), atol=1e-6)


def test_hirescam_is_grad_cam_where_features_are_averaged(images_NCHW: Tensor) -> None:
    model = _seeded(Pooled)
    gradcam, hirescam = (attribution.attribute(model, images_NCHW, name) for name in ("gradcam", "hirescam"))
    np.testing.assert_allclose(gradcam, hirescam, atol=1e-6)


@pytest.mark.parametrize("method", ["hirescam", "integrated_gradients"])
def test_a_network_that_sees_only_the_centre_is_found_out(images_NCHW: Tensor, method: attribution.Method) -> None:
    maps_NHW = attribution.attribute(_seeded(Centred), images_NCHW, method)
    assert (maps_NHW >= 0).all()
    np.testing.assert_allclose(attribution.centre_mass(maps_NHW), 1.0, atol=1e-6)


def test_the_images_given_are_left_alone(images_NCHW: Tensor) -> None:
    before = images_NCHW.clone()
    attribution.attribute(_seeded(Pooled), images_NCHW)
    assert not images_NCHW.requires_grad
    assert torch.equal(images_NCHW, before)


def test_the_last_feature_maps_of_a_residual_network_are_found(images_NCHW: Tensor) -> None:
    model = timm.create_model("resnet18", pretrained=False, num_classes=1)
    images = nn.functional.interpolate(images_NCHW, 64)
    assert feature_layer(model, images) is model.layer4[1].act2


def test_a_transformer_is_refused_for_class_activation(images_NCHW: Tensor) -> None:
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=1, img_size=32)
    with pytest.raises(UsageError, match="use integrated_gradients"):
        feature_layer(model, nn.functional.interpolate(images_NCHW, 32))


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(1e-6, 1e6))
def test_an_even_map_has_the_share_of_its_area_in_the_centre(height: int, width: int, value: float) -> None:
    mass_N = attribution.centre_mass(np.full((2, height, width), value))
    np.testing.assert_allclose(mass_N, CENTRE.area, rtol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_centre_mass_equals_a_sum_over_the_middle_third(seed: int) -> None:
    maps_NHW = np.random.default_rng(seed).random((3, 96, 96))
    maps_NHW[1] = 0
    mass_N = attribution.centre_mass(maps_NHW)
    wanted = maps_NHW[:, 32:64, 32:64].sum((1, 2))[::2] / maps_NHW.sum((1, 2))[::2]
    np.testing.assert_allclose(mass_N[::2], wanted)
    assert np.isnan(mass_N[1])
