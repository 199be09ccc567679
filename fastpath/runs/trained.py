"""A run that was trained: its weights, its configuration and what it was trained on, ready to score patches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fastpath import config as configuration
from fastpath.config import Config
from fastpath.engine.checkpoint import Checkpoint, load_checkpoint
from fastpath.errors import CheckpointError, DataError, UsageError
from fastpath.model.freeze import LogitNetwork
from fastpath.model.registry import restore
from fastpath.runs import run_directory as directory
from fastpath.runs.run_data import run_data_of
from fastpath.store.reader import Store, open_store
from fastpath.store.recorded import open_recorded
from fastpath.types import ChannelStats, Patches
from fastpath.urls import behind_url

CheckpointName = Literal["best", "last"]
_FILES = {"best": directory.BEST, "last": directory.LAST}


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """What a run offers to whoever scores patches with it. All but `store` comes from the checkpoint's file.

    Attributes:
        path: The checkpoint's file.
        checkpoint: Its content.
        config: The configuration the weights were trained with.
        stats: What training patches were normalised with.
        store: Where the packed store lay that it was trained on, a path or a URL without secrets; None where nothing
            beside the checkpoint tells.
        split_file: Where its split lay; None where that was in the store, or nothing tells.
    """

    path: Path
    checkpoint: Checkpoint
    config: Config
    stats: ChannelStats
    store: str | None
    split_file: Path | None = None

    def open_store(self, named: Path | None = None, split_file: Path | None = None) -> Store:
        """Open the store that was named, else the run's own, divided as the run was trained.

        Args:
            named: The store; one of other content than the run's own has its own split.
            split_file: Where its split lies now; None is where the run had it.

        Raises:
            UsageError: None was named and the run's own is not known, or is a URL that was never opened here.
            StoreError: There is no store.
        """
        if named is not None:
            store = open_store(named)
        elif self.store is None:
            raise UsageError(self.path, f"found no {directory.RUN} that tells its store", "name one with --store")
        else:
            store = open_recorded(self.store, self.path.parent / directory.RUN)
        own = store.fingerprint == self.checkpoint.store_fingerprint
        return store.with_split(split_file or (self.split_file if own else None))

    def differs(self, store: Store) -> tuple[str, str, str] | None:
        """Return how a store is other than the one trained on, None where it is the same.

        A store of the same content but divided anew is another: its validation patches may have been trained on.

        Returns:
            `store` or `split`, and the fingerprint of that, first the store's and then the run's.
        """
        if store.fingerprint != self.checkpoint.store_fingerprint:
            return "store", store.fingerprint, self.checkpoint.store_fingerprint
        fingerprint, wanted = run_data_of(store, self.config).fingerprint, self.checkpoint.split_fingerprint
        return None if fingerprint == wanted else ("split", fingerprint, wanted)

    def check_patches(self, patches: Patches) -> None:
        """Refuse patches of another size than those trained on, which show another scale, or of another stain.

        Raises:
            DataError: Naming what was found and wanted.
        """
        location, wanted = getattr(patches, "path", "patches"), self.checkpoint.stain
        result = getattr(patches, "stain", wanted)  # what covers part of a store's patches tells nothing of its own
        if result != wanted:
            problem = f"found patches of stain normalisation '{result}', wanted '{wanted}' as the run was trained on"
            raise DataError(location, problem, f"pack the files that they came from with --stain {wanted}")
        found_px, wanted_px = patches.patch_size_px, self.checkpoint.patch_size_px
        if found_px != wanted_px:
            problem = f"found patches of {found_px} px, wanted {wanted_px} px as the run was trained on"
            raise DataError(location, problem, "cut patches of that size and magnification")

    def network(self) -> LogitNetwork:
        """Return the network as validation scored it, averaged weights where the run has them; on the CPU."""
        return restore(self.config.model, self.config.data.image_size_px, self.checkpoint.weights, self.path).eval()


def open_run(run: Path, checkpoint: CheckpointName = "best") -> TrainedRun:
    """Read a run's checkpoint: of its directory, or by the name of a checkpoint's file, which may lie alone.

    Raises:
        UsageError: The directory is not a run's.
        CheckpointError: The checkpoint is missing or damaged.
    """
    if behind_url(run) is not None:
        raise UsageError(run, "is a URL, wanted the directory of a run or a checkpoint here", "copy the run here first")
    path = run / _FILES[checkpoint] if run.is_dir() else run
    if not path.exists():
        if not (run / directory.CONFIG).exists():
            problem = f"found no {_FILES[checkpoint]}, wanted the directory of a run or a checkpoint"
            raise UsageError(run, problem, "give what 'fastpath train -o' wrote")
        raise CheckpointError(path, "does not exist: no epoch was completed", "go on with 'fastpath train --resume'")
    loaded = load_checkpoint(path)
    config = configuration.parse(loaded.config, path)
    stats = ChannelStats(loaded.mean_3, loaded.std_3)
    split_file = directory.split_file_of(path.parent)
    return TrainedRun(path, loaded, config, stats, _store(path.parent / directory.RUN), split_file)


def _store(facts: Path) -> str | None:
    """Return where a run's store lay, if what lies beside its checkpoint tells."""
    try:
        return str(json.loads(facts.read_text(encoding="utf-8"))["store"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
