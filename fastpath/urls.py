"""What is a URL, and what of it may leave the process: never what opens a door.

A password or a token in a URL (`https://NAME:PASSWORD@HOST/…`, `…?sig=…`, `…&X-Amz-Signature=…`) is used to ask the
server and for nothing else. Which query parameters are secret is the server's affair, so none is shown.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.+)", re.DOTALL)
_URL_IN_TEXT = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,30}:/+[^\s'\"<>|]+")
_LOCAL = ("file", "local")
# An unencoded slash or question mark in a password ends the host's part early: what follows the colon is no port then.
_USER = re.compile(r"(?:[^/?#:@\[]*:(?!\d*(?:[/?#]|$)).*|[^/?#]*)@")
_SECRET = re.compile(
    r"\b((?:[\w-]{0,40}(?:signature|security-token|credential|password|passwd|secret|token|apikey|api[_-]key|accesskeyid))|sig)"
    r"=[^\s&'\"<>]+",
    re.IGNORECASE,
)
HIDDEN = "***"


def as_url(path: Path | str) -> str | None:
    """Return the URL that a path is the remains of (`Path` makes one slash of two), or None where it is a path.

    `file:///data/store` is a path; see `located`.
    """
    match = _URL.fullmatch(str(path))
    if match is None or match[1].lower() in _LOCAL:
        return None
    return f"{match[1].lower()}://{match[2]}"


def located(path: Path | str) -> Path:
    """Return a path, of a `file:` URL the path that it names (RFC 8089); a URL of another kind stays what it is."""
    match = _URL.fullmatch(str(path))
    return Path(f"/{unquote(match[2])}") if match and match[1].lower() in _LOCAL else Path(path)


def behind_url(path: Path | str) -> str | None:
    """Return the URL that a path is the remains of, or None where it is a path or a file of that name lies here."""
    url = as_url(path)
    # os.path.exists is False for what is too long to be a name, such as a signature, and Path.exists raises
    return None if url is None or os.path.exists(path) else url  # noqa: PTH110


def without_secrets(url: str) -> str:
    """Return a URL without user, password, query and fragment: what may be written down to find the place again."""
    match = _URL.fullmatch(url)
    if match is None:
        return url
    _, place, _ = _parts(match[2])
    return f"{match[1]}://{place}".rstrip("/")


def redacted(text: str, *, foreign: bool = False) -> str:
    """Return a text fit to be shown or kept: in every URL, user and password, query and fragment become `***`.

    Args:
        text: What is to be said.
        foreign: Whether another library made it, so that `sig=…` and the like may stand there without their URL.
    """
    if _URL.fullmatch(text):
        return _shown(text)
    text = _URL_IN_TEXT.sub(lambda result: _shown(result[0]), text)
    return _SECRET.sub(rf"\1={HIDDEN}", text) if foreign else text


def _shown(url: str) -> str:
    match = _URL.fullmatch(url)
    assert match is not None, "of one of the patterns above"
    if match[1].lower() in _LOCAL:
        return url
    user, place, mark = _parts(match[2])
    return f"{match[1]}://{f'{HIDDEN}@' if user else ''}{place}{f'{mark}{HIDDEN}' if mark else ''}"


def _parts(rest: str) -> tuple[str, str, str]:
    """Return of what follows `://`: user and password, host and path, and the `?` or `#` that comes next."""
    user = _USER.match(rest)
    start = user.end() if user else 0
    place, *further = re.split(r"([?#])", rest[start:], maxsplit=1)
    return rest[:start], place, further[0] if further else ""


def with_name(url: str, name: str) -> str:
    """Return the URL of a file below another: its query, such as a token for a whole folder, stays at the end."""
    place, mark, query = url.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{query}"
