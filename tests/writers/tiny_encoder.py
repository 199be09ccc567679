"""A tiny vision transformer made by timm, with random weights in a folder as timm writes it; no network is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file

NUM_FEATURES, SIZE_PX = 24, 32
ARGUMENTS: dict[str, Any] = {
    "img_size": SIZE_PX,
    "patch_size": 16,
    "embed_dim": NUM_FEATURES,
    "depth": 1,
    "num_heads": 2,
}
MEAN, STD = (0.5, 0.4, 0.6), (0.2, 0.25, 0.3)


def make(seed: int = 0, **more: Any) -> torch.nn.Module:
    """Return the network, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **ARGUMENTS | more)
    return made.eval()


def write_encoder(folder: Path, seed: int = 0, licence: str | None = "apache-2.0", **more: Any) -> str:
    """Write config.json and model.safetensors; returns what names the encoder."""
    folder.mkdir(parents=True)
    about: dict[str, Any] = {"input_size": [3, SIZE_PX, SIZE_PX], "mean": MEAN, "std": STD}
    if licence is not None:
        about["license"] = licence
    config = {"architecture": "vit_tiny_patch16_224", "model_args": ARGUMENTS | more, "pretrained_cfg": about}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(make(seed, **more).state_dict(), folder / "model.safetensors")
    return f"local-dir:{folder}"
