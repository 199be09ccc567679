"""Pictures as PNG files in memory, the same bytes for the same picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def of_image(image_HWC: NDArray[np.uint8]) -> bytes:
    """Return uint8 [H, W, 3] as a PNG file, pixel for pixel."""
    content = io.BytesIO()
    Image.fromarray(image_HWC).save(content, format="png")
    return content.getvalue()


def of_figure(figure: Figure) -> bytes:
    """Return a figure as a PNG file that does not name the version of what drew it."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
