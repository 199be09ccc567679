"""What wrote a page or a picture, and when."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import fastpath


def written() -> str:
    """Return the version and the day; that of SOURCE_DATE_EPOCH where pages are to be equal byte for byte."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    day = datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else datetime.now(UTC)
    return f"fastpath {fastpath.__version__}, {day:%Y-%m-%d}"
