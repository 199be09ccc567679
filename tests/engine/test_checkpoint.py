import pickle
import resource
import signal
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastpath.config import Config, OptimConfig, ScheduleConfig
from fastpath.engine import archive
from fastpath.engine.checkpoint import (
    Checkpoint,
    Provenance,
    check_provenance,
    load_checkpoint,
    restore_state,
    save_checkpoint,
    snapshot,
)
from fastpath.engine.loop import TrainState
from fastpath.engine.optim import make_optimizer, make_schedule
from fastpath.errors import CheckpointError, FastpathError
from fastpath.runtime import Runtime

CONFIG = Config()
ORIGIN = Provenance(
    config=CONFIG.to_dict(),
    store_fingerprint="aaaa",
    split_fingerprint="bbbb",
    mean_3=(0.7, 0.54, 0.1 + 0.2),
    std_3=(0.2, 0.3, 0.2),
    patch_size_px=96,
    classes=("normal", "tumour"),
    software={"fastpath": "1.2.3"},
)


def checkpoint() -> Checkpoint:
    weights = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    return Checkpoint(
        **{field.name: getattr(ORIGIN, field.name) for field in fields(Provenance)},
        epoch=2,
        step=7,
        best_auc=0.1 + 0.2,
        best_epoch=1,
        epochs_since_best=1,
        loss_sum=torch.tensor(0.1, dtype=torch.float64),
        num_seen=448,
        model={"weight": weights},
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]},
        schedule={"best": float("-inf")},
        scaler={},
    )


def same(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype
    return a == b


def test_round_trip_is_exact(tmp_path: Path) -> None:
    before = checkpoint()
    save_checkpoint(before, tmp_path / "last.pt")
    after = load_checkpoint(tmp_path / "last.pt")
    for field in fields(Checkpoint):
        assert same(getattr(before, field.name), getattr(after, field.name)), field.name
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(), path)
    old = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FastpathError, match="no space left on device, and what it held before is kept"):
        save_checkpoint(replace(checkpoint(), epoch=3), path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        load_checkpoint(path)


def test_a_flipped_byte_of_a_tensor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    before = checkpoint()
    save_checkpoint(before, path)
    content = bytearray(path.read_bytes())
    offset = content.index(before.model["weight"].permute(0, 2, 3, 1).contiguous().numpy().tobytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="is not a checkpoint of fastpath"):
        load_checkpoint(tmp_path / "other.pt")
    torch.save({"format": "fastpath-checkpoint", "version": 99}, tmp_path / "newer.pt")
    with pytest.raises(CheckpointError, match="found format version 99, wanted 2"):
        load_checkpoint(tmp_path / "newer.pt")


def test_another_origin_is_refused_printing_both() -> None:
    check_provenance(checkpoint(), Path("last.pt"), ORIGIN)
    for change, message in (
        ({"store_fingerprint": "cccc"}, "another store: found aaaa, wanted cccc"),
        ({"split_fingerprint": "cccc"}, "another split: found bbbb, wanted cccc"),
        ({"software": {"fastpath": "2.0.0"}}, r"another release of fastpath: found 1\.2\.3, wanted 2\.0\.0"),
        ({"config": Config(seed=1).to_dict()}, r"another configuration \(seed: found 42, wanted 1\)"),
    ):
        with pytest.raises(CheckpointError, match=message):
            check_provenance(checkpoint(), Path("last.pt"), replace(ORIGIN, **change))


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """The kernel itself refuses the bytes: a file may grow to half a checkpoint and no further."""
    path = tmp_path / "last.pt"
    save_checkpoint(checkpoint(), path)
    old = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    usual = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() fails with EFBIG instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))
    try:
        with pytest.raises(FastpathError, match="largest size allowed, and what it held before is kept"):
            save_checkpoint(replace(checkpoint(), epoch=3), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, usual)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


class Payload:
    """Unpickled by anyone who trusts it, this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def values(**changes: object) -> dict[str, Any]:
    state = {field.name: getattr(checkpoint(), field.name) for field in fields(Checkpoint)}
    return {"format": "fastpath-checkpoint", "version": 2, **state, **changes}


def raw_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def in_torchs_form(content: object, path: Path) -> None:
    torch.save(content, path)


def in_torchs_old_form(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [raw_pickle, in_torchs_form, in_torchs_old_form])
@pytest.mark.parametrize("field", ["", "model", "optimizer", "schedule", "config"])
def test_a_payload_is_refused_and_does_not_run(
    write: Callable[[object, Path], None], field: str, tmp_path: Path
) -> None:
    path, mark = tmp_path / "best.pt", tmp_path / "mark"
    write(values(**{field: {"weight": Payload(mark)}}) if field else Payload(mark), path)
    with pytest.raises(CheckpointError) as refused:
        load_checkpoint(path)
    assert not mark.exists()
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(AssertionError):  # and it would have run:
        assert_harmless(path, mark)


def assert_harmless(path: Path, mark: Path) -> None:
    try:
        torch.load(path, weights_only=False)
    except Exception:
        pickle.loads(path.read_bytes())
    assert not mark.exists()


def compress(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def shorten(path: Path) -> None:
    """Leave each storage its first 8 bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content[:8] if "/data/" in name else content)


@pytest.mark.parametrize("change", [compress, shorten])
def test_a_file_of_other_sizes_than_it_says_is_refused(change: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save_checkpoint(replace(checkpoint(), model={"weight": torch.zeros(100_000)}), path)
    change(path)
    with pytest.raises(CheckpointError, match="is damaged or not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("field", ["model", "optimizer"])
def test_a_tensor_that_would_fill_the_memory_is_refused_unread(field: str, tmp_path: Path) -> None:
    torch.save(values(**{field: {"weight": torch.zeros(1).expand(2**40)}}), tmp_path / "best.pt")
    assert (tmp_path / "best.pt").stat().st_size < 20_000
    with pytest.raises(CheckpointError, match=rf"'{field}.weight' is not a plain tensor: it claims \(1099511627776,\)"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize(("field", "wrong"), [("model", float("nan")), ("average", float("inf"))])
def test_weights_that_are_not_finite_are_refused(field: str, wrong: float, tmp_path: Path) -> None:
    broken = {"bias": torch.tensor([0.0, wrong])}
    save_checkpoint(replace(checkpoint(), **{field: broken}), tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=rf"weights are not finite \('{field}.bias' holds NaN or infinity\)"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"epoch": "2"}, "epoch"), ({"model": [1]}, "model"), ({"average": {"a": 1}}, "average"), ({"more": 1}, "more")],
)
def test_a_table_of_another_form_is_refused(changes: dict[str, Any], field: str, tmp_path: Path) -> None:
    archive.write_archive(values(**changes), tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=f"'{field}' is not what a checkpoint holds there"):
        load_checkpoint(tmp_path / "best.pt")
    lacking = values()
    del lacking["mean_3"]
    archive.write_archive(lacking, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match="'mean_3' is not what"):
        load_checkpoint(tmp_path / "best.pt")


def state_of(width: int, optimizer: str = "adam", schedule: str = "constant") -> TrainState:
    model = nn.Linear(width, 1)
    made = make_optimizer(list(model.parameters()), [], OptimConfig(name=optimizer))
    model(torch.ones(2, width)).sum().backward()
    made.step()
    rates = make_schedule(made, ScheduleConfig(kind=schedule), num_epochs=2, total_steps=6)
    scaler = Runtime(torch.device("cpu")).grad_scaler()
    return TrainState(
        model=model,
        network=model,
        optimizer=made,
        schedule=rates,
        scaler=scaler,
        loss_sum=torch.zeros((), dtype=torch.float64),
        num_skipped=torch.zeros(()),
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 5}, r"optimiser's state 0.exp_avg has another shape: found \(1, 5\), wanted .*\[1, 4\]"),
        ({"width": 4, "schedule": "plateau"}, "the schedule is of another kind"),
    ],
)
def test_a_state_of_another_network_is_refused_before_it_is_taken(other: dict[str, Any], message: str) -> None:
    state = state_of(4)
    before = state.optimizer.state_dict()
    with pytest.raises(CheckpointError, match=message):
        restore_state(snapshot(state_of(**other), ORIGIN), state, "last.pt")
    assert same(before, state.optimizer.state_dict())
    broken = replace(snapshot(state_of(4), ORIGIN), optimizer={"state": {}, "param_groups": [{"params": [0]}]})
    with pytest.raises(CheckpointError, match="parameter groups are of another optimiser or network"):
        restore_state(broken, state, "last.pt")
