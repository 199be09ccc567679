"""Where the operators of the graph run, from the graph as written; no card is needed to look."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from nvidia.dali import fn

from fastpath.data import geometry, graph
from fastpath.runtime import Runtime
from fastpath.types import ChannelStats

pytestmark = pytest.mark.dali


@dataclass
class Recorder:
    """Stands in for `nvidia.dali.fn`, notes each operator's outputs and where its image input lies."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    module: Any = fn

    def __getattr__(self, name: str) -> Any:
        operator = getattr(self.module, name)
        if isinstance(operator, ModuleType):
            return Recorder(self.calls, operator)

        def call(*inputs: Any, **settings: Any) -> Any:
            output = operator(*inputs, **settings)
            if inputs:
                self.calls.append((name, inputs[0].device, output.device))
            return output

        return call


def record(monkeypatch: pytest.MonkeyPatch, device: str, output_px: int, *, training: bool) -> list[Any]:
    recorder = Recorder()
    monkeypatch.setattr(graph, "fn", recorder)
    runtime = Runtime(torch.device(device))
    if training:
        layout = geometry.canvas(96, output_px, framed=True)
        graph.training_graph(lambda _: (), 0, layout, 64, runtime)
    else:
        stats = ChannelStats((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
        graph.evaluation_graph(lambda _: (), 0, geometry.canvas(96, output_px, framed=False), stats, 64, runtime)
    return recorder.calls


@pytest.mark.parametrize("output_px", [224, 48])
@pytest.mark.parametrize("training", [True, False])
def test_every_image_operator_of_the_cuda_graph_is_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, output_px: int, training: bool
) -> None:
    calls = record(monkeypatch, "cuda:0", output_px, training=training)
    assert len(calls) >= 2
    assert {(source, target) for _, source, target in calls} == {("gpu", "gpu")}


@pytest.mark.parametrize("training", [True, False])
def test_both_placements_have_the_same_operators(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    on_gpu = record(monkeypatch, "cuda:0", 224, training=training)
    on_cpu = record(monkeypatch, "cpu", 224, training=training)
    assert [name for name, *_ in on_gpu] == [name for name, *_ in on_cpu]
    assert {place for _, *places in on_cpu for place in places} == {"cpu"}
    assert len(on_gpu) == 2


def test_the_outputs_of_the_cuda_graph_are_images_on_the_gpu_and_rows_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs: list[Any] = []

    class Pipeline(graph.Pipeline):  # type: ignore[misc]
        def set_outputs(self, *nodes: Any) -> None:
            outputs.extend(nodes)
            super().set_outputs(*nodes)

    monkeypatch.setattr(graph, "Pipeline", Pipeline)
    record(monkeypatch, "cuda:0", 224, training=True)
    assert [node.device for node in outputs] == ["gpu", "cpu"]
