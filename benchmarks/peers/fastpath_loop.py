"""fastpath's own training step on its own loader, under the same clock; a variant is a list of settings.

A variant reads as on the command line, `data.image_size_px=96,model.batchnorm=folded`; none is `configs/notebook.toml`.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.peers.common import MEAN, STD, Batches, Task, main
from fastpath import config as configuration
from fastpath.data import loader
from fastpath.engine.ema import Average
from fastpath.engine.optim import make_optimizer
from fastpath.engine.step import infer, train_step
from fastpath.model.freeze import parameter_groups
from fastpath.model.registry import build
from fastpath.runtime import resolve
from fastpath.shards.reader import open_store
from fastpath.types import ChannelStats
from fastpath.workflows.train_course import training_network


def load(task: Task) -> Batches:
    """Yield after each step."""
    store, stats = open_store(task.store), ChannelStats(MEAN, STD)
    rows = np.arange(len(store))
    sizes = [f"data.image_size_px={task.image_size_px}", f"data.batch_size={task.batch_size}"]
    changes = [change for change in task.variant.split(",") if change]
    config = configuration.load(configuration.recipe("notebook"), [*sizes, "model.pretrained=false", *changes])
    runtime = resolve("cpu", amp=True, num_threads=task.threads)
    runtime.seed(config.seed)
    model = build(config.model, config.data.image_size_px)
    runtime.prepare(model)
    if task.mode == "val":
        for batch, _ in infer(model, loader.eval_loader(store, rows, stats, config, runtime), runtime):
            yield batch.images_NCHW, batch.labels_N
        return
    network = training_network(model, config, runtime).train()
    optimizer, scaler = make_optimizer(*parameter_groups(model), config.optim), runtime.grad_scaler()
    average = Average(model, config.train.ema_decay) if config.train.ema_decay else None
    batches = loader.train_loader(store, rows, stats, config, runtime).epoch(0)
    loss_sum = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        smoothing = config.train.label_smoothing
        loss = train_step(network, batch, optimizer, scaler, runtime, label_smoothing=smoothing)
        loss_sum += loss.double() * len(batch.labels_N)
        if average is not None:
            average.update(model)
        yield batch.images_NCHW, batch.labels_N


if __name__ == "__main__":
    main(load, packages=["fastpath", "torch", "timm", "nvidia-dali-cuda120"])
