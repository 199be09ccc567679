"""Score patches without labels and write a submission table."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.errors import DataError, UsageError
from fastpath.runtime import Runtime
from fastpath.shards.format import write_durably
from fastpath.shards.reader import Store, open_store
from fastpath.workflows import pack
from fastpath.workflows.trained import TrainedRun, Which, open_run, score

SAMPLE = "sample_submission.csv"
Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PredictResult:
    """What was predicted.

    Attributes:
        num_patches: Rows of the submission.
        order: `sample` where the order is a sample submission's, else `store`.
        mean_probability: Over all patches.
        share_positive: Share of probabilities of at least 0.5.
        checkpoint: `best` or `last`.
        epoch: Epochs the weights were trained for.
        output: The submission.
    """

    num_patches: int
    order: str
    mean_probability: float
    share_positive: float
    checkpoint: Which
    epoch: int
    output: str


def run(
    run_dir: Path,
    store_path: Path,
    output: Path,
    runtime: Runtime,
    *,
    sample: Path | None = None,
    which: Which = "best",
    advance: Advance | None = None,
) -> PredictResult:
    """Write a CSV of `id,label`, the label being a probability.

    Args:
        run_dir: A run directory.
        store_path: A packed store, labelled or not.
        output: The CSV.
        runtime: Device and precision.
        sample: A sample submission whose ids and order are kept; None keeps the store's.
        which: The best epoch's weights or the last's.
        advance: Called with patches done and in all.

    Raises:
        UsageError: The run, the store or the target is not as it should be.
        DataError: The sample names other ids than the store.
    """
    trained, store = check_run(run_dir, which, output), open_store(store_path)
    rows_N = np.arange(len(store)) if sample is None else _rows_of(sample, store)
    logits_N = score(trained, store, rows_N, runtime, advance)
    probability_N = metrics.probabilities(logits_N)
    if not np.isfinite(logits_N).all():
        raise DataError("logits", "found values that are not finite", "train again with a lower learning rate")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "label"))
    writer.writerows((name, f"{value:.9g}") for name, value in zip(store.ids_N[rows_N], probability_N, strict=True))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_durably(output, table.getvalue().encode())
    return PredictResult(
        num_patches=len(rows_N),
        order="store" if sample is None else "sample",
        mean_probability=float(probability_N.mean()),
        share_positive=float((probability_N >= 0.5).mean()),
        checkpoint=which,
        epoch=trained.checkpoint.epoch,
        output=str(output),
    )


def check_run(run_dir: Path, which: Which, output: Path) -> TrainedRun:
    """Open a run and see that the target can be a table: what can be known before patches are packed.

    Raises:
        UsageError: The run or the target is not as it should be.
    """
    if output.is_dir():
        raise UsageError(output, "found a directory, wanted the name of a CSV", "give for example -o submission.csv")
    return open_run(run_dir, which)


@contextmanager
def packed(source: Path, output: Path, advance: Advance | None = None) -> Iterator[Path]:
    """Pack a folder into a store beside `output` that is removed when the block ends, however it ends.

    Args:
        source: A folder of patches; of one in the Kaggle layout, its `test/`.
        output: The submission to be.
        advance: Called with patches packed and in all.

    Raises:
        DataError: The source is not as it should be.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        store = Path(folder) / "store"
        pack.run(patches_of(source), store, advance=advance)
        yield store


def patches_of(source: Path) -> Path:
    """Return the folder of unlabelled patches that a source stands for: its `test/` where it has one."""
    return source / "test" if (source / "test").is_dir() else source


def sample_beside(source: Path) -> Path | None:
    """Return the sample submission in a source or beside it, None where there is none."""
    found = (folder / SAMPLE for folder in (source, source.resolve().parent))
    return next((path for path in found if path.is_file()), None)


def _rows_of(sample: Path, store: Store) -> NDArray[np.int64]:
    """Return the store's rows in the sample's order; both must name the same ids."""
    wanted = _sample_ids(sample)
    row_of = {str(name): row for row, name in enumerate(store.ids_N)}
    missing = [name for name in wanted if name not in row_of]
    if missing:
        problem = f"names {len(missing)} of {len(wanted)} ids that are not among the patches, the first '{missing[0]}'"
        raise DataError(sample, problem, "give the sample of these patches, or the patches that are missing")
    if len(wanted) != len(row_of):
        extra = next(iter(row_of.keys() - set(wanted)))
        problem = f"lacks {len(row_of) - len(wanted)} of {len(row_of)} patches, for example '{extra}'"
        raise DataError(sample, problem, "give the sample of these patches, or only the patches it names")
    return np.array([row_of[name] for name in wanted], np.int64)


def _sample_ids(sample: Path) -> list[str]:
    try:
        with sample.open(encoding="utf-8-sig", newline="") as file:
            ids = [row["id"] for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        reason = "found no column 'id'" if isinstance(error, KeyError) else f"cannot be read ({error})"
        raise DataError(sample, f"{reason}, wanted a CSV with columns id,label", "check the file") from None
    seen: set[str] = set()
    for line, name in enumerate(ids, start=2):
        if not name or name in seen:
            problem = f"found id '{name}' a second time" if name else "found no id"
            raise DataError(f"{sample} line {line}", problem, "correct that line")
        seen.add(name)
    return ids
