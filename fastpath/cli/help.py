"""How commands are found: in groups with a line each, and by the nearest name where one is mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from fastpath.cli.options import Command

Section = Literal["start", "data", "train", "judge", "use"]
SECTIONS: dict[Section, str] = {
    "start": "Start here",
    "data": "Data: from a folder of patches to a divided store",
    "train": "Train: from a store to a run",
    "judge": "Judge: how good a run is, and where it errs",
    "use": "Use: a run on new patches and slides",
}
COLUMNS = 80
"""A terminal as narrow as they come: a command's line fits it uncut."""
_LIKENESS = 0.7  # difflib's ratio: "trian" and "train" have 0.8, "--weight-decay" and "--residency" 0.64


def write_commands(formatter: click.HelpFormatter, commands: Mapping[str, Command]) -> None:
    """Write every command under its section, a line each, in the order of `SECTIONS`."""
    width = max(map(len, commands))
    for section, title in SECTIONS.items():
        with formatter.section(title):
            for name, command in commands.items():
                if command.section == section:
                    formatter.write(f"  {name:<{width}}  {command.summary()}\n")


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question that names what is most like a mistyped word; empty where nothing is."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=_LIKENESS)
    return f" Did you mean '{near[0]}'?" if near else ""


def option_meant(word: str, command: click.Command) -> str:
    """Return a question that names the option, or else the settings, most like an option that a command has not."""
    long = [name for option in command.params for name in (*option.opts, *option.secondary_opts) if name[:2] == "--"]
    near = meant(word, long)
    if near or "--set" not in long or word[:2] != "--":
        return near
    from fastpath.config import keys  # not before: it takes a third of a second

    stem = word.lstrip("-").replace("-", "_")
    last = {key: key.rpartition(".")[2] for key in keys()}
    alike = [key for key, name in last.items() if name.startswith(stem)]
    if not alike:
        names = difflib.get_close_matches(stem, last.values(), n=1)
        alike = [key for key, name in last.items() if name in names]
    return f" Did you mean --set {' or '.join(f'{key}=…' for key in alike[:2])}?" if alike else ""
