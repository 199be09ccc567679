"""From features of patches to labels of slides: attention beside means and maxima, judged by folds of whole slides.

N patches, G slides. Every score of a slide comes from networks that have not seen it: all that is fitted, standardised
or chosen, penalties included, is so within the other folds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastpath.analysis import metrics, paired, slides
from fastpath.analysis.intervals import units_of
from fastpath.errors import DataError
from fastpath.model.attention_pool import fit_attention
from fastpath.runs import output_place
from fastpath.runtime import Runtime
from fastpath.store.features import Features, open_features
from fastpath.system import tables
from fastpath.system.json_values import plain
from fastpath.text import to_csv
from fastpath.types import Split
from fastpath.workflows.probe.linear_head import fit_head

Floats = NDArray[np.float64]

FACTS, TABLE = "aggregation.json", "slide_scores.csv"
ATTENTION, MEAN_FEATURES = "attention", "mean_features"
LEAST = 5
"""Slides of each class that folds need."""


@dataclass(frozen=True, slots=True)
class AggregationResult:
    """How well slides are told apart.

    Attributes:
        num_slides: Slides that are judged.
        num_positive: Of these, with tumour.
        num_folds: Folds of whole slides.
        auc: By method, of out-of-fold scores, with its 95% interval over slides.
        gain: By other method, AUC of attention over it with the paired interval and p value.
        notices: What the reader of the numbers should know.
        output: Where aggregation.json and slide_scores.csv lie.
    """

    num_slides: int
    num_positive: int
    num_folds: int
    auc: dict[str, Any]
    gain: dict[str, Any]
    notices: list[str]
    output: str


@dataclass(frozen=True, slots=True)
class Bags:
    """Slides with their patches.

    Attributes:
        names_G: Names, in their order.
        labels_G: int8, 0 or 1.
        rows: Rows of the features of each.
        patch_labels_N: int8 of all rows, -1 where unknown.
    """

    names_G: list[str]
    labels_G: NDArray[np.int8]
    rows: list[NDArray[np.int64]]
    patch_labels_N: NDArray[np.int8]


def aggregate_slides(
    path: Path,
    output: Path,
    runtime: Runtime,
    *,
    labels_path: Path | None = None,
    seed: int = 42,
    advance: Callable[[int, int], None] | None = None,
) -> AggregationResult:
    """Write the AUC between slides of every aggregation and each slide's scores.

    Args:
        path: From `fastpath embed`.
        output: The directory.
        runtime: Where attention is trained.
        labels_path: A table of `slide` (or `group`) and `label`; None takes a slide for one with tumour where any of
            its patches is.
        seed: Decides folds and weights.
        advance: Called with folds done and in all.

    Raises:
        DataError: Slides are unknown, or too few of a class.
    """
    output_place.check_directory(output, FACTS, (path, labels_path))
    features = open_features(path)
    bags = _bags(features, path, labels_path)
    features_ND = features.read()
    folds_G, scores = _out_of_fold(features_ND, bags, runtime, seed, advance)
    units = units_of(np.arange(len(bags.labels_G)), len(bags.labels_G), bags.labels_G)
    auc = {name: slides.auc_interval(bags.labels_G, values_G) for name, values_G in scores.items()}
    others = [name for name in scores if name != ATTENTION]
    gain = {name: paired.difference(bags.labels_G, scores[ATTENTION], scores[name], units) for name in others}
    num_folds = int(folds_G.max()) + 1
    result = AggregationResult(
        num_slides=len(bags.labels_G),
        num_positive=int(bags.labels_G.sum()),
        num_folds=num_folds,
        auc=plain(auc),
        gain=plain(gain),
        notices=_notices(bags, num_folds, labels_path),
        output=str(output),
    )
    facts = {"method": "Ilse et al. 2018, gated attention", "features": features.manifest.origin.model_dump()}
    facts |= {name: getattr(result, name) for name in result.__dataclass_fields__ if name != "output"}
    table = [
        [name, int(label), int(fold), *(f"{values_G[at]:.9g}" for values_G in scores.values())]
        for at, (name, label, fold) in enumerate(zip(bags.names_G, bags.labels_G, folds_G, strict=True))
    ]
    content = {TABLE: to_csv(["slide", "label", "fold", *scores], table)}
    content[FACTS] = (json.dumps(plain(facts | {"seed": seed}), indent=2) + "\n").encode()
    output_place.write_set(output, FACTS, content)
    return result


def _bags(features: Features, path: Path, labels_path: Path | None) -> Bags:
    """Return the slides that have a label, without the test split's patches, which are kept apart.

    Raises:
        DataError: As `aggregate_slides`.
    """
    frame = features.rows[(features.rows["part"] != str(Split.TEST)) & features.rows["group"].notna()]
    if not len(frame):
        raise DataError(path, "found no patches whose slides are known", "pack with --groups, then embed")
    labels_N = features.rows["label"].to_numpy(np.int8)
    rows = {str(name): of.index.to_numpy(np.int64) for name, of in frame.groupby("group", sort=True)}
    if labels_path is None:
        labels = {name: int((labels_N[at] == 1).any()) for name, at in rows.items() if (labels_N[at] >= 0).all()}
    else:
        labels = _slide_labels(labels_path)
    names = [name for name in rows if name in labels]
    labels_G = np.array([labels[name] for name in names], np.int8)
    num_positive = int((labels_G == 1).sum())
    if min(num_positive, len(names) - num_positive) < LEAST:
        problem = f"found {num_positive} slides with tumour and {len(names) - num_positive} without"
        remedy = "embed more slides, or give their labels with --slide-labels"
        raise DataError(labels_path or path, f"{problem}, wanted at least {LEAST} of each", remedy)
    return Bags(names, labels_G, [rows[name] for name in names], labels_N)


def _slide_labels(path: Path) -> dict[str, int]:
    """Read a table of slides and their labels.

    Raises:
        DataError: It is none, or a label is neither 0 nor 1.
    """
    frame, _ = tables.read(path, "give a CSV or Parquet table of slide,label")
    key = next((name for name in ("slide", "group", "wsi") if name in frame), None)
    if key is None or "label" not in frame:
        raise DataError(path, f"found columns {', '.join(map(str, frame))[:100]}", "give slide and label")
    wrong = frame[~frame["label"].isin((0, 1)) | frame[key].isna() | frame[key].duplicated()]
    if len(wrong):
        row = wrong.iloc[0]
        problem = f"found slide {row[key]!r} with label {row['label']!r}, wanted each slide once with 0 or 1"
        raise DataError(path, problem, "correct that row")
    return {str(name): int(label) for name, label in zip(frame[key], frame["label"], strict=True)}


def _out_of_fold(
    features_ND: NDArray[np.float32],
    bags: Bags,
    runtime: Runtime,
    seed: int,
    advance: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    """Return each slide's fold, and its scores by method from what was fitted without its fold."""
    from sklearn.model_selection import StratifiedKFold

    rarer = int(np.bincount(bags.labels_G, minlength=2).min())
    dealer = StratifiedKFold(min(LEAST, rarer), shuffle=True, random_state=seed)
    folds_G, scores = np.zeros(len(bags.labels_G), np.int64), dict[str, Floats]()
    dealt = list(dealer.split(bags.labels_G, bags.labels_G))
    for fold, (train, held) in enumerate(dealt):
        folds_G[held] = fold
        for name, values in _scores(features_ND, bags, train, held, runtime, seed).items():
            scores.setdefault(name, np.zeros(len(folds_G)))[held] = values
        if advance is not None:
            advance(fold + 1, len(dealt))
    return folds_G, scores


def _scores(
    features_ND: NDArray[np.float32],
    bags: Bags,
    train: NDArray[np.int64],
    held: NDArray[np.int64],
    runtime: Runtime,
    seed: int,
) -> dict[str, list[float]]:
    """Return the scores of held slides by every method, fitted on the training slides."""
    tensors = {at: torch.from_numpy(features_ND[bags.rows[at]]).to(runtime.device) for at in (*train, *held)}
    network = fit_attention([tensors[at] for at in train], bags.labels_G[train].tolist(), seed)
    with torch.inference_mode():
        scores = {ATTENTION: [float(network(tensors[at])[0]) for at in held]}
    means_GD = np.stack([features_ND[rows].mean(0) for rows in bags.rows])
    head = fit_head(means_GD[train], bags.labels_G[train], None, seed)
    scores[MEAN_FEATURES] = head.logits(means_GD[held]).tolist()
    rows_M = np.concatenate([bags.rows[at] for at in train])
    labels_M = bags.patch_labels_N[rows_M]
    if (labels_M >= 0).all() and len(set(labels_M.tolist())) == 2:  # patches are labelled: a head on them tells more
        groups_M = np.concatenate([np.full(len(bags.rows[at]), bags.names_G[at], object) for at in train])
        patches = fit_head(features_ND[rows_M], labels_M, groups_M, seed)
        probabilities = [metrics.probabilities(patches.logits(features_ND[bags.rows[at]])) for at in held]
        for name in ("max", "top_k", "mean"):
            scores[name] = [slides.slide_scores(of_slide)[name] for of_slide in probabilities]
    return scores


def _notices(bags: Bags, num_folds: int, labels_path: Path | None) -> list[str]:
    notices = [
        f"scores are of {num_folds} folds, each slide scored by what was fitted on the others; the AUC is of all of "
        "them together, so folds whose scales differ lower it"
    ]
    if labels_path is None:
        notices.append("a slide counts as one with tumour where any of its patches is labelled so")
    if min(int(bags.labels_G.sum()), int((bags.labels_G == 0).sum())) < 2 * LEAST:
        notices.append(f"there are fewer than {2 * LEAST} slides of a class: intervals are wide, and rough themselves")
    return notices
