"""Fixtures that more than one test module needs."""

from __future__ import annotations

import fcntl
import os
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = ROOT / "tests" / "stand_in"
BFLOAT16 = "FASTPATH_TEST_BFLOAT16"

# No example is judged by the clock: what takes 10 ms alone takes a second where others work beside it.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    meaning = "what fastpath.runtime.cpu_has_bfloat16 answers in the suite, by default no; cpu: what this CPU says"
    parser.addoption("--bfloat16", choices=("no", "yes", "cpu"), default="no", help=meaning)


def pytest_configure(config: pytest.Config) -> None:
    """Give one answer here and in every process that a test starts, whatever this CPU can do.

    OpenMP's threads wait asleep: awake, those of one test's small operations keep a core from the other worker's test.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for name in ("CI", "BUILD_NUMBER"):  # where set, pytest shows what differs to the last byte: of pictures, in hours
        os.environ.pop(name, None)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of processes would each compile fastpath anew
    os.environ[BFLOAT16] = config.getoption("--bfloat16")
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(STAND_IN))]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(STAND_IN), *others])
    runpy.run_path(str(STAND_IN / "sitecustomize.py"))


@pytest.fixture(params=[False, True], ids=["no bfloat16", "bfloat16"])
def cpu_bfloat16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the CPU computes in bfloat16, here and in processes started: a test that asks runs with each answer.

    Where the CPU does not, torch emulates it: slower, and right.
    """
    monkeypatch.setenv(BFLOAT16, "yes" if request.param else "no")
    return bool(request.param)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return what has a folder filled by the first of the suite's workers that asks for it; the others wait.

    It takes the folder's name and what fills it. Tests only read such a folder.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        folder, ready = root / name, root / f"{name}.ready"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                folder.mkdir()
                fill(folder)
                ready.touch()
        return folder

    return filled


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes what runs on this machine have remembered in the user's cache, or follows its clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTPATH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SOURCE_DATE_EPOCH", "1764201600")  # pages of one test bear one day, at midnight too
        yield


@pytest.fixture(scope="session")
def sample_folder() -> Path:
    """5,000 real patches in the Kaggle layout; the test is skipped where they are absent."""
    root = Path(os.environ.get("FASTPATH_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
    folder = root / "kaggle_sample"
    if not (folder / "train_labels.csv").exists():
        pytest.skip("no real patches here: set FASTPATH_SAMPLE_DATA to a folder that holds kaggle_sample/")
    return folder


@pytest.fixture(scope="session")
def kaggle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 synthetic training patches of 6 slides and 8 test patches, in the Kaggle layout with groups.csv."""
    from fastpath.ingest.synth import write_kaggle_folder

    folder = tmp_path_factory.mktemp("synthetic") / "kaggle"
    write_kaggle_folder(folder, num_train=96, num_test=8, num_slides=6, seed=7)
    return folder


@pytest.fixture(scope="session")
def learned(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A small network that has really learned, for what looks at what networks do.

    A run on 1,280 synthetic patches of which 256 validate, AUC above .95, with its store beside it.
    """
    from fastpath import config
    from fastpath.ingest.synth import write_kaggle_folder
    from fastpath.runtime import resolve
    from fastpath.workflows import pack
    from fastpath.workflows.train import train

    def fill(folder: Path) -> None:
        write_kaggle_folder(folder / "patches", num_train=1280, num_test=0, num_slides=10, seed=42)
        pack.pack_source(folder / "patches", folder / "store", workers=1)
        train.train_run(folder / "store", folder / "run", config.load(config.recipe("demo")), resolve("cpu"))

    return once("learned", fill) / "run"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread, in which sums are taken in the same order every time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
