from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tiny_encoder
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from fastpath.cli.main import app
from fastpath.errors import UsageError
from fastpath.ingest.split import write_split
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.runtime import resolve
from fastpath.store import feature_writer, features
from fastpath.store.reader import open_store
from fastpath.workflows import embed, pack

pytestmark = [pytest.mark.dali, pytest.mark.e2e]


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A store of 200 patches of ten slides with a test part, and an encoder."""

    def fill(folder: Path) -> None:
        write_kaggle_folder(folder / "patches", num_train=200, num_test=0, num_slides=10, seed=3)
        pack.pack_source(folder / "patches", folder / "store", workers=1)
        write_split(open_store(folder / "store"), test=0.2)
        tiny_encoder.write_encoder(folder / "vit")

    return once("embedded", fill)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> NoReturn:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refused)


def embedded(made: Path, output: Path, **options: Any) -> embed.EmbedResult:
    return embed.embed_store(made / "store", output, f"local-dir:{made / 'vit'}", resolve("cpu"), **options)


def test_features_are_those_of_the_encoder_on_its_own_inputs(made: Path, tmp_path: Path) -> None:
    result, store = embedded(made, tmp_path / "out"), open_store(made / "store")
    embeddings = features.open_features(tmp_path / "out")
    # What timm's own preprocessing does, less its crop: to 0..1, its mean and deviation, the encoder's size.
    pixels = torch.from_numpy(store.gather(np.arange(len(store)))).permute(0, 3, 1, 2).float() / 255
    small = torch.nn.functional.interpolate(pixels, size=(32, 32), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (tiny_encoder.MEAN, tiny_encoder.STD))
    with torch.inference_mode():
        wanted = tiny_encoder.make()((small - mean) / std).numpy()
    assert np.abs(embeddings.read() - wanted).max() < 0.02
    assert np.abs(embeddings.read() - wanted[::-1]).max() > 0.1
    assert result.embedded == result.num_patches == len(store)
    assert embeddings.rows["id"].tolist() == store.ids_N.tolist()
    assert embeddings.rows["group"].tolist() == store.groups_N.tolist()
    assert embeddings.rows["label"].tolist() == store.labels_N.tolist()
    assert set(embeddings.rows["part"]) == {"train", "val", "test"}
    assert embeddings.manifest.origin.store_fingerprint == store.fingerprint


def test_embedding_again_asks_the_encoder_for_nothing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded(made, tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(embed, "shards", lambda *_: pytest.fail("embedded again"))
    assert embedded(made, tmp_path / "out").embedded == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (feature_writer, embed):
        monkeypatch.setattr(module, "SHARD_ROWS", embed.BATCH)
    embedded(made, tmp_path / "whole")

    def stop(done: int, _total: int) -> None:
        if done > 2 * embed.BATCH:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedded(made, tmp_path / "out", advance=stop)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npy")) == [features.shard_name(at) for at in (0, 1)]
    progress: list[tuple[int, int]] = []
    result = embedded(made, tmp_path / "out", advance=lambda done, total: progress.append((done, total)))
    assert result.embedded == 200 - 2 * embed.BATCH
    assert progress[0] == (3 * embed.BATCH, 200)
    whole, out = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != "run.log"}
        for name in ("whole", "out")
    )
    assert whole == out


def test_other_weights_are_other_features(made: Path, tmp_path: Path) -> None:
    state = load_file(made / "vit" / "model.safetensors")
    save_file({name: value * 1.01 for name, value in state.items()}, tmp_path / "other.safetensors")
    embedded(made, tmp_path / "out")
    with pytest.raises(UsageError, match="is of another weights_hash"):
        embedded(made, tmp_path / "out", weights=tmp_path / "other.safetensors")
    embedded(made, tmp_path / "other", weights=tmp_path / "other.safetensors")
    first, second = (features.open_features(tmp_path / name).read() for name in ("out", "other"))
    assert not np.array_equal(first, second)


def test_a_store_without_labels_slides_or_split_is_embedded(made: Path, tmp_path: Path) -> None:
    write_kaggle_folder(tmp_path / "patches", num_train=4, num_test=20, num_slides=2, seed=1)
    pack.pack_source(tmp_path / "patches" / "test", tmp_path / "store", workers=1)
    embed.embed_store(tmp_path / "store", tmp_path / "out", f"local-dir:{made / 'vit'}", resolve("cpu"))
    embeddings = features.open_features(tmp_path / "out")
    assert embeddings.manifest.split is None
    assert set(embeddings.rows["label"]) == {-1}
    assert embeddings.rows["part"].isna().all()
    assert embeddings.rows["group"].isna().all()


def test_precision_is_decided_by_the_encoders_own_passes(
    made: Path, tmp_path: Path, cpu_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastpath.runs import precision

    monkeypatch.setenv("FASTPATH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "gain", lambda plain, mixed: (plain(), mixed(), 1.5)[2])
    result = embed.embed_store(
        made / "store", tmp_path / "out", f"local-dir:{made / 'vit'}", resolve("cpu", precision="auto")
    )
    assert result.precision == ("bfloat16" if cpu_bfloat16 else "float32")
    assert features.open_features(tmp_path / "out").manifest.origin.precision == result.precision


def test_the_command_tells_the_licence(made: Path, tmp_path: Path) -> None:
    tiny_encoder.write_encoder(tmp_path / "bare", licence=None)
    for encoder, licence in ((made / "vit", "'apache-2.0'"), (tmp_path / "bare", "states no licence")):
        output, name = str(tmp_path / f"out-{encoder.name}"), f"local-dir:{encoder}"
        outcome = CliRunner().invoke(app, ["embed", str(made / "store"), "-o", output, "--model", name, "--json"])
        assert outcome.exit_code == 0, outcome.output
        assert any(licence in notice for notice in json.loads(outcome.stdout)["notices"])
        assert licence in outcome.stderr
    assert str(made) not in (tmp_path / "out-vit" / "features.json").read_text()


@pytest.mark.slow
def test_memory_is_flat_over_many_patches(made: Path, tmp_path: Path) -> None:
    from benchmarks.suites.predict import Repeated, anonymous_mib

    memory: list[float] = []
    many = Repeated(open_store(made / "store"), 50_000)
    encoder = embed.load_encoder(f"local-dir:{made / 'vit'}")
    for shard_ND in embed.shards(encoder, many, np.arange(len(many)), resolve("cpu")):  # type: ignore[arg-type]
        memory.append(anonymous_mib())
        assert len(shard_ND)
    assert max(memory[-5:]) < max(memory[3:8]) + 30
