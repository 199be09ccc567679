"""Describe every patch of a store by a published encoder, once, so that heads on it cost seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastpath.config import Config, DataConfig
from fastpath.data.loader import eval_loader
from fastpath.engine.step import infer
from fastpath.ingest.split import leak_notice
from fastpath.model.encoder import Encoder, load_encoder
from fastpath.runs import output_place
from fastpath.runs.precision import newly_told, settle_encoder
from fastpath.runtime import Runtime
from fastpath.store import feature_writer, features
from fastpath.store.feature_writer import Unfinished
from fastpath.store.features import SHARD_ROWS, Division, Features, Floats, Origin
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import SplitTable, read_split
from fastpath.system import run_log, tables
from fastpath.system.versions import versions
from fastpath.types import Samples, Split

Advance = Callable[[int, int], None]

BATCH = 64
"""Patches a pass. Fixed, and a divisor of a shard's: a run that goes on makes the batches of one that did not stop."""


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """What lies there now.

    Attributes:
        num_patches: Rows.
        num_features: Numbers a row.
        model: What timm calls the encoder.
        weights_hash: Of its parameters and buffers.
        pooling: How one vector is made of what it emits.
        image_size_px: Height and width of its input.
        precision: Of its products.
        licence: Of its weights, as their configuration states it; empty where it does not.
        embedded: Patches that this call passed through the encoder: the others were there.
        notices: What the user should know.
        output: The directory.
    """

    num_patches: int
    num_features: int
    model: str
    weights_hash: str
    pooling: str
    image_size_px: int
    precision: str
    licence: str
    embedded: int
    notices: list[str]
    output: str


def embed_store(
    store_path: Path,
    output: Path,
    model: str,
    runtime: Runtime,
    *,
    weights: Path | None = None,
    advance: Advance | None = None,
) -> EmbedResult:
    """Write the features of all patches of a store; see `store.features` for the files.

    Patches pass through the evaluation graph at the encoder's own input size and normalisation. Shards take their
    places as they are filled, so a run that was stopped goes on; features that are there already are left as they are.

    Args:
        store_path: The store.
        output: The directory.
        model: A model of timm, `hf-hub:ORG/NAME` or `local-dir:FOLDER`.
        runtime: Device and precision.
        weights: A file in place of the published weights.
        advance: Called with patches done and in all.

    Raises:
        UsageError: The directory holds other features, or cannot be written to.
        StoreError: There is no store.
        ConfigError: There is no such encoder.
        DataError: Features are not finite.
    """
    output_place.check_directory(output, features.MANIFEST, (store_path, weights))
    store = open_store(store_path)
    encoder = load_encoder(model, weights)
    decided = settle_encoder(runtime, encoder.network, encoder.name, encoder.image_size_px)
    unfinished = feature_writer.unfinished(output, _origin(store, encoder, decided), len(store))
    with unfinished as place, run_log.kept_in(output):
        if isinstance(place, Features):
            manifest, begin = place.manifest, len(store)
        else:
            begin = place.known(encoder.num_features)
            _fill(place, begin, store, encoder, decided, advance)
            rows, division = _rows(store)
            about: dict[str, Any] = {"licence": encoder.licence, "split": division, "software": versions()}
            manifest = place.finish(rows, encoder.num_features, **about)
    return EmbedResult(
        num_patches=manifest.num_patches,
        num_features=manifest.num_features,
        model=encoder.name,
        weights_hash=encoder.weights_hash,
        pooling=encoder.pooling,
        image_size_px=encoder.image_size_px,
        precision=decided.precision,
        licence=encoder.licence,
        embedded=manifest.num_patches - begin,
        notices=[text for text in (_of_licence(encoder), newly_told(decided, runtime)) if text],
        output=str(output),
    )


def _origin(store: Store, encoder: Encoder, runtime: Runtime) -> Origin:
    return Origin(
        store=store.name,
        store_fingerprint=store.fingerprint,
        model=encoder.name,
        weights_hash=encoder.weights_hash,
        pooling=encoder.pooling,
        image_size_px=encoder.image_size_px,
        mean_3=encoder.stats.mean_3,
        std_3=encoder.stats.std_3,
        precision=runtime.precision,
    )


def _of_licence(encoder: Encoder) -> str:
    if encoder.licence:
        return (
            f"the licence of {encoder.name} is stated as '{encoder.licence}': it governs what is made of its features"
        )
    return f"the configuration of {encoder.name} states no licence: look at where its weights come from"


def _fill(
    place: Unfinished, begin: int, store: Store, encoder: Encoder, runtime: Runtime, advance: Advance | None
) -> None:
    """Write the shards from row `begin` on."""
    if begin == len(store):
        return
    for shard_ND in shards(encoder, store, np.arange(begin, len(store)), runtime, advance):
        feature_writer.check_finite(shard_ND, encoder.name)
        place.write(begin // SHARD_ROWS, shard_ND)
        begin += len(shard_ND)


def shards(
    encoder: Encoder, store: Store, rows_N: NDArray[np.int64], runtime: Runtime, advance: Advance | None = None
) -> Iterator[Floats]:
    """Yield the features of rows of a store in their order, float32 [n, D], `SHARD_ROWS` at a time.

    They wait on the device until a shard is full: a transfer a batch would have it wait for the host.

    Args:
        encoder: The network and its inputs.
        store: Where the rows lie.
        rows_N: int64 [N].
        runtime: Device and precision.
        advance: Called with rows of the store done and in all.
    """
    network = runtime.prepare(encoder.network)
    config = Config(data=DataConfig(image_size_px=encoder.image_size_px, batch_size=BATCH))
    room_ND = torch.empty((min(SHARD_ROWS, len(rows_N)), encoder.num_features), device=runtime.device)
    end, done, total = 0, len(store) - len(rows_N), len(store)
    with closing(eval_loader(Samples(store, rows_N, encoder.stats), config, runtime)) as loader:
        for batch, features_ND in infer(network, loader, runtime):
            room_ND[end : end + len(features_ND)] = features_ND
            end, done = end + len(features_ND), done + len(features_ND)
            if advance is not None:
                advance(done, total)
            if end == SHARD_ROWS or done == total:
                yield room_ND[:end].cpu().numpy().copy()
                end = 0
            del batch, features_ND  # before the next are made


def _rows(store: Store) -> tuple[bytes, Division | None]:
    """Return rows.parquet, and what is said of the split; None where there is none."""
    import pandas as pd

    split = _split_of(store)
    parts_N = np.full(len(store), None, object)
    if split is not None:
        for part in Split:
            parts_N[split.rows(part)] = str(part)
    groups_N = np.full(len(store), None, object) if store.groups_N is None else store.groups_N
    columns = {"id": store.ids_N, "label": store.labels_N, "group": groups_N, "part": parts_N}
    frame = pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})
    return tables.render(frame, Path(features.ROWS)), None if split is None else division(store, split)


def division(store: Store, split: SplitTable) -> Division:
    """Return what is kept of a store's split beside the part of each row."""
    leaks = {part: leak_notice(store, split, Split(part)) for part in ("val", "test") if len(split.rows(Split(part)))}
    return Division(kind=split.kind, leaks={part: text for part, text in leaks.items() if text})  # type: ignore[misc]


def _split_of(store: Store) -> SplitTable | None:
    """Return a store's split; None where there is none.

    Raises:
        StoreError: It is damaged, or another store's.
    """
    return read_split(store) if os.path.lexists(store.split_path) else None
