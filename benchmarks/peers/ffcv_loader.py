"""FFCV on its own format with raw pixels: without colour jitter, with what it has of it, and with that at 96 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import (
    CenterCropRGBImageDecoder,
    IntDecoder,
    RandomResizedCropRGBImageDecoder,
    SimpleRGBImageDecoder,
)
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import (
    NormalizeImage,
    RandomBrightness,
    RandomContrast,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomSaturation,
    Squeeze,
    ToTensor,
    ToTorchImage,
)
from ffcv.traversal_order.base import TraversalOrder
from ffcv.writer import DatasetWriter

from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, JITTER, MEAN, STD, Batches, Task, Work, main
from benchmarks.peers.packed import Packed

RESIZE = "crops at the stored size; resizes by OpenCV's INTER_AREA"
SAMPLING = "weighted sampling by a traversal order of our own"
ORDER = "colour in one order"
WORKS = {
    "": Work(("rotation", "brightness", "contrast", "saturation", "hue"), (RESIZE, SAMPLING)),
    "jitter": Work(("rotation", "hue"), (RESIZE, SAMPLING, ORDER)),
    "jitter_first": Work(("rotation", "hue"), (RESIZE, SAMPLING, ORDER, "colour at the stored size")),
    "val": Work(differs=("resizes by OpenCV's INTER_AREA",)),
}
WARM_EPOCHS = 1  # compiles, and settles Numba's threads


class Indexed:
    """The store as the writer wants it: (image, label) by index."""

    def __init__(self, store: Path) -> None:
        self.packed = Packed(store)

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.packed.patch(index), int(self.packed.labels_N[index])


class Weighted(TraversalOrder):  # type: ignore[misc]
    """Draws with replacement, both classes alike: what FFCV has no option for."""

    weights_N: np.ndarray

    def sample_order(self, epoch: int) -> np.ndarray:
        """Return an epoch's indices."""
        random = np.random.default_rng([self.seed, epoch])
        return random.choice(self.indices, size=len(self.indices), p=self.weights_N)


def prepared(task: Task) -> Path:
    """Write the patches in FFCV's format beside the store, once; returns the file."""
    path = task.store.with_name(f"{task.store.name}.beton")
    if not path.exists():
        partial = path.with_name(f"{path.name}.partial")
        fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
        DatasetWriter(str(partial), fields, num_workers=1).from_indexed_dataset(Indexed(task.store))
        partial.rename(path)
    return path


def operations(task: Task) -> list[object]:
    """Return the image pipeline."""
    size, (brightness, contrast, saturation, _) = task.image_size_px, JITTER
    colour = [RandomBrightness(brightness, 1.0), RandomContrast(contrast, 1.0), RandomSaturation(saturation, 1.0)]
    decode_crop = RandomResizedCropRGBImageDecoder((size, size), CROP_SCALE, CROP_RATIO)
    flip = RandomHorizontalFlip(0.5)
    start = {
        "": [decode_crop, flip],
        "jitter": [decode_crop, flip, *colour],
        "jitter_first": [SimpleRGBImageDecoder(), *colour, RandomResizedCrop(CROP_SCALE, CROP_RATIO, size), flip],
    }[task.variant]
    if task.mode == "val":
        start = [CenterCropRGBImageDecoder((size, size), ratio=1)]
    mean_3, std_3 = np.array(MEAN) * 255, np.array(STD) * 255
    tensor = [ToTensor(), ToTorchImage(convert_back_int16=False)]
    return [*start, NormalizeImage(mean_3, std_3, np.dtype(np.float32)), *tensor]


def load(task: Task) -> Batches:
    """Yield batches, epoch after epoch, after `WARM_EPOCHS` of them."""
    loader = Loader(
        str(prepared(task)),
        batch_size=task.batch_size,
        num_workers=task.threads,
        os_cache=True,
        order=OrderOption.SEQUENTIAL,
        drop_last=task.mode == "train",
        pipelines={"image": operations(task), "label": [IntDecoder(), ToTensor(), Squeeze()]},
    )
    if task.mode == "train":
        loader.traversal_order = Weighted(loader)
        loader.traversal_order.weights_N = Packed(task.store).weights_N
    for _ in range(WARM_EPOCHS):
        for _ in loader:
            pass
    while True:
        yield from loader


if __name__ == "__main__":
    main(load, WORKS, ["ffcv", "numba", "opencv-python-headless", "torch"])
