"""The library's page: its program runs as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastpath.ingest import synth
from fastpath.workflows.pack import pack_source

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.dali
@pytest.mark.parametrize("slides", [True, False], ids=["slides", "no slides"])
def test_the_program_of_the_page_runs_as_printed(tmp_path: Path, slides: bool) -> None:
    synth.write_kaggle_folder(tmp_path / "files", num_train=48, num_test=0, num_slides=8)
    if not slides:
        (tmp_path / "files" / "groups.csv").unlink()
    pack_source(tmp_path / "files", tmp_path / "store", workers=1)
    programs = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(programs) == 1
    assert programs[0] in (ROOT / "README.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", programs[0]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d+ patches, \d+ positive; intervals by \w+$", done.stdout, re.M)
    assert re.search(r"^ +AUC  [01]\.\d{4}  \[", done.stdout, re.M)
