"""How a network does at each site, and how much the sites differ beyond chance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import heterogeneity, intervals, metrics, subgroups
from fastpath.analysis.heterogeneity import Heterogeneity

Floats = NDArray[np.float64]

FEW_SITES = 5
"""With fewer, the spread between sites is hardly known, whatever its interval says."""


def facts(
    labels_N: NDArray[Any],
    logits_N: NDArray[Any],
    groups_N: NDArray[np.object_] | None,
    sites_N: NDArray[np.object_] | None,
    seed: int,
) -> dict[str, Any] | None:
    """Return each site's AUC, worst first, and the heterogeneity of these AUCs on the logit scale.

    Args:
        labels_N: 0 or 1, both present.
        logits_N: Finite.
        groups_N: Slides, None where unknown.
        sites_N: Sites, None where unknown.
        seed: Decides the resamples.

    Returns:
        Plain values; None where sites are unknown or there is one alone.
    """
    if sites_N is None or len(set(sites_N.tolist())) < 2:
        return None
    result = subgroups.survey(labels_N, logits_N, groups_N, {"site": sites_N}, seed=seed)
    values_K, errors_K = np.array([(site.auc.value, site.auc_error) for site in result]).T
    spread = heterogeneity.summarise(metrics.logits(values_K), errors_K)
    return {
        "unit": intervals.units_of(groups_N, len(labels_N)).kind,
        "sites": [
            {
                "site": site.value,
                "num_patches": site.num_patches,
                "num_positive": site.num_positive,
                "num_slides": site.num_slides,
                "auc": asdict(site.auc),
                "warnings": list(site.warnings),
            }
            for site in result
        ],
        "heterogeneity": None if spread is None else _plain(spread),
        "words": _words(len(result), spread),
    }


def _plain(spread: Heterogeneity) -> dict[str, Any]:
    """Return the summary with what has a scale of its own as AUC; `tau` stays on the logit scale."""
    ends = np.array([spread.mean.value, spread.mean.low, spread.mean.high, spread.next_low, spread.next_high])
    value, low, high, next_low, next_high = metrics.probabilities(ends).tolist()
    return {
        "num_sites": spread.num,
        "mean_auc": {"value": value, "low": low, "high": high},
        "next_site_auc": {"low": next_low, "high": next_high},
        "cochran_q": spread.q,
        "p_value": spread.p_value,
        "i_squared": asdict(spread.i_squared),
        "tau_logit": asdict(spread.tau),
    }


def _words(num_sites: int, spread: Heterogeneity | None) -> list[str]:
    if spread is None:
        return ["fewer than two sites have an AUC with an interval, so nothing is told of how much sites differ"]
    numbers = f"Cochran's Q {spread.q:.1f}, p = {spread.p_value:.3f}, I² {spread.i_squared.value:.0%}"
    ends = f"{spread.i_squared.low:.0%} to {spread.i_squared.high:.0%}"
    if spread.p_value < 1 - intervals.LEVEL:
        notices = [f"the AUC differs between sites by more than chance ({numbers}, 95 % interval {ends})"]
    else:
        notices = [f"nothing shows that the AUC differs between sites ({numbers}, 95 % interval {ends})"]
    if spread.num < num_sites:
        notices.append(
            f"{num_sites - spread.num} of {num_sites} sites have no AUC with an interval and are not counted"
        )
    if spread.num < FEW_SITES:
        notices.append(f"{spread.num} sites say little about how much sites differ: read the interval, not the share")
    return notices
