"""What sentences name is there: commands with their options and choices, settings, targets of make, extras, files."""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib

import click
import pytest
from command_blocks import FENCED, PAGES, ROOT

from fastpath import config
from fastpath.cli.main import app

HISTORY = {"CHANGELOG.md", *(page for page in PAGES if page.startswith("docs/decisions/"))}
"""Pages that also tell of what was."""
FOREIGN = {
    *("--build-arg", "--constraint", "--force-reinstall", "--gpus", "--index-url", "--no-deps", "--nproc-per-node"),
    *("--rm", "--bfloat16", "--budget", "--only", "--out", "--patience", "--skip", "--tiny"),
    "docs/leaderboards.md",  # of eva
}
"""What is of pip, docker, torchrun, the test suite, tools of this repository, and of others."""
FORMATS = (".json", ".md", ".onnx", ".pt2", ".safetensors", ".ts")
"""Endings of what is called `model` without being a setting."""

_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
_TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
_KEYS = set(config.keys())
_SECTIONS = {key.split(".")[0] for key in _KEYS if "." in key}
_COMMANDS = {name: app.get_command(click.Context(app), name) for name in app.list_commands(click.Context(app))}


def parameters(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options, and those of its subcommands, by their names."""
    commands = [command, *(command.commands.values() if isinstance(command, click.Group) else ())]
    options = [option for command in commands for option in command.params if isinstance(option, click.Option)]
    return {name: option for option in options for name in (*option.opts, *option.secondary_opts)}


_OPTIONS = (
    {name for command in _COMMANDS.values() if command for name in parameters(command)}
    | FOREIGN
    | {"--version", "--help"}
)


def unknown(span: str) -> str:
    """Return what a piece of code in a sentence names that is not there; nothing where all is."""
    first, *words = span.split(maxsplit=1)
    rest = words[0] if words else ""
    if first == "fastpath" and re.match(r"[a-z]+( |$)", rest):
        return _unknown_option(rest)
    if first == "make" and rest.split("=")[0].split()[:1] and not set(rest.split()[:1]) <= _TARGETS:
        return f"no target {rest}"
    module = re.match(r"python -m ((?:benchmarks|tools)\.[\w.]+)", span)
    if module and importlib.util.find_spec(module[1]) is None:
        return f"no module {module[1]}"
    extra = re.search(r"fastpath\[(\w+)\]", span)
    if extra and extra[1] not in _EXTRAS:
        return f"no extra {extra[1]}"
    setting = re.fullmatch(r"(?:--(?:set|grid) )?((\w+)\.[a-z_.]+)(=.*)?", span)
    if setting and not span.endswith(FORMATS) and setting[2] in _SECTIONS and not _is_setting_or_module(setting[1]):
        return f"no setting {setting[1]}"
    option = re.match(r"(--[a-z0-9-]+)", span)
    if option and option[1] not in _OPTIONS:
        return f"no option {option[1]}"
    file = re.fullmatch(r"(?:fastpath|tests|tools|benchmarks|docs|examples)/[\w./-]+\.\w+", span)
    made_up = span in FOREIGN or "NAME" in span
    return f"no file {span}" if file and not made_up and not (ROOT / span).exists() else ""


def _is_setting_or_module(name: str) -> bool:
    path = ROOT / "fastpath" / name.replace(".", "/")
    is_module = any(part.with_suffix(".py").exists() for part in (path, path.parent))  # or a name in one
    return is_module or any(f"{key}.".startswith(f"{name}.") for key in _KEYS)


def _unknown_option(text: str) -> str:
    name, *words = shlex.split(text)
    command = _COMMANDS.get(name)
    if command is None:
        return f"no command {name}"
    known = parameters(command)
    for word, value in zip(words, [*words[1:], ""], strict=False):
        if word.startswith("-") and word not in known:
            return f"no option {word} of {name}"
        kind = known[word].type if word in known else None
        if isinstance(kind, click.Choice) and value and not set(value.split("|")) <= set(kind.choices):
            return f"no choice {value} of {name} {word}"
    return ""


@pytest.mark.parametrize("page", [page for page in PAGES if page not in HISTORY])
def test_what_a_sentence_names_is_there(page: str) -> None:
    text = FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    assert [f"`{span}`: {unknown(span)}" for span in re.findall(r"`([^`\n]+)`", text) if unknown(span)] == []


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        ("fastpath trian", "no command trian"),
        ("fastpath split STORE --kind site", ""),
        ("fastpath split STORE --kind sites", "no choice sites of split --kind"),
        ("fastpath train --residency auto|device|host", ""),
        ("fastpath train --lr 1", "no option --lr of train"),
        ("fastpath bench ceiling STORE --config …", ""),
        ("make nothing", "no target nothing"),
        ("python -m benchmarks.suites.nothing", "no module benchmarks.suites.nothing"),
        ("pip install 'fastpath[nothing]'", "no extra nothing"),
        ("optim.lr", "no setting optim.lr"),
        ("--set optim.weight_decay=1", ""),
        ("--lr", "no option --lr"),
        ("fastpath/nothing.py", "no file fastpath/nothing.py"),
    ],
)
def test_what_is_not_there_is_found(span: str, problem: str) -> None:
    assert unknown(span) == problem
