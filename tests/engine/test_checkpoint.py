from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastpath.config import Config
from fastpath.engine.checkpoint import Checkpoint, check_origin, load_checkpoint, save_checkpoint
from fastpath.errors import CheckpointError

CONFIG = Config()


def checkpoint() -> Checkpoint:
    weights = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    return Checkpoint(
        config=CONFIG.to_dict(),
        store_fingerprint="aaaa",
        split_fingerprint="bbbb",
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
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(replace(checkpoint(), epoch=3), path)
    assert path.read_bytes() == old


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
    where = content.index(before.model["weight"].permute(0, 2, 3, 1).contiguous().numpy().tobytes())
    content[where] ^= 1
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
    with pytest.raises(CheckpointError, match="found format version 99, wanted 1"):
        load_checkpoint(tmp_path / "newer.pt")


def test_another_origin_is_refused_printing_both() -> None:
    origin = {"config": CONFIG.to_dict(), "store_fingerprint": "aaaa", "split_fingerprint": "bbbb"}
    check_origin(checkpoint(), Path("last.pt"), **origin)
    with pytest.raises(CheckpointError, match="another store: found aaaa, wanted cccc"):
        check_origin(checkpoint(), Path("last.pt"), **origin | {"store_fingerprint": "cccc"})
    with pytest.raises(CheckpointError, match="another split: found bbbb, wanted cccc"):
        check_origin(checkpoint(), Path("last.pt"), **origin | {"split_fingerprint": "cccc"})
    other = replace(checkpoint(), config=Config(seed=1).to_dict())
    with pytest.raises(CheckpointError, match=r"another configuration \(seed: found 1, wanted 42\)"):
        check_origin(other, Path("last.pt"), **origin)
