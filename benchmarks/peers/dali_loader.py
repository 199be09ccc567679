"""DALI as its documentation composes it: an operator for each of the notebook's steps, in its order or colour first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types
from torch.utils.dlpack import from_dlpack

from benchmarks.peers.common import CROP_RATIO, CROP_SCALE, JITTER, MEAN, ROTATION_DEG, STD, Batches, Task, Work, main
from benchmarks.peers.packed import Packed

COLOUR = ("contrast about mid-grey, hue as a turn in YIQ, colour in one order",)
WORKS = {
    "": Work(differs=COLOUR),
    "colour_first": Work(differs=(*COLOUR, "colour, flip and rotation at the stored size, one resize in place of two")),
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


def images_for(task: Task, images: Any) -> Any:  # noqa: ANN401 (DALI's DataNode)
    """Return normalised float32 [3, size, size] of uint8 [H, W, 3]."""
    size, flip = task.image_size_px, fn.random.coin_flip()
    linear: dict[str, Any] = {"interp_type": types.INTERP_LINEAR, "antialias": False}
    area: dict[str, Any] = {"random_area": CROP_SCALE, "random_aspect_ratio": CROP_RATIO}
    finish: dict[str, Any] = {"dtype": types.FLOAT, "output_layout": "CHW"}
    finish |= {"mean": [255 * value for value in MEAN], "std": [255 * value for value in STD]}
    if task.mode == "val":
        return fn.crop_mirror_normalize(fn.resize(images, size=[size, size], **linear), **finish)
    if task.variant == "colour_first":
        images = fn.random_resized_crop(turned(coloured(images)), size=[size, size], **area, **linear)
        return fn.crop_mirror_normalize(images, mirror=flip, **finish)
    images = fn.flip(fn.resize(images, size=[size, size], **linear), horizontal=flip)
    images = fn.random_resized_crop(turned(images), size=[size, size], **area, **linear)
    return fn.crop_mirror_normalize(coloured(images), **finish)


def feed(task: Task) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield gathered patches and labels without end."""
    packed = Packed(task.store)
    for rows_N in packed.batches_of_rows(task.mode, task.batch_size):
        yield packed.gather(rows_N), packed.labels_N[rows_N, None]


def load(task: Task) -> Batches:
    """Yield batches without end."""

    @pipeline_def(  # type: ignore[untyped-decorator]
        batch_size=task.batch_size, num_threads=task.threads, device_id=None, exec_dynamic=True
    )
    def pipeline() -> Any:  # noqa: ANN401 (DALI's DataNode)
        images, labels = fn.external_source(
            source=feed(task), num_outputs=2, batch=True, layout=["HWC", "X"], dtype=[types.UINT8, types.INT64]
        )
        return images_for(task, images), labels

    running = pipeline()
    running.build()
    while True:
        images, labels = running.run()
        yield from_dlpack(images.as_tensor()), from_dlpack(labels.as_tensor())


if __name__ == "__main__":
    main(load, WORKS, ["nvidia-dali-cuda120", "torch"])
