"""Patches by id, or by the beginning of one."""

from __future__ import annotations

import numpy as np
import pytest

from fastpath.errors import UsageError
from fastpath.store.patch_ids import rows_by_id

IDS = np.array(["abcd", "abcdef01", "abcdef99", "ffff0000", "é-slide-7"], object)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (["ffff0000", "abcd"], [3, 0]),  # a whole id wins over those that begin with it
        (["ffff"], [3]),
        (["abcdef0", "ffff0"], [1, 3]),
        (["ffff", "ffff0000", "ffff"], [3]),
        (["é-sl"], [4]),
    ],
)
def test_an_id_or_its_beginning_finds_the_patch_once(wanted: list[str], rows: list[int]) -> None:
    assert rows_by_id(IDS, wanted, "index").tolist() == rows


@pytest.mark.parametrize(
    ("wanted", "phrase"),
    [
        (["abcde"], r"'abcde' begins 2 ids, 'abcdef01' and 'abcdef99' among them; give more of the id"),
        (["fff"], r"1 of 1 ids that are not in the store, the first 'fff'; look in the id column of index"),
        (["ffff", "nobody", "nothing"], r"2 of 3 ids that are not in the store, the first 'nobody'"),
        ([""], r"the first ''"),
    ],
)
def test_what_no_patch_or_several_are_called_is_refused(wanted: list[str], phrase: str) -> None:
    with pytest.raises(UsageError, match=phrase):
        rows_by_id(IDS, wanted, "index")
