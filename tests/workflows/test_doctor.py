"""What the doctor concludes from what it finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_cards import MadeUpCards

from fastpath.devices import cards
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


OLD_WHEEL = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]  # torch 2.6, CUDA 12.4
NEW_WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]  # torch 2.14, CUDA 13.0
P100, V100, T4 = ("Tesla P100-PCIE-16GB", (6, 0)), ("Tesla V100-SXM2-16GB", (7, 0)), ("Tesla T4", (7, 5))
A100, L4, H100 = ("NVIDIA A100-SXM4-80GB", (8, 0)), ("NVIDIA L4", (8, 9)), ("NVIDIA H100 80GB HBM3", (9, 0))
RTX_5090 = ("NVIDIA GeForce RTX 5090", (12, 0))


@pytest.mark.parametrize(
    ("architecture", "capability", "runs"),
    [
        ("sm_86", (8, 6), True),
        ("sm_86", (8, 9), True),  # the same major version, a later minor one
        ("sm_86", (8, 0), False),
        ("sm_75", (7, 0), False),
        ("sm_70", (7, 5), True),
        ("sm_90", (10, 0), False),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
        ("sm_120", (12, 0), True),
        ("compute_90", (12, 0), True),
        ("compute_90", (8, 9), False),
    ],
)
def test_code_runs_where_cuda_says_it_does(architecture: str, capability: tuple[int, int], runs: bool) -> None:
    assert cards.serves(architecture, capability) is runs


@pytest.mark.parametrize(
    ("card", "built", "remedy"),
    [
        (P100, NEW_WHEEL, "whl/cu126"),
        (V100, NEW_WHEEL, "whl/cu126"),
        (RTX_5090, OLD_WHEEL, "--upgrade torch"),
    ],
)
def test_a_card_that_torch_has_no_kernels_for_is_a_problem_with_a_remedy(
    card: tuple[str, tuple[int, int]], built: list[str], remedy: str
) -> None:
    (check,) = doctor.card_kernels([card], built)
    assert check.status == "problem"
    assert card[0] in check.found
    assert "\n" not in check.found
    assert remedy in check.remedy


def test_cards_that_torch_has_kernels_for_need_no_word() -> None:
    assert doctor.card_kernels([P100, V100, T4, A100, L4, H100], OLD_WHEEL) == []
    assert doctor.card_kernels([T4, A100, L4, H100, RTX_5090], NEW_WHEEL) == []
    assert doctor.card_kernels([], []) == []


def test_a_second_card_without_kernels_is_a_warning() -> None:
    (check,) = doctor.card_kernels([A100, P100], NEW_WHEEL)
    assert check.status == "warning"
    assert A100[0] not in check.found


def test_the_doctor_asks_torch_for_its_cards_and_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda", MadeUpCards([P100[0]], [P100[1]], NEW_WHEEL))
    monkeypatch.setattr(doctor, "_cards", lambda: ([f"{P100[0]}, 16384 MiB"], "580.65.06"))
    monkeypatch.setattr(doctor, "_processor", list)
    monkeypatch.setattr(doctor, "_pipeline", list)
    result = doctor.examine_machine()
    assert not result.healthy
    (kernel_check,) = (check for check in result.checks if check.name == "GPU kernels")
    assert kernel_check.found == f"torch has none for {P100[0]} (sm_60), only for {' '.join(NEW_WHEEL)}"


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
    result = doctor.examine_machine()
    assert not result.healthy
    assert result.checks[-1].name == "DALI pipeline"
    assert result.checks[-1].found.startswith("failed: ImportError: libcudart.so.12")
    assert "\n" not in result.checks[-1].found
