"""The notebook's baseline: three convolution blocks and two linear layers, for any input size."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from fastpath.errors import ConfigError

CHANNELS = (32, 64, 128)
HIDDEN = 256
MIN_SIZE_PX = 2 ** len(CHANNELS)  # each block halves the side, rounding down; below this nothing is left


class BaselineCNN(nn.Module):
    """Three blocks of 3×3 convolution, BatchNorm, max-pool, ReLU; then 256 hidden units and one logit.

    The notebook applies ReLU before the max-pool. Both are monotone, so max(relu(a), relu(b), …) is
    relu(max(a, b, …)): the values and gradients are the same, and ReLU visits a quarter of the elements.

    Args:
        image_size_px: Height and width of the input, in pixels. 224 gives the notebook's 25.8 million parameters.

    Raises:
        ConfigError: The input is too small for three halvings.
    """

    def __init__(self, image_size_px: int) -> None:
        if image_size_px < MIN_SIZE_PX:
            raise ConfigError(
                "data.image_size_px",
                f"found {image_size_px}, wanted at least {MIN_SIZE_PX} for baseline_cnn",
                "use a larger input",
            )
        super().__init__()
        widths = (3, *CHANNELS)
        self.blocks = nn.Sequential(*(_block(*pair) for pair in pairwise(widths)))
        side = image_size_px // 2 ** len(CHANNELS)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.5), nn.Linear(CHANNELS[-1] * side * side, HIDDEN), nn.ReLU(), nn.Dropout(0.5)
        )
        self.classifier = nn.Linear(HIDDEN, 1)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Return logits [N, 1] of normalised images float [N, 3, image_size_px, image_size_px]."""
        return self.classifier(self.hidden(self.blocks(images_NCHW)))  # type: ignore[no-any-return]

    def get_classifier(self) -> nn.Module:
        """Return the layer that emits the logit, under timm's name for it."""
        return self.classifier


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.MaxPool2d(2),
        nn.ReLU(),
    )
