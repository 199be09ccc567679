"""Where a command may write, decided before any work: never over what it reads, nor into a store or another's run."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase
from pathlib import Path

from fastpath.errors import DataError, UsageError
from fastpath.ingest.sources.contents import SUFFIXES
from fastpath.store import format as fmt
from fastpath.system import run_log
from fastpath.system.file_sets import FileSet
from fastpath.system.files import as_failure

# A directory is what two of these names say: one alone, such as manifest.json, may be anything's. Those of a run are
# `run_directory`'s, which would bring torch into commands that need none.
_STORE = (fmt.MANIFEST, fmt.INDEX, fmt.shard_name(0))
_RUN = ("config.json", "run.json", "journal.jsonl", "best.pt", "last.pt", "fold-0")

# What is never written over, whatever lies beside it.
_KEPT = (fmt.MANIFEST, fmt.INDEX, fmt.SPLIT, "shard-*.npy", "best.pt", "last.pt")

# What a run owns of its directory, beside its evaluations.
OF_RUN = (
    *("config.json", "run.json", "journal.jsonl", "timings.jsonl", "history.csv", "best.pt", "last.pt", "curves.png"),
    *(
        "calibration.json",
        "calibration-*.json",
        "folds.json",
        "out_of_fold.parquet",
        "fold-*",
        "failure.json",
        "failure.toml",
        "leak.json",
    ),
    *("appearance.json", "mlflow.json", "tensorboard", "wandb.json", "wandb", run_log.NAME),
)

_OF_SOURCE = ("train_labels.csv", "groups.csv", "sample_submission.csv")  # what packing and predicting read of a folder

SETS: Mapping[str, Sequence[str]] = {
    "metrics.json": ("predictions.parquet", "report.html", "gallery.csv", "head.safetensors", "probe.json"),
    "features.json": ("rows.parquet",),
    "aggregation.json": ("slide_scores.csv",),
    "inspect.json": (
        *("report.html", "balance.png", "samples.png", "samples_negative.png", "samples_positive.png"),
        *("samples_unlabelled.png", "histogram_red.png", "histogram_green.png", "histogram_blue.png"),
        *("brightness_saturation.png", "mean_difference.png", "stains.png", "slides.png", "slide_shares.png"),
        "flagged.png",
    ),
    "comparison.json": ("predictions.parquet", "comparison.png"),
    "audit.json": ("neighbours.csv", "neighbours.png"),
    "review.html": ("pictures/patch-*.png", "pictures/similar-*.jpg"),
    "explain.json": ("attributions.csv", "explain.png"),
    "show.json": ("overview.png",),
    "slide.json": (
        *("heatmap.png", "top_tiles.png", "viewer.html", "tiles.parquet", "tiles.geojson", "tumour.geojson"),
    ),
    "scored.json": ("scored.csv",),
    "slides.json": ("slides.csv",),
    "pool.json": ("froc.csv",),
    "config.json": ("model.safetensors", "README.md", "card.json"),
    "result.json": ("settings.csv", "pairs.csv", "sweep.png"),
}
"""What commands leave: the file that is written last, and what else is read or shown by name."""


def check_directory(output: Path, closing: str, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a directory for one of `SETS`.

    Args:
        output: The directory.
        closing: Names the set.
        inputs: What the command reads; None stands for nothing.

    Raises:
        UsageError: It is no directory, cannot be written to, is or lies in a store or in a run that is not read, or a
            file there is an input or belongs to another set.
    """
    read, place = [path for path in inputs if path is not None], output.resolve()
    _check_writable(output, place)
    if _is(place, _RUN) and not _is(place, _STORE):
        raise UsageError(output, "is the directory of a run, wanted one of its own", "choose another -o")
    _check_around(output, place, read)
    names = (*SETS[closing], closing)
    for other, theirs in SETS.items():
        shared = set(names) & set(theirs)
        if other != closing and shared and _stat(output / other):
            problem = f"holds another command's {other}, whose {min(shared)} would be overwritten"
            raise UsageError(output, problem, "choose another -o")
    for name in names:
        _check_target(output / name, read)


def check_file(output: Path, inputs: Iterable[Path | None] = (), option: str = "-o") -> None:
    """Refuse a file to be written; see `check_directory`.

    Args:
        output: The file.
        inputs: What the command reads.
        option: Names it.

    Raises:
        UsageError: As there, or it is a directory or one of a run's own files.
    """
    if output.is_dir():
        raise UsageError(output, "found a directory, wanted the name of a file", f"choose another {option}")
    read, place = [path for path in inputs if path is not None], output.resolve()
    _check_writable(output, place.parent)
    _check_around(output, place.parent, read)
    run = next((folder for folder in place.parents if _is(folder, _RUN)), None)
    if run is not None and _matches(place.relative_to(run).parts[0], OF_RUN):
        raise UsageError(output, "belongs to the run whose directory it lies in", f"choose another {option}")
    _check_target(output, read)


def check_new(output: Path) -> None:
    """Refuse a directory for a new store, run, sweep or demo; whether there is one is for others to say.

    Raises:
        UsageError: It cannot be written to, or lies in a store or in a run.
    """
    place = output.resolve()
    _check_writable(output, place)
    _check_around(output, place.parent, [])


def check_whole(path: Path) -> None:
    """Refuse a file of a set that was cut short: others of it lie beside it, but not the one that is written last.

    Raises:
        DataError: Naming that one.
    """
    sets = {closing: names for closing, names in SETS.items() if path.name in names}
    if any(_stat(path.with_name(closing)) for closing in sets):
        return
    for closing, names in sets.items():
        if any(_stat(path.with_name(name)) for name in names if name != path.name):
            problem = f"belongs to a set that is not whole: {path.with_name(closing)} is missing"
            raise DataError(path, problem, "run the command that writes it again")


def write_set(
    output: Path, closing: str, content: Mapping[str, bytes], stale: Iterable[str] = (), *, logged: bool = True
) -> None:
    """Put one of `SETS` in the place of an older one, as a whole.

    Args:
        output: The directory.
        closing: Names the set.
        content: Every file by its name, the closing one among them.
        stale: Names that the older set has beside those of `SETS`.
        logged: Whether what is said goes to a `run.log` beside it: not where the directory is to be published.

    Raises:
        FastpathError: It cannot be written; the older set is still whole.
    """
    with FileSet(output, closing, (*map(glob.escape, stale), *SETS[closing])) as files, ExitStack() as stack:
        if logged:
            stack.enter_context(run_log.kept_in(output))
        for name, each in content.items():
            files.write(name, each)


def make_parent(path: Path) -> None:
    """Make the directory that a file is to lie in.

    Raises:
        FastpathError: It cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise as_failure(path.parent, error) from error


def _check_writable(output: Path, folder: Path) -> None:
    """Refuse a folder that is none, or that nothing can be put into."""
    standing = next(each for each in (folder, *folder.parents) if _stat(each))
    if not standing.is_dir():
        problem = "found a file, wanted a directory" if standing == output.resolve() else f"{standing} is no directory"
        raise UsageError(output, problem, "choose another -o")
    if not os.access(standing, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        read_only = os.statvfs(standing).f_flag & os.ST_RDONLY
        raise as_failure(output, OSError(errno.EROFS if read_only else errno.EACCES, ""))


def _check_around(output: Path, folder: Path, inputs: Sequence[Path]) -> None:
    """Refuse a folder that is or lies in a store, or in a run that nothing is read of."""
    read = [path.resolve() for path in inputs]
    for each in (folder, *folder.parents):
        if _is(each, _STORE):
            lies = "is" if each == output.resolve() else "lies in"
            raise UsageError(output, f"{lies} the packed store {each}", "choose a place outside it")
        if _is(each, _RUN) and not any(path == each or each in path.parents for path in read):
            raise UsageError(output, f"lies in the run {each}, which is not read here", "choose a place outside it")


def _check_target(target: Path, inputs: Sequence[Path]) -> None:
    """Refuse a file that is there and must stay."""
    result = _stat(target)
    if result is None:
        return
    if not stat.S_ISREG(result.st_mode):
        raise UsageError(target, "is no regular file", "choose another place")
    place = target.resolve()
    if _matches(place.name, _KEPT):
        raise UsageError(target, "is of a packed store or a run", "choose another name")
    for path in inputs:
        for read in _read_of(path, linked=result.st_nlink > 1):
            other = _stat(read)
            if other is not None and os.path.samestat(result, other):
                raise UsageError(target, f"is what is read: {read}", "choose another name")
        in_source = path.is_dir() and path.resolve() in place.parents and not _is(path, _RUN)
        if in_source and (place.suffix.lower() in SUFFIXES or place.name in _OF_SOURCE):
            raise UsageError(target, f"is read from {path}", "choose another name")


def _read_of(path: Path, *, linked: bool) -> list[Path]:
    """Return a file, or what lies in a directory where one of its files may have a second name."""
    if path.is_dir():
        return list(path.iterdir()) if linked else []
    return [path]


def _stat(path: Path) -> os.stat_result | None:
    """Return what is there, links followed; None where nothing is.

    Raises:
        UsageError: It cannot be looked at.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise as_failure(path, error, "cannot be looked at") from error


def _is(folder: Path, names: Sequence[str]) -> bool:
    return sum(_stat(folder / name) is not None for name in names) >= 2


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
