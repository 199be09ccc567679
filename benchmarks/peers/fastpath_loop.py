"""fastpath's own training loop on its own loader, under the same clock; a variant is a list of settings.

A variant reads as on the command line, `data.image_size_px=96,model.batchnorm=folded`; none is `notebook`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

import torch

from benchmarks import training
from benchmarks.peers.common import Batches, Task, main
from fastpath import config as configuration
from fastpath.config import Config
from fastpath.data import loader
from fastpath.engine.step import infer
from fastpath.model.registry import build
from fastpath.runs import precision
from fastpath.runs.run_data import RunData, open_run_data
from fastpath.runtime import Runtime, resolve
from fastpath.types import Batch


def load(task: Task) -> Batches:
    """Yield after each step, epoch after epoch."""
    sizes = [f"data.image_size_px={task.image_size_px}", f"data.batch_size={task.batch_size}"]
    changes = [change for change in task.variant.split(",") if change]
    config = configuration.load(configuration.recipe("notebook"), [*sizes, "model.pretrained=false", *changes])
    runtime = precision.settle(resolve(task.device, amp=True, num_threads=task.threads), config)
    data = open_run_data(task.store, config)
    return (_scored if task.mode == "val" else _trained)(config, data, runtime)


def _scored(config: Config, data: RunData, runtime: Runtime) -> Batches:
    runtime.seed(config.seed)
    model, pixels = build(config.model, config.data.image_size_px), training.placed(config, data, runtime)
    runtime.prepare(model)
    samples = data.train  # as many as are trained on; which they are changes no rate
    with closing(loader.eval_loader(samples, config, runtime, pixels=pixels)) as validation:
        while True:
            for batch, _ in infer(model, validation, runtime):
                yield batch.images_NCHW, batch.labels_N


def _trained(config: Config, data: RunData, runtime: Runtime) -> Batches:
    pixels = training.placed(config, data, runtime)
    with closing(loader.train_loader(data.train, config, runtime, pixels=pixels)) as feed:
        used: list[Batch] = []

        def batches() -> Iterator[Batch]:
            for batch in itertools.chain.from_iterable(map(feed.epoch, itertools.count())):
                used[:] = [batch]
                yield batch

        for _ in training.steps(config, data, batches(), runtime):
            yield used[0].images_NCHW, used[0].labels_N


def settle(task: Task) -> None:
    """Wait for the device."""
    Runtime(torch.device(task.device)).synchronize()


if __name__ == "__main__":
    main(load, packages=["fastpath", "torch", "timm", "nvidia-dali-cuda120", "nvidia-dali-cuda130"], settle=settle)
