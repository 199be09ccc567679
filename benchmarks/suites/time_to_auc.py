"""Seconds from the start of a process to a validation AUC: the fast recipe against a plain PyTorch loop.

Usage: python -m benchmarks.suites.time_to_auc --weights lite0.pth [--folder KAGGLE_FOLDER] [--seeds 3] [--auc 0.96]

EfficientNet-Lite0 from ImageNet weights (the recipe efficientnet_lite0 says from where), the same split, float32 on
this machine's CPU. Both are processes of their own, seed by seed in turn; imports and validation are on the clock. The
store is packed before: it serves every run to come.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from benchmarks import harness
from fastpath.runs.run_data import run_data_of
from fastpath.runs.score_views import score
from fastpath.runs.trained import open_run
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.workflows import pack

RESAMPLES = 2000


def write_split(store_path: Path, path: Path) -> None:
    """Write ids, labels and parts of a store's split as CSV, for the plain loop."""
    store = open_store(store_path)
    split = read_split(store)
    rows = [(row, part) for part in (Split.TRAIN, Split.VAL) for row in split.rows(part)]
    table = pd.DataFrame(
        {
            "id": [store.ids_N[row] for row, _ in rows],
            "label": [int(store.labels_N[row]) for row, _ in rows],
            "part": [str(part) for _, part in rows],
        }
    )
    table.to_csv(path, index=False)


def plain(scratch: Path, folder: Path, weights: Path, seed: int, epochs: int) -> dict[str, Any]:
    """Run the plain loop; returns its epochs and final validation logits."""
    logits = scratch / "logits.npy"
    paths = [f"--folder={folder}", f"--split={scratch / 'split.csv'}", f"--weights={weights}", f"--logits={logits}"]
    command = [sys.executable, "-m", "benchmarks.peers.plain_loop", *paths]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, f"--epochs={epochs}", f"--seed={seed}", "--workers=2"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        timed_epochs = [json.loads(line) | {"seconds": time.perf_counter() - began} for line in process.stdout]
    if process.returncode:
        raise click.ClickException(f"the plain loop ended with {process.returncode}")
    return {"epochs": timed_epochs, "logits": np.load(logits)}


def fast(scratch: Path, weights: Path, seed: int, recipe: str) -> dict[str, Any]:
    """Run the fast recipe through the command line; returns its epochs and final validation logits."""
    run_dir = scratch / f"run-{seed}"
    command = [sys.executable, "-m", "fastpath", "train", str(scratch / "store"), "-o", str(run_dir), "--amp", "-q"]
    settings = ["--config", recipe, "--set", f"model.weights={weights}", "--seed", str(seed)]
    began = time.perf_counter()
    with subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL) as process:
        epochs: list[dict[str, Any]] = []
        while process.poll() is None or len(epochs) < len(_lines(run_dir)):
            for line in _lines(run_dir)[len(epochs) :]:
                epochs.append({"epoch": line["epoch"], "auc": line["val_auc"], "seconds": time.perf_counter() - began})
            time.sleep(0.05)
    if process.returncode:
        raise click.ClickException(f"fastpath train ended with {process.returncode}")
    return {"epochs": epochs, "logits": _final_logits(run_dir)}


def _lines(run_dir: Path) -> list[dict[str, Any]]:
    journal = run_dir / "journal.jsonl"
    whole = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.exists() else []
    return [json.loads(line) for line in whole]


def _final_logits(run_dir: Path) -> np.ndarray:
    from fastpath.runtime import resolve

    run = open_run(run_dir, "last")
    data = run_data_of(run.open_store(), run.config)
    return score(run, data.store, data.val_rows_N, resolve("cpu"))


def seconds_to(epochs: list[dict[str, Any]], auc: float) -> float:
    """Return the time of the first epoch at or above an AUC; infinite where there is none."""
    return next((float(epoch["seconds"]) for epoch in epochs if epoch["auc"] >= auc), float("inf"))


def paired_difference(labels_N: np.ndarray, ours_SN: np.ndarray, theirs_SN: np.ndarray) -> dict[str, float]:
    """Return our AUC less theirs, seeds averaged, with the bootstrap's 95 % interval and how often it is negative.

    Patches are drawn with replacement, the same for both and for every seed.
    """
    from scipy.stats import rankdata

    def difference(drawn_N: np.ndarray) -> float:
        positive_N = labels_N[drawn_N] == 1
        # The AUC is the mean rank of the positives, moved and scaled (Mann and Whitney); the move cancels out.
        apart_N = rankdata(ours_SN[:, drawn_N], axis=1) - rankdata(theirs_SN[:, drawn_N], axis=1)
        return float(apart_N[:, positive_N].mean() / (~positive_N).sum())

    random, size = np.random.default_rng(0), len(labels_N)
    drawn = [difference(random.integers(0, size, size)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    whole = difference(np.arange(size))
    return {
        "difference": whole,
        "low": float(low),
        "high": float(high),
        "share_below_0": float(np.mean(np.less(drawn, 0))),
    }


@click.command()
@click.option("--weights", type=click.Path(path_type=Path, exists=True), required=True, help="Lite0, named for timm.")
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--seeds", type=int, default=3, show_default=True)
@click.option("--auc", type=float, default=0.96, show_default=True)
@click.option("--recipe", default="fast_lite0", show_default=True)
@click.option("--plain-epochs", type=int, default=3, show_default=True, help="Length of the plain loop's cycle.")
def main(weights: Path, folder: Path | None, seeds: int, auc: float, recipe: str, plain_epochs: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    runs: dict[str, list[dict[str, Any]]] = {"fastpath": [], "plain PyTorch": []}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        pack.pack_source(folder, scratch / "store")
        write_split(scratch / "store", scratch / "split.csv")
        table = pd.read_csv(scratch / "split.csv")
        labels_N = table.loc[table["part"] == "val", "label"].to_numpy()
        for seed in range(42, 42 + seeds):
            runs["fastpath"].append(fast(scratch, weights.resolve(), seed, recipe))
            runs["plain PyTorch"].append(plain(scratch, folder, weights.resolve(), seed, plain_epochs))
            for who, outcome in runs.items():
                click.echo(f"seed {seed}  {who:14s} {_epochs_text(outcome[-1]['epochs'])}")
    times = {who: [seconds_to(outcome["epochs"], auc) for outcome in each] for who, each in runs.items()}
    logits = {who: np.stack([outcome["logits"] for outcome in each]) for who, each in runs.items()}
    apart = paired_difference(labels_N, logits["fastpath"], logits["plain PyTorch"])
    ratios = [slow / quick for slow, quick in zip(times["plain PyTorch"], times["fastpath"], strict=True)]
    lines = [f"| | s to AUC {auc}, median (min to max) | final AUC of each seed |", "|---|---|---|"]
    for who, values in times.items():
        finals = ", ".join(f"{outcome['epochs'][-1]['auc']:.4f}" for outcome in runs[who])
        lines.append(f"| {who} | {statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f}) | {finals} |")
    lines += [
        "",
        f"Median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}). Final AUC, fastpath "
        f"less plain, paired bootstrap over patches: {apart['difference']:+.4f} (95 % {apart['low']:+.4f} to "
        f"{apart['high']:+.4f}).",
    ]
    text = "\n".join(lines)
    click.echo(text)
    settings = {"model": "tf_efficientnet_lite0, ImageNet weights", "auc": auc, "seeds": seeds, "recipe": recipe}
    settings |= {
        "plain_epochs": plain_epochs,
        "plain_loop": "float32, NCHW, DataLoader with 2 workers, 96 px, batch 64",
    }
    results = {
        "epochs": {who: [outcome["epochs"] for outcome in each] for who, each in runs.items()},
        "ratios": ratios,
        "final_auc": apart,
    }
    click.echo(f"→ {harness.write_record('time-to-auc', settings, results, text)}")


def _epochs_text(epochs: list[dict[str, Any]]) -> str:
    return "  ".join(f"{epoch['auc']:.4f} at {epoch['seconds']:.0f} s" for epoch in epochs)


if __name__ == "__main__":
    main()
