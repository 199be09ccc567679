"""fastpath's own training step on its own loader, under the same clock; a variant is a list of settings.

A variant reads as on the command line, `data.image_size_px=96,model.batchnorm=folded`; none is `configs/notebook.toml`.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from benchmarks.peers.common import MEAN, STD, Batches, Task, main
from fastpath import config as configuration
from fastpath.config import Config
from fastpath.data import loader, residency
from fastpath.engine.ema import Average
from fastpath.engine.optim import make_optimizer
from fastpath.engine.step import infer, train_step
from fastpath.model.freeze import LogitNetwork, parameter_groups
from fastpath.model.registry import build
from fastpath.runtime import Runtime, resolve
from fastpath.shards.reader import open_store
from fastpath.types import ChannelStats
from fastpath.workflows.train_course import training_network


def load(task: Task) -> Batches:
    """Yield after each step, epoch after epoch."""
    store, stats = open_store(task.store), ChannelStats(MEAN, STD)
    rows = np.arange(len(store))
    sizes = [f"data.image_size_px={task.image_size_px}", f"data.batch_size={task.batch_size}"]
    changes = [change for change in task.variant.split(",") if change]
    config = configuration.load(configuration.recipe("notebook"), [*sizes, "model.pretrained=false", *changes])
    runtime = resolve(task.device, amp=True, num_threads=task.threads)
    where = residency.budget("auto", len(store), store.patch_size_px, runtime).residency
    pixels = residency.place(store, rows, where, runtime)
    runtime.seed(config.seed)
    model = build(config.model, config.data.image_size_px)
    runtime.prepare(model)
    if task.mode == "val":
        validation = loader.eval_loader(store, rows, stats, config, runtime, pixels)
        while True:
            for batch, _ in infer(model, validation, runtime):
                yield batch.images_NCHW, batch.labels_N
    training = loader.train_loader(store, rows, stats, config, runtime, pixels)
    yield from _trained(model, training, config, runtime)


def _trained(model: LogitNetwork, training: loader.TrainLoader, config: Config, runtime: Runtime) -> Batches:
    network = training_network(model, config).train()
    optimizer, scaler = make_optimizer(*parameter_groups(model), config.optim), runtime.grad_scaler()
    average = Average(model, config.train.ema_decay) if config.train.ema_decay else None
    loss_sum = torch.zeros((), dtype=torch.float64, device=runtime.device)
    smoothing = config.train.label_smoothing
    for batch in itertools.chain.from_iterable(map(training.epoch, itertools.count())):
        loss = train_step(network, batch, optimizer, scaler, runtime, label_smoothing=smoothing)
        loss_sum += loss.double() * len(batch.labels_N)
        if average is not None:
            average.update(model)
        yield batch.images_NCHW, batch.labels_N


def settle(task: Task) -> None:
    """Wait for the device."""
    Runtime(torch.device(task.device)).synchronize()


if __name__ == "__main__":
    main(load, packages=["fastpath", "torch", "timm", "nvidia-dali-cuda120", "nvidia-dali-cuda130"], settle=settle)
