"""The operators of blur, noise, JPEG artefacts and rings, each added to the graph only where the policy asks for it.

They work on bytes at the patch's own size, and run only for the samples that drew them: an `if` on a node is DALI's
conditional execution. The centre third is copied around the ring's operators, so its bytes are those that the other
stages gave.
"""

from __future__ import annotations

from typing import Any

from nvidia.dali import fn, types

from fastpath.config import AugmentConfig
from fastpath.data.augment.artefacts import centre

Kind = tuple[str, Any]


def kinds(policy: AugmentConfig) -> list[Kind]:
    """Return the layout and type of each of `artefacts.inputs`, for DALI's external source."""
    number, flag, noise = ("", types.FLOAT), ("", types.BOOL), ("HWC", types.INT8)
    found = [number] * (policy.blur_p > 0) + [noise, number] * (policy.noise_p > 0)
    found += [("", types.INT32)] * (policy.jpeg_p > 0) + [flag] * (policy.ring_swap_p > 0)
    return found + [number] * (policy.ring_blur_p > 0) + [flag, number] * (policy.ring_stain_p > 0)


def applied(policy: AugmentConfig, images: Any, partners: Any, fed: list[Any], patch_px: int) -> Any:  # noqa: ANN401
    """Add the operators that a policy asks for.

    Args:
        policy: What is asked for.
        images: uint8 [N, H, W, 3].
        partners: The same of the patches that lend their ring; read where the policy swaps rings.
        fed: Nodes of `artefacts.inputs`, on the host.
        patch_px: Side of a patch.

    Returns:
        uint8 [N, H, W, 3].
    """
    waiting = iter(fed)
    if policy.blur_p > 0:
        images = _blurred(images, next(waiting))
    if policy.noise_p > 0:
        images = _noisy(images, next(waiting), next(waiting))
    if policy.jpeg_p > 0:
        images = _compressed(images, next(waiting))
    ring = images
    if policy.ring_swap_p > 0:
        ring = _swapped(ring, partners, next(waiting))
    if policy.ring_blur_p > 0:
        ring = _blurred(ring, next(waiting))
    if policy.ring_stain_p > 0:
        ring = _restained(ring, next(waiting), next(waiting))
    return images if ring is images else _joined(images, ring, patch_px)


def _blurred(images: Any, sigma: Any) -> Any:  # noqa: ANN401
    if sigma > 0:
        images = fn.gaussian_blur(images, sigma=sigma)
    return images


def _noisy(images: Any, noise: Any, amplitude: Any) -> Any:  # noqa: ANN401
    if amplitude > 0:
        moved = noise.gpu() if images.device == "gpu" else noise
        images = fn.cast(images + moved * amplitude, dtype=types.UINT8)  # rounds, and stays within 0 to 255
    return images


def _compressed(images: Any, quality: Any) -> Any:  # noqa: ANN401
    if quality > 0:
        images = fn.jpeg_compression_distortion(images, quality=quality)
    return images


def _swapped(images: Any, partners: Any, flag: Any) -> Any:  # noqa: ANN401
    if flag:
        images = partners
    return images


def _restained(images: Any, flag: Any, matrix: Any) -> Any:  # noqa: ANN401
    if flag:
        images = fn.coord_transform(images, MT=matrix, dtype=types.UINT8)
    return images


def _joined(images: Any, ring: Any, patch_px: int) -> Any:  # noqa: ANN401
    """Copy the centre third of `images` into `ring`."""
    low, high = centre(patch_px)
    inside = fn.slice(images, start=[low, low], end=[high, high], axes=[0, 1])
    left = fn.slice(ring, start=[low, 0], end=[high, low], axes=[0, 1])
    right = fn.slice(ring, start=[low, high], end=[high, patch_px], axes=[0, 1])
    above = fn.slice(ring, start=[0], end=[low], axes=[0])
    below = fn.slice(ring, start=[high], end=[patch_px], axes=[0])
    return fn.cat(above, fn.cat(left, inside, right, axis=1), below, axis=0)
