"""The values that pass between stages, and what they mean. No work is done here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Tta = Literal["none", "d4"]
"""Views that a patch is scored in: as it is, or in its eight turns and mirror images."""


class Split(StrEnum):
    """The part of a data set that a patch belongs to."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Batch:
    """What a loader yields and the engine consumes. All tensors are on the run's device.

    The images lie in memory of the loader, which it writes anew when it is asked for the next batch: clone what is to
    be kept (`batch.images_NCHW.clone()`). Labels and indices are the reader's own. Unpacks as `images, labels`.

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

    def __len__(self) -> int:
        return len(self.indices_N)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.images_NCHW, self.labels_N))

    def to(self, device: Any, **options: Any) -> Batch:  # noqa: ANN401 (whatever `torch.Tensor.to` takes)
        """Return the batch on a device, as Lightning and Accelerate ask for it; the same memory where it is there."""
        images_NCHW, labels_N = (tensor.to(device, **options) for tensor in self)
        return Batch(images_NCHW, labels_N, self.indices_N.to(device, **options), self.num_total)


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


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch of a store.

    Attributes:
        pixels_HWC: uint8 [H, W, 3], red green blue; a copy.
        label: 0 or 1; None where it is unknown.
        id: Its name.
        group: Its slide; None where slides are unknown.
    """

    pixels_HWC: NDArray[np.uint8]
    label: int | None
    id: str
    group: str | None = None

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.pixels_HWC.shape[:2]))
        return f"Patch(id={self.id!r}, label={self.label}, group={self.group!r}, {shape} px)"


class Patches(Protocol):
    """What is needed of a packed store, or of whatever else hands out patches by row."""

    @property
    def labels_N(self) -> NDArray[np.int8]:
        """Label of each row, -1 where unknown."""

    @property
    def patch_size_px(self) -> int:
        """Side of a patch."""

    def gather(self, indices_N: NDArray[np.int64], out_NHWC: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return the patches of these rows, uint8 [N, H, W, 3]; written to `out_NHWC`, strided or not, where given."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Some rows of a store with all that a loader wants to know of them; `Store.split` makes them.

    Attributes:
        patches: What the rows count through.
        rows_N: int64 [N].
        stats: What the patches are normalised with.
        weights_N: float64 [N], how often training draws each, relative to the others; None is equally often.
    """

    patches: Patches
    rows_N: NDArray[np.int64]
    stats: ChannelStats
    weights_N: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.rows_N)

    @property
    def labels_N(self) -> NDArray[np.int8]:
        """Label of each sample, int8 [N], -1 where unknown."""
        return self.patches.labels_N[self.rows_N]

    @property
    def groups_N(self) -> NDArray[Any] | None:
        """Slide of each sample; None where slides are unknown."""
        groups_N = getattr(self.patches, "groups_N", None)
        return None if groups_N is None else np.asarray(groups_N[self.rows_N])

    def __repr__(self) -> str:
        counts = ", ".join(f"{int((self.labels_N == label).sum()):,} of label {label}" for label in (0, 1))
        return f"Samples({len(self):,} patches of {self.patches.patch_size_px} px: {counts})"
