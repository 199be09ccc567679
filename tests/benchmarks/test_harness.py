import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import harness

rates = st.floats(1e-3, 1e6, allow_nan=False)


def test_alternate_takes_turns_and_tells() -> None:
    order: list[str] = []
    lines: list[str] = []

    def contestant(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return run

    figures = harness.alternate({"a": contestant("a"), "b": contestant("b")}, 3, say=lines.append)
    assert order == ["a", "b"] * 3
    assert figures == {"a": [1.0, 3.0, 5.0], "b": [2.0, 4.0, 6.0]}
    assert len(lines) == 6
    assert lines[0].startswith("round 1/3  a")


def test_alternate_stops_at_a_contestant_that_fails() -> None:
    def broken() -> float:
        raise RuntimeError("no figure")

    with pytest.raises(RuntimeError, match="no figure"):
        harness.alternate({"a": lambda: 1.0, "b": broken}, 2, say=lambda _: None)


@given(st.lists(rates, min_size=1))
def test_summary_holds_median_between_extremes(values: list[float]) -> None:
    summary = harness.summary(values)
    assert summary["n"] == len(values)
    assert summary["min"] <= summary["median"] <= summary["max"]
    assert {summary["min"], summary["max"]} <= set(values)


def test_summary_of_an_even_count_is_the_middle() -> None:
    assert harness.summary([4.0, 1.0, 3.0, 2.0]) == {"median": 2.5, "min": 1.0, "max": 4.0, "n": 4}


def test_ratios_are_round_by_round() -> None:
    # A slow second round of the machine leaves every ratio at 2, where a ratio of medians of other rounds would not.
    figures = {"ours": [200.0, 20.0, 100.0], "theirs": [100.0, 10.0, 50.0], "slow": [20.0, 10.0, 5.0]}
    ratios = harness.ratios(figures, of="ours")
    assert set(ratios) == {"theirs", "slow"}
    assert ratios["theirs"] == {"median": 2.0, "min": 2.0, "max": 2.0, "n": 3}
    assert ratios["slow"] == {"median": 10.0, "min": 2.0, "max": 20.0, "n": 3}


def test_ratios_refuse_unequal_rounds() -> None:
    with pytest.raises(ValueError, match="shorter"):
        harness.ratios({"ours": [1.0, 2.0], "theirs": [1.0]}, of="ours")


@given(st.lists(st.tuples(rates, rates), min_size=1))
def test_ratios_invert(pairs: list[tuple[float, float]]) -> None:
    figures = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}
    forwards, backwards = harness.ratios(figures, of="a")["b"], harness.ratios(figures, of="b")["a"]
    assert forwards["max"] == pytest.approx(1 / backwards["min"])
    assert forwards["min"] == pytest.approx(1 / backwards["max"])


def test_machine_names_itself_and_its_versions() -> None:
    machine = harness.machine()
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    # Of the two builds of DALI, an environment has one.
    assert len(set(harness.PACKAGES) - set(machine["versions"])) == 1
    assert machine["gpu"] is None


def test_write_record_keeps_every_figure_beside_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RECORDS", tmp_path / "records")
    results = {"images_per_s": {"a": [1.5, 2.5]}}
    shown = harness.write_record("loader-train-224", {"batch_size": 64}, results, "| a |\n|---|\n| 2 |")
    assert shown.parent == tmp_path / "records"
    assert shown.name.startswith("loader-train-224_")
    record = json.loads(shown.with_suffix(".json").read_text())
    assert record["results"] == results
    assert record["settings"] == {"batch_size": 64}
    assert record["machine"] == harness.machine()
    text = shown.read_text()
    assert text.startswith("# loader-train-224\n")
    assert "| a |\n|---|\n| 2 |" in text
    assert "- batch size: 64\n" in text
    assert f"{record['machine']['cores']} cores" in text


def test_a_record_of_a_card_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RECORDS", tmp_path)
    shown = harness.write_record("gpu-check", {}, {}, "a", gpu="NVIDIA A100-SXM4-40GB")
    assert shown.name.startswith("gpu-check_nvidia-a100-sxm4-40gb_")
    assert "NVIDIA A100-SXM4-40GB" in shown.read_text()
    assert "no GPU" not in shown.read_text()
    assert json.loads(shown.with_suffix(".json").read_text())["machine"]["gpu"] == "NVIDIA A100-SXM4-40GB"


def test_write_record_replaces_the_months_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RECORDS", tmp_path)
    first = harness.write_record("x", {}, {"value": 1}, "one")
    assert harness.write_record("x", {}, {"value": 2}, "two") == first
    assert "two" in first.read_text()
    assert len(list(tmp_path.iterdir())) == 2


def test_sample_folder_is_none_where_there_is_no_labels_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTPATH_SAMPLE_DATA", str(tmp_path))
    assert harness.sample_folder() is None
    (tmp_path / "kaggle_sample").mkdir()
    (tmp_path / "kaggle_sample" / "train_labels.csv").write_text("id,label\n")
    assert harness.sample_folder() == tmp_path / "kaggle_sample"
