"""What tests of stores share: a server that a test tells how to answer, file by file, and a small store."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from fastpath.workflows import pack

Act = Callable[["Handler"], None]
STALL_S = 5.0


class Handler(BaseHTTPRequestHandler):
    """Answers a file's act, else its bytes, else 404."""

    server: Hostile

    def do_GET(self) -> None:
        name = unquote(self.path.partition("?")[0]).removeprefix("/store/")
        self.server.asked[name] += 1
        self.server.headers.append({name.title(): value for name, value in self.headers.items()})
        self.server.paths.append(self.path)
        self.close_connection = True
        act = self.server.acts.get(name)
        if act is not None:
            with self.server.forgiving():
                act(self)
        elif name in self.server.files:
            self.answer(self.server.files[name])
        else:
            self.answer(b"no such file", 404)

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Send a whole answer; `Content_Length=""` leaves the length out."""
        lines = {"Content-Length": str(len(body))} | {key.replace("_", "-"): value for key, value in headers.items()}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items() if value)
        self.raw(f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode("latin-1") + body)

    def raw(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.wfile.write(content)
        self.wfile.flush()

    def stall(self) -> None:
        """Say nothing until the test is over."""
        self.server.over.wait(STALL_S)

    def for_ever(self, block: bytes, pause_s: float = 0.0) -> None:
        """Send the same bytes until nobody listens or the test is over."""
        while not self.server.over.wait(pause_s):
            self.raw(block)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Hostile(ThreadingHTTPServer):
    """Serves at `url`, with a password and a token in it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.acts: dict[str, Act] = {}
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.over = threading.Event()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://reader:SECRET1@{self.host}/store?sig=SECRET2"

    @contextmanager
    def forgiving(self) -> Iterator[None]:
        """Let a client go that has heard enough."""
        with suppress(OSError):
            yield

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Hostile]:
    """A server on this machine, until the test is over."""
    server = Hostile()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def labelled_source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """What makes 20 labelled patches of 16 px in the Kaggle layout, each time in a directory of its own."""

    def make() -> Path:
        root = tmp_path_factory.mktemp("small") / "source"
        (root / "train").mkdir(parents=True)
        rng = np.random.default_rng(0)
        for number in range(20):
            image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(image).save(root / "train" / f"p{number:02}.tif")
        labels = "".join(f"p{number:02},{number % 2}\n" for number in range(20))
        (root / "train_labels.csv").write_text("id,label\n" + labels)
        return root

    return make


@pytest.fixture(scope="session")
def small_source(labelled_source: Callable[[], Path]) -> Path:
    """20 labelled patches of 5 slides."""
    root = labelled_source()
    groups = "".join(f"p{number:02},w{number // 4}\n" for number in range(20))
    (root / "groups.csv").write_text("id,wsi\n" + groups)
    return root


@pytest.fixture(scope="session")
def small_store(small_source: Path) -> Path:
    """Its store, of 5 shards."""
    pack.pack_source(small_source, small_source.with_name("store"), pack.PackOptions(shard_bytes=4 * 768), workers=1)
    return small_source.with_name("store")
