import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from fastpath.engine.metrics import auc, bce

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.floats(-30, 30, width=32)), min_size=2, max_size=30)


def arrays(pairs: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    labels_N, logits_N = zip(*pairs, strict=True)
    return np.array(labels_N, np.float32), np.array(logits_N, np.float32)


@given(PAIRS)
def test_auc_counts_the_pairs_in_order(pairs: list[tuple[int, float]]) -> None:
    labels_N, logits_N = arrays(pairs)
    positive, negative = logits_N[labels_N == 1], logits_N[labels_N == 0]
    if not len(positive) or not len(negative):
        assert math.isnan(auc(labels_N, logits_N))
        return
    gaps = positive[:, None] - negative[None, :]
    assert auc(labels_N, logits_N) == pytest.approx(float(np.mean((gaps > 0) + 0.5 * (gaps == 0))))


@given(PAIRS)
def test_bce_is_torchs(pairs: list[tuple[int, float]]) -> None:
    labels_N, logits_N = arrays(pairs)
    # In float64: torch's float32 loses digits of small losses, ours does not.
    logits, labels = torch.tensor(logits_N).double(), torch.tensor(labels_N).double()
    wanted = functional.binary_cross_entropy_with_logits(logits, labels)
    assert bce(labels_N, logits_N) == pytest.approx(wanted.item(), rel=1e-5, abs=1e-7)


def test_what_cannot_be_scored_is_nan() -> None:
    assert math.isnan(auc(np.ones(3), np.zeros(3)))
    assert math.isnan(auc(np.array([0, 1]), np.array([np.nan, 1.0])))
    assert math.isnan(bce(np.empty(0), np.empty(0)))


def test_bce_of_a_confident_logit_is_finite() -> None:
    assert bce(np.array([1.0]), np.array([-1000.0])) == 1000.0
