"""What the patches looked like that a run was trained on, kept with the run, and whether other tissue looks alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import verdicts
from fastpath.analysis.pixels.appearance import LOOKS
from fastpath.analysis.verdicts import Outside, Verdict
from fastpath.errors import FastpathError
from fastpath.runs.patch_appearance import measure_pixels
from fastpath.runs.row_lookup import training_rows
from fastpath.runs.trained import TrainedRun
from fastpath.store.reader import Store
from fastpath.system.files import read_regular, write_durably
from fastpath.types import Patches

NAME = "appearance.json"
SAMPLE = 2000
"""Training patches looked at: five of them lie beyond either end of the range, and they take about a second."""

_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Look:
    """The range of each measure that holds the central `verdicts.CENTRAL` of training patches.

    Attributes:
        num_patches: Training patches looked at.
        ranges: Lowest, median and highest by name of the measure; measures that no patch has are left out.
    """

    num_patches: int
    ranges: Mapping[str, tuple[float, float, float]]


def look(store: Store, rows_N: NDArray[np.int64], seed: int) -> Look:
    """Measure a draw of at most `SAMPLE` of these rows of a store."""
    rng = np.random.Generator(np.random.Philox(seed))
    measured = measure_pixels(store, np.sort(rng.permutation(rows_N)[:SAMPLE]))
    tail = (1 - verdicts.CENTRAL) / 2
    ranges = {}
    for name, values_N in measured.items():
        known_N = values_N[np.isfinite(values_N)]
        if len(known_N):
            low, middle, high = np.quantile(known_N, (tail, 0.5, 1 - tail)).tolist()
            ranges[name] = (low, middle, high)
    return Look(min(len(rows_N), SAMPLE), ranges)


def write(run_dir: Path, result: Look) -> None:
    """Keep it with the run."""
    values = {"num_patches": result.num_patches, "central": verdicts.CENTRAL, "ranges": result.ranges}
    write_durably(run_dir / NAME, (json.dumps(values, indent=2) + "\n").encode())


def of_run(trained: TrainedRun) -> Look | None:
    """Return what the run keeps; of an older run, what its store tells; None where neither is at hand."""
    try:
        values = json.loads(read_regular(trained.path.parent / NAME, bytes_max=_BYTES_MAX, follow=True))
        ranges = {name: tuple(map(float, values["ranges"][name])) for name in LOOKS if name in values["ranges"]}
        if all(len(range_) == 3 and all(map(math.isfinite, range_)) for range_ in ranges.values()):
            return Look(
                int(values["num_patches"]), {name: (range_[0], range_[1], range_[2]) for name, range_ in ranges.items()}
            )
    except (FastpathError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    own = training_rows(trained)
    try:
        return None if own is None else look(*own, trained.config.seed)
    except FastpathError:  # its pixels cannot be read
        return None


def appearance_verdict(trained: TrainedRun, patches: Patches, seed: int = 0) -> tuple[list[Outside], Verdict]:
    """Tell whether patches, such as the tiles of a slide, look like those that a run was trained on.

    Args:
        trained: The run.
        patches: All of one slide; at most `SAMPLE` of them are looked at.
        seed: Decides which.

    Returns:
        By measure, how many lie outside the training patches' range; and what that comes to.
    """
    before = of_run(trained)
    if before is None:
        return [], verdicts.foreign([], math.nan)
    rng = np.random.Generator(np.random.Philox(seed))
    result = measure_pixels(patches, np.sort(rng.permutation(len(patches.labels_N))[:SAMPLE]))
    outside, anywhere_N = [], np.zeros(len(next(iter(result.values()))), bool)
    for name, (low, middle, high) in before.ranges.items():
        values_N = result[name]
        below_N, above_N = values_N < low, values_N > high  # what has no such measure is not outside
        anywhere_N |= below_N | above_N
        known_N = values_N[np.isfinite(values_N)]
        median = float(np.median(known_N)) if len(known_N) else math.nan
        outside.append(Outside(name, float(below_N.mean()), float(above_N.mean()), median, low, middle, high))
    return outside, verdicts.foreign(outside, float(anywhere_N.mean()))
