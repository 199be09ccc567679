"""The main road from end to end on synthetic patches: pack, verify, train, evaluate."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fastpath import config as configuration
from fastpath.engine.loop import Event
from fastpath.errors import FastpathError, IntegrityError, UsageError
from fastpath.ingest.synth import write_kaggle_folder
from fastpath.runs import output_place
from fastpath.runtime import Runtime
from fastpath.system import run_log
from fastpath.system.files import as_failure, read_regular, write_durably
from fastpath.workflows import pack
from fastpath.workflows.evaluate import evaluate
from fastpath.workflows.train import train
from fastpath.workflows.train.train_lines import StartEvent
from fastpath.workflows.verify import verify

Advance = Callable[[int, int], None]
Watch = Callable[[StartEvent | Event], None]

MARK = "demo.json"
"""Names a directory as a demo's; with it, a new demo may replace what the old one wrote."""

AUC_WANTED = 0.9
_NAMES = ("patches", "store", "run", "evaluation")
NUM_TRAIN, NUM_TEST, NUM_SLIDES = 2000, 40, 10  # a fifth of the labelled patches, two slides, is for validation


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo reached and where everything lies.

    Attributes:
        auc: Area under the ROC curve on slides not trained on.
        wanted: The least that counts as success.
        passed: Whether it was reached.
        status: How training ended.
        num_train: Patches trained on.
        notices: What the reader of `auc` should know.
        seconds: Wall time by stage.
        patches: TIFFs and tables, in the Kaggle layout.
        store: The packed store.
        run: The run directory.
        evaluation: Metrics, predictions and a picture.
    """

    auc: float
    wanted: float
    passed: bool
    status: str
    num_train: int
    notices: list[str]
    seconds: dict[str, float]
    patches: str
    store: str
    run: str
    evaluation: str


def run_demo(
    output: Path,
    runtime: Runtime,
    *,
    seed: int | None = None,
    num_train: int = NUM_TRAIN,
    overrides: tuple[str, ...] = (),
    progress: Callable[[str], AbstractContextManager[Advance]],
    watch: Callable[[], AbstractContextManager[Watch]],
) -> DemoResult | None:
    """Draw patches, pack and verify them, train on them and evaluate.

    Args:
        output: Where everything goes; new, empty, or an earlier demo's, which is replaced.
        runtime: Device and precision.
        seed: Decides patches, order, weights; None takes the recipe's.
        num_train: Labelled patches to draw.
        overrides: Changes to the recipe, `a.b=value`.
        progress: From a stage's name to the context in which it reports patches done and in all.
        watch: Makes the context in which training reports its events.

    Returns:
        The result, or None where Ctrl-C stopped training.

    Raises:
        UsageError: The directory holds something else.
        IntegrityError: The store is not what was packed.
    """
    changes = [*overrides] if seed is None else [*overrides, f"seed={seed}"]
    config = configuration.load(configuration.recipe("demo"), changes)
    _vacate(output)
    with run_log.kept_in(output):
        return _walk(output, runtime, config, num_train, progress, watch)


def _walk(
    output: Path,
    runtime: Runtime,
    config: configuration.Config,
    num_train: int,
    progress: Callable[[str], AbstractContextManager[Advance]],
    watch: Callable[[], AbstractContextManager[Watch]],
) -> DemoResult | None:
    """Do what `run_demo` says, in a directory that is there."""
    patches, store, run_dir, evaluation = (output / name for name in _NAMES)
    seconds: dict[str, float] = {}
    with _timed("draw", seconds), progress("drawing patches") as advance:
        write_kaggle_folder(
            patches, num_train=num_train, num_test=NUM_TEST, num_slides=NUM_SLIDES, seed=config.seed, advance=advance
        )
    with _timed("pack", seconds), progress("packing") as advance:
        pack.pack_source(patches, store, advance=advance)
    with _timed("verify", seconds), progress("verifying") as advance:
        _prove(store, patches, advance)
    with _timed("train", seconds), watch() as on_event:
        trained = train.train_run(store, run_dir, config, runtime, on_event=on_event)
    if trained.status == "interrupted":
        return None
    with _timed("evaluate", seconds), progress("evaluating") as advance:
        measured = evaluate.evaluate_run(run_dir, runtime, output=evaluation, advance=advance)
    result = DemoResult(
        auc=measured.auc,
        wanted=AUC_WANTED,
        passed=measured.auc >= AUC_WANTED,
        status=trained.status,
        num_train=num_train - measured.num_patches,
        notices=measured.notices,
        seconds={name: round(value, 1) for name, value in seconds.items()},
        patches=str(patches),
        store=str(store),
        run=str(run_dir),
        evaluation=str(evaluation),
    )
    facts = asdict(result) | {name: name for name in _NAMES}
    write_durably(output / MARK, (json.dumps(facts, indent=2) + "\n").encode())
    return result


def _prove(store: Path, patches: Path, advance: Advance) -> None:
    """Compare every packed pixel with the file it came from."""
    damages = verify.verify_store(store, source=patches, advance=advance).damages
    if damages:
        problem = f"found {len(damages)} damages, the first in {damages[0].file}: {damages[0].problem}"
        raise IntegrityError(store, problem, "check disk and memory")


def _vacate(output: Path) -> None:
    """Make the directory, and mark it as a demo's before anything else goes in; replace what an older demo left."""
    output_place.check_new(output)
    if output.is_dir() and any(output.iterdir()) and not _is_demo(output):
        raise UsageError(output, "holds other files, wanted a new directory or a demo's", "choose another -o")
    output_place.make_parent(output / MARK)
    write_durably(output / MARK, b'{"status": "running"}\n')
    for name in _NAMES:
        if (output / name).exists():
            try:
                shutil.rmtree(output / name)
            except OSError as error:
                raise as_failure(output / name, error, "cannot be removed") from error


def _is_demo(output: Path) -> bool:
    """Whether a directory holds a demo's mark, not just any file of that name: what lies there is about to go."""
    try:
        facts = json.loads(read_regular(output / MARK, bytes_max=1 << 20, follow=False))
        return bool(facts.get("status") == "running" or {"wanted", "passed", *_NAMES} <= set(facts))
    except (FastpathError, ValueError, AttributeError, RecursionError):
        return False


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
