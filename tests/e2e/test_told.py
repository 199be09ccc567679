"""No number of patches that were trained on, chosen by or pooled stands in any output without saying so.

One store of train, validation and test patches, and every command that measures a network on them: what it prints,
what it answers with --json, and every file it leaves.
"""

from __future__ import annotations

import html
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from tiny_recipe import tiny_recipe

from fastpath.cli.main import app
from fastpath.ingest.split import write_split
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

RECIPE = tiny_recipe(2, "natural")

TRAINED, CHOSE = "were trained on", "chose the epoch"
INCLUDE_VAL = "validation patches are trained on too"
BEST = "the best of 2 epochs"
SETTINGS = "the best of 2 settings"
HONEST = "fastpath split --test 0.1"

# Commands that measure no network on labelled patches: what they tell is of pixels, files or speed.
SILENT = {
    "config",
    "embed",
    "models",
    "audit",
    "bench",
    "doctor",
    "inspect",
    "merge",
    "pack",
    "repair",
    "show",
    "split",
    "verify",
}
# Told elsewhere: demo is an evaluation (tests/e2e/test_demo_cli.py), and so is a probe (tests/workflows/probe).
ELSEWHERE = {"demo", "probe"}


STORE, FOLDED, RECIPE_FILE = "@store", "@folded", "@recipe.toml"
KNOWN = "@known"
"""The picture of a slide whose patches were trained on."""
FIRST, SECOND = (f"@sweep/runs/0{at}-optim.lr_head={rate}/seed-42" for at, rate in enumerate(("0.001", "0.01")))
TRAIN = ("--config", RECIPE_FILE, "--device", "cpu")
TEST = "@eval-test/predictions.parquet"

Case = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Arguments, where `@` stands for the folder; what every output must say; what none may."""
FAST: dict[str, Case] = {
    "train": (("train", STORE, "-o", "@run", *TRAIN), (BEST, HONEST), (TRAINED,)),
    "evaluate test": (("evaluate", "@run", "--split", "test", "-o", "@eval-test"), (), (TRAINED, CHOSE)),
    "predict": (
        ("predict", "@run", "--store", STORE, "-o", "@all.csv", "--table", "@all.parquet"),
        (TRAINED, CHOSE),
        (),
    ),
    "slide of test": (("slide", "--table", TEST, "-o", "@slides-test"), (), (TRAINED, CHOSE)),
    "slide of all": (("slide", "--table", "@all.parquet", "-o", "@slides"), (TRAINED, CHOSE), ()),
    "compare tables": (("compare", "@all.parquet", "@other.parquet", "-o", "@tables"), (TRAINED, CHOSE), ()),
    "mine": (("mine", "@run", "-o", "@mined.csv"), ("losses are of the training patches themselves",), ()),
    "train on validation patches": (
        ("train", STORE, "-o", "@final", "--set", "train.include_val=true", "--set", "train.epochs=1", *TRAIN),
        (INCLUDE_VAL,),
        (BEST,),
    ),
    "evaluate final": (("evaluate", "@final"), (TRAINED,), ()),
    "export": (("export", "@final", "-o", "@model.ts"), ("trained on",), ()),
}
CASES: dict[str, Case] = {
    **FAST,
    "sweep": (
        ("sweep", STORE, "-o", "@sweep", "--grid", "optim.lr_head=0.001,0.01", *TRAIN),
        (BEST, SETTINGS, HONEST),
        (TRAINED,),
    ),
    "train --folds": (("train", FOLDED, "-o", "@folds", "--folds", "2", *TRAIN), (BEST, HONEST), (TRAINED,)),
    "leak": (
        ("compare", "--splits", "random,group", STORE, "-o", "@leak", *TRAIN),
        (BEST, HONEST),
        (TRAINED,),
    ),
    "evaluate train": (("evaluate", "@run", "--split", "train", "-o", "@eval-train"), (TRAINED,), (CHOSE,)),
    "evaluate val": (("evaluate", "@run", "-o", "@eval-val"), (CHOSE, HONEST), (TRAINED, "settings")),
    "evaluate last": (("evaluate", "@run", "--checkpoint", "last", "-o", "@eval-last"), (), (TRAINED, CHOSE)),
    "evaluate a sweep's run": (("evaluate", FIRST, "-o", "@eval-sweep"), (CHOSE, "compared the 2 settings"), ()),
    "evaluate folds": (("evaluate", "@folds", "-o", "@eval-folds"), (BEST, HONEST), (TRAINED,)),
    "evaluate table": (("evaluate", "@all.parquet", "-o", "@eval-all"), (TRAINED, CHOSE), ()),
    "evaluate table of test": (("evaluate", TEST, "-o", "@eval-again"), (), (TRAINED, CHOSE)),
    "compare": (("compare", FIRST, SECOND, "-o", "@compared"), ("best epoch by these very", HONEST), (TRAINED,)),
    "explain": (("explain", "@run", "-o", "@explained", "--sample", "2"), (CHOSE,), (TRAINED,)),
    "explain train": (("explain", "@run", "--split", "train", "-o", "@seen", "--sample", "2"), (TRAINED,), (CHOSE,)),
    "evaluate elsewhere": (
        ("evaluate", "@run", "--store", "@elsewhere", "-o", "@eval-elsewhere"),
        ("have the id or the pixels of patches that were trained on",),
        (),
    ),
    "slide": (
        ("slide", "@run", KNOWN, "-o", "@scored/one", "--mpp", "0.5", "--lesions", "none"),
        ("were trained on: no number on it",),
        (),
    ),
    "slide --pool": (("slide", "--pool", "@scored", "-o", "@pooled"), ("1 of 1 slides were trained on",), ()),
    "mine folds": (("mine", "@folds", "-o", "@mined-folds.csv"), ("trained on the present validation fold",), ()),
}


def test_every_command_that_measures_is_walked() -> None:
    walked = {arguments[0] for arguments, _, _ in CASES.values()}
    assert walked | SILENT | ELSEWHERE == set(app.list_commands(click.Context(app)))
    assert not walked & (SILENT | ELSEWHERE)


@pytest.mark.parametrize(
    "cases", [pytest.param(FAST, id="some"), pytest.param(CASES, id="all", marks=pytest.mark.slow)]
)
def test_every_output_says_what_its_patches_are(cases: dict[str, Case], kaggle_folder: Path, tmp_path: Path) -> None:
    _prepare(tmp_path, kaggle_folder)
    wrong = []
    for name, (arguments, wanted, unwanted) in cases.items():
        for what, text in _texts(tmp_path, arguments).items():
            wrong += [
                f"{name}: {what} does not say '{phrase}': {text[:500]}" for phrase in wanted if phrase not in text
            ]
            wrong += [f"{name}: {what} says '{phrase}': {text[:500]}" for phrase in unwanted if phrase in text]
    assert not wrong, "\n".join(wrong)
    _check_test_split(tmp_path)
    _check_words(tmp_path)
    assert not (tmp_path / "final" / "calibration.json").exists()
    card = json.loads((tmp_path / "model.ts.card.json").read_text())
    assert card["evaluations"] == []
    assert "the validation split was trained on too (train.include_val)" in card["selection"]["told"]


def _prepare(place: Path, kaggle_folder: Path) -> None:
    """Make a store of three parts, and another of folds and a test part."""
    (place / "recipe.toml").write_text(RECIPE)
    _run(place, "pack", kaggle_folder, "-o", place / "store")
    write_split(open_store(place / "store"), "random", val=0.25, test=0.25)
    shutil.copytree(place / "store", place / "folded")
    write_split(open_store(place / "folded"), "random", folds=2, test=0.25)
    store = open_store(place / "store")
    (place / "some.csv").write_text("\n".join(["id", *store.ids_N[:60]]))
    _run(place, "pack", kaggle_folder, "-o", place / "elsewhere", "--only", place / "some.csv")
    assert store.groups_N is not None
    (place / "known").mkdir()
    pixels = np.random.default_rng(0).integers(60, 200, (200, 220, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "known" / f"{store.groups_N[read_split(store).rows(Split.TRAIN)[0]]}.png")


def _check_test_split(place: Path) -> None:
    """The numbers of a test split are of it alone, also where its table is judged again."""
    reports = [json.loads(path.read_text()) for path in sorted(place.glob("eval-[ta][eg][sa]*/metrics.json"))]
    assert reports
    for report in reports:
        assert (
            report["num_patches"] == report["parts"]["held"]["num_patches"] == sum(report["confusion"].values()) == 24
        )
        assert report["operating_points"] == reports[0]["operating_points"]
    assert json.loads((place / "slides-test" / "slides.json").read_text())["num_patches"] == 24


def _check_words(place: Path) -> None:
    """Tables say it patch by patch."""
    words = {
        "eval-train/predictions.parquet": {"trained on"},
        "eval-val/predictions.parquet": {"chose the epoch"},
        "eval-test/predictions.parquet": {"chose the epoch", "held out"},
        "all.parquet": {"trained on", "chose the epoch", "held out"},
        "folds/out_of_fold.parquet": {"chose the epoch"},
    }
    for name, wanted in words.items():
        if (place / name).exists():
            assert set(pd.read_parquet(place / name).history) == wanted, name


def _texts(place: Path, arguments: tuple[str, ...]) -> dict[str, str]:
    """Run a command and return each thing it says as one line of text: to people, to programs, in files."""
    if "@other.parquet" in arguments:  # the same patches by another score
        table = pd.read_parquet(place / "all.parquet")
        table.assign(logit=table.logit + 0.1 * (table.index % 7)).to_parquet(place / "other.parquet", index=False)
    if "--pool" in arguments:  # a lesion to find, which the picture has not
        path = place / "scored" / "one" / "slide.json"
        lesions = {"num_lesions": 1, "lesion_scores": [0.9], "false_alarms": []}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"lesions": lesions}))
    picture = next((place / "known").iterdir())
    arguments = tuple(f"@known/{picture.name}" if part == KNOWN else part for part in arguments)
    filled = [part.replace("@", f"{place}/") if part.startswith("@") else part for part in arguments]
    answer, stderr = _run(place, *filled, "--json")
    texts = {"JSON": " ".join(_strings(json.loads(answer))), "console": " ".join(stderr.split())}
    return texts | {path.name: _plain(path) for path in _files(arguments, filled)}


def _files(arguments: tuple[str, ...], filled: list[str]) -> Iterator[Path]:
    """Yield the documents that a command leaves: those with a measure of its own."""
    output = Path(filled[filled.index("-o") + 1]) if "-o" in filled else Path(filled[1]) / "evaluation-val"
    names = {
        "sweep": ["result.json"],
        "train": ["folds.json"] if "--folds" in arguments else ["run.json"],
        "evaluate": ["metrics.json", "report.html"],
        "compare": ["leak.json" if "--splits" in arguments else "comparison.json"],
        "explain": ["explain.json"],
        "slide": ["pool.json" if "--pool" in arguments else "slides.json" if "--table" in arguments else "slide.json"],
    }
    for name in names.get(arguments[0], ()):
        yield output / name
    if arguments[0] == "export":
        yield from (output.with_name(f"{output.name}.card.{end}") for end in ("json", "md"))


def _plain(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return " ".join(_strings(json.loads(text)))
    return html.unescape(text.split("<main>")[-1] if path.suffix == ".html" else text)


def _strings(values: Any) -> Iterator[str]:
    """Yield every text within plain values."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _strings(value)
    elif isinstance(values, list):
        for value in values:
            yield from _strings(value)


def _run(place: Path, *arguments: object) -> tuple[str, str]:
    """Run a command; return what it prints as its result, and beside that."""
    outcome = CliRunner(env={"COLUMNS": "400"}).invoke(app, list(map(str, arguments)))
    assert outcome.exit_code == 0, (arguments, outcome.output, outcome.exception)
    return outcome.stdout.replace(str(place), ""), outcome.stderr.replace(str(place), "")
