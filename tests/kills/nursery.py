"""Kill commands at operations on files, run them again, and tell what was not as it should be.

    python nursery.py FOLDER [--every N] [--first N] COMMAND...

Imports once what commands have imported and forks a process for each run of one, so that a kill costs what the command
does. For each operation of a command, and before it, after it, and within it where it writes, a run is killed there. At
that moment what the command writes must be the old or the new, whole; running it again must leave the bytes of a run
that nobody killed, and no other file; what it reads must be untouched. Prints one JSON object a command.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import runpy
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from commands import COMMANDS, GIVEN, Command
from points import Points

USUAL = ("fastpath.workflows.merge", "fastpath.workflows.repair", "pyarrow.parquet", "sklearn.model_selection")
"""What most commands import; what others do is seen when they first run."""

LOG = "run.log"
"""Tells times, of every run of a command."""

Tree = dict[str, bytes]
Point = tuple[int, str]


def tree(folder: Path) -> Tree:
    """Return every file and directory below a folder, with what the files hold."""
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
    }


def same(name: str, left: bytes, wanted: bytes) -> bool:
    """Whether two contents of a file are equal: of a checkpoint, all its values.

    Its bytes also tell which of its strings were one object in memory, and a run that was gone on from has others.
    """
    if left == wanted or not name.endswith(".pt"):
        return left == wanted
    import torch

    first, second = (torch.load(io.BytesIO(content), weights_only=True) for content in (left, wanted))
    return _equal(first, second)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_equal(value, second[key]) for key, value in first.items())
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    return bool((first == second).all()) if hasattr(first, "shape") else bool(first == second)


def run(folder: Path, arguments: tuple[str, ...], point: Point | None = None) -> tuple[int, list[str], str]:
    """Run a command in a process of its own, which dies at a point.

    Returns:
        The exit status, negative for a signal; the operations; and what it said on standard error.
    """
    stderr_path, done = folder / "said", folder / "operations"
    pid = os.fork()
    if pid == 0:
        with stderr_path.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        points = Points(folder / "work", *(point or ()))
        try:
            points.install()
            status = _call(arguments)
        except BaseException as error:
            os.write(2, repr(error).encode())
            status = 70
        done.write_text(json.dumps([points.names, sorted(sys.modules)]))
        os._exit(status)
    _, ended = os.waitpid(pid, 0)
    status = os.waitstatus_to_exitcode(ended)
    operations, modules = json.loads(done.read_text()) if status == 0 else ([], [])
    for name in modules:  # once, and not in every process that is to come
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return status, operations, stderr_path.read_text(errors="replace")[-300:]


def _call(arguments: tuple[str, ...]) -> int:
    from fastpath.cli.main import main

    sys.argv = ["fastpath", *arguments]
    try:
        main()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        return int(ended.code or 0)


def write_patches(folder: Path, count: str) -> None:
    """Draw labelled patches of a few slides."""
    from fastpath.ingest.synth import write_kaggle_folder

    write_kaggle_folder(folder, num_train=int(count), num_test=0, num_slides=8, seed=int(count))


def write_slide(path: Path) -> None:
    """Draw a small slide of tissue."""
    import numpy as np
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(60, 200, (400, 400, 3), dtype=np.uint8)).save(path)


def write_encoder(path: Path) -> None:
    """Write a tiny encoder."""
    writer = Path(__file__).resolve().parent.parent / "writers" / "tiny_encoder.py"
    runpy.run_path(str(writer))["write_encoder"](path)


def flip(path: Path) -> None:
    """Change a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def copy(path: Path, source: str) -> None:
    """Copy a directory of the folder to where it may be written to."""
    shutil.copytree(path.parent.parent / source, path)


PREPARE: dict[str, Callable[..., None]] = {
    "!patches": write_patches,
    "!slide": write_slide,
    "!encoder": write_encoder,
    "!flip": flip,
    "!copy": copy,
}


def prepare(folder: Path, step: tuple[str, ...]) -> None:
    """Do one step of what a command starts from."""
    if step[0] in PREPARE:
        PREPARE[step[0]](folder / step[1], *step[2:])
        return
    killed = step[0] == "!kill"
    point = (int(step[1]), "after") if killed else None
    status, _, stderr = run(folder, step[2:] if killed else step, point)
    assert status == (-signal.SIGKILL if killed else 0), (step, status, stderr)


class Attempts:
    """The runs of one command, each from the same start.

    Args:
        folder: Holds `given/`, with all that the command reads.
        command: The command.
    """

    def __init__(self, folder: Path, command: Command) -> None:
        self.folder, self.command = folder, command
        self.work, self.start = folder / "work", folder / "start"
        self._fresh()
        for step in command.start:
            prepare(folder, step)
        shutil.copytree(self.work, self.start, symlinks=True)
        self.old = tree(self.work)
        status, self.operations, stderr = run(folder, command.arguments)
        assert status == 0, (command.arguments, status, stderr)
        self.new = tree(self.work)

    def points(self) -> Iterator[Point]:
        """Every moment to die at."""
        for number, name in enumerate(self.operations):
            yield number, "before"
            if name == "write":
                yield number, "within"
        yield len(self.operations) - 1, "after"

    def kill(self, point: Point) -> str:
        """Kill at a point and run again; return what was wrong, or nothing."""
        self._fresh(self.start)
        status, _, stderr = run(self.folder, self.command.arguments, point)
        if status != -signal.SIGKILL:
            return f"was not killed, but ended with {status}: {stderr}"
        wrong = self._torn(tree(self.work))
        if wrong:
            return wrong
        again = self.command.arguments
        if self.command.resume_if and (self.folder / self.command.resume_if).exists():
            again += self.command.resume
        status, _, stderr = run(self.folder, again)
        whole = self.command.refuses and self._part(tree(self.work)) == self._part(self.new)
        if status != 0 and not (status == 2 and whole):
            return f"cannot be run again ({status}): {stderr}"
        return self._differs(tree(self.work))

    def _fresh(self, start: Path | None = None) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        if start is None:
            shutil.rmtree(self.start, ignore_errors=True)
            self.work.mkdir()
        else:
            shutil.copytree(start, self.work, symlinks=True)

    def _part(self, left: Tree) -> Tree:
        """Return the store within what there is."""
        return {name: value for name, value in left.items() if f"{name}/".startswith(f"{self.command.store}/")}

    def _torn(self, left: Tree) -> str:
        """Say what is neither old nor new."""
        if self.command.store and self._part(left) not in (self._part(self.old), self._part(self.new)):
            return f"left a store that is neither the old nor the new one: {sorted(self._part(left))}"
        kinds = {name: self._kind(name, left) for name in self.command.files}
        torn = [name for name, kind in kinds.items() if not kind]
        if torn:
            return f"left {torn} neither old nor new"
        if self.command.closing in left and not {"old", "new"}.intersection(*kinds.values()):
            return f"left {self.command.closing} beside files of another set: {kinds}"
        return ""

    def _kind(self, name: str, left: Tree) -> list[str]:
        """Say which of old and new a file is; what varies is neither, and may be either."""
        if Path(name).name in (*self.command.varies, LOG):
            return ["old", "new"]
        kinds = {"old": self.old, "new": self.new}
        if name not in left and self.command.closing and self.command.closing not in left:
            return ["old", "new"]  # a set without its closing file is none
        return [kind for kind, there in kinds.items() if there.get(name) == left.get(name)]

    def _differs(self, left: Tree) -> str:
        """Say in what the files differ from those of a run that nobody killed."""
        more, less = sorted(left.keys() - self.new.keys()), sorted(self.new.keys() - left.keys())
        both = [name for name in left if name in self.new and Path(name).name not in (*self.command.varies, LOG)]
        other = [name for name in both if not same(name, left[name], self.new[name])]
        return f"left {more} behind, lacks {less}, and differs in {other}" if more or less or other else ""


def main() -> None:
    """Kill the commands that are named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("commands", nargs="+", choices=COMMANDS)
    parser.add_argument("--every", type=int, default=1, help="try each N-th moment")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    options = parser.parse_args()
    for name in USUAL:
        importlib.import_module(name)
    chosen = [COMMANDS[name] for name in options.commands]
    folder = options.folder.resolve()
    os.chdir(folder)
    for name in ("given", "work"):
        (folder / name).mkdir()
    for key in dict.fromkeys(key for command in chosen for key in command.given):
        for step in GIVEN[key]:
            prepare(folder, step)
    given = tree(folder / "given")
    for name, command in zip(options.commands, chosen, strict=True):
        attempts = Attempts(folder, command)
        points = list(attempts.points())[options.first :: options.every]
        wrong = {f"{number} {when}": attempts.kill((number, when)) for number, when in points}
        faults = [f"{attempts.operations[int(at.split()[0])]} {at}: {fault}" for at, fault in wrong.items() if fault]
        if tree(folder / "given") != given:
            faults.append("what it reads was written to")
        document = {"command": name, "operations": len(attempts.operations), "kills": len(points), "faults": faults}
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
