"""What every benchmark shares: alternated runs, medians and ratios with spread, and records that name the machine."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastpath.system.versions import installed

RECORDS = Path(__file__).resolve().parent / "records"
PACKAGES = ("torch", "torchvision", "timm", "nvidia-dali-cuda120", "nvidia-dali-cuda130", "numpy", "pillow", "tifffile")


def sample_folder() -> Path | None:
    """Return the folder of real patches, or None where there is none."""
    root = Path(__file__).resolve().parent.parent.parent
    folder = Path(os.environ.get("FASTPATH_SAMPLE_DATA", root / "shared" / "data")) / "kaggle_sample"
    return folder if (folder / "train_labels.csv").exists() else None


def machine(gpu: str | None = None) -> dict[str, Any]:
    """Return CPU, cores, memory, GPU, operating system and versions: what a figure means nothing without."""
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "gpu": gpu,
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": installed(PACKAGES),
    }


def alternate(
    contestants: Mapping[str, Callable[[], float]], rounds: int, say: Callable[[str], None] = print
) -> dict[str, list[float]]:
    """Run every contestant once a round, in turn, so that a slow minute of the machine falls on all of them.

    Args:
        contestants: Name to a function that returns one figure.
        rounds: Runs of each.
        say: Told each figure as it comes.
    """
    figures: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds):
        for name, run in contestants.items():
            figures[name].append(run())
            say(f"round {number + 1}/{rounds}  {name:28s} {figures[name][-1]:10.1f}")
    return figures


def summary(values: Sequence[float]) -> dict[str, float | int]:
    """Return median, extremes and count."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "n": len(values)}


def ratios(figures: Mapping[str, Sequence[float]], of: str) -> dict[str, dict[str, float | int]]:
    """Return, for every other contestant, the ratio of `of` to it round by round, summarised."""
    return {
        name: summary([ours / theirs for ours, theirs in zip(figures[of], values, strict=True)])
        for name, values in figures.items()
        if name != of
    }


def write_record(
    theme: str,
    settings: Mapping[str, Any],
    results: Mapping[str, Any],
    table: str,
    gpu: str | None = None,
    folder: Path | None = None,
) -> Path:
    """Write `records/<theme>_<cpu or gpu>_<YYYYMM>.json` and `.md`; returns the path of the latter.

    Args:
        theme: What was measured.
        settings: What was held fixed: sizes, counts, rounds, data.
        results: Every figure, raw values included.
        table: The Markdown a reader sees.
        gpu: The card it was measured on.
        folder: Where to write; None is `records/`.
    """
    facts = machine(gpu)
    now = datetime.datetime.now(datetime.UTC)
    hardware = re.sub(r"[^a-z0-9]+", "-", (gpu or f"{facts['cpu']} {facts['cores']}c").lower()).strip("-")
    folder = folder or RECORDS
    folder.mkdir(exist_ok=True)
    stem = folder / f"{theme}_{hardware}_{now:%Y%m}"
    record = {"theme": theme, "date": f"{now:%Y-%m-%d}", "machine": facts, "settings": settings, "results": results}
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    hardware_line = f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB, {gpu or 'no GPU'}"
    head = f"# {theme}\n\n{now:%Y-%m-%d} · {hardware_line} · Python {facts['python']}, {versions}\n\n"
    details = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in settings.items())
    stem.with_suffix(".md").write_text(f"{head}{table}\n\n{details}\n", encoding="utf-8")
    return stem.with_suffix(".md")
