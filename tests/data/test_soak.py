"""Hundreds of epochs hold no more memory and no more files than the first; a killed process leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fastpath.config import Config, DataConfig
from fastpath.data import loader, residency
from fastpath.runtime import Runtime
from fastpath.shards.reader import Store, open_store
from fastpath.types import ChannelStats
from fastpath.workflows import pack

pytestmark = pytest.mark.dali

STATS = ChannelStats((0.70, 0.54, 0.69), (0.22, 0.27, 0.20))
WARM_EPOCHS = 50  # in which DALI's and the allocator's pools grow to their size
LEAK_BYTES = 300_000  # an epoch: of 64 training and 20 validation patches of 32 pixels, a third

# A loader in the midst of an epoch that never ends; prints a line when it has seen some batches.
ENDLESS = """
import sys, time
from pathlib import Path
import numpy as np
from fastpath import runtime
from fastpath.config import Config, DataConfig
from fastpath.data.loader import train_loader
from fastpath.shards.reader import open_store
from fastpath.types import ChannelStats
store = open_store(Path(sys.argv[1]))
stats = ChannelStats((0.7, 0.5, 0.7), (0.2, 0.3, 0.2))
where = runtime.resolve("cpu", num_threads=2)
batches = train_loader(store, np.arange(len(store)), stats, Config(data=DataConfig(batch_size=8)), where)
for epoch in range(10**9):
    for batch in batches.epoch(epoch):
        if epoch == 1:
            print("running", flush=True)
"""


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("soak") / "store"
    pack.run(kaggle_folder, path, workers=1)
    return open_store(path)


def own_bytes() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon:")).split()[1])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def soak(store: Store, runtime: Runtime, num_epochs: int, where: residency.Residency) -> tuple[list[int], list[int]]:
    """Return resident memory and open files after each epoch of training and validation."""
    rows = np.arange(64)
    config = Config(data=DataConfig(image_size_px=32, batch_size=16))
    pixels = residency.place(store, rows, where, runtime)
    memory, files = [], []
    with (
        closing(loader.train_loader(store, rows, STATS, config, runtime, pixels)) as train,
        closing(loader.eval_loader(store, rows[:20], STATS, config, runtime, pixels)) as val,
    ):
        for epoch in range(num_epochs):
            # Every tenth epoch is entered in its midst, as on resuming, which builds the pipeline anew.
            seen = sum(len(batch.labels_N) for batch in train.epoch(epoch, 2 * (epoch % 10 == 9)))
            assert seen in (64, 32)
            assert sum(len(batch.labels_N) for batch in val) == 20
            memory.append(own_bytes())
            files.append(open_files())
    return memory, files


def check_flat(memory: list[int], files: list[int]) -> None:
    growth = (memory[-1] - memory[WARM_EPOCHS]) / (len(memory) - WARM_EPOCHS)
    assert growth < LEAK_BYTES, f"{growth:.0f} bytes an epoch"
    assert max(files[WARM_EPOCHS:]) <= max(files[:WARM_EPOCHS])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_90_epochs_leak_neither_memory_nor_files(store: Store, runtime: Runtime) -> None:
    check_flat(*soak(store, runtime, 90, "host"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("where", ["host", "device"])
def test_200_epochs_leak_neither_memory_nor_files(store: Store, runtime: Runtime, where: residency.Residency) -> None:
    check_flat(*soak(store, runtime, 200, where))


def processes_of(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_no_shared_memory_and_no_children(store: Store, number: signal.Signals) -> None:
    def shared() -> set[str]:
        return {path.name for path in Path("/dev/shm").iterdir() if path.owner() == Path("/proc/self").owner()}

    command = [sys.executable, "-c", ENDLESS, str(store.path)]
    before = shared()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        mapped = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
        process.send_signal(number)
        process.wait(60)
    finally:
        process.kill()
        process.stdout.close()
    assert "/dev/shm/" not in mapped
    deadline = time.monotonic() + 10
    while processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(process.pid) == []
    # Others on this machine may make segments meanwhile; this process never had one, and left none of its name.
    assert not {name for name in shared() - before if str(process.pid) in name}
