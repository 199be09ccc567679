"""Stage: the `gpu` tests, each in its time, whatever plugins of pytest are here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.card.check import Check

OUTCOMES, JUNIT, LOG = "tests.jsonl", "junit-{}.xml", "tests.txt"
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


def tell(check: Check, tests: tuple[str, ...] = ()) -> None:
    """Tell how many tests passed, and of each that did not; raises at the end when one failed."""
    tests = tests or (TINY if check.tiny else CUDA if check.device.startswith("cuda") else CPU)
    began, outcomes_file = time.perf_counter(), check.out / OUTCOMES
    for start in range(STARTS):
        before = outcomes(outcomes_file)
        status = _run(check, tests, before, start)
        # A process that a test has ended may have any status. Of pytest: all passed, some failed, none left to run.
        if not any(outcome == ENDED and test not in before for test, (outcome, _) in outcomes(outcomes_file).items()):
            break
    outcome_of_test = outcomes(outcomes_file)
    for test, (outcome, last_line) in outcome_of_test.items():
        if outcome not in {"passed", "skipped"}:
            check.tell("tests", test=test, outcome=outcome, said=last_line)
    counted = Counter(outcome for outcome, _ in outcome_of_test.values())
    failed = sum(counted.values()) - counted["passed"] - counted["skipped"]
    seconds = round(time.perf_counter() - began, 1)
    check.tell("tests", passed=counted["passed"], failed=failed, skipped=counted["skipped"], seconds=seconds)
    if failed or not outcome_of_test or status not in {0, 1, 5}:
        raise AssertionError(f"{failed} of {len(outcome_of_test)} tests failed (pytest's last exit status: {status})")


def _run(check: Check, tests: tuple[str, ...], done: dict[str, tuple[str, str]], start: int) -> int:
    """Run what is left of the tests, and return pytest's exit status; its words are kept in a file."""
    report = check.out / JUNIT.format(start + 1)
    ours = [f"--limit-s={LIMIT_S}", f"--outcomes={check.out / OUTCOMES}", f"--junitxml={report}"]
    left_out = [word for test in done for word in ("--deselect", test)]
    with (check.out / LOG).open("a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "pytest", *OPTIONS, *ours, *left_out, *tests]
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode


def outcomes(path: Path) -> dict[str, tuple[str, str]]:
    """Return each test's outcome and last words; one that has none ended its process, or was ended with it."""
    outcome_of_test: dict[str, tuple[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = json.loads(line)
        begun = row["outcome"] == "begun"
        outcome_of_test[row["test"]] = (ENDED, "its process ended with it") if begun else (row["outcome"], row["said"])
    return outcome_of_test
