"""What tests of the command line share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

import pytest

from fastpath.cli import main as entry

Say = Callable[[BaseException], tuple[object, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """What returns the exit status and what is printed on standard error where a command raises this."""

    def status_and_line(error: BaseException) -> tuple[object, str]:
        def fail(**_: object) -> NoReturn:
            raise error

        monkeypatch.setattr(entry, "app", fail)
        monkeypatch.setattr(sys, "argv", ["fastpath", "train"])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        return ended.value.code, capsys.readouterr().err

    return status_and_line
