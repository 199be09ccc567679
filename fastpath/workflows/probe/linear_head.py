"""A logistic head on features, whose regularisation is chosen by inner folds of the rows it is fitted on.

N rows, D features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics
from fastpath.analysis.intervals import MIN_SLIDES
from fastpath.data.order import stratified_subset

Floats = NDArray[np.float64]

PENALTIES = tuple(float(value) for value in 10.0 ** np.arange(1, -6, -1))
"""λ of the mean log loss + λ/2 ‖w‖² on standardised features, the strongest first: from a head that is nearly constant
to one that is nearly free."""
NUM_FOLDS = 5
CHOICE_ROWS = 50_000  # rows that choose λ, which hardly depends on more of them; all are fitted on
_STEPS = 1000


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Logits = features · weight + bias, on features as they are.

    Attributes:
        weight_D: float64.
        bias: Of the logit.
        penalty: The λ that was chosen.
        losses: Mean log loss of held-out rows by λ.
        notices: What the reader should know.
    """

    weight_D: Floats
    bias: float
    penalty: float
    losses: dict[float, float]
    notices: list[str]

    def logits(self, features_ND: NDArray[np.float32]) -> Floats:
        """Return the logits of rows, float64 [N]."""
        return features_ND.astype(np.float64) @ self.weight_D + self.bias


def fit_head(
    features_ND: NDArray[np.float32], labels_N: NDArray[np.int8], groups_N: NDArray[np.object_] | None, seed: int
) -> LinearHead:
    """Choose λ by folds, of whole slides where there are enough, then fit all rows.

    Args:
        features_ND: Of the rows to learn from.
        labels_N: 0 or 1, several of each.
        groups_N: Slides; None where unknown.
        seed: Decides the folds.
    """
    rows = stratified_subset(labels_N, CHOICE_ROWS, seed)
    folds, notices = _folds(labels_N[rows], None if groups_N is None else groups_N[rows], seed)
    losses = np.zeros(len(PENALTIES))
    for train, held in folds:
        for at, (weight_D, bias, _) in enumerate(_path(features_ND[rows[train]], labels_N[rows[train]], PENALTIES)):
            logits_N = features_ND[rows[held]].astype(np.float64) @ weight_D + bias
            losses[at] += metrics.log_loss(labels_N[rows[held]], logits_N) * len(held) / len(rows)
    best = int(np.argmin(losses))
    weight_D, bias, converged = _path(features_ND, labels_N, PENALTIES[: best + 1])[-1]
    if not converged:
        notices.append(f"the head had not converged after {_STEPS} steps")
    if best in (0, len(PENALTIES) - 1):
        notices.append(f"the chosen penalty {PENALTIES[best]:g} is the end of what was tried")
    return LinearHead(weight_D, bias, PENALTIES[best], dict(zip(PENALTIES, losses.tolist(), strict=True)), notices)


def _folds(
    labels_N: NDArray[np.int8], groups_N: NDArray[np.object_] | None, seed: int
) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], list[str]]:
    """Return (train, held) positions of folds, and a notice where slides do not divide them."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    rarer = int(np.bincount(labels_N, minlength=2).min())
    num = max(2, min(NUM_FOLDS, rarer))
    if groups_N is not None and len(set(groups_N.tolist())) >= MIN_SLIDES:
        dealer = StratifiedGroupKFold(num, shuffle=True, random_state=seed)
        folds = list(dealer.split(labels_N, labels_N, groups_N.astype(str)))
        if all(len(set(labels_N[part].tolist())) == 2 for pair in folds for part in pair):
            return folds, []
    lack = "slides are unknown" if groups_N is None else "the slides cannot be dealt into folds that hold both classes"
    notice = f"{lack}, so the penalty was chosen by folds of single patches and may be too weak"
    return list(StratifiedKFold(num, shuffle=True, random_state=seed).split(labels_N, labels_N)), [notice]


def _path(
    features_ND: NDArray[np.float32], labels_N: NDArray[np.int8], penalties: tuple[float, ...]
) -> list[tuple[Floats, float, bool]]:
    """Return weight, bias and whether it converged at each λ, each begun from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean_D = features_ND.mean(0, dtype=np.float64)
    scale_D = features_ND.std(0, dtype=np.float64)
    scale_D[scale_D < 1e-12] = 1.0  # a feature that never changes says nothing
    standard_ND = ((features_ND - mean_D) / scale_D).astype(np.float32)
    model = LogisticRegression(warm_start=True, max_iter=_STEPS)
    fitted = []
    for penalty in penalties:
        model.C = 1 / (penalty * len(labels_N))  # scikit-learn sums the loss
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(standard_ND, labels_N)
        weight_D = model.coef_[0].astype(np.float64) / scale_D
        fitted.append((weight_D, float(model.intercept_[0] - weight_D @ mean_D), bool(model.n_iter_[0] < _STEPS)))
    return fitted
