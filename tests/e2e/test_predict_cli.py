"""`fastpath predict` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from click.testing import CliRunner, Result

from fastpath.cli.main import app
from fastpath.config import parse
from fastpath.errors import DataError, FastpathError, UsageError
from fastpath.runtime import resolve
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack
from fastpath.workflows.evaluate import evaluate, evaluate_table
from fastpath.workflows.predict import predict
from fastpath.workflows.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

TINY = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "train": {"epochs": 1},
}


@pytest.fixture(scope="module")
def run_dir(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    pack.pack_source(kaggle_folder, folder / "store", workers=1)
    train.train_run(folder / "store", folder / "run", parse(TINY), resolve("cpu"))
    return folder / "run"


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def _refusal(result: Result, kind: type[FastpathError]) -> str:
    assert isinstance(result.exception, kind), result.output
    assert result.exception.exit_status == 2
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.mark.parametrize("below", ["", "test"])
def test_a_source_is_predicted_in_the_order_of_its_sample(
    run_dir: Path, kaggle_folder: Path, tmp_path: Path, below: str
) -> None:
    output = tmp_path / "new" / "submission.csv"
    outcome = _invoke(run_dir, "--source", kaggle_folder / below, "-o", output, "--json")
    assert outcome.exit_code == 0, outcome.output
    table, sample = pd.read_csv(output), pd.read_csv(kaggle_folder / "sample_submission.csv")
    assert list(table) == ["id", "label"]
    assert table.id.tolist() == sample.id.tolist()
    assert table.label.between(0, 1).all()
    assert table.label.nunique() > 1
    assert json.loads(outcome.stdout)["order"] == "sample"
    assert [path.name for path in output.parent.iterdir()] == ["submission.csv"]


def test_a_sample_given_by_name_decides_the_order(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    ids = pd.read_csv(kaggle_folder / "sample_submission.csv").id.tolist()
    (tmp_path / "sample.csv").write_text("id,label\n" + "".join(f"{name},0\n" for name in reversed(ids)))
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert _invoke(run_dir, "--source", kaggle_folder, "-o", first).exit_code == 0
    arguments = ("--source", kaggle_folder, "-o", second, "--sample", tmp_path / "sample.csv")
    assert _invoke(run_dir, *arguments).exit_code == 0
    pd.testing.assert_frame_equal(pd.read_csv(first)[::-1].reset_index(drop=True), pd.read_csv(second))


def test_a_store_is_predicted_in_its_own_order_with_the_probabilities_of_evaluation(
    run_dir: Path, tmp_path: Path
) -> None:
    own = tmp_path / "run"
    shutil.copytree(run_dir, own)
    store = run_dir.parent / "store"
    assert _invoke(own, "--store", store, "-o", tmp_path / "before.csv").exit_code == 0
    evaluate.evaluate_run(own, resolve("cpu"), output=tmp_path / "evaluation")
    outcome = _invoke(own, "--store", store, "-o", tmp_path / "after.csv", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["calibration"] == ["platt"]
    assert _invoke(own, "--store", store, "-o", tmp_path / "raw.csv", "--raw").exit_code == 0
    assert (tmp_path / "raw.csv").read_bytes() == (tmp_path / "before.csv").read_bytes()
    measured = pd.read_parquet(tmp_path / "evaluation" / "predictions.parquet").set_index("id")
    for name, column in (("before", "probability"), ("after", "calibrated")):
        predicted = pd.read_csv(tmp_path / f"{name}.csv").set_index("id").label
        np.testing.assert_allclose(predicted[measured.index], measured[column], atol=1e-6)


def test_mixed_precision_moves_probabilities_a_little_at_most(
    cpu_bfloat16: bool, run_dir: Path, kaggle_folder: Path, tmp_path: Path
) -> None:
    for name, change in (("plain", "--no-amp"), ("mixed", "--amp")):
        outcome = _invoke(run_dir, "--source", kaggle_folder, "-o", tmp_path / f"{name}.csv", change)
        assert outcome.exit_code == 0, outcome.output
    plain_N, mixed_N = (pd.read_csv(tmp_path / f"{name}.csv").label for name in ("plain", "mixed"))
    np.testing.assert_allclose(mixed_N, plain_N, atol=0.0125 if cpu_bfloat16 else 0)  # a quarter of a logit's bound


def test_an_ensembles_table_carries_labels_and_what_was_done_with_them(run_dir: Path, tmp_path: Path) -> None:
    """So that `evaluate` judges it, and says which of its patches were trained on or chose an epoch."""
    own, store = tmp_path / "run", open_store(run_dir.parent / "store")
    shutil.copytree(run_dir, own)
    journal = own / "journal.jsonl"
    journal.write_text(journal.read_text() * 3)  # as if the best of three epochs
    table = tmp_path / "t.parquet"
    options = ("--store", store.path, "--raw", "-o", tmp_path / "x.csv", "--table", table)
    outcome = _invoke(own, run_dir, *options, "--json")
    assert outcome.exit_code == 0, outcome.output
    frame = pd.read_parquet(table)
    assert frame.label.tolist() == store.labels_N.tolist()
    assert store.groups_N is not None
    assert frame.group.tolist() == store.groups_N.tolist()
    split = read_split(store)
    wanted = np.where(np.isin(np.arange(len(store)), split.rows(Split.TRAIN)), "trained on", "chose the epoch")
    assert frame.history.tolist() == wanted.tolist()
    facts = json.loads(outcome.stdout)
    num_val = len(split.rows(Split.VAL))
    assert [member["num_chose_epoch"] for member in facts["history"]] == [num_val, 0]  # the other had one epoch only
    assert [member["num_trained_on"] for member in facts["history"]] == [96 - num_val] * 2
    assert f"{96 - num_val} of 96 patches were trained on" in " ".join(facts["notices"])
    assert " ".join(outcome.stderr.split()).count("were trained on") == 1

    evaluation = evaluate_table.evaluate_table(table, output=tmp_path / "judged")
    assert f"{96 - num_val} of 96 patches were trained on" in evaluation.notices[0]
    assert evaluation.facts["calibration"]["method"] == "none"
    held = frame[frame.history != "trained on"]
    held.to_parquet(tmp_path / "held.parquet")
    evaluation = evaluate_table.evaluate_table(tmp_path / "held.parquet", output=tmp_path / "judged")
    assert evaluation.facts["history"]["num_chose_epoch"] == evaluation.num_patches == num_val
    assert "chose the epoch, the best by their AUC" in evaluation.notices[0]
    assert evaluation.facts["calibration"]["method"] != "none"
    held.drop(columns="history").to_parquet(tmp_path / "held.parquet")
    evaluation = evaluate_table.evaluate_table(tmp_path / "held.parquet", output=tmp_path / "judged")
    assert "nothing tells whether its patches were trained on" in evaluation.notices[0]


def test_a_source_that_was_trained_on_is_told(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    table, source = tmp_path / "t.parquet", tmp_path / "source"  # beside which lies no sample submission
    shutil.copytree(kaggle_folder / "train", source)
    outcome = _invoke(run_dir, "--source", source, "-o", tmp_path / "x.csv", "--table", table)
    assert outcome.exit_code == 0, outcome.output
    store = open_store(run_dir.parent / "store")
    trained = store.ids_N[read_split(store).rows(Split.TRAIN)]
    assert f"{len(trained)} of 96 patches have the id or the pixels of" in " ".join(outcome.stderr.split())
    frame = pd.read_parquet(table)
    assert set(frame.id[frame.history == "trained on"]) == set(trained)
    assert "label" not in frame  # none is known
    new = _invoke(run_dir, "--source", kaggle_folder, "-o", tmp_path / "x.csv", "--table", table)
    assert "trained on" not in new.stderr
    assert set(pd.read_parquet(table).history) == {"held out"}


def test_a_folder_is_predicted_as_its_store_is(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    pack.pack_source(kaggle_folder / "test", tmp_path / "store", workers=1)
    for source in (("--source", kaggle_folder / "test"), ("--store", tmp_path / "store")):
        outcome = _invoke(
            run_dir,
            *source,
            "-o",
            tmp_path / f"{source[0][2:]}.csv",
            "--sample",
            kaggle_folder / "sample_submission.csv",
        )
        assert outcome.exit_code == 0, outcome.output
    assert (tmp_path / "source.csv").read_bytes() == (tmp_path / "store.csv").read_bytes()


def test_runs_are_averaged_as_asked(run_dir: Path, tmp_path: Path) -> None:
    store, other = run_dir.parent / "store", tmp_path / "other"
    train.train_run(store, other, parse(TINY | {"seed": 5}), resolve("cpu"))

    def predicted(*arguments: object) -> np.ndarray:
        target = tmp_path / "out.csv"
        outcome = _invoke(*arguments, "--store", store, "-o", target, "--raw", "--table", tmp_path / "t.parquet")
        assert outcome.exit_code == 0, outcome.output
        return pd.read_parquet(tmp_path / "t.parquet").logit.to_numpy()

    a, b = predicted(run_dir), predicted(other)
    np.testing.assert_allclose(predicted(run_dir, other), (a + b) / 2, rtol=1e-12)
    np.testing.assert_allclose(predicted(run_dir, other, "--weights", "3,1"), (3 * a + b) / 4, rtol=1e-12)
    np.testing.assert_allclose(predicted(run_dir, run_dir), a, rtol=1e-12)
    ranks = 1 / (1 + np.exp(-predicted(run_dir, other, "--ensemble", "rank")))
    wanted = (pd.Series(a).rank() + pd.Series(b).rank() - 1) / 2 / len(a)
    np.testing.assert_allclose(ranks, wanted, rtol=1e-9)
    eight = predicted(run_dir, "--tta", "d4")
    assert not np.allclose(eight, a)
    assert pd.read_parquet(tmp_path / "t.parquet").spread.between(0, 0.5).all()
    message = _refusal(
        _invoke(run_dir, other, "--weights", "1", "--store", store, "-o", tmp_path / "x.csv"), UsageError
    )
    assert "wanted 2 numbers" in message


@pytest.mark.parametrize("side", [64, 128])
def test_patches_of_another_size_are_one_line(run_dir: Path, kaggle_folder: Path, tmp_path: Path, side: int) -> None:
    shutil.copytree(kaggle_folder / "test", tmp_path / "test")
    blank = np.full((side, side, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "test" / "zzz.tif", blank, photometric="rgb")
    message = _refusal(_invoke(run_dir, "--source", tmp_path / "test", "-o", tmp_path / "out.csv"), DataError)
    assert f"zzz.tif: found {side} by {side} pixels, wanted 96 by 96" in message
    alone = tmp_path / "alone"
    alone.mkdir()
    (tmp_path / "test" / "zzz.tif").rename(alone / "zzz.tif")
    message = _refusal(_invoke(run_dir, "--source", alone, "-o", tmp_path / "out.csv"), DataError)
    assert f"found patches of {side} px, wanted 96 px" in message
    assert not (tmp_path / "out.csv").exists()


def test_a_run_can_be_moved_without_its_store(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    facts = json.loads((run_dir / "run.json").read_text())
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "best.pt").write_bytes((run_dir / "best.pt").read_bytes())
    (moved / "run.json").write_text(json.dumps(facts | {"store": "/gone"}))
    alone = tmp_path / "mailed.pt"
    alone.write_bytes((run_dir / "best.pt").read_bytes())
    for run, name in ((run_dir, "here.csv"), (moved, "there.csv"), (alone, "alone.csv")):
        assert _invoke(run, "--source", kaggle_folder, "-o", tmp_path / name).exit_code == 0
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: [*ids, "stranger"], "names 1 of 9 ids that are not among the patches, the first 'stranger'"),
        (lambda ids: ids[1:], "lacks 1 of 8 patches"),
        (lambda ids: [*ids, ids[0]], "line 10: found id"),
        (lambda ids: [], "lacks 8 of 8 patches"),
    ],
)
def test_a_sample_of_other_patches_is_refused(
    run_dir: Path, kaggle_folder: Path, tmp_path: Path, change: object, message: str
) -> None:
    ids = pd.read_csv(kaggle_folder / "sample_submission.csv").id.tolist()
    (tmp_path / "sample.csv").write_text("id,label\n" + "".join(f"{name},0\n" for name in change(ids)))  # type: ignore[operator]
    arguments = ("--source", kaggle_folder, "--sample", tmp_path / "sample.csv", "-o", tmp_path / "out.csv")
    assert message in _refusal(_invoke(run_dir, *arguments), DataError)
    assert [path.name for path in tmp_path.iterdir()] == ["sample.csv"]


def test_a_sample_without_ids_is_refused(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("name\nx\n")
    arguments = ("--source", kaggle_folder, "--sample", tmp_path / "sample.csv", "-o", tmp_path / "out.csv")
    assert "found columns 'name', wanted 'id'" in _refusal(_invoke(run_dir, *arguments), DataError)


def _with_weights(run_dir: Path, target: Path, value: float) -> Path:
    """Copy a run's checkpoint with all weights of its last layer set to a value."""
    checkpoint = torch.load(run_dir / "best.pt", weights_only=True)
    last = [name for name, tensor in checkpoint["model"].items() if tensor.is_floating_point()][-2:]
    for name in last:
        checkpoint["model"][name].fill_(value)
    torch.save(checkpoint, target)
    return target


def test_logits_that_are_not_finite_are_one_line(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    broken = _with_weights(run_dir, tmp_path / "broken.pt", 3e38)
    message = _refusal(_invoke(broken, "--source", kaggle_folder, "-o", tmp_path / "out.csv"), DataError)
    assert "found 8 of 8 not finite" in message
    assert not (tmp_path / "out.csv").exists()


def test_scores_that_do_not_differ_are_told(run_dir: Path, kaggle_folder: Path, tmp_path: Path) -> None:
    blind = _with_weights(run_dir, tmp_path / "blind.pt", 0.0)
    outcome = _invoke(blind, "--source", kaggle_folder, "-o", tmp_path / "out.csv", "--json")
    assert outcome.exit_code == 0, outcome.output
    assert "all 8 patches have one probability, 0.5" in " ".join(json.loads(outcome.stdout)["notices"])


def test_a_folder_without_patches_is_one_line(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    _refusal(_invoke(run_dir, "--source", tmp_path / "empty", "-o", tmp_path / "out.csv"), DataError)
    assert not (tmp_path / "out.csv").exists()


def test_exactly_one_of_store_and_source_is_wanted(run_dir: Path, tmp_path: Path) -> None:
    assert "found neither" in _refusal(_invoke(run_dir, "-o", tmp_path / "out.csv"), UsageError)
    both = ("--store", json.loads((run_dir / "run.json").read_text())["store"], "--source", tmp_path)
    assert "found both" in _refusal(_invoke(run_dir, *both, "-o", tmp_path / "out.csv"), UsageError)


def test_a_wrong_run_or_target_is_refused_before_patches_are_listed(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "open_patches", lambda *_: pytest.fail("listed"))
    _refusal(_invoke(tmp_path, "--source", tmp_path, "-o", tmp_path / "out.csv"), UsageError)
    message = _refusal(_invoke(run_dir, "--source", tmp_path, "-o", tmp_path), UsageError)
    assert "found a directory" in message


def test_a_folder_without_test_patches_says_that_a_training_set_is_scored(
    run_dir: Path, kaggle_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(kaggle_folder, tmp_path / "kaggle", ignore=shutil.ignore_patterns("test", "sample_submission.csv"))
    outcome = _invoke(run_dir, "--source", tmp_path / "kaggle", "-o", tmp_path / "s.csv", "--json")
    assert outcome.exit_code == 0, outcome.output
    notices = json.loads(outcome.stdout)["notices"]
    assert notices[0].startswith("96 of the 96 patches scored have labels, as those of a training set do")
    assert any("that were trained on" in text for text in notices)
    plain = _invoke(run_dir, "--source", kaggle_folder, "-o", tmp_path / "t.csv", "--json")
    assert "have labels" not in " ".join(json.loads(plain.stdout)["notices"])


def test_a_store_that_was_moved_is_asked_for(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir, tmp_path / "run")
    facts = json.loads((run_dir / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts | {"store": str(tmp_path / "gone")}))
    outcome = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run")])
    assert isinstance(outcome.exception, UsageError)
    message = str(outcome.exception)
    assert message.startswith(f"{tmp_path / 'gone'}: is not there, though {tmp_path / 'run' / 'run.json'} names it")
    assert message.endswith("if it was moved, say where it lies now with --store")
    mined = ["mine", str(tmp_path / "run"), "--store", str(run_dir.parent / "store"), "-o", str(tmp_path / "m.csv")]
    outcome = CliRunner().invoke(app, [*mined])
    assert outcome.exit_code == 0, outcome.output
