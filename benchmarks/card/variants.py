"""Stage: the notebook's step in each precision, and each thing that makes it shorter, alone."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace

from benchmarks import training
from benchmarks.card import patches
from benchmarks.card.check import Check
from benchmarks.card.device import peak
from benchmarks.card.measure import endless, pace, same
from fastpath.data.loader import train_loader
from fastpath.errors import FastpathError
from fastpath.runs.run_data import RunData, open_run_data
from fastpath.runtime import Precision
from fastpath.types import Batch


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of the step.

    Attributes:
        name: As the table calls it.
        changes: Of the notebook's recipe.
        precision: None is what `--amp` takes.
        batch: Patches a step: 256, where the card is what limits, or 64, where the host is.
        compiles: Takes a minute before its first step; left out of a rehearsal.
    """

    name: str
    changes: tuple[str, ...] = ()
    precision: Precision | None = None
    batch: int = 256
    compiles: bool = False


FOLDED, COMPILED = "model.batchnorm=folded", "train.compile=true"
PLAIN = "train.cuda_graph=false"
VARIANTS = (
    Variant("bfloat16", precision="bfloat16"),
    Variant("float16", precision="float16"),
    Variant("float32", precision="float32"),
    Variant("bfloat16, BatchNorm frozen", ("model.batchnorm=frozen",), "bfloat16"),
    Variant("bfloat16, folded", (FOLDED,), "bfloat16"),
    Variant("float16, folded", (FOLDED,), "float16"),
    Variant("batches of 64", batch=64),
    Variant("batches of 64, folded", (FOLDED,), batch=64),
    Variant("batches of 64, not graphed", (PLAIN,), batch=64),
    Variant("batches of 64, folded, not graphed", (FOLDED, PLAIN), batch=64),
    Variant("bfloat16 again", precision="bfloat16"),  # how far two measurements of the same lie apart
    Variant("bfloat16, folded, compiled", (FOLDED, COMPILED), "bfloat16", compiles=True),
)


def tell(check: Check) -> None:
    """Tell of each variant's step on one batch that stays on the card; one that cannot run is told of and passed."""
    data = open_run_data(patches.store(check), check.config())
    batches = {size: _batch(check, data, size) for size in {variant.batch for variant in VARIANTS}}
    for variant in VARIANTS:
        if check.tiny and variant.compiles:
            continue
        try:
            _variant(check, variant, data, batches[variant.batch])
        except (FastpathError, RuntimeError) as error:  # torch's own, out of memory among them
            check.tell("variants", name=variant.name, failed=" ".join(str(error).split())[:300])


def _batch(check: Check, data: RunData, batch_size: int) -> Batch:
    """Return a batch of the notebook's, which does not depend on the precision."""
    config = check.config(*_sized(check, batch_size))
    with closing(train_loader(data.train, config, check.runtime())) as loader:
        return next(same(next(endless(loader))))


def _sized(check: Check, batch_size: int) -> list[str]:
    return [] if check.tiny else [f"data.batch_size={batch_size}"]


def _variant(check: Check, variant: Variant, data: RunData, batch: Batch) -> None:
    runtime = check.runtime()
    # On the CPU a rehearsal computes in float32: not every one has the others.
    if variant.precision is not None and runtime.device.type == "cuda":
        runtime = replace(runtime, precision=variant.precision)
    began = time.perf_counter()
    config = check.config(*_sized(check, variant.batch), *variant.changes)
    events = training.steps(config, data, same(batch), runtime)
    count, alone = (2, 2) if check.tiny else (20, 10)
    timings = pace(lambda: next(events).num_images, count, runtime, alone)
    seconds = round(time.perf_counter() - began, 1)
    about = {"name": variant.name, "batch": len(batch.labels_N), "precision": runtime.precision}
    check.tell("variants", **about, **timings, **peak(runtime), seconds=seconds)
