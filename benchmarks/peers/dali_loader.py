"""DALI as its documentation composes it: an operator for each of the notebook's steps, in its order or reordered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types
from torch.utils.dlpack import from_dlpack

from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, JITTER, MEAN, ROTATION_DEG, STD, Batches, Task, Work, main
from benchmarks.peers.packed import Packed

LAST = "resized_last"
COLOUR = ("contrast about mid-grey, hue as a turn in YIQ, colour in one order",)
WORKS = {
    "": Work(differs=COLOUR),
    "colour_first": Work(differs=(*COLOUR, "colour, flip and rotation at the stored size, one resize in place of two")),
    "resized_last": Work(differs=(*COLOUR, "all but one resize, normalisation too, at the stored size")),
}


def around_1(factor: float) -> Any:  # noqa: ANN401 (DALI's DataNode)
    """Return a random factor of one jitter."""
    return fn.random.uniform(range=[1 - factor, 1 + factor])


def coloured(images: Any) -> Any:  # noqa: ANN401 (DALI's DataNode)
    """Return the notebook's colour jitter."""
    brightness, contrast, saturation, hue = JITTER
    return fn.color_twist(
        images,
        brightness=around_1(brightness),
        contrast=around_1(contrast),
        saturation=around_1(saturation),
        hue=fn.random.uniform(range=[-360 * hue, 360 * hue]),
    )


def turned(images: Any) -> Any:  # noqa: ANN401 (DALI's DataNode)
    """Return the notebook's rotation, with black corners."""
    angle = fn.random.uniform(range=[-ROTATION_DEG, ROTATION_DEG])
    return fn.rotate(images, angle=angle, keep_size=True, fill_value=0, interp_type=types.INTERP_LINEAR)


def resized(images: Any, size: int, native: bool) -> Any:  # noqa: ANN401 (DALI's DataNode)
    """Return the whole images at another size; at their own, there is nothing to do, but `fn.resize` would."""
    return images if native else fn.resize(images, size=[size, size], interp_type=types.INTERP_LINEAR, antialias=False)


def images_for(task: Task, images: Any, *, native: bool) -> Any:  # noqa: ANN401 (DALI's DataNode)
    """Return float32 [3, size, size], or [size, size, 3] where the resize comes last, normalised, of uint8 [H, W, 3].

    Args:
        task: What to make.
        images: The stored patches.
        native: Whether the output is as large as they are.
    """
    size, flip = task.image_size_px, fn.random.coin_flip()
    linear: dict[str, Any] = {"interp_type": types.INTERP_LINEAR, "antialias": False}
    area: dict[str, Any] = {"random_area": CROP_SCALE, "random_aspect_ratio": CROP_RATIO}
    finish: dict[str, Any] = {"dtype": types.FLOAT, "output_layout": "HWC" if task.variant == LAST else "CHW"}
    finish |= {"mean": [255 * value for value in MEAN], "std": [255 * value for value in STD]}
    if task.mode == "val":
        return fn.crop_mirror_normalize(resized(images, size, native), **finish)
    if task.variant == LAST:
        images = fn.crop_mirror_normalize(turned(coloured(images)), mirror=flip, **finish)
        return fn.random_resized_crop(images, size=[size, size], **area, **linear)
    if task.variant == "colour_first":
        images = fn.random_resized_crop(turned(coloured(images)), size=[size, size], **area, **linear)
        return fn.crop_mirror_normalize(images, mirror=flip, **finish)
    images = fn.flip(resized(images, size, native), horizontal=flip)
    images = fn.random_resized_crop(turned(images), size=[size, size], **area, **linear)
    return fn.crop_mirror_normalize(coloured(images), **finish)


def feed(packed: Packed, task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield gathered patches and labels without end."""
    for rows_N in packed.batches_of_rows(task.mode, task.batch_size):
        yield packed.gather(rows_N), packed.labels_N[rows_N, None]


def load(task: Task) -> Batches:
    """Yield batches without end."""
    packed = Packed(task.store)

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=task.batch_size, num_threads=task.threads, device_id=None, exec_dynamic=True
    )
    def pipeline() -> Any:  # noqa: ANN401 (DALI's DataNode)
        images, labels = fn.external_source(
            source=feed(packed, task), num_outputs=2, batch=True, layout=["HWC", "X"], dtype=[types.UINT8, types.INT64]
        )
        return images_for(task, images, native=packed.patch_px == task.image_size_px), labels

    running = pipeline()
    running.build()
    while True:
        images, labels = running.run()
        images = from_dlpack(images.as_tensor())
        yield images.permute(0, 3, 1, 2) if task.variant == LAST else images, from_dlpack(labels.as_tensor())


if __name__ == "__main__":
    main(load, WORKS, ["nvidia-dali-cuda120", "torch"])
