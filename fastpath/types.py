"""The values that pass between stages, and what they mean. No work is done here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Split(StrEnum):
    """The part of a data set that a patch belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a loader yields and the engine consumes. All tensors are on the run's device.

    Attributes:
        images_NCHW: float32 [N, 3, H, W], normalised, channels-last in memory.
        labels_N: float32 [N], 0 or 1, between them for mixed samples; NaN where the label is unknown.
        indices_N: int64 [N], rows of the store.
        num_total: Patches of the step over all ranks; 0 stands for N, as where there is one rank only.
    """

    images_NCHW: Tensor
    labels_N: Tensor
    indices_N: Tensor
    num_total: int = 0


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """Per-channel mean and standard deviation of pixels, red green blue, in units of 0 to 1."""

    mean_3: tuple[float, float, float]
    std_3: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Centre:
    """The square in the middle of a patch that its label speaks of.

    PatchCamelyon, and the Kaggle set made from it, call a patch of 96×96 px tumour where its centre of 32×32 px holds
    any (Veeling et al. 2018, "Rotation equivariant CNNs for digital pathology", doi:10.1007/978-3-030-00934-2_24): a
    third of the side. A patch of another size is taken for such a one at another scale, as `pack --resize` makes them.

    Attributes:
        parts: Sides of the square that make the patch's.
    """

    parts: int

    @property
    def area(self) -> float:
        """Share of the patch that it covers."""
        return 1 / self.parts**2

    def edges(self, side: float) -> tuple[float, float]:
        """Return where it begins and ends along a side of that length: 32 and 64 of 96, 74.7 and 149.3 of 224."""
        return side / self.parts, side * (self.parts - 1) / self.parts

    def pixels(self, side_px: int) -> slice:
        """Return the pixels along a side that hold any of it: 32 to 64 of 96, 74 to 150 of 224."""
        first = side_px // self.parts
        return slice(first, side_px - first)


CENTRE = Centre(3)
"""The one definition: augmentation keeps it, `explain` measures it, pictures frame it."""
