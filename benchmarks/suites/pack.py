"""Packing: against its floor, against doing the same work plainly, and as sets grow. Files in the page cache.

Before the first round of a set every file is read, so that all of them are in the page cache; before every run, dirty
pages are synced, so that none waits for the writes of another.

The floor reads every file's bytes, hashes them once (SHA-1) and writes them out, in as many processes as pack uses
and in files of the same size, synced as pack's are. The plain way decodes with Pillow, takes SHA-1 and channel
statistics and writes one array, in one process.

Usage: python -m benchmarks.suites.pack [--synthetic 10000,50000,100000] [--rounds 3]
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import harness
from fastpath.ingest import stats
from fastpath.ingest.formats.decode import decode, decode_general, read_bytes, read_plain
from fastpath.ingest.sources import list_source
from fastpath.store import format as fmt
from fastpath.system.process_pool import local_engine
from fastpath.workflows import pack

PATCH_BYTES = 96 * 96 * 3
WORKERS = len(os.sched_getaffinity(0))


def run_fastpath(folder: Path, scratch: Path) -> None:
    """Pack, as a user would."""
    pack.pack_source(folder, scratch / "store", workers=WORKERS)


def copy_shard(paths: Sequence[str], target: Path) -> None:
    """Read, hash once, write: what no packer can do without."""
    with target.open("wb", buffering=0) as file:
        for path in paths:
            data = read_bytes(path)
            hashlib.sha1(data, usedforsecurity=False).digest()
            file.write(data)
        os.fsync(file.fileno())


def run_floor(folder: Path, scratch: Path) -> None:
    """Do only what cannot be left out, with pack's own pool and file sizes."""
    listing = list_source(folder)
    paths = [f"{folder}/{name}" for name in listing.names]
    rows = fmt.rows_per_shard(len(paths), PATCH_BYTES)
    with local_engine(WORKERS) as engine:
        pieces = [paths[first : first + rows] for first in range(0, len(paths), rows)]
        for future in [engine.submit(copy_shard, piece, scratch / f"{at}") for at, piece in enumerate(pieces)]:
            future.result()


def run_plain(folder: Path, scratch: Path) -> None:
    """Do the same work the plain way, in one process."""
    from PIL import Image

    listing = list_source(folder)
    out = np.lib.format.open_memmap(scratch / "all.npy", "w+", np.uint8, (len(listing), 96, 96, 3))
    sums, squares = np.zeros(3), np.zeros(3)
    for row, name in enumerate(listing.names):
        with Image.open(folder / name) as image:
            pixels = np.asarray(image)
        hashlib.sha1(pixels.tobytes(), usedforsecurity=False).hexdigest()
        values = pixels.reshape(-1, 3).astype(np.float64)
        sums += values.sum(axis=0)
        squares += (values**2).sum(axis=0)
        out[row] = pixels
    out.flush()


CONTESTANTS = {"fastpath": run_fastpath, "floor": run_floor, "plain": run_plain}
QUICK = ["fastpath", "floor"]


def watch_memory(peak: list[float]) -> None:
    """Keep the largest sum of proportional set sizes over this session's processes, in MB."""
    while True:
        total = 0
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(process.name)) == os.getsid(0):
                    lines = (process / "smaps_rollup").read_text().splitlines()
                    total += next(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon"))
            except OSError:  # it has ended meanwhile
                continue
        peak[0] = max(peak[0], total / 1000)
        time.sleep(0.1)


def measure(name: str, folder: Path) -> tuple[float, float]:
    """Run one contestant in a session of its own; returns seconds and peak memory in MB."""
    os.sync()
    command = [sys.executable, "-m", "benchmarks.suites.pack", "--contestant", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode:
        raise click.ClickException(f"{name} failed:\n{done.stderr}")
    measured = json.loads(done.stdout.splitlines()[-1])
    return measured["seconds"], measured["peak_mb"]


def contest(name: str, folder: Path) -> None:
    """Be one contestant."""
    peak = [0.0]
    threading.Thread(target=watch_memory, args=(peak,), daemon=True).start()
    with tempfile.TemporaryDirectory(dir=folder.parent if os.access(folder.parent, os.W_OK) else None) as scratch:
        started = time.perf_counter()
        CONTESTANTS[name](folder, Path(scratch))
        seconds = time.perf_counter() - started
    click.echo(json.dumps({"seconds": seconds, "peak_mb": peak[0]}))


def synthesise(folder: Path, count: int) -> None:
    """Write `count` distinct files of the Kaggle set's layout: 200 synthetic patches, varied in a few pixels."""
    from fastpath.ingest.synth import write_kaggle_folder

    write_kaggle_folder(folder / "seed", num_train=200, num_test=1)
    seeds = [path.read_bytes() for path in sorted((folder / "seed" / "train").iterdir())]
    layouts = [(data, data.index(decode(data, "seed").tobytes())) for data in seeds]
    train, lines = folder / "all" / "train", ["id,label"]
    train.mkdir(parents=True)
    for number in range(count):
        data, start = layouts[number % len(layouts)]
        pixels = number.to_bytes(8, "little") + data[start + 8 : start + PATCH_BYTES]
        name = hashlib.sha1(pixels, usedforsecurity=False).hexdigest()
        (train / f"{name}.tif").write_bytes(data[:start] + pixels + data[start + PATCH_BYTES :])
        lines.append(f"{name},{number % 2}")
    (folder / "all" / "train_labels.csv").write_text("\n".join(lines) + "\n")


def subset(folder: Path, count: int) -> Path:
    """Return a folder of the first `count` patches, hard-linked."""
    part = folder / f"first-{count}"
    (part / "train").mkdir(parents=True)
    lines = (folder / "all" / "train_labels.csv").read_text().splitlines()[: count + 1]
    for line in lines[1:]:
        name = f"train/{line.split(',')[0]}.tif"
        (part / name).hardlink_to(folder / "all" / name)
    (part / "train_labels.csv").write_text("\n".join(lines) + "\n")
    return part


def cost_of_stages(folder: Path, scratch: Path, count: int = 2000) -> dict[str, float]:
    """Return microseconds a file of each thing pack does, in one process, best of five passes."""
    import xxhash

    paths = [f"{folder}/{name}" for name in list_source(folder).names[:count]]
    files = [read_bytes(path) for path in paths]
    patches = [decode(data, "x") for data in files]
    block, place, target = (
        np.stack(patches[:32]),
        np.empty_like(patches[0]),
        (scratch / "written").open("wb", buffering=0),
    )

    def write_and_sync() -> None:
        for _ in range(count // len(block)):
            target.write(block.data)
        os.fsync(target.fileno())

    stages: dict[str, Callable[[], object]] = {
        "read the file": lambda: [read_bytes(path) for path in paths],
        "read into place, known layout": lambda: [read_plain(path, place) for path in paths],
        "decode, known layout": lambda: [decode(data, "x") for data in files],
        "decode, unknown layout": lambda: [decode_general(data, "x", Counter()) for data in files],
        "copy into the block": lambda: [block.__setitem__(0, patch) for patch in patches],
        "SHA-1 against the id": lambda: [hashlib.sha1(p.data, usedforsecurity=False).digest() for p in patches],
        "xxh3 of the row": lambda: [xxhash.xxh3_128_digest(patch.data) for patch in patches],
        "sums, focus, perceptual hash": lambda: [stats.measure(block) for _ in range(count // 32)],
        "write and sync": write_and_sync,
    }
    costs = {}
    threadpool_limits(1)  # as in a worker
    for name, stage in stages.items():
        times = []
        for _ in range(5):
            started = time.perf_counter()
            stage()
            times.append(time.perf_counter() - started)
        costs[name] = min(times) / count * 1e6
    target.close()
    return costs


def compete(folder: Path, rounds: int, contestants: Sequence[str]) -> tuple[dict[str, list[float]], float]:
    """Alternate the contestants; returns their seconds, and fastpath's peak memory in MB."""
    peaks: list[float] = []
    for path in (folder / "train").iterdir():
        path.read_bytes()

    def timed(name: str) -> float:
        seconds, peak = measure(name, folder)
        if name == "fastpath":
            peaks.append(peak)
        return seconds

    figures = harness.alternate({name: functools.partial(timed, name) for name in contestants}, rounds)
    return figures, max(peaks)


def rows_of(title: str, count: int, figures: dict[str, list[float]], peak: float) -> list[str]:
    """Return one line of the table for each contestant of a set of `count` patches."""
    floor = harness.ratios(figures, of="fastpath")["floor"]
    faster = [
        plain / ours for plain, ours in zip(figures.get("plain", figures["fastpath"]), figures["fastpath"], strict=True)
    ]
    plain = harness.summary(faster)
    remarks = {
        "fastpath": f"{floor['median']:.2f}x the floor ({floor['min']:.2f} to {floor['max']:.2f}), peak {peak:.0f} MB",
        "plain": f"fastpath is {plain['median']:.1f}x faster ({plain['min']:.1f} to {plain['max']:.1f})",
    }
    lines = []
    for name, values in figures.items():
        summary = harness.summary(values)
        spread = f"{summary['median']:.2f} ({summary['min']:.2f} to {summary['max']:.2f})"
        each = f"{summary['median'] / count * 1e6:.0f}"
        lines.append(f"| {title} | {name} | {spread} | {each} | {remarks.get(name, '')} |")
    return lines


@click.command()
@click.option("--synthetic", default="10000,50000,100000", show_default=True, help="Sizes of synthetic sets.")
@click.option("--rounds", type=int, default=3, show_default=True)
@click.option("--contestant", type=click.Choice(sorted(CONTESTANTS)), hidden=True)
@click.option("--folder", type=click.Path(path_type=Path), hidden=True)
def main(synthetic: str, rounds: int, contestant: str | None, folder: Path | None) -> None:
    """Measure, print and write a record."""
    if contestant and folder:
        contest(contestant, folder)
        return
    sizes = sorted(map(int, synthetic.split(",")))
    table = ["| set | who | seconds, median (min to max) | µs a patch | |", "|---|---|---|---|---|"]
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        synthesise(scratch, sizes[-1])
        sets = {f"{size} synthetic": subset(scratch, size) for size in sizes}
        real = harness.sample_folder()
        if real is not None:
            sets = {"5000 real": real} | sets
        for title, setting in sets.items():
            click.echo(title)
            # The plain way takes minutes on the largest set and teaches nothing new there.
            figures, peak = compete(setting, rounds, list(CONTESTANTS) if title != f"{sizes[-1]} synthetic" else QUICK)
            results[title] = {"seconds": figures, "peak_mb": peak}
            table += rows_of(title, int(title.split()[0]), figures, peak)
        costs = cost_of_stages(next(iter(sets.values())), scratch)
    results["us_a_file"] = costs
    table += ["", "| stage, one process | µs a file |", "|---|---|"]
    table += [f"| {stage} | {cost:.1f} |" for stage, cost in costs.items()]
    click.echo("\n".join(table))
    settings = {"rounds": rounds, "workers": WORKERS, "data": "96 px patches, every file read beforehand"}
    settings["disk"] = "dirty pages synced before every run"
    settings["time"] = "from the call to the store under its name, worker start-up included, imports not"
    settings["memory"] = "largest sum of Pss_Anon over all processes, sampled every 0.1 s"
    click.echo(f"→ {harness.write_record('pack', settings, results, chr(10).join(table))}")


if __name__ == "__main__":
    main()
