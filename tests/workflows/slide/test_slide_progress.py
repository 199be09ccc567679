"""Scores of a slide that are written down: whatever stops the run, what is whole is gone on from, and nothing else."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastpath.errors import UsageError
from fastpath.workflows.slide.slide_progress import NAME, Progress

ORIGIN: dict[str, Any] = {"checkpoint": "0f" * 16, "slide": ["a.svs", 5, 7], "grid": [96, 32, 1.0]}
PARTS = [np.arange(count, dtype=np.float32) + 0.5 for count in (3, 1, 4)]
WHOLE = np.concatenate(PARTS)


def _write(folder: Path) -> bytes:
    with closing(Progress.resume(folder, ORIGIN, len(WHOLE))) as progress:
        for part in PARTS:
            progress.append(part)
    return (folder / NAME).read_bytes()


def _resume(folder: Path, origin: dict[str, Any] = ORIGIN, num_tiles: int = len(WHOLE)) -> np.ndarray:
    with closing(Progress.resume(folder, origin, num_tiles)) as progress:
        assert len(progress) == len(progress.logits())
        return progress.logits()


def test_what_is_written_down_is_gone_on_from(tmp_path: Path) -> None:
    _write(tmp_path)
    np.testing.assert_array_equal(_resume(tmp_path), WHOLE)
    assert _resume(tmp_path).dtype == np.float32
    assert os.listdir(tmp_path) == [NAME]  # noqa: PTH208 (hidden files too)


def test_a_run_cut_at_any_byte_goes_on_with_whole_blocks(tmp_path: Path) -> None:
    content = _write(tmp_path)
    head = content.index(b"\n") + 1
    for size in range(head, len(content)):
        (tmp_path / NAME).write_bytes(content[:size])
        with closing(Progress.resume(tmp_path, ORIGIN, len(WHOLE))) as progress:
            known_N = progress.logits()
            assert len(known_N) in (0, 3, 4)
            progress.append(WHOLE[len(known_N) :])
        np.testing.assert_array_equal(_resume(tmp_path), WHOLE)


def test_a_changed_byte_of_the_scores_is_never_taken_for_one(tmp_path: Path) -> None:
    content = _write(tmp_path)
    for place in range(content.index(b"\n") + 1, len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x10
        (tmp_path / NAME).write_bytes(changed)
        known_N = _resume(tmp_path)
        assert len(known_N) < len(WHOLE)
        np.testing.assert_array_equal(known_N, WHOLE[: len(known_N)])


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"slide": ["b.svs", 5, 7]}, r"another slide: found \['a.svs', 5, 7\], wanted \['b.svs', 5, 7\]"),
        ({"checkpoint": "1" * 32}, "another checkpoint"),
        ({"grid": [96, 96, 1.0]}, "another grid"),
        ({"precision": "bfloat16"}, "another precision: found None"),
    ],
)
def test_scores_of_something_else_are_refused_and_kept(tmp_path: Path, changes: dict[str, Any], phrase: str) -> None:
    content = _write(tmp_path)
    with pytest.raises(UsageError, match=phrase) as caught:
        _resume(tmp_path, ORIGIN | changes)
    assert "delete it" in caught.value.remedy
    assert (tmp_path / NAME).read_bytes() == content


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"{}\n", b"[1]\n", b"0 {}\n", b"\xff\n", b"0" * 16 + b" " + b"[" * 9999]
)
def test_what_is_no_such_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UsageError, match="is not what a stopped"):
        _resume(tmp_path)
    assert (tmp_path / NAME).read_bytes() == content


def test_more_scores_than_tiles_are_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    with pytest.raises(UsageError, match="holds 8 scores, wanted at most 7"):
        _resume(tmp_path, num_tiles=7)


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "mine").write_bytes(b"a file that somebody keeps")
    (tmp_path / "out" / NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(UsageError):
        _resume(tmp_path / "out")
    assert (tmp_path / "mine").read_bytes() == b"a file that somebody keeps"


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    with pytest.raises(UsageError, match="a pipe"):
        _resume(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with closing(Progress.resume(tmp_path, ORIGIN, 8)), pytest.raises(UsageError, match="another process"):
        _resume(tmp_path)
    assert len(_resume(tmp_path)) == 0


def test_a_refusal_lets_the_next_one_in(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"?")
    for _ in range(2):
        with pytest.raises(UsageError, match="is not what a stopped"):
            _resume(tmp_path)
