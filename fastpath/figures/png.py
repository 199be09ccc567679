"""Pictures as files in memory, the same bytes for the same picture: PNG, and JPEG where there are many."""

from __future__ import annotations

import io
import warnings
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


def jpeg_of_image(image_HWC: NDArray[np.uint8]) -> bytes:
    """Return uint8 [H, W, 3] as a JPEG file for the eye: a sixth of the PNG, its colours not subsampled."""
    content = io.BytesIO()
    Image.fromarray(image_HWC).save(content, format="jpeg", quality=90, subsampling=0)
    return content.getvalue()


def of_figure(figure: Figure) -> bytes:
    """Return a figure as a PNG file that does not name the version of what drew it."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Names in a script that the font lacks are drawn as boxes, and long ones may crowd out an axis; neither is
        # worth a line to whoever asked for the numbers.
        warnings.filterwarnings("ignore", message="Glyph .* missing from|.*layout not applied")
        figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def literal(text: object, most: int = 80) -> str:
    """Return what Matplotlib draws as the very text: names of files, patches, slides, runs and models.

    Left as they are, two `$` would be read as mathematics and end the drawing where it is none, a leading `_` would
    keep a line out of the legend, and a line break would run into the next caption.

    Args:
        text: Any name.
        most: Characters kept, from the start.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in str(text)[: most + 1])
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return (" " if shown.startswith("_") else "") + shown.replace("$", r"\$")
