"""The one command for the first person with a card: does fastpath work there, and how fast is it?

Runs the `gpu` tests, compares the card's batches with the CPU's for every policy in every residency, then measures
loader, network, training steps and whole epochs at the notebook's settings, in float32 and in mixed precision, with
patches on the card, on the host, and with everything on the CPU, on synthetic patches. Writes one record with the
bounds of docs/performance.md beside each figure.

Usage: make gpu-check     (or: python tools/gpu_check.py [--device cuda] [--patches 4096] [--batches 100])
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import harness
from fastpath import config as configuration
from fastpath import runtime
from fastpath.config import Config
from fastpath.config_data import POLICIES
from fastpath.data.loader import train_loader
from fastpath.data.residency import Residency, place
from fastpath.engine.loop import EpochEvent
from fastpath.errors import UsageError
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.shards.reader import Store, open_store
from fastpath.types import ChannelStats
from fastpath.workflows import bench, bounds, pack, train

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
RINGS = {"ring_blur_p": 0.5, "ring_stain_p": 0.5, "ring_swap_p": 0.5}
POLICIES_COMPARED: dict[str, dict[str, Any]] = {name: {"policy": name} for name in POLICIES}
POLICIES_COMPARED |= {f"notebook, {border}": {"border": border} for border in ("clamp", "reflect")}
POLICIES_COMPARED["everything"] = {"policy": "strong", "border": "black", **RINGS}
MEAN_BOUND = 0.5  # grey levels; the two back ends may round differently, most of all in JPEG's cosine transform


@dataclass(frozen=True, slots=True)
class Spot:
    """Where patches wait and where everything is computed.

    Attributes:
        name: As the record calls it.
        residency: Where patches wait to be fed.
        amp: In mixed precision.
        on_cpu: With graph and network on the CPU, whatever the device.
    """

    name: str
    residency: Residency
    amp: bool
    on_cpu: bool = False


SPOTS = (
    Spot("float32, patches on the card", "device", amp=False),
    Spot("float32, patches on the host", "host", amp=False),
    Spot("mixed precision, patches on the card", "device", amp=True),
    Spot("mixed precision, patches on the host", "host", amp=True),
    Spot("all on the CPU", "host", amp=True, on_cpu=True),
)


def measure(store: Path, device: str, batches: int, cpu_batches: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Return, for every spot, loader, network, steps (`bench ceiling`) and an epoch (`train`), with their bounds."""
    found: dict[str, Any] = {}
    for spot in SPOTS:
        where = runtime.resolve("cpu" if spot.on_cpu else device, amp=spot.amp)
        count = cpu_batches if spot.on_cpu else batches
        # Rates and seconds do not depend on the weights, so none are fetched.
        changes = ["model.pretrained=false", "train.epochs=2", *overrides]
        settings = configuration.load(configuration.recipe("notebook"), changes)
        if spot.on_cpu:  # an epoch of all patches would take many minutes
            few = cpu_batches * settings.data.batch_size
            limits = [f"data.limit={few}", f"data.val_limit={few}"]
            settings = configuration.load(configuration.recipe("notebook"), [*changes, *limits])
        rates = bench.run("ceiling", store, settings, where, num_batches=count, residency=spot.residency)
        bound = bounds.epoch_bound_s(where.describe(), mixed=where.precision != "float32")
        found[spot.name] = asdict(rates) | epoch(store, settings, where, spot.residency) | {"epoch_bound_s": bound}
    return found


def epoch(store: Path, settings: Config, where: runtime.Runtime, residency: Residency) -> dict[str, float]:
    """Train two epochs and return the second's training and validation, and the notebook's epoch at those rates."""
    ended: list[EpochEvent] = []
    started: list[train.StartEvent] = []

    def listen(event: object) -> None:
        if isinstance(event, EpochEvent):
            ended.append(event)
        elif isinstance(event, train.StartEvent):
            started.append(event)

    with tempfile.TemporaryDirectory() as scratch:
        train.run(store, Path(scratch) / "run", settings, where, residency=residency, on_event=listen)
    timing = ended[-1].timing
    trained, validated = timing.num_images / timing.train_s, started[0].num_val / timing.val_s
    return {
        "epoch_train_images_per_s": trained,
        "epoch_val_images_per_s": validated,
        "epoch_stall_share": timing.stall_share,
        "notebook_epoch_s": bounds.EPOCH_TRAIN / trained + bounds.EPOCH_VAL / validated,
    }


def compare(store: Path, device: str, residencies: Sequence[Residency] = ("host", "device")) -> dict[str, Any]:
    """Return how far the device's batches lie from the CPU's, in grey levels, for every policy in every residency."""
    opened, ours, theirs = open_store(store), runtime.resolve("cpu"), runtime.resolve(device)
    rows = np.arange(min(len(opened), 256))
    found: dict[str, Any] = {}
    for name, policy in POLICIES_COMPARED.items():
        settings = configuration.parse({"data": {"batch_size": 64, "augment": policy}})
        wanted = _images(opened, rows, settings, ours, "host")
        for residency in residencies:
            distance = np.abs(_images(opened, rows, settings, theirs, residency) - wanted) * 255 * np.array(STATS.std_3)
            share = float((distance > 1).any(axis=-1).mean())
            row = {"mean": float(distance.mean()), "max": float(distance.max()), "beyond_one": share}
            found[f"{name}, {residency}"] = row | {"agrees": row["mean"] < MEAN_BOUND}
    return found


def _images(
    store: Store, rows: NDArray[np.int64], settings: Config, where: runtime.Runtime, residency: Residency
) -> NDArray[np.float32]:
    """Return the second epoch of these rows, float32 [N, H, W, 3]."""
    pixels = place(store, rows, residency, where)
    with closing(train_loader(store, rows, STATS, settings, where, pixels)) as loader:
        batches = [batch.images_NCHW.permute(0, 2, 3, 1).cpu().numpy().copy() for batch in loader.epoch(1)]
    return np.concatenate(batches)


def agreement(compared: dict[str, Any]) -> str:
    """Return the Markdown table of `compare`."""
    table = [
        f"Batches against the CPU's, in grey levels of 0 to 255; a mean below {MEAN_BOUND} agrees:",
        "",
        "| policy, residency | mean | largest | pixels beyond one level | |",
        "|---|---|---|---|---|",
    ]
    for name, row in compared.items():
        verdict = "agrees" if row["agrees"] else "**differs**"
        table.append(f"| {name} | {row['mean']:.4f} | {row['max']:.2f} | {row['beyond_one']:.2%} | {verdict} |")
    return "\n".join(table)


def report(found: dict[str, Any]) -> str:
    """Return the Markdown tables: what was measured, each figure with its bound beside it."""
    table = [
        "Patches a second of training. In brackets: at a large matrix product's rate; at the card's published rate.",
        "",
        "| | loader alone | network alone (bounds) | loader and network | a step, ms | stall |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        limits = f"{_or_none(row['bound_images_per_s'])}; {_or_none(row['published_images_per_s'])}"
        rates = f"{row['loader_images_per_s']:.0f} | {row['model_images_per_s']:.0f} ({limits})"
        step_ms = 1e3 * row["batch_size"] / row["train_images_per_s"]
        table.append(
            f"| {name} | {rates} | {row['train_images_per_s']:.0f} | {step_ms:.1f} | {row['stall_share']:.1%} |"
        )
    table += [
        "",
        f"The notebook's epoch ({bounds.EPOCH_TRAIN:,} and {bounds.EPOCH_VAL:,} patches) at the rates of an epoch of "
        f"`train`, against its {bounds.NOTEBOOK_EPOCH_S:.0f} s:",
        "",
        "| | training, patches/s | validation | epoch | published bound | against the notebook |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found.items():
        rates = f"{row['epoch_train_images_per_s']:.0f} | {row['epoch_val_images_per_s']:.0f}"
        seconds, bound = row["notebook_epoch_s"], row["epoch_bound_s"]
        shown = f"{bound[0]:.0f} to {bound[1]:.0f} s" if bound else "none"
        table.append(f"| {name} | {rates} | {seconds:.0f} s | {shown} | {bounds.NOTEBOOK_EPOCH_S / seconds:.2f}x |")
    return "\n".join([*table, "", *(f"- {name} ({row['runtime']}): {row['verdict']}" for name, row in found.items())])


def _or_none(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:.0f}"


@click.command()
@click.option("--device", default="cuda", show_default=True, help="`cpu` rehearses the check without a card.")
@click.option("--patches", default=4096, show_default=True, help="Synthetic patches to make.")
@click.option("--batches", default=100, show_default=True, help="Batches on each clock.")
@click.option("--cpu-batches", default=2, show_default=True, help="The same with everything on the CPU; its epoch too.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting of the notebook recipe.")
def main(device: str, patches: int, batches: int, cpu_batches: int, overrides: tuple[str, ...]) -> None:
    """Check and measure; exit 2 where there is no card."""
    try:
        card = runtime.resolve(device)
    except UsageError as error:
        click.echo(f"gpu-check: {error}", err=True)
        sys.exit(error.exit_status)
    tests = "gpu" if device == "cuda" else "dali and not gpu"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", tests, "tests/gpu", "tests/data/test_graph.py"], check=False
    )
    with tempfile.TemporaryDirectory() as scratch:
        write_kaggle_folder(Path(scratch) / "kaggle", num_train=patches, num_test=0)
        pack.run(Path(scratch) / "kaggle", Path(scratch) / "store")
        compared = compare(Path(scratch) / "store", device)
        found = measure(Path(scratch) / "store", device, batches, cpu_batches, overrides)
    table = f"{agreement(compared)}\n\n{report(found)}"
    click.echo(table)
    settings: dict[str, Any] = {"device": device, "patches": patches, "batches": batches, "cpu_batches": cpu_batches}
    settings |= {"changes": ", ".join(overrides) or "none", "tests_exit_status": done.returncode}
    results = {"agreement": compared, "rates": found}
    gpu = card.describe().split(",")[0] if device == "cuda" else None
    click.echo(f"→ {harness.write_record(f'gpu-check-{device}', settings, results, table, gpu=gpu)}")
    sys.exit(done.returncode or int(not all(row["agrees"] for row in compared.values())))


if __name__ == "__main__":
    main()
