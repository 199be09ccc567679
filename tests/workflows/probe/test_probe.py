from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from fastpath.analysis.metrics import roc_auc
from fastpath.cli.main import app
from fastpath.errors import DataError, FastpathError
from fastpath.runtime import resolve
from fastpath.store import feature_writer, features
from fastpath.store.feature_writer import Unfinished
from fastpath.store.features import SHARD_ROWS, Division, Origin
from fastpath.system import tables
from fastpath.types import Split
from fastpath.workflows.probe import linear_head, probe, slide_labels
from fastpath.workflows.probe.linear_head import fit_head

WIDTH, NUM_SLIDES, A_SLIDE = 6, 40, 30
ORIGIN = {"model": "vit", "pooling": "mean", "image_size_px": 32, "mean_3": (0.5,) * 3, "std_3": (0.5,) * 3}


def write(path: Path, frame: pd.DataFrame, features_ND: np.ndarray, division: Division | None) -> Path:
    """Write features as `embed` does."""
    origin = Origin(store="store", store_fingerprint="0" * 32, weights_hash="1" * 32, precision="float32", **ORIGIN)  # type: ignore[arg-type]
    with feature_writer.unfinished(path, origin, len(frame)) as place:
        assert isinstance(place, Unfinished)
        for number, start in enumerate(range(0, len(frame), SHARD_ROWS)):
            place.write(number, features_ND[start : start + SHARD_ROWS])
        rows = tables.render(frame, Path(features.ROWS))
        place.finish(rows, WIDTH, licence="", split=division, software={})
    return path


def table(seed: int = 0, signal: float = 2.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Slides of which every other has tumour, in a tenth of its patches; the first feature tells them."""
    rng = np.random.default_rng(seed)
    slide_N = np.repeat(np.arange(NUM_SLIDES), A_SLIDE)
    labels_N = ((slide_N % 2 == 1) & (np.arange(len(slide_N)) % A_SLIDE < A_SLIDE // 10)).astype(np.int8)
    features_ND = rng.normal(size=(len(slide_N), WIDTH)).astype(np.float32) * 3 + 1
    features_ND[:, 0] += 3 * signal * labels_N
    part_N = np.array(["train"] * 5 + ["val"] * 3 + ["test"] * 2, object)[(slide_N // 2) % 10]
    columns = {"id": [f"p{row}" for row in range(len(slide_N))], "label": labels_N}
    return pd.DataFrame(columns | {"group": [f"s{slide}" for slide in slide_N], "part": part_N}), features_ND


@pytest.fixture(scope="session")
def made(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    def fill(folder: Path) -> None:
        write(folder / "features", *table(), Division(kind="group", leaks={}))

    return once("probed", fill) / "features"


def test_a_head_is_the_logistic_regression_of_its_penalty() -> None:
    frame, features_ND = table()
    labels_N, groups_N = frame["label"].to_numpy(), frame["group"].to_numpy(object)
    head = fit_head(features_ND, labels_N, groups_N, seed=1)
    standard_ND = (features_ND - features_ND.mean(0)) / features_ND.std(0)
    wanted = LogisticRegression(C=1 / (head.penalty * len(labels_N)), max_iter=1000).fit(standard_ND, labels_N)
    assert np.abs(head.logits(features_ND) - wanted.decision_function(standard_ND)).max() < 0.02
    assert head.penalty == min(head.losses, key=head.losses.__getitem__)
    assert head.notices == []


def test_the_penalty_is_chosen_on_slides_that_were_not_fitted() -> None:
    frame, _ = table()
    groups_N = frame["group"].to_numpy(object)
    folds, notices = linear_head._folds(frame["label"].to_numpy(), groups_N, seed=0)
    assert notices == []
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(len(frame)))
    assert all(not set(groups_N[train]) & set(groups_N[held]) for train, held in folds)


def test_noise_is_answered_with_a_strong_penalty() -> None:
    rng = np.random.default_rng(0)
    noise_ND, labels_N = rng.normal(size=(200, 60)).astype(np.float32), (np.arange(200) % 2).astype(np.int8)
    assert fit_head(noise_ND, labels_N, None, seed=0).penalty >= 1
    assert "slides are unknown" in fit_head(noise_ND, labels_N, None, seed=0).notices[0]


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_probe_is_judged_on_patches_that_chose_nothing(part: str, made: Path, tmp_path: Path) -> None:
    result = probe.probe_features(made, tmp_path / "out", split=Split(part))
    frame, features_ND = table()
    state = load_file(tmp_path / "out" / "head.safetensors")
    logits_N = features_ND @ state["weight"][0] + state["bias"][0]
    of_part = (frame["part"] == part).to_numpy()
    assert result.auc == pytest.approx(roc_auc(frame["label"].to_numpy()[of_part], logits_N[of_part]), abs=1e-6)
    assert result.num_patches == of_part.sum()
    predictions = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert set(predictions["id"]) == set(frame["id"][frame["part"].isin({"val", part})])
    assert set(predictions["history"]) == {"held out"}
    facts = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert facts["split"] == part
    assert facts["notices"][-1] == probe.UNSEEN
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Logistic head on features of <code>vit</code>" in page
    again = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "out" / "predictions.parquet"), "-o", str(tmp_path / "again"), "--json"]
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["auc"] == pytest.approx(result.auc, abs=1e-9)


def test_validation_labels_do_not_reach_the_head(made: Path, tmp_path: Path) -> None:
    frame, features_ND = table()
    flipped = frame.assign(label=np.where(frame["part"] == "train", frame["label"], 1 - frame["label"]).astype(np.int8))
    write(tmp_path / "features", flipped, features_ND, Division(kind="group", leaks={}))
    for name, path in (("a", made), ("b", tmp_path / "features")):
        probe.probe_features(path, tmp_path / name)
    heads = [(tmp_path / name / "head.safetensors").read_bytes() for name in "ab"]
    assert heads[0] == heads[1]


def test_leaks_and_seen_slides_are_told(tmp_path: Path) -> None:
    frame, features_ND = table()
    frame["part"] = np.where(np.arange(len(frame)) % 2, "train", "val")
    write(tmp_path / "features", frame, features_ND, Division(kind="random", leaks={"val": "this split leaks: so"}))
    result = probe.probe_features(tmp_path / "features", tmp_path / "out")
    assert result.notices[0] == "this split leaks: so"
    assert set(pd.read_parquet(tmp_path / "out" / "predictions.parquet")["history"]) == {"of a slide trained on"}


@pytest.mark.parametrize(("change", "problem"), [("unlabelled", "unlabelled"), ("undivided", "no split")])
def test_what_cannot_be_judged_is_one_line(change: str, problem: str, tmp_path: Path) -> None:
    frame, features_ND = table()
    if change == "unlabelled":
        frame["label"] = np.int8(-1)
    write(
        tmp_path / "features", frame, features_ND, None if change == "undivided" else Division(kind="group", leaks={})
    )
    with pytest.raises(DataError, match=problem):
        probe.probe_features(tmp_path / "features", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_slides_are_told_apart_by_what_did_not_see_them(made: Path, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["probe", str(made), "-o", str(tmp_path / "out"), "--slides", "--json"])
    assert outcome.exit_code == 0, outcome.output
    result = json.loads(outcome.stdout)
    scores = pd.read_csv(tmp_path / "out" / "slide_scores.csv")
    assert result["num_slides"] == len(scores) == NUM_SLIDES * 8 // 10  # the test split is kept apart
    assert result["num_positive"] == result["num_slides"] // 2 == scores["label"].sum()
    assert set(scores["fold"]) == set(range(result["num_folds"]))
    for name, interval in result["auc"].items():
        assert interval["value"] == pytest.approx(
            roc_auc(scores["label"].to_numpy(), scores[name].to_numpy()), abs=1e-6
        )
        assert interval["low"] <= interval["value"] <= interval["high"]
    assert set(result["auc"]) == {"attention", "mean_features", "max", "top_k", "mean"}
    assert result["auc"]["max"]["value"] > 0.75
    assert set(result["gain"]) == set(result["auc"]) - {"attention"}


def test_labels_of_nothing_are_not_learned(tmp_path: Path) -> None:
    frame, features_ND = table(signal=0.0)
    frame["label"] = np.int8(-1)
    write(tmp_path / "features", frame, features_ND, None)
    names = sorted(set(frame["group"]))
    pd.DataFrame({"slide": names, "label": np.arange(len(names)) % 2}).to_csv(tmp_path / "labels.csv", index=False)
    result = slide_labels.aggregate_slides(
        tmp_path / "features", tmp_path / "out", resolve("cpu"), labels_path=tmp_path / "labels.csv"
    )
    assert set(result.auc) == {"attention", "mean_features"}  # no patch is labelled
    for interval in result.auc.values():
        assert interval["low"] < 0.75
        assert interval["high"] - interval["low"] > 0.15


@pytest.mark.parametrize(
    "content", ["slide,label\ns1,2\n", "slide,label\ns1,1\ns1,1\n", "a,b\n1,2\n", "slide,label\ns1,1\n"]
)
def test_wrong_slide_labels_are_one_line(content: str, made: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(FastpathError):
        slide_labels.aggregate_slides(made, tmp_path / "out", resolve("cpu"), labels_path=tmp_path / "labels.csv")
    assert not (tmp_path / "out").exists()
