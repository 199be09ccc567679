"""What programs rely on stays: each command's exit status, the keys and types of its JSON, and the files it leaves.

`outputs.json` is what each command gave at some time. More may be added; nothing of it may go or become another type.
Run this file to write it anew, once what is in it is meant to change, and say so in the changelog:

    python tests/e2e/test_outputs.py
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fastpath.cli.main import app

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

KNOWN = Path(__file__).with_name("outputs.json")
TRAIN = ("--config", "@recipe.toml", "--device", "cpu")
FIRST, SECOND = (f"@sweep/runs/0{at}-optim.lr_head={rate}/seed-42" for at, rate in enumerate(("0.001", "0.01")))
DAMAGE = "damage"

Arguments = tuple[str, ...]
"""Of a command, where `@` stands for the folder."""
FAST: dict[str, Arguments] = {
    "pack": ("pack", "@source", "-o", "@store"),
    "verify": ("verify", "@store", "--source", "@source"),
    "split": ("split", "@store", "--kind", "random", "--val", "0.3", "--test", "0.1"),
    "inspect": ("inspect", "@store"),
    "show": ("show", "@store", "--epoch", "1", "--position", "2", "-o", "@shown", "--config", "@recipe.toml"),
    "train": ("train", "@store", "-o", "@run", *TRAIN),
    "evaluate": ("evaluate", "@run"),
    "evaluate test": ("evaluate", "@run", "--split", "test", "--tta", "d4", "-o", "@test"),
    "predict": ("predict", "@run", "--store", "@store", "-o", "@scores.csv", "--table", "@scores.parquet"),
    "export": ("export", "@run", "-o", "@model.ts"),
    "config list": ("config", "list"),
    "config show": ("config", "show", "notebook"),
    "config keys": ("config", "keys", "optim"),
    "models": ("models", "test_resnet*"),
}
CASES: dict[str, Arguments] = FAST | {
    "doctor": ("doctor",),
    "merge": ("merge", "@store", "@other", "-o", "@merged"),
    "repair": ("repair", DAMAGE, "--source", "@source"),
    "evaluate elsewhere": ("evaluate", "@run", "--store", "@other", "-o", "@elsewhere"),
    "evaluate table": ("evaluate", "@scores.parquet", "-o", "@table"),
    "explain": ("explain", "@run", "-o", "@why", "--sample", "2"),
    "mine": ("mine", "@run", "-o", "@mined.parquet"),
    "audit": ("audit", "@store", "-o", "@audit"),
    "slide": ("slide", "@run", "@slide.png", "-o", "@scored/one", "--mpp", "0.5"),
    "slides of a table": ("slide", "--table", "@scores.parquet", "-o", "@slides"),
    "sweep": ("sweep", "@store", "-o", "@sweep", "--grid", "optim.lr_head=0.001,0.01", *TRAIN),
    "compare": ("compare", FIRST, SECOND, "-o", "@compared"),
    "split folds": ("split", "@other", "--folds", "2"),
    "folds": ("train", "@other", "-o", "@folds", "--folds", "2", *TRAIN),
    "leak": ("compare", "--splits", "random,group", "@other", "-o", "@leak", *TRAIN),
    "embed": ("embed", "@store", "-o", "@features", "--model", "local-dir:@vit", "--device", "cpu"),
    "probe": ("probe", "@features", "-o", "@probed", "--device", "cpu"),
    "no store": ("train", "@nowhere", "-o", "@never"),
    "no such option": ("train", "--wrong"),
}


def form(value: Any) -> Any:
    """Return a JSON value's keys and types; of a list, those of its first."""
    if isinstance(value, Mapping):
        return {str(key): form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if number else type(value).__name__


def observe(place: Path, cases: Mapping[str, Arguments]) -> dict[str, Any]:
    """Return what each command gives: its exit status, its JSON's form, and the files that it adds."""
    prepare(place)
    observed = {}
    for name, arguments in cases.items():
        if DAMAGE in arguments:
            shard = next(iter((place / "merged").glob("shard-*.npy")))
            shutil.copytree(place / "store", place / "damaged")
            (place / "damaged" / shard.name).write_bytes(b"\0" * 100)
        before = files(place)
        filled = [str(place / "damaged") if part == DAMAGE else part.replace("@", f"{place}/", 1) for part in arguments]
        outcome = CliRunner().invoke(app, [*filled, "--json"] if "--wrong" not in filled else filled)
        answer = json.loads(outcome.stdout) if outcome.stdout.startswith("{") else None
        observed[name] = {
            "exit": outcome.exit_code,
            "json": form(answer),
            "files": {path: form_of(place / path) for path in sorted(files(place) - before)},
        }
    return observed


def form_of(path: Path) -> Any:
    return form(json.loads(path.read_text(encoding="utf-8"))) if path.suffix == ".json" else None


def files(place: Path) -> set[str]:
    """Return every file, by its path within the folder; a lock is none. Of numbered pictures, the first of each kind:

    how many there are is what a network made of the patches.
    """
    names = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    return {name for name in names if not re.search(r"(^|/)\.[^/]*$|/pictures/\w+-(?!00001)\d{5}\.", name)}


def prepare(place: Path) -> None:
    import tiny_encoder  # of tests/writers
    import tiny_recipe

    from fastpath.ingest.synth import write_kaggle_folder

    tiny_encoder.write_encoder(place / "vit")
    (place / "recipe.toml").write_text(tiny_recipe.tiny_recipe(2))
    write_kaggle_folder(place / "source", num_train=96, num_test=8, num_slides=6, seed=1)
    write_kaggle_folder(place / "second", num_train=64, num_test=0, num_slides=6, seed=2)
    assert CliRunner().invoke(app, ["pack", str(place / "second"), "-o", str(place / "other")]).exit_code == 0
    pixels = np.random.default_rng(0).integers(60, 200, (200, 220, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "slide.png")


def missing(known: Any, present: Any, location: str) -> list[str]:
    """Return what was there and is not, or is of another type; what may be null may be so today."""
    if "NoneType" in (known, present):
        return []
    if isinstance(known, dict) and isinstance(present, dict):
        gone = [f"{location}.{key} is gone" for key in known if key not in present]
        return gone + [
            line for key in known if key in present for line in missing(known[key], present[key], f"{location}.{key}")
        ]
    if isinstance(known, list) and isinstance(present, list):
        return missing(known[0], present[0], f"{location}[]") if known and present else []
    return [] if known == present else [f"{location} was {known}, is {present}"]


@pytest.mark.parametrize(
    "cases", [pytest.param(FAST, id="some"), pytest.param(CASES, id="all", marks=pytest.mark.slow)]
)
def test_nothing_that_programs_rely_on_is_gone(cases: dict[str, Arguments], tmp_path: Path) -> None:
    known = json.loads(KNOWN.read_text(encoding="utf-8"))
    observed = observe(tmp_path, cases)
    assert set(cases) <= set(known)
    assert [line for name in cases for line in missing(known[name], observed[name], name)] == []


if __name__ == "__main__":
    sys.path.insert(0, str(KNOWN.parents[1] / "writers"))
    with tempfile.TemporaryDirectory() as folder:
        KNOWN.write_text(json.dumps(observe(Path(folder), CASES), indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"{KNOWN}\n")
