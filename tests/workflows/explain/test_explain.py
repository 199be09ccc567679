"""`fastpath explain` on a network whose evidence lies in the centre by construction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fastpath.analysis import metrics
from fastpath.cli.main import app
from fastpath.errors import FastpathError, UsageError
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats
from fastpath.workflows.explain import occlusion

pytestmark = [pytest.mark.e2e, pytest.mark.dali]


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


def _refusal(result: Result, kind: type[FastpathError]) -> str:
    assert isinstance(result.exception, kind), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_evidence_is_found_in_the_centre_and_nowhere_else(learned: Path, tmp_path: Path) -> None:
    outcome = _invoke(learned, "--sample", 24, "-o", tmp_path, "--json")
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    assert facts["centre_area"] == pytest.approx(1 / 9)
    for method in ("hirescam", "integrated_gradients"):  # the baseline flattens its features: see attribution.py
        assert facts["centre_mass"][method]["mean"] > 2.5 / 9, method
    assert facts["centre_mass"]["gradcam"]["mean"] > 1.2 / 9
    for method, untrained in facts["centre_mass_untrained"].items():  # what its build gives, and no more
        assert 0.5 / 9 < untrained["mean"] < 2 / 9, method
        assert untrained["mean"] < facts["centre_mass"][method]["mean"], method
    audit = facts["audit"]
    assert audit["auc"] > 0.95
    assert audit["auc_ring_masked"] > 0.9
    # Three standard errors of a ranking that knows nothing; the band given is two.
    assert abs(audit["auc_centre_masked"] - 0.5) < 1.5 * (audit["chance_high"] - 0.5)
    assert audit["num_patches"] == 256

    table = pd.read_csv(tmp_path / "attributions.csv")
    assert len(table) == facts["num_patches"] == 24
    assert table.centre_hirescam.mean() == pytest.approx(facts["centre_mass"]["hirescam"]["mean"], abs=1e-6)
    assert ((table.probability >= 0.5) == (table.label == 1)).mean() > 0.8
    with Image.open(tmp_path / "patches" / f"{table.id[0]}.png") as strip:
        assert strip.size == (4 * 96 * 4, 96 * 4)
    with Image.open(tmp_path / "explain.png") as picture:
        assert picture.height > picture.width
    assert facts["audit"]["centre_over_ring"] == pytest.approx(audit["auc_ring_masked"] - audit["auc_centre_masked"])
    verdicts = [(verdict["finding"], verdict["caution"]) for verdict in facts["verdicts"]]
    assert verdicts == [("undecided", True)]  # two slides
    assert "caution: where the network looks: " in outcome.stderr
    assert facts | {"output": 0} == json.loads((tmp_path / "explain.json").read_text()) | {"output": 0}


def test_the_worst_errors_are_explained_in_turn(learned: Path, tmp_path: Path) -> None:
    outcome = _invoke(learned, "--errors", 4, "--method", "gradcam", "--no-audit", "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    table = pd.read_csv(tmp_path / "attributions.csv")
    assert 0 < len(table) <= 4
    assert ((table.probability >= 0.5) != (table.label == 1)).all()
    assert not {"centre_hirescam", "centre_integrated_gradients"} & set(table)
    assert json.loads((tmp_path / "explain.json").read_text())["audit"] is None


def test_patches_are_named_one_after_the_other(learned: Path, tmp_path: Path) -> None:
    ids = open_store(learned.parent / "store").ids_N[[7, 3, 11]].tolist()
    arguments = ("--ids", *ids[:2], "--ids", ids[2], "--method", "hirescam", "--no-audit")
    outcome = _invoke(learned, *arguments, "-o", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert set(pd.read_csv(tmp_path / "attributions.csv").id) == set(ids)


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        (["--ids", "nobody"], "the first 'nobody'"),
        (["--errors", "2", "--sample", "3"], "wanted one of them"),
        (["astray"], "write --ids before ids"),
    ],
)
def test_a_wrong_choice_is_one_line(learned: Path, tmp_path: Path, arguments: list[str], phrase: str) -> None:
    assert phrase in _refusal(_invoke(learned, *arguments, "--no-audit", "-o", tmp_path / "out"), UsageError)
    assert not (tmp_path / "out").exists()


class _Flat:
    """One patch that counts up."""

    labels_N, patch_size_px = np.zeros(1, np.int8), 9

    def gather(self, indices_N: np.ndarray, out_NHWC: np.ndarray | None = None) -> np.ndarray:
        return np.arange(9 * 9 * 3, dtype=np.uint8).reshape(1, 9, 9, 3)[indices_N]


def test_a_mask_hides_exactly_one_part_behind_the_mean_colour() -> None:
    colour_3 = occlusion.mean_colour(ChannelStats((0.5, 0.25, 1.0), (1.0, 1.0, 1.0)))
    assert colour_3.tolist() == [128, 64, 255]
    rows_N, plain = np.zeros(2, np.int64), _Flat().gather(np.zeros(1, np.int64))[0]
    for hidden in ("ring", "centre"):
        shown = occlusion.Masked(_Flat(), hidden, colour_3).gather(rows_N)[1]
        inside = np.zeros((9, 9), bool)
        inside[3:6, 3:6] = True
        masked = inside if hidden == "centre" else ~inside
        assert (shown[masked] == colour_3).all()
        assert (shown[~masked] == plain[~masked]).all()


def test_the_band_of_chance_holds_19_of_20_random_rankings() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(2)
    labels_N = np.arange(60) % 3 == 0
    low, high = occlusion.chance_band(labels_N)
    inside = [low < roc_auc_score(labels_N, rng.random(60)) < high for _ in range(600)]
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.parametrize("stain", [1.0, 0.5])
def test_the_band_of_chance_holds_what_knows_the_slide_alone(stain: float) -> None:
    """Slides have shares of tumour and stains of their own: by patch, stain alone left the band in a fifth of sets."""
    rng = np.random.default_rng(1)
    outside = {"slide": 0, "patch": 0}
    for _ in range(200):
        of_N = np.arange(600) % 20
        labels_N = (rng.random(600) < rng.beta(4, 6, 20)[of_N]).astype(np.int8)
        score_N = stain * rng.normal(size=20)[of_N] + (1 - stain) * rng.normal(size=600)
        auc = metrics.roc_auc(labels_N, score_N)
        for over, groups_N in (("slide", of_N.astype(object)), ("patch", None)):
            low, high = occlusion.chance_band(labels_N, groups_N, draws=300)
            outside[over] += not low < auc < high
    assert outside["slide"] <= 20  # 5 % of 200 are 10, give or take 3
    assert outside["patch"] > 30


def test_slides_of_equal_shares_leave_the_band_of_patches() -> None:
    labels_N, groups_N = np.arange(80) % 2, np.repeat(np.arange(8), 10).astype(object)
    assert occlusion.chance_band(labels_N, groups_N) == pytest.approx(occlusion.chance_band(labels_N))
