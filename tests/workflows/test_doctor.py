"""What the doctor concludes from what it finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastpath.workflows import doctor
from fastpath.workflows.doctor import Check, DoctorResult


def test_one_dali_build_is_well() -> None:
    check = doctor.dali_builds({"nvidia-dali-cuda120": "2.4.0", "nvidia-dali-cuda130": None})
    assert check == Check("DALI", "nvidia-dali-cuda120 2.4.0")


def test_two_dali_builds_are_a_problem_with_a_remedy() -> None:
    check = doctor.dali_builds({"nvidia-dali-cuda120": "2.4.0", "nvidia-dali-cuda130": "2.4.0"})
    assert check.status == "problem"
    assert "pip uninstall -y nvidia-dali-cuda120 nvidia-dali-cuda130" in check.remedy


def test_no_dali_build_is_a_problem() -> None:
    assert doctor.dali_builds({}).status == "problem"


@pytest.mark.parametrize(
    ("torch_cuda", "dali_major", "driver", "status", "wanted"),
    [
        ("13.0", 12, None, "ok", "both need driver 580.65"),
        ("13.0", 12, "580.65.06", "ok", "serves both"),
        ("13.0", 12, "570.124.06", "problem", "older than 580.65"),
        ("12.8", 13, "570.124.06", "problem", "older than 580.65"),
        ("12.8", 12, "570.124.06", "ok", "serves both"),
        ("12.8", 12, "520.61.05", "problem", "older than 525.60"),
        (None, 12, "570.124.06", "warning", "unused"),
        (None, 12, None, "ok", "torch for CPU"),
        ("13.0", None, "590.10", "ok", "DALI for CUDA ?"),
    ],
)
def test_one_driver_must_serve_torch_and_dali(
    torch_cuda: str | None, dali_major: int | None, driver: str | None, status: str, wanted: str
) -> None:
    check = doctor.cuda_match(torch_cuda, dali_major, driver)
    assert check.status == status
    assert wanted in check.found
    assert bool(check.remedy) == (status != "ok")


def test_a_full_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_FREE_BYTES_WANTED", 1 << 62)
    check = doctor.disk(tmp_path / "not" / "there" / "yet")
    assert check.status == "warning"
    assert str(tmp_path) in check.found


def test_only_problems_make_a_machine_unfit() -> None:
    assert DoctorResult((Check("a", "x"), Check("b", "y", "warning", "z"))).healthy
    assert not DoctorResult((Check("a", "x"), Check("b", "y", "problem", "z"))).healthy


@pytest.mark.dali
def test_a_check_that_fails_is_a_finding_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Check]:
        raise ImportError("libcudart.so.12: cannot open shared object file\nand more")

    monkeypatch.setattr(doctor, "_pipeline", broken)
    result = doctor.run()
    assert not result.healthy
    assert result.checks[-1].name == "DALI pipeline"
    assert result.checks[-1].found.startswith("failed: ImportError: libcudart.so.12")
    assert "\n" not in result.checks[-1].found
