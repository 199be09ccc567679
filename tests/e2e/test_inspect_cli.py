"""`fastpath inspect` as a user runs it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import CliRunner, Result

from fastpath.cli.main import app
from fastpath.errors import StoreError
from fastpath.ingest.split import write_split
from fastpath.store.reader import open_store
from fastpath.system import run_log
from fastpath.workflows import pack

pytestmark = pytest.mark.e2e

HOSTILE = "<script>alert(1)</script>"


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic patches with known slides, a black patch, a copy under another label, and a hostile slide name."""
    folder = tmp_path_factory.mktemp("inspect")
    source = shutil.copytree(kaggle_folder, folder / "source")
    labels = pd.read_csv(source / "train_labels.csv")
    groups = pd.read_csv(source / "groups.csv")
    positive = labels.loc[labels["label"] == 1, "id"].iloc[0]
    shutil.copy(source / "train" / f"{positive}.tif", source / "train" / "copy.tif")
    tifffile.imwrite(source / "train" / "black.tif", np.zeros((96, 96, 3), np.uint8))
    with (source / "train_labels.csv").open("a", newline="") as file:
        csv.writer(file).writerows([("copy", 0), ("black", 0)])
    others = groups.loc[groups["id"] != positive, "wsi"].unique()
    with (source / "groups.csv").open("a", newline="") as file:
        csv.writer(file).writerows([("copy", others[0]), ("black", HOSTILE)])
    pack.pack_source(source, folder / "store", workers=1)
    return folder / "store"


@pytest.fixture(scope="module")
def inspected(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("inspected") / "out"
    outcome = _invoke(store, "-o", output)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.endswith(f"→ {output / 'report.html'}\n")
    return output


def test_numbers_are_those_of_the_store(store: Path, inspected: Path) -> None:
    facts, opened = json.loads((inspected / "inspect.json").read_text()), open_store(store)
    positive = int((opened.labels_N == 1).sum())
    assert facts["labels"] == {
        "patches": 98,
        "negative": 98 - positive,
        "positive": positive,
        "unlabelled": 0,
        "positive_share": positive / 98,
    }
    pixels = opened.gather(np.arange(98)).reshape(-1, 3) / 255
    np.testing.assert_allclose(facts["channels"]["all"]["mean"], pixels.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(facts["channels"]["all"]["std"], pixels.std(axis=0), atol=1e-9)
    assert facts["channels"]["notebook"]["mean"] == [0.6999, 0.5416, 0.6931]
    histograms = np.array([facts["histograms"][name] for name in ("negative", "positive")])
    assert histograms.sum(axis=(0, 2)).tolist() == [98 * 96 * 96] * 3
    assert facts["split"]["kind"] == "group"
    # The planted copy may straddle the parts; the slides do not.
    assert "groups have patches in both" not in facts["split"]["leak"]
    assert sum(part["patches"] for part in facts["split"]["parts"].values()) == 98
    assert facts["slides"]["num_slides"] == 7
    assert sum(row["positive"] for row in facts["slides"]["table"]) == positive
    assert all(len(row["parts"]) == 1 for row in facts["slides"]["table"])


def test_flags_and_duplicates_are_named(inspected: Path) -> None:
    facts = json.loads((inspected / "inspect.json").read_text())
    assert facts["flags"]["by_flag"]["black"]["ids"] == ["black"]
    assert facts["duplicates"]["sets"] == facts["duplicates"]["conflicting_sets"] == 1
    [duplicates] = facts["duplicates"]["listed"]
    assert "copy" in duplicates["ids"]
    assert sorted(duplicates["labels"]) == [0, 1]
    assert duplicates["straddles"] == (len(set(duplicates["parts"])) == 2)
    assert any("carry both labels" in notice for notice in facts["notices"])
    assert any("1 black" in notice for notice in facts["notices"])


def test_the_page_holds_its_pictures_and_fetches_nothing(inspected: Path) -> None:
    page = (inspected / "report.html").read_text(encoding="utf-8")
    facts = json.loads((inspected / "inspect.json").read_text())
    written = {path.name for path in inspected.iterdir()}
    assert written == {*facts["pictures"], "report.html", "inspect.json", "run.log"}
    expected = {"balance", "samples", "samples_negative", "samples_positive", "histogram_red", "histogram_green"}
    expected |= {
        "histogram_blue",
        "brightness_saturation",
        "mean_difference",
        "stains",
        "slides",
        "slide_shares",
        "flagged",
    }
    assert {Path(name).stem for name in facts["pictures"]} == expected
    assert page.count("<img") == len(expected)
    assert all(reference.startswith("data:") for reference in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert not re.search(r"https?://|url\(|@import|<script|<link rel=.stylesheet", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("copy") == 1  # the duplicate, in the table


def test_the_same_store_gives_the_same_bytes(store: Path, inspected: Path, tmp_path: Path) -> None:
    outcome = _invoke(store, "-o", tmp_path / "again", "--json", "-q")
    assert json.loads(outcome.stdout)["conflicting_sets"] == 1
    assert all(line.startswith("note: ") for line in outcome.stderr.splitlines())
    for path in (path for path in inspected.iterdir() if path.name != run_log.NAME):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_random_split_of_known_slides_is_said_to_leak(store: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(store, tmp_path / "store")
    write_split(open_store(copy), "random")
    outcome = _invoke(copy)
    assert outcome.exit_code == 0
    assert "this split leaks: " in outcome.stderr.lower()
    page = (tmp_path / "store-inspect" / "report.html").read_text(encoding="utf-8")
    assert "This split leaks: " in page


def test_unlabelled_patches_without_slides_or_split_have_a_page_too(kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder / "test", tmp_path / "store", workers=1)
    outcome = _invoke(tmp_path / "store", "-o", tmp_path / "out", "--json")
    values = json.loads(outcome.stdout)
    assert (values["patches"], values["unlabelled"], values["slides"]) == (8, 8, 0)
    assert any("8 of 8 patches have no label" in notice for notice in values["notices"])
    facts = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert facts["split"] is None
    assert facts["labels"]["positive_share"] is None
    assert "mean_difference.png" not in facts["pictures"]
    assert "samples_unlabelled.png" in facts["pictures"]


def test_blank_patches_have_no_stains_and_no_crash(tmp_path: Path) -> None:
    folder = tmp_path / "blank"
    folder.mkdir()
    for number, level in enumerate((0, 90, 255)):
        tifffile.imwrite(folder / f"{number}.tif", np.full((48, 48, 3), level, np.uint8))
    pack.pack_source(folder, tmp_path / "store", workers=1)
    assert _invoke(tmp_path / "store", "-o", tmp_path / "out").exit_code == 0
    facts = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert facts["stains"] is None
    assert "enough tissue" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_what_is_no_store_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    outcome = _invoke(tmp_path, "-o", tmp_path / "out")
    assert isinstance(outcome.exception, StoreError)
    assert list(tmp_path.iterdir()) == []


def test_real_patches(sample_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(sample_folder, tmp_path / "store")
    outcome = _invoke(tmp_path / "store", "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 0
    facts = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert facts["labels"]["patches"] == 5000
    haematoxylin, eosin = facts["stains"]["haematoxylin"]["median"], facts["stains"]["eosin"]["median"]
    assert haematoxylin[0] > eosin[0] + 0.1  # haematoxylin absorbs red, eosin hardly
    assert facts["stains"]["estimated"] > 0.8 * facts["stains"]["sampled"]
    assert (tmp_path / "out" / "report.html").stat().st_size < 5_000_000
