"""The values that pass between stages. No logic here."""

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
