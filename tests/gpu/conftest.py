"""The card, for all tests that want one."""

from __future__ import annotations

import pytest

from fastpath import runtime
from fastpath.errors import UsageError


@pytest.fixture(scope="session")
def cuda() -> runtime.Runtime:
    """The card in mixed precision; a test is skipped where there is none."""
    try:
        return runtime.resolve("cuda", amp=True)
    except UsageError as error:
        pytest.skip(str(error))
