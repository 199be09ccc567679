"""Stage: what limits, host or card, by size of batch: the loader alone, the network alone, and both."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from benchmarks import training
from benchmarks.card import patches
from benchmarks.card.check import Check
from benchmarks.card.device import peak
from benchmarks.card.measure import endless, pace, same
from fastpath.data.loader import train_loader
from fastpath.data.residency import Pixels, budget
from fastpath.runs.run_data import RunData, open_run_data
from fastpath.runtime import Runtime

NUM_ROWS = 65_536  # an epoch long enough that its start is not felt
SIZES = (64, 256, 1024, 128, 512)  # the notebook's and the ends first, should time run out
NUM_IMAGES = 8192  # on each clock, as far as that makes 10 to 60 steps
# The fast recipe's first stage: patches are read and written as they are, and the host is what limits.
RECIPES = {"notebook": SIZES, "fast": (128,)}


def tell(check: Check) -> None:
    """Tell of each size of batch of the notebook's recipe, then of the fast recipe's at 96 pixels."""
    runtime, limit = check.runtime(), [] if check.tiny else [f"data.limit={NUM_ROWS}"]
    whole = check.config(*limit)
    data = open_run_data(patches.whole(check), whole)
    pixels = training.placed(whole, data, runtime)
    residency = budget("auto", len(data.train_rows_N), data.patches.patch_size_px, runtime).residency
    check.tell("sweep", name="patches", residency=residency, precision=runtime.precision)
    for recipe, sizes in RECIPES.items():
        for batch_size in (4,) if check.tiny else sizes:
            _point(check, recipe, batch_size, data, pixels, runtime)


def _point(check: Check, recipe: str, batch_size: int, data: RunData, pixels: Pixels, runtime: Runtime) -> None:
    config = check.config(f"data.batch_size={batch_size}", "model.recalibrate=0", recipe=recipe)
    settings = training.first_stage(config, data).config
    count = 2 if check.tiny else int(np.clip(NUM_IMAGES // batch_size, 10, 60))
    alone = 2 if check.tiny else 20
    about = {"recipe": recipe, "batch": batch_size, "size_px": settings.data.image_size_px}
    with closing(train_loader(data.train, settings, runtime, pixels=pixels)) as loader:
        batches = endless(loader)
        both = training.steps(config, data, batches, runtime)
        network = training.steps(config, data, same(next(batches)), runtime)
        takes = {
            "loader": lambda: len(next(batches).labels_N),
            "both": lambda: next(both).num_images,
            "network": lambda: next(network).num_images,
        }
        for kind, step in takes.items():
            check.tell("sweep", **about, kind=kind, **pace(step, count, runtime, alone), **peak(runtime))
