"""What a training run leaves on disk, and in what order, so that a crash at any moment loses nothing.

At the end of an epoch the journal's line comes first and `last.pt` last: a run killed in between goes on from the
older checkpoint, cuts the journal back to it, and writes the same line again. All of it is written in this order by one
thread (`saving`), so a run that is ahead of it when it is killed goes on from the older checkpoint too, and finds no
line of what it lost, or one that it cuts back.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastpath.engine import journal
from fastpath.engine.archive import share_file
from fastpath.engine.checkpoint import Checkpoint, Provenance, check_same_config, save_checkpoint
from fastpath.engine.loop import EpochEvent
from fastpath.engine.stages import Stage
from fastpath.engine.step_rates import step_rates
from fastpath.errors import FastpathError, UsageError
from fastpath.figures.training_curves import draw_curves
from fastpath.system.files import as_failure, write_durably
from fastpath.text import brief, command_line
from fastpath.urls import redacted

CONFIG, RUN, JOURNAL, TIMINGS, HISTORY = "config.json", "run.json", "journal.jsonl", "timings.jsonl", "history.csv"
BEST, LAST, CURVES = "best.pt", "last.pt", "curves.png"
VIEWS = {"tensorboard": "tensorboard", "mlflow": "mlflow.json", "wandb": "wandb.json"}
"""What each tracker of training leaves in a run, by the tracker's name."""


def check_vacancy(path: Path, *, resume: bool) -> None:
    """Refuse to train over another run, or to resume where there is none.

    Raises:
        UsageError: Naming what was found.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(path, "found a file, wanted a directory for the run", "choose another name")
    holds_run = (path / CONFIG).exists()
    if holds_run and not resume:
        raise UsageError(path, "already holds a run", "add --resume to go on with it, or choose another directory")
    if resume and not holds_run:
        raise UsageError(path, "found no run to resume", "drop --resume to start one")


Standing = tuple[int, ...]
"""Which run is in a directory and how far it is: inode and time of the files that tell."""


def standing(path: Path) -> Standing:
    """Return what `claimed` compares to see that nobody has begun or gone on with a run meanwhile."""
    stamp: list[int] = []
    for name in (CONFIG, LAST):
        with contextlib.suppress(OSError):
            facts = (path / name).stat()
            stamp += [facts.st_ino, facts.st_mtime_ns]
        stamp.append(-1)
    return tuple(stamp)


@contextmanager
def claimed(path: Path, stood: Standing | None = None) -> Iterator[None]:
    """Make the directory and hold it against another process until the block ends, however it ends.

    Args:
        path: The directory.
        stood: What `standing` said when the run in it was looked at; None where nothing was.

    Raises:
        UsageError: Another process trains in it, or has done so since.
        FastpathError: It cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise as_failure(path, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(path, "another process is training here", "wait for it, or choose another directory") from None
    try:
        if stood is not None and standing(path) != stood:
            problem = "another process has trained here meanwhile"
            raise UsageError(path, problem, "see how far it is, then go on with --resume or choose another directory")
        yield
    finally:
        os.close(descriptor)


def begin(path: Path, origin: Provenance, facts: Mapping[str, Any]) -> None:
    """Write down what the run is before it starts.

    Args:
        path: The run's directory.
        origin: What the run is made of.
        facts: What else is worth keeping: plain values.
    """
    values = asdict(origin)
    _write_json(path / CONFIG, values.pop("config"))
    versions = values.pop("software")
    sessions = [*sessions_of(path), _session()]
    _write_json(path / RUN, {"status": "running", **facts, **values, "versions": versions, "sessions": sessions})


def sessions_of(path: Path) -> list[dict[str, str]]:
    """Return when, where and by which command the run in this directory has begun and gone on; empty where untold."""
    sessions = _run_document(path).get("sessions")
    return [entry for entry in sessions if isinstance(entry, dict)] if isinstance(sessions, list) else []


def _session() -> dict[str, str]:
    """Return when and where this process began, and its command line, less secrets of URLs."""
    program = Path(sys.argv[0]).stem
    words = ("fastpath" if program in ("fastpath", "__main__") else program, *sys.argv[1:])
    return {"began": _now(), "host": platform.node(), "command": redacted(command_line(*words))}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_config(path: Path, config: Mapping[str, Any], may_change: Sequence[str] = ()) -> None:
    """Refuse to go on with another configuration than the directory's, `may_change` aside.

    Raises:
        CheckpointError: Naming the keys that differ.
    """
    check_same_config(path / CONFIG, read_config(path), config, may_change)


def read_config(path: Path) -> dict[str, Any]:
    """Return the configuration of the run in this directory.

    Raises:
        UsageError: There is none, or it cannot be read.
    """
    try:
        values: dict[str, Any] = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(path, f"found no readable {CONFIG} ({error})", "give the directory of a run") from None
    return values


def precision_of(path: Path) -> str:
    """Return what the run in this directory, or the first of its folds, computes in; empty where nothing tells."""
    return str(_run_document(path).get("precision", ""))


def threads_of(path: Path) -> int:
    """Return `Runtime.summing_threads` of the run in this directory, or the first of its folds; 0 if nothing tells."""
    threads = _run_document(path).get("threads")
    return threads if isinstance(threads, int) else 0


def store_of(path: Path) -> Path | None:
    """Return where the store lay of the run in this directory, or the first of its folds; None where nothing tells."""
    return _place_in(path, "store")


def split_file_of(path: Path) -> Path | None:
    """Return where the split lay of the run in this directory, or the first of its folds; None where in the store."""
    return _place_in(path, "split_file")


def _place_in(path: Path, key: str) -> Path | None:
    place = _run_document(path).get(key)
    return Path(place) if isinstance(place, str) and place else None


def views_of(path: Path) -> dict[str, Path]:
    """Return the trackers that the run in this directory, or the first of its folds, has told, and what tells so."""
    places = {name: (path / trace, path / "fold-0" / trace) for name, trace in VIEWS.items()}
    return {name: place for name, both in places.items() for place in both if place.exists()}


def _run_document(path: Path) -> dict[str, Any]:
    """Return what `run.json` tells of a run, or of the first of its folds."""
    for each in (path / RUN, path / "fold-0" / RUN):
        with contextlib.suppress(OSError, ValueError):
            values = json.loads(each.read_text(encoding="utf-8"))
            if isinstance(values, dict):
                return values
    return {}


def rewind(path: Path, num_epochs: int) -> None:
    """Drop what the journal and timings tell of epochs after `num_epochs`."""
    journal.truncate(path / JOURNAL, num_epochs)
    journal.truncate(path / TIMINGS, num_epochs)


def record_epoch(path: Path, event: EpochEvent, checkpoint: Checkpoint) -> None:
    """Write down an epoch that ended and the state it left: once, even where it belongs in both files."""
    journal.append(path / TIMINGS, journal.timing_record(event))
    journal.append(path / JOURNAL, journal.epoch_record(event))
    journal.write_history(path / HISTORY, journal.read(path / JOURNAL))
    if event.improved:
        save_checkpoint(checkpoint, path / BEST)
        if share_file(path / BEST, path / LAST):
            return
    save_checkpoint(checkpoint, path / LAST)


def has_epochs(path: Path) -> bool:
    """Return whether a run's journal tells of an epoch."""
    return bool(journal.read(path / JOURNAL))


def draw_training(path: Path, title: str, stages: Sequence[Stage]) -> None:
    """Draw the curves so far of a run of these stages, under a title."""
    records, timings = journal.read(path / JOURNAL), journal.read(path / TIMINGS)
    draw_curves(path / CURVES, records, title, timings, step_rates(stages, records))


@contextmanager
def failing(path: Path) -> Iterator[None]:
    """Write down that the run failed, and why, should the block raise."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        with contextlib.suppress(OSError, ValueError, FastpathError):  # a full disk may be the very reason
            finish(path, {"status": "interrupted" if interrupted else "failed", "error": _one_line(error)})
        raise


def finish(path: Path, result: Mapping[str, Any]) -> None:
    """Write down how the run ended."""
    facts = json.loads((path / RUN).read_text(encoding="utf-8"))
    plain = {key: value for key, value in result.items() if key != "run_dir"}
    for session in facts.get("sessions", [])[-1:]:
        session["ended"] = _now()
    _write_json(path / RUN, facts | plain)


def _one_line(error: BaseException) -> str:
    text = brief(error, 500)
    return text if isinstance(error, FastpathError) else f"{type(error).__name__}: {text}"


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_durably(path, (json.dumps(values, indent=2) + "\n").encode())
