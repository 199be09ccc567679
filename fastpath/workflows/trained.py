"""A run that was trained: its weights, its configuration and what it was trained on, ready to score patches."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastpath import config as configuration
from fastpath.config import Config
from fastpath.data.loader import eval_loader
from fastpath.engine.checkpoint import Checkpoint, load_checkpoint
from fastpath.engine.step import predict_logits
from fastpath.errors import CheckpointError, UsageError
from fastpath.model.registry import restore
from fastpath.runtime import Runtime
from fastpath.shards.reader import Store
from fastpath.types import ChannelStats
from fastpath.workflows import run_directory as directory

Which = Literal["best", "last"]
_FILES = {"best": directory.BEST, "last": directory.LAST}


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a run directory offers to whoever scores patches with it.

    Attributes:
        path: The checkpoint's file.
        checkpoint: Its content.
        config: The configuration the weights were trained with.
        stats: What training patches were normalised with.
        store: Where the packed store lay that it was trained on.
    """

    path: Path
    checkpoint: Checkpoint
    config: Config
    stats: ChannelStats
    store: Path


def open_run(run_dir: Path, which: Which = "best") -> TrainedRun:
    """Read a run's checkpoint and what it needs to be used.

    Raises:
        UsageError: The directory is not a run's.
        CheckpointError: The checkpoint is missing or damaged.
    """
    facts_path = run_dir / directory.RUN
    try:
        facts = json.loads(facts_path.read_text(encoding="utf-8"))
        stats = ChannelStats(tuple(facts["mean_3"]), tuple(facts["std_3"]))
        store = Path(facts["store"])
    except (OSError, ValueError, KeyError, TypeError):
        problem = f"found no readable {directory.RUN}, wanted the directory of a run"
        raise UsageError(run_dir, problem, "give what 'fastpath train -o' wrote") from None
    path = run_dir / _FILES[which]
    if not path.exists():
        raise CheckpointError(path, "does not exist: no epoch was completed", "go on with 'fastpath train --resume'")
    checkpoint = load_checkpoint(path)
    return TrainedRun(path, checkpoint, configuration.parse(checkpoint.config, path), stats, store)


def score(
    run: TrainedRun,
    store: Store,
    rows_N: NDArray[np.int64],
    runtime: Runtime,
    advance: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of these rows of a store, float32 [N], in their order.

    Args:
        run: Weights, configuration and normalisation.
        store: Any store of patches like the run's.
        rows_N: int64 [N].
        runtime: Device and precision.
        advance: Called with patches done and in all.
    """
    config, total = run.config, len(rows_N)
    model = runtime.prepare(restore(config.model, config.data.image_size_px, run.checkpoint.model, run.path))
    with closing(eval_loader(store, rows_N, run.stats, config, runtime)) as batches:
        report = (lambda done: advance(done, total)) if advance else None
        found = predict_logits(model, batches, runtime, report)
    assert np.array_equal(found.indices_N, rows_N), "the loader changed the order"
    return found.logits_N
