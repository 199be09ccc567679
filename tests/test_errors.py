"""Errors carry where, problem and remedy, and survive the way back from a worker process."""

from __future__ import annotations

import pickle

import pytest

from fastpath import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FastpathError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_line_and_pickles(kind: type[errors.FastpathError]) -> None:
    error = kind("shard-00003.npy", "found 12 bytes, wanted 24", "run 'fastpath verify'")
    assert str(error) == "shard-00003.npy: found 12 bytes, wanted 24; run 'fastpath verify'"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (again.location, again.problem, again.remedy) == (error.location, error.problem, error.remedy)


@pytest.mark.parametrize("kind", KINDS)
def test_bad_input_exits_2_and_failures_exit_1(kind: type[errors.FastpathError]) -> None:
    assert kind.exit_status == (2 if issubclass(kind, errors.UsageError) else 1)
