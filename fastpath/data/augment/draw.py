"""Augmentation parameters of each sample, as a pure function of (seed, epoch, position).

Distributions are those of torchvision's RandomHorizontalFlip, RandomRotation, RandomResizedCrop and ColorJitter, and
where a policy asks for more, of its RandomAffine, GaussianBlur and JPEG. What the parameters do to pixels is in
`geometry`, `colour` and the files of `stages`.

Each parameter is made of random columns of its own. Their numbers are part of what a seed means: they have names here,
and in a stage's file, and tests/data/augment/draws.json holds what they give.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.config import AugmentConfig
from fastpath.data.augment import artefacts
from fastpath.data.augment.artefacts import Floats, Parameters, between, named
from fastpath.data.order import AUGMENT_STREAM, EXTRA_STREAM, generator

CROP_TRIES = 10  # as torchvision's RandomResizedCrop
UNIFORMS_PER_SAMPLE = (
    40  # uniform draws a sample: 17 for what is named below, 2 for each crop try, 3 spare; a multiple of 4
)
COLUMNS: Mapping[str, int | slice] = {
    "hflip": 0,
    "vflip": 1,
    "quarter_turns": 2,
    "rotation": 3,
    "crop_place": slice(4, 6),
    "colour": slice(6, 10),
    "colour_order": 10,
    "crop_tries": slice(12, 12 + 2 * CROP_TRIES),
    "stain": slice(32, 38),
}
"""What is drawn for every policy: the notebook's."""

PAGE = 32  # further columns are drawn in pages of so many: a multiple of 4
MOVE_COLUMNS: Mapping[str, int | slice] = {
    "rotation_gate": 0,
    "crop_gate": 1,
    "colour_gate": 2,
    "stain_gate": 3,
    "shift_gate": 4,
    "shift": slice(5, 7),
    "zoom_gate": 7,
    "zoom": 8,
}
"""The first of what is drawn where a policy asks for it; 9 to 27 are `artefacts.Stage.columns`, and 28 on are free."""

COLOUR_ORDERS = np.array(list(itertools.permutations(range(4))), dtype=np.int64)
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
SAME_COLOUR, SAME_STAIN = np.array([1.0, 1.0, 1.0, 0.0]), np.array([[1.0] * 3, [0.0] * 3])


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Parameters of N samples.

    Attributes:
        hflip_N: bool [N], mirror left and right (applied first).
        vflip_N: bool [N], mirror top and bottom.
        turns_N: int64 [N], quarter turns counter-clockwise.
        angle_deg_N: float64 [N], rotation counter-clockwise about the centre, in degrees.
        crop_N4: int64 [N, 4], top, left, height, width of the crop, in pixels of the resized image.
        factors_N4: float64 [N, 4], brightness, contrast and saturation factors, and hue shift in turns.
        order_N4: int64 [N, 4], the order in which those four are applied.
        stain_N23: float64 [N, 2, 3], factors and shifts of the optical densities of the three stains.
        shift_px_N2: float64 [N, 2], shift to the right and down after the rotation, in pixels of the patch.
        zoom_N: float64 [N], enlargement about the centre, together with the rotation.
        stages: By name, what was drawn for each stage that is asked for; see its file.
    """

    hflip_N: NDArray[np.bool_]
    vflip_N: NDArray[np.bool_]
    turns_N: NDArray[np.int64]
    angle_deg_N: NDArray[np.float64]
    crop_N4: NDArray[np.int64]
    factors_N4: NDArray[np.float64]
    order_N4: NDArray[np.int64]
    stain_N23: NDArray[np.float64]
    shift_px_N2: NDArray[np.float64]
    zoom_N: NDArray[np.float64]
    stages: Mapping[str, Parameters] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.hflip_N)

    def at(self, index_M: NDArray[np.int64]) -> Augmentation:
        """Return the parameters of some of the samples, in the order of `index_M`."""
        values: dict[str, Any] = {drawn_field.name: getattr(self, drawn_field.name) for drawn_field in fields(self)}
        stages = {
            name: {key: value[index_M] for key, value in drawn.items()} for name, drawn in values.pop("stages").items()
        }
        return Augmentation(**{name: value[index_M] for name, value in values.items()}, stages=stages)


def draw_augmentation(
    config: AugmentConfig, image_size_px: int, seed: int, epoch: int, positions: range
) -> Augmentation:
    """Draw the parameters of consecutive positions of an epoch.

    Args:
        config: The distributions.
        image_size_px: Height and width of the resized image, the grid on which crops are placed.
        seed: The run's seed.
        epoch: Epoch, from 0.
        positions: Consecutive positions; a sample's draw does not depend on the others.
    """
    rng = generator(seed, AUGMENT_STREAM, epoch, block=positions.start * (UNIFORMS_PER_SAMPLE // 4))
    count = len(positions)
    uniform = named(rng.random((count, UNIFORMS_PER_SAMPLE)), COLUMNS)
    hue = np.array([config.hue])
    reach = np.array([config.brightness, config.contrast, config.saturation])
    low, high = np.concatenate([np.maximum(0.0, 1.0 - reach), -hue]), np.concatenate([1.0 + reach, hue])
    tries_NT2 = uniform["crop_tries"].reshape(-1, CROP_TRIES, 2)
    drawn = Augmentation(
        hflip_N=uniform["hflip"] < config.hflip,
        vflip_N=uniform["vflip"] < config.vflip,
        turns_N=(uniform["quarter_turns"] * 4).astype(np.int64) * config.quarter_turns,
        angle_deg_N=(2 * uniform["rotation"] - 1) * config.rotation_deg,
        crop_N4=_crops(config, image_size_px, uniform["crop_place"], tries_NT2),
        factors_N4=low + uniform["colour"] * (high - low),
        order_N4=COLOUR_ORDERS[(uniform["colour_order"] * len(COLOUR_ORDERS)).astype(np.int64)],
        stain_N23=stain_changes(config.stain, uniform["stain"]),
        shift_px_N2=np.zeros((count, 2)),
        zoom_N=np.ones(count),
    )
    if not _asks_for_more(config):
        return drawn
    stages = artefacts.asked_for(config)
    columns = [MOVE_COLUMNS, *(stage.columns for stage in stages.values())]
    more = _pages(columns, seed, epoch, positions)
    return replace(
        _moved(config, named(more, MOVE_COLUMNS), image_size_px, drawn), stages=_staged(config, more, stages)
    )


def shown(config: AugmentConfig, drawn: Augmentation) -> dict[str, NDArray[Any]]:
    """Return all parameters, N entries each, by the names that files have for them."""
    own = {
        member.name.rsplit("_", 1)[0]: getattr(drawn, member.name)
        for member in fields(drawn)
        if member.name != "stages"
    }
    return own | dict(artefacts.shown(config, drawn.stages, len(drawn)))


def _asks_for_more(config: AugmentConfig) -> bool:
    """Whether anything is drawn that the notebook does not draw; it is spared the second draw."""
    gates = (config.rotation_p, config.crop_p, config.colour_p, config.stain_p)
    moved = config.shift_px > 0 or config.zoom != (1.0, 1.0)
    return moved or config.artefacts or min(gates) < 1


def _pages(columns: Iterable[Mapping[str, int | slice]], seed: int, epoch: int, positions: range) -> Floats:
    """Return as many columns as these have, each page of them from a stream of its own, float64 [N, columns]."""
    last = max(artefacts.last_column(place) for column in columns for place in column.values())
    block = positions.start * (PAGE // 4)
    streams = [EXTRA_STREAM + (page << 8) for page in range(last // PAGE + 1)]
    pages = [generator(seed, stream, epoch, block).random((len(positions), PAGE)) for stream in streams]
    return np.concatenate(pages, axis=1)


def _staged(config: AugmentConfig, uniform_NW: Floats, stages: Mapping[str, artefacts.Stage]) -> dict[str, Parameters]:
    """Draw what is done to the patch's pixels before colour and geometry."""
    drawn = {}
    for name, stage in stages.items():
        uniform = named(uniform_NW, stage.columns)
        drawn[name] = stage.draw(config, uniform["gate"] < getattr(config, f"{name}_p"), uniform)
    return drawn


def _moved(config: AugmentConfig, uniform: Mapping[str, Floats], size: int, drawn: Augmentation) -> Augmentation:
    """Leave rotation, crop, colour and stain out where their probability says so, and draw shift and zoom."""
    gates = ("rotation", "crop", "colour", "stain", "shift", "zoom")
    asked = {name: uniform[f"{name}_gate"] < getattr(config, f"{name}_p") for name in gates}
    return replace(
        drawn,
        angle_deg_N=drawn.angle_deg_N * asked["rotation"],
        crop_N4=np.where(asked["crop"][:, None], drawn.crop_N4, [0, 0, size, size]),
        factors_N4=np.where(asked["colour"][:, None], drawn.factors_N4, SAME_COLOUR),
        stain_N23=np.where(asked["stain"][:, None, None], drawn.stain_N23, SAME_STAIN),
        shift_px_N2=(2 * uniform["shift"] - 1) * config.shift_px * asked["shift"][:, None],
        zoom_N=np.where(asked["zoom"], between(config.zoom, uniform["zoom"]), 1.0),
    )


def stain_changes(reach: float, uniform_N6: Floats) -> Floats:
    """Return factors and shifts of the three stains, float64 [N, 2, 3]."""
    return np.asarray(SAME_STAIN + reach * (2 * uniform_N6.reshape(-1, 2, 3) - 1))


def _crops(
    config: AugmentConfig, size: int, place_N2: NDArray[np.float64], tries_NT2: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return [N, 4] top, left, height, width: the first try that fits, else the whole image, as torchvision does.

    torchvision's fallback for a square image is the whole of it whenever crop_ratio contains 1.
    """
    area = size**2 * (config.crop_scale[0] + tries_NT2[..., 0] * (config.crop_scale[1] - config.crop_scale[0]))
    log_low, log_high = np.log(config.crop_ratio)
    ratio = np.exp(log_low + tries_NT2[..., 1] * (log_high - log_low))
    width, height = np.rint(np.sqrt(area * ratio)).astype(np.int64), np.rint(np.sqrt(area / ratio)).astype(np.int64)
    fits = (width > 0) & (height > 0) & (width <= size) & (height <= size)
    first = np.argmax(fits, axis=1)
    rows = np.arange(len(first))
    clamped = float(np.clip(1.0, *config.crop_ratio))
    fallback_hw = (round(size / max(clamped, 1.0)), round(size * min(clamped, 1.0)))
    none = ~fits.any(axis=1)
    height = np.where(none, fallback_hw[0], height[rows, first])
    width = np.where(none, fallback_hw[1], width[rows, first])
    top = np.where(none, (size - height) // 2, (place_N2[:, 0] * (size - height + 1)).astype(np.int64))
    left = np.where(none, (size - width) // 2, (place_N2[:, 1] * (size - width + 1)).astype(np.int64))
    return np.stack([top, left, height, width], axis=1)
