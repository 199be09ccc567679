"""Files of weights that are none, or more than they seem: one line each."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError
from fastpath.model import weights
from fastpath.model.registry import build


def state() -> dict[str, Tensor]:
    return timm.create_model("test_resnet", num_classes=1).state_dict()


def with_first(change: Callable[[Tensor], Any]) -> dict[str, Any]:
    state_dict: dict[str, Any] = state()
    key = next(iter(state_dict))
    return {**state_dict, key: change(state_dict[key])}


def compressed(path: Path) -> None:
    torch.save(state(), path.with_name("plain"))
    with zipfile.ZipFile(path.with_name("plain")) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


def half(path: Path, content: bytes) -> None:
    path.write_bytes(content[: len(content) // 2])


def saved(path: Path, values: object, **options: Any) -> None:
    torch.save(values, path, **options)


MAKE: dict[str, Callable[[Path], None]] = {
    "pipe.pth": os.mkfifo,
    "pipe.safetensors": os.mkfifo,
    "zero.pth": lambda path: path.symlink_to("/dev/zero"),
    "zero.safetensors": lambda path: path.symlink_to("/dev/zero"),
    "folder.pth": lambda path: path.mkdir(),
    "folder.safetensors": lambda path: path.mkdir(),
    "none.pth": lambda path: None,
    "loop.pth": lambda path: path.symlink_to(path),
    "compressed.pth": compressed,
    "nan.pth": lambda path: saved(path, with_first(lambda tensor: tensor * torch.nan)),
    "inf.pth": lambda path: saved(path, with_first(lambda tensor: tensor / 0)),
    "nan.safetensors": lambda path: save_file(with_first(lambda tensor: tensor * torch.nan), path),
    "complex.pth": lambda path: saved(path, with_first(lambda tensor: tensor + 1j)),
    "whole numbers.pth": lambda path: saved(path, with_first(lambda tensor: tensor.long())),
    "sparse.pth": lambda path: saved(path, with_first(lambda tensor: tensor.to_sparse())),
    "wide.pth": lambda path: saved(
        path, with_first(lambda weight: weight[:1, :1, :1, :1].clone().expand(weight.shape))
    ),
    "text.pth": lambda path: saved(path, with_first(lambda tensor: "x")),
    "list.pth": lambda path: saved(path, [1, 2]),
    "keys.pth": lambda path: saved(path, {(1, 2): torch.zeros(1)}),
    "set.pth": lambda path: saved(path, {"a": {1}}),
    "bytes.pth": lambda path: saved(path, {"a": bytearray(3)}),
    "html.pth": lambda path: path.write_text("<html>") and None,
    "html.safetensors": lambda path: path.write_text("<html>") and None,
    "header.safetensors": lambda path: path.write_bytes(b"\xff" * 8 + b"{}") and None,
    "beyond.safetensors": lambda path: (
        path.write_bytes(
            (70).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}    '
        )
        and None
    ),
    "old.pth": lambda path: half(path, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_file_that_is_no_table_of_finite_tensors_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    MAKE[name](tmp_path / name)
    with pytest.raises(ConfigError) as caught:
        build(ModelConfig(name="test_resnet", weights=tmp_path / name, trainable="all"), 32)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 800
    assert name in str(caught.value)


def test_a_file_of_more_bytes_than_a_network_can_need_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_SPARE_BYTES", 0)
    with (tmp_path / "large.pth").open("wb") as file:
        file.truncate(1 << 32)
    with pytest.raises(ConfigError, match="has 4,096 MiB, wanted at most"):
        build(ModelConfig(name="test_resnet", weights=tmp_path / "large.pth", trainable="all"), 32)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_of_torchs_forms_are_read_and_through_a_link(zipped: bool, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "blob", _use_new_zipfile_serialization=zipped)
    (tmp_path / "weights.pth").symlink_to("blob")
    build(ModelConfig(name="test_resnet", weights=tmp_path / "weights.pth", trainable="all"), 32)
