"""Several slides in one call: a folder and a row each, one bad slide among them, and the same call again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fastpath.cli.main import app
from fastpath.errors import DataError, UsageError
from fastpath.workflows.slide import slide, slide_files, slide_lesions

pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")
pytestmark = [pytest.mark.e2e, pytest.mark.dali]

SQUARE = "lesion,x,y\na,0,0\na,150,0\na,150,150\na,0,150\n"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A good slide, one that is no image, and another good one."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    for name in ("first", "last"):
        Image.fromarray(rng.integers(60, 200, (200, 220, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "bad.svs").write_text("no image")
    return [folder / name for name in ("first.png", "bad.svs", "last.png")]


def _invoke(run: Path, images: list[Path], *more: object) -> Result:
    words = ["slide", str(run), *map(str, images), "--mpp", "0.97", "--device", "cpu", *map(str, more)]
    return CliRunner().invoke(app, words)


def test_one_bad_slide_does_not_end_the_others(learned: Path, images: list[Path], tmp_path: Path) -> None:
    outcome = _invoke(learned, images, "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 1, outcome.output
    summary = json.loads(outcome.stdout)
    assert (summary["num_slides"], summary["num_failed"]) == (3, 1)
    assert [row["status"] for row in summary["slides"]] == ["scored", "failed", "scored"]
    assert "bad.svs has no score" in outcome.stderr
    assert "is not an image that OpenSlide reads" in summary["slides"][1]["problem"]
    table = pd.read_csv(tmp_path / "out" / "scored.csv").set_index("slide")
    assert table.status.tolist() == ["scored", "failed", "scored"]
    for name in ("first", "last"):
        facts = json.loads((tmp_path / "out" / name / slide_files.FACTS).read_text())
        row = table.loc[f"{name}.png"]
        assert row.num_tiles == facts["num_tiles"] > 0
        assert row.score_max == pytest.approx(facts["scores"]["max"])
        assert row.num_called == facts["num_called"]
    assert table.loc["bad.svs"].isna()[["num_tiles", "score_max", "called_mm2"]].all()
    assert not (tmp_path / "out" / "bad").exists()
    shown = _invoke(learned, images, "-o", tmp_path / "out")
    assert shown.exit_code == 1
    assert "3 slides, 1 failed" in shown.stdout
    assert all(path.name in shown.stdout for path in images)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "first",
        "last",
        "scored.csv",
        "scored.json",
        "run.log",
    }
    pooled = CliRunner().invoke(app, ["slide", "--pool", str(tmp_path / "out"), "-o", str(tmp_path / "all")])
    assert "found 1 slides that have no score: bad.svs" in str(pooled.exception)


def test_the_same_call_again_keeps_what_is_scored_from_the_same(
    learned: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, out = [images[0], images[2]], tmp_path / "out"
    assert _invoke(learned, good, "-o", out).exit_code == 0
    (out / "last" / "top_tiles.png").unlink()

    def statuses(*more: object) -> list[str]:
        outcome = _invoke(learned, good, "-o", out, "--json", *more)
        assert outcome.exit_code == 0, outcome.output
        return [row["status"] for row in json.loads(outcome.stdout)["slides"]]

    assert statuses() == ["kept", "scored"]  # of the second, a file was missing
    before = pd.read_csv(out / "scored.csv")
    assert statuses() == ["kept", "kept"]
    pd.testing.assert_frame_equal(before.drop(columns="status"), pd.read_csv(out / "scored.csv").drop(columns="status"))
    assert statuses("--threshold", 0.4) == ["scored", "scored"]
    monkeypatch.setattr(slide, "portions", lambda *_: pytest.fail("scored again"))
    assert statuses("--threshold", 0.4) == ["kept", "kept"]


def test_each_slide_has_its_lesions_from_a_folder(learned: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "lesions").mkdir()
    (tmp_path / "lesions" / "first.csv").write_text(SQUARE)
    good = [images[0], images[2]]
    outcome = _invoke(learned, good, "--lesions", tmp_path / "lesions", "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 1
    first, last = json.loads(outcome.stdout)["slides"]
    assert 0 <= first["tile_auc"] <= 1
    assert "found no last.geojson" in last["problem"]
    (tmp_path / "lesions" / "last.csv").write_text(SQUARE)
    outcome = _invoke(learned, good, "--lesions", tmp_path / "lesions", "-o", tmp_path / "out", "--json")
    assert [row["status"] for row in json.loads(outcome.stdout)["slides"]] == ["kept", "scored"]
    (tmp_path / "lesions" / "last.xml").write_text("<a/>")
    with pytest.raises(DataError, match=r"found last\.xml and last\.csv, wanted one file"):
        slide_lesions.lesions_of(tmp_path / "lesions", images[2])


def test_what_is_wrong_with_all_is_told_before_any_is_scored(learned: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(SQUARE)
    for arguments, phrase in (
        ([images[0], images[0]], "found 2 slides called 'first'"),
        ([images[0], images[2], "--lesions", tmp_path / "a.csv"], "found one file for 2 slides"),
    ):
        outcome = _invoke(learned, arguments[:2], *arguments[2:], "-o", tmp_path / "out")
        assert isinstance(outcome.exception, UsageError)
        assert phrase in str(outcome.exception)
        assert not (tmp_path / "out").exists()
