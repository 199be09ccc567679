"""Several slides in one call: each in a folder of its own, and a table with a row for each."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastpath.errors import FastpathError, UsageError, memory_exhausted
from fastpath.runs import output_place
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.system import json_values, run_log
from fastpath.text import brief, to_csv
from fastpath.workflows.slide import slide, slide_files, slide_lesions, slide_origin
from fastpath.workflows.slide.slide import Advance, SlideOptions

_LOGGER = logging.getLogger(__name__)

TABLE, FACTS = "scored.csv", "scored.json"
COLUMNS = (
    *("slide", "status", "mpp", "num_tiles", "num_called", "called_mm2"),
    *("score_max", "score_mean", "score_top_k", "score_noisy_or"),
    *("foreign", "tile_auc", "num_lesions", "froc_score", "problem"),
)
_OF_SLIDE = ("mpp", "num_tiles", "num_called", "called_mm2")
_OF_LESIONS = ("tile_auc", "num_lesions", "froc_score")

Watch = Callable[[str], AbstractContextManager[Advance]]
"""Takes a slide's name, shows its progress while the context lasts, and yields what moves it."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What several slides came to.

    Attributes:
        num_slides: Slides.
        num_failed: Of these, those without a score.
        slides: A row a slide, by `COLUMNS`: `status` is `scored`, `kept` (it was scored before, from the same) or
            `failed`, with its `problem`.
        output: Where the table and a folder for each slide lie.
    """

    num_slides: int
    num_failed: int
    slides: list[dict[str, Any]]
    output: str


def score_slides(
    run_dir: Path,
    images: Sequence[Path],
    output: Path,
    runtime: Runtime,
    *,
    options: SlideOptions,
    checkpoint: CheckpointName,
    watch: Watch,
) -> BatchResult:
    """Score slides one after the other; one that cannot be scored does not end the others.

    The table grows with every slide. The same call again goes on: slides that are scored from the same are kept.

    Args:
        run_dir: A run directory.
        images: Slides; their names without the suffix must differ, as they name the folders.
        output: The directory to write to.
        runtime: Device and precision.
        options: How the slides are cut; `lesions` is a folder with a file for each (`slide_lesions.lesions_of`).
        checkpoint: The best epoch's weights or the last's.
        watch: Shows progress.

    Raises:
        UsageError: Two slides have one name, or `lesions` is a single file.
        CheckpointError: The run cannot be opened.
    """
    _check(images, output, run_dir, options)
    trained = open_run(run_dir, checkpoint)  # what is wrong with it is so for every slide
    with run_log.kept_in(output):
        return _score_each(trained, images, output, runtime, options, watch)


def _score_each(
    trained: TrainedRun, images: Sequence[Path], output: Path, runtime: Runtime, options: SlideOptions, watch: Watch
) -> BatchResult:
    """Score slides into folders of a directory that is there, and write the table after each."""
    rows: list[dict[str, Any]] = []
    for image in images:
        with watch(image.name) as advance:
            rows.append(_row(trained, image, output / image.stem, runtime, options, advance))
        result = BatchResult(len(rows), sum(row["status"] == "failed" for row in rows), rows, str(output))
        facts = {key: value for key, value in asdict(result).items() if key != "output"}
        table = to_csv(COLUMNS, [["" if row[name] is None else row[name] for name in COLUMNS] for row in rows])
        content = {TABLE: table, FACTS: (json_values.dumps(facts) + "\n").encode()}
        output_place.write_set(output, FACTS, content)
    return result


def _check(images: Sequence[Path], output: Path, run_dir: Path, options: SlideOptions) -> None:
    """Refuse what is wrong with all slides before the first is scored."""
    name, times = Counter(image.stem for image in images).most_common(1)[0]
    if times > 1:
        problem = f"found {times} slides called '{name}', wanted names that differ: each has a folder of that name"
        raise UsageError(output, problem, "score them in calls of their own, each with another -o")
    lesions = options.lesions
    if lesions is not None and lesions != slide_lesions.NONE and not lesions.is_dir():
        problem = f"found one file for {len(images)} slides, wanted a folder with a file for each, or 'none'"
        raise UsageError(lesions, problem, "give the folder")
    output_place.check_directory(output, FACTS, (run_dir, *images, lesions))


def _row(
    trained: TrainedRun, image: Path, output: Path, runtime: Runtime, options: SlideOptions, advance: Advance
) -> dict[str, Any]:
    """Score a slide, unless that was done; returns its row of the table."""
    row = dict.fromkeys(COLUMNS) | {"slide": image.name}
    try:
        chosen = replace(options, lesions=slide_lesions.lesions_of(options.lesions, image))
        facts = _kept(output, slide_origin.of_files(trained, image, runtime, asdict(chosen)))
        status = "scored" if facts is None else "kept"
        if facts is None:
            result = slide.score_slide(trained.path, image, output, runtime, options=chosen, advance=advance)
            facts = asdict(result)
    except Exception as error:  # whatever a slide is like, those after it are scored
        problem = _failure_text(error)
        foreseen = isinstance(error, FastpathError)
        _LOGGER.error("%s", f"{image.name}: {problem}", exc_info=None if foreseen else error, extra={"kept_only": True})
        return row | {"status": "failed", "problem": problem}
    lesions = facts["lesions"] or {}
    return {
        **row,
        "status": status,
        **{name: facts[name] for name in _OF_SLIDE},
        **{f"score_{name}": value for name, value in facts["scores"].items()},
        **{name: lesions.get(name) for name in _OF_LESIONS},
        "foreign": any(verdict["caution"] for verdict in facts["verdicts"]),
    }


def _failure_text(error: Exception) -> str:
    """Return in one line why a slide has no score."""
    known = error if isinstance(error, FastpathError) else memory_exhausted(error)
    return str(known or f"{type(error).__name__}: {brief(error, 300)}")


def _kept(output: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the facts of a slide that was scored before; None where it was not, or from something else."""
    try:
        facts: dict[str, Any] = json.loads((output / slide_files.FACTS).read_text(encoding="utf-8"))
        whole = all((output / name).is_file() for name in output_place.SETS[slide_files.FACTS])
        return facts if facts["fingerprint"] == fingerprint and whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
