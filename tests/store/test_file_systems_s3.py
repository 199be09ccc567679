"""`s3://` on the wire: an S3 server on this machine, packed from, trained from, verified; one that fails and lies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastpath.config import parse
from fastpath.errors import IntegrityError, StoreError
from fastpath.runtime import Runtime
from fastpath.store import remote
from fastpath.store.reader import open_store
from fastpath.workflows import pack
from fastpath.workflows.train import train
from fastpath.workflows.verify import verify

NEEDS = "an S3 server for tests is not installed: pip install s3fs 'moto[s3]' flask flask-cors"
pytest.importorskip("s3fs", reason=NEEDS)
pytest.importorskip("moto", reason=NEEDS)
pytest.importorskip("flask", reason=NEEDS)
pytest.importorskip("flask_cors", reason=NEEDS)
# aiobotocore's sessions, which s3fs keeps for the process, are closed when they are collected.
pytestmark = [pytest.mark.filterwarnings("ignore")]

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Wire:
    """A WSGI layer before the S3 server that may fail requests.

    Attributes:
        asked: Method and path of each request.
        refuse: Given the number of times that this path was asked for before, whether to answer with 503.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.asked: list[tuple[str, str]] = []
        self.refuse: Callable[[str, int], bool] = lambda _path, _before: False

    def __call__(self, environment: dict[str, Any], start: Any) -> Iterable[bytes]:
        request = (environment["REQUEST_METHOD"], environment["PATH_INFO"])
        before = self.asked.count(request)
        self.asked.append(request)
        if self.refuse(request[1], before):
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        return self.application(environment, start)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Wire]:
    import fsspec
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    layer = Wire(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, layer, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FASTPATH_CACHE": str(tmp_path / "cache"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "_proven", set())  # as in a process of its own
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield layer
    server.shutdown()
    thread.join()
    server.server_close()


def upload(folder: Path, bucket: str, name: str) -> str:
    import s3fs

    system = s3fs.S3FileSystem()
    if not system.exists(bucket):
        system.mkdir(bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            system.pipe_file(f"{bucket}/{name}/{path.relative_to(folder)}", path.read_bytes())
    return f"s3://{bucket}/{name}"


@pytest.fixture
def local(kaggle_folder: Path, tmp_path: Path) -> Path:
    pack.pack_source(kaggle_folder, tmp_path / "store", pack.PackOptions(shard_bytes=1 << 20), workers=1)
    return tmp_path / "store"


def test_a_folder_of_patches_is_packed_from_s3_as_from_disk(
    wire: Wire, kaggle_folder: Path, local: Path, tmp_path: Path
) -> None:
    url = upload(kaggle_folder, "tumour", "set")
    pack.pack_source(Path(url), tmp_path / "packed", pack.PackOptions(shard_bytes=1 << 20), workers=1)
    ours, theirs = open_store(local), open_store(tmp_path / "packed")
    assert theirs.ids_N.tolist() == ours.ids_N.tolist()
    np.testing.assert_array_equal(theirs.gather(np.arange(96)), ours.gather(np.arange(96)))
    assert len({path for method, path in wire.asked if method == "GET" and path.endswith(".tif")}) == 96


@pytest.mark.dali
def test_a_store_on_s3_is_verified_and_trained_on_and_fetched_once(wire: Wire, local: Path, tmp_path: Path) -> None:
    url = upload(local, "tumour", "store")
    wire.asked.clear()
    data = {"image_size_px": 32, "batch_size": 16}
    model = {"name": "baseline_cnn", "pretrained": False, "trainable": "all"}
    config, runtime = parse({"data": data, "model": model, "train": {"epochs": 1}}), Runtime(torch.device("cpu"))
    from_s3 = train.train_run(Path(url), tmp_path / "from-s3", config, runtime)
    from_disk = train.train_run(local, tmp_path / "from-disk", config, runtime)
    assert from_s3.best_auc == from_disk.best_auc
    shards = [path for method, path in wire.asked if method == "GET" and path.endswith(".npy")]
    assert len(set(shards)) == 3
    assert verify.verify_store(Path(url), workers=1).num_patches == 96


def test_a_server_that_fails_every_first_request_is_asked_again(wire: Wire, local: Path) -> None:
    url = upload(local, "tumour", "store")
    wire.refuse = lambda path, before: path.startswith("/tumour/store/") and before == 0
    np.testing.assert_array_equal(open_store(url).gather(np.arange(96)), open_store(local).gather(np.arange(96)))
    assert sum(path == "/tumour/store/shard-00000.npy" for _, path in wire.asked) > 1


@pytest.mark.parametrize("lie", ["one bit", "cut", "longer"])
def test_a_server_that_lies_is_found_out_and_nothing_of_it_is_kept(
    wire: Wire, local: Path, tmp_path: Path, lie: str
) -> None:
    url = upload(local, "tumour", "store")
    name = "shard-00001.npy"
    content = bytearray((local / name).read_bytes())
    content[-1000] ^= 1
    lies = {"one bit": bytes(content), "cut": bytes(content[:-7]), "longer": bytes(content) + b"more"}
    import s3fs

    s3fs.S3FileSystem().pipe_file(f"tumour/store/{name}", lies[lie])
    store = open_store(url)
    with pytest.raises(IntegrityError) as caught:
        store.gather(np.arange(96))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "a-secret-of-the-test" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob(name))


def test_what_is_not_there_and_a_bucket_that_is_not_there_are_one_line(wire: Wire, local: Path) -> None:
    upload(local, "tumour", "store")
    for url in ("s3://tumour/nothing", "s3://no-such-bucket/store"):
        with pytest.raises(StoreError, match="is not a packed store") as caught:
            open_store(url)
        assert "\n" not in str(caught.value)
