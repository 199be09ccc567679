"""docs/numerics.md quotes the record that it links to."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.suites import numerics

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_table_of_distances_is_the_records() -> None:
    text = (DOCS / "numerics.md").read_text(encoding="utf-8")
    (record,) = set(re.findall(r"\(([^()\s]*/numerics_[^()\s]*)\.md\)", text))
    results = json.loads((DOCS / f"{record}.json").read_text(encoding="utf-8"))["results"]
    lines = text[text.index("| transform alone |") :].split("\n\n")[0].splitlines()[2:]
    assert len(lines) == len(numerics.CASES)
    shown = [re.sub(r"\*\*", "", line).replace("\N{MINUS SIGN}", "-").strip("| ").split(" | ") for line in lines]
    wanted = {}
    for case in numerics.CASES:
        large, small = results[f"{case} at 224"], results[f"{case} at 96"]
        wanted[case] = [
            f"{large['mean']:.2f}",
            f"{large['p99']:.1f}",
            f"{large['signed']:+.2f}",
            f"{small['mean']:.2f}",
        ]
    assert sorted(row[1:5] for row in shown) == sorted(wanted.values())
    everything = next(row for row in shown if row[0] == "everything")
    assert everything[1:5] == wanted["everything"]


def test_a_normalised_epoch_of_the_record_has_mean_zero_and_deviation_one() -> None:
    text = (DOCS / "numerics.md").read_text(encoding="utf-8")
    (record,) = set(re.findall(r"\(([^()\s]*/normalised_[^()\s]*)\.md\)", text))
    results = json.loads((DOCS / f"{record}.json").read_text(encoding="utf-8"))["results"]
    native, enlarged = results["at 96 px"], results["at 224 px"]
    assert all(abs(value) < 5e-6 for value in native["mean"] + enlarged["mean"])
    assert all(abs(value - 1) < 5e-6 for value in native["deviation"])
    assert f"{min(enlarged['deviation']):.3f} to {max(enlarged['deviation']):.3f}" in text
