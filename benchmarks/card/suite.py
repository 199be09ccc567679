"""Stage: the `gpu` tests, each in its time, whatever plugins of pytest are here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.card.check import Check

TOLD, JUNIT, LOG = "tests.jsonl", "junit-{}.xml", "tests.txt"
LIMIT_S = 60.0
ENDED = "ended"
STARTS = 3  # a test that hangs costs one; those after it run in the next
CUDA = ("-m", "gpu", "tests/gpu", "tests/data/dali/test_graph.py")
CPU = ("-m", "dali and not gpu", "tests/data/dali/test_graph.py")
TINY = ("-m", "not slow", "tests/gpu", "tests/test_errors.py")
# The project's own options may name plugins that are not here; those that are must not change order or limits.
OPTIONS: tuple[str, ...] = (
    "-o",
    "addopts=",
    "-q",
    "--strict-markers",
    "--import-mode=importlib",
    "-W",
    "default",
    "-p",
    "no:randomly",
)
OPTIONS += ("-p", "no:timeout", "-p", "no:xdist", "-p", "no:cacheprovider", "-p", "benchmarks.card.limits")


def tell(check: Check, which: tuple[str, ...] = ()) -> None:
    """Tell how many tests passed, and of each that did not; raises at the end when one failed."""
    which = which or (TINY if check.tiny else CUDA if check.device.startswith("cuda") else CPU)
    began, told = time.perf_counter(), check.out / TOLD
    for start in range(STARTS):
        before = outcomes(told)
        status = _run(check, which, before, start)
        # A process that a test has ended may have any status. Of pytest: all passed, some failed, none left to run.
        if not any(outcome == ENDED and test not in before for test, (outcome, _) in outcomes(told).items()):
            break
    found = outcomes(told)
    for test, (outcome, said) in found.items():
        if outcome not in {"passed", "skipped"}:
            check.tell("tests", test=test, outcome=outcome, said=said)
    counted = Counter(outcome for outcome, _ in found.values())
    failed = sum(counted.values()) - counted["passed"] - counted["skipped"]
    seconds = round(time.perf_counter() - began, 1)
    check.tell("tests", passed=counted["passed"], failed=failed, skipped=counted["skipped"], seconds=seconds)
    if failed or not found or status not in {0, 1, 5}:
        raise AssertionError(f"{failed} of {len(found)} tests failed (pytest's last exit status: {status})")


def _run(check: Check, which: tuple[str, ...], done: dict[str, tuple[str, str]], start: int) -> int:
    """Run what is left of the tests, and return pytest's exit status; its words are kept in a file."""
    report = check.out / JUNIT.format(start + 1)
    ours = [f"--limit-s={LIMIT_S}", f"--told={check.out / TOLD}", f"--junitxml={report}"]
    left_out = [word for test in done for word in ("--deselect", test)]
    with (check.out / LOG).open("a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "pytest", *OPTIONS, *ours, *left_out, *which]
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode


def outcomes(told: Path) -> dict[str, tuple[str, str]]:
    """Return each test's outcome and last words; one that has none ended its process, or was ended with it."""
    found: dict[str, tuple[str, str]] = {}
    for line in told.read_text(encoding="utf-8").splitlines() if told.exists() else []:
        row = json.loads(line)
        begun = row["outcome"] == "begun"
        found[row["test"]] = (ENDED, "its process ended with it") if begun else (row["outcome"], row["said"])
    return found
