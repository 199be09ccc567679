"""A network trained on patches of normalised stain meets such patches in every command, or refuses in one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.config import parse
from fastpath.errors import DataError, FastpathError, StoreError, UsageError
from fastpath.ingest import stain, tissue
from fastpath.runs import inference, mined_training
from fastpath.runs.score_views import score
from fastpath.runs.trained import TrainedRun, open_run
from fastpath.runtime import resolve
from fastpath.store.reader import Store, open_store
from fastpath.workflows import merge, pack, repair
from fastpath.workflows.export import export
from fastpath.workflows.slide.slide_grid import Tiles
from fastpath.workflows.train import train
from fastpath.workflows.verify import verify

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

CONFIG = parse(
    {
        "data": {"image_size_px": 32, "batch_size": 32, "sampling": "natural", "augment": {"policy": "none"}},
        "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
        "train": {"epochs": 1},
    }
)
PLAIN, STAINED = "none", "macenko"
METHODS = {"macenko": stain.macenko, "reinhard": stain.reinhard}


class Made(NamedTuple):
    source: Path
    stores: dict[str, Store]
    runs: dict[str, Path]


@pytest.fixture(scope="module")
def made(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Stores of one source with stains as they are and normalised, and a run on each."""
    folder = tmp_path_factory.mktemp("stain")
    for name in (PLAIN, STAINED):
        pack.pack_source(kaggle_folder, folder / name, pack.PackOptions(stain=name), workers=1)  # type: ignore[arg-type]
        train.train_run(folder / name, folder / f"run-{name}", CONFIG, resolve("cpu"))
    names = (PLAIN, STAINED)
    stores = {name: open_store(folder / name) for name in names}
    return Made(kaggle_folder, stores, {name: folder / f"run-{name}" for name in names})


def every(store: Store) -> np.ndarray:
    return store.gather(np.arange(len(store)))


@pytest.mark.parametrize("method", METHODS)
def test_a_store_holds_each_patch_normalised(made: Made, tmp_path: Path, method: str) -> None:
    options = pack.PackOptions(stain=method)  # type: ignore[arg-type]
    pack.pack_source(made.source, tmp_path / "store", options, workers=1)
    store = open_store(tmp_path / "store")
    assert store.stain == method
    assert store.manifest.source["stain"] == method
    plain = made.stores[PLAIN]
    assert plain.stain == PLAIN
    assert "stain" not in plain.manifest.source
    assert store.fingerprint != plain.fingerprint
    wanted = np.stack([METHODS[method](patch) for patch in every(plain)])
    np.testing.assert_array_equal(every(store), wanted)
    moments = every(store).reshape(-1, 3) / 255
    np.testing.assert_allclose(store.manifest.std_3, moments.std(axis=0), atol=1e-9)


def test_pack_takes_the_option_and_tells_how_many_patches_stay_as_they_are(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "patches").mkdir()
    for name, patch in (("glass", np.full((96, 96, 3), 244, np.uint8)), ("tissue", some_tissue())):
        Image.fromarray(patch).save(tmp_path / "patches" / f"{name}.png")
    arguments = ["pack", tmp_path / "patches", "-o", tmp_path / "store", "--stain", "reinhard", "--workers", "1"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "patches of too little tissue to normalise" in result.output
    glass = every(open_store(tmp_path / "store"))[0]
    assert (glass == 244).all()


def some_tissue() -> np.ndarray:
    patch: np.ndarray = tissue.paint_patches(np.zeros(1, np.int8), np.full(1, 3, np.int64), seed=1, chunk=0)[0]
    return patch


def test_verify_and_repair_do_to_the_source_what_pack_did(made: Made, tmp_path: Path) -> None:
    options = pack.PackOptions(stain="macenko")
    pack.pack_source(made.source, tmp_path / "store", options, workers=1)
    assert verify.verify_store(tmp_path / "store", source=made.source, workers=1).damages == []
    shard = tmp_path / "store" / open_store(tmp_path / "store").manifest.shards[0].file
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100] + bytes(100))
    assert repair.repair_store(tmp_path / "store", made.source, workers=1).damages == []
    assert shard.read_bytes() == whole


def test_a_store_packed_from_a_normalised_store_is_normalised_once(made: Made, tmp_path: Path) -> None:
    source = made.stores[STAINED].path
    pack.pack_source(source, tmp_path / "again", workers=1)
    again = open_store(tmp_path / "again")
    assert again.stain == STAINED
    np.testing.assert_array_equal(every(again), every(made.stores[STAINED]))
    assert verify.verify_store(tmp_path / "again", source=source, workers=1).damages == []
    with pytest.raises(UsageError, match="holds patches of normalised stain") as caught:
        pack.pack_source(source, tmp_path / "twice", pack.PackOptions(stain="reinhard"), workers=1)
    assert "\n" not in str(caught.value)


def test_stores_of_two_stains_are_not_merged(made: Made, tmp_path: Path) -> None:
    paths = [store.path for store in made.stores.values()]
    with pytest.raises(UsageError, match="found stain normalisations macenko, none, wanted one"):
        merge.merge_stores(paths, tmp_path / "merged")


def test_mined_patches_of_another_stain_are_refused(made: Made) -> None:
    other = made.stores[PLAIN]
    frame = pd.DataFrame({"store": [str(other.path)], "store_fingerprint": [other.fingerprint]})
    table: Any = SimpleNamespace(frame=frame, path=made.source / "mined.parquet")
    with pytest.raises(StoreError, match="found patches of stain normalisation 'none', wanted 'macenko'"):
        mined_training._stores(table, made.stores[STAINED])


Score = Callable[[TrainedRun, Store], object]
WAYS: dict[str, Score] = {
    "score": lambda run, store: score(run, store, np.arange(4), resolve("cpu")),
    "portions": lambda run, store: inference.all_logits(run, run.network(), store, np.arange(4), resolve("cpu")),
    "embed": lambda run, store: inference.trunk_features(run, store, np.arange(4), resolve("cpu")),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("trained_on", "given"), [(PLAIN, STAINED), (STAINED, PLAIN)])
def test_patches_of_another_stain_are_refused_in_one_line(made: Made, way: str, trained_on: str, given: str) -> None:
    run = open_run(made.runs[trained_on])
    assert run.checkpoint.stain == trained_on
    WAYS[way](run, made.stores[trained_on])
    with pytest.raises(DataError, match=f"stain normalisation '{given}', wanted '{trained_on}'") as caught:
        WAYS[way](run, made.stores[given])
    assert "\n" not in str(caught.value)
    assert f"--stain {trained_on}" in str(caught.value)


def predicted(tmp_path: Path, *arguments: object) -> pd.Series[float]:
    out, table = tmp_path / "out.csv", tmp_path / "table.parquet"
    for file in (out, table):
        file.unlink(missing_ok=True)
    command = ["predict", *arguments, "-o", out, "--table", table, "-q"]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert result.exit_code == 0, result.output
    return pd.read_parquet(table).set_index("id")["logit"].sort_index()


def test_predict_normalises_files_as_the_runs_store_was(made: Made, tmp_path: Path) -> None:
    files, logits = tmp_path / "files", {}
    files.mkdir()
    for file in sorted((made.source / "train").iterdir())[:12]:
        shutil.copy(file, files)
    for name in (PLAIN, STAINED):
        logits[name] = predicted(tmp_path, made.runs[name], "--source", files)
        stored = predicted(tmp_path, made.runs[name], "--store", made.stores[name].path)
        np.testing.assert_allclose(logits[name], stored[logits[name].index], atol=1e-4)
    together = predicted(tmp_path, made.runs[PLAIN], made.runs[STAINED], "--source", files)
    assert together.between(*np.sort([logits[PLAIN], logits[STAINED]], axis=0)).all()


def test_a_normalised_store_as_the_source_of_predict_is_not_normalised_again(made: Made, tmp_path: Path) -> None:
    store = made.stores[STAINED].path
    ours, stored = (predicted(tmp_path, made.runs[STAINED], kind, store) for kind in ("--source", "--store"))
    np.testing.assert_allclose(ours, stored, atol=1e-4)
    command = ["predict", made.runs[PLAIN], "--source", store, "-o", tmp_path / "no.csv", "-q"]
    result = CliRunner().invoke(app, [str(argument) for argument in command])
    assert isinstance(result.exception, FastpathError)
    assert "stain normalisation 'macenko', wanted 'none'" in str(result.exception)


def test_tiles_of_a_slide_are_normalised(made: Made) -> None:
    patches = every(made.stores[PLAIN])[:3]
    slide = SimpleNamespace(path=Path("slide"), read=lambda left, *_: patches[int(left)])
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    grid: Any = SimpleNamespace(tile_px=96, scale=1.0, slide=slide, corners=lambda _: corners)
    with ThreadPoolExecutor(2) as pool:
        tiles = Tiles(grid, np.zeros((3, 2), np.int64), pool, STAINED)
        normalised = tiles.gather(np.arange(3))
    np.testing.assert_array_equal(normalised, every(made.stores[STAINED])[:3])


def test_a_run_of_normalised_stain_is_not_exported(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="stain normalisation 'macenko', which no exported file computes") as caught:
        export.export_run(made.runs[STAINED], tmp_path / "model.ts", resolve("cpu"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
