"""What is recorded of a step and what is not, on a tape that keeps the operations of a step as a CUDA graph does.

The tape holds tensors by their memory and numbers by their value, and plays back without Python: what a recorded step
is to notice must stand in a tensor, as on the card.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastpath.config import OptimConfig, ScheduleConfig
from fastpath.engine.cuda_graphs import WARM_UP, GraphedStep, graphed
from fastpath.engine.ema import ModelEMA
from fastpath.engine.loop import BatchSource, EpochEvent, StepEvent, TrainState, fit
from fastpath.engine.optim import make_optimizer, make_schedule
from fastpath.errors import FastpathError
from fastpath.runtime import Runtime
from fastpath.types import Batch

CPU = Runtime(torch.device("cpu"))
NUM_STEPS = 8


class Tape(TorchDispatchMode):
    """Keeps operations as they are done, to do them again on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "profiler":
            return func(*args, **kwargs or {})
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        results = func(*args, **kwargs or {})
        returns = func._schema.returns
        aliases = [returned.alias_info for returned in returns if returned.alias_info is not None]
        if all(alias.is_write for alias in aliases):  # no mere view
            self.operations.append((func, args, kwargs or {}, tree_leaves(results)))
        return results

    @torch.no_grad()
    def play(self) -> None:
        for func, args, kwargs, kept in self.operations:
            for old, new in zip(kept, tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeRecorder:
    """Records on a tape, and takes back what recording did: a CUDA graph is recorded without being done."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.ran, self.recorded, self.played = model, 0, 0, 0

    def run(self, work: Callable[[], Tensor]) -> Tensor:
        self.ran += 1
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        self.recorded += 1
        tensors, tape, random = list(self.model.state_dict().values()), Tape(), torch.get_rng_state()
        before = [tensor.clone() for tensor in tensors]
        with tape:
            loss = work()
        for tensor, value in zip(tensors, before, strict=True):
            tensor.detach().copy_(value)
        torch.set_rng_state(random)

        def play() -> None:
            self.played += 1
            tape.play()

        return play, loss


def batch(epoch: int, step: int) -> Batch:
    """Four samples, three in the last step of an epoch."""
    size = 4 if step < NUM_STEPS - 1 else 3
    generator = torch.Generator().manual_seed(epoch * 100 + step)
    images = torch.randn(size, 3, 6, 6, generator=generator).to(memory_format=torch.channels_last)
    return Batch(images, (torch.arange(size) % 2).float(), torch.arange(size))


def batch_source(side: int = 6) -> BatchSource:
    def batches(epoch: int, first: int) -> list[Batch]:
        whole = [batch(epoch, step) for step in range(first, NUM_STEPS)]
        return [Batch(each.images_NCHW[..., :side, :side], each.labels_N, each.indices_N) for each in whole]

    return BatchSource(batches, [batch(99, 0)], NUM_STEPS)


def fresh(kind: str = "onecycle", name: str = "adam") -> TrainState:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 1),
    )
    model.append(nn.Flatten(0))
    config = OptimConfig.model_validate({"name": name, "lr_head": 0.01, "lr_trunk": 0.003})
    optimizer = make_optimizer(list(model[5].parameters()), list(model[0].parameters()), config)
    schedule = make_schedule(
        optimizer, ScheduleConfig.model_validate({"kind": kind}), num_epochs=3, total_steps=3 * NUM_STEPS
    )
    scaler = torch.amp.GradScaler("cpu", enabled=False)  # noqa: TID251 (as the runtime makes it)
    state = TrainState(
        model=model,
        network=model,
        optimizer=optimizer,
        schedule=schedule,
        scaler=scaler,
        loss_sum=torch.zeros((), dtype=torch.float64),
        num_skipped=torch.zeros(()),
    )
    state.average = ModelEMA(model, 0.9)
    return state


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[TapeRecorder]:
    """The recorders of each `fit`, in order; with them the step is recorded on the CPU."""
    made: list[TapeRecorder] = []

    def on_tape(step: Any, parameters: Any, runtime: Runtime, *, enabled: bool = True) -> Any:
        if not enabled:
            return step
        closed = dict(zip(step.__code__.co_freevars, step.__closure__, strict=True))
        made.append(TapeRecorder(closed["model"].cell_contents))
        return GraphedStep(step, parameters, made[-1])

    monkeypatch.setattr("fastpath.engine.step.graphed", on_tape)
    return made


def trained(state: TrainState, *, graph: bool, epochs: int = 3, side: int = 6, runtime: Runtime = CPU) -> list[Any]:
    events = list(fit(state, batch_source(side), runtime, num_epochs=epochs, seed=5, cuda_graph=graph))
    return [event for event in events if isinstance(event, StepEvent | EpochEvent)]


def assert_alike(ours: TrainState, theirs: TrainState, events: list[Any], plain_events: list[Any]) -> None:
    """Losses, weights, averages and optimiser agree, bit for bit."""
    close = {"rtol": 0, "atol": 0}
    for our, their in zip(events, plain_events, strict=True):
        if isinstance(our, StepEvent):
            torch.testing.assert_close(our.loss, their.loss, **close)
        else:
            assert our.learning_rates == their.learning_rates
            assert our.train_loss == their.train_loss
            assert our.scaling == their.scaling
    torch.testing.assert_close(ours.model.state_dict(), theirs.model.state_dict(), **close)
    assert ours.average is not None
    assert theirs.average is not None
    torch.testing.assert_close(ours.average.model.state_dict(), theirs.average.model.state_dict(), **close)
    torch.testing.assert_close(ours.optimizer.state_dict()["state"], theirs.optimizer.state_dict()["state"], **close)
    assert ours.optimizer.state_dict()["param_groups"] == theirs.optimizer.state_dict()["param_groups"]
    assert ours.schedule.scheduler.state_dict() == theirs.schedule.scheduler.state_dict()


@pytest.mark.parametrize(("kind", "name"), [("cosine", "adam"), ("plateau", "adam"), ("onecycle", "adamw")])
def test_a_replayed_run_is_the_plain_one(kind: str, name: str, recorders: list[TapeRecorder]) -> None:
    ours, theirs = fresh(kind, name), fresh(kind, name)
    events, wanted = trained(ours, graph=True), trained(theirs, graph=False)
    assert_alike(ours, theirs, events, wanted)
    [recorder] = recorders
    assert recorder.recorded == 1
    assert recorder.ran == WARM_UP + 3  # and the short last batch of each epoch
    assert recorder.played == 3 * NUM_STEPS - WARM_UP - 3


def test_losses_are_not_those_of_later_steps(recorders: list[TapeRecorder]) -> None:
    losses = [event.loss for event in trained(fresh(), graph=True) if isinstance(event, StepEvent)]
    assert recorders[0].played
    assert len({loss.data_ptr() for loss in losses}) == len(losses)
    assert len({float(loss) for loss in losses}) == len(losses)


def test_another_size_is_recorded_anew(recorders: list[TapeRecorder]) -> None:
    ours, theirs, events = fresh(), fresh(), []
    for state, graph in ((ours, True), (theirs, False)):
        trained(state, graph=graph, epochs=1)
        events.append(trained(state, graph=graph, epochs=3, side=5))
    assert [recorder.recorded for recorder in recorders] == [1, 1]  # a stage each
    assert_alike(ours, theirs, *events)


def test_within_one_feed_the_newest_form_that_stays_is_recorded() -> None:
    state, taken = fresh(), []
    recorder = TapeRecorder(state.model)

    def step(given: Batch) -> Tensor:
        taken.append(given.images_NCHW.shape[-1])
        return given.images_NCHW.sum()

    learn = GraphedStep(step, [], recorder)
    sides = [6] * 5 + [5] + [6] * 2 + [5] * 5 + [6] + [5] * 2
    for number, side in enumerate(sides):
        given = batch(0, 0)
        cut = Batch(given.images_NCHW[..., :side, :side] + number, given.labels_N, given.indices_N)
        torch.testing.assert_close(learn(cut), cut.images_NCHW.sum())
    assert recorder.recorded == 2
    assert taken == [6] * 4 + [5] + [5] * 4 + [6]  # three and the recording, a stray one, and so on


def test_a_scaler_skips_and_recovers_when_replayed(recorders: list[TapeRecorder]) -> None:
    states = [fresh("constant") for _ in range(2)]
    for state in states:
        # Its gradients overflow float16 for more steps than are taken before it is recorded.
        state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=6)  # noqa: TID251
    runtime = Runtime(torch.device("cpu"), "float16")
    events, wanted = (
        trained(state, graph=graph, runtime=runtime) for state, graph in zip(states, (True, False), strict=True)
    )
    assert_alike(*states, events, wanted)
    skipped = [event.scaling["skipped_steps"] for event in events if isinstance(event, EpochEvent)]
    assert skipped[0] > WARM_UP
    assert recorders[0].played
    assert states[0].scaler.state_dict() == states[1].scaler.state_dict()


def test_what_cannot_be_recorded_names_the_setting(recorders: list[TapeRecorder]) -> None:
    state = fresh()
    state.model[6].register_forward_hook(lambda _module, _inputs, output: output * float(output.sum() > -1e9))
    with pytest.raises(FastpathError, match=r"train\.cuda_graph: .*not permitted.*use train\.cuda_graph=false"):
        trained(state, graph=True)


def test_elsewhere_the_step_is_handed_back() -> None:
    def step(given: Batch) -> Tensor:
        return given.labels_N.sum()

    assert graphed(step, [], CPU) is step
    card = Runtime(torch.device("cuda", 0))
    assert graphed(step, [], card, enabled=False) is step
    assert graphed(step, [], Runtime(card.device, world_size=2), enabled=True) is step
