"""Images a second out of a loader, with no model behind it: fastpath against its peers on the same patches.

Usage: python -m benchmarks.suites.loader [--folder KAGGLE_FOLDER] [--mode train|val] [--size 224] [--rounds 5]
                                          [--only NAME]... [--without NAME]...

At the patches' own size (`--size 96`) nobody resizes whole patches; crops are still brought back to that size.

Peers live in environments of their own: `python -m benchmarks.peers.environments` makes them. One that is absent, or
whose first batches are not the notebook's kind of batch, is left out with the reason. Each contestant is one process
that lives for the whole race and idles between its turns, so that what it compiles is compiled once.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks import harness
from benchmarks.peers import environments
from fastpath.workflows import pack

# 1,024 patches: the share of positives is then known to 0.016 (one standard error), enough to tell a weighted sampler's
# 0.5 from the real patches' own 0.4.
CHECK_BATCHES, POSITIVE_TOLERANCE = 16, 0.06


@dataclass(frozen=True)
class Contestant:
    """One way of loading.

    Attributes:
        module: Script of `benchmarks.peers`.
        variant: Which of its ways.
        environment: Name of its environment; None is the project's own.
    """

    module: str
    variant: str = ""
    environment: str | None = None

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the process to run."""
        python = sys.executable if self.environment is None else str(environments.interpreter(self.environment))
        return [python, "-m", f"benchmarks.peers.{self.module}", f"--variant={self.variant}", *arguments]


CONTESTANTS = {
    "fastpath": Contestant("fastpath_loader"),
    "notebook": Contestant("notebook"),
    "torchvision v2": Contestant("torchvision_v2"),
    "torchvision v2, reordered": Contestant("torchvision_v2", "reordered"),
    "albumentations": Contestant("albumentations_loader", "", "albumentations"),
    "albumentations, reordered": Contestant("albumentations_loader", "reordered", "albumentations"),
    "webdataset": Contestant("webdataset_loader", "", "webdataset"),
    "webdataset, reordered": Contestant("webdataset_loader", "reordered", "webdataset"),
    "litdata": Contestant("litdata_loader", "", "litdata"),
    "litdata, reordered": Contestant("litdata_loader", "reordered", "litdata"),
    "ffcv": Contestant("ffcv_loader", "", "ffcv"),
    "ffcv, jitter": Contestant("ffcv_loader", "jitter", "ffcv"),
    "ffcv, jitter first": Contestant("ffcv_loader", "jitter_first", "ffcv"),
    "dali op by op": Contestant("dali_loader"),
    "dali, colour first": Contestant("dali_loader", "colour_first"),
    "dali, resized last": Contestant("dali_loader", "resized_last"),
    "kornia": Contestant("kornia_loader", "", "kornia"),
    "kornia, reordered": Contestant("kornia_loader", "reordered", "kornia"),
}


def contestants_of(mode: str) -> dict[str, Contestant]:
    """Return who runs in a mode: variants differ in augmentation only."""
    return {name: who for name, who in CONTESTANTS.items() if mode == "train" or not who.variant}


class Running:
    """A contestant's process.

    Args:
        contestant: Who.
        arguments: The task, as arguments of the script.
    """

    def __init__(self, contestant: Contestant, arguments: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            contestant.command(arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )

    def ask(self, **request: int) -> dict[str, Any]:
        """Return the answer to a request of `benchmarks.peers.common`.

        Raises:
            click.ClickException: The process has failed; the message is its last line of error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._errors.seek(0)
            raise click.ClickException((self._errors.read().strip().splitlines() or [f"exit {status}"])[-1])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process and its workers."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._errors.close()


def faults(description: Mapping[str, Any], settings: Mapping[str, Any]) -> str | None:
    """Return how a contestant's batches are not what was asked for, or None."""
    side = settings["image_size_px"]
    shape = [settings["batch_size"], 3, side, side]
    if description["shape"] != shape or description["dtype"] != "float32":
        return f"found {description['dtype']} {description['shape']}, wanted float32 {shape}"
    if abs(description["mean"]) > 0.5 or not 0.5 < description["std"] < 1.5:
        return f"found mean {description['mean']:.2f} and std {description['std']:.2f}, wanted about 0 and 1"
    if settings["mode"] == "train" and abs(description["positive"] - 0.5) > POSITIVE_TOLERANCE:
        return f"found {description['positive']:.0%} positive, wanted about half: sampling is not weighted"
    return None


def examined(
    entrants: Mapping[str, Contestant],
    arguments: Sequence[str],
    settings: Mapping[str, Any],
    started: Callable[[Contestant, Sequence[str]], Running],
) -> tuple[dict[str, Running], dict[str, dict[str, Any]], dict[str, str]]:
    """Start everybody, untimed: converts the patches where need be, and looks at the batches.

    Returns:
        The processes that are ready, what each says of its batches, and why the others are left out.
    """
    running, described, skipped = {}, {}, {}
    for name, contestant in entrants.items():
        reason = environments.absence(contestant.environment) if contestant.environment else None
        if reason is None:
            try:
                running[name] = started(contestant, arguments)
                described[name] = running[name].ask(describe=CHECK_BATCHES)
                reason = faults(described[name], settings)
            except click.ClickException as error:
                reason = f"failed: {error.message}"
        if reason is not None:
            described.pop(name, None)
            running.pop(name, None)
            skipped[name] = reason
        click.echo(f"{name:28s} {'left out: ' + reason if reason else 'ready'}")
    return running, described, skipped


def speed(contestant: Running, batches: int) -> float:
    """Return images a second of one turn."""
    return float(contestant.ask(batches=batches)["images_per_s"])


def table_of(
    figures: Mapping[str, Sequence[float]], described: Mapping[str, Mapping[str, Any]], skipped: Mapping[str, str]
) -> str:
    """Return the Markdown a reader sees."""
    ratios = harness.ratios(figures, of="fastpath")
    lines = [
        "| loader | images/s, median (min to max) | fastpath is faster by | same work? | differently |",
        "|---|---|---|---|---|",
    ]
    for name, values in figures.items():
        rate, ratio, work = harness.summary(values), ratios.get(name), described[name]
        faster = f"{ratio['median']:.2f}x ({ratio['min']:.2f} to {ratio['max']:.2f})" if ratio else ""
        same = f"no: cannot do {', '.join(work['cannot'])}" if work["cannot"] else "yes"
        cells = [name, f"{rate['median']:.0f} ({rate['min']:.0f} to {rate['max']:.0f})", faster, same]
        lines.append(f"| {' | '.join([*cells, '; '.join(work['differs'])])} |")
    lines += [f"| {name} | left out | | | {reason.replace('|', '/')} |" for name, reason in skipped.items()]
    return "\n".join(lines)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--mode", type=click.Choice(["train", "val"]), default="train", show_default=True)
@click.option("--size", type=int, default=224, show_default=True, help="Side of the output, in pixels.")
@click.option("--rounds", type=int, default=5, show_default=True)
@click.option("--batches", type=int, default=50, show_default=True, help="Batches of 64 on the clock.")
@click.option("--only", multiple=True, type=click.Choice(list(CONTESTANTS)), help="Race these against fastpath.")
@click.option("--without", multiple=True, type=click.Choice(list(CONTESTANTS)), help="Leave these out.")
@click.option("--record/--no-record", default=True, show_default=True, help="Write benchmarks/records.")
def main(
    folder: Path | None,
    mode: str,
    size: int,
    rounds: int,
    batches: int,
    only: tuple[str, ...],
    without: tuple[str, ...],
    record: bool,
) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    wanted = ({"fastpath", *only} if only else set(CONTESTANTS)) - set(without)
    entrants = {name: who for name, who in contestants_of(mode).items() if name in wanted}
    settings: dict[str, Any] = {"mode": mode, "image_size_px": size, "batch_size": 64, "threads": 2, "warm": 10}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:

        def started(contestant: Contestant, arguments: Sequence[str]) -> Running:
            process = Running(contestant, arguments)
            stack.callback(process.close)
            return process

        store = Path(scratch) / "store"
        pack.pack_source(folder, store)
        arguments = [f"--folder={folder}", f"--store={store}"]
        arguments += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        running, described, skipped = examined(entrants, arguments, settings, started)
        if "fastpath" not in described:
            raise click.ClickException(f"fastpath itself was left out: {skipped.get('fastpath', '--without fastpath')}")
        turns = {name: functools.partial(speed, process, batches) for name, process in running.items()}
        figures = harness.alternate(turns, rounds)
    table = table_of(figures, described, skipped)
    click.echo(table)
    if record:
        data = f"{folder.name}, real patches, files and store in the page cache"
        settings |= {"batches": batches, "rounds": rounds, "data": data}
        results = {"images_per_s": figures, "ratios": harness.ratios(figures, of="fastpath")}
        results |= {"batches": described, "left_out": skipped}
        click.echo(f"→ {harness.write_record(f'loader-{mode}-{size}', settings, results, table)}")


if __name__ == "__main__":
    main()
