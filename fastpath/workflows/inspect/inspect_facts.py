"""What `inspect` tells of a store beside its pictures, as plain values: all of it from the index, but for colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.pixels import eda
from fastpath.analysis.pixels.eda import CLASS_NAMES
from fastpath.ingest import quality
from fastpath.ingest.split import leak_notice
from fastpath.store.reader import Store
from fastpath.store.split_document import SplitKind
from fastpath.store.split_table import SplitTable
from fastpath.store.writer import channel_moments
from fastpath.types import Split

Facts = dict[str, Any]

# What the original notebook normalises with: 5,000 training patches of the full set, enlarged to 224 pixels.
NOTEBOOK = {"mean": [0.6999, 0.5416, 0.6931], "std": [0.2213, 0.2659, 0.1982]}
FAR_MEAN = 0.05  # a channel mean further from the notebook's than this is another stain or scanner
LISTED = 1000  # duplicate sets, and ids of a flag, that are named one by one

DIVIDED: dict[SplitKind, str] = {
    "random": "at random by patch, stratified by label",
    "group": "by whole slides, balanced by label",
    "site": "by site, each left out in turn",
    "csv": "as a table said",
    "official": "as PatchCamelyon is",
}
"""How a store was divided, in words, by the kind of its split."""


def labels(labels_N: NDArray[np.integer]) -> Facts:
    """Count patches by label, and the share of positives among the labelled."""
    counts = {name: int((labels_N == label).sum()) for label, name in CLASS_NAMES.items()}
    labelled = counts["negative"] + counts["positive"]
    share = counts["positive"] / labelled if labelled else None
    return {"patches": len(labels_N), **counts, "positive_share": share}


def split(store: Store, table: SplitTable) -> Facts:
    """Count each part's patches and slides, and say in a sentence whether slides leak."""
    parts = {}
    for part in Split:
        rows_N = table.rows(part)
        if len(rows_N):
            parts[part.value] = labels(store.labels_N[rows_N]) | {"slides": None}
            if store.groups_N is not None:
                names = {name for name in store.groups_N[rows_N] if isinstance(name, str)}
                parts[part.value]["slides"] = len(names)
    return {
        "kind": table.kind,
        "seed": table.seed,
        "fold": table.fold,
        "num_folds": table.num_folds,
        "left_out": len(store) - sum(counts["patches"] for counts in parts.values()),
        "parts": parts,
        "leak": leak_notice(store, table),
    }


def part_names(num_rows: int, table: SplitTable | None) -> NDArray[np.object_]:
    """Return the part each row is in, object [N] of str; empty where it is in none."""
    names_N = np.full(num_rows, "", dtype=object)
    for part in Split if table is not None else ():
        names_N[table.rows(part)] = part.value  # type: ignore[union-attr]
    return names_N


def channels(store: Store, table: SplitTable | None) -> Facts:
    """Return exact channel means and standard deviations in units of 0 to 1: of all, of a class, of training."""
    facts: Facts = {"all": {"mean": list(store.manifest.mean_3), "std": list(store.manifest.std_3)}}
    if table is not None:
        facts["train"] = {"mean": list(table.mean_3), "std": list(table.std_3)}
    sums_N3 = store.index[["sum_r", "sum_g", "sum_b"]].to_numpy(dtype=np.int64)
    squares_N3 = store.index[["squares_r", "squares_g", "squares_b"]].to_numpy(dtype=np.int64)
    for label, name in CLASS_NAMES.items():
        own_N = store.labels_N == label
        if own_N.any() and not own_N.all():
            mean_3, std_3 = channel_moments(sums_N3[own_N], squares_N3[own_N], store.patch_size_px**2)
            facts[name] = {"mean": list(mean_3), "std": list(std_3)}
    return facts | {"notebook": NOTEBOOK}


def flags(store: Store) -> Facts | None:
    """Count flagged patches by flag and label, with their rows; None where the index has no flags."""
    if "flags" not in store.index:
        return None
    flags_N = store.index["flags"].to_numpy(dtype=np.int64)
    facts: Facts = {}
    for name in quality.names():
        rows_N = np.flatnonzero(flags_N & int(quality.parse(name)))
        some_N = rows_N[:LISTED]
        facts[name] = labels(store.labels_N[rows_N]) | {"rows": some_N.tolist(), "ids": store.ids_N[some_N].tolist()}
    return {"flagged": int((flags_N != 0).sum()), "by_flag": facts}


def duplicates(store: Store, parts_N: NDArray[np.object_]) -> Facts | None:
    """Find patches of the same pixels; None where the index has no pixel hashes.

    Returns:
        How many sets and patches, how many sets straddle parts of the split or carry both labels, and the sets,
        those that do either first.
    """
    if "hash" not in store.index:
        return None
    repeated = []
    for rows in eda.duplicate_sets(store.index["hash"].tolist()):
        names = sorted({parts_N[row] for row in rows} - {""})
        repeated.append(
            {
                "ids": store.ids_N[rows].tolist(),
                "labels": store.labels_N[rows].tolist(),
                "parts": parts_N[rows].tolist(),
                "straddles": len(names) > 1,
                "conflicts": {0, 1} <= set(store.labels_N[rows].tolist()),
            }
        )
    repeated.sort(key=lambda value: not (value["straddles"] or value["conflicts"]))
    return {
        "sets": len(repeated),
        "patches": sum(len(result["ids"]) for result in repeated),
        "straddling_sets": sum(result["straddles"] for result in repeated),
        "conflicting_sets": sum(result["conflicts"] for result in repeated),
        "listed": repeated[:LISTED],
    }


def slides(store: Store, parts_N: NDArray[np.object_]) -> Facts | None:
    """Count each slide's patches and positives and name the parts it is in; None where slides are unknown."""
    if store.groups_N is None:
        return None
    parts_of: dict[str, set[str]] = {}
    for name, part in set(zip(store.groups_N.tolist(), parts_N.tolist(), strict=True)):
        parts_of.setdefault(name, set()).add(part)
    result = eda.groups(store.groups_N, store.labels_N)
    table: list[dict[str, Any]] = [
        {
            "slide": group.name,
            "patches": group.num_patches,
            "positive": group.num_positive,
            "positive_share": group.num_positive / group.num_labelled if group.num_labelled else None,
            "parts": sorted(parts_of[group.name] - {""}),
        }
        for group in result
    ]
    patches = [group.num_patches for group in result]
    shares = [row["positive_share"] for row in table]
    return {
        "num_slides": len(table),
        "num_unknown": len(store) - sum(patches),
        "patches_median": float(np.median(patches)),
        "patches_min": min(patches),
        "patches_max": max(patches),
        "only_negative": sum(share == 0 for share in shares),
        "only_positive": sum(share == 1 for share in shares),
        "table": table,
    }


def stains(stains_N23: NDArray[np.float64]) -> Facts | None:
    """Summarise patches' stains by their median and quartiles; None where no patch has any.

    Args:
        stains_N23: float64 [N, 2, 3], NaN where a patch has none.
    """
    known_N = ~np.isnan(stains_N23).any(axis=(1, 2))
    facts: Facts = {"sampled": len(stains_N23), "estimated": int(known_N.sum())}
    if not known_N.any():
        return None
    for stain, name in enumerate(("haematoxylin", "eosin")):
        low_3, middle_3, high_3 = np.percentile(stains_N23[known_N, stain], [25, 50, 75], axis=0)
        facts[name] = {
            "median": middle_3.tolist(),
            "quartiles": [low_3.tolist(), high_3.tolist()],
            "colour": list(eda.stain_colour(middle_3)),
            "reference": eda.REFERENCE_STAINS_23[stain].tolist(),
        }
    return facts


def notices(facts: Mapping[str, Any]) -> list[str]:
    """Say in sentences what of all this should not be overlooked."""
    counts, notices_ = facts["labels"], []
    if counts["unlabelled"]:
        notices_.append(f"{counts['unlabelled']:,} of {counts['patches']:,} patches have no label.")
    if facts["split"] is None:
        notices_.append("The store has no division into training and validation yet: see 'fastpath split'.")
    elif facts["split"]["leak"]:
        notices_.append(_sentence(facts["split"]["leak"]))
    notices_ += _repeated(facts["duplicates"])
    if facts["flags"] and facts["flags"]["flagged"]:
        by_flag = facts["flags"]["by_flag"].items()
        named = ", ".join(f"{flag['patches']:,} {name}" for name, flag in by_flag if flag["patches"])
        notices_.append(f"{facts['flags']['flagged']:,} patches are flagged, and kept: {named}.")
    means = np.array([facts["channels"]["all"]["mean"], NOTEBOOK["mean"]])
    if np.abs(means[0] - means[1]).max() > FAR_MEAN:
        notices_.append(
            "Colours are far from the notebook's: normalise with this store's own statistics, as 'fastpath train' does."
        )
    return notices_


def _repeated(duplicate: Mapping[str, Any] | None) -> list[str]:
    if not duplicate or not duplicate["sets"]:
        return []
    notices_ = [f"{duplicate['patches']:,} patches share their pixels with another, in {duplicate['sets']:,} sets."]
    if duplicate["straddling_sets"]:
        notices_.append(f"{duplicate['straddling_sets']:,} of these sets are on both sides of the split.")
    if duplicate["conflicting_sets"]:
        notices_.append(f"{duplicate['conflicting_sets']:,} of these sets carry both labels.")
    return notices_


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
