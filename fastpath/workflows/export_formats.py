"""The formats that a run is exported to: how each is written, and how it is run again to be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastpath.errors import FastpathError
from fastpath.model.deploy import Deployed

Compute = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From patches uint8 [N, P, P, 3] to logits [N]."""

OPSET = 18


def _write_onnx(module: Deployed, example: torch.Tensor, path: Path) -> None:
    """Write ONNX.

    Raises:
        FastpathError: This torch does not convert this network: 2.6 converts none, with onnxscript 0.5.0 and 0.7.2.
    """
    try:
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=["patches"],
            output_names=["logit", "probability"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except Exception as error:  # torch and onnxscript have an error class for each of their many steps
        problem = f"torch {torch.__version__} cannot convert this network ({' '.join(str(error).split())[:150]})"
        raise FastpathError("ONNX", problem, "use a newer torch, or give a name that ends in .pt2 or .ts") from error


def _write_exported(module: Deployed, example: torch.Tensor, path: Path) -> None:
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("N")},))
    torch.export.save(program, path)


def _write_script(module: Deployed, example: torch.Tensor, path: Path) -> None:
    with torch.inference_mode():
        torch.jit.trace(module, (example,), check_trace=False).save(str(path))  # type: ignore[no-untyped-call]


def _read_onnx(path: Path) -> Compute:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda patches_NHWC: session.run(["logit"], {"patches": patches_NHWC})[0]


def _read_exported(path: Path) -> Compute:
    return _computing(torch.export.load(path).module())


def _read_script(path: Path) -> Compute:
    return _computing(torch.jit.load(str(path)))  # type: ignore[no-untyped-call]


def _computing(module: Any) -> Compute:  # noqa: ANN401 (whatever torch loads)
    def compute(patches_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = module(torch.from_numpy(patches_NHWC))[0].numpy()
        return logits

    return compute


WRITERS: dict[str, Callable[[Deployed, torch.Tensor, Path], None]] = {
    "onnx": _write_onnx,
    "pt2": _write_exported,
    "ts": _write_script,
}
READERS: dict[str, Callable[[Path], Compute]] = {"onnx": _read_onnx, "pt2": _read_exported, "ts": _read_script}
"""By suffix, without its dot."""
