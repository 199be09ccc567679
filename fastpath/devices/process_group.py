"""What the ranks of a run do together: average gradients, sum, gather, and let the first decide for all.

Alone, there is nothing to join, and every value is returned as it is.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

Anything = TypeVar("Anything")

PATIENCE = datetime.timedelta(minutes=30)  # for another rank; rank 0 alone may be writing a checkpoint or a figure


class Ranked:
    """The part of a `Runtime` that concerns other ranks.

    Attributes:
        device: The torch device of model and batches.
        rank: This process among `world_size`.
        world_size: Number of processes that share each global batch.
    """

    __slots__ = ()

    device: torch.device
    rank: int
    world_size: int

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Join the other ranks until the block ends. Alone, there is nothing to join."""
        if self.world_size == 1:
            yield
            return
        backend = "nccl" if self.device.type == "cuda" else "gloo"
        store, rank, world_size = next(rendezvous("env://", self.rank, self.world_size, timeout=PATIENCE))
        # The ranks of a failed attempt have left their addresses in torchrun's store.
        store = PrefixStore(f"fastpath/{attempt()}", store)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=PATIENCE)
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def distribute(self, model: nn.Module) -> nn.Module:
        """Return what averages a model's gradients over ranks, for as long as the same parameters are trained."""
        if self.world_size == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def unsynchronised(self, model: nn.Module) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which a backward pass adds to gradients without averaging them over ranks."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give every rank the buffers of rank 0: a step leaves each with BatchNorm statistics of its own."""
        if self.world_size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over ranks, as a new tensor."""
        summed = values.clone()
        if self.world_size > 1:
            distributed.all_reduce(summed)
        return summed

    def gather(self, value: Anything) -> list[Anything]:
        """Return what each rank gave, in the order of ranks: any value that pickles."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def rank_zero_first(self, decide: Callable[[], Anything]) -> Anything:
        """Let rank 0 do something for all and return its result on every rank.

        Raises:
            Exception: What it raised, on rank 0. The others end at once and silently, so that it is told once.
        """
        if self.world_size == 1:
            return decide()
        outcome: list[Any] = [None, 0]
        try:
            if self.rank == 0:
                outcome[0] = decide()
        except Exception as error:
            distributed.broadcast_object_list([None, getattr(error, "exit_status", 1)])
            raise
        distributed.broadcast_object_list(outcome)
        if outcome[1]:
            raise SystemExit(outcome[1])
        return outcome[0]  # type: ignore[no-any-return]


def attempt() -> int:
    """Return how often torchrun has started the ranks again after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
