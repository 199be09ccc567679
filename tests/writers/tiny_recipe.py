"""A recipe that trains in seconds: the baseline network, which needs no download, at 16 pixels."""

from __future__ import annotations


def tiny_recipe(epochs: int, sampling: str = "weighted") -> str:
    """Return it as TOML."""
    return f"""
[data]
image_size_px = 16
batch_size = 16
sampling = "{sampling}"
[model]
name = "baseline_cnn"
pretrained = false
trainable = "all"
[train]
epochs = {epochs}
"""
