"""Stores and folders of an HTTP server: what is asked, tried again, refused, shown and kept."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from fastpath.cli.main import app
from fastpath.errors import DataError, FastpathError, StoreError, UsageError
from fastpath.ingest.loose_patches import open_source
from fastpath.runs.trained import open_run
from fastpath.store import format as fmt
from fastpath.store import remote, transfer
from fastpath.store.reader import open_store
from fastpath.store.recorded import open_recorded
from fastpath.store.split_table import read_split
from fastpath.types import Split
from fastpath.urls import without_secrets
from fastpath.workflows import merge, pack, repair
from fastpath.workflows.predict.submission import sample_beside
from fastpath.workflows.verify import verify

pytest.importorskip("urllib3", reason="the remote extra is not installed")
ROWS = np.arange(20)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_store: Path, server: Any) -> Path:
    """A store that the server has too, and a cache of its own."""
    patience = transfer.Patience(connect_s=5, silence_s=5, attempts=3, total_s=20, pause_s=0.01, pause_max_s=0.02)
    monkeypatch.setattr(transfer, "PATIENCE", patience)
    monkeypatch.setattr(remote, "_proven", set())
    monkeypatch.setenv("FASTPATH_CACHE", str(tmp_path / "cache"))
    server.files.update({path.name: path.read_bytes() for path in small_store.iterdir()})
    return small_store


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_store_of_a_web_server_reads_like_one_on_disk(local: Path, server: Any) -> None:
    ours, theirs = open_store(local), open_store(Path(server.url))
    np.testing.assert_array_equal(theirs.gather(ROWS), ours.gather(ROWS))
    assert read_split(theirs).rows(Split.VAL).tolist() == read_split(ours).rows(Split.VAL).tolist()
    assert str(theirs) == theirs.place == f"http://{server.host}/store"
    assert "SECRET" not in repr(theirs.remote)


def test_the_server_hears_password_and_token_with_every_request(local: Path, server: Any) -> None:
    open_store(server.url).gather(ROWS)
    wanted = "Basic " + base64.b64encode(b"reader:SECRET1").decode()
    assert {headers.get("Authorization") for headers in server.headers} == {wanted}
    assert all(path.endswith("?sig=SECRET2") for path in server.paths)
    assert {headers.get("Accept-Encoding") for headers in server.headers} == {"identity"}


def failing(times: int, *, status: int = 0, cut: bool = False) -> Any:
    """Fail so often, then answer as if nothing had been."""
    left = [times]

    def act(handler: Any) -> None:
        name = handler.path.partition("?")[0].rpartition("/")[2]
        if left[0] == 0:
            return handler.answer(handler.server.files[name])
        left[0] -= 1
        if status:
            return handler.answer(b"", status, Retry_After="0")
        content = handler.server.files[name]
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() if cut else b""
        return handler.raw(head + content[: len(content) // 2 if cut else 0])

    return act


@pytest.mark.parametrize("file", [fmt.MANIFEST, fmt.INDEX, fmt.SPLIT, "shard-00003.npy"])
@pytest.mark.parametrize("failure", [{"status": 503}, {"status": 429}, {"cut": True}, {}], ids=str)
def test_what_passes_is_tried_again(
    failure: dict[str, Any], file: str, local: Path, server: Any, tmp_path: Path
) -> None:
    server.acts[file] = failing(2, **failure)
    np.testing.assert_array_equal(open_store(server.url).gather(ROWS), open_store(local).gather(ROWS))
    server.acts[file] = failing(3, **failure)
    remote._proven.clear()
    shutil.rmtree(tmp_path / "cache" / "stores")
    with pytest.raises(FastpathError, match=r"in 3 attempts over \d+ s"):
        open_store(server.url).gather(ROWS)


def test_a_redirect_within_the_host_is_followed(local: Path, server: Any) -> None:
    for name in list(server.files):
        server.files[f"moved/{name}"] = server.files.pop(name)
        target = f"/store/moved/{name}?sig=SECRET2"
        server.acts[name] = lambda handler, target=target: handler.answer(b"", 302, Location=target)
    np.testing.assert_array_equal(open_store(server.url).gather(ROWS), open_store(local).gather(ROWS))


def test_a_sound_store_is_found_sound_and_nothing_is_taken_from_the_cache(local: Path, server: Any) -> None:
    assert verify.verify_store(Path(server.url), workers=1).damages == []
    asked = dict(server.asked)
    assert verify.verify_store(Path(server.url), workers=1).damages == []
    assert server.asked["shard-00001.npy"] == 2 * asked["shard-00001.npy"]
    content = bytearray(server.files["shard-00001.npy"])
    content[-1] ^= 1
    server.files["shard-00001.npy"] = bytes(content)
    del server.files["shard-00004.npy"]
    damages = verify.verify_store(Path(server.url), workers=1).damages
    assert [damage.file for damage in damages] == ["shard-00001.npy", "shard-00004.npy"]
    assert "of hash" in damages[0].problem
    assert "was not found" in damages[1].problem
    with pytest.raises(FastpathError, match=r"shard-00001\.npy: found"):
        open_store(server.url).gather(ROWS)


def test_a_store_behind_a_url_is_compared_with_its_source(local: Path, small_source: Path, server: Any) -> None:
    verified = verify.verify_store(Path(server.url), source=small_source, workers=1)
    assert (verified.compared, verified.damages) == (20, [])


def test_inspect_sees_the_split_of_a_store_behind_a_url_and_writes_here(
    local: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inspected = run("inspect", server.url)
    assert inspected.exit_code == 0, inspected.output
    assert "SECRET" not in inspected.output
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "store-inspect"}
    facts = json.loads((tmp_path / "store-inspect" / "inspect.json").read_text())
    assert facts["split"]["parts"].keys() == {"train", "val"}
    assert facts["store"] == "store"
    assert not any(b"SECRET" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_merge_takes_stores_behind_urls(local: Path, small_source: Path, server: Any, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in (small_source / "train").iterdir():
        shutil.copy(path, tmp_path / "other" / f"q{path.name}")
    groups = (small_source / "groups.csv").read_text().replace("\np", "\nqp")
    (tmp_path / "other" / "groups.csv").write_text(groups)
    pack.pack_source(tmp_path / "other", tmp_path / "unlabelled", workers=1)
    merge.merge_stores([Path(server.url), tmp_path / "unlabelled"], tmp_path / "merged")
    assert verify.verify_store(tmp_path / "merged", workers=1).damages == []


def test_what_writes_does_not_take_a_url(local: Path, small_source: Path, server: Any, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="repair it where it lies"):
        repair.repair_store(Path(server.url), small_source)
    for command in ("pack", "inspect"):
        refused = run(command, small_source, "-o", server.url)
        assert refused.exit_code == 2
        assert "is a URL, wanted a path" in refused.output
        assert "SECRET" not in refused.output
    with pytest.raises(UsageError, match="copy the run here"):
        open_run(Path(f"{server.url}{'x' * 5000}"))


def test_a_file_url_is_a_path(local: Path, small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (f"file://{local}", f"file://localhost{local}".replace("localhost", ""), f"file:{local}"):
        assert open_store(Path(url)).path == local
    pack.pack_source(
        Path(f"file://{small_source}"), tmp_path / "again", pack.PackOptions(shard_bytes=4 * 768), workers=1
    )
    assert open_store(tmp_path / "again").fingerprint == open_store(local).fingerprint
    verified = run("verify", f"file://{local}", "--json")
    assert json.loads(verified.output)["ok"] is True
    spaced = tmp_path / "a store"
    shutil.copytree(local, spaced)
    assert open_store(Path(f"file://{tmp_path}/a%20store")).path == spaced


PAGE = '<html><a href="../">up</a><a HREF=\'{}\'>a</a>{}<a href="https://evil.example/x.tif">x</a></html>'


def served(source: Path, server: Any) -> str:
    """Serve a folder in the Kaggle layout as a web server lists it, with a few links that are not its own."""
    server.files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    names = sorted(name.removeprefix("train/") for name in server.files if name.startswith("train/"))
    strange = ["/etc/x.tif", "../y.tif", "..%2f..%2fz.tif", "http://[::1/w.tif", "sub/v.tif"]
    links = "".join(f'<a href="{name}?C=M">n</a>' for name in [*names, *strange])
    server.files["train/"] = PAGE.format("notes.txt", links).encode()
    return f"http://reader:SECRET1@{server.host}/store?sig=SECRET2"


def test_a_folder_of_a_web_server_is_a_source(local: Path, small_source: Path, server: Any, tmp_path: Path) -> None:
    source = Path(served(small_source, server))
    pack.pack_source(source, tmp_path / "packed", pack.PackOptions(shard_bytes=4 * 768), workers=1)
    for path in local.iterdir():
        assert (tmp_path / "packed" / path.name).read_bytes() == path.read_bytes()
    assert set(server.asked) == {*server.files}, "and nothing else"


def test_a_token_may_be_longer_than_any_name(local: Path, small_source: Path, server: Any, tmp_path: Path) -> None:
    long = "x" * 5000
    assert verify.verify_store(Path(server.url + long), source=small_source, workers=1).damages == []
    source = Path(served(small_source, server) + long)
    pack.pack_source(source, tmp_path / "packed", workers=1)
    assert len(open_source(source)) == 20
    assert sample_beside(source) is None


@pytest.mark.parametrize(
    ("spoil", "message", "status"),
    [
        ({"train/p03.tif": None}, r"p03\.tif: was not found", 2),
        ({"train/p03.tif": b"II*\0"}, r"p03\.tif: ", 2),
        ({"train/": b"<html></html>"}, "found no patches", 2),
        ({"train/": b'<a href="a.tif"><a href="a.png">'}, "wanted one file for each id", 2),
        ({"train_labels.csv": b"<html>"}, "found columns", 2),
        ({"groups.csv": b"\xff\xfe"}, "found nothing in its first line", 2),
    ],
)
def test_a_folder_that_is_not_as_it_should_be(
    spoil: dict[str, bytes | None],
    message: str,
    status: int,
    local: Path,
    small_source: Path,
    server: Any,
    tmp_path: Path,
) -> None:
    source = Path(served(small_source, server))
    for name, content in spoil.items():
        server.files.pop(name)
        server.files.update({} if content is None else {name: content})
    with pytest.raises(DataError, match=message) as caught:
        pack.pack_source(source, tmp_path / "packed", workers=1)
    assert caught.value.exit_status == status
    assert "SECRET" not in str(caught.value)
    assert not (tmp_path / "packed").exists()


def test_a_patch_that_the_server_fails_to_give_is_not_skipped(
    local: Path, small_source: Path, server: Any, tmp_path: Path
) -> None:
    source = Path(served(small_source, server))
    server.acts["train/p05.tif"] = lambda handler: handler.answer(b"", 503)
    with pytest.raises(FastpathError, match=r"p05\.tif: the server fails") as caught:
        pack.pack_source(source, tmp_path / "packed", pack.PackOptions(on_error="skip"), workers=1)
    assert caught.value.exit_status == 1


def test_a_url_that_a_file_names_is_asked_only_where_the_user_gave_it(local: Path, server: Any, tmp_path: Path) -> None:
    place = without_secrets(server.url)
    with pytest.raises(UsageError, match=rf"run\.json: names a store behind a URL .*--store|{place}") as caught:
        open_recorded(place, tmp_path / "run.json")
    assert f"verify {place}" in str(caught.value)
    assert not server.asked, "the server has heard nothing"
    open_store(server.url)
    known = open_recorded(place, tmp_path / "run.json")
    np.testing.assert_array_equal(known.gather(ROWS), open_store(local).gather(ROWS))
    assert not any("SECRET" in path for path in server.paths[-5:]), "a file does not know the password"
    with pytest.raises(UsageError):
        open_recorded(f"{place}/other", tmp_path / "run.json")
    shutil.rmtree(tmp_path / "cache" / "stores")
    assert open_recorded(place, tmp_path / "run.json").fingerprint == known.fingerprint


def test_what_is_in_the_cache_is_read_without_the_server(local: Path, server: Any, tmp_path: Path) -> None:
    open_store(server.url).gather(ROWS)
    server.acts.update({name: lambda handler: handler.answer(b"", 401) for name in list(server.files)})
    known = open_recorded(without_secrets(server.url), tmp_path / "run.json")
    np.testing.assert_array_equal(known.gather(ROWS), open_store(local).gather(ROWS))


def test_certificates_and_names_are_checked(local: Path, server: Any) -> None:
    with pytest.raises(FastpathError, match="certificate or encryption is not accepted"):
        open_store(f"https://{server.host}/store")
    with pytest.raises(UsageError, match="name is not known"):
        open_store("http://no-such-host.invalid/store")
    with pytest.raises(FastpathError, match="takes no connection"):
        open_store("http://127.0.0.1:1/store")


@pytest.mark.parametrize("url", ["http://h:99999/x", "http://[::1/x", "http:///x", "http://h h/x", "http://h::x/y"])
def test_what_is_no_url_is_refused(url: str, local: Path) -> None:
    with pytest.raises(UsageError):
        open_store(url)


def test_a_full_disk_is_told_before_a_shard_is_fetched(
    local: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = open_store(server.url)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(UsageError, match="free, wanted"):
        theirs.gather(ROWS)
    assert not server.asked["shard-00000.npy"]
