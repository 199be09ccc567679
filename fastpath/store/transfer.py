"""Files behind a URL, fetched with bounds on bytes and on time, whatever the server does.

http and https go through urllib3 (`shards.web`), other kinds through fsspec (`shards.file_systems`). Both are asked for
one file at a time, in blocks: no body is ever in memory beyond what its reader said it may be.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastpath.errors import FastpathError, StoreError, UsageError
from fastpath.urls import with_name, without_secrets

Value = TypeVar("Value")
BLOCK_BYTES = 256 << 10
LISTING_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server is waited for, and how often it is asked."""

    connect_s: float = 10.0
    """For a connection."""
    silence_s: float = 30.0
    """For an answer to begin, and for each 256 KiB of it: below 9 kB/s a server does not count as answering."""
    attempts: int = 4
    """Requests for one file, where each failed in a way that may pass."""
    total_s: float = 60.0
    """No further attempt after so long."""
    pause_s: float = 0.5
    """Before the second attempt; twice as long before each further one."""
    pause_max_s: float = 30.0
    """What a server's `Retry-After` is followed up to."""


PATIENCE = Patience()


class Absent(Exception):
    """There is no such file."""


class Passing(Exception):
    """A failure that may be over at the next attempt.

    Args:
        problem: What happened, for the user.
        remedy: What to do where it does not pass.
        pause_s: What the server asks to wait; 0 where it does not say.
    """

    def __init__(self, problem: str, remedy: str, pause_s: float = 0.0) -> None:
        super().__init__(problem)
        self.problem, self.remedy, self.pause_s = problem, remedy, pause_s


class Body(Protocol):
    """What a server sends."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, fewer only at the end."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer that has begun.

    Attributes:
        body: What follows.
        num_bytes: Its length, None where the server does not say.
        media_type: What the server calls it, empty where it does not say.
        stop: Ends a read that another thread waits in.
    """

    body: Body
    num_bytes: int | None = None
    media_type: str = ""
    stop: Callable[[], None] = field(default=lambda: None)


class Target(Protocol):
    """Where a file is written."""

    def write(self, block: bytes, /) -> object:
        """Add to it."""

    def restart(self) -> None:
        """Forget what was written."""


class Memory(io.BytesIO):
    """A target in memory."""

    def restart(self) -> None:
        """Forget what was written."""
        self.seek(0)
        self.truncate()


class Server(Protocol):
    """Where files lie, by names relative to a URL."""

    @property
    def url(self) -> str:
        """The URL, with what the server wants to know of who asks: not to be shown."""

    def opened(self, name: str) -> AbstractContextManager[Opened]:
        """Ask for a file; raises Absent, Passing or FastpathError."""

    def listed(self, folder: str) -> dict[str, Mapping[str, Any]] | None:
        """Return what is told of each file of a folder by its name; None where it is no folder."""


def server_of(url: str) -> Server:
    """Return what asks for the files below a URL.

    Raises:
        UsageError: The URL is not one, or what it needs is not installed.
    """
    if "::" in url or not url.isprintable():
        raise UsageError(ascii(url), "is not a plain URL", "give one such as s3://bucket/store or https://host/store")
    if url.partition(":")[0] in ("http", "https"):
        try:
            from fastpath.store.web import WebServer
        except ImportError as error:
            remedy = "run: pip install 'fastpath[remote]'"
            raise UsageError(without_secrets(url), f"cannot be opened ({error})", remedy) from None
        return WebServer(url)
    from fastpath.store.file_systems import FileSystemServer, file_system

    return FileSystemServer(url, *file_system(url))


def fetch(server: Server, name: str, most: int, target: Target, kind: type[FastpathError] = StoreError) -> None:
    """Write a file of a server into another; what may pass is tried again.

    Args:
        server: Whom to ask.
        name: Relative to its URL.
        most: Bytes that the file may have.
        target: Where to write.
        kind: What is raised where the file is larger.

    Raises:
        Absent: There is no such file.
        FastpathError: It is refused, too large, or could not be had in several attempts.
    """
    patience, began = PATIENCE, time.monotonic()
    for attempt in range(1, patience.attempts + 1):
        target.restart()
        try:
            with server.opened(name) as result:
                _copy(result, most, target, kind, place_of(server.url, name))
            return
        except Passing as error:
            waited_s = time.monotonic() - began
            if attempt == patience.attempts or waited_s > patience.total_s:
                text = f"{error.problem}, in {attempt} attempts over {waited_s:.0f} s"
                raise FastpathError(place_of(server.url, name), text, error.remedy) from None
            time.sleep(min(max(error.pause_s, patience.pause_s * 2 ** (attempt - 1)), patience.pause_max_s))


def read(server: Server, name: str, most: int, kind: type[FastpathError] = StoreError) -> bytes:
    """Return a file of a server; see `fetch`."""
    target = Memory()
    fetch(server, name, most, target, kind)
    return target.getvalue()


def place_of(url: str, name: str) -> str:
    """Return how errors name a file of a server."""
    return with_name(without_secrets(url), name)


def _copy(response: Opened, most: int, target: Target, kind: type[FastpathError], location: str) -> None:
    """Write a body; refuse one that is longer than it may be or than the server said, before it is held."""
    if (response.num_bytes or 0) > most:
        raise kind(location, f"found {response.num_bytes:,} bytes, wanted at most {most:,}", "check the URL")
    done = 0
    while block := patiently(lambda: response.body.read(BLOCK_BYTES), PATIENCE.silence_s, response.stop):
        done += len(block)
        if done > most:
            raise kind(location, f"found more than the {most:,} bytes it may have", "check the URL")
        target.write(block)
    if response.num_bytes is not None and done != response.num_bytes:
        raise Passing(f"was cut after {done:,} of {response.num_bytes:,} bytes", "try again, or look after the server")


def patiently(
    ask: Callable[[], Value],
    limit_s: float,
    stop: Callable[[], None] = lambda: None,
    discard: Callable[[Value], None] = lambda value: None,
) -> Value:
    """Return what a call returns, or raise what it raises; give up on one that takes too long.

    A socket's own time-out bounds each packet only, so a server that sends a byte at a time holds a reader for ever.

    Args:
        ask: The call. Given up on, its thread stays behind until it ends by itself.
        limit_s: How long it may take.
        stop: Called when it is given up on.
        discard: Told of what it returns after that.

    Raises:
        Passing: It took too long.
    """
    done: Future[Value] = Future()
    lock, given_up = threading.Lock(), False

    def work() -> None:
        try:
            value = ask()
        except BaseException as error:
            done.set_exception(error)
            return
        with lock:
            if not given_up:
                done.set_result(value)
                return
        discard(value)

    threading.Thread(target=work, daemon=True).start()
    try:
        return done.result(limit_s)
    except FutureTimeout:
        with lock:
            given_up = not done.done()
        if not given_up:  # at the last moment
            return done.result()
    stop()
    raise Passing(f"the server was silent or too slow for {limit_s:g} s", "try again, or look after the server")
