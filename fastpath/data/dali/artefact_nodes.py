"""The operators of blur, noise, JPEG artefacts and rings, each added to the graph only where the policy asks for it.

They work on bytes at the patch's own size, and run only for the samples that drew them: an `if` on a node is DALI's
conditional execution. The centre third is copied around the ring's operators, so its bytes are those that the other
stages gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from nvidia.dali import fn, types

from fastpath.config import AugmentConfig
from fastpath.data.augment import artefacts
from fastpath.types import CENTRE


def applied(policy: AugmentConfig, images: Any, nodes: Mapping[str, Any], patch_px: int) -> Any:  # noqa: ANN401
    """Add the operators that a policy asks for.

    Args:
        policy: What is asked for.
        images: uint8 [N, H, W, 3].
        nodes: Those of `artefacts.kinds`, on the host, and `partners`, the patches that lend their ring, where the
            policy swaps rings.
        patch_px: Side of a patch.

    Returns:
        uint8 [N, H, W, 3].
    """
    dali = SimpleNamespace(fn=fn, types=types)
    shared = {name: nodes[name] for name in ("partners",) if name in nodes}
    ring = None
    for name, stage in artefacts.asked_for(policy).items():
        inputs = artefacts.of_stage(name, nodes) | shared
        if stage.on_ring:
            ring = stage.apply(dali, images if ring is None else ring, inputs)
        else:
            images = stage.apply(dali, images, inputs)
    return images if ring is None else _joined(images, ring, patch_px)


def _joined(images: Any, ring: Any, patch_px: int) -> Any:  # noqa: ANN401
    """Copy the centre third of `images` into `ring`."""
    centre = CENTRE.pixels(patch_px)
    low, high = centre.start, centre.stop
    inside = fn.slice(images, start=[low, low], end=[high, high], axes=[0, 1])
    left = fn.slice(ring, start=[low, 0], end=[high, low], axes=[0, 1])
    right = fn.slice(ring, start=[low, high], end=[high, patch_px], axes=[0, 1])
    above = fn.slice(ring, start=[0], end=[low], axes=[0])
    below = fn.slice(ring, start=[high], end=[patch_px], axes=[0])
    return fn.cat(above, fn.cat(left, inside, right, axis=1), below, axis=0)
