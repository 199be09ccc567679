"""What the patches looked like that a run was trained on, kept with the run, and whether other tissue looks alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import appearance, verdicts
from fastpath.analysis.appearance import LOOKS
from fastpath.analysis.verdicts import Outside, Verdict
from fastpath.data.residency import Patches
from fastpath.errors import FastpathError
from fastpath.files import read_regular, write_durably
from fastpath.ingest import stats
from fastpath.shards.reader import Store
from fastpath.workflows.run_data import run_data_of
from fastpath.workflows.trained import TrainedRun

NAME = "appearance.json"
SAMPLE = 2000
"""Training patches looked at: five of them lie beyond either end of the range, and they take about a second."""

_TOGETHER = 256  # patches in memory at once
_BYTES_MAX = 1 << 20
Floats = NDArray[np.float64]


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
    measured = measure(store, np.sort(rng.permutation(rows_N)[:SAMPLE]))
    tail = (1 - verdicts.CENTRAL) / 2
    ranges = {}
    for name, values_N in measured.items():
        known_N = values_N[np.isfinite(values_N)]
        if len(known_N):
            low, middle, high = np.quantile(known_N, (tail, 0.5, 1 - tail)).tolist()
            ranges[name] = (low, middle, high)
    return Look(min(len(rows_N), SAMPLE), ranges)


def write(run_dir: Path, found: Look) -> None:
    """Keep it with the run."""
    values = {"num_patches": found.num_patches, "central": verdicts.CENTRAL, "ranges": found.ranges}
    write_durably(run_dir / NAME, (json.dumps(values, indent=2) + "\n").encode())


def of_run(trained: TrainedRun) -> Look | None:
    """Return what the run keeps; of an older run, what its store tells; None where neither is at hand."""
    try:
        values = json.loads(read_regular(trained.path.parent / NAME, bytes_max=_BYTES_MAX, follow=True))
        ranges = {name: tuple(map(float, values["ranges"][name])) for name in LOOKS if name in values["ranges"]}
        if all(len(one) == 3 and all(map(math.isfinite, one)) for one in ranges.values()):
            return Look(int(values["num_patches"]), {name: (one[0], one[1], one[2]) for name, one in ranges.items()})
    except (FastpathError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    try:
        store = trained.open_store()
        if trained.differs(store) is None:
            return look(store, run_data_of(store, trained.config).train_rows_N, trained.config.seed)
    except FastpathError:
        pass
    return None


def measure(patches: Patches, rows_N: NDArray[np.int64]) -> dict[str, Floats]:
    """Return float64 [N] for each of `appearance.LOOKS`, from the pixels alone; NaN where a patch has none."""
    parts = [_measures(patches.gather(rows_N[at : at + _TOGETHER])) for at in range(0, len(rows_N), _TOGETHER)]
    return {name: np.concatenate([part[name] for part in parts]) for name in LOOKS}


def _measures(images_NHWC: NDArray[np.uint8]) -> dict[str, Floats]:
    found, stains_N4 = stats.measure(images_NHWC), appearance.stains_and_rest(images_NHWC)
    mean_N3 = (found.sums_N3 / (images_NHWC.shape[1] * images_NHWC.shape[2])).astype(np.float32)
    return {
        "brightness": appearance.brightness(mean_N3),
        "haematoxylin": stains_N4[:, 1],
        "eosin": stains_N4[:, 2],
        "tissue_share": stains_N4[:, 0],
        "sharpness": appearance.sharpness(found.sharpness_N),
        "other_stain": stains_N4[:, 3],
    }


def judge(trained: TrainedRun, patches: Patches, seed: int = 0) -> tuple[list[Outside], Verdict]:
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
    found = measure(patches, np.sort(rng.permutation(len(patches.labels_N))[:SAMPLE]))
    outside, anywhere_N = [], np.zeros(len(next(iter(found.values()))), bool)
    for name, (low, middle, high) in before.ranges.items():
        values_N = found[name]
        below_N, above_N = values_N < low, values_N > high  # what has no such measure is not outside
        anywhere_N |= below_N | above_N
        known_N = values_N[np.isfinite(values_N)]
        median = float(np.median(known_N)) if len(known_N) else math.nan
        outside.append(Outside(name, float(below_N.mean()), float(above_N.mean()), median, low, middle, high))
    return outside, verdicts.foreign(outside, float(anywhere_N.mean()))
