"""Whatever a server does: one line, exit 1 or 2, nothing written outside the cache, in bounded time and memory."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import xxhash

from fastpath.cli.main import main
from fastpath.store import format as fmt
from fastpath.store import remote, transfer

pytest.importorskip("urllib3", reason="the remote extra is not installed")

Act = Callable[[Any], None]
MEMORY_BYTES_MAX = 48 << 20
ENDLESS = b"x" * (256 << 10)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_store: Path, server: Any) -> None:
    """A server that has the store, a reader that does not wait long, and a cache of its own."""
    patience = transfer.Patience(connect_s=0.2, silence_s=0.2, attempts=2, total_s=5, pause_s=0.01, pause_max_s=0.02)
    monkeypatch.setattr(transfer, "PATIENCE", patience)
    monkeypatch.setattr(remote, "MANIFEST_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(remote, "_proven", set())
    monkeypatch.setenv("FASTPATH_CACHE", str(tmp_path / "cache"))
    server.files.update({path.name: path.read_bytes() for path in small_store.iterdir()})


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Act:
    return lambda handler: handler.answer(body, status, **headers)


def raw(*blocks: bytes, then: str = "") -> Act:
    def act(handler: Any) -> None:
        for block in blocks:
            handler.raw(block)
        if then == "stall":
            handler.stall()

    return act


def endless(head: bytes, block: bytes, pause_s: float = 0.0) -> Act:
    def act(handler: Any) -> None:
        handler.raw(head)
        handler.for_ever(block, pause_s)

    return act


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
BOMB = gzip.compress(bytes(64 << 20))

STATUSES = [201, 202, 203, 204, 205, 206, 300, 304, 305, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410]
STATUSES += [411, 413, 416, 418, 421, 425, 429, 431, 451, 500, 501, 502, 503, 504, 505, 507, 511, 520, 599, 999]

REDIRECTS = {
    "another host": "http://localhost:1/store/manifest.json",
    "another port": "http://127.0.0.1:1/store/manifest.json",
    "a host after a user": "http://127.0.0.1@localhost/manifest.json",
    "no scheme": "//localhost:1/x",
    "metadata service": "http://169.254.169.254/latest/meta-data/",
    "https elsewhere": "https://localhost/x",
    "file": "file:///etc/passwd",
    "ftp": "ftp://127.0.0.1/x",
    "data": "data:application/json,{}",
    "script": "javascript:alert(1)",
    "to itself": "manifest.json",
    "nowhere": "",
    "a bad port": "http://127.0.0.1:99999999/x",
    "a bad address": "http://[::1/x",
    "escape sequences": "http://\x1b[2J\x07evil/x",
}

# What a server may send for any file, and none of it is the file.
BODIES: dict[str, Act] = {
    "closed at once": raw(),
    "not HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "noise": raw(bytes(range(256)) * 8),
    "half a status line": raw(b"HTTP/1.1 2"),
    "HTTP 0.9": raw(b"hello"),
    "half the headers": raw(OK + b"Content-Length: 5"),
    "silent": raw(then="stall"),
    "silent after the status": raw(OK, then="stall"),
    "silent after the headers": raw(OK + b"Content-Length: 9\r\n\r\n", then="stall"),
    "silent within the body": raw(OK + b"Content-Length: 9\r\n\r\nabc", then="stall"),
    "slow body": endless(OK + b"Content-Length: 900000\r\n\r\n", b"x", 0.05),
    "slow headers": endless(OK + b"X: ", b"x", 0.05),
    "slow chunks": endless(CHUNKED, b"1\r\nx\r\n", 0.05),
    "slow within a chunk's size": endless(CHUNKED, b"0", 0.05),
    "cut": raw(OK + b"Content-Length: 999\r\n\r\nabc"),
    "cut in a chunk": raw(CHUNKED + b"ff\r\nabc"),
    "no last chunk": raw(CHUNKED + b"3\r\nabc\r\n"),
    "a chunk of no size": raw(CHUNKED + b"zz\r\nabc\r\n"),
    "a chunk of negative size": raw(CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n"),
    "two lengths": raw(OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
    "a negative length": raw(OK + b"Content-Length: -1\r\n\r\nabc"),
    "a length of words": raw(OK + b"Content-Length: three\r\n\r\nabc"),
    "a length of a terabyte": raw(OK + b"Content-Length: 1000000000000\r\n\r\nabc"),
    "a length of 4,000 digits": raw(OK + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\nabc"),
    "endless": endless(OK + b"\r\n", ENDLESS),
    "endless in chunks": endless(CHUNKED, b"40000\r\n" + ENDLESS + b"\r\n"),
    "endless chunk extension": endless(CHUNKED + b"1;", ENDLESS),
    "endless header": endless(OK + b"X: ", ENDLESS),
    "endless headers": endless(OK, b"X: y\r\n" * 1000, 0.001),
    "endless continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 0.01),
    "endless trailers": endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 99, 0.01),
    "nothing": answer(b""),
    "a page": answer(PAGE, Content_Type="text/html"),
    "a page as JSON": answer(PAGE, Content_Type="application/json"),
    "a gzip bomb": answer(BOMB, Content_Encoding="gzip"),
    "a deflate bomb": answer(BOMB, Content_Encoding="deflate"),
    "encodings without end": answer(BOMB, Content_Encoding=", ".join(["gzip"] * 900)),
    "an unknown encoding": answer(b"abc", Content_Encoding="\x1b[2J"),
}
DOCUMENTS = {
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "no keys": b"{}",
    "deep": b"[" * 500_000,
    "deep objects": b'{"a":' * 100_000,
    "NaN": b'{"format_version": NaN}',
    "a number of 900,000 digits": b'{"format_version": ' + b"9" * 900_000 + b"}",
    "a newer format": b'{"format_version": 99}',
    "UTF-16": '{"format": "fastpath-store"}'.encode("utf-16"),
    "NUL": bytes(1000),
    "too long": b" " * (2 << 20),
    "a surrogate": b'{"format": "\\ud800"}',
}
SLOW = pytest.mark.slow
FILES = [fmt.MANIFEST, "shard-00002.npy", pytest.param(fmt.INDEX, marks=SLOW), pytest.param(fmt.SPLIT, marks=SLOW)]
NAMES = [
    "/etc/passwd",
    "OUTSIDE",
    "../../victim",
    "../victim",
    "..",
    ".",
    "",
    "/",
    "~/.bashrc",
    "shard-00001.npy",
    "shard-0.npy",
    "SHARD-00000.npy",
    "manifest.json",
    "index.parquet",
    "split.json",
    "sub/shard-00000.npy",
    "./shard-00000.npy",
    "shard-00000.npy/../../../victim",
    "shard-00000.npy\0.txt",
    "shard-00000.npy\n",
    "\x1b[2Jshard",
    "shard-\uff10\uff10\uff10\uff10\uff10.npy",
    "C:\\victim",
    "..\\victim",
    "/dev/full",
    "/proc/self/mem",
    "file:///etc/passwd",
    "http://localhost:1/x",
    "x" * 5000,
]


def refused(
    server: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, root: Path, *command: str, measured: bool = False
) -> str:
    """Run a command that must fail, and return its one line; measure its memory, which takes a while, if asked to."""
    victim = root / "victim"
    victim.write_text("mine")
    before = {path for path in root.rglob("*") if (root / "cache") not in path.parents}
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["fastpath", *(command or ("verify", server.url, "--workers", "1", "-q"))])
    with _bounded() if measured else nullcontext(), pytest.raises(SystemExit) as ended:
        main()
    shown = capfd.readouterr()
    assert ended.value.code in (1, 2)
    lines = shown.err.splitlines()
    assert len(lines) == 1, shown.err
    assert lines[0].isprintable(), ascii(lines[0])
    assert "Traceback" not in lines[0]
    assert "with --debug" not in lines[0], "an error that nobody thought of"
    assert "SECRET" not in shown.err + shown.out
    assert victim.read_text() == "mine"
    after = {path for path in root.rglob("*") if (root / "cache") not in path.parents}
    assert after - before <= {root / "cache"}
    _check_cache(root / "cache")
    return lines[0]


@contextmanager
def _bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()


def _check_cache(cache: Path) -> None:
    """Nothing lies there but files of stores under the names of the format, and none half written or unchecked."""
    for path in (each for each in cache.rglob("*") if each.is_file()):
        assert "SECRET" not in str(path)
        assert b"SECRET" not in path.read_bytes()
        kind = path.relative_to(cache).parts[0]
        assert kind in ("stores", "urls")
        if kind == "stores":
            document = json.loads((path.parent / fmt.MANIFEST).read_bytes())
            known = {entry["file"]: entry["hash"] for entry in document["shards"]} | {fmt.INDEX: document["index_hash"]}
            assert path.name in {*known, fmt.MANIFEST, fmt.SPLIT}
            assert path.name not in known or fmt.hash_file(path) == known[path.name]


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_told(
    status: int, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path
) -> None:
    server.acts[fmt.MANIFEST] = answer(b"{}", status, Retry_After="86400")
    line = refused(server, monkeypatch, capfd, tmp_path)
    assert str(status) in line or status in (404, 410)
    assert server.asked[fmt.MANIFEST] == (2 if status in (408, 425, 429, 500, 502, 503, 504) else 1)


@pytest.mark.parametrize("name", REDIRECTS)
@pytest.mark.parametrize("status", [301, 308])
def test_no_redirect_leads_away(
    name: str, status: int, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path
) -> None:
    server.acts[fmt.MANIFEST] = answer(b"", status, Location=REDIRECTS[name])
    refused(server, monkeypatch, capfd, tmp_path)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", BODIES)
def test_no_body_passes_for_a_file(
    name: str, file: str, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path
) -> None:
    server.acts[file] = BODIES[name]
    refused(server, monkeypatch, capfd, tmp_path, measured="endless" in name or "bomb" in name)


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("file", [fmt.MANIFEST, fmt.SPLIT])
def test_no_document_passes_for_a_manifest_or_split(
    name: str, file: str, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path
) -> None:
    server.files[file] = DOCUMENTS[name]
    refused(server, monkeypatch, capfd, tmp_path, measured=file == fmt.MANIFEST)


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name)[:30] for name in NAMES])
def test_no_manifest_names_a_path(
    name: str, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path
) -> None:
    name = str(tmp_path / "outside" / "file") if name == "OUTSIDE" else name
    server.files[fmt.MANIFEST] = _manifest(server.files, lambda values: values["shards"][0].update(file=name))
    server.files[name] = server.files["shard-00000.npy"]
    refused(server, monkeypatch, capfd, tmp_path)
    assert not (tmp_path / "outside").exists()
    assert server.asked.keys() == {fmt.MANIFEST}, "nothing is fetched for such a manifest"


def _manifest(files: dict[str, bytes], change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the manifest with a change and a checksum that is right."""
    values = json.loads(files[fmt.MANIFEST])
    del values["checksum"]
    change(values)
    values["checksum"] = xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())
    return (json.dumps(values, indent=1) + "\n").encode()


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:-1] + b"\0"])
@pytest.mark.parametrize("file", [fmt.INDEX, "shard-00002.npy"])
def test_other_bytes_are_refused(
    spoil: Callable[[bytes], bytes],
    file: str,
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
    tmp_path: Path,
) -> None:
    server.files[file] = spoil(server.files[file])
    assert file in refused(server, monkeypatch, capfd, tmp_path)
