"""Seconds that the command line takes to answer: `fastpath --help` and the help of every command.

Usage: python -m benchmarks.suites.startup [--rounds 10]
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable

import click

from benchmarks import harness
from fastpath.cli.main import app

LIMIT_S = 0.5


def seconds(arguments: list[str]) -> float:
    """Return the wall time of one process, from start to exit."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "fastpath", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


@click.command()
@click.option("--rounds", type=int, default=10, show_default=True)
def main(rounds: int) -> None:
    """Measure, print and write a record."""
    commands = app.list_commands(click.Context(app))
    runs: dict[str, Callable[[], float]] = {"fastpath --help": functools.partial(seconds, ["--help"])}
    runs |= {f"fastpath {name} --help": functools.partial(seconds, [name, "--help"]) for name in commands}
    runs["python -c pass"] = seconds_of_python
    figures = harness.alternate(runs, rounds, say=lambda _: None)
    table = [f"| command | seconds, median (min to max) | under {LIMIT_S} s |", "|---|---|---|"]
    for name, values in figures.items():
        summary = harness.summary(values)
        under = "yes" if summary["max"] < LIMIT_S else "no"
        table.append(f"| `{name}` | {summary['median']:.3f} ({summary['min']:.3f} to {summary['max']:.3f}) | {under} |")
    click.echo("\n".join(table))
    path = harness.write_record("startup", {"rounds": rounds}, {"seconds": figures}, "\n".join(table))
    click.echo(f"→ {path}")


def seconds_of_python() -> float:
    """Return what the interpreter alone takes: the floor."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
