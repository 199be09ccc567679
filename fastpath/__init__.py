"""From a folder of pathology TIFF patches to a trained, calibrated tumour classifier, fast.

The names below are the library's front door; the command line is built on the same ones. They are imported when first
used, so that `import fastpath` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastpath.analysis.measures import EvaluationResult as EvaluationResult
    from fastpath.analysis.measures import evaluate as evaluate
    from fastpath.config import Config as Config
    from fastpath.config import load as load_config
    from fastpath.data.loader import eval_loader as eval_loader
    from fastpath.data.loader import train_loader as train_loader
    from fastpath.errors import FastpathError as FastpathError
    from fastpath.library import Run as Run
    from fastpath.library import open_run as open_run
    from fastpath.library import pack as pack
    from fastpath.library import train as train
    from fastpath.model.registry import build as build_model
    from fastpath.runtime import Runtime as Runtime
    from fastpath.runtime import resolve as resolve_runtime
    from fastpath.store.reader import open_store as open_store
    from fastpath.store.split_table import read_split as read_split
    from fastpath.types import Batch as Batch
    from fastpath.types import ChannelStats as ChannelStats
    from fastpath.types import Patch as Patch
    from fastpath.types import Samples as Samples

_EXPORTS = {
    "Batch": ("fastpath.types", "Batch"),
    "ChannelStats": ("fastpath.types", "ChannelStats"),
    "Config": ("fastpath.config", "Config"),
    "EvaluationResult": ("fastpath.analysis.measures", "EvaluationResult"),
    "evaluate": ("fastpath.analysis.measures", "evaluate"),
    "Patch": ("fastpath.types", "Patch"),
    "Samples": ("fastpath.types", "Samples"),
    "FastpathError": ("fastpath.errors", "FastpathError"),
    "Runtime": ("fastpath.runtime", "Runtime"),
    "Run": ("fastpath.library", "Run"),
    "open_run": ("fastpath.library", "open_run"),
    "pack": ("fastpath.library", "pack"),
    "train": ("fastpath.library", "train"),
    "build_model": ("fastpath.model.registry", "build"),
    "eval_loader": ("fastpath.data.loader", "eval_loader"),
    "load_config": ("fastpath.config", "load"),
    "open_store": ("fastpath.store.reader", "open_store"),
    "read_split": ("fastpath.store.split_table", "read_split"),
    "resolve_runtime": ("fastpath.runtime", "resolve"),
    "train_loader": ("fastpath.data.loader", "train_loader"),
}

__all__ = [
    "Batch",
    "ChannelStats",
    "Config",
    "EvaluationResult",
    "FastpathError",
    "Patch",
    "Run",
    "Runtime",
    "Samples",
    "build_model",
    "eval_loader",
    "evaluate",
    "load_config",
    "open_run",
    "open_store",
    "pack",
    "read_split",
    "resolve_runtime",
    "train",
    "train_loader",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:  # noqa: ANN401 (any public name)
    if name not in _EXPORTS:
        raise AttributeError(f"module 'fastpath' has no attribute '{name}'")
    module, attribute = _EXPORTS[name]
    return getattr(importlib.import_module(module), attribute)
