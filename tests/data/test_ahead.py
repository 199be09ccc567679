"""Parameters made ahead of time are what a step would make, byte for byte; nothing outlives the run that asked."""

from __future__ import annotations

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import former
from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.data import ahead, ahead_process, step_inputs
from fastpath.data.ahead import Ahead, Job, Ring
from fastpath.data.augment.artefacts import Columns
from fastpath.data.augment.stages import noise
from fastpath.data.residency import StorePixels
from fastpath.data.step_inputs import StepInputs, TrainingFeed
from fastpath.data.step_parameters import Recipe, at_least_one_position
from fastpath.runtime import Runtime
from fastpath.store.joined import JoinedStore
from fastpath.store.reader import Store, open_store
from fastpath.types import ChannelStats, Patches, Samples
from fastpath.workflows import pack

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
ROWS = np.random.default_rng(5).integers(0, 64, 150)
WEIGHTS = np.random.default_rng(6).uniform(0.5, 2.0, len(ROWS))
RINGS = {"ring_blur_p": 0.5, "ring_stain_p": 0.5, "ring_swap_p": 0.5}
POLICIES: dict[str, dict[str, Any]] = {
    **{name: {"policy": name} for name in ("notebook", "none", "d4", "strong", "ring")},
    "strong without artefacts": {"policy": "strong", "blur_p": 0, "noise_p": 0, "jpeg_p": 0},
    "noise alone": {"noise_p": 0.5, "noise_sd": (0.0, 6.0)},
    "everything": {"policy": "strong", "border": "black", "noise_p": 0.5, **RINGS},
}
# Batch size, ranks, sampling, weights. Of 8 samples in 5, a rank has 1, and of 7 it has 2.
SETTINGS = [
    (64, 1, "natural", None),
    (7, 1, "systematic", None),
    (256, 2, "weighted", None),
    (16, 4, "natural", WEIGHTS),
    (8, 5, "weighted", WEIGHTS),
    (3, 4, "systematic", WEIGHTS),
]
MOMENT_S, LONG_S = 0.05, 120.0


def settings(policy: str = "notebook", batch_size: int = 8, sampling: str = "natural", size_px: int = 64) -> Config:
    augment = AugmentConfig.model_validate(POLICIES[policy])
    data = DataConfig(batch_size=batch_size, image_size_px=size_px, augment=augment, sampling=sampling)
    return Config(seed=3, data=data)


def content(feed: StepInputs | tuple[Any, ...]) -> list[Any]:
    """Return types, shapes and bytes of all that is fed."""
    values = feed.values() if isinstance(feed, dict) else feed
    arrays = [part for parts in values for part in (parts if isinstance(parts, list) else [parts])]
    return [(array.dtype.str, array.shape, array.tobytes()) for array in map(np.ascontiguousarray, arrays)]


def formerly(
    patches: Patches, config: Config, runtime: Runtime, weights: NDArray[np.float64] | None = None
) -> Callable[[int], list[Any]]:
    """Return what a step was fed before anything was made ahead of it."""
    feed = former.training_feed(patches, ROWS, STATS, config, runtime, StorePixels(patches), weights)

    def read(step: int) -> list[Any]:
        with former.former_hue():
            return content(feed(step))

    return read


@pytest.fixture(autouse=True)
def small_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "FIELD_PX", 16)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("batch_size", "world_size", "sampling", "weights"), SETTINGS)
def test_a_step_alone_and_many_at_once_are_what_a_step_was_fed_before(
    patches: Patches, runtime: Runtime, policy: str, batch_size: int, world_size: int, sampling: str, weights: Any
) -> None:
    config = settings(policy, batch_size, sampling)
    for rank in {0, world_size // 2, world_size - 1}:
        rank_runtime = dataclasses.replace(runtime, rank=rank, world_size=world_size)
        wanted = formerly(patches, config, rank_runtime, weights)
        feed = step_inputs.training_feed(Samples(patches, ROWS, STATS, weights), config, rank_runtime)
        recipe = Recipe(ROWS, patches.labels_N[ROWS], weights, config, STATS, 96, rank, world_size)
        num_steps = recipe.num_steps
        epoch = num_steps - 1  # any
        ready = Ready(recipe, epoch, recipe.columns(epoch, range(num_steps), recipe.order(epoch), look_at(patches)))
        sliced = TrainingFeed(recipe, StorePixels(patches), ready)  # type: ignore[arg-type]
        for step in range(epoch * num_steps, (epoch + 1) * num_steps, 1 + num_steps // 12):
            assert content(feed(step)) == wanted(step)
            assert content(sliced(step)) == wanted(step)


class Ready(Ahead):
    """An epoch that lies ready."""

    def __init__(self, recipe: Recipe, epoch: int, columns: Columns) -> None:
        super().__init__(recipe, None)
        self._epoch, self._columns = epoch, columns
        self._ends = np.cumsum(
            [0, *(len(at_least_one_position(recipe.rank_positions(step))) for step in range(recipe.num_steps))]
        )

    def fetch(self, epoch: int, step: int) -> Columns | None:
        assert epoch == self._epoch
        part = slice(self._ends[step], self._ends[step + 1])
        return {name: column[part] for name, column in self._columns.items()}


def look_at(patches: Patches) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    return lambda rows: StorePixels(patches).fetch_with_probes(rows, 0)[1]


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("ahead") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return open_store(path)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start at the first step, for chunks of a few samples."""
    for name, value in {"CHUNK": 24, "PATIENCE_STEPS": 1, "WINDOW": 4, "WORTH_CHUNKS": 1}.items():
        monkeypatch.setattr(ahead, name, value)


def helped(
    store: Patches, config: Config, runtime: Runtime, weights: NDArray[np.float64] | None = None
) -> TrainingFeed:
    return step_inputs.training_feed(Samples(store, ROWS, STATS, weights), config, runtime, ahead_of_time=True)


def process_of(feed: TrainingFeed) -> subprocess.Popen[bytes]:
    assert feed._helper is not None
    assert feed._helper._helper is not None
    return feed._helper._helper._process


def await_step(feed: TrainingFeed, number: int) -> None:
    """Wait until a step lies ready."""
    deadline = time.monotonic() + LONG_S
    while not feed.ready(number):
        assert time.monotonic() < deadline, "nothing was made"
        time.sleep(MOMENT_S)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(("policy", "world_size"), [("notebook", 1), ("everything", 4)])
def test_what_the_process_makes_is_what_a_step_was_fed_before(
    store: Store, runtime: Runtime, policy: str, world_size: int
) -> None:
    config = settings(policy, 8, "systematic")
    rank_runtime = dataclasses.replace(runtime, rank=world_size - 1, world_size=world_size)
    wanted = formerly(store, config, rank_runtime, WEIGHTS)
    with closing(helped(store, config, rank_runtime, weights=WEIGHTS)) as feed:
        steps = feed._num_steps
        onward = [*range(steps - 4, steps + 4), *range(2 * steps - 2, 2 * steps + 2)]  # over borders of epochs
        jumps = [3, 2, 7 * steps + 5, 7 * steps + 6, 0]  # as on resuming, and on going back
        assert content(feed(onward[0])) == wanted(onward[0])  # made by the step itself: no process is there yet
        for step in onward + jumps:
            await_step(feed, step)
            assert content(feed(step)) == wanted(step), step


@pytest.mark.usefixtures("soon")
def test_no_step_waits_for_the_process(store: Store, runtime: Runtime) -> None:
    config = settings()
    wanted = formerly(store, config, runtime)
    with closing(helped(store, config, runtime)) as feed:
        feed(0)
        process_of(feed).send_signal(signal.SIGSTOP)
        for step in range(1, 60):
            inputs = feed(step)
        assert content(inputs) == wanted(59)
        process_of(feed).send_signal(signal.SIGCONT)
        await_step(feed, 61)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("begun", [False, True])
def test_steps_go_on_without_a_process_that_was_killed(store: Store, runtime: Runtime, begun: bool) -> None:
    config = settings()
    wanted = formerly(store, config, runtime)
    with closing(helped(store, config, runtime)) as feed:
        feed(0)
        if begun:
            await_step(feed, 1)
        process_of(feed).kill()
        process_of(feed).wait()
        with pytest.warns(RuntimeWarning, match=r"has ended \(exit status -9\); each step makes its own") as warned:
            contents = [content(feed(step)) for step in range(1, 40)]
        assert len(warned) == 1
        assert contents == [wanted(step) for step in range(1, 40)]


@pytest.mark.usefixtures("soon")
def test_a_process_that_fails_says_why(store: Store, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = JoinedStore([open_store(store.path)], store.labels_N)
    with closing(helped(unreadable, settings(), runtime)) as feed:
        monkeypatch.setattr(Store, "__reduce__", lambda _: (open_store, (Path("nowhere"),)))
        feed(0)
        process_of(feed).wait()
        with pytest.warns(RuntimeWarning, match="nowhere: found nothing, wanted the directory of a packed store"):
            feed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            feed(2)


@pytest.mark.usefixtures("soon")
def test_steps_go_on_where_no_process_can_be_started(
    store: Store, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    wanted = formerly(store, settings(), runtime)
    with closing(helped(store, settings(), runtime)) as feed:
        with pytest.warns(RuntimeWarning, match="no process could be started .*/nowhere/python"):
            contents = [content(feed(step)) for step in range(3)]
        assert contents == [wanted(step) for step in range(3)]


@pytest.mark.usefixtures("soon")
def test_the_process_ends_with_its_feed(store: Store, runtime: Runtime) -> None:
    feed = helped(store, settings(), runtime)
    feed(0)
    process = process_of(feed)
    assert process.poll() is None
    feed.close()
    assert process.poll() == -signal.SIGKILL
    assert content(feed(1)) == formerly(store, settings(), runtime)(1)
    forgotten = helped(store, settings(), runtime)
    forgotten(0)
    process = process_of(forgotten)
    del forgotten
    gc.collect()
    assert process.poll() == -signal.SIGKILL


def test_a_process_is_started_only_where_it_is_worth_one(
    store: Store, patches: Patches, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "CHUNK", 24)
    started: list[Job] = []
    monkeypatch.setattr(ahead, "_Helper", started.append)
    with closing(helped(store, settings(), runtime)) as feed:
        for step in range(ahead.PATIENCE_STEPS - 1):
            feed(step)
        assert started == []  # a few batches were looked at
        feed(ahead.PATIENCE_STEPS)
        assert len(started) == 1
    others = {
        "in memory": helped(patches, settings(), runtime),  # cannot be reopened
        "elsewhere": helped(Elsewhere(store.path, store.manifest), settings(), runtime),
        "not asked for": step_inputs.training_feed(Samples(store, ROWS, STATS), settings(), runtime),
    }
    monkeypatch.setattr(ahead, "CHUNK", 100)
    others["small"] = helped(store, settings(), runtime)
    for name, feed in others.items():
        for step in range(ahead.PATIENCE_STEPS + 1):
            feed(step)
        assert len(started) == 1, name


class Elsewhere(Store):
    """A store whose shards have not all been fetched."""

    local = False  # type: ignore[assignment]


class Anywhere:
    """A store that is never read."""

    labels_N, patch_size_px, local = np.zeros(0, np.int8), 96, True

    def sampled(self, indices_N: NDArray[np.int64], grid: slice) -> NDArray[np.uint8]:
        raise NotImplementedError


def test_memory_is_bounded_whatever_the_size_of_the_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, made = np.zeros(10_000_000, np.int64), []
    monkeypatch.setattr(ahead, "_Helper", made.append)
    monkeypatch.setattr(ahead, "PATIENCE_STEPS", 1)
    for policy, wanted_bytes in (("notebook", 24 << 20), ("everything", 64 << 20)):
        recipe = Recipe(rows, rows.astype(np.int8), None, settings(policy, 64), STATS, 96)
        columns = recipe.columns(0, range(1), rows, lambda asked: np.zeros((len(asked), 64, 3), np.float32))
        Ahead(recipe, Anywhere()).missed(columns)
        assert made[-1].ring.slots == ahead.WINDOW
        assert wanted_bytes / 2 < made[-1].ring.num_bytes < wanted_bytes
    small = Recipe(rows[:20_000], rows[:20_000].astype(np.int8), None, settings("notebook", 64), STATS, 96)
    Ahead(small, Anywhere()).missed(columns)
    assert made[-1].ring.slots == 5  # an epoch and no more


def test_a_chunk_has_room_where_the_share_of_a_short_last_step_is_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Job] = []
    monkeypatch.setattr(ahead, "_Helper", made.append)
    for name, value in {"CHUNK": 2, "PATIENCE_STEPS": 1, "WORTH_CHUNKS": 1}.items():
        monkeypatch.setattr(ahead, name, value)
    rows, larger = np.zeros(31, np.int64), 0  # steps of 8, 8, 8 and 7 for 5 ranks
    for rank in range(5):
        recipe = Recipe(rows, rows.astype(np.int8), None, settings(), STATS, 96, rank, 5)
        Ahead(recipe, Anywhere()).missed({"rows": rows[:1]})
        larger += len(recipe.rank_positions(3)) > len(recipe.rank_positions(0))
        job, lengths = made[-1], [len(at_least_one_position(recipe.rank_positions(step))) for step in range(4)]
        assert job.ring.samples >= max(sum(lengths[at : at + job.steps]) for at in range(0, 4, job.steps))
    assert larger


def test_a_chunk_is_written_in_blocks_and_nothing_beyond_it(
    store: Store, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead_process, "BLOCK", 17)
    recipe = Recipe(ROWS, store.labels_N[ROWS], None, settings("everything"), STATS, store.patch_size_px)
    wanted = recipe.columns(2, range(5, 10), recipe.order(2), look_at(store))
    ring = Ring(tuple((name, column.shape[1:], column.dtype.str) for name, column in wanted.items()), 41, 1)
    for kept_bytes in (0, 1 << 20):
        monkeypatch.setattr(ahead_process, "KEPT_BYTES", kept_bytes)
        into = {name: np.ones((41, *column.shape[1:]), column.dtype) for name, column in wanted.items()}
        ahead_process.Maker(Job(recipe, store, ring, 5, os.getpid()))(2 * 4 + 1, into)
        assert list(into) == list(wanted)
        for name, column in into.items():
            assert column[:40].tobytes() == wanted[name].tobytes()
            assert (column[40:] == 1).all()


# A loader with a process beside it, in the midst of epochs that never end; prints that process when it has begun.
ENDLESS = """
import signal, sys
from pathlib import Path
import numpy as np
from fastpath import runtime
from fastpath.config import Config, DataConfig
from fastpath.data import ahead
from fastpath.data.loader import train_loader
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats, Samples
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started with it ignored
ahead.CHUNK, ahead.PATIENCE_STEPS, ahead.WINDOW = 24, 1, 4
store = open_store(Path(sys.argv[1]))
config = Config(data=DataConfig(batch_size=8, image_size_px=32))
batches = train_loader(Samples(store, np.arange(len(store)), ChannelStats((0.7, 0.5, 0.7), (0.2, 0.3, 0.2))), config,
                       runtime.resolve("cpu", num_threads=1))
told = False
for epoch in range(10**9):
    for batch in batches.epoch(epoch):
        helper = batches._close_feed.__self__._helper._helper
        if not told and helper is not None and helper._ready:
            print(helper._process.pid, flush=True)
            told = True
"""


@pytest.fixture
def endless(store: Store) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run that never ends, and the process that works ahead of it."""
    command = [sys.executable, "-c", ENDLESS, str(store.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.dali
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_and_no_shared_memory_is_left_when_the_run_ends(
    endless: tuple[subprocess.Popen[bytes], int], number: signal.Signals
) -> None:
    process, helper = endless
    assert "/dev/shm/" not in Path(f"/proc/{helper}/maps").read_text(encoding="utf-8")
    os.killpg(process.pid, number)  # as a terminal does on Ctrl-C
    process.wait(60)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{helper}").exists() and time.monotonic() < deadline:
        time.sleep(MOMENT_S)
    assert not Path(f"/proc/{helper}").exists()
