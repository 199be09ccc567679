"""Files behind every kind of URL but http and https, by fsspec."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastpath.errors import FastpathError, UsageError
from fastpath.store import transfer
from fastpath.store.transfer import Absent, Body, Opened, Passing, Value
from fastpath.urls import redacted, without_secrets


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path within it.

    Raises:
        UsageError: fsspec, or what it needs for this kind of URL, is not installed.
    """
    try:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        remedy = "run: pip install 'fastpath[remote]', 'fastpath[s3]' for s3://, and gcsfs for gs://"
        raise UsageError(without_secrets(url), f"cannot be opened ({_one_line(error)})", remedy) from None
    except Exception as error:  # what a kind's own library raises where it finds no credentials, or no server
        raise _failure_of(without_secrets(url), error) from None
    return system, root


@dataclass(frozen=True, slots=True)
class FileSystemServer:
    """Files of an fsspec file system; how it waits and tries again is its own affair, within `PATIENCE`.

    Attributes:
        url: What names are relative to.
        system: The file system.
        root: The URL's path within it.
    """

    url: str = field(repr=False)
    system: Any
    root: str

    @contextmanager
    def opened(self, name: str) -> Iterator[Opened]:
        """Ask for a file; see `Server`."""
        address = transfer.place_of(self.url, name)
        file = self._asked(address, lambda: self.system.open(f"{self.root}/{name}", "rb"))
        size = getattr(file, "size", None)
        with contextlib.closing(file):
            yield Opened(_Mapped(file, address), size if isinstance(size, int) else None)

    def listed(self, folder: str) -> dict[str, Mapping[str, Any]] | None:
        """Return what is told of each file of a folder; see `Server`."""
        path = f"{self.root}/{folder}".rstrip("/")

        def ask() -> list[Mapping[str, Any]] | None:
            self.system.invalidate_cache()  # a listing from before a change would hide it
            return list(self.system.ls(path, detail=True)) if self.system.isdir(path) else None

        result = self._asked(transfer.place_of(self.url, folder), ask)
        if result is None:
            return None
        return {str(entry["name"]).rsplit("/", 1)[-1]: entry for entry in result if entry.get("type") != "directory"}

    def _asked(self, location: str, ask: Callable[[], Value]) -> Value:
        try:
            return transfer.patiently(ask, transfer.PATIENCE.connect_s + transfer.PATIENCE.silence_s)
        except (Passing, FastpathError):
            raise
        except Exception as error:
            raise _failure_of(location, error) from None


@dataclass(frozen=True, slots=True)
class _Mapped:
    """A file of fsspec whose errors are ours, so that none is taken for one of the disk that is written to."""

    file: Body
    location: str

    def read(self, size: int, /) -> bytes:
        try:
            return self.file.read(size)
        except Exception as error:
            raise _failure_of(self.location, error) from None


def _failure_of(location: str, error: Exception) -> Exception:
    """Return what an error of an fsspec file system means: each kind's library raises its own."""
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return Absent(location)
    text = _one_line(error)
    if isinstance(error, PermissionError):
        return UsageError(location, f"access is refused ({text})", "check the URL and your rights")
    if isinstance(error, TimeoutError | ConnectionError):
        return Passing(f"cannot be reached ({text})", "check the URL and the network")
    return FastpathError(location, f"cannot be read ({text})", "check the URL, your rights and the network")


def _one_line(error: Exception) -> str:
    text = " ".join(redacted(f"{type(error).__name__}: {error}", foreign=True).split())
    return text[:200]
