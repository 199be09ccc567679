"""The suite's answer to whether the CPU computes in bfloat16, in every interpreter that a test starts.

And no network for those that are to have none.

`tests/conftest.py` runs this file for its own process and puts this folder first in PYTHONPATH for the others: Python
imports `sitecustomize` before anything else. Nothing of fastpath or torch is imported until somebody asks for it.

Where `FASTPATH_TEST_NO_NETWORK` names a file, an interpreter reaches no address but its own machine's, and writes each
other one that it has tried to reach to that file.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

ANSWER = "FASTPATH_TEST_BFLOAT16"  # yes, no, or cpu: what the CPU says
MODULE = "fastpath.runtime"
NO_NETWORK = "FASTPATH_TEST_NO_NETWORK"
_OWN = (None, "", b"", "localhost", "127.0.0.1", "::1")


def put_answer(module: ModuleType) -> None:
    """Put the answer in the place of the question; `inspect.unwrap` finds the question."""
    asked = module.cpu_has_bfloat16

    def cpu_has_bfloat16() -> bool:
        setting = os.environ.get(ANSWER, "cpu")
        return bool(asked()) if setting == "cpu" else setting == "yes"

    cpu_has_bfloat16.__wrapped__ = asked
    module.cpu_has_bfloat16 = cpu_has_bfloat16


class Finder:
    """Finds `fastpath.runtime` by the other finders, once, and has the answer put in when it has run."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            put_answer(module)

        spec.loader.exec_module = exec_module
        return spec


def refuse_network(event: str, arguments: tuple[object, ...]) -> None:
    """Raise where Python is about to reach another machine (an audit hook, of the events that `socket` documents)."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]  # of sockets of the file system a path, of those of the kernel (netlink) numbers
        host = address[0] if isinstance(address, tuple) and isinstance(address[0], str) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    else:
        return
    if host not in _OWN:
        with open(os.environ[NO_NETWORK], "a", encoding="utf-8") as tried:  # noqa: PTH123 (pathlib is not needed yet)
            tried.write(f"{host}\n")
        raise OSError(errno.ENETUNREACH, f"{os.strerror(errno.ENETUNREACH)} (refused by a test)")


if os.environ.get(NO_NETWORK):
    sys.addaudithook(refuse_network)
if MODULE in sys.modules:
    put_answer(sys.modules[MODULE])
else:
    sys.meta_path.insert(0, Finder())
