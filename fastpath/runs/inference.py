"""What a network makes of patches of a store or of none, masked ones or tiles of a slide: logits and features."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastpath.data.loader import eval_loader
from fastpath.engine.step import infer
from fastpath.errors import DataError
from fastpath.runs.precision import settle
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.types import Batch, Patches, Samples

PORTION, PORTION_S = 1 << 16, 1.0
"""Logits, and seconds of work, after which they are brought to the host: so much is lost when a pass is interrupted,
and so seldom does the device stand still for it."""


def batches(run: TrainedRun, patches: Patches, rows_N: NDArray[np.int64], runtime: Runtime) -> Iterator[Batch]:
    """Yield patches as the network sees them in an evaluation; a batch holds until the next one is asked for.

    Raises:
        DataError: The patches have another size or stain normalisation than those trained on.
    """
    run.check_patches(patches)
    with closing(eval_loader(Samples(patches, rows_N, run.stats), run.config, runtime)) as loader:
        yield from loader


def portions(
    run: TrainedRun,
    model: nn.Module,
    patches: Patches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    each: Callable[[Batch], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[NDArray[np.float32]]:
    """Yield the logits of these rows in their order, as they come to the host: some batches' at a time, float32.

    Args:
        run: Configuration and normalisation.
        model: The run's network, on the device.
        patches: Where the rows lie.
        rows_N: int64 [N].
        runtime: Device and precision.
        each: Called with every batch, which holds for the call, once the network has been asked for its logits.
        clock: Seconds since any moment.

    Raises:
        DataError: A logit is not finite.
    """
    # Room of its own, made ahead: a small tensor kept from each batch would lie where large activations were.
    data = run.config.data
    longest = max(PORTION, data.eval_batch_size or data.batch_size)
    room = torch.empty(min(len(rows_N), longest), device=runtime.device)
    end, since_s = 0, clock()
    for batch, logits_N in infer(model, batches(run, patches, rows_N, runtime), runtime):
        if end + len(logits_N) > len(room):
            yield _on_host(room[:end], run)
            end, since_s = 0, clock()
        room[end : end + len(logits_N)] = logits_N
        end += len(logits_N)
        if each is not None:
            each(batch)
        if clock() - since_s >= PORTION_S:
            yield _on_host(room[:end], run)
            end, since_s = 0, clock()
    if end:
        yield _on_host(room[:end], run)


def _on_host(logits_N: Tensor, run: TrainedRun) -> NDArray[np.float32]:
    """Wait for logits and bring them over, in memory of their own.

    Raises:
        DataError: One is not finite.
    """
    found_N: NDArray[np.float32] = logits_N.cpu().numpy().copy()
    if not np.isfinite(found_N).all():
        raise DataError(run.path, "gives logits that are not finite", "train again with a lower learning rate")
    return found_N


def all_logits(
    run: TrainedRun,
    model: nn.Module,
    patches: Patches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    advance: Callable[[int], None] | None = None,
    each: Callable[[Batch], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of these rows, float32 [N], in their order.

    Args:
        run: Configuration and normalisation.
        model: The run's network, on the device.
        patches: Where the rows lie.
        rows_N: int64 [N].
        runtime: Device and precision.
        advance: Called with the patches done so far.
        each: Called with every batch, as in `portions`.

    Raises:
        DataError: A logit is not finite.
    """
    done = 0

    def passed(batch: Batch) -> None:
        nonlocal done
        done += len(batch.indices_N)
        if each is not None:
            each(batch)
        if advance is not None:
            advance(done)

    return np.concatenate(list(portions(run, model, patches, rows_N, runtime, passed)))


def trunk_features(
    run: TrainedRun,
    patches: Patches,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    advance: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return what a run's head is given for each patch, float32 [N, D].

    Args:
        run: The network.
        patches: Where the patches lie.
        rows_N: int64 [N], at least one.
        runtime: Device and precision.
        advance: Called with patches done and in all.

    Raises:
        DataError: The patches have another size or stain normalisation than those trained on.
    """
    run.check_patches(patches)
    runtime = settle(runtime, run.config, training=False)
    network, parts = run.network(), list[NDArray[np.float32]]()
    model, heads = runtime.prepare(network), network.heads
    given: dict[nn.Module, NDArray[np.float32]] = {}

    def keep(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given[head] = inputs[0].detach().flatten(1).float().cpu().numpy().copy()

    handles = [head.register_forward_pre_hook(keep) for head in heads]
    try:
        done = 0
        for batch, _ in infer(model, batches(run, patches, rows_N, runtime), runtime):
            done += len(batch.indices_N)
            parts.append(np.concatenate([given[head] for head in heads], axis=1))
            if advance is not None:
                advance(done, len(rows_N))
    finally:
        for handle in handles:
            handle.remove()
    return np.concatenate(parts)
