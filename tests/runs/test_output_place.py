"""Where commands may write: never over what they read, nor into a store or another's run; and sets of files as sets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastpath.errors import DataError, FastpathError, UsageError
from fastpath.runs import output_place
from fastpath.runs.output_place import SETS
from fastpath.system import file_sets, run_log


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store, two runs, a source and a table, as far as names tell."""
    for name in (
        *("store/manifest.json", "store/index.parquet", "store/shard-00000.npy", "store/split.json"),
        *(
            "run/config.json",
            "run/run.json",
            "run/best.pt",
            "run/last.pt",
            "run/history.csv",
            "run/calibration.json",
            "run/calibration-d4.json",
        ),
        *("folds/config.json", "folds/fold-0/config.json", "folds/fold-0/best.pt", "folds/out_of_fold.parquet"),
        *("source/train/a.tif", "source/train_labels.csv", "source/sample_submission.csv"),
        *("table.csv", "predictions.parquet", "other/best.pt", "web/manifest.json"),
        *("inspected/inspect.json", "inspected/report.html", "evaluated/metrics.json"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "linked.parquet").hardlink_to(tmp_path / "store" / "index.parquet")
    (tmp_path / "pointing.csv").symlink_to(tmp_path / "table.csv")
    (tmp_path / "into").symlink_to(tmp_path / "store")
    os.mkfifo(tmp_path / "pipe.csv")
    return tmp_path


FILES = [  # what is written, what is read, what the refusal says
    ("store/submission.csv", "run", "lies in the packed store"),
    ("store/deeper/submission.csv", "run", "lies in the packed store"),
    ("into/submission.csv", "run", "lies in the packed store"),
    ("store/index.parquet", "run", "lies in the packed store"),
    ("linked.parquet", "store", "is what is read"),
    ("table.csv", "table.csv", "is what is read"),
    ("pointing.csv", "table.csv", "is what is read"),
    ("source/../table.csv", "table.csv", "is what is read"),
    ("run/best.pt", "run", "belongs to the run"),
    ("run/history.csv", "run", "belongs to the run"),
    ("run/last.pt", "table.csv", "lies in the run"),
    ("run/new.csv", "store", "lies in the run"),
    ("folds/out_of_fold.parquet", "folds", "belongs to the run"),
    ("folds/fold-0/best.pt", "folds/fold-0", "belongs to the run"),
    ("folds/fold-7", "folds", "belongs to the run"),
    ("other/best.pt", "table.csv", "is of a packed store or a run"),
    ("web/manifest.json", "table.csv", "is of a packed store or a run"),
    ("source/train_labels.csv", "source", "is read from"),
    ("source/sample_submission.csv", "source", "is read from"),
    ("source/train/a.tif", "source", "is read from"),
    ("pipe.csv", "table.csv", "is no regular file"),
    ("table.csv/new.csv", "run", "is no directory"),
    ("store", "run", "found a directory"),
]
GOOD_FILES = [
    ("run/submission.csv", "run"),
    ("run/models/model.onnx", "run"),
    ("run/evaluation-val/other.csv", "run/best.pt"),
    ("source/submission.csv", "source"),
    ("new/deep/submission.csv", "run"),
    ("web/submission.csv", "run"),  # a manifest.json alone may be anything's
    ("predictions.parquet", "table.csv"),
]
DIRECTORIES = [  # what is written to, which set, what is read, what the refusal says
    ("store", "inspect.json", "store", "is the packed store"),
    ("into", "inspect.json", "store", "is the packed store"),
    ("store/new", "inspect.json", "store", "lies in the packed store"),
    ("run", "metrics.json", "run", "is the directory of a run"),
    ("folds/fold-0", "metrics.json", "folds", "is the directory of a run"),
    ("run/audit", "audit.json", "store", "lies in the run"),
    ("folds/new", "explain.json", "run", "lies in the run"),
    ("table.csv", "metrics.json", "run", "found a file, wanted a directory"),
    (".", "metrics.json", "predictions.parquet", "is what is read"),
    (".", "comparison.json", "predictions.parquet", "is what is read"),
    ("inspected", "metrics.json", "run", "whose report.html would be overwritten"),
    ("evaluated", "comparison.json", "run", "whose predictions.parquet would be overwritten"),
]
GOOD_DIRECTORIES = [
    ("run/evaluation-val", "metrics.json", "run"),
    ("run/evaluation-test", "metrics.json", "run/last.pt"),
    ("folds/evaluation-out_of_fold", "metrics.json", "folds/out_of_fold.parquet"),
    ("folds/comparison", "comparison.json", "folds/fold-0"),
    ("inspected", "inspect.json", "store"),
    ("evaluated", "metrics.json", "run"),
    ("evaluated", "explain.json", "run"),
    ("new/deep", "slide.json", "run"),
]


def _tree(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "read", "phrase"), FILES)
def test_a_file_that_would_do_harm_is_refused(place: Path, name: str, read: str, phrase: str) -> None:
    before = _tree(place)
    with pytest.raises(UsageError) as caught:
        output_place.check_file(place / name, (place / read, None))
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _tree(place) == before


@pytest.mark.parametrize(("name", "read"), GOOD_FILES)
def test_any_other_file_is_taken(place: Path, name: str, read: str) -> None:
    output_place.check_file(place / name, (place / read,))


@pytest.mark.parametrize(("name", "closing", "read", "phrase"), DIRECTORIES)
def test_a_directory_that_would_do_harm_is_refused(
    place: Path, name: str, closing: str, read: str, phrase: str
) -> None:
    before = _tree(place)
    with pytest.raises(UsageError) as caught:
        output_place.check_directory(place / name, closing, (place / read, None))
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)
    assert _tree(place) == before


@pytest.mark.parametrize(("name", "closing", "read"), GOOD_DIRECTORIES)
def test_any_other_directory_is_taken(place: Path, name: str, closing: str, read: str) -> None:
    output_place.check_directory(place / name, closing, (place / read,))


@pytest.mark.parametrize(
    ("name", "phrase"), [("store/new", "lies in"), ("run/new", "lies in"), ("table.csv", "a file")]
)
def test_a_new_run_or_store_lies_in_no_other(place: Path, name: str, phrase: str) -> None:
    with pytest.raises(UsageError, match=phrase):
        output_place.check_new(place / name)


@pytest.mark.parametrize("name", ["new", "run", "folds", "web/new"])
def test_a_new_run_or_store_lies_anywhere_else(place: Path, name: str) -> None:
    output_place.check_new(place / name)


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (("report.html", "predictions.parquet"), "predictions.parquet"),
        (("comparison.png", "predictions.parquet"), "predictions.parquet"),
        (("heatmap.png", "tiles.parquet"), "tiles.parquet"),
    ],
)
def test_what_is_left_of_a_set_is_not_read(tmp_path: Path, names: tuple[str, ...], path: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="is missing"):
        output_place.check_whole(tmp_path / path)


@pytest.mark.parametrize("beside", [("metrics.json", "report.html"), ("comparison.json", "comparison.png"), ()])
def test_a_whole_set_is_read_and_a_table_that_was_moved_away(tmp_path: Path, beside: tuple[str, ...]) -> None:
    for name in (*beside, "predictions.parquet"):
        (tmp_path / name).touch()
    output_place.check_whole(tmp_path / "predictions.parquet")


@pytest.mark.parametrize("closing", SETS)
def test_a_set_takes_the_place_of_another(tmp_path: Path, closing: str) -> None:
    old = {name: b"old" for name in (*SETS[closing], closing, "patches/a[1].png")}
    output_place.write_set(tmp_path, closing, old)
    (tmp_path / "mine.txt").write_text("a file that somebody keeps here")
    (tmp_path / "patches" / "a1.png").write_text("likewise")
    output_place.write_set(tmp_path, closing, {closing: b"new"}, stale=["patches/a[1].png"])
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {closing, "mine.txt", "patches/a1.png"}
    assert (tmp_path / closing).read_bytes() == b"new"


def test_an_error_while_a_set_is_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {name: b"old" for name in (*SETS["metrics.json"], "metrics.json")}
    output_place.write_set(tmp_path, "metrics.json", old)
    before = _tree(tmp_path)
    write, calls = file_sets.FileSet.write, []

    def full(self: file_sets.FileSet, name: str, content: bytes) -> None:
        calls.append(name)
        if len(calls) == 3:
            raise FastpathError(name, "no space is left", "make room")
        write(self, name, content)

    monkeypatch.setattr(file_sets.FileSet, "write", full)
    with pytest.raises(FastpathError, match="no space"):
        output_place.write_set(tmp_path, "metrics.json", dict.fromkeys(old, b"new"))
    assert "no space is left" in (tmp_path / run_log.NAME).read_text()
    assert {path: content for path, content in _tree(tmp_path).items() if not path.endswith(run_log.NAME)} == before


def test_all_that_a_run_writes_is_its_own() -> None:
    from fastpath.runs import calibration_file, out_of_fold, training_appearance
    from fastpath.runs import run_directory as run
    from fastpath.workflows.compare import leak
    from fastpath.workflows.train import failure, mlflow_tracker, tensorboard_tracker, wandb_tracker

    names = {run.CONFIG, run.RUN, run.JOURNAL, run.TIMINGS, run.HISTORY, run.BEST, run.LAST, run.CURVES}
    names |= {
        calibration_file.NAME,
        "calibration-*.json",
        failure.FACTS,
        failure.SETTINGS,
        out_of_fold.SUMMARY,
        leak.SUMMARY,
        out_of_fold.NAME,
    }
    names |= {tensorboard_tracker.TENSORBOARD, mlflow_tracker.MLFLOW, wandb_tracker.NOTE, wandb_tracker.FOLDER}
    names |= {training_appearance.NAME, "fold-*", run_log.NAME}
    assert set(output_place.OF_RUN) == names
