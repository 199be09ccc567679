"""Whatever is wrong with an argument or option of any command, one line says where, what and what to do.

The matrix is made from click's own tables: a new command has to be given a call that works (`CALLS`), a new option is
covered by itself. A value that turns out legal ends where work would begin.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
import pytest
import tiny_encoder

from fastpath.cli import main as entry
from fastpath.cli.param_types import Device, UserPath

CONTEXT = click.Context(entry.app)
NAMES = entry.app.list_commands(CONTEXT)
COMMANDS = {name: entry.app.get_command(CONTEXT, name) for name in NAMES}
FAST_SHARE = 0.03  # of the cases; all of them are tried with -m slow

# A call of each command that would work. {X} is a fixture's file, {new} a name that is free.
CALLS = {
    "audit": "{store} -o {new}",
    "bench": "loader {store}",
    "compare": "{run} {run2} -o {new}",
    "config": "list",
    "demo": "-o {new}",
    "doctor": "",
    "embed": "{store} -o {new} --model local-dir:{vit}",
    "evaluate": "{run} -o {new}",
    "explain": "{run} -o {new}",
    "export": "{run} -o {new}.pt2",
    "inspect": "{store} -o {new}",
    "merge": "{store} {store2} -o {new}",
    "mine": "{run} -o {new}.csv",
    "models": "resnet18",
    "pack": "{patches} -o {new} --workers 1",
    "predict": "{run} --store {store} -o {new}",
    "probe": "{features} -o {new}",
    "repair": "{store} --source {patches} --workers 1",
    "show": "{store} --ids {id} -o {new}",
    "slide": "{run} {slide} -o {new} --mpp 0.97",
    "split": "{store}",
    "sweep": "{store} -o {new} --grid optim.weight_decay=0,1 --set model.pretrained=false",
    "train": "{store} -o {new} --set model.pretrained=false --set model.name=baseline_cnn",
    "verify": "{store} --workers 1",
}

# What has to be given with an option for it to be looked at.
WITH = {
    ("compare", "config_path"): "--splits random,group",
    ("compare", "folds"): "--splits random,group",
    ("predict", "source"): None,
    ("split", "table"): "--kind csv",
}

NUMBERS = (
    "0", "-1", "1.5", "1e3", "nan", "inf", "-inf", "9" * 30, "1e400", "1e300", "1e-300", "", " ", "two", "0x10", "5%",
    "[/b]",
)  # fmt: skip
WORDS = ("", " ", "other", "[/b]", "\x1b[31m", "a\nb", "x" * 5000, "caf\udce9", "=1+1", "../..", "%s%n", "{0}", "a\0b")
SETTINGS = (
    "seed", "=1", "seed=", "sede=1", "seed=-1", "seed=1.5", "seed=two", "seed=[1]", "seed.x=1", "train.epochs=0",
    "train.epochs=nan", "optim.weight_decay=nan", "optim.weight_decay=inf", "optim.weight_decay=-1", "stages=5",
    "data.batch_size=0", "data.batch_size=99999999999999999999", "data.image_size_px=1000000000", "data=3",
    "model.name=[/b]", "model.name=\x1b[31m", "data.extra={fifo}", "data.extra={nowhere}", "data.extra={folder}",
    "data.extra=/dev/zero", "model.name={fifo}", "a.b=1", "seed=" + "[" * 5000, "seed=1=2", "é=1",
    "data.limit=-5", "train.accumulate=0", "data.sampling=\n", "seed=true",
)  # fmt: skip
GRIDS = ("seed", "seed=1", "x=1,2", "=1,2", "optim.weight_decay=", "optim.weight_decay=nan,1", "optim.weight_decay=1,1",
         "train.epochs=0,1", "optim.weight_decay=[1", "", "[/b]=1,2")  # fmt: skip
ENCODERS = ("", " ", "nothing_of_the_kind", "[/b]", "\x1b[31m", "a\nb", "x" * 5000, "local-dir:", "local-dir:{nowhere}",
            "local-dir:{folder}", "local-dir:{fifo}", "local-dir:{garbage}", "resnet18.no_such_tag", "%s%n",
            "local-dir:a\0b")  # fmt: skip
IDS = ("nowhere", "", "[/b]", "\x1b[31m", "a\nb", "=1", "x" * 5000)
OWN: dict[str, tuple[str, ...]] = {
    "weights": ("", "one", "1,,2", "nan", "inf", "-1", "0", "1,2,3", "1e400", "1;2"),
    "part": ("", "1", "0/2", "3/2", "1/0", "a/b", "1/99999999999999999999", "-1/2", "1/2/3"),
    "overrides": SETTINGS,
    "grid": GRIDS,
    "model": ENCODERS,
    "dask": ("", "nowhere", "tcp://127.0.0.1:1", "[/b]", "a\nb"),
    "splits": ("random", "random,random", "a,b", "", "random,group,csv", "[/b]"),
    "first_ids": IDS,
    "more_ids": IDS,
    "ids": IDS,
}
DEVICES = ("gpu", "", "cuda:", "cuda:-1", "cuda:99999999999999999999", "tpu", "CPU", "[/b]")

# Kinds of path. Those that a file system or a shell cannot hold are plain text; {X} is a fixture's.
PATHS = (
    "", " ", "{nowhere}", "{nowhere}/below", "{file}", "{file}/below", "{folder}", "{fifo}", "{socket}", "{dangling}",
    "{loop}", "{empty}", "{garbage}", "{garbage}.csv", "{garbage}.parquet", "{garbage}.json", "{garbage}.toml",
    "{garbage}.pt", "{garbage}.xml", "{garbage}.tif", "{garbage}.h5", "{csv}", "{toml}", "{cut}.parquet", "{cut}.pt",
    "{newer}", "{headless}", "/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem", "x" * 300, "y/" * 3000,
    "a\0b", "caf\udce9", "{markup}", "{escape}", "{line}", "http:///", "nothing://host/x", "-", "--",
)  # fmt: skip

NO_PATHS = ("", " ", "x" * 300, "y/" * 3000, "a\0b", "caf\udce9", "{loop}")

# What is given together and contradicts itself, is missing, or is not known.
PAIRS = (
    "audit {store} -o {new} --amp --precision float32",
    "audit {store} -o {new} --amp --no-amp",
    "bench ceiling {store} -q -v",
    "compare {run}",
    "compare {run} {run} -o {new}",
    "compare {run} {csv} -o {new}",
    "compare --splits random,group {store}",
    "compare --splits random,group {store} {store2} -o {new}",
    "embed {store} -o {store} --model local-dir:{vit}",
    "embed {store} -o {new}",
    "embed {store} -o {new} --model local-dir:{vit} --weights {garbage}.pt",
    "evaluate {run} --split test -o {new}",
    "evaluate {csv} -o {new}",
    "explain {run} --ids {id} --errors 3 -o {new}",
    "explain {run} --sample 3 --errors 3 -o {new}",
    "explain {run} {id} -o {new}",
    "export {run} -o {new}.gguf",
    "export {run} -o {folder}",
    "export {run} -o {new} --format timm",
    "export {run} -o {new}.safetensors --tta d4",
    "export {run} -o {new}.onnx --format pt2",
    "merge {store} {store} -o {new}",
    "mine {run} -o {new}.txt",
    "mine {run} -o {folder}",
    "pack {patches} -o {store}",
    "pack {patches} -o {new} --drop other",
    "pack {patches} -o {patches}",
    "pack {patches}/train -o {patches}/train/below",
    "predict {run} -o {new}",
    "predict {run} --store {store} --source {patches} -o {new}",
    "predict {run} --store {store} -o {folder}",
    "predict {run} {run2} --weights 1 --store {store} -o {new}",
    "probe {store} -o {new}",
    "probe {features} -o {features}/features-00000.npy",
    "probe {features} -o {store}",
    "probe {features} -o {new} --store {store2}",
    "probe {features} -o {new} --split test",
    "probe {features} -o {new} --slides --store {store}",
    "probe {features} -o {new} --slide-labels {garbage}.csv",
    "repair {store}",
    "show {store} -o {new}",
    "show {store} --ids {id} --epoch 0 --position 0 -o {new}",
    "show {store} --epoch 0 -o {new}",
    "show {store} {id} -o {new}",
    "show {store} --epoch 0 --position 99999999999999 -o {new}",
    "slide -o {new}",
    "slide {run} -o {new}",
    "slide {run} {slide} --table {csv} -o {new}",
    "slide {run} {slide} {slide} --mpp 0.97 -o {new}",
    "slide {run} {slide} {file} --mpp 0.97 --lesions {csv} -o {new}",
    "slide --table {csv} --pool {folder} -o {new}",
    "split {store} --kind csv",
    "split {store} --from {csv}",
    "split {store} --kind official",
    "split {store} --folds 3 --fold 3",
    "split {store} --folds 36",
    "sweep {store} -o {new}",
    "sweep {store} -o {new} --grid optim.weight_decay=0,1 --grid optim.weight_decay=0,1 --set model.pretrained=false",
    "train {store} -o {new} --resume",
    "train {store} -o {run}",
    "train {store} -o {new} --folds 7",
    "verify {store} --source {patches}/test",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Words of a command, in which {X} stands for a fixture's file."""

    name: str
    words: tuple[str, ...]
    refused: bool = False
    """Whether it is wrong whatever the rest: what is not, may turn out legal."""


def _values(parameter: click.Parameter) -> tuple[str, ...]:
    kind = parameter.type
    if parameter.name in OWN:
        return OWN[parameter.name]
    if isinstance(kind, UserPath):
        return PATHS
    if isinstance(kind, Device):
        return DEVICES
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return NUMBERS
    return WORDS


def _is_wrong(parameter: click.Parameter, value: str) -> bool:
    kind = parameter.type
    if isinstance(kind, click.types.FloatParamType) and value == "9" * 30:
        return False
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return value not in ("0", "-1", "1.5", "1e3", "1e-300", "1e300", "0x10")
    return isinstance(kind, UserPath) and value in NO_PATHS


def _cases() -> Iterator[Case]:
    for name, command in COMMANDS.items():
        assert command is not None
        call = tuple(CALLS[name].split())
        for words in ((*call, "--bogus"), (*call, "--bogus=1"), (*call, "-Z")):
            yield Case(f"{name} unknown {words[-1]}", (name, *words), refused=True)
        for parameter in command.params:
            label = f"{name} {parameter.opts[-1]}"
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                yield Case(f"{label} without a value", (name, *call, parameter.opts[-1]), refused=True)
                if not parameter.multiple:
                    twice = (parameter.opts[-1], "1") * 2
                    yield Case(f"{label} twice", (name, *_without(call, parameter), *twice), refused=True)
            elif isinstance(parameter, click.Option):
                yield Case(f"{label} with a value", (name, *call, f"{parameter.opts[-1]}=1"), refused=True)
                continue
            for number, value in enumerate(_values(parameter)):
                words = _call_with(name, call, parameter, value)
                yield Case(f"{label} {number} {value[:20]!a}", (name, *words), _is_wrong(parameter, value))
        for number, word in enumerate(call):
            if not word.startswith("-"):
                yield Case(f"{name} lacks {number} {word}", (name, *call[:number], *call[number + 1 :]))
    yield from (Case(f"pair {words}", tuple(words.split()), refused=True) for words in PAIRS)


def _without(call: tuple[str, ...], option: click.Option) -> tuple[str, ...]:
    at = next((number for number, word in enumerate(call) if word in option.opts and not option.multiple), None)
    return call if at is None else call[:at] + call[at + 2 :]


def _call_with(name: str, call: tuple[str, ...], parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Return a call in which a parameter has a value."""
    if isinstance(parameter, click.Option):
        more = WITH.get((name, str(parameter.name)), "")
        if more is None:  # in place of the other one
            call = tuple(word for word in call if word not in ("--store", "{store}"))
        return (*_without(call, parameter), *(more or "").split(), parameter.opts[-1], value)
    command = COMMANDS[name]
    assert command is not None
    at = [argument for argument in command.params if isinstance(argument, click.Argument)].index(parameter)
    places = [number for number, word in enumerate(call) if not word.startswith("-") and _is_argument(call, number)]
    safe = ("--", value) if value.startswith("-") else (value,)
    if at >= len(places):
        return (*call, *safe)
    rest = (*call[: places[at]], *call[places[at] + 1 :])
    return (*rest[: places[at]], *safe, *rest[places[at] :]) if safe == (value,) else (*rest, *safe)


def _is_argument(call: tuple[str, ...], number: int) -> bool:
    return number == 0 or not call[number - 1].startswith("-")


CASES = list(_cases())


def _parameters() -> list[Any]:
    fast = [zlib.crc32(case.name.encode()) / 2**32 < FAST_SHARE for case in CASES]
    return [
        pytest.param(case, id=case.name, marks=() if now else pytest.mark.slow)
        for case, now in zip(CASES, fast, strict=True)
    ]


class LegalError(BaseException):
    """The work would begin: nothing was wrong."""


def _legal(*_: object, **__: object) -> NoReturn:
    raise LegalError


TINY = {
    "data": {"image_size_px": 16, "batch_size": 16, "sampling": "natural"},
    "model": {"name": "baseline_cnn", "pretrained": False, "trainable": "all"},
    "train": {"epochs": 1},
}


@pytest.fixture(scope="session")
def inputs(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """Patches, two stores, two runs, a slide, and whatever is odd."""

    def fill(folder: Path) -> None:
        import numpy as np
        from PIL import Image

        from fastpath.config import parse
        from fastpath.ingest.synth import write_kaggle_folder
        from fastpath.runtime import resolve
        from fastpath.workflows import embed, pack
        from fastpath.workflows.train import train

        for number in ("", "2"):
            patches = folder / f"patches{number}"
            write_kaggle_folder(patches, num_train=48, num_test=4, num_slides=6, seed=7 + len(number))
            pack.pack_source(patches, folder / f"store{number}", workers=1)
        train.train_run(folder / "store", folder / "run", parse(TINY), resolve("cpu"))
        shutil.copytree(folder / "run", folder / "run2")
        name = tiny_encoder.write_encoder(folder / "vit")
        embed.embed_store(folder / "store", folder / "features", name, resolve("cpu"))
        Image.fromarray(np.full((512, 512, 3), 200, np.uint8)).save(folder / "slide.tif")
        _odd(folder)

    return once("bad-inputs", fill)


def _odd(folder: Path) -> None:
    (folder / "file").write_text("text\n")
    (folder / "empty").touch()
    (folder / "dangling").symlink_to(folder / "gone")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "fifo")
    for suffix in ("", ".csv", ".parquet", ".json", ".toml", ".pt", ".xml", ".tif", ".h5"):
        (folder / f"garbage{suffix}").write_bytes(bytes(range(256)) * 8)
    (folder / "csv").write_text("id,label\na,0\nb,7\na,1\n")
    (folder / "toml").write_text('[data]\nbatch_size = "many"\n')
    for name, source in (("cut.parquet", "store/index.parquet"), ("cut.pt", "run/best.pt")):
        content = (folder / source).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    (folder / "a[").mkdir()
    for name in ("a[/b]", "\x1b[31m", "a\nb"):
        (folder / name).write_text("text\n")
    newer = folder / "newer"
    newer.mkdir()
    for path in (folder / "store").iterdir():
        (newer / path.name).write_bytes(path.read_bytes())
    manifest = (newer / "manifest.json").read_text()
    (newer / "manifest.json").write_text(re.sub(r'"format_version": \d+', '"format_version": 99', manifest))


PLACES = {"markup": "a[/b]", "escape": "\x1b[31m", "line": "a\nb", "slide": "slide.tif"}


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where the work of a command would begin, it ends."""
    import torch

    for target in (
        "fastpath.data.loader._stream",
        "fastpath.workflows.demo.write_kaggle_folder",
        "fastpath.workflows.export.export.deployed",
        "fastpath.workflows.inspect.inspect.eda.survey",
        "fastpath.workflows.sweep.sweep._train_all",
        "fastpath.system.process_pool.local_engine",
        "fastpath.workflows.probe.probe.fit_head",
        "fastpath.workflows.probe.slide_labels.fit_attention",
        "fastpath.workflows.doctor.examine_machine",
    ):
        monkeypatch.setattr(target, _legal)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def _no_scheduler(*_: object, **__: object) -> NoReturn:
    raise OSError("refused")


@pytest.mark.parametrize("case", _parameters())
def test_bad_input_is_one_line(
    case: Case,
    inputs: Path,
    stopped: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with ExitStack() as stack:
        if "{socket}" in case.words:
            monkeypatch.chdir(tmp_path)
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind("socket")
        words = [_filled(word, inputs, tmp_path, case.words[0]) for word in case.words]
        before = _state(inputs)
        monkeypatch.chdir(_made(tmp_path / "here"))
        monkeypatch.setattr(sys, "argv", ["fastpath", words[0], "-q", *words[1:]])
        if "--dask" in words:
            monkeypatch.setattr("distributed.Client", _no_scheduler)
        try:
            entry.main()
        except LegalError:
            status = 0
        except SystemExit as ended:
            status = ended.code
    stderr = capfd.readouterr().err
    assert _state(inputs) == before, "wrote where its inputs are"
    if status == 0:
        assert not case.refused, "was taken"
        return
    assert status in (1, 2), stderr
    lines = [line for line in stderr.splitlines() if not line.startswith(("note: ", "damaged: "))]
    if status == 1 and not lines:  # what was verified is damaged
        assert stderr.startswith("damaged: ")
        return
    assert len(lines) == 1, stderr
    assert lines[0].startswith("fastpath: "), stderr
    assert lines[0].isprintable(), stderr
    assert "run again with --debug" not in stderr, stderr
    assert re.fullmatch(r"fastpath: .+: .+; .+|fastpath: .+ See 'fastpath.*--help'\.", lines[0]), stderr


def _filled(word: str, inputs: Path, tmp_path: Path, command: str) -> str:
    """Return a word with the paths that it stands for."""
    from fastpath.store.reader import open_store

    def place(match: re.Match[str]) -> str:
        name = match[1]
        if name == "id":
            return str(open_store(inputs / "store").ids_N[0])
        if name in ("new", "nowhere", "socket"):
            return str(tmp_path / name)
        if name in ("folder", "headless"):  # which outputs may fill
            (tmp_path / name / ("train" if name == "headless" else "")).mkdir(parents=True, exist_ok=True)
            return str(tmp_path / name)
        if name == "store" and command in ("split", "repair"):  # which write into it
            if not (tmp_path / "store").exists():
                shutil.copytree(inputs / "store", tmp_path / "store")
            return str(tmp_path / "store")
        return str(inputs / PLACES.get(name, name))

    return re.sub(r"\{([a-z]+2?)\}", place, word)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    states = {}
    for path in folder.rglob("*"):
        facts = path.lstat()
        states[str(path)] = (facts.st_size, facts.st_mtime_ns)
    return states


def test_the_matrix_is_whole() -> None:
    assert set(CALLS) == set(NAMES)
    assert len(CASES) >= 560
    assert len({case.name for case in CASES}) == len(CASES)
