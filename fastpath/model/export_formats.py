"""The formats that a run is exported to: how each is written, and how it is run again to be compared."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from fastpath.errors import FastpathError
from fastpath.model.deploy import Deployed
from fastpath.model.weights import fit
from fastpath.text import brief

Compute = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From patches uint8 [N, P, P, 3] to logits [N]."""

OPSET = 18

# Where each format keeps the lines of code that an operation came from, with the paths of this machine's files.
_STACK_ONNX, _STACK_SCRIPT = "pkg.torch.onnx.stack_trace", ".debug_pkl"


def _write_onnx(module: Deployed, example: torch.Tensor, facts: Mapping[str, str]) -> bytes:
    """Return ONNX that says of itself what `facts` do.

    Raises:
        FastpathError: This torch does not convert this network: 2.6 converts none, with onnxscript 0.5.0 and 0.7.2.
    """
    try:
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["patches"],
            output_names=["logit", "probability"],
            dynamic_shapes=({0: torch.export.Dim("N")},),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        model = program.model_proto
    except Exception as error:  # torch and onnxscript have an error class for each of their many steps
        problem = f"torch {torch.__version__} cannot convert this network ({brief(error, 150)})"
        raise FastpathError("ONNX", problem, "use a newer torch, or give a name that ends in .pt2 or .ts") from error
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        kept = [entry for entry in node.metadata_props if entry.key != _STACK_ONNX]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    _describe(model, facts)
    content: bytes = model.SerializeToString()
    return content


def _describe(model: Any, facts: Mapping[str, str]) -> None:  # noqa: ANN401 (onnx is not typed here)
    """Fill the fields that ONNX has for who made a model, which one it is and what goes in and comes out."""
    name, _, version = facts["producer"].partition(" ")
    model.producer_name, model.producer_version = name, version
    model.model_version, model.doc_string = int(facts["epoch"]), facts["intended_use"]
    del model.metadata_props[:]  # torch's own, of how it converted the network
    for key, value in sorted(facts.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = {
            "patches": f"RGB patches as they are stored, uint8, N x {facts['patch_size_px']} x {facts['patch_size_px']}"
            " x 3, rows first; any N. Normalisation and resizing are within.",
            "logit": f"Logit of the second class of {facts['classes']}. Calibration: {facts['calibration_note']}.",
            "probability": "sigmoid(logit).",
        }[value.name]


def _write_safetensors(module: Deployed, _example: torch.Tensor, facts: Mapping[str, str]) -> bytes:
    """Return the network's weights alone, by timm's names; `format` is what transformers and timm look for."""
    state = module.network.trunk.state_dict()  # type: ignore[union-attr]
    return save({name: value.contiguous() for name, value in state.items()}, {"format": "pt", **facts})


def _write_exported(module: Deployed, example: torch.Tensor, _facts: Mapping[str, str]) -> bytes:
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("N")},))
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _write_script(module: Deployed, example: torch.Tensor, _facts: Mapping[str, str]) -> bytes:
    """Return TorchScript. In memory: on a full disk torch's own writer of files ends the process."""
    content, kept = io.BytesIO(), io.BytesIO()
    with torch.inference_mode():
        torch.jit.save(torch.jit.trace(module, (example,), check_trace=False), content)  # type: ignore[no-untyped-call]
    reader = torch._C.PyTorchFileReader(io.BytesIO(content.getvalue()))
    writer = torch._C.PyTorchFileWriter(kept)
    writer.set_min_version(int(reader.get_record("version")))
    for name in reader.get_all_records():
        if name != "version" and not name.endswith(_STACK_SCRIPT) and not name.startswith("."):  # those it adds itself
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return kept.getvalue()


def _read_onnx(content: bytes, _module: Deployed) -> Compute:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda patches_NHWC: session.run(["logit"], {"patches": patches_NHWC})[0]


def _read_exported(content: bytes, _module: Deployed) -> Compute:
    return _computing(torch.export.load(io.BytesIO(content)).module())


def _read_script(content: bytes, _module: Deployed) -> Compute:
    return _computing(torch.jit.load(io.BytesIO(content)))  # type: ignore[no-untyped-call]


def _read_safetensors(content: bytes, module: Deployed) -> Compute:
    """Compute with the file's weights in a copy of the network that holds none of the run's."""
    emptied = copy.deepcopy(module)
    trunk: torch.nn.Module = emptied.network.trunk  # type: ignore[assignment]
    with torch.no_grad():
        for value in trunk.state_dict().values():
            value.zero_()
    fit(trunk, load(content), "safetensors")
    return _computing(emptied)


def _computing(module: Any) -> Compute:  # noqa: ANN401 (whatever torch loads)
    def compute(patches_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = module(torch.from_numpy(patches_NHWC))[0].numpy()
        return logits

    return compute


WRITERS: dict[str, Callable[[Deployed, torch.Tensor, Mapping[str, str]], bytes]] = {
    "onnx": _write_onnx,
    "pt2": _write_exported,
    "ts": _write_script,
    "safetensors": _write_safetensors,
}
READERS: dict[str, Callable[[bytes, Deployed], Compute]] = {
    "onnx": _read_onnx,
    "pt2": _read_exported,
    "ts": _read_script,
    "safetensors": _read_safetensors,
}
"""By suffix, without its dot."""
