"""A step's loss and gradients as a CUDA graph: recorded once, then one launch in place of several hundred.

A recorded step reads and writes the memory it was recorded with. So batches are copied into the same tensors each time,
and gradients come to lie in the same ones. Dropout is not frozen: torch hands the generator's seed and offset to each
replay (ATen's note "CUDA Graph-safe RNG states"). The optimiser is not recorded: numbers that a schedule changes, of
which a one-cycle has two, would be. Without CUDA the step is handed back as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastpath.errors import FastpathError
from fastpath.runtime import Runtime
from fastpath.text import brief
from fastpath.types import Batch

Step = Callable[[Batch], Tensor]
WARM_UP = 3
"""Steps of one form in a row before it is recorded, as torch's notes on CUDA graphs ask for: in them libraries make
their handles and workspaces, and cuDNN chooses algorithms. They are real steps, each on its own batch."""


class Recorder(Protocol):
    """How work is recorded and where it runs."""

    def run(self, work: Callable[[], Tensor]) -> Tensor:
        """Do work where recording it would be possible; what the caller does next comes after it."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record work without doing it. Returns what does it, and the tensor in which its result then lies."""


def graphed(differentiate: Step, parameters: Sequence[nn.Parameter], runtime: Runtime, *, enabled: bool = True) -> Step:
    """Return a step's replay on a CUDA device; elsewhere, of several ranks, and disabled, the step itself.

    Ranks stay as they are: their gradients are averaged by hooks that synchronise streams of their own.

    Args:
        differentiate: From a batch to its loss [], detached, leaving new gradients in the parameters. It must not look
            at the batch's values, nor wait for the device.
        parameters: Which get gradients.
        runtime: Device and ranks.
        enabled: Whether to record at all.
    """
    if not enabled or runtime.world_size > 1 or runtime.device.type != "cuda":
        return differentiate
    return GraphedStep(differentiate, parameters, CudaRecorder(runtime.device))


class GraphedStep:
    """A step that is recorded once its batches keep their form, and replayed for all batches of that form.

    Others, such as the shorter last one of an epoch, are taken operation by operation. Results do not depend on which
    of the two a step was.
    """

    def __init__(self, differentiate: Step, parameters: Sequence[nn.Parameter], recorder: Recorder) -> None:
        self._differentiate, self._parameters, self._recorder = differentiate, parameters, recorder
        self._recording: Recording | None = None
        self._form: tuple[object, ...] = ()
        self._in_a_row = 0

    def __call__(self, batch: Batch) -> Tensor:
        """Make gradients; returns the loss float32 [], which no later step changes."""
        form = _form(batch)
        self._in_a_row = self._in_a_row + 1 if form == self._form else 1
        self._form = form
        if self._recording is None or form != self._recording.form:
            if self._in_a_row <= WARM_UP:
                return self._recorder.run(lambda: self._differentiate(batch))
            self._recording = None  # its memory first, then the next one's
            self._recording = self._record(batch, form)
        loss = self._recording.replay(batch)
        for parameter, gradient in zip(self._parameters, self._recording.gradients, strict=True):
            parameter.grad = gradient  # a step taken otherwise has put its own there
        return loss

    def _record(self, batch: Batch, form: tuple[object, ...]) -> Recording:
        """Record the step for batches like this one.

        Raises:
            FastpathError: This network cannot be recorded.
        """
        given = replace(
            batch, images_NCHW=torch.empty_like(batch.images_NCHW), labels_N=torch.empty_like(batch.labels_N)
        )
        try:
            launch, loss = self._recorder.record(lambda: self._differentiate(given))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            problem = f"this network's step cannot be recorded as a CUDA graph ({brief(error, 150)})"
            raise FastpathError("train.cuda_graph", problem, "use train.cuda_graph=false") from error
        return Recording(form, given, launch, loss, [parameter.grad for parameter in self._parameters])


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded step.

    Attributes:
        form: Of the batches it is for.
        given: The batch that it reads.
        launch: Does it.
        loss: float32 [], where its loss then lies.
        gradients: Where its gradients then lie, in the parameters' order; None of those that get none.
    """

    form: tuple[object, ...]
    given: Batch
    launch: Callable[[], None]
    loss: Tensor
    gradients: list[Tensor | None]

    def replay(self, batch: Batch) -> Tensor:
        """Take the step on another batch; returns its loss as a tensor of its own."""
        self.given.images_NCHW.copy_(batch.images_NCHW, non_blocking=True)
        self.given.labels_N.copy_(batch.labels_N, non_blocking=True)
        self.launch()
        return self.loss.clone()


class CudaRecorder:
    """Records on a stream of its own: the default one, on which training runs, cannot be recorded.

    Args:
        device: The CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Callable[[], Tensor]) -> Tensor:
        """Do work on the stream, between what the caller's stream was asked for before and after."""
        caller = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            result = work()
        caller.wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Record work. The loader's threads may go on asking things of CUDA meanwhile, which are not recorded."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result


def _form(batch: Batch) -> tuple[object, ...]:
    """Return all of a batch that a recording cannot follow."""
    images = batch.images_NCHW
    return images.shape, images.stride(), images.dtype, batch.labels_N.shape, batch.num_total
