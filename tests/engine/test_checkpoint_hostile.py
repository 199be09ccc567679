"""Checkpoints that somebody made to do harm, or that an accident did: one line each, and no memory beyond the file."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fastpath.engine.archive import write_archive
from fastpath.engine.checkpoint import Checkpoint, load_checkpoint
from fastpath.errors import CheckpointError

NAN, INF = float("nan"), float("inf")


def values(**changes: object) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "format": "fastpath-checkpoint",
        "version": 2,
        "config": {},
        "store_fingerprint": "a",
        "split_fingerprint": "b",
        "extra_fingerprint": "",
        "stain": "none",
        "mean_3": (0.7, 0.5, 0.6),
        "std_3": (0.2, 0.3, 0.2),
        "patch_size_px": 96,
        "classes": ("normal", "tumour"),
        "software": {"fastpath": "1"},
        "epoch": 2,
        "step": 7,
        "best_auc": 0.5,
        "best_epoch": 1,
        "epochs_since_best": 1,
        "loss_sum": torch.tensor(0.1, dtype=torch.float64),
        "num_seen": 448,
        "model": {"weight": torch.ones(2, 2)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "eps": 1e-8}]},
        "schedule": {"best": -INF},
        "scaler": {},
        "num_skipped": torch.zeros(()),
        "average": {},
        "num_averaged": 0,
    }
    return {**whole, **changes}


def nested(depth: int) -> list[Any]:
    """Return a list of 2^depth values in as many objects as it is deep."""
    inner: list[Any] = [0]
    for _ in range(depth):
        inner = [inner, inner]
    return inner


def itself() -> list[Any]:
    loop: list[Any] = []
    loop.append(loop)
    return loop


def group(**changes: object) -> dict[str, Any]:
    return {"state": {}, "param_groups": [{"lr": 1e-3, **changes}]}


FIELDS: list[tuple[str, object]] = [
    *(("mean_3", wrong) for wrong in ((NAN, 0.5, 0.5), (INF, 0, 0), (-0.1, 0, 0), (1.5, 0, 0), (0.5, 0.5), ("a",) * 3)),
    *(("mean_3", wrong) for wrong in ((True, 0.5, 0.5), (0.5,) * 4, (torch.tensor(0.5),) * 3, ())),
    *(
        ("std_3", wrong)
        for wrong in ((0.0, 0.2, 0.2), (-0.2, 0.2, 0.2), (NAN,) * 3, (0.2, INF, 0.2), (1e9,) * 3, (0.2,))
    ),
    *(("patch_size_px", wrong) for wrong in (0, -96, 2**31, 2**62, 4097, 96.0, True, "96", NAN, None)),
    *(("classes", wrong) for wrong in (("a",), ("a", "b", "c"), (0, 1), ("a", "b" * 10_000), (), ("a", None))),
    *(("epoch", wrong) for wrong in (-1, 2**53, 2**63 - 1, 1.5, NAN, True, "2", None)),
    *(("step", wrong) for wrong in (-1, 2**62, "7")),
    *(("num_seen", wrong) for wrong in (-1, 2**62)),
    ("num_averaged", -1),
    ("best_epoch", -1),
    ("epochs_since_best", -5),
    *(("best_auc", wrong) for wrong in (NAN, INF, 1.5, -2.0, "1")),
    *(("loss_sum", torch.tensor(wrong)) for wrong in (NAN, INF, -1.0, [1.0, 2.0], 1)),
    *(("num_skipped", torch.tensor(wrong)) for wrong in (NAN, [0.0], -1.0)),
    *(("store_fingerprint", wrong) for wrong in (7, "a" * 5000, b"a", None)),
    *(("stain", wrong) for wrong in (None, 3, "a" * 5000)),
    *(("software", wrong) for wrong in ({"fastpath": 1}, {1: "1"}, {"a": "b" * 5000}, [])),
    *(("model", wrong) for wrong in ({"w": 1.0}, [], {"w": torch.tensor(NAN)}, {"w": torch.tensor([1j])})),
    ("model", {"w": torch.zeros(1).expand(2**40)}),
    ("model", {"w": torch.eye(3).to_sparse()}),
    ("model", {"w": torch.empty(2**40, device="meta")}),
    ("average", {"w": torch.tensor([1.0, -INF])}),
    *(("optimizer", wrong) for wrong in (group(lr=NAN), group(lr=-1.0), group(lr=INF), group(lr="x"), group(eps=-1.0))),
    *(("optimizer", wrong) for wrong in (group(weight_decay=NAN), {"param_groups": 3}, {"param_groups": [1]}, [])),
    ("optimizer", {"state": {0: {"exp_avg": torch.tensor([NAN])}}, "param_groups": []}),
    ("scaler", {"scale": torch.tensor(NAN)}),
    *(("schedule", wrong) for wrong in ({"best": NAN}, {"rates": [1.0, NAN]}, [])),
    ("config", nested(40)),
    ("config", {"a": nested(40)}),
    ("config", {"a": nested(12) * 400}),
    ("config", {"a": itself()}),
    ("config", {"a": 2**70}),
    ("config", {"a": 10**5000}),
    ("config", {"a": {1, 2}}),
    ("config", {"a": 1j}),
    ("config", {"a": bytearray(8)}),
    ("config", {(1, 2): 3}),
    ("config", {10**5000: 3}),
    ("version", 10**5000),
    ("version", torch.tensor([2, 2])),
    ("version", "2" * 10_000),
    ("version", True),
    ("version", 3),
    ("format", torch.tensor([1.0])),
    ("format", ["fastpath-checkpoint"]),
    ("more", 1),
    ("a" * 10_000, 1),
    (3, 1),  # type: ignore[list-item]
]


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert len(line) < 1000
    assert line.startswith(str(path))
    assert not re.search(r"0x[0-9a-f]{6}", line)
    return line


def test_the_table_that_is_changed_below_is_whole(tmp_path: Path) -> None:
    assert set(values()) == {"format", "version", *(field.name for field in fields(Checkpoint))}
    write_archive(values(), tmp_path / "best.pt")
    assert load_checkpoint(tmp_path / "best.pt").patch_size_px == 96


def test_a_checkpoint_from_before_stains_were_told_is_of_patches_as_they_are(tmp_path: Path) -> None:
    older = values()
    del older["stain"]
    write_archive(older, tmp_path / "best.pt")
    assert load_checkpoint(tmp_path / "best.pt").stain == "none"


@pytest.mark.parametrize(
    ("field", "wrong"), FIELDS, ids=[f"{str(name)[:20]}-{n}" for n, (name, _) in enumerate(FIELDS)]
)
def test_a_value_out_of_range_is_refused_in_one_line(field: str, wrong: object, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save({**values(), field: wrong}, path)
    refused(path)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def entries(path: Path) -> dict[str, bytes]:
    write_archive(values(), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, change: Callable[[str, bytes], bytes], **options: Any) -> None:
    content_of = entries(path)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in content_of.items():
            archive.writestr(zipfile.ZipInfo(name), change(name, content), options.get("compression"))


def bomb(path: Path) -> None:
    rewritten(path, lambda name, old: bytes(1 << 24) if "/data/" in name else old, compression=zipfile.ZIP_DEFLATED)


def longer_storages(path: Path) -> None:
    rewritten(path, lambda name, old: old.replace(b"K\x04", b"J\x00\x00\x00\x10") if name.endswith(".pkl") else old)


def calls(path: Path, code: bytes) -> None:
    rewritten(path, lambda name, old: code if name.endswith(".pkl") else old)


def after_another_magic(path: Path) -> None:
    whole = b"".join([pickle.dumps({"a": 1})])
    write_archive(values(), path)
    path.write_bytes(whole + path.read_bytes())


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(1 << 42)


FILES: dict[str, Callable[[Path], None]] = {
    "pipe": fifo,
    "zeros without end": lambda path: path.symlink_to("/dev/zero"),
    "null": lambda path: path.symlink_to("/dev/null"),
    "directory": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to(path.with_name("none")),
    "empty": lambda path: path.write_bytes(b"") and None,
    "text": lambda path: path.write_text("<html>") and None,
    "zip mark alone": lambda path: path.write_bytes(b"PK\x03\x04") and None,
    "more than memory": sparse,
    "compressed": bomb,
    "storage beyond its entry": longer_storages,
    "zip after a pickle": after_another_magic,
    "bytearray of a tebibyte": lambda path: calls(path, b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\0\1\x85R."),
    "tensor of a tebibyte": lambda path: calls(path, b"\x80\x02ctorch\nTensor\n\x8a\x06\0\0\0\0\0\1\x85R."),
    "os.system": lambda path: calls(path, b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R."),
    "string of four gibibytes": lambda path: calls(path, b"\x80\x02X\xff\xff\xff\xff"),
    "number without end": lambda path: calls(path, b"\x80\x02\x8b\xff\xff\xff\x7f"),
    "memo of nothing": lambda path: calls(path, b"\x80\x02h\x07."),
    "no end": lambda path: calls(path, b"\x80\x02}"),
    "deep": lambda path: calls(path, b"\x80\x02" + b"(" * 10_000 + b"l" * 10_000 + b"."),
    "protocol 200": lambda path: calls(path, b"\x80\xc8N."),
    "stack global": lambda path: calls(path, b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R."),
    "a list": lambda path: torch.save([1, 2], path),
    "a tensor": lambda path: torch.save(torch.zeros(3), path),
    "a module": lambda path: torch.save(nn.Linear(2, 2), path),
    "an ordered list": lambda path: torch.save(OrderedDict({1: 2}), path),
    "torch's old form": lambda path: torch.save(values(), path, _use_new_zipfile_serialization=False),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})) and None,
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_a_file_that_is_none_is_refused_in_one_line(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "best.pt")
    refused(tmp_path / "best.pt")


@pytest.mark.parametrize("place", [0.02, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_a_cut_or_flipped_file_is_refused_or_reads_as_written(place: float, tmp_path: Path) -> None:
    path, sink = tmp_path / "best.pt", io.BytesIO()
    torch.save(values(), sink)
    whole = sink.getvalue()
    path.write_bytes(whole[: int(len(whole) * place)])
    refused(path)
    flipped = bytearray(whole)
    flipped[int(len(whole) * place)] ^= 0x10
    path.write_bytes(flipped)
    try:
        read = load_checkpoint(path)
    except CheckpointError:
        return
    assert torch.equal(read.model["weight"], torch.ones(2, 2))
    assert (read.mean_3, read.epoch, read.num_seen) == ((0.7, 0.5, 0.6), 2, 448)
