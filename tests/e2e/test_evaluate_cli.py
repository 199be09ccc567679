"""`fastpath evaluate` as a user runs it."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from fastpath.cli.main import app
from fastpath.config import Config, parse
from fastpath.errors import CheckpointError, DataError, FastpathError, UsageError
from fastpath.ingest.split import write_split, write_split_from_csv
from fastpath.runs import calibration_file
from fastpath.runtime import resolve
from fastpath.store.format import hash_file
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.evaluate import evaluate
from fastpath.workflows.evaluate.report_facts import EvaluateOptions
from fastpath.workflows.export import model_card
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

TINY = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "train": {"epochs": 1},
}


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluate") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


@pytest.fixture(scope="module")
def run_dir(store: Path) -> Path:
    path = store.parent / "run"
    train.train_run(store, path, parse(TINY), resolve("cpu"))
    return path


@pytest.fixture(scope="module")
def plain(run_dir: Path) -> tuple[Path, evaluate.EvaluateResult]:
    """Where a run was evaluated as it is by default, and the result."""
    output = run_dir.parent / "plain"
    return output, evaluate.evaluate_run(run_dir, resolve("cpu"), output=output)


@pytest.fixture
def own(run_dir: Path, store: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run and its store to do violence to."""
    shutil.copytree(run_dir, tmp_path / "run")
    shutil.copytree(store, tmp_path / "store")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"store": str(tmp_path / "store")}))
    return tmp_path / "run", tmp_path / "store"


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def _refusal(result: Result, kind: type[FastpathError]) -> str:
    assert isinstance(result.exception, kind), result.output
    assert result.exception.exit_status == 2
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_it_writes_metrics_that_follow_from_its_predictions(run_dir: Path, store: Path, tmp_path: Path) -> None:
    outcome = _invoke(run_dir, "-o", tmp_path / "out", "--json", "-q")
    assert outcome.exit_code == 0, outcome.output
    shown = json.loads(outcome.stdout)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert shown.pop("output") == str(tmp_path / "out")
    assert shown == metrics

    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert list(table) == ["id", "group", "label", "part", "logit", "probability", "calibrated", "history"]
    opened = open_store(store)
    rows_N = read_split(opened).rows(Split.VAL)
    assert table.id.tolist() == opened.ids_N[rows_N].tolist()
    assert table.label.tolist() == opened.labels_N[rows_N].tolist()
    np.testing.assert_allclose(table.probability, 1 / (1 + np.exp(-table.logit)), rtol=1e-7)
    assert metrics["auc"] == pytest.approx(roc_auc_score(table.label, table.logit))
    assert metrics["average_precision"] == pytest.approx(average_precision_score(table.label, table.logit))
    assert metrics["log_loss"] == pytest.approx(log_loss(table.label, table.probability))
    called = table.probability >= 0.5
    assert metrics["accuracy"] == pytest.approx((called == table.label).mean())
    assert metrics["confusion"]["true_positive"] == (called & (table.label == 1)).sum()
    assert sum(metrics["confusion"].values()) == metrics["num_patches"] == len(table)
    intervals = metrics["intervals"]
    assert all(interval["low"] is None or interval["low"] <= interval["value"] + 0.1 for interval in intervals.values())
    assert intervals["auc"]["value"] == metrics["auc"]


def test_mixed_precision_moves_logits_a_little_at_most(
    cpu_bfloat16: bool, run_dir: Path, plain: tuple[Path, evaluate.EvaluateResult], tmp_path: Path
) -> None:
    outcome = _invoke(run_dir, "-o", tmp_path, "-q", "--amp")
    assert outcome.exit_code == 0, outcome.output
    tables = [pd.read_parquet(folder / "predictions.parquet") for folder in (plain[0], tmp_path)]
    plain_N, mixed_N = (table.logit.to_numpy() for table in tables)
    # bfloat16 keeps 8 bits: one part in 256 a layer, of activations of about 1.
    np.testing.assert_allclose(mixed_N, plain_N, atol=0.05 if cpu_bfloat16 else 0)


def test_operating_points_follow_from_the_held_half_alone(run_dir: Path, tmp_path: Path) -> None:
    evaluate.evaluate_run(run_dir, resolve("cpu"), output=tmp_path, options=EvaluateOptions(prevalence=0.02))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    part = table[table.part == "held half"]
    assert len(part) == metrics["parts"]["held"]["num_patches"]
    assert len(table) - len(part) == metrics["parts"]["calibration"]["num_patches"]
    for point in metrics["operating_points"]:
        called = part.calibrated >= point["probability"]
        counts = point["confusion"]
        assert counts["true_positive"] == (called & (part.label == 1)).sum(), point["name"]
        assert counts["false_positive"] == (called & (part.label == 0)).sum(), point["name"]
        stop = next(stop for stop in metrics["slider"] if stop[0] == point["probability"])
        assert stop[1:] == [counts["true_positive"], counts["false_positive"]]
    methods = metrics["calibration"]["methods"]
    for name in ("temperature", "platt", "isotonic"):
        raw = methods["none"]["log_loss_on_calibration_part"]
        assert methods[name]["log_loss_on_calibration_part"] <= raw + 1e-3, name  # lines are fitted to smoothed labels
    assert methods["temperature"]["held"]["auc"] == methods["none"]["held"]["auc"]


def test_eight_views_are_measured_against_one(
    run_dir: Path, plain: tuple[Path, evaluate.EvaluateResult], tmp_path: Path
) -> None:
    folder, plain_evaluation = plain
    eight = evaluate.evaluate_run(run_dir, resolve("cpu"), output=tmp_path / "eight", options=EvaluateOptions(tta="d4"))
    tables = [pd.read_parquet(path / "predictions.parquet") for path in (folder, tmp_path / "eight")]
    assert tables[1].plain_logit.tolist() == tables[0].logit.tolist()
    assert eight.facts["tta"]["plain_auc"] == plain_evaluation.auc
    gain = eight.facts["tta"]["auc_gain"]
    assert gain["difference"] == pytest.approx(eight.auc - plain_evaluation.auc)
    assert tables[1].spread.between(0, 0.5).all()
    assert "Eight views" in (tmp_path / "eight" / "report.html").read_text()
    gallery = pd.read_csv(folder / "gallery.csv").set_index("id")
    wanted = tables[1].set_index("id").spread[gallery.index]
    np.testing.assert_allclose(gallery.d4_spread, wanted, atol=1e-5)


def test_a_table_of_predictions_is_judged_as_a_run_is(
    plain: tuple[Path, evaluate.EvaluateResult], store: Path, tmp_path: Path
) -> None:
    folder, of_run = plain
    table = folder / "predictions.parquet"
    outcome = _invoke(table, "--store", store, "-o", tmp_path / "table", "-q", "--json")
    assert outcome.exit_code == 0, outcome.output
    facts = json.loads(outcome.stdout)
    for key in ("auc", "intervals", "operating_points", "calibration"):
        assert facts[key] == of_run.facts[key], key
    assert (tmp_path / "table" / "gallery.csv").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(logit=0.5), "found one score for all 96 patches"),
        (lambda t: t.assign(logit=np.where(t.index == 3, np.nan, t.logit)), "a logit that is not finite"),
        (lambda t: t.assign(label=1), "found 96 tumour, 0 normal"),
        (lambda t: t.head(0), "found 0 tumour, 0 normal"),
        (lambda t: t.assign(label=np.where(t.index == 3, -1, t.label)), "1 unlabelled"),
        (lambda t: t.drop(columns="label"), "found no column 'label'"),
        (lambda t: t.assign(id="x"), "a patch twice"),
        (lambda t: t.assign(id=t.id.where(t.index != 3)), "rows without an id"),
    ],
)
def test_a_table_that_cannot_be_judged_is_one_line(tmp_path: Path, change: Any, message: str) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": [f"p{n}" for n in range(96)], "label": np.arange(96) % 2, "logit": rng.normal(size=96)})
    change(table).to_parquet(tmp_path / "t.parquet")
    assert message in _refusal(_invoke(tmp_path / "t.parquet"), DataError)
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_the_calibration_is_kept_for_these_weights_only(own: tuple[Path, Path]) -> None:
    run_dir = own[0]
    (run_dir / "calibration-d4.json").unlink(missing_ok=True)  # another test's
    evaluate.evaluate_run(run_dir, resolve("cpu"))
    calibration = calibration_file.load(run_dir / "best.pt", "none", "logits")
    assert (calibration.calibrator.method, calibration.missing) == ("platt", "")
    assert calibration.predictions is not None
    assert hash_file(calibration.predictions) == calibration.predictions_hash
    assert "with --tta none" in calibration_file.load(run_dir / "best.pt", "d4", "logits").missing
    kept = (run_dir / "calibration.json").read_bytes()
    evaluate.evaluate_run(run_dir, resolve("cpu"), split=Split.TRAIN)
    assert (run_dir / "calibration.json").read_bytes() == kept
    (run_dir / "best.pt").write_bytes((run_dir / "best.pt").read_bytes() + b" ")
    assert "other weights" in calibration_file.load(run_dir / "best.pt", "none", "logits").missing
    (run_dir / "calibration.json").write_text("{}")
    with pytest.raises(DataError, match="is not a calibration"):
        calibration_file.load(run_dir / "best.pt", "none", "logits")


def test_another_way_to_score_or_another_split_takes_nothings_place(own: tuple[Path, Path], tmp_path: Path) -> None:
    run_dir, path = own
    arguments = (run_dir, "--store", path, "-q")
    assert _invoke(*arguments).exit_code == 0
    pages = {name: (run_dir / name).read_bytes() for name in ("evaluation-val/report.html", "calibration.json")}
    assert _invoke(*arguments, "--tta", "d4").exit_code == 0
    assert _invoke(*arguments, "--tta", "d4", "--mean", "probabilities").exit_code == 0
    assert {name: (run_dir / name).read_bytes() for name in pages} == pages
    assert {folder.name for folder in run_dir.glob("evaluation-*")} == {
        *("evaluation-val", "evaluation-val-d4", "evaluation-val-d4-probabilities")
    }
    for more in ([], ["--tta", "d4"], ["--tta", "d4", "--mean", "probabilities"]):
        outcome = CliRunner().invoke(
            app, ["predict", str(run_dir), "--store", str(path), "-o", str(tmp_path / "s.csv"), "--json", "-q", *more]
        )
        assert json.loads(outcome.stdout)["calibration"] == ["platt"]


def test_a_calibration_that_takes_anothers_place_is_told(own: tuple[Path, Path]) -> None:
    run_dir, path = own
    assert "calibration.json held" not in _invoke(run_dir, "--store", path, "-q").stderr
    assert "calibration.json held" not in _invoke(run_dir, "--store", path, "-q").stderr
    outcome = _invoke(run_dir, "--store", path, "--calibration", "temperature", "-q")
    assert "calibration.json held a calibration (platt) fitted on" in outcome.stderr


def _with_test_split(path: Path) -> np.ndarray:
    """Divide a store in thirds, by patch; returns the part of each row."""
    store = open_store(path)
    order = np.random.default_rng(0).permutation(len(store))
    parts = np.array(["train", "val", "test"])[np.arange(len(store)) % 3][order]
    (path.parent / "parts.csv").write_text(
        "id,split\n" + "".join(f"{name},{part}\n" for name, part in zip(store.ids_N, parts, strict=True))
    )
    write_split_from_csv(store, path.parent / "parts.csv")
    return parts


def test_a_test_split_is_judged_with_the_calibration_of_the_validation_split(own: tuple[Path, Path]) -> None:
    run_dir, path = own
    parts = _with_test_split(path)
    store = open_store(path)
    outcome = _invoke(run_dir, "--store", path, "--split", "test", "-q", "--json")
    assert outcome.exit_code == 0, outcome.output
    output = run_dir / "evaluation-test"
    table = pd.read_parquet(output / "predictions.parquet").set_index("id")
    dealt = pd.Series(parts, index=store.ids_N)[table.index]
    assert (table.part == dealt.map({"val": "validation split", "test": "test split"})).all()

    # All that is told of the scores is told of the test split alone.
    facts, test = json.loads(outcome.stdout), table[table.part == "test split"]
    assert facts["num_patches"] == facts["parts"]["held"]["num_patches"] == len(test) == 32
    assert facts["auc"] == pytest.approx(roc_auc_score(test.label, test.logit))
    assert facts["intervals"]["auc"]["value"] == facts["delong"]["value"] == facts["auc"]
    assert facts["intervals"]["brier"]["value"] == pytest.approx(((test.probability - test.label) ** 2).mean())
    assert sum(facts["confusion"].values()) == sum(row["num_patches"] for row in facts["slides"]) == len(test)
    assert set(pd.read_csv(output / "gallery.csv").id) <= set(test.index)
    page = (output / "report.html").read_text()
    assert "all 32 patches of the test split" in page
    assert "Test split only: 32 patches" in page
    assert "groups have patches in both training or validation and test" in " ".join(facts["notices"])


def test_eight_views_of_a_test_split_are_measured_on_it_alone(own: tuple[Path, Path], tmp_path: Path) -> None:
    run_dir, path = own
    _with_test_split(path)
    evaluation = evaluate.evaluate_run(
        run_dir,
        resolve("cpu"),
        store_path=path,
        split=Split.TEST,
        output=tmp_path / "out",
        options=EvaluateOptions(tta="d4"),
    )
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    test = table[table.part == "test split"]
    assert evaluation.facts["tta"]["plain_auc"] == pytest.approx(roc_auc_score(test.label, test.plain_logit))
    assert evaluation.facts["tta"]["error_rate"] == pytest.approx(((test.logit >= 0) != (test.label == 1)).mean())


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VAL, Split.TEST])
def test_patches_that_were_trained_on_calibrate_nothing_and_are_told(store: Path, tmp_path: Path, split: Split) -> None:
    """A final network that trained on the validation patches too."""
    shutil.copytree(store, tmp_path / "store")
    _with_test_split(tmp_path / "store")
    run_dir, runtime = tmp_path / "run", resolve("cpu", num_threads=1)
    config = parse({**TINY, "train": {"epochs": 1, "include_val": True}})
    train.train_run(tmp_path / "store", run_dir, config, runtime)
    evaluation = evaluate.evaluate_run(run_dir, runtime, split=split)
    notices, history = " ".join(evaluation.notices), evaluation.facts["history"]
    page = (run_dir / f"evaluation-{split}" / "report.html").read_text()
    assert all(html.escape(notice, quote=False) in html.unescape(page) for notice in evaluation.notices)
    cards, left_out = model_card.evaluations(run_dir)
    if split is Split.TEST:
        assert history["num_held_out"] == history["num_patches"] == evaluation.num_patches == 32
        assert "the validation split was trained on, so it cannot calibrate" in notices
        assert evaluation.facts["parts"]["calibration"]["name"] == "calibration half"
        fitted_on = json.loads((run_dir / "calibration.json").read_text())["fitted_on"]
        assert (fitted_on["of"], fitted_on["num_patches"]) == ("test", 16)
        assert [card["from"] for card in cards] == ["evaluation-test"]
        return
    assert history["num_trained_on"] == evaluation.num_patches == 32
    assert "all 32 patches were trained on" in notices
    assert evaluation.facts["calibration"]["method"] == "none"
    assert not (run_dir / "calibration.json").exists()
    assert (cards, left_out) == ([], f"the card leaves out evaluation-{split}, of patches that were trained on")


def test_the_patches_that_chose_the_epoch_are_told_with_the_size(
    own: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = own[0]
    assert "chose the epoch" not in " ".join(evaluate.evaluate_run(run_dir, resolve("cpu")).notices)  # there was one
    lines = (run_dir / "journal.jsonl").read_text()
    (run_dir / "journal.jsonl").write_text(lines * 15)
    evaluation = evaluate.evaluate_run(run_dir, resolve("cpu"))
    (notice_of_epoch,) = (notice for notice in evaluation.notices if "chose the epoch" in notice)
    size = evaluation.facts["history"]["auc_optimism"]
    assert (
        f"the best of 15 by their AUC, so numbers on them are optimistic, the AUC by about {size:.3f}"
        in notice_of_epoch
    )
    assert "--test 0.1" in notice_of_epoch
    last = evaluate.evaluate_run(run_dir, resolve("cpu"), checkpoint="last")
    assert "chose the epoch" not in " ".join(last.notices)
    assert last.facts["history"]["num_held_out"] == last.num_patches


def test_it_agrees_with_the_journal_of_training(run_dir: Path, tmp_path: Path) -> None:
    epoch = json.loads((run_dir / "journal.jsonl").read_text().splitlines()[-1])
    result = evaluate.evaluate_run(run_dir, resolve("cpu"), output=tmp_path, checkpoint="last")
    assert result.auc == pytest.approx(epoch["val_auc"], abs=1e-9)
    assert result.facts["log_loss"] == pytest.approx(epoch["val_loss"], abs=1e-6)


def test_rerunning_gives_the_same_files(run_dir: Path, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        evaluate.evaluate_run(run_dir, resolve("cpu"), output=tmp_path / name, split=Split.TRAIN)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"metrics.json", "predictions.parquet", "report.html", "gallery.csv"}


def test_without_a_target_it_writes_into_the_run(own: tuple[Path, Path]) -> None:
    outcome = _invoke(own[0])
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.rstrip().endswith(f"→ {own[0] / 'evaluation-val' / 'report.html'}")
    assert (own[0] / "evaluation-val" / "metrics.json").exists()


def test_a_store_packed_anew_from_other_patches_is_refused(own: tuple[Path, Path], kaggle_folder: Path) -> None:
    run_dir, store = own
    pack.pack_source(kaggle_folder / "test", store, pack.PackOptions(), workers=1, overwrite=True)
    labels = store.parent / "labels.csv"
    ids = open_store(store).ids_N
    labels.write_text("id,label\n" + "".join(f"{name},{row % 2}\n" for row, name in enumerate(ids)))
    options = pack.PackOptions(labels=labels)
    pack.pack_source(kaggle_folder / "test", store, options, workers=1, overwrite=True)
    message = _refusal(_invoke(run_dir), CheckpointError)
    assert "is not the store that the run was trained on: found" in message
    assert "--store" in message

    outcome = _invoke(run_dir, "--store", store, "-q", "--split", "train")
    assert outcome.exit_code == 0, outcome.output
    metrics = json.loads((run_dir / "external-store-train" / "metrics.json").read_text())
    assert metrics["parts"]["calibration"]["num_patches"] == 0
    assert "the run's own store was packed anew since" in metrics["notices"][0]


def test_a_split_dealt_anew_is_refused_unless_the_store_is_named(own: tuple[Path, Path]) -> None:
    run_dir, store = own
    write_split(open_store(store), "random", seed=1)
    assert "is not the split that the run was trained on" in _refusal(_invoke(run_dir), CheckpointError)
    outcome = _invoke(run_dir, "--store", store)
    assert outcome.exit_code == 0, outcome.output
    assert "divided anew" in " ".join(outcome.stderr.split())


def test_a_part_that_cannot_be_measured_is_refused(run_dir: Path) -> None:
    message = _refusal(_invoke(run_dir, "--split", "test"), DataError)
    assert "found 0 tumour, 0 normal and 0 unlabelled patches in the test split" in message
    assert not (run_dir / "evaluation-test").exists()


@pytest.mark.parametrize("break_it", ["no run", "no checkpoint", "damaged", "no store told"])
def test_what_is_not_a_run_is_refused(own: tuple[Path, Path], break_it: str) -> None:
    run_dir = own[0]
    if break_it == "no run":
        run_dir = run_dir / "nothing"
    elif break_it == "no checkpoint":
        (run_dir / "best.pt").unlink()
    elif break_it == "damaged":
        content = bytearray((run_dir / "best.pt").read_bytes())
        content[len(content) // 2] ^= 1
        (run_dir / "best.pt").write_bytes(content)
    else:
        (run_dir / "run.json").write_text("{}")
    _refusal(_invoke(run_dir), UsageError)


def test_a_checkpoint_of_broken_weights_is_one_line(own: tuple[Path, Path]) -> None:
    path = own[0] / "best.pt"
    values = torch.load(path, weights_only=True)
    for tensor in values["model"].values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    torch.save(values, path)
    assert "not finite" in _refusal(_invoke(own[0]), CheckpointError)
    assert not (own[0] / "evaluation-val").exists()


def test_defaults_are_not_read_from_this_versions_configuration(own: tuple[Path, Path]) -> None:
    checkpoint = torch.load(own[0] / "best.pt", weights_only=True)
    assert parse(checkpoint["config"]).data.image_size_px == 16 != Config().data.image_size_px
