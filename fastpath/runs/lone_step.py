"""The network's own step with nothing around it, on random weights: what rates and precisions are measured with."""

from __future__ import annotations

from collections.abc import Callable

import torch

from fastpath.config import Config, ModelConfig
from fastpath.engine.optim import make_optimizer
from fastpath.engine.step import make_step
from fastpath.model.freeze import parameter_groups
from fastpath.model.registry import build
from fastpath.runs.train_stages import training_network
from fastpath.runtime import Runtime
from fastpath.types import Batch


def training_step(config: Config, runtime: Runtime) -> Callable[[Batch], object]:
    """Return one training step as the configured run would take it."""
    runtime.seed(config.seed)
    model = build(_unweighted(config), config.data.image_size_px)
    runtime.prepare(model)
    network = training_network(model, config, runtime).train()
    optimizer, scaler = make_optimizer(*parameter_groups(model), config.optim), runtime.grad_scaler()
    return make_step(
        network,
        optimizer,
        scaler,
        runtime,
        label_smoothing=config.train.label_smoothing,
        accumulate=config.train.accumulate,
        cuda_graph=config.train.cuda_graph,
    )


def scoring_step(config: Config, runtime: Runtime) -> Callable[[Batch], object]:
    """Return the pass of a batch through the network that evaluates it."""
    runtime.seed(config.seed)
    network = runtime.prepare(build(_unweighted(config), config.data.image_size_px)).eval()

    def step(batch: Batch) -> object:
        with torch.inference_mode(), runtime.autocast():
            return network(batch.images_NCHW)

    return step


def _unweighted(config: Config) -> ModelConfig:
    """Return the model's configuration without weights: rates do not depend on them, so none are fetched or read."""
    return config.model.model_copy(update={"pretrained": False, "weights": None})
