"""`fastpath train` as a user meets it: results, Ctrl-C, and one line at each fault."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastpath.cli import main as entry
from fastpath.workflows import pack

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

SMALL = (
    *("--set", "model.name=baseline_cnn", "--set", "model.pretrained=false", "--set", "model.trainable=all"),
    *("--set", "data.image_size_px=16", "--set", "data.batch_size=16", "--device", "cpu", "--threads", "1"),
)


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train_cli") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fastpath", "train", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run the command here, which spares importing torch and DALI again."""
    monkeypatch.setattr(sys, "argv", ["fastpath", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


def test_trains_and_says_where(
    cpu_bfloat16: bool, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    status, out, error = in_process(
        monkeypatch, capsys, store, "-o", run_dir, *SMALL, "--epochs", 2, "--amp", "--seed", 3
    )
    assert status == 0
    assert out.splitlines()[-1] == f"→ {run_dir / 'curves.png'}"
    assert f"next: fastpath evaluate {run_dir}" in error
    first = (run_dir / "run.log").read_text(encoding="utf-8")
    for line in error.splitlines():  # all that the terminal showed
        assert line.removeprefix("note: ").strip() in first
    assert f"fastpath train {store} -o {run_dir}" in first.splitlines()[0]
    (session,) = json.loads((run_dir / "run.json").read_text())["sessions"]
    assert session["command"] == f"fastpath train {store} -o {run_dir} {' '.join(SMALL)} --epochs 2 --amp --seed 3"
    kept = json.loads((run_dir / "config.json").read_text())
    assert (kept["seed"], kept["train"]["epochs"], kept["data"]["image_size_px"]) == (3, 2, 16)
    chosen_precision = json.loads((run_dir / "run.json").read_text())["precision"]
    assert chosen_precision == "float32" or cpu_bfloat16
    assert ("no bfloat16" in " ".join(error.split())) == (not cpu_bfloat16)
    # Resuming takes the run's own settings, and has nothing left to do. With other threads, sums are taken otherwise.
    for threads, notices in ((1, 0), (2, 1), (1, 1)):
        status, out, error = in_process(
            monkeypatch, capsys, store, "-o", run_dir, "--resume", "--json", "--threads", threads
        )
        assert (status, json.loads(out)["status"], json.loads(out)["epochs"]) == (0, "finished", 2)
        assert (
            " ".join(error.split()).count(f"goes on with {threads}: its last digits will differ; --threads") == notices
        )
    again = (run_dir / "run.log").read_text(encoding="utf-8")
    assert again.startswith(first)
    assert again.count("--resume") == 3


ONE_THREAD = ("--threads", 1)  # as in SMALL: another number would be told of


def test_resuming_takes_the_runs_settings_with_what_is_asked_for_in_their_place(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    assert in_process(monkeypatch, capsys, store, "-o", run_dir, *SMALL, "--epochs", 1, "--tensorboard")[0] == 0
    events = set((run_dir / "tensorboard").iterdir())
    again = (store, "-o", run_dir, "--resume", *ONE_THREAD)
    status, out, error = in_process(monkeypatch, capsys, *again, "--epochs", 2, "--json")
    assert (status, json.loads(out)["epochs"]) == (0, 2), error
    assert json.loads((run_dir / "config.json").read_text())["model"]["name"] == "baseline_cnn"
    assert "goes on in tensorboard, as the run began" in " ".join(error.split())
    assert set((run_dir / "tensorboard").iterdir()) > events
    for change in ("optim.lr_head=0.5", "data.augment.policy=d4"):
        status, _, error = in_process(monkeypatch, capsys, *again, "-q", "--set", change)
        assert status == 2
        assert change.partition("=")[0] in error
        assert "except train.epochs, train.early_stop_epochs" in error
        assert "model.name" not in error


def test_resuming_goes_on_in_the_precision_of_the_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fastpath.runtime.cpu_has_bfloat16", lambda: True)  # emulated, which a tiny network bears
    monkeypatch.setattr("fastpath.runs.precision.gain", lambda _plain, _mixed: 2.0)
    monkeypatch.setenv("FASTPATH_CACHE_DIR", str(tmp_path / "own"))  # another test may have measured this network
    run_dir = tmp_path / "run"

    def precision(*arguments: object) -> tuple[str, str]:
        status, _, error = in_process(monkeypatch, capsys, store, "-o", run_dir, *arguments)
        assert status == 0, error
        return json.loads((run_dir / "run.json").read_text())["precision"], " ".join(error.split())

    chosen, error = precision(*SMALL, "--epochs", 1, "--limit", 16, "--val-limit", 8, "--amp")
    assert chosen == "bfloat16"
    assert "runs at 2.00 of float32's rate" in error
    assert "2.00" in json.loads((run_dir / "run.json").read_text())["precision_notice"]
    chosen, error = precision("--resume", *ONE_THREAD)
    assert chosen == "bfloat16"
    assert "goes on in" not in error
    monkeypatch.setenv("FASTPATH_CACHE_DIR", str(tmp_path / "empty"))  # nothing is remembered, and now it is slower
    monkeypatch.setattr("fastpath.runs.precision.gain", lambda _plain, _mixed: 0.5)
    chosen, error = precision("--resume", "--amp", *ONE_THREAD)
    assert chosen == "bfloat16"
    assert "goes on in" not in error
    chosen, error = precision("--resume", "--no-amp", *ONE_THREAD)
    assert chosen == "float32"
    assert "the run began in bfloat16 and goes on in float32" in error


def test_ctrl_c_saves_and_says_how_to_go_on(store: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    training = process(store, "-o", run_dir, *SMALL, "--epochs", 12, "--json")
    deadline = time.monotonic() + 300
    while not (run_dir / "last.pt").exists() and training.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    training.send_signal(signal.SIGINT)
    out, error = training.communicate(timeout=300)
    assert training.returncode == 130, error
    assert json.loads(out)["status"] == json.loads((run_dir / "run.json").read_text())["status"] == "interrupted"
    assert f"fastpath train {store} -o {run_dir} --resume" in error
    assert "Traceback" not in error
    resumed = process(store, "-o", run_dir, "--resume", "--device", "cpu", "--threads", "1")
    _, error = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, error
    assert "going on after epoch" in error
    epochs = [json.loads(line)["epoch"] for line in (run_dir / "journal.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, 13))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--set", "train.epoch=3"), "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        (("--set", "optim.lr_head=-1"), "optim.lr_head: found -1"),
        (("--config", "none.toml"), "none.toml: is neither a file nor a recipe"),
        (("--config", "fast_lit0"), "did you mean 'fast_lite0'?"),
        (("--device", "cuda"), "--device cuda: found no usable CUDA device"),
        (("--resume",), "found no run to resume; drop --resume to start one"),
        (("--resume", "--epochs", "3"), "found no run to resume; drop --resume to start one"),
        ((*SMALL, "--set", "model.trainable=layer9"), "model.trainable: found 'layer9', wanted head, all or one of"),
        ((*SMALL, "--set", "model.weights=none.pth"), "none.pth: cannot be read: it does not exist"),
        (("--epochs", "0"), "Invalid value for '--epochs'"),
    ],
)
def test_a_wrong_request_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...],
    wanted: str,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    status, out, error = in_process(monkeypatch, capsys, store, "-o", tmp_path / "run", "-q", *arguments)
    assert (status, out) == (2, "")
    assert wanted in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = in_process(monkeypatch, capsys, tmp_path, "-o", tmp_path / "run", "-q", *SMALL)
    assert status == 2
    assert "is not a packed store" in error
    assert len(error.splitlines()) == 1
