import copy
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastpath.config import Config, OptimConfig, ScheduleConfig
from fastpath.engine.checkpoint import Provenance, load_checkpoint, restore_state, save_checkpoint, snapshot
from fastpath.engine.loop import BatchSource, EpochEvent, Event, StepEvent, TrainState, ValidationEvent, fit
from fastpath.engine.optim import make_optimizer, make_schedule
from fastpath.runtime import Runtime
from fastpath.types import Batch

CPU = Runtime(torch.device("cpu"))
NUM_STEPS, NUM_EPOCHS = 3, 2
ORIGIN = Provenance(Config().to_dict(), "a", "b", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), 6, ("normal", "tumour"), {})


def batch(*position: int, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(hash(position) % 2**31)
    labels_N = (torch.arange(size) % 2).float()
    images = torch.randn(size, 3, 6, 6, generator=generator) + 0.5 * labels_N[:, None, None, None]
    return Batch(images.to(memory_format=torch.channels_last), labels_N, torch.arange(size))


def train_batches(epoch: int, first_step: int) -> Iterator[Batch]:
    return (batch(epoch, step, size=4 if step < NUM_STEPS - 1 else 3) for step in range(first_step, NUM_STEPS))


SOURCE = BatchSource(train_batches, [batch(99, 0), batch(99, 1)], NUM_STEPS)


def fresh(kind: str = "onecycle") -> TrainState:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(64, 1), nn.Flatten(0)
    )
    CPU.prepare(model)
    optimizer = make_optimizer(list(model[4].parameters()), list(model[0].parameters()), OptimConfig(lr_head=0.01))
    schedule = make_schedule(
        optimizer,
        ScheduleConfig.model_validate({"kind": kind}),
        num_epochs=NUM_EPOCHS,
        total_steps=NUM_EPOCHS * NUM_STEPS,
    )
    return TrainState(
        model=model,
        network=model,
        optimizer=optimizer,
        schedule=schedule,
        scaler=CPU.grad_scaler(),
        loss_sum=torch.zeros((), dtype=torch.float64),
        num_skipped=torch.zeros(()),
    )


def events(state: TrainState, source: BatchSource = SOURCE) -> Iterator[Event]:
    return fit(state, source, CPU, num_epochs=NUM_EPOCHS, seed=5)


def without_times(event: EpochEvent) -> tuple[object, ...]:
    """Everything an epoch tells but its times."""
    return (event.epoch, event.train_loss, event.val_loss, event.val_auc, event.learning_rates, event.improved)


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(value, b.state_dict()[key]) for key, value in a.state_dict().items())


def test_tells_every_step_validation_batch_and_epoch_in_order() -> None:
    state = fresh()
    seen = list(events(state))
    one_epoch = [StepEvent] * NUM_STEPS + [ValidationEvent] * 2 + [EpochEvent]
    assert [type(event) for event in seen] == one_epoch * NUM_EPOCHS
    assert [event.step for event in seen if isinstance(event, StepEvent)] == [1, 2, 3] * NUM_EPOCHS
    assert [event.num_images for event in seen[:3]] == [4, 4, 3]
    assert [event.epoch for event in seen if isinstance(event, EpochEvent)] == [1, 2]
    assert (state.epoch, state.step, state.num_seen, state.loss_sum.item()) == (2, 0, 0, 0.0)


def test_the_epochs_loss_is_the_mean_over_patches() -> None:
    seen = list(events(fresh()))
    steps = [event for event in seen[:NUM_STEPS] if isinstance(event, StepEvent)]
    epoch = next(event for event in seen if isinstance(event, EpochEvent))
    wanted = sum(event.loss.item() * event.num_images for event in steps) / 11
    assert epoch.train_loss == pytest.approx(wanted)
    assert epoch.timing.num_images == 11
    assert 0 <= epoch.timing.stall_share <= 1
    assert epoch.timing.images_per_s > 0


@pytest.mark.parametrize("kind", ["constant", "step", "cosine", "plateau", "onecycle"])
def test_stopping_after_any_event_and_going_on_changes_nothing(kind: str, tmp_path: Path) -> None:
    whole = fresh(kind)
    wanted = [without_times(event) for event in events(whole) if isinstance(event, EpochEvent)]
    num_events = NUM_EPOCHS * (NUM_STEPS + 3)
    for stop_after in range(1, num_events):
        first = fresh(kind)
        epochs_seen = []
        for number, event in enumerate(events(first), start=1):
            if isinstance(event, EpochEvent):
                epochs_seen.append(without_times(event))
            if number == stop_after:
                break
        save_checkpoint(snapshot(first, ORIGIN), tmp_path / "last.pt")
        checkpoint = load_checkpoint(tmp_path / "last.pt")
        second = fresh(kind)
        torch.manual_seed(stop_after)  # another process has another history
        second.model.load_state_dict(checkpoint.model)
        restore_state(checkpoint, second)
        epochs_seen += [without_times(event) for event in events(second) if isinstance(event, EpochEvent)]
        assert epochs_seen == wanted, stop_after
        assert same_weights(whole.model, second.model), stop_after


@pytest.mark.parametrize(
    ("scores", "wanted"), [([0.9, 0.9], ([True, False], 0.9, 1, 1)), ([0.7, 0.9], ([True, True], 0.9, 2, 0))]
)
def test_best_epoch_and_epochs_since_are_kept(scores: list[float], wanted: tuple[object, ...]) -> None:
    state = fresh()
    source = BatchSource(train_batches, ScriptedAuc(state.model, scores), NUM_STEPS)
    seen = [event for event in events(state, source) if isinstance(event, EpochEvent)]
    assert [event.val_auc for event in seen] == scores
    assert ([event.improved for event in seen], state.best_auc, state.best_epoch, state.epochs_since_best) == wanted


class ScriptedAuc:
    """Validation batches of ten normal patches and a tumour patch, labelled so that each pass has the AUC wanted.

    The tumour patch is the one that the network, as it is then, ranks below a tenth of the others for each .1 of AUC
    that is lacking.
    """

    def __init__(self, model: nn.Module, aucs: list[float]) -> None:
        self._model, self._aucs = model, iter(aucs)

    def __iter__(self) -> Iterator[Batch]:
        images = batch(99, 0, size=11).images_NCHW
        with torch.no_grad():
            order = copy.deepcopy(self._model).eval()(images).argsort(descending=True)
        labels_N = torch.zeros(11)
        labels_N[order[round(10 * (1 - next(self._aucs)))]] = 1
        yield Batch(images, labels_N, torch.arange(11))


def test_the_first_epoch_is_best_even_where_auc_is_undefined() -> None:
    one_class = Batch(torch.randn(2, 3, 6, 6), torch.ones(2), torch.arange(2))
    state = fresh()
    source = BatchSource(train_batches, [one_class], NUM_STEPS)
    improved = [event.improved for event in events(state, source) if isinstance(event, EpochEvent)]
    assert improved == [True, False]
    assert state.best_auc == -1.0


def test_host_reads_do_not_grow_with_the_steps(host_reads: Callable[[], Any]) -> None:
    def reads(num_steps: int) -> int:
        def many(epoch: int, first: int) -> list[Batch]:
            return [batch(epoch, s) for s in range(num_steps)]

        state = fresh("constant")
        with host_reads() as mode:
            for _ in fit(state, BatchSource(many, SOURCE.val_batches, num_steps), CPU, num_epochs=1, seed=5):
                pass
        return mode.count

    assert reads(2) == reads(9)


def test_a_checkpoint_shares_nothing_once_saved() -> None:
    state = fresh()
    stream = events(state)
    next(stream)
    content = io.BytesIO()
    torch.save(snapshot(state, ORIGIN).model, content)
    before = copy.deepcopy(state.model.state_dict())
    next(stream)
    content.seek(0)
    saved = torch.load(content, weights_only=True)
    assert all(torch.equal(saved[key], before[key]) for key in before)
