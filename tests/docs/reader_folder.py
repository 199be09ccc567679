"""What a reader of the documentation has before a page's first command: small things, drawn for the purpose."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.ingest import tissue
from fastpath.ingest.synth import write_kaggle_folder

SIDE = 96
SETTINGS = {
    "model.name": "test_resnet",
    "model.pretrained": "false",
    "data.image_size_px": "32",
    "data.batch_size": "16",
}
TINY = ("--device", "cpu", *(word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")))
"""What makes any recipe of pretrained networks one of seconds, with no weights to download."""

Made = Callable[[str], Path]
"""Returns something drawn, by its name in `MAKERS`."""


def fastpath(*arguments: object) -> None:
    """Run a command that prepares something."""
    done = CliRunner().invoke(app, [*map(str, arguments), "-q"])
    assert done.exit_code == 0, repr(done.exception)


def patches(path: Path, made: Made, *, num_train: int = 96, seed: int = 1) -> None:
    """Patches of ten slides and some unlabelled, in Kaggle's layout."""
    write_kaggle_folder(path, num_train=num_train, num_test=8, num_slides=10, seed=seed)


def patches_of_unknown_slides(path: Path, made: Made) -> None:
    """The patches as Kaggle gives them."""
    shutil.copytree(made("patches"), path)
    (path / "groups.csv").unlink()


def store(path: Path, made: Made, source: str = "patches") -> None:
    """A packed store."""
    fastpath("pack", made(source), "-o", path, "--workers", 1)


def unlabelled_store(path: Path, made: Made) -> None:
    """A store of patches whose labels nobody knows."""
    fastpath("pack", made("other patches") / "test", "-o", path, "--workers", 1)


def run(path: Path, made: Made, seed: int = 1) -> None:
    """A run on the store."""
    fastpath("train", made("store"), "-o", path, "--seed", seed, "--epochs", 1, *TINY)


def predictions(path: Path, made: Made) -> None:
    """A table of patches with slides, labels and scores."""
    rng = np.random.default_rng(1)
    labels_N = np.arange(80) % 2
    slides = [f"slide-{row // 8}" for row in range(80)]
    logits_N = rng.normal(2 * labels_N - 1)
    facts = {"id": [f"patch-{row}" for row in range(80)], "group": slides, "label": labels_N, "logit": logits_N}
    facts["probability"] = 1 / (1 + np.exp(-logits_N))
    pd.DataFrame(facts).to_parquet(path)


def encoder(path: Path, made: Made) -> None:
    """A tiny encoder in timm's layout."""
    from tiny_encoder import write_encoder

    write_encoder(path)


def slide(path: Path, made: Made, seed: int = 1) -> None:
    """A slide of 4 by 4 patches with tumour in the middle, at 0.97 µm a pixel."""
    pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")
    labels = np.zeros((4, 4), np.int8)
    labels[1:3, 1:3] = 1
    painted = tissue.paint_patches(labels.ravel(), np.full(16, seed, np.int64), seed=seed, chunk=1)
    pixels = painted.reshape(4, 4, SIDE, SIDE, 3).transpose(0, 2, 1, 3, 4).reshape(4 * SIDE, 4 * SIDE, 3)
    per_cm = (1e4 / 0.97, 1e4 / 0.97)
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", resolution=per_cm, resolutionunit="CENTIMETER")


def lesions(path: Path, made: Made) -> None:
    """The outline of the slide's tumour, as QuPath exports it."""
    ring = [[SIDE, SIDE], [3 * SIDE, SIDE], [3 * SIDE, 3 * SIDE], [SIDE, 3 * SIDE], [SIDE, SIDE]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")


def lesions_of_slides(path: Path, made: Made) -> None:
    """An outline for each slide of the page."""
    path.mkdir()
    for name in ("IMAGE", "tumor_001", "tumor_002", "normal_001", "normal_002"):
        shutil.copy(made("lesions"), path / f"{name}.geojson")


def pcam(path: Path, made: Made) -> None:
    """PatchCamelyon as it is published, only smaller."""
    from pcam_writer import write_pcam

    write_pcam(path)


def zipped_pcam(path: Path, made: Made) -> None:
    """The same with the images compressed, as they are downloaded."""
    shutil.copytree(made("pcam"), path)
    for file in path.glob("*_x.h5"):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
        file.unlink()


def tiny_recipe(path: Path, made: Made) -> None:
    """A recipe of seconds, for commands that take no `--set`."""
    text = "".join(
        f"{key} = {value if value.isdigit() or value == 'false' else repr(value)}\n" for key, value in SETTINGS.items()
    )
    path.write_text(text + "train.epochs = 1\n", encoding="utf-8")


def folder(path: Path, made: Made) -> None:
    """An empty folder."""
    path.mkdir()


MAKERS: dict[str, Callable[[Path, Made], None]] = {
    "patches": patches,
    "other patches": lambda path, made: patches(path, made, num_train=64, seed=2),
    "patches of unknown slides": patches_of_unknown_slides,
    "store": store,
    "store of unknown slides": lambda path, made: store(path, made, "patches of unknown slides"),
    "other store": lambda path, made: store(path, made, "other patches"),
    "unlabelled store": unlabelled_store,
    "run": run,
    "second run": lambda path, made: run(path, made, seed=2),
    "predictions": predictions,
    "encoder": encoder,
    "slide": slide,
    "other slide": lambda path, made: slide(path, made, seed=2),
    "lesions": lesions,
    "lesions of slides": lesions_of_slides,
    "pcam": pcam,
    "zipped pcam": zipped_pcam,
    "tiny recipe": tiny_recipe,
    "folder": folder,
}

GIVEN: dict[str, dict[str, str]] = {
    "README.md": {
        "hcd": "patches of unknown slides",
        "patch_id_wsi_full.csv": "patches/groups.csv",
        "slide.svs": "slide",
        "elsewhere": "other store",
        "encoder": "encoder",
    },
    "docs/api.md": {"store": "store of unknown slides"},
    "docs/embed.md": {"FOLDER": "patches", "pcam": "pcam", "encoder": "encoder"},
    "docs/explain.md": {"RUN": "run"},
    "docs/export.md": {"RUN": "run", "store": "store", "patch.tif": "patches/train/*.tif"},
    "docs/installation.md": {".config/fish/completions": "folder"},
    "docs/mining.md": {
        "store": "store",
        "unlabelled": "unlabelled store",
        "runs/first": "run",
        "tiny.toml": "tiny recipe",
    },
    "docs/patchcamelyon.md": {"pcam": "zipped pcam"},
    "docs/scale.md": {"SOURCE": "patches"},
    "docs/shard-format.md": {"store": "store"},
    "docs/slides.md": {
        "RUN": "run",
        "IMAGE.svs": "slide",
        "IMAGE.tif": "slide",
        "IMAGE.geojson": "lesions",
        "FOLDER": "lesions of slides",
        "predictions.parquet": "predictions",
        "tumor_001.tif": "slide",
        "tumor_002.tif": "slide",
        "normal_001.tif": "other slide",
        "normal_002.tif": "other slide",
        "annotations": "lesions of slides",
    },
    "docs/sweeps.md": {"store": "store", "runs/baseline": "run", "runs/resnet50": "second run"},
}
"""By page, what lies in the reader's folder under which name."""


def prepare(place: Path, page: str, made: Made) -> None:
    """Copy what a page's reader has into his folder."""
    for name, kind in GIVEN.get(page, {}).items():
        kind, _, within = kind.partition("/")
        source = min(made(kind).glob(within)) if within else made(kind)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
