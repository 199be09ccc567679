"""How the loader scales: patches a second, memory and time to the first batch, by threads and by size of the store.

Each figure comes from a process of its own, on stores of random bytes written by the shard writer. `first batch` is
counted from the end of the imports: opening the store, drawing the order, building the graph, making a batch.

Usage: python -m benchmarks.suites.scaling [--rounds 3] [--sizes 1000,10000,100000] [--threads 1,2]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import harness
from fastpath.config import Config, DataConfig
from fastpath.data.loader import train_loader
from fastpath.runtime import resolve
from fastpath.store import format as fmt
from fastpath.store.reader import open_store
from fastpath.store.writer import Contents, write_index, write_manifest, write_shard
from fastpath.types import ChannelStats, Samples

SIDE, BATCH, WARM = 96, 64, 6
STATS = ChannelStats((0.70, 0.54, 0.69), (0.24, 0.28, 0.22))
BLOCK = 1000  # patches made at once


def write_random_store(folder: Path, num_patches: int, seed: int = 0) -> None:
    """Write a store of random bytes: what a patch shows does not change what it costs."""
    rng, shape = np.random.default_rng(seed), (SIDE, SIDE, 3)
    folder.mkdir(parents=True)
    per_shard = fmt.rows_per_shard(num_patches, SIDE * SIDE * 3)
    rows = np.zeros(num_patches, fmt.ROW)
    rows["hash"] = np.frombuffer(rng.bytes(16 * num_patches), "V16")
    rows["sums"] = SIDE * SIDE * 128  # about that of random bytes; the loader does not read them
    rows["squares"] = rows["sums"] * 170
    shards = []

    def blocks(first: int, last: int) -> Iterator[np.ndarray]:
        for start in range(first, last, BLOCK):
            count = min(BLOCK, last - start)
            yield np.frombuffer(rng.bytes(count * SIDE * SIDE * 3), np.uint8).reshape(count, *shape)

    for number, first in enumerate(range(0, num_patches, per_shard)):
        last = min(first + per_shard, num_patches)
        name = fmt.shard_name(number)
        digest = write_shard(folder / name, shape, last - first, blocks(first, last))
        shards.append(fmt.ShardEntry(file=name, rows=last - first, hash=digest))
    place = np.arange(num_patches)
    contents = Contents(
        ids=[f"{number:040x}" for number in place],
        labels_N=(rng.random(num_patches) < 0.4).astype(np.int8),
        groups=None,
        shard_N=(place // per_shard).astype(np.int32),
        row_N=(place % per_shard).astype(np.int32),
        rows_N=rows,
    )
    write_manifest(
        folder,
        contents,
        patch_shape=shape,
        shards=shards,
        flag_counts={},
        source={"kind": "random"},
        index_hash=write_index(folder / fmt.INDEX, contents),
    )


def measured(store_path: Path, threads: int, batches: int, size: int) -> dict[str, float]:
    """Return what one process finds; its imports are done."""
    began = time.perf_counter()
    store, runtime = open_store(store_path), resolve("cpu", num_threads=threads)
    config = Config(data=DataConfig(batch_size=BATCH, image_size_px=size))
    rows = np.arange(len(store))
    with closing(train_loader(Samples(store, rows, STATS), config, runtime)) as loader:
        endless = (batch for epoch in range(10**6) for batch in loader.epoch(epoch))
        next(endless)
        first_s = time.perf_counter() - began
        for _ in range(WARM):
            next(endless)
        began = time.perf_counter()
        for _ in range(batches):
            next(endless)
        seconds = time.perf_counter() - began
        own_mib = _own_kib() / 1024
    return {"images_per_s": batches * BATCH / seconds, "first_batch_s": first_s, "own_mib": own_mib}


def _own_kib() -> int:
    """Return this process's own memory: pages of the store are the page cache's and no one's own."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


def in_a_process(store: Path, threads: int, batches: int, size: int) -> dict[str, float]:
    """Measure in a fresh process."""
    numbers = [str(number) for number in (threads, batches, size)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.suites.scaling", "--child", str(store), *numbers],
        check=True,
        capture_output=True,
        text=True,
    )
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def table_of(figures: dict[str, list[dict[str, float]]]) -> str:
    """Return the Markdown table: medians with extremes."""
    table = [
        "| store, threads | patches a second | of the smallest store's | own memory, MiB | first batch, s |",
        "|---|---|---|---|---|",
    ]
    rates = {name: statistics.median(row["images_per_s"] for row in rows) for name, rows in figures.items()}
    for name, rows in figures.items():
        threads = name.rsplit(",", 1)[1]
        base = next(rate for other, rate in rates.items() if other.rsplit(",", 1)[1] == threads)
        rate, own, first = (
            harness.summary([row[key] for row in rows]) for key in ("images_per_s", "own_mib", "first_batch_s")
        )
        table.append(
            f"| {name} | {rate['median']:.0f} ({rate['min']:.0f} to {rate['max']:.0f}) | {rates[name] / base:.2f} "
            f"| {own['median']:.0f} | {first['median']:.2f} ({first['min']:.2f} to {first['max']:.2f}) |"
        )
    return "\n".join(table)


def numbers_of(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    """Parse `1,2` into numbers."""
    return [int(part) for part in value.split(",")]


@click.command()
@click.option("--sizes", default="1000,10000,100000", callback=numbers_of, show_default=True, help="Patches of stores.")
@click.option("--threads", default="1,2", callback=numbers_of, show_default=True, help="CPU threads.")
@click.option("--size", default=224, show_default=True, help="Side of the network's input.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--batches", default=60, show_default=True, help="Batches of 64 on the clock.")
@click.option("--record/--no-record", default=True, show_default=True, help="Write benchmarks/records.")
@click.option("--child", nargs=4, type=str, hidden=True)
def main(
    sizes: list[int],
    threads: list[int],
    size: int,
    rounds: int,
    batches: int,
    record: bool,
    child: tuple[str, str, str, str] | None,
) -> None:
    """Measure, print and write a record."""
    if child:
        click.echo(json.dumps(measured(Path(child[0]), int(child[1]), int(child[2]), int(child[3]))))
        return
    figures: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in sizes:
            write_random_store(Path(scratch) / str(count), count)
        for number in range(rounds):
            for count in sizes:
                for some in threads:
                    name = f"{count:,} patches, {some} thread{'s' if some > 1 else ''}"
                    rates = in_a_process(Path(scratch) / str(count), some, batches, size)
                    figures.setdefault(name, []).append(rates)
                    click.echo(f"round {number + 1}/{rounds}  {name:28s} {rates['images_per_s']:8.0f}", err=True)
    table = table_of(figures)
    click.echo(table)
    if record:
        settings: dict[str, Any] = {"image_size_px": size, "batch_size": BATCH, "batches": batches, "rounds": rounds}
        settings["data"] = "random patches of 96 px, store in the page cache, full notebook augmentation"
        path = harness.write_record(f"scaling-{size}", settings, {"by_store_and_threads": figures}, table)
        click.echo(f"→ {path}")


if __name__ == "__main__":
    main()
