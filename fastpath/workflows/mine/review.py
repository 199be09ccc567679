"""The page on which mined patches are looked at: which of them, what is said of each, and their pictures."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpath.figures import patch_figures, png, review_page
from fastpath.figures.review_page import MinedPatch
from fastpath.runs import mined_table, output_place
from fastpath.runs.mined_table import REVIEWED_WEIGHTS, MinedKind
from fastpath.runs.run_data import RunData
from fastpath.runs.trained import TrainedRun
from fastpath.runtime import Runtime
from fastpath.system import tables
from fastpath.system.file_sets import FileSet
from fastpath.workflows.mine import similar
from fastpath.workflows.mine.mined_rows import Catalogue, MinedRows

if TYPE_CHECKING:
    import pandas as pd

PAGE, PICTURES = "review.html", "pictures"
REVIEW_MAX = 2000
"""Patches on the page: at ten seconds each, most of a working day."""
_CHUNK = 64
_RANK = {
    MinedKind.LABEL_ERROR: 0,
    MinedKind.HARD_NEGATIVE: 1,
    MinedKind.HARD_POSITIVE: 1,
    MinedKind.PSEUDO_LABEL: 2,
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the page says of why a patch was taken and whose its probability is.

    Attributes:
        run: The run's name.
        reasons: By kind.
        losses: `mined_table.OUT_OF_FOLD` or `TRAINING`: which networks looked at patches that have a label.
        fold_of: The fold whose network gave a patch's probability, by id; empty where it is not known.
        calibration: Of new labels; `none` where they are raw.
    """

    run: str
    reasons: Mapping[MinedKind, str]
    losses: str
    fold_of: Mapping[str, int]
    calibration: str

    def source(self, name: str, kind: MinedKind) -> str:
        """Return who gave a patch's probability."""
        if kind == MinedKind.PSEUDO_LABEL:
            calibration = "not calibrated" if self.calibration == "none" else f"calibrated ({self.calibration})"
            return f"the run's network, {calibration}; the patch had no label"
        if self.losses == mined_table.TRAINING:
            return "the run's own network, which was trained on this very patch and label"
        if name in self.fold_of:
            return f"the network of fold {self.fold_of[name]}, which did not see this patch"
        return "a network that did not see this patch"


def page_of(table: Path) -> Path:
    """Return where the page of a table lies: beside it, in a directory of its own."""
    return table.parent / f"{table.stem}-review" / PAGE


def write(
    output: Path,
    mined: Sequence[MinedRows],
    frame: pd.DataFrame,
    trained: TrainedRun,
    data: RunData,
    evidence: Evidence,
    runtime: Runtime,
    *,
    notices: Sequence[str] = (),
    advance: Callable[[int, int], None] | None = None,
) -> None:
    """Write the table and its page as a set: the old page goes before the table changes.

    Args:
        output: The table.
        mined: Its rows, by store.
        frame: All of them.
        trained: The network whose trunk tells which patches are similar.
        data: What it was trained on.
        evidence: What the page says of each patch.
        runtime: Device and precision.
        notices: What its reader should know.
        advance: Called with patches passed through the trunk and in all.

    Raises:
        FastpathError: A file cannot be written; the older ones are still whole.
    """
    catalogue = Catalogue.of([data.store, *(each.store for each in mined)])
    shown_S = chosen(frame)
    rows_S = catalogue.rows(mined)[shown_S]
    near_SK, similarity_SK = similar.similar_rows(catalogue, rows_S, data.train_rows_N, trained, runtime, advance)
    patches = [
        _patch(number, int(at), frame, evidence, catalogue, int(row), near_K, similarity_K)
        for number, (at, row, near_K, similarity_K) in enumerate(
            zip(shown_S, rows_S, near_SK, similarity_SK, strict=True), start=1
        )
    ]
    content, page = tables.render(frame, output), page_of(output).relative_to(output.parent)
    folder = page.parent.as_posix()
    facts = {
        "table": output.name,
        "fingerprint": hashlib.sha256(content).hexdigest()[:16],
        "run": evidence.run,
        "side_px": data.store.patch_size_px,
    }
    weights = {
        str(kind): {str(what): weight for what, weight in each.items()} for kind, each in REVIEWED_WEIGHTS.items()
    }
    html = review_page.render(facts, patches, list(frame.columns), tables.cells(frame), weights, notices)
    owned = [f"{glob.escape(folder)}/{name}" for name in output_place.SETS[PAGE]]
    with FileSet(output.parent, page.as_posix(), owned) as files:
        files.write(output.name, content)
        _write_pictures(files, folder, patches, catalogue, rows_S, near_SK)
        files.write(page.as_posix(), html)


def chosen(frame: pd.DataFrame, most: int = REVIEW_MAX) -> np.ndarray:
    """Return the rows of a table to look at, int64: likely errors, hard ones, new labels, each by falling loss."""
    rank_N = np.array([_RANK[MinedKind(kind)] for kind in frame["kind"]], np.int64)
    order_N = np.lexsort((-frame["loss"].to_numpy(np.float64), rank_N))
    return np.asarray(order_N[:most], np.int64)


def _patch(
    number: int,
    at: int,
    frame: pd.DataFrame,
    evidence: Evidence,
    catalogue: Catalogue,
    row: int,
    near_K: np.ndarray,
    similarity_K: np.ndarray,
) -> MinedPatch:
    mined_row = frame.iloc[at]
    kind, slide = MinedKind(mined_row["kind"]), catalogue.groups_N[row]
    return MinedPatch(
        row=at,
        id=str(mined_row["id"]),
        kind=str(kind),
        label=int(mined_row["label"]),
        slide=None if slide is None else str(slide),
        loss=float(mined_row["loss"]),
        probability=float(mined_row["probability"]),
        source=evidence.source(str(mined_row["id"]), kind),
        reason=evidence.reasons[kind],
        picture=f"{PICTURES}/patch-{number:05d}.png",
        strip=f"{PICTURES}/similar-{number:05d}.jpg" if len(near_K) else "",
        similar=similar.about(catalogue, row, near_K, similarity_K),
    )


def _write_pictures(
    files: FileSet,
    folder: str,
    patches: Sequence[MinedPatch],
    catalogue: Catalogue,
    rows_S: np.ndarray,
    near_SK: Sequence[np.ndarray],
) -> None:
    """Write each patch as it is stored, and those that resemble it side by side, some at a time."""
    for start in range(0, len(patches), _CHUNK):
        at = slice(start, start + _CHUNK)
        images = catalogue.patches.gather(rows_S[at])
        for patch, image, near_K in zip(patches[at], images, near_SK[at], strict=True):
            files.write(f"{folder}/{patch.picture}", png.of_image(image))
            if patch.strip:
                small_KHWC = patch_figures.thumbnails(catalogue.patches.gather(near_K))
                files.write(f"{folder}/{patch.strip}", png.jpeg_of_image(np.concatenate([*small_KHWC], axis=1)))
