"""Files of an HTTP server, by urllib3: what it answers is never trusted for a name, a length or another place.

Bodies are taken as they are sent (`Accept-Encoding: identity`): a compressed one could be a thousand times what it
weighs. Redirects are followed within the host that was named, never to another and never from https to http.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import urllib3
from urllib3 import exceptions

from fastpath.errors import FastpathError, UsageError
from fastpath.store import transfer
from fastpath.store.transfer import Absent, Opened, Passing
from fastpath.urls import with_name, without_secrets

REDIRECTS_MAX = 5
_MOVED = (301, 302, 303, 307, 308)
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
# Bounded at the next quote, so that no page makes the search slow; names longer than a file system's are no files.
_LINK = re.compile(r"""\bhref\s{0,9}=\s{0,9}(?:"([^"<>]{1,2000})"|'([^'<>]{1,2000})')""", re.IGNORECASE)
_LOOK_AFTER = "try again later, or look after the server"


@dataclass(frozen=True, slots=True)
class WebServer:
    """Files below a URL of an HTTP server.

    Attributes:
        url: What names are relative to, with user, password and query where it has them.
    """

    url: str = field(repr=False)

    @contextmanager
    def opened(self, name: str) -> Iterator[Opened]:
        """Ask for a file; see `transfer.Server`."""
        response, address = self._asked(quote(name)), transfer.place_of(self.url, name)
        stuck: list[bool] = []
        try:
            _check_status(response, address)
            _check_encoding(response, address)
            length = response.headers.get("Content-Length", "")
            yield Opened(
                body=_Body(response, address),
                num_bytes=int(length) if length.isdecimal() and len(length) < 20 else None,
                media_type=response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                stop=lambda: stuck.append(not _stopped(response)),
            )
        finally:
            if not any(stuck):  # closing waits for who reads
                response.close()

    def listed(self, folder: str) -> dict[str, Mapping[str, Any]] | None:
        """Return the files that a folder's page links to; the page tells no more of them than their names."""
        try:
            page = transfer.read(self, f"{folder.rstrip('/')}/" if folder else "", transfer.LISTING_BYTES_MAX)
        except Absent:
            return None
        base = urlsplit(with_name(without_secrets(self.url), f"{quote(folder.rstrip('/'))}/" if folder else ""))
        names: dict[str, Mapping[str, Any]] = {}
        for link_match in _LINK.finditer(page.decode("utf-8", "replace")):
            with contextlib.suppress(ValueError):
                link = urlsplit(urljoin(base.geturl(), html.unescape(link_match[1] or link_match[2])))
                name = unquote(link.path.removeprefix(base.path))
                if link.netloc == base.netloc and link.path.startswith(base.path) and name and "/" not in name:
                    names[name] = {}
        return names

    def _asked(self, name: str) -> urllib3.BaseHTTPResponse:
        """Send the request and follow where the same host sends on."""
        url = with_name(self.url, name)
        headers = _headers(url)
        for _ in range(REDIRECTS_MAX + 1):
            response = _request(url, headers)
            if response.status not in _MOVED:
                return response
            response.close()
            url = _moved(url, response.headers.get("Location", ""))
        raise UsageError(without_secrets(url), f"is sent on more than {REDIRECTS_MAX} times", "give the final URL")


@dataclass(frozen=True, slots=True)
class _Body:
    """A response's body as it is sent, whose errors are ours."""

    response: urllib3.BaseHTTPResponse
    location: str

    def read(self, size: int, /) -> bytes:
        with _mapped(self.location):
            return self.response.read(size, decode_content=False)


def _request(url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    patience, location = transfer.PATIENCE, without_secrets(url)
    timeout = urllib3.Timeout(connect=patience.connect_s, read=patience.silence_s)

    def ask() -> urllib3.BaseHTTPResponse:
        return _pool(os.getpid()).urlopen(
            "GET",
            _bare(url),
            headers=headers,
            redirect=False,
            retries=False,
            timeout=timeout,
            preload_content=False,
            decode_content=False,
        )

    with _mapped(location):
        return transfer.patiently(ask, patience.connect_s + patience.silence_s, discard=lambda late: late.close())


@lru_cache(maxsize=1)
def _pool(process: int) -> urllib3.PoolManager:
    """Return this process's connections: those of the process it was forked from are that one's."""
    return urllib3.PoolManager(maxsize=16)


def _bare(url: str) -> str:
    """Return a URL as it is asked for: without user, password and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _headers(url: str) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity", "User-Agent": "fastpath"}
    with _mapped(without_secrets(url)):
        parts = urlsplit(url)
        _ = parts.port  # of a URL that is none, this raises
        if "@" in parts.netloc:
            user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            headers |= urllib3.make_headers(basic_auth=user)
    return headers


def _moved(url: str, location: str) -> str:
    """Return where a redirect leads: to the same host, by the same or a safer way.

    Raises:
        UsageError: It leads elsewhere.
    """
    with _mapped(without_secrets(url)):
        here, there = urlsplit(_bare(url)), urlsplit(urljoin(_bare(url), location))
        ports = {"http": 80, "https": 443}
        at, to = ((address.hostname, address.port or ports.get(address.scheme)) for address in (here, there))
        safer = (here.scheme, there.scheme, at[1], to[1]) == ("http", "https", 80, 443) and at[0] == to[0]
    if there.scheme not in ports or "@" in there.netloc or not (safer or (at == to and here.scheme == there.scheme)):
        host = "".join(filter(str.isprintable, f"{there.scheme}://{to[0]}:{to[1]}"))[:100]
        problem = f"sends on to another place ({host}), which is not followed"
        raise UsageError(without_secrets(url), problem, "give that URL yourself if you trust it")
    return there._replace(fragment="").geturl()


def _check_status(response: urllib3.BaseHTTPResponse, location: str) -> None:
    """Say what a status means unless it is 200; raises as `transfer.Server.opened`."""
    status = response.status
    if status == HTTPStatus.OK:
        return
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise Absent(location)
    known = {each.value: each.phrase for each in HTTPStatus}
    text = f"{status} {known.get(status, 'of no known meaning')}"
    if status in _MAY_PASS:
        wait = response.headers.get("Retry-After", "").strip()
        pause_s = float(wait) if wait.isdecimal() and len(wait) < 9 else 0.0
        what = "the server has too many requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "the server fails"
        raise Passing(f"{what} ({text})", _LOOK_AFTER, pause_s)
    if status == HTTPStatus.UNAUTHORIZED:
        remedy = "give them in the URL, https://NAME:PASSWORD@HOST/…: they are neither shown nor kept"
        raise UsageError(location, f"the server wants a name and a password ({text})", remedy)
    if status == HTTPStatus.FORBIDDEN:
        raise UsageError(location, f"access is refused ({text})", "check the URL, its token and your rights")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise FastpathError(location, f"the server fails ({text})", _LOOK_AFTER)
    raise UsageError(location, f"found the answer {text}, wanted 200 OK", "check the URL")


def _check_encoding(response: urllib3.BaseHTTPResponse, location: str) -> None:
    text = response.headers.get("Content-Encoding", "").strip().lower()
    if text not in ("", "identity"):
        shown = "".join(filter(str.isprintable, text))[:40]
        remedy = "have the server send files as they are"
        raise UsageError(location, f"is sent compressed ({shown}), wanted the file's own bytes", remedy)


def _stopped(response: urllib3.BaseHTTPResponse) -> bool:
    """End the connection, which lets a thread go that waits for it; return whether that was possible."""
    try:
        response.shutdown()
    except (AttributeError, RuntimeError, ValueError, OSError):
        return False
    return True


@contextmanager
def _mapped(location: str) -> Iterator[None]:
    """Turn urllib3's errors into ours. What they say is left out: it may hold the whole URL."""
    try:
        yield
    except exceptions.SSLError as error:
        raise _untrusted(location, error) from None
    except exceptions.NameResolutionError:
        raise UsageError(location, "the host's name is not known", "check the URL and the network") from None
    except exceptions.NewConnectionError:
        raise Passing("the server takes no connection", "check the URL, its port and the network") from None
    except exceptions.ConnectTimeoutError:
        raise Passing("the server does not answer", "check the URL and the network") from None
    except (exceptions.TimeoutError, TimeoutError):
        text = f"the server was silent for {transfer.PATIENCE.silence_s:g} s"
        raise Passing(text, _LOOK_AFTER) from None
    except (exceptions.ProtocolError, exceptions.InvalidHeader, HTTPException, OSError):
        raise Passing("the connection was cut, or what was sent is not HTTP", _LOOK_AFTER) from None
    except (exceptions.HTTPError, ValueError):
        raise UsageError(location, "is not a URL that can be asked for", "check its host and port") from None


def _untrusted(location: str, error: Exception) -> FastpathError:
    match = next((each for each in (*error.args, error.__cause__, error) if isinstance(each, ssl.SSLError)), None)
    text = getattr(match, "verify_message", None) or getattr(match, "reason", None) or "no secure connection"
    remedy = "check the URL, or name the certificate of who signed it in SSL_CERT_FILE"
    return FastpathError(location, f"the server's certificate or encryption is not accepted ({text})", remedy)
