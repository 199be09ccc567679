"""What is a URL, and what of it is shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastpath.errors import DataError
from fastpath.urls import as_url, behind_url, located, redacted, with_name, without_secrets

SECRETS = {
    "https://u:SECRET@h/x": ("https://***@h/x", "https://h/x"),
    "https://SECRET@h/x": ("https://***@h/x", "https://h/x"),
    "https:/u:SECRET@h/x": ("https://***@h/x", "https://h/x"),
    "https://u:SEC/RET@h/x": ("https://***@h/x", "https://h/x"),
    "https://u:SEC?RET@h/x": ("https://***@h/x", "https://h/x"),
    "https://u:SEC#RET@h/x": ("https://***@h/x", "https://h/x"),
    "https://u:SEC@RET@h/x": ("https://***@h/x", "https://h/x"),
    "https://h:8080/x?sig=SECRET&b=1": ("https://h:8080/x?***", "https://h:8080/x"),
    "https://h/x?X-Amz-Credential=SECRET&X-Amz-Signature=SECRET": ("https://h/x?***", "https://h/x"),
    "https://h/x#SECRET": ("https://h/x#***", "https://h/x"),
    "https://h?SECRET": ("https://h?***", "https://h"),
    "s3://KEY:SECRET@bucket/store": ("s3://***@bucket/store", "s3://bucket/store"),
    "sftp://u:SECRET@h:22/store/": ("sftp://***@h:22/store/", "sftp://h:22/store"),
}
PLAIN = ["https://h/x", "s3://bucket/a@b", "https://h:80/a@b", "https://[::1]:80/x@y", "file:///a/b?c", "memory://b/s"]


@pytest.mark.parametrize("url", SECRETS)
def test_a_secret_is_not_shown(url: str) -> None:
    shown, kept = SECRETS[url]
    assert redacted(url) == shown
    assert without_secrets(url) == kept
    assert redacted(f"found '{url}' and {url}, wanted one") == f"found '{shown}' and {shown}, wanted one".replace(
        "?***,", "?***"
    ).replace("#***,", "#***")
    error = pickle.loads(pickle.dumps(DataError(Path(url), f"is not {url}", f"leave '{url}' out")))
    assert "SEC" not in str(error) + repr(error.args) + error.location + error.problem + error.remedy


@pytest.mark.parametrize("url", PLAIN)
def test_the_rest_of_a_url_is(url: str) -> None:
    assert redacted(url) == url == redacted(f"{url}")
    assert redacted(f"see '{url}'") == f"see '{url}'"


def test_what_another_library_says_holds_secrets_without_their_url() -> None:
    text = "Max retries exceeded with url: /store?X-Amz-Signature=SECRET&sig=SECRET (api_key=SECRET, token=SECRET)"
    assert "SECRET" not in redacted(text, foreign=True)
    assert redacted("sig=1, 3 tokens, a=b") == "sig=1, 3 tokens, a=b", "an id may be called so"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#@'\"<>|[]:"), min_size=6))
def test_no_password_is_shown(password: str) -> None:
    for url in (f"https://user:{password}@host/store", f"https://{password}@host/store?token={password}"):
        assert password not in redacted(url).replace("https://***@host/store", "")
        assert password not in redacted(f"cannot read {url}").replace("cannot read https://***@host/store", "")


def test_paths_are_not_urls() -> None:
    assert as_url("s3://bucket/a/b") == "s3://bucket/a/b"
    assert as_url(Path("gs://bucket/a")) == "gs://bucket/a"
    assert as_url("HTTPS://host/a") == "https://host/a"
    for path in ("/data/store", "store", "a:b/c", "./s3:/x", "file:///a", "local:///a"):
        assert as_url(path) is None


def test_a_file_url_is_the_path_it_names() -> None:
    for url in ("file:///a/b", "file:/a/b", "FILE:///a/b", "local:///a/b", Path("file:///a/b")):
        assert located(url) == Path("/a/b")
    assert located("file:///a%20b") == Path("/a b")
    assert located("s3://bucket/a") == Path("s3://bucket/a")


def test_a_url_too_long_for_a_name_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://host/store?sig={'x' * 5000}"
    assert behind_url(Path(url)) == url
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "bucket").mkdir(parents=True)
    assert behind_url("s3:/bucket") is None, "a directory of that name lies here"


def test_a_name_goes_before_the_query() -> None:
    assert with_name("https://h/x/?sig=1", "a/b.npy") == "https://h/x/a/b.npy?sig=1"
    assert with_name("https://h/x", "a") == "https://h/x/a"
