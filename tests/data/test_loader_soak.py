"""Hundreds of epochs hold no more memory and no more files than the first; a killed process leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fastpath.store.reader import Store, open_store
from fastpath.workflows import pack

pytestmark = pytest.mark.dali

WARM_EPOCHS = 50  # in which DALI's and the allocator's pools grow to their size
LEAK_BYTES = 100_000  # an epoch: of 64 training and 20 validation patches of 32 pixels, a tenth
# Of one arena: with one for each thread, glibc's heap grows by 0.1 to 0.4 MB an epoch as threads of new pipelines meet
# other arenas, more on a busy machine; with one, by 4 kB.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}

# A loader in the midst of an epoch that never ends; prints a line when it has seen some batches.
ENDLESS = """
import sys, time
from pathlib import Path
import numpy as np
from fastpath import runtime
from fastpath.config import Config, DataConfig
from fastpath.data.loader import train_loader
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats, Samples
store = open_store(Path(sys.argv[1]))
stats = ChannelStats((0.7, 0.5, 0.7), (0.2, 0.3, 0.2))
runtime = runtime.resolve("cpu", num_threads=2)
batches = train_loader(Samples(store, np.arange(len(store)), stats), Config(data=DataConfig(batch_size=8)), runtime)
for epoch in range(10**9):
    for batch in batches.epoch(epoch):
        if epoch == 1:
            print("running", flush=True)
"""


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("soak") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return open_store(path)


def check_flat(store: Store, num_epochs: int, location: str) -> None:
    """Hold a process to its memory: over ten epochs, of which one builds the pipeline anew, it mostly grows by nothing.

    The median of all spans of ten epochs, since a pool may still grow once, by a lump.
    """
    program = [
        sys.executable,
        str(Path(__file__).with_name("loader_soak.py")),
        str(store.path),
        str(num_epochs),
        location,
    ]
    done = subprocess.run(program, capture_output=True, check=False, env=os.environ | ONE_ARENA)
    assert done.returncode == 0, done.stderr.decode()
    memory, files = json.loads(done.stdout)
    warm = np.array(memory[WARM_EPOCHS:])
    growth = float(np.median(warm[10:] - warm[:-10])) / 10
    assert growth < LEAK_BYTES, f"{growth:.0f} bytes an epoch: {memory}"
    assert max(files[WARM_EPOCHS:]) <= max(files[:WARM_EPOCHS])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_90_epochs_leak_neither_memory_nor_files(store: Store) -> None:
    check_flat(store, 90, "host")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("location", ["host", "device"])
def test_200_epochs_leak_neither_memory_nor_files(store: Store, location: str) -> None:
    check_flat(store, 200, location)


def processes_of(session: int) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[3]) == session and fields[0] != "Z":
                pids.append(int(entry.name))
    return pids


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
