"""Train every setting of a plan with every seed, and say which differences are more than the seeds' doing."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastpath import runtime as runtimes
from fastpath.analysis.seed_comparison import Contrast, contrasts
from fastpath.config import Config
from fastpath.errors import FastpathError, UsageError
from fastpath.model.registry import check_published
from fastpath.runs import output_place
from fastpath.runs import run_directory as directory
from fastpath.runs.run_choices import RUNS, SWEEP
from fastpath.runs.run_data import RunData, check_classes, open_run_data
from fastpath.runtime import PrecisionChoice, Runtime
from fastpath.system import process_pool, run_log
from fastpath.system.files import read_regular, write_durably
from fastpath.system.interrupts import interruptible
from fastpath.system.json_values import plain
from fastpath.text import brief
from fastpath.workflows.sweep import sweep_report, sweep_trust
from fastpath.workflows.sweep.sweep_plan import Plan
from fastpath.workflows.sweep.sweep_result import Row, SweepResult
from fastpath.workflows.train import train

_LOGGER = logging.getLogger(__name__)
_DONE = ("finished", "stopped early")


@dataclass(frozen=True, slots=True)
class Job:
    """One training, in terms that travel to another process."""

    store: Path
    split_file: Path | None
    run_dir: Path
    config: Config
    device: str
    precision: PrecisionChoice
    num_threads: int | None


def sweep_settings(
    store_path: Path,
    output: Path,
    plan: Plan,
    *,
    split_file: Path | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "float32",
    num_threads: int | None = None,
    jobs: int = 1,
    on_runtime: Callable[[runtimes.Runtime], None] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Train what is not trained yet, and compare. Called again, it goes on: finished runs are kept, others resumed.

    Args:
        store_path: A packed store with a split.
        output: Where the runs and the tables lie.
        split_file: Where its split lies; None is in the store.
        plan: Settings and seeds; must be the directory's, where it holds a sweep.
        device: `auto`, `cpu` or `cuda`.
        precision: What to compute in, as `resolve` takes it.
        num_threads: CPU threads of each run; None shares the cores among the jobs.
        jobs: Runs at the same time, each a process of its own when more than one.
        on_runtime: Called with where it computes, once that is decided.
        advance: Called with runs done and in all.

    Raises:
        UsageError: The store, or a sweep of other settings in the directory.
        FastpathError: Every run failed; this is the first one's error.
    """
    output_place.check_new(output)
    sweep_trust.check(plan.settings)
    data = open_run_data(store_path, plan.settings[0].config, split_file=split_file)
    check_classes(data)
    for setting in plan.settings:  # said once, and not by each run
        check_published(setting.config.model)
    runtime = runtimes.resolve(device, precision=precision, num_threads=num_threads)
    if on_runtime is not None:
        on_runtime(runtime)
    with directory.claimed(output), ExitStack() as stack:
        _claim(output, plan, {"store_fingerprint": data.store.fingerprint, "precision": runtime.precision})
        stack.enter_context(run_log.kept_in(output))
        if num_threads is None and jobs > 1:
            num_threads = max(1, runtime.num_threads // jobs)
        todo = [
            Job(
                store_path,
                split_file,
                run_path(output, setting.slug, seed),
                setting.config.model_copy(update={"seed": seed}),
                device,
                precision,
                num_threads,
            )
            for seed in plan.seeds
            for setting in plan.settings
        ]
        failures, interrupted = _train_all(todo, jobs, advance)
        aucs_SR = [
            [_best_auc(run_path(output, setting.slug, seed)) for seed in plan.seeds] for setting in plan.settings
        ]
        if failures and all(auc is None for aucs in aucs_SR for auc in aucs):
            raise FastpathError(
                output, f"every run failed, the first with: {failures[0]}", "correct that and sweep again"
            )
        result = _conclude(plan, aucs_SR, data, runtime, failures, interrupted, output)
        sweep_report.write(output, result)
        return result


def run_path(output: Path, slug: str, seed: int) -> Path:
    """Return the directory of one setting's run with one seed."""
    return output / RUNS / slug / f"seed-{seed}"


def _claim(output: Path, plan: Plan, shared: dict[str, str]) -> None:
    """Write down what is swept, or see that the directory's sweep is this one; more seeds may be added."""
    wanted = {**shared, **{setting.slug: setting.config.fingerprint() for setting in plan.settings}}
    path = output / SWEEP
    if path.exists():
        result = _read(path)
        differing = [key for key in {**result, **wanted} if result.get(key) != wanted.get(key)]
        if differing:
            key = differing[0]
            problem = f"holds another sweep ('{key}': found {result.get(key)}, wanted {wanted.get(key)})"
            raise UsageError(output, problem, "go on with the settings it began with, or choose another directory")
    elif any(output.iterdir()):
        raise UsageError(output, "found something other than a sweep", "choose a new directory")
    write_durably(path, (json.dumps(wanted, indent=2) + "\n").encode())


def _read(path: Path) -> dict[str, Any]:
    """Return what a directory's sweep is of."""
    try:
        document = json.loads(read_regular(path, bytes_max=1 << 24, follow=False))
        if not isinstance(document, dict):
            raise TypeError("no table of settings")
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(path, f"is not a sweep's ({error})", "choose another directory") from None
    return document


def _train_all(todo: list[Job], jobs: int, advance: Callable[[int, int], None] | None) -> tuple[list[str], bool]:
    """Train what is not finished; return what failed, and whether Ctrl-C stopped it."""
    left = [job for job in todo if _status(job.run_dir) not in _DONE]
    done = len(todo) - len(left)
    failures: list[str] = []
    tell = advance or (lambda _done, _total: None)
    tell(done, len(todo))
    # Alone, the run itself hears Ctrl-C; among several, each hears it and says so by its status.
    results = ((at, train_one(job)) for at, job in enumerate(left)) if jobs == 1 else _parallel(left, jobs)
    with closing(results):
        for at, (status, error) in results:
            name = f"{left[at].run_dir.parent.name}/{left[at].run_dir.name}"
            auc = _best_auc(left[at].run_dir)
            _LOGGER.info("%s", f"{name}: {status}" + ("" if auc is None else f", AUC {auc:.4f}"))
            if status == "interrupted":
                return failures, True
            if error:
                failures.append(f"{name}: {error}")
            done += 1
            tell(done, len(todo))
    return failures, False


def _parallel(left: list[Job], jobs: int) -> Generator[tuple[int, tuple[str, str]], None, None]:
    with interruptible() as interrupted:
        try:
            for at, outcome in process_pool.run_jobs(train_one, left, workers=jobs):
                yield at, ("interrupted", "") if interrupted() else outcome
        except FastpathError:  # of the pool: what a run dies of comes back as its outcome
            problem = "the process of a run was killed (out of memory?)"
            raise FastpathError("--jobs", problem, "give fewer; the same command goes on where it stopped") from None


def train_one(job: Job) -> tuple[str, str]:
    """Train or go on with one run; return its status, and its error where it failed."""
    runtime = runtimes.resolve(job.device, precision=job.precision, num_threads=job.num_threads)
    try:
        resume = (job.run_dir / directory.CONFIG).exists()
        with run_log.aside():  # what each says is in its own log
            done = train.train_run(
                job.store, job.run_dir, job.config, runtime, resume=resume, split_file=job.split_file
            )
        return done.status, ""
    except FastpathError as error:
        return "failed", str(error)
    except Exception as error:  # whatever a setting makes torch fail of, such as its memory, the others go on
        return "failed", f"{type(error).__name__}: {brief(error, 200)}"


def _status(run_dir: Path) -> str:
    with suppress(OSError, ValueError):
        return str(json.loads((run_dir / directory.RUN).read_text(encoding="utf-8")).get("status"))
    return ""


def _best_auc(run_dir: Path) -> float | None:
    """Return a finished run's best validation AUC."""
    if _status(run_dir) not in _DONE:
        return None
    auc = float(json.loads((run_dir / directory.RUN).read_text(encoding="utf-8"))["best_auc"])
    return auc if auc >= 0 else None


def _conclude(
    plan: Plan,
    aucs_SR: list[list[float | None]],
    data: RunData,
    runtime: Runtime,
    failures: list[str],
    interrupted: bool,
    output: Path,
) -> SweepResult:
    complete = [at for at, aucs in enumerate(aucs_SR) if None not in aucs]
    values_SR = np.array([aucs_SR[at] for at in complete], np.float64).reshape(len(complete), len(plan.seeds))
    result = contrasts(values_SR) if len(complete) > 1 else []
    best = int(np.argmax(values_SR.mean(axis=1))) if complete else -1
    worse = {contrast.second for contrast in result if contrast.first == best and contrast.better}
    rows = []
    for at, setting in enumerate(plan.settings):
        verdict: Literal["best", "worse", "not distinguishable", "incomplete"] = "incomplete"
        mean = spread = None
        if at in complete:
            place = complete.index(at)
            mean = float(values_SR[place].mean())
            spread = float(values_SR[place].std(ddof=1)) if len(plan.seeds) > 1 else None
            verdict = "best" if place == best else "worse" if place in worse else "not distinguishable"
        rows.append(Row(setting.name, tuple(aucs_SR[at]), mean, spread, verdict))
    rows.sort(key=lambda row: -math.inf if row.mean is None else row.mean, reverse=True)
    moved = None
    if complete and not interrupted:  # an interrupted sweep is gone on with, and should end at once
        first = run_path(output, plan.settings[complete[best]].slug, plan.seeds[0])
        moved = sweep_trust.chance(float(values_SR[best].mean()), first, data, runtime)
    return SweepResult(
        status="interrupted" if interrupted else "failed" if failures else "finished",
        settings=rows,
        pairs=[_pair_facts(contrast, [plan.settings[at].name for at in complete]) for contrast in result],
        seeds=plan.seeds,
        chance=moved.error if moved else None,
        chance_over=moved.over if moved else None,
        num_val=len(data.val_rows_N),
        failures=failures,
        notices=sweep_trust.notices(
            len(plan.seeds),
            moved,
            data,
            num_settings=len(plan.settings),
            num_epochs=max(setting.config.train.epochs for setting in plan.settings),
        ),
        output=str(output),
    )


def _pair_facts(contrast: Contrast, names: list[str]) -> dict[str, Any]:
    """Return a pair in plain values."""
    return {
        "first": names[contrast.first],
        "second": names[contrast.second],
        "difference": contrast.difference,
        "standard_error": plain(contrast.standard_error),
        "p_value": plain(contrast.p_value),
        "p_corrected": plain(contrast.p_corrected),
        "verdict": "better" if contrast.better else "not distinguishable",
    }
