"""Synthetic patches: a Kaggle folder, its store, and a store of the notebook's size over the same pixels.

The large one has the notebook's 220,025 rows and takes no room: its index names each patch many times. On the card it
is as large as the real one, since residency copies every row.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.card.check import Check
from fastpath.ingest.split import write_split
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.store import format as fmt
from fastpath.store.reader import Store, open_store
from fastpath.store.writer import Contents, write_index, write_manifest
from fastpath.workflows import pack
from fastpath.workflows.bench import roofline

NUM_UNIQUE, NUM_ROWS = 4096, roofline.EPOCH_TRAIN + roofline.EPOCH_VAL
TINY_UNIQUE, TINY_ROWS = 96, 120


def tell(check: Check) -> None:
    """Make all of them."""
    for name, make in (("folder", kaggle), ("store", store), ("store of the notebook's size", whole)):
        began = time.perf_counter()
        made = make(check)
        size = {} if make is kaggle else {"rows": len(open_store(made))}
        check.tell("patches", name=name, seconds=round(time.perf_counter() - began, 2), **size)


def kaggle(check: Check) -> Path:
    """Return the folder, made if it is not there yet."""
    folder = check.scratch / "kaggle"
    if not folder.exists():
        write_kaggle_folder(folder, num_train=TINY_UNIQUE if check.tiny else NUM_UNIQUE, num_test=0)
    return folder


def store(check: Check) -> Path:
    """Return its store, likewise."""
    packed = check.scratch / "store"
    if not packed.exists():
        pack.pack_source(kaggle(check), packed, workers=1 if check.tiny else None)
    return packed


def whole(check: Check) -> Path:
    """Return the store of the notebook's size, likewise."""
    packed = check.scratch / "whole"
    if not packed.exists():
        partial = check.scratch / "whole.partial"
        _repeat(open_store(store(check)), partial, TINY_ROWS if check.tiny else NUM_ROWS)
        write_split(open_store(partial), "random")  # 80/20, stratified: 176,020 and 44,005
        partial.rename(packed)
    return packed


def _repeat(small: Store, target: Path, num_rows: int) -> None:
    """Write a store whose rows are another's, over and over."""
    target.mkdir()
    for entry in small.manifest.shards:
        os.link(small.path / entry.file, target / entry.file)
    source_N = np.arange(num_rows) % len(small)
    learned_N = np.zeros(num_rows, fmt.ROW)
    learned_N["hash"] = np.frombuffer(b"".join(small.column("hash")), "V16")[source_N]
    learned_N["sums"], learned_N["squares"] = small.sums_N3[source_N], small.squares_N3[source_N]
    for name in ("sharpness", "phash", "flags"):
        learned_N[name] = small.column(name)[source_N]
    contents = Contents(
        ids=[f"{row:06d}" for row in range(num_rows)],
        labels_N=small.labels_N[source_N],
        groups=None,
        shard_N=small.column("shard")[source_N],
        row_N=small.column("row")[source_N],
        rows_N=learned_N,
    )
    made = functools.partial(write_manifest, target, contents, index_hash=write_index(target / fmt.INDEX, contents))
    about = small.manifest
    made(patch_shape=about.patch_shape, shards=about.shards, flag_counts=about.flag_counts, source=about.source)
