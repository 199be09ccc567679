"""A split's file: slides that it brings along, and what no file may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fastpath.store import format as fmt
from fastpath.store.split_document import SplitDocument, digits_of, in_digits

PLAIN: dict[str, Any] = {
    **{"store": "0" * 32, "kind": "random", "seed": 1, "val": 0.2, "fold": 0, "num_folds": 0},
    **{"mean_3": (0.5, 0.5, 0.5), "std_3": (0.1, 0.1, 0.1), "rows": "ttv", "folds": ""},
}


@given(st.lists(st.sampled_from([f"slide {number}" for number in range(1400)]), min_size=1, max_size=60))
def test_the_slides_of_rows_survive_the_round_trip(names: list[str]) -> None:
    distinct, of_N = np.unique(names, return_inverse=True)
    values = {**PLAIN, "rows": "t" * len(names), "groups": distinct.tolist()}
    document = SplitDocument(**values, group_rows=in_digits(of_N.tolist(), len(distinct)))
    again = fmt.parse_document(fmt.dump_document(document), SplitDocument, fmt.Path("split.json"))
    assert again.groups_N is not None
    assert again.groups_N.tolist() == names


@pytest.mark.parametrize(("num", "digits"), [(0, 0), (1, 1), (36, 1), (37, 2), (1296, 2), (1297, 3), (46656, 3)])
def test_a_number_takes_as_many_digits_as_the_last_needs(num: int, digits: int) -> None:
    assert digits_of(num) == digits
    assert len(in_digits([num - 1], num) if num else "") == digits


def test_a_split_without_slides_has_the_bytes_that_it_had_before_there_were_any() -> None:
    document = SplitDocument(**PLAIN)
    assert b"group" not in fmt.dump_document(document)
    assert document.groups_N is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": ["a", "b"], "group_rows": "01"},
        {"groups": ["a", "b"], "group_rows": "0123"},
        {"groups": ["a", "b"], "group_rows": "012"},
        {"groups": ["a", "b"], "group_rows": "0 1"},
        {"groups": ["a", "a"], "group_rows": "010"},
        {"groups": ["", "a"], "group_rows": "010"},
        {"groups": [], "group_rows": "000"},
        {"groups": ["a" * 5000], "group_rows": "000"},
    ],
)
def test_slides_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    SplitDocument(**PLAIN, groups=["a", "b"], group_rows="010")
    with pytest.raises(ValidationError):
        SplitDocument(**PLAIN, **wrong)
