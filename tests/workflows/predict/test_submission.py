"""A submission is proven against its sample: ids, order, range, nothing missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastpath.errors import DataError
from fastpath.workflows.predict import submission

IDS = ["b", "a", "c"]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample_submission.csv"
    path.write_text("id,label\n" + "".join(f"{name},0\n" for name in IDS))
    return path


def test_what_is_rendered_is_proven(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(submission.render(IDS, np.array([0.0, 0.25, 1.0])))
    submission.check(tmp_path / "s.csv", sample)
    assert (tmp_path / "s.csv").read_text() == "id,label\nb,0\na,0.25\nc,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\nb,0\na,0\n", "found 2 rows, wanted the 3"),
        ("id,label\na,0\nb,0\nc,0\n", "line 2: found id 'a', wanted 'b'"),
        ("id,label\nb,0\na,nan\nc,0\n", "line 3: found label 'nan'"),
        ("id,label\nb,0\na,1.5\nc,0\n", "line 3: found label '1.5'"),
        ("id,label\nb,0\na,\nc,0\n", "line 3: found label ''"),
        ("name,label\nb,0\n", "wanted 'id,label'"),
    ],
)
def test_what_is_not_a_submission_is_one_line(sample: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match="wanted") as error:
        submission.check(tmp_path / "s.csv", sample)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
