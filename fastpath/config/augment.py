"""The random part of the configuration: the tables `data.augment` and `data.mix`, and the base of every table."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fastpath.config.section import Section

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Strength = Annotated[float, Field(ge=0.0, le=10.0)]
"""Beyond a factor of 10 every pixel is black or white."""
Pixels = Annotated[float, Field(ge=0.0, le=4096.0)]
"""The side of the largest patch."""
Sigma = Annotated[float, Field(gt=0.0, le=64.0)]
"""A kernel of more is wider than any patch, and DALI makes it however wide it is."""
Factor = Annotated[float, Field(ge=1e-3, le=1e3)]
Grey = Annotated[float, Field(ge=0.0, le=255.0)]
Alpha = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Of a Beta distribution: beyond these all of it lies at the ends or in the middle."""
Quality = Annotated[int, Field(ge=1, le=100)]
Policy = Literal["notebook", "none", "d4", "strong", "ring"]


_D4 = {"hflip": 0.5, "quarter_turns": True, "rotation_deg": 0.0, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0)}
_PLAIN = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
_STRONG = {"rotation_deg": 15.0, "border": "clamp", "crop_scale": (0.7, 1.0), "crop_ratio": (0.9, 1.1)}
_MOVED = {"shift_px": 3.0, "zoom": (0.9, 1.1)}
_WIDE = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1, "stain": 0.1}
_SCANNER = {"blur_p": 0.2, "noise_p": 0.2, "jpeg_p": 0.2}
POLICIES: dict[str, dict[str, Any]] = {
    "notebook": {},
    "none": {**_D4, **_PLAIN, "hflip": 0.0, "quarter_turns": False},
    "d4": {**_D4, **_PLAIN},
    "strong": {**_D4, **_STRONG, **_MOVED, **_WIDE, **_SCANNER},
    "ring": {**_D4, "ring_blur_p": 0.25, "ring_stain_p": 0.25, "ring_swap_p": 0.25},
}
"""What each policy sets; the defaults of `AugmentConfig` are the notebook's."""


STAGES = ("blur", "noise", "jpeg", "ring_swap", "ring_blur", "ring_stain")
"""What changes the patch's own pixels before colour and geometry, in this order; those of the ring come last. Each
has a probability `<name>_p` below, and its file in `fastpath/data/augment/stages`."""


class AugmentConfig(Section):
    """Random geometry, colour and artefacts of training patches; distributions are torchvision's.

    Whatever has no probability of its own is drawn for every sample.
    """

    policy: Policy = "notebook"
    """Where the keys below start from: the notebook's values; nothing; flips and quarter turns, which lose no pixel;
    `strong`, these with small rotations, shifts and zooms, wider colour, stain, blur, noise and JPEG artefacts; or
    `ring`, these with the notebook's colour and changes to all but the centre. A key that is given wins."""
    hflip: Fraction = 0.5
    """Probability of a horizontal flip."""
    vflip: Fraction = 0.0
    """Probability of a vertical flip."""
    quarter_turns: bool = False
    """Turn by 0, 90, 180 or 270 degrees, each with probability 1/4. With both flips at 0.5 this is D4."""
    rotation_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 15.0
    """Rotate by an angle uniform in [-rotation_deg, rotation_deg], in degrees."""
    rotation_p: Fraction = 1.0
    """Probability of that rotation."""
    shift_px: Pixels = 0.0
    """Shift by an amount uniform in [-shift_px, shift_px], down and to the right, in pixels of the patch."""
    shift_p: Fraction = 1.0
    """Probability of that shift."""
    zoom: tuple[Factor, Factor] = (1.0, 1.0)
    """Enlarge about the centre by a factor uniform between the two; below 1 it shows what lies outside."""
    zoom_p: Fraction = 1.0
    """Probability of that zoom."""
    crop_scale: tuple[Positive, Positive] = (0.8, 1.0)
    """Area of the random crop as a share of the patch, uniform between the two. (1, 1) crops nothing."""
    crop_ratio: tuple[Factor, Factor] = (0.75, 4 / 3)
    """Width over height of the random crop, log-uniform between the two."""
    crop_p: Fraction = 1.0
    """Probability of that crop."""
    border: Literal["black", "clamp", "reflect"] = "black"
    """What rotation, shift and zoom bring in from outside the patch: black (the notebook's), the nearest pixel, or
    the patch mirrored at its edge."""
    brightness: Strength = 0.2
    """Brightness factor uniform in [max(0, 1 - brightness), 1 + brightness]."""
    contrast: Strength = 0.2
    """Contrast factor, likewise."""
    saturation: Strength = 0.2
    """Saturation factor, likewise."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Hue shift uniform in [-hue, hue], in turns of the colour circle."""
    colour_p: Fraction = 1.0
    """Probability of these four together."""
    stain: Strength = 0.0
    """Each of the stains haematoxylin, eosin and DAB is scaled by a factor uniform in [1 - stain, 1 + stain] and
    shifted by an optical density uniform in [-stain, stain], before the colour jitter."""
    stain_p: Fraction = 1.0
    """Probability of that change of stain."""
    blur_p: Fraction = 0.0
    """Probability of a Gaussian blur of the patch, as by a scanner out of focus."""
    blur_sigma_px: tuple[Sigma, Sigma] = (0.3, 1.2)
    """Its standard deviation, uniform between the two, in pixels of the patch."""
    noise_p: Fraction = 0.0
    """Probability of normal noise on every value of the patch."""
    noise_sd: tuple[Grey, Grey] = (1.0, 6.0)
    """Its standard deviation, uniform between the two, in grey levels of 0 to 255."""
    jpeg_p: Fraction = 0.0
    """Probability of JPEG artefacts in the patch."""
    jpeg_quality: tuple[Quality, Quality] = (50, 95)
    """Their quality, a whole number uniform between the two, 1 (worst) to 100."""
    ring_blur_p: Fraction = 0.0
    """Probability that all but the centre third of the patch, which decides the label, is blurred."""
    ring_blur_sigma_px: tuple[Sigma, Sigma] = (0.5, 2.0)
    """The standard deviation of that blur, in pixels of the patch."""
    ring_stain_p: Fraction = 0.0
    """Probability that all but the centre third changes its stain."""
    ring_stain: Strength = 0.1
    """The reach of that change, as of `stain`."""
    ring_swap_p: Fraction = 0.0
    """Probability that all but the centre third is that of another training patch."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_policy(cls, values: Any) -> Any:  # noqa: ANN401 (whatever was given)
        # A policy that does not exist is reported by its own field.
        return {**POLICIES.get(str(values.get("policy")), {}), **values} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and value[0] > value[1]:
                raise ValueError(f"{name}: found {value[0]} > {value[1]}, wanted the smaller value first")
        if self.crop_scale[1] > 1.0:
            raise ValueError(f"crop_scale: found {self.crop_scale[1]}, wanted at most 1")
        return self

    @property
    def moves(self) -> bool:
        """Whether rotation, shift or zoom can bring something from outside the patch into view."""
        rotates = self.rotation_deg > 0 and self.rotation_p > 0
        shifts = self.shift_px > 0 and self.shift_p > 0
        return rotates or shifts or (self.zoom[0] < 1 and self.zoom_p > 0)

    @property
    def artefacts(self) -> bool:
        """Whether any stage is asked for that works on the patch's pixels before colour and geometry."""
        return any(getattr(self, f"{name}_p") > 0 for name in STAGES)


class MixConfig(Section):
    """Samples mixed with another of their batch, labels likewise. A pair is mixed in one way or in none."""

    mixup_p: Fraction = 0.0
    """Probability that a pair of samples is blended (Mixup)."""
    mixup_alpha: Alpha = 0.2
    """The partner's share is drawn from Beta(alpha, alpha)."""
    cutmix_p: Fraction = 0.0
    """Probability that a rectangle of each of the pair is replaced by its partner's (CutMix). The label follows the
    share of the centre that is replaced."""
    cutmix_alpha: Alpha = 1.0
    """The rectangle's share of the area is drawn from Beta(alpha, alpha)."""

    @model_validator(mode="after")
    def _one_way_at_most(self) -> Self:
        if self.mixup_p + self.cutmix_p > 1:
            raise ValueError(f"found mixup_p + cutmix_p = {self.mixup_p + self.cutmix_p:g}, wanted at most 1")
        return self
