"""A snapshot is the state as it was, whatever training does next, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn

from fastpath.config import Config, OptimConfig, ScheduleConfig
from fastpath.engine.archive import tensors
from fastpath.engine.checkpoint import Checkpoint, Provenance, snapshot
from fastpath.engine.ema import ModelEMA
from fastpath.engine.loop import TrainState
from fastpath.engine.optim import make_optimizer, make_schedule
from fastpath.engine.snapshot import LateScalar, Snapshot
from fastpath.runtime import Runtime

CPU = Runtime(torch.device("cpu"))
ORIGIN = Provenance(Config().to_dict(), "a", "b", (0.7, 0.5, 0.7), (0.2, 0.3, 0.2), 96, ("normal", "tumour"), {})


def trained() -> TrainState:
    """A state with everything in it: BatchNorm, moments, an average and a loss scaler."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(1))
    model(torch.zeros(2, 3, 8, 8))
    model = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(list(model.parameters()), [], OptimConfig())
    schedule = make_schedule(optimizer, ScheduleConfig(kind="onecycle"), num_epochs=2, total_steps=60)
    scaler = Runtime(torch.device("cpu"), "float16").grad_scaler()
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


def step(state: TrainState) -> None:
    state.optimizer.zero_grad()
    loss = state.model(torch.randn(4, 3, 8, 8)).square().mean()
    state.scaler.scale(loss).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.schedule.after_step()
    state.loss_sum += loss.detach().double()
    state.num_skipped += 1
    assert state.average is not None
    state.average.update(state.model)
    state.step += 1


def frozen(checkpoint: Checkpoint) -> dict[str, object]:
    """Return all of a checkpoint by name, in memory of its own."""
    values = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    return {name: tensor.clone() for name, tensor in tensors(values)} | {
        "schedule": repr(values["schedule"]),
        "groups": repr(values["optimizer"]["param_groups"]),
        "scaler": repr(values["scaler"]),
        "position": (checkpoint.epoch, checkpoint.step, checkpoint.num_averaged),
    }


def same(ours: dict[str, object], theirs: dict[str, object]) -> bool:
    return ours.keys() == theirs.keys() and all(
        torch.equal(mine, other) and mine.stride() == other.stride()
        if isinstance(mine, Tensor) and isinstance(other, Tensor)
        else mine == other
        for mine, other in ((ours[name], theirs[name]) for name in ours)
    )


def test_a_snapshot_stays_as_training_goes_on() -> None:
    state = trained()
    step(state)
    wanted = frozen(snapshot(state, ORIGIN))
    assert {name.partition(".")[0] for name in wanted} >= {"model", "average", "optimizer", "loss_sum", "scaler"}
    kept, arrival = Snapshot(CPU).take(snapshot(state, ORIGIN))
    step(state)
    step(state)
    arrival.synchronize()
    assert same(frozen(kept), wanted)
    assert not same(frozen(snapshot(state, ORIGIN)), wanted)


def test_what_a_state_dict_holds_beside_its_items_is_kept() -> None:
    state = trained()
    kept, _ = Snapshot(CPU).take(snapshot(state, ORIGIN))
    assert kept.model._metadata == state.model.state_dict()._metadata  # type: ignore[attr-defined]


def test_snapshots_share_one_room() -> None:
    state, room = trained(), Snapshot(CPU)
    room.take(snapshot(state, ORIGIN))  # before the optimiser has moments
    places = []
    for _ in range(3):
        step(state)
        kept, _ = room.take(snapshot(state, ORIGIN))
        places.append(addresses(kept))
    assert places[0] == places[1] == places[2]
    assert not places[0] & addresses(snapshot(state, ORIGIN))


def test_a_state_of_another_form_finds_room_and_leaves_none_behind() -> None:
    state, room = trained(), Snapshot(CPU)
    step(state)
    room.take(snapshot(state, ORIGIN))
    state.optimizer = make_optimizer(list(state.model[3].parameters()), [], OptimConfig())  # type: ignore[index]
    wanted = frozen(snapshot(state, ORIGIN))
    kept, _ = room.take(snapshot(state, ORIGIN))
    assert same(frozen(kept), wanted)
    assert set(room._room) == {name for name, value in wanted.items() if isinstance(value, Tensor)}


def test_the_copy_is_left_to_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has arrived, the snapshot looks at no value."""
    copied: list[int] = []

    def late(_self: Runtime, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Pending:
        copied.append(len(sources))
        return Pending(list(zip(sources, targets, strict=True)))

    monkeypatch.setattr(Runtime, "to_host", late)
    state = trained()
    step(state)
    kept, arrival = Snapshot(CPU).take(snapshot(state, ORIGIN))
    assert copied == [len(list(tensors({"all": [getattr(kept, field.name) for field in fields(kept)]})))]
    arrival.synchronize()
    assert same(frozen(kept), frozen(snapshot(state, ORIGIN)))


class Pending:
    """A copy that is made when it is waited for, or when a test lets it."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        self.pairs, self.arrived = pairs, False

    def query(self) -> bool:
        return self.arrived

    def synchronize(self) -> None:
        self.arrive()

    def arrive(self) -> None:
        for source, target in self.pairs:
            target.copy_(source)
        self.arrived = True


def test_on_the_cpu_a_number_is_what_it_is() -> None:
    late = LateScalar(CPU)
    assert [late.look(torch.tensor(value)) for value in (0.25, 0.5)] == [0.25, 0.5]


def test_on_a_card_a_number_is_the_last_that_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Pending] = []

    def send(_self: Runtime, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Pending:
        sent.append(Pending([(sources[0].clone(), targets[0])]))
        return sent[-1]

    monkeypatch.setattr(Runtime, "to_host", send)
    late = LateScalar(CPU)
    assert late.look(torch.tensor(0.25)) is None
    assert late.look(torch.tensor(0.5)) is None
    assert len(sent) == 1  # one is on its way, so no other is sent for
    sent[0].arrive()
    assert late.look(torch.tensor(0.75)) == 0.25
    sent[1].arrive()
    assert late.look(torch.tensor(1.0)) == 0.75


def addresses(checkpoint: Checkpoint) -> set[int]:
    def all_of() -> Iterator[Tensor]:
        for field in fields(checkpoint):
            yield from (tensor for _, tensor in tensors({"": getattr(checkpoint, field.name)}))

    return {tensor.data_ptr() for tensor in all_of()}
