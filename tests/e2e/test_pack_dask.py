"""Shards can be filled on a Dask cluster: the same bytes as from local processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastpath.errors import UsageError
from fastpath.workflows import pack

distributed = pytest.importorskip("distributed", reason="the dask extra is not installed")

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]  # Dask's own, of ports and of tornado
SMALL = pack.PackOptions(shard_bytes=1 << 19)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Any]:
    """Two worker processes on this machine."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, local_directory=str(tmp_path / "dask")) as cluster:
        yield cluster


def test_a_two_worker_cluster_writes_the_same_bytes(cluster: Any, kaggle_folder: Path, tmp_path: Path) -> None:
    from fastpath.cli.commands.pack import _dask

    pack.pack_source(kaggle_folder, tmp_path / "local", SMALL, workers=1)
    with distributed.Client(cluster) as client:
        processes = set(client.run(os.getpid).values())
        assert len(processes - {os.getpid()}) == 2
    with _dask(cluster.scheduler_address) as engine:
        packed = pack.pack_source(kaggle_folder, tmp_path / "cluster", SMALL, engine=engine)
        assert packed.num_shards == 6
        folder = tmp_path / "bad"
        folder.mkdir()
        for number in range(40):
            (folder / f"{number:02}.tif").write_bytes(sorted((kaggle_folder / "test").iterdir())[0].read_bytes())
        (folder / "39.tif").write_bytes(b"II*\0")
        with pytest.raises(UsageError, match=r"39\.tif: is damaged"):
            pack.pack_source(folder, tmp_path / "out", SMALL, engine=engine)
    for path in (tmp_path / "local").iterdir():
        assert (tmp_path / "cluster" / path.name).read_bytes() == path.read_bytes()


def test_a_cluster_that_is_not_there() -> None:
    from fastpath.cli.commands.pack import _dask

    with pytest.raises(UsageError, match="found no scheduler at nonsense"), contextlib.ExitStack() as stack:
        stack.enter_context(_dask("nonsense://address"))
