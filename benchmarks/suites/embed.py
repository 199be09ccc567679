"""What `embed` adds to an encoder's own time on many patches, and whether memory stays flat.

The encoder alone is timed on one batch that is already normalised and of its size; `embed` reads a packed store of
96 px patches, enlarges and normalises them, passes them through the encoder and writes shards. Both in one process, in
turn, so that a slow minute falls on both.

Usage: python -m benchmarks.suites.embed [--model vit_tiny_patch16_224] [--patches 50000] [--rounds 5] [--record]
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import timm
import torch
from safetensors.torch import save_file

from benchmarks import harness
from benchmarks.suites.predict import DISTINCT, Repeated, anonymous_mib
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.model.encoder import Encoder, load_encoder
from fastpath.runs.precision import synthetic
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import open_store
from fastpath.workflows import embed, pack


def encoder_alone(encoder: Encoder, runtime: Runtime, patches: int) -> float:
    """Return patches a second of the encoder on one batch that waits for it."""
    network = runtime.prepare(encoder.network)
    images = runtime.upload(synthetic(encoder.image_size_px, embed.BATCH).images_NCHW.numpy())
    images = images.contiguous(memory_format=torch.channels_last)
    steps = max(1, patches // embed.BATCH)
    with torch.inference_mode(), runtime.autocast():
        network(images)
        runtime.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            network(images)
        runtime.synchronize()
    return steps * embed.BATCH / (time.perf_counter() - began)


def embedded(store: Path, target: Path, model: str, weights: Path, runtime: Runtime) -> float:
    """Return patches a second of `embed`, from the first row to the manifest; the encoder's loading is left out."""
    shutil.rmtree(target, ignore_errors=True)
    began: list[float] = []

    def first(done: int, _total: int) -> None:
        began.append(time.perf_counter()) if done == embed.BATCH else None

    embedding = embed.embed_store(store, target, model, runtime, weights=weights, advance=first)
    # From the first batch on: what comes before it is the start of a process, once, however many patches there are.
    return (embedding.embedded - embed.BATCH) / (time.perf_counter() - began[0])


def watched(encoder: Encoder, store: Repeated, target: Path, runtime: Runtime) -> tuple[float, list[float]]:
    """Return patches a second of a long run that writes its shards, and memory after each of them."""
    memory: list[float] = []
    began = time.perf_counter()
    for number, shard_ND in enumerate(embed.shards(encoder, store, np.arange(len(store)), runtime)):  # type: ignore[arg-type]
        np.save(target / f"{number}.npy", shard_ND)
        memory.append(anonymous_mib())
    return len(store) / (time.perf_counter() - began), memory


@click.command()
@click.option("--model", default="vit_tiny_patch16_224", show_default=True)
@click.option("--patches", default=50_000, show_default=True, help="Patches of the long run.")
@click.option("--long-model", default="test_vit", show_default=True, help="Encoder of the long run.")
@click.option("--rounds", default=5, show_default=True, help="Pairs of short runs.")
@click.option("--short", default=1024, show_default=True, help="Patches of a short run.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", default="float32", show_default=True)
@click.option("--record/--no-record", default=False)
def main(**options: Any) -> None:  # noqa: ANN401 (of click)
    """Measure, print and, if asked, write a record."""
    record, rounds, short = options.pop("record"), options["rounds"], options["short"]
    with tempfile.TemporaryDirectory() as scratch:
        folder, runtime = Path(scratch), resolve(options["device"], precision=options["precision"])
        encoders = {}
        for name in (options["model"], options["long_model"]):
            weights = folder / f"{name}.safetensors"
            save_file(timm.create_model(name, pretrained=False, num_classes=0).state_dict(), weights)
            encoders[name] = load_encoder(name, weights)
        write_kaggle_folder(folder / "kaggle", num_train=max(DISTINCT, short), num_test=short)
        pack.pack_source(folder / "kaggle" / "test", folder / "store")
        few, encoder = open_store(folder / "store"), encoders[options["model"]]
        weights = folder / f"{options['model']}.safetensors"
        figures = harness.alternate(
            {
                "embed": lambda: embedded(few.path, folder / "few", options["model"], weights, runtime),
                "encoder alone": lambda: encoder_alone(encoder, runtime, short),
            },
            rounds,
        )
        (folder / "many").mkdir()
        many = Repeated(few, options["patches"])
        long, memory = watched(encoders[options["long_model"]], many, folder / "many", runtime)
    ratio = harness.ratios(figures, of="embed")["encoder alone"]
    third = max(1, len(memory) // 3)
    early, late = float(np.median(memory[:third])), float(np.median(memory[-third:]))
    table = "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| {options['model']} alone, patches/s, median of {rounds} | {np.median(figures['encoder alone']):.1f} |",
            f"| embed over the encoder alone, {short} patches a run, median (min to max) "
            f"| {ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f}) |",
            f"| {options['long_model']}, {options['patches']} patches in one run, patches/s | {long:.0f} |",
            f"| memory no file backs: first third, last third of that run, MiB | {early:.0f}, {late:.0f} |",
        ]
    )
    click.echo(table)
    if record:
        results = {"patches_per_s": figures, "long": long, "memory_mib": memory, "ratio": ratio}
        gpu = torch_name(runtime)
        click.echo(f"→ {harness.write_record('embed', options, results, table, gpu=gpu)}")


def torch_name(runtime: Runtime) -> str | None:
    """Return the card's name, None on a CPU."""
    return None if runtime.device.type == "cpu" else runtime.describe().split(",")[0]


if __name__ == "__main__":
    main()
