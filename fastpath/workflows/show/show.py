"""Show patches as they are stored, with what the index says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.pixels.eda import CLASS_WORDS
from fastpath.errors import FastpathError, UsageError
from fastpath.figures import patch_figures, png
from fastpath.figures.patch_figures import Row
from fastpath.ingest import quality
from fastpath.runs import output_place
from fastpath.store import format as fmt
from fastpath.store.patch_ids import rows_by_id
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import read_split
from fastpath.system.files import read_regular
from fastpath.workflows.inspect.inspect_facts import part_names

OVERVIEW, FACTS = "overview.png", "show.json"
FACTS_BYTES_MAX = 1 << 28
SCALE = 4  # at which a stored patch is shown: cells are then some 40 pixels wide
SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True, slots=True)
class ShowResult:
    """What was written.

    Attributes:
        shown: What is known of each patch, in the order asked for.
        overview: The picture that has them all.
        output: The directory.
    """

    shown: list[dict[str, Any]]
    overview: Path
    output: Path


def patches(path: Path, output: Path, ids: Sequence[str], *, split_file: Path | None = None) -> ShowResult:
    """Write patches as they are stored, at four times their size with the labelled centre framed, and their facts.

    Args:
        path: The store.
        output: The directory to write to.
        ids: Patches of the store, by id or its beginning.
        split_file: Where its split lies; None is in the store.

    Raises:
        StoreError: `path` is not a store.
        UsageError: The store has no patch of some id, or several that begin so.
    """
    output_place.check_directory(output, FACTS, (path,))
    store = open_store(path, split_file=split_file)
    rows_N = rows_by_id(store.ids_N, ids, store.path / fmt.INDEX)
    images_NHWC, shown = store.gather(rows_N), index_facts(store, rows_N)
    files: dict[str, bytes] = {}
    for facts, image in zip(shown, images_NHWC, strict=True):
        stem = _free_stem(facts, files)
        facts["files"] = {"stored": f"{stem}.png", "enlarged": f"{stem}-{SCALE}x.png"}
        files[f"{stem}.png"] = png.of_image(image)
        files[f"{stem}-{SCALE}x.png"] = png.of_image(patch_figures.enlarge(image, SCALE, centre=True))
    captions = [f"{facts['id'][:40]} {facts['label']}" for facts in shown]
    sheet = Row("", images_NHWC, captions)
    files[OVERVIEW] = patch_figures.contact_sheet([sheet], min(len(shown), 4), scale=SCALE, centre=True)
    return write(output, files, {"store": store.fingerprint, "patches": shown}, shown)


def _free_stem(facts: Mapping[str, Any], taken: Mapping[str, bytes]) -> str:
    """Return what a patch's pictures are called: its id where that names files, and no other's."""
    stem = facts["id"] if SAFE_NAME.fullmatch(facts["id"]) else f"row-{facts['row']}"
    while {f"{stem}.png", f"{stem}-{SCALE}x.png"} & {OVERVIEW, *taken}:
        stem = f"{stem}-row-{facts['row']}"
    return stem


def index_facts(store: Store, rows_N: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return what the index says of some rows, as plain values; what an older index lacks is left out."""
    table = read_split(store) if store.split_file is not None or store.split_path.exists() else None
    parts_N, pixels, index = part_names(len(store), table), store.patch_size_px**2, store.index
    same, groups_N = _same_pixels(store, rows_N), store.groups_N
    patch_facts = []
    for row in rows_N.tolist():
        entry = index.iloc[row]
        sums_3 = entry[["sum_r", "sum_g", "sum_b"]].to_numpy(dtype=np.float64)
        squares_3 = entry[["squares_r", "squares_g", "squares_b"]].to_numpy(dtype=np.float64)
        spread_3 = np.sqrt(np.maximum(squares_3 / pixels - (sums_3 / pixels) ** 2, 0))
        facts: dict[str, Any] = {
            "id": str(entry["id"]),
            "row": row,
            "label": CLASS_WORDS[int(entry["label"])],
            "slide": None if groups_N is None else str(groups_N[row]),
            "part": parts_N[row] or None,
            "shard": fmt.shard_name(int(entry["shard"])),
            "row_in_shard": int(entry["row"]),
            "mean_rgb": np.round(sums_3 / pixels, 3).tolist(),
            "std_rgb": np.round(spread_3, 3).tolist(),
        }
        if "sharpness" in index:
            facts["sharpness"] = round(float(entry["sharpness"]), 1)
        if "flags" in index:
            flags = int(entry["flags"])
            facts["flags"] = [name for name in quality.names() if flags & int(quality.parse(name))]
        if "hash" in index:
            facts |= {"pixel_hash": entry["hash"].hex(), "same_pixels": same[entry["hash"]] - {facts["id"]}}
            facts["same_pixels"] = sorted(facts["same_pixels"])
        patch_facts.append(facts)
    return patch_facts


def _same_pixels(store: Store, rows_N: NDArray[np.int64]) -> dict[bytes, set[str]]:
    """Return the ids of every patch with the pixels of one of these rows, by pixel hash."""
    if "hash" not in store.index:
        return {}
    hashes = store.index["hash"].tolist()
    twins: dict[bytes, set[str]] = {hashes[row]: set() for row in rows_N.tolist()}
    for name, digest in zip(store.ids_N.tolist(), hashes, strict=True):
        if digest in twins:
            twins[digest].add(name)
    return twins


def write(output: Path, files: dict[str, bytes], facts: dict[str, Any], shown: list[dict[str, Any]]) -> ShowResult:
    """Write pictures and show.json as a set; pictures that an older show.json names go with it.

    Raises:
        UsageError: A picture would be written over another's.
    """
    older = _named(output / FACTS)
    for name in files.keys() - {OVERVIEW, *older}:
        # The same bytes are what a killed run has left.
        if (output / name).exists() and (output / name).read_bytes() != files[name]:
            raise UsageError(output / name, "is there, and no 'fastpath show' wrote it", "choose another -o")
    content = files | {FACTS: (json.dumps(facts, indent=1) + "\n").encode()}
    output_place.write_set(output, FACTS, content, stale=older)
    return ShowResult(shown, output / OVERVIEW, output)


def _named(path: Path) -> list[str]:
    """Return the pictures that an older show.json names; none where it cannot be read."""
    try:
        facts = json.loads(read_regular(path, bytes_max=FACTS_BYTES_MAX, follow=False))
        shown = facts.get("patches") or facts["samples"]
        names = [name for patch in shown for name in patch["files"].values()]
    except (FastpathError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str) and name.endswith(".png") and "/" not in name]
