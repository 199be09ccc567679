"""Real processes under torchrun see the same samples at the same step, however many, and wherever they begin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fastpath.workflows import pack

pytestmark = [pytest.mark.e2e, pytest.mark.dali]

# Writes, from rank 0, the hash of every augmented sample of some steps by its global step, in global order.
READER = """\
import itertools, json, sys
from pathlib import Path
import numpy as np, xxhash
from fastpath import runtime
from fastpath.config import parse
from fastpath.data.loader import eval_loader, train_loader
from fastpath.store.reader import open_store
from fastpath.types import ChannelStats, Samples

store_path, target, first, last = sys.argv[1:]
where = runtime.resolve("cpu", num_threads=1, ranked=True)
store, stats = open_store(Path(store_path)), ChannelStats((0.7, 0.5, 0.7), (0.2, 0.3, 0.2))
config = parse({"seed": 5, "data": {"image_size_px": 32, "batch_size": 12, "sampling": "systematic"}})
rows = np.arange(62)  # the last step of an epoch has two samples

def digests(batch):
    images = batch.images_NCHW.permute(0, 2, 3, 1).contiguous().numpy()
    assert batch.num_total in (12, 2)
    hashes = [xxhash.xxh3_64_hexdigest(image.tobytes()) for image in images]
    return [f"{row}:{digest}" for row, digest in zip(batch.indices_N.tolist(), hashes, strict=True)]

with where.group():
    train, val = (make(Samples(store, rows, stats), config, where) for make in (train_loader, eval_loader))
    found = {}
    for step in range(int(first), int(last)):
        batch = next(train.epoch(*divmod(step, train.num_steps)))
        found[step] = list(itertools.chain.from_iterable(where.gather(digests(batch))))
    parts = where.gather([digests(batch) for batch in val])
    found["val"] = [sample for step in zip(*parts, strict=True) for share in step for sample in share]
    if where.rank == 0:
        Path(target).write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def store(kaggle_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchrun") / "store"
    pack.pack_source(kaggle_folder, path, workers=1)
    return path


def read(store: Path, folder: Path, ranks: int, first: int, last: int) -> dict[str, list[str]]:
    script, target = folder / "reader.py", folder / f"{ranks}-{first}.json"
    script.write_text(READER, encoding="utf-8")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command = [sys.executable, *(launcher if ranks > 1 else []), script, store, target, first, last]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(target.read_text(encoding="utf-8"))


def test_ranks_see_the_samples_of_one_process_also_when_their_number_changes(store: Path, tmp_path: Path) -> None:
    whole = read(store, tmp_path, 1, 0, 14)  # of 6 steps an epoch
    assert len(whole) == 15
    assert [len(whole[str(step)]) for step in range(6)] == [12, 12, 12, 12, 12, 2]
    assert len({sample for step in range(14) for sample in whole[str(step)]}) == 2 * 62 + 24
    assert [int(sample.split(":")[0]) for sample in whole["val"]] == list(range(62))
    for ranks, first, last in ((4, 0, 9), (2, 5, 14)):
        samples_of_step = read(store, tmp_path, ranks, first, last)
        assert samples_of_step == {step: whole[step] for step in samples_of_step}, ranks
        assert len(samples_of_step) == last - first + 1
