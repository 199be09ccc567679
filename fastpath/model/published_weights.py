"""Whether published weights can be had: looked at once and shortly, where the hub would try for a minute."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import torch
from huggingface_hub import constants, try_to_load_from_cache
from timm.models import get_pretrained_cfg

from fastpath.errors import ConfigError

REACH_S = 5.0
"""Seconds that the server of the weights is given to answer; a name server may take as long again."""

HUB = "hf-hub:"
"""What the name of a network begins with that timm takes from the hub by its owner and name."""
_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm asks for them
_REMEDY = "give a file with --set model.weights=FILE, or start from random ones with --set model.pretrained=false"


def in_cache(name: str) -> Path | None:
    """Return the file that an earlier run has fetched of a network's published weights; None where there is none."""
    known = get_pretrained_cfg(name)
    if known is None or known.custom_load:  # these have a reader, and a format, of their own
        return None
    if known.hf_hub_id:
        hub, _, revision = known.hf_hub_id.partition("@")
        for file in (known.hf_hub_filename,) if known.hf_hub_filename else _FILES:
            cached = try_to_load_from_cache(hub, file, revision=revision or None)
            if isinstance(cached, str):
                return Path(cached)
        return None
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(known.url or "").name
    return cached if known.url and cached.is_file() else None


def check(name: str) -> None:
    """Refuse a network whose published weights are neither here nor to be had.

    Raises:
        ConfigError: The server does not answer, or what it gives cannot be kept.
    """
    why = missing(name)
    if why:
        problem = f"the published weights of '{name}' cannot be fetched: {why}"
        raise ConfigError("model.pretrained", problem, _REMEDY)


def missing(name: str) -> str:
    """Return why the published weights of a network, of timm or `hf-hub:ORG/NAME`, cannot be had; empty where they can.

    Those that an earlier run has fetched are here; else the server is looked at, once and shortly.
    """
    hub, url = "", ""
    if name.startswith(HUB):
        hub = name.removeprefix(HUB)
        if isinstance(try_to_load_from_cache(hub.partition("@")[0], "config.json"), str):
            return ""
    elif (known := get_pretrained_cfg(name)) is not None:
        hub, url = known.hf_hub_id or "", known.url or ""
    if not (hub or url) or (not name.startswith(HUB) and in_cache(name) is not None):
        return ""
    if hub and constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set, and they were never fetched here"
    folder = Path(constants.HF_HUB_CACHE if hub else torch.hub.get_dir())
    standing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not os.access(standing, os.W_OK | os.X_OK):
        return f"{folder} cannot be written to; {'HF_HOME' if hub else 'TORCH_HOME'} names another place for them"
    server = str(constants.ENDPOINT) if hub else url
    why = unreachable(server)
    return f"{server} {why}" if why else ""


@cache
def unreachable(server: str) -> str:
    """Return why a server gives no answer of any kind; empty where it does. A process asks once.

    Proxies of the environment are used, as the hub uses them.
    """
    answers: SimpleQueue[str] = SimpleQueue()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(server, method="HEAD"), timeout=REACH_S).close()
        except urllib.error.HTTPError:
            answers.put("")  # an answer, though one that likes the question no better
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            answers.put(f"cannot be reached ({getattr(reason, 'strerror', None) or reason})")
        else:
            answers.put("")

    Thread(target=ask, daemon=True).start()  # the system's resolver takes no time limit
    try:
        return answers.get(timeout=2 * REACH_S)
    except Empty:
        return f"gives no answer within {2 * REACH_S:.0f} s"
