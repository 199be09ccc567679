"""Published weights that cannot be had are refused at once, and those that are here ask no server."""

from __future__ import annotations

import errno
import os
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from fastpath.config import ModelConfig
from fastpath.errors import ConfigError
from fastpath.model import encoder, published_weights, registry
from fastpath.system import files

NAME = "test_efficientnet.r160_in1k"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub's with nothing in it; nothing is asked of any server but by the test."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    published_weights.unreachable.cache_clear()
    return tmp_path / "hub"


class Server:
    """Stands for the network: counts what is asked of it, and answers by raising."""

    def __init__(self, answer: Exception) -> None:
        self.answer, self.asked = answer, 0

    def __call__(self, *_: Any, **__: Any) -> None:
        self.asked += 1
        raise self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (urllib.error.URLError(socket.gaierror(-2, "Name or service not known")), "Name or service not known"),
        (urllib.error.URLError(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_a_server_that_is_not_reached_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, answer: Exception, words: str
) -> None:
    server = Server(answer)
    monkeypatch.setattr(urllib.request, "urlopen", server)
    for _ in range(2):
        with pytest.raises(ConfigError, match=words) as caught:
            registry.build(ModelConfig(name=NAME, trainable="all"), 64)
        assert "model.weights=FILE" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert server.asked == 1


def test_any_answer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", Server(urllib.error.HTTPError("", 403, "no", None, None)))  # type: ignore[arg-type]
    published_weights.check(NAME)


def test_a_server_that_says_nothing_is_waited_for_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server may keep the system waiting for longer than any limit that is asked for."""
    monkeypatch.setattr(published_weights, "REACH_S", 0.01)
    monkeypatch.setattr(published_weights, "Thread", lambda target, daemon: _Never())
    assert "gives no answer within" in published_weights.unreachable("https://silent.example")


class _Never:
    def start(self) -> None:
        """Start nothing."""


def test_what_cannot_be_kept_is_refused_before_it_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(OSError("no network here"))
    monkeypatch.setattr(urllib.request, "urlopen", server)
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and Path(path) in cache.parents))
    with pytest.raises(ConfigError, match="hub cannot be written to; HF_HOME names another place"):
        published_weights.check(NAME)
    assert not server.asked


def test_offline_by_request_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(OSError("no network here"))
    monkeypatch.setattr(urllib.request, "urlopen", server)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        published_weights.check(NAME)
    assert not server.asked


def test_weights_that_were_fetched_before_are_loaded_with_no_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = timm.create_model(NAME.split(".")[0])
    folder = cache / f"models--timm--{NAME}"
    (folder / "refs").mkdir(parents=True)
    files.write_durably(folder / "refs" / "main", b"abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    save_file(network.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    monkeypatch.setattr(urllib.request, "urlopen", Server(OSError("no network here")))
    monkeypatch.setattr(socket.socket, "connect", Server(OSError("no network here")))
    built = registry.build(ModelConfig(name=NAME, trainable="all"), 160)
    own = built.trunk.state_dict()
    assert torch.equal(own["conv_stem.weight"], network.state_dict()["conv_stem.weight"])


@pytest.mark.parametrize("name", [NAME, "hf-hub:someone/network"])
def test_an_encoder_that_cannot_be_fetched_is_refused_as_soon(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    server = Server(urllib.error.URLError(socket.gaierror(-2, "Name or service not known")))
    monkeypatch.setattr(urllib.request, "urlopen", server)
    with pytest.raises(
        ConfigError, match=r"--model: .* cannot be fetched: .*Name or service not known.*--weights FILE"
    ):
        encoder.load_encoder(name)
    assert server.asked == 1
