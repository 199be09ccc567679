"""Where the operators of the graph run, from the graph as written; no card is needed to look."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from nvidia.dali import fn

from fastpath.config.augment import POLICIES, AugmentConfig
from fastpath.data.augment import geometry
from fastpath.data.dali import artefact_nodes, graph
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


EVERYTHING = {
    "policy": "strong",
    "border": "black",
    "ring_blur_p": 0.5,
    "ring_stain_p": 0.5,
    "ring_swap_p": 0.5,
}
OPTIONS: dict[str, dict[str, Any]] = {policy: {"policy": policy} for policy in POLICIES}
OPTIONS |= {f"notebook, {border}": {"border": border} for border in ("clamp", "reflect")}
OPTIONS |= {key: {key: 0.5} for key in AugmentConfig.model_fields if key.endswith("_p")}
OPTIONS |= {"shift": {"shift_px": 4.0}, "zoom": {"zoom": (0.8, 1.2)}, "everything": EVERYTHING}


def record(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    output_px: int,
    *,
    training: bool,
    settings: dict[str, Any] = OPTIONS["notebook"],
) -> list[Any]:
    """Return each operator with where its input and its output lie."""
    recorder = Recorder()
    monkeypatch.setattr(graph, "fn", recorder)
    monkeypatch.setattr(artefact_nodes, "fn", recorder)
    runtime = Runtime(torch.device(device))
    if training:
        policy = AugmentConfig(**settings)
        layout = geometry.training_warp_layout(policy, 96, output_px)
        graph.training_graph(lambda _: (), 0, layout, 64, runtime, policy)
    else:
        stats = ChannelStats((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
        layout = geometry.warp_layout(96, output_px, framed=False)
        graph.evaluation_graph(lambda _: (), 0, layout, stats, 64, runtime)
    return recorder.calls


@pytest.mark.parametrize("output_px", [224, 48])
@pytest.mark.parametrize("training", [True, False])
def test_every_image_operator_of_the_cuda_graph_is_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch, output_px: int, training: bool
) -> None:
    calls = record(monkeypatch, "cuda:0", output_px, training=training)
    assert len(calls) >= 2
    assert {(source, target) for _, source, target in calls} == {("gpu", "gpu")}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_policy_and_option_runs_on_the_gpu_with_the_operators_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    on_gpu = record(monkeypatch, "cuda:0", 224, training=True, settings=OPTIONS[option])
    on_cpu = record(monkeypatch, "cpu", 224, training=True, settings=OPTIONS[option])
    assert {(source, target) for _, source, target in on_gpu} == {("gpu", "gpu")}
    assert [name for name, *_ in on_gpu] == [name for name, *_ in on_cpu]


@pytest.mark.parametrize(
    ("option", "operators"),
    [
        ("notebook", set()),
        ("d4", set()),
        ("notebook, reflect", set()),
        ("blur_p", {"gaussian_blur", "crop"}),
        ("noise_p", {"cast", "crop"}),
        ("jpeg_p", {"jpeg_compression_distortion", "crop"}),
        ("strong", {"gaussian_blur", "cast", "jpeg_compression_distortion"}),
        ("ring", {"gaussian_blur", "slice", "cat"}),
    ],
)
def test_operators_are_there_only_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, option: str, operators: set[str]
) -> None:
    calls = record(monkeypatch, "cpu", 224, training=True, settings=OPTIONS[option])
    assert {name for name, *_ in calls} - {"coord_transform", "warp_perspective"} == operators


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

    set_outputs = graph.Pipeline.set_outputs

    def noted(pipeline: graph.Pipeline, *nodes: Any) -> None:
        outputs.extend(nodes)
        set_outputs(pipeline, *nodes)

    monkeypatch.setattr(graph.Pipeline, "set_outputs", noted)
    record(monkeypatch, "cuda:0", 224, training=True)
    assert [node.device for node in outputs] == ["gpu", "cpu"]
