"""Is bfloat16 faster than float32 for this network on this CPU? Measured once, then remembered.

No rule tells: on a Zen 4 core ResNet-50 at 224 pixels gains twofold, while EfficientNet-Lite0 at 96 pixels loses two
fifths to oneDNN's depthwise convolutions. So a few of the network's own steps are taken in both, in turn.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastpath.config import Config
from fastpath.errors import FastpathError
from fastpath.runs.lone_step import scoring_step, training_step
from fastpath.runtime import Precision, Runtime
from fastpath.system.files import write_durably
from fastpath.types import Batch

Step = Callable[[], object]
Clock = Callable[[], float]

CLEAR = 1.03  # of float32's rate: below it nothing is lost by float32, and noise cannot choose
ROUNDS = 5  # steps of each precision
CLOSE = (0.93, 1.15)  # between these a first answer may be noise, and CLOSE_ROUNDS more decide
CLOSE_ROUNDS = 15
PIXELS = 8 * 224**2  # of a batch: as many as fill the cores, and no more


@dataclass(frozen=True, slots=True)
class Decision:
    """What a measurement said.

    Attributes:
        precision: The faster one; float32 where neither clearly is.
        gain: The rate in the other precision over that in float32.
    """

    precision: Precision
    gain: float


def settle(
    runtime: Runtime,
    config: Config,
    *,
    training: bool = True,
    began: str = "",
    measure: Callable[[Step, Step], float] | None = None,
) -> Runtime:
    """Return the runtime with its precision decided; itself, where it is already.

    Rank 0 decides for all. Torch's random state is left as it was.

    Args:
        runtime: From `resolve`.
        config: What network, trained how, on inputs of what size.
        training: Measure training steps; otherwise passes of inference.
        began: The precision in which a run that is resumed began, which it keeps whatever a new measurement would say.
        measure: From a step in float32 and one in the candidate to how many times faster the latter is.
    """
    if not runtime.tentative:
        return runtime
    if began in ("float32", runtime.precision):
        text = f"--amp: the run began in {began} and keeps it"
        return replace(runtime, precision=began, notice=text, tentative=False)  # type: ignore[arg-type]
    longest = _longest_stage(config)
    decision = runtime.rank_zero_first(lambda: _decide(runtime, longest, training, measure or gain))
    what = "training step" if training else "forward pass"
    text = f"--amp: a {what} in {runtime.precision} runs at {decision.gain:.2f} of float32's rate on this CPU"
    notice = f"{text}, so it computes in {decision.precision}"
    return replace(runtime, precision=decision.precision, notice=notice, tentative=False)


def settle_encoder(
    runtime: Runtime,
    network: nn.Module,
    name: str,
    size_px: int,
    measure: Callable[[Step, Step], float] | None = None,
) -> Runtime:
    """Return the runtime with its precision decided by forward passes of an encoder; itself, where it is already.

    Args:
        runtime: From `resolve`.
        network: From images to features, on the CPU.
        name: What timm calls it.
        size_px: Height and width of its input.
        measure: As for `settle`.
    """
    if not runtime.tentative:
        return runtime
    batch = synthetic(size_px, max(1, min(PIXELS // size_px**2, 32)))
    what = {"encoder": name, "image_size_px": size_px, "batch_size": len(batch.images_NCHW), "training": False}

    def made(candidate: Runtime) -> Callable[[Batch], object]:
        def step(batch: Batch) -> object:
            with torch.inference_mode(), candidate.autocast():
                return network(batch.images_NCHW)

        return step

    decision = _measured(runtime, what, made, batch, measure or gain)
    notice = f"--amp: a forward pass in {runtime.precision} runs at {decision.gain:.2f} of float32's rate on this CPU"
    notice += f", so it computes in {decision.precision}"
    return replace(runtime, precision=decision.precision, notice=notice, tentative=False)


def newly_told(decided: Runtime, runtime: Runtime) -> str:
    """Return how `settle` decided; empty where it had nothing to decide, and the command line has told already."""
    return decided.notice if runtime.tentative else ""


def _longest_stage(config: Config) -> Config:
    """Return the configuration of the stage in which most pixels are trained on."""
    stages = [config.of_stage(stage) for stage in config.stages] or [config]
    return max(stages, key=lambda stage: stage.train.epochs * stage.data.image_size_px**2)


def _decide(runtime: Runtime, config: Config, training: bool, measure: Callable[[Step, Step], float]) -> Decision:
    """Return the decision of a configured step."""
    batch_size = max(1, min(config.data.batch_size, PIXELS // config.data.image_size_px**2, 32))
    make = training_step if training else scoring_step
    what = _subject(config, training, batch_size)
    return _measured(
        runtime,
        what,
        lambda candidate: make(config, candidate),
        synthetic(config.data.image_size_px, batch_size),
        measure,
    )


def _measured(
    runtime: Runtime,
    what: dict[str, Any],
    make: Callable[[Runtime], Callable[[Batch], object]],
    batch: Batch,
    measure: Callable[[Step, Step], float],
) -> Decision:
    """Return what was decided before of the same subject on the same machine, or measure and write it down."""
    machine = {"cpu": cpu_name(), "threads": runtime.num_threads, "torch": torch.__version__}
    what = what | machine | {"candidate": runtime.precision}
    path = _directory() / f"{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]}.json"
    known = _read(path)
    if known is not None:
        return known
    wheres = [replace(runtime, precision=each, tentative=False) for each in ("float32", runtime.precision)]
    with torch.random.fork_rng(devices=[]):
        plain, mixed = (_bound(make(candidate), batch) for candidate in wheres)
        result = measure(plain, mixed)
    return _remember(path, Decision(runtime.precision if result >= CLEAR else "float32", result), what)


def gain(plain: Step, mixed: Step, clock: Clock = time.perf_counter) -> float:
    """Return how many times faster the second step is than the first, both taken in turn.

    The lesser of two ratios, of least and of median times, tells: noise would have to fall on both.

    Args:
        plain: The step in float32.
        mixed: The step in the candidate.
        clock: In seconds.
    """
    for step in (plain, mixed, plain, mixed):
        step()  # torch and oneDNN prepare in the first
    seconds: list[tuple[float, float]] = []
    _take(plain, mixed, ROUNDS, seconds, clock)
    if CLOSE[0] < _ratio(seconds) < CLOSE[1]:
        _take(plain, mixed, CLOSE_ROUNDS, seconds, clock)
    return _ratio(seconds)


def _take(plain: Step, mixed: Step, rounds: int, seconds: list[tuple[float, float]], clock: Clock) -> None:
    """Take steps in turn and add their times."""
    for _ in range(rounds):
        began = clock()
        plain()
        between = clock()
        mixed()
        seconds.append((between - began, clock() - between))


def _ratio(seconds: list[tuple[float, float]]) -> float:
    plain, mixed = zip(*seconds, strict=True)
    return float(min(min(plain) / min(mixed), statistics.median(plain) / statistics.median(mixed)))


def _bound(step: Callable[[Batch], object], batch: Batch) -> Step:
    return lambda: step(batch)


def synthetic(size_px: int, batch_size: int) -> Batch:
    """Return normalised noise, half of it labelled 1."""
    generator = torch.Generator().manual_seed(0)
    images_NCHW = torch.randn(batch_size, 3, size_px, size_px, generator=generator)
    labels_N = (torch.arange(batch_size) % 2).float()
    return Batch(images_NCHW.contiguous(memory_format=torch.channels_last), labels_N, torch.arange(batch_size))


def _subject(config: Config, training: bool, batch_size: int) -> dict[str, Any]:
    """Return all of a step that a decision depends on."""
    model = config.model
    subject: dict[str, Any] = {"name": model.name, "image_size_px": config.data.image_size_px, "batch_size": batch_size}
    if training:
        subject |= {"trainable": model.trainable, "batchnorm": model.batchnorm, "compile": config.train.compile}
    return subject | {"training": training}


def cpu_name() -> str:
    """Return the processor's name."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        match = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
        if match:
            return match
    return platform.processor() or platform.machine()


def _directory() -> Path:
    """Return where decisions are remembered: in the user's cache, by the XDG base directory specification."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastpath"
    return Path(os.environ.get("FASTPATH_CACHE_DIR") or cache) / "precision"


def _read(path: Path) -> Decision | None:
    """Return a remembered decision; None where there is none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["decision"]
        decision = Decision(document["precision"], float(document["gain"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return decision if decision.precision in ("float32", "bfloat16") else None


def _remember(path: Path, decision: Decision, what: dict[str, Any]) -> Decision:
    """Write a decision down and return it, or the one that another process wrote down meanwhile.

    Where nothing can be written, the decision holds for this process.
    """
    result = _read(path)
    if result is None:
        with contextlib.suppress(OSError, FastpathError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, (json.dumps({"decision": asdict(decision), "of": what}, indent=2) + "\n").encode())
    return result or decision
