"""Where in a patch a network finds its logit: attribution maps, and how much of them lies in the centre.

All maps are evidence for the class that the network calls, tumour from a logit of 0 on: half of the patches have
nothing that speaks for tumour, and it is the call that wants explaining. N patches, H and W the side of the network's
input.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fastpath.model.feature_maps import feature_layer
from fastpath.types import CENTRE

Method = Literal["gradcam", "hirescam", "integrated_gradients"]
METHODS: tuple[Method, ...] = get_args(Method)
Floats = NDArray[np.float32]

IG_STEPS = 24  # points of the path integral, each a pass forward and back


def attribute(model: nn.Module, images_NCHW: Tensor, method: Method = "gradcam") -> Floats:
    """Return how much each place speaks for the class that is called, at least 0. Puts the model in evaluation mode.

    - `gradcam`: the last feature maps, weighted by the mean gradient of each (Selvaraju et al., 2017).
    - `hirescam`: the last feature maps times their gradients, place by place (Draelos and Carin, 2020). The same as
      Grad-CAM, up to a factor, where maps are averaged before the classifier; where they are flattened instead, as in
      the baseline network, only this one keeps track of places.
    - `integrated_gradients`: gradients by pixel along the way from the mean colour to the patch (Sundararajan et al.,
      2017), by absolute value and summed over channels.

    Args:
        model: Maps normalised images to logits [N]. Its parameters need no gradients.
        images_NCHW: float32 [N, 3, H, W], normalised, on the model's device.
        method: One of `METHODS`.

    Returns:
        float32 [N, H, W].

    Raises:
        UsageError: The network has no feature maps that the class activation methods could use.
    """
    model.eval()
    images_NCHW = images_NCHW.detach().clone().requires_grad_()
    with torch.enable_grad():
        if method == "integrated_gradients":
            found_NCHW = _integrated_gradients(model, images_NCHW)
        else:
            found_NCHW = _class_activation(model, images_NCHW, method)
    size = images_NCHW.shape[-2:]
    maps_NCHW = functional.interpolate(found_NCHW.detach().float(), size, mode="bilinear", align_corners=False)
    maps: Floats = maps_NCHW[:, 0].cpu().numpy()
    return maps


def _class_activation(model: nn.Module, images_NCHW: Tensor, method: Method) -> Tensor:
    from captum.attr import LayerGradCam, LayerGradientXActivation

    layer = feature_layer(model, images_NCHW)
    if method == "gradcam":
        # Signed here, the class is chosen below: the maps of -logit are those of the logit times -1.
        result: Tensor = LayerGradCam(model, layer).attribute(images_NCHW)
    else:
        result = LayerGradientXActivation(model, layer).attribute(images_NCHW).sum(dim=1, keepdim=True)
    with torch.no_grad():
        called_N = torch.where(model(images_NCHW) >= 0, 1.0, -1.0)
    return functional.relu(result * called_N[:, None, None, None])


def _integrated_gradients(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    from captum.attr import IntegratedGradients

    # Normalised images are 0 where they have the mean colour, so captum's default start is just that.
    path = IntegratedGradients(model)
    gradients: Tensor = path.attribute(images_NCHW, n_steps=IG_STEPS, internal_batch_size=max(64, len(images_NCHW)))
    return gradients.abs().sum(dim=1, keepdim=True)


def centre_mass(maps_NHW: NDArray[Any]) -> NDArray[np.float64]:
    """Return each map's share that lies in the centre that decides the label, NaN for a map of zeros.

    Pixels on the border of the centre count by the part of them that lies inside, so an even map has exactly 1/9.

    Args:
        maps_NHW: At least 0.
    """
    maps_NHW = np.asarray(maps_NHW, np.float64)
    rows_H, columns_W = _middle(maps_NHW.shape[1]), _middle(maps_NHW.shape[2])
    inside_N = np.einsum("nhw,h,w->n", maps_NHW, rows_H, columns_W)
    whole_N = maps_NHW.sum(axis=(1, 2))
    share_N = np.full(len(maps_NHW), np.nan)
    np.divide(inside_N, whole_N, out=share_N, where=whole_N > 0)
    return share_N


def _middle(size: int) -> NDArray[np.float64]:
    """Return the part of each of `size` pixels that lies in the centre's part of their row."""
    edges = np.clip(np.arange(size + 1), *CENTRE.edges(size))
    parts: NDArray[np.float64] = np.diff(edges)
    return parts
