"""Kernel launches of a training step, counted on fake CUDA tensors: what the calling thread asks of a card.

Nothing is computed and no driver is needed. A call of ATen that makes values counts as one launch; views and
allocations count as none; calls over lists of tensors as torch's multi_tensor_apply cuts them up. A BatchNorm in
bfloat16, which is several kernels, counts as one, so the card sees more. Autograd's engine wants a real device, so the
backward pass is counted on the CPU, in the same precision: its calls are the same.

Usage: python -m benchmarks.suites.launches
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

import click
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import harness
from fastpath import config as configuration
from fastpath.config import Config
from fastpath.engine.ema import ModelEMA
from fastpath.engine.optim import make_optimizer
from fastpath.model.depthwise import pad_first
from fastpath.model.fold import fold_frozen
from fastpath.model.freeze import LogitNetwork, parameter_groups
from fastpath.model.registry import build
from fastpath.runs.train_stages import training_network
from fastpath.runtime import Runtime

CPU, CARD = Runtime(torch.device("cpu"), "bfloat16"), Runtime(torch.device("cuda", 0), "bfloat16")
MAX_TENSORS = {1: 110, 2: 64, 3: 48, 4: 36, 5: 30}  # of as many lists at once: ATen/native/cuda/MultiTensorApply.cuh
CHUNK, MAX_CHUNKS = 65_536, 320


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts launches, by what they are for: `casts`, `counters` (of integers, as of batches), `other`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Count a call and make it."""
        self.counts[_kind(func, args)] += _launches(func, args)
        return func(*args, **kwargs or {})


def _kind(func: Any, args: Any) -> str:  # noqa: ANN401
    if func.overloadpacket is torch.ops.aten._to_copy:
        return "casts"
    first = args[0][0] if args and isinstance(args[0], list | tuple) and args[0] else args[0] if args else None
    return "counters" if isinstance(first, Tensor) and first.dtype == torch.int64 else "other"


def _launches(func: Any, args: Any) -> int:  # noqa: ANN401
    name: str = func.overloadpacket.__name__
    aliases = [returned.alias_info for returned in func._schema.returns if returned.alias_info is not None]
    views = not all(alias.is_write for alias in aliases)
    if views or func.namespace != "aten" or "empty" in name or name == "as_strided_":
        return 0
    lists = [arg for arg in args if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Tensor)]
    if not name.startswith(("_foreach", "_fused")) or not lists:
        return 1
    chunks: int = sum(math.ceil(tensor.numel() / CHUNK) for tensor in lists[0])
    # Of the lists only those of the tensors' own sizes are cut up: Adam's step counts are one number each.
    return max(math.ceil(len(lists[0]) / MAX_TENSORS[min(len(lists), 4)]), math.ceil(chunks / MAX_CHUNKS))


def count(config: Config, *, lean: bool) -> dict[str, int]:
    """Count a configured run's step, without and with what makes it lean.

    Args:
        config: Network, stages and optimiser.
        lean: As it is now; False as it was before: every frozen weight cast and every BatchNorm counting for itself at
            each forward pass, and an average of everything.

    Returns:
        Launches: `casts`, `counters` and `rest` of the forward pass, `backward`, `optimiser`, `average`, `total`.
    """
    torch.manual_seed(0)
    size = config.data.image_size_px
    model = build(config.model.model_copy(update={"pretrained": False, "weights": None}), size)
    network = training_network(model, config, CPU) if lean else _before(model, config)
    optimizer = make_optimizer(*parameter_groups(model), config.optim)
    by_part = {"backward": _backward(network.train(), size)}
    optimizer.step()  # the first makes its state
    with Launches() as launches:
        optimizer.step()
    by_part["optimiser"] = sum(launches.counts.values())
    by_part["average"] = _average(model, lean=lean) if config.train.ema_decay else 0
    with _fake_card():
        _to_card(model, network)
        images = torch.empty(2, 3, size, size, device=CARD.device).contiguous(memory_format=torch.channels_last)
        with Launches() as launches, CARD.autocast():
            logits_N = network(images)
        with Launches() as loss:
            functional.binary_cross_entropy_with_logits(logits_N.float(), logits_N.detach().float(), reduction="sum")
    counts = launches.counts
    by_part |= {
        "casts": counts["casts"],
        "counters": counts["counters"],
        "rest": counts["other"] + sum(loss.counts.values()),
    }
    return by_part | {"total": sum(by_part.values())}


def _before(model: LogitNetwork, config: Config) -> LogitNetwork:
    folded = fold_frozen(model, config.data.image_size_px) if config.model.batchnorm == "folded" else model
    return pad_first(folded)


def _backward(network: nn.Module, size: int) -> int:
    with CPU.autocast():
        logits_N = network(torch.zeros(2, 3, size, size).contiguous(memory_format=torch.channels_last))
    loss = functional.binary_cross_entropy_with_logits(logits_N.float(), torch.zeros(2), reduction="sum")
    with Launches() as launches:
        loss.backward()  # type: ignore[no-untyped-call]
    return sum(launches.counts.values())


def _average(model: LogitNetwork, *, lean: bool) -> int:
    average = ModelEMA(model, 0.9)
    with Launches() as launches, torch.no_grad():
        if lean:
            average.update(model)
        else:
            own = average.model.state_dict()
            pairs = [(own[name], value) for name, value in model.state_dict().items() if value.is_floating_point()]
            torch._foreach_lerp_([pair[0] for pair in pairs], [pair[1] for pair in pairs], 0.1)
    return sum(launches.counts.values())


@contextlib.contextmanager
def _fake_card() -> Iterator[None]:
    """Make tensors of a card that is not there, and let autocast believe in it."""
    with (
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
        FakeTensorMode(allow_non_fake_inputs=True),
    ):
        yield


def _to_card(model: LogitNetwork, network: nn.Module) -> None:
    """Put fake CUDA tensors in the place of all of two networks' tensors, the same for those they share."""
    made: dict[int, Tensor] = {}
    for module in itertools.chain(model.modules(), network.modules()):
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for table in tables:
            for name, tensor in table.items():
                if tensor is not None and tensor.device.type == "cpu":
                    made.setdefault(id(tensor), _fake(tensor))
                    table[name] = made[id(tensor)]
    if isinstance(network, LogitNetwork):
        network.counters = [made[id(counter)] for counter in network.counters]


def _fake(tensor: Tensor) -> Tensor:
    form = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=CARD.device).contiguous(memory_format=form)
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


@click.command()
def main() -> None:
    """Count, print and write a record."""
    rows, results = ["| step | | total | casts | counters | rest | backward | optimiser | average |"], {}
    rows.append("|---|---|---|---|---|---|---|---|---|")
    for recipe in ("notebook", "fast"):
        # A step's launches do not depend on the side of its input, and small ones are sooner passed back.
        config = configuration.load(configuration.recipe(recipe), ["data.image_size_px=64"])
        for name, lean in (("before", False), ("now", True)):
            counts = results[f"{recipe}, {name}"] = count(config, lean=lean)
            parts = ("total", "casts", "counters", "rest", "backward", "optimiser", "average")
            rows.append(f"| {recipe}.toml | {name} | " + " | ".join(str(counts[part]) for part in parts) + " |")
        # Two copies of the batch, the graph, a copy of its loss.
        outside = 4 + counts["optimiser"] + counts["average"]
        results[f"{recipe}, graph"] = {"total": outside}
        rows.append(
            f"| {recipe}.toml | as a graph | {outside} | | | 4 | | {counts['optimiser']} | {counts['average']} |"
        )
    click.echo("\n".join(rows))
    settings = {"tensors": "fake CUDA tensors; backward on the CPU", "precision": "bfloat16"}
    click.echo(f"→ {harness.write_record('launches', settings, results, chr(10).join(rows))}")


if __name__ == "__main__":
    main()
