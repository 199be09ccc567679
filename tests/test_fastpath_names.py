"""The library's front door: what is on it, and that opening it is cheap."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastpath


def test_the_public_names() -> None:
    assert sorted(fastpath.__all__) == [
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
    assert all(callable(getattr(fastpath, name)) for name in fastpath.__all__)
    assert set(fastpath.__all__) <= set(dir(fastpath))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pakc'"):
        fastpath.pakc  # noqa: B018


def test_importing_fastpath_imports_nothing_heavy() -> None:
    code = "import sys, fastpath; print(sorted({'torch', 'nvidia', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
