import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastpath.engine.step import LogitTable, Predictions, infer, train_step
from fastpath.runtime import Runtime
from fastpath.types import Batch

CPU = Runtime(torch.device("cpu"))
BFLOAT16 = Runtime(torch.device("cpu"), precision="bfloat16")


class Tiny(nn.Module):
    """A convolution, BatchNorm, dropout and one logit."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 1)
        )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.layers(images_NCHW).squeeze(1)


def scored(model: nn.Module, batches: Iterable[Batch], runtime: Runtime, room: int = 4) -> Predictions:
    table = LogitTable(runtime, room)
    for each, logits_N in infer(model, batches, runtime):
        table.add(each, logits_N)
    return table.predictions()


def batch(size: int = 6, start: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(start)
    labels_N = (torch.arange(size) % 2).float()
    images = torch.randn(size, 3, 8, 8, generator=generator) + labels_N[:, None, None, None]
    return Batch(images.to(memory_format=torch.channels_last), labels_N, torch.arange(start, start + size))


@pytest.mark.parametrize("runtime", [CPU, BFLOAT16], ids=["float32", "bfloat16"])
def test_training_lowers_the_loss_in_every_precision(runtime: Runtime) -> None:
    torch.manual_seed(0)
    model = Tiny()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05, fused=True)
    scaler = runtime.grad_scaler()
    losses = [train_step(model, batch(), optimizer, scaler, runtime) for _ in range(30)]
    assert losses[0].dtype == torch.float32
    assert not losses[0].requires_grad
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_autocast_reaches_the_convolution() -> None:
    seen: list[torch.dtype] = []
    model = Tiny()
    model.layers[0].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    train_step(model, batch(), torch.optim.Adam(model.parameters()), BFLOAT16.grad_scaler(), BFLOAT16)
    predictions = scored(model, [batch()], BFLOAT16)
    assert seen == [torch.bfloat16, torch.bfloat16]
    assert predictions.logits_N.dtype == np.float32


def test_a_step_reads_nothing_back_to_the_host(host_reads: Callable[[], Any]) -> None:
    model = Tiny()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    scaler = CPU.grad_scaler()
    train_step(model, batch(), optimizer, scaler, CPU)
    with host_reads() as reads:
        train_step(model, batch(), optimizer, scaler, CPU)
        for _ in infer(model, [batch()], CPU):
            pass
    assert reads.count == 0


@pytest.mark.parametrize("read", ["item", "tolist", "cpu", "numpy", "__bool__", "__float__", "nonzero"])
def test_the_counter_of_reads_sees_each_kind(read: str, host_reads: Callable[[], Any]) -> None:
    values = torch.zeros(())
    with host_reads() as reads:
        getattr(values, read)()
    assert reads.count == 1
    with host_reads() as reads:
        torch.zeros(3).add_(1).sum()
    assert reads.count == 0


def test_the_loss_is_that_of_the_formula() -> None:
    model = Tiny().eval()  # so that the forward pass here is the one the step makes
    given = batch()
    probability_N = torch.sigmoid(model(given.images_NCHW)).detach()
    wanted = -(given.labels_N * probability_N.log() + (1 - given.labels_N) * (1 - probability_N).log()).mean()
    loss = train_step(model, given, torch.optim.Adam(model.parameters()), CPU.grad_scaler(), CPU)
    assert torch.allclose(loss, wanted)


@pytest.mark.parametrize("room", [1, 4, 7, 100])
def test_predictions_keep_the_order_and_labels_of_the_batches(room: int) -> None:
    model = Tiny().train()

    def batches() -> Iterator[Batch]:
        yield batch(4, start=10)
        yield batch(3, start=2)

    predictions = scored(model, batches(), CPU, room)
    assert predictions.indices_N.tolist() == [10, 11, 12, 13, 2, 3, 4]
    assert predictions.labels_N.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert not model.training
    with torch.no_grad():
        wanted = torch.cat([model(each.images_NCHW) for each in batches()])
    assert np.array_equal(predictions.logits_N, wanted.numpy())


def test_no_batches_give_no_predictions() -> None:
    predictions = scored(Tiny(), [], CPU)
    assert predictions.indices_N.dtype == np.int64
    assert len(predictions.logits_N) == 0


@pytest.mark.parametrize("accumulate", [2, 3, 6, 9])
def test_a_batch_in_parts_gives_the_step_of_the_whole(accumulate: int) -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    whole.append(nn.Flatten(0))
    parts = copy.deepcopy(whole)
    losses = [
        train_step(model, batch(7), torch.optim.SGD(model.parameters(), lr=0.5), CPU.grad_scaler(), CPU, accumulate=n)
        for model, n in ((whole, 1), (parts, accumulate))
    ]
    torch.testing.assert_close(losses[1], losses[0], atol=1e-6, rtol=1e-6)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_the_shares_of_ranks_add_up_to_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uneven shares, and none: the mean of the ranks' gradients is the gradient of the batch's mean."""
    torch.manual_seed(0)
    models = [Tiny().eval() for _ in range(4)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    given, bounds = batch(6), [(0, 6), (0, 1), (1, 1), (1, 6)]
    sums: list[Tensor] = []
    monkeypatch.setattr(Runtime, "all_reduce_sum", lambda _, values: sums.append(values.clone()) or values.clone())
    for model, (first, last) in zip(models, bounds, strict=True):
        rank_batch = Batch(given.images_NCHW[first:last], given.labels_N[first:last], given.indices_N[first:last], 6)
        runtime = CPU if model is models[0] else Runtime(torch.device("cpu"), world_size=3)
        train_step(model, rank_batch, torch.optim.SGD(model.parameters(), lr=0.0), CPU.grad_scaler(), runtime)
    for whole, *ranks in zip(*(model.parameters() for model in models), strict=True):
        assert whole.grad is not None
        mean = sum(rank_batch.grad for rank_batch in ranks) / 3
        torch.testing.assert_close(mean, whole.grad, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sum(sums[1:]), sums[0])


def test_a_step_without_samples_leaves_batchnorm_as_it_was() -> None:
    model = Tiny().train()
    before = copy.deepcopy(model.state_dict())
    none = Batch(torch.zeros(0, 3, 8, 8), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 2)
    runtime = Runtime(torch.device("cpu"), world_size=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Runtime, "all_reduce_sum", lambda _, values: values)
        loss = train_step(model, none, torch.optim.SGD(model.parameters(), lr=1.0), CPU.grad_scaler(), runtime)
    assert loss == 0
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_tables_of_ranks_are_joined_in_the_order_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runtime(torch.device("cpu"), world_size=2)

    def table(*shares: range) -> LogitTable:
        made = LogitTable(runtime, room=2)
        for positions in shares:
            row = torch.tensor(list(positions), dtype=torch.int64)
            made.add(Batch(torch.empty(len(row), 3, 8, 8), row.float() % 2, row, num_total=3), row.float() / 8)
        return made

    ranks = [table(range(2), range(5, 5)), table(range(2, 5), range(5, 6))]
    own: list[Any] = []
    monkeypatch.setattr(Runtime, "gather", lambda _, value: own.append(value) or [value])
    for rank in ranks:
        rank.predictions()
        assert rank.num_patches == 6
    monkeypatch.setattr(Runtime, "gather", lambda _, value: own)
    joined = ranks[0].predictions()
    np.testing.assert_array_equal(joined.indices_N, np.arange(6))
    np.testing.assert_array_equal(joined.logits_N, np.arange(6, dtype=np.float32) / 8)
