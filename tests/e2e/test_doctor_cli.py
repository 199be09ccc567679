"""`fastpath doctor` as a user runs it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fastpath.cli.main import app
from fastpath.workflows import doctor
from fastpath.workflows.doctor import Check, DoctorResult

pytestmark = [pytest.mark.e2e, pytest.mark.dali]


def test_this_machine_is_fit_and_its_findings_are_json(cpu_bfloat16: bool) -> None:
    outcome = CliRunner().invoke(app, ["doctor", "--json"])
    assert outcome.exit_code == 0, outcome.output
    report = json.loads(outcome.stdout)
    assert report["healthy"] is True
    check_by_name = {check["name"]: check for check in report["checks"]}
    assert {"python", "torch", "DALI", "GPU", "CUDA match", "processor", "memory", "disk", "DALI pipeline"} <= set(
        check_by_name
    )
    assert ("no bfloat16" in check_by_name["processor"]["found"]) == (not cpu_bfloat16)
    assert check_by_name["DALI pipeline"]["found"].startswith("built and ran")


def test_a_problem_is_shown_with_its_remedy_and_exits_1(monkeypatch: pytest.MonkeyPatch) -> None:
    sick = DoctorResult((Check("torch", "2.14"), Check("DALI", "not installed", "problem", "run 'pip install it'")))
    monkeypatch.setattr(doctor, "examine_machine", lambda: sick)
    outcome = CliRunner().invoke(app, ["doctor"])
    assert outcome.exit_code == 1
    assert "run 'pip install it'" in outcome.output
    assert outcome.output.endswith("→ not ready: see the problems above\n")
