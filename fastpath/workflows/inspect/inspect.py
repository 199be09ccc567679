"""Look at a store before training on it: one page, its pictures and its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis.pixels import eda
from fastpath.analysis.pixels.eda import CLASS_NAMES, CLASS_WORDS
from fastpath.figures import page, patch_figures
from fastpath.figures.patch_figures import Row
from fastpath.runs import output_place
from fastpath.store.reader import Store, open_store
from fastpath.store.split_table import SplitTable, read_split
from fastpath.workflows.inspect import inspect_facts
from fastpath.workflows.inspect.inspect_facts import Facts

REPORT, FACTS = "report.html", "inspect.json"
BLOCK_BYTES = 4 << 20  # pixels in memory at once
FEW, MANY = 5, 24  # a class in the two sample pictures
FLAGGED = 6  # patches shown of each flag
STAINED = 300  # patches a class whose stains are estimated: the median of so many moves by less than 0.01

Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class InspectResult:
    """What was found, in brief; `inspect.json` has it all.

    Attributes:
        patches: Patches of the store.
        negative: Of these, labelled 0.
        positive: Of these, labelled 1.
        unlabelled: Of these, without a label.
        slides: Slides, 0 where unknown.
        flagged: Patches with any quality flag.
        duplicate_sets: Sets of patches with the same pixels.
        straddling_sets: Of these, on both sides of the split.
        conflicting_sets: Of these, with both labels.
        notices: What should not be overlooked.
        report: The page.
    """

    patches: int
    negative: int
    positive: int
    unlabelled: int
    slides: int
    flagged: int
    duplicate_sets: int
    straddling_sets: int
    conflicting_sets: int
    notices: list[str]
    report: str


def inspect_store(
    path: Path,
    output: Path,
    *,
    split_file: Path | None = None,
    per_class: int = 2500,
    seed: int = 42,
    advance: Advance | None = None,
) -> InspectResult:
    """Write report.html, the pictures in it as PNG files, and inspect.json. The same store gives the same bytes.

    Args:
        path: The store.
        output: The directory to write to; files there that are not an older inspection's are left alone.
        split_file: Where the store's split lies; None is in the store.
        per_class: The most patches of a label whose pixels are read; counts and channel statistics are of all.
        seed: Decides which.
        advance: Called with patches done and in all.

    Raises:
        StoreError: `path` is not a store, or is damaged.
    """
    output_place.check_directory(output, FACTS, (path,))
    store = open_store(path, split_file=split_file)
    table = read_split(store) if split_file is not None or store.split_path.exists() else None
    drawn = eda.sample_rows(store.labels_N, per_class, seed)
    rows_N = np.sort(np.concatenate(list(drawn.values())))
    survey = eda.survey(_blocks(store, rows_N, advance), store.labels_N)
    stains_N23 = _stains(store, np.sort(np.concatenate([rows[:STAINED] for rows in drawn.values()])))

    facts = _facts(store, table, survey, stains_N23)
    facts["sample"] = {"seed": seed, "patches": {CLASS_NAMES[label]: len(rows) for label, rows in drawn.items()}}
    pictures = _pictures(store, facts, survey, stains_N23, drawn)
    facts["pictures"] = [f"{name}.png" for name in pictures]
    facts["notices"] = inspect_facts.notices(facts)

    content = {f"{name}.png": picture for name, picture in pictures.items()}
    content[REPORT] = page.render(facts, pictures, divided=inspect_facts.DIVIDED).encode()
    content[FACTS] = (json.dumps(facts, indent=1) + "\n").encode()
    output_place.write_set(output, FACTS, content)
    return _result(facts, output / REPORT)


def _blocks(store: Store, rows_N: NDArray[np.int64], advance: Advance | None) -> Iterator[eda.Block]:
    """Read patches in the order they lie in, a block at a time."""
    size = max(1, BLOCK_BYTES // (store.patch_size_px**2 * 3))
    for start in range(0, len(rows_N), size):
        rows = rows_N[start : start + size]
        yield rows, store.gather(rows)
        if advance is not None:
            advance(start + len(rows), len(rows_N))


def _stains(store: Store, rows_N: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.concatenate([eda.stain_vectors(images) for _, images in _blocks(store, rows_N, None)])


def _facts(store: Store, table: SplitTable | None, survey: eda.Survey, stains_N23: NDArray[np.float64]) -> Facts:
    parts_N = inspect_facts.part_names(len(store), table)
    labels_N = store.labels_N[survey.rows_N]
    present = [label for label in CLASS_NAMES if label in survey.histograms]
    return {
        "store": Path(store.place).name,
        "fingerprint": store.fingerprint,
        "patch_size_px": store.patch_size_px,
        "shards": len(store.manifest.shards),
        "source": dict(store.manifest.source),
        "labels": inspect_facts.labels(store.labels_N),
        "split": None if table is None else inspect_facts.split(store, table),
        "channels": inspect_facts.channels(store, table),
        "brightness_saturation": {
            CLASS_NAMES[label]: {
                "brightness": _spread(survey.brightness_N[labels_N == label]),
                "saturation": _spread(survey.saturation_N[labels_N == label]),
            }
            for label in present
        },
        "stains": inspect_facts.stains(stains_N23),
        "flags": inspect_facts.flags(store),
        "duplicates": inspect_facts.duplicates(store, parts_N),
        "slides": inspect_facts.slides(store, parts_N),
        "histograms": {CLASS_NAMES[label]: survey.histograms[label].tolist() for label in present},
    }


def _spread(values_N: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": float(values_N.mean()), "std": float(values_N.std())}


def _pictures(
    store: Store,
    facts: Facts,
    survey: eda.Survey,
    stains_N23: NDArray[np.float64],
    drawn: dict[int, NDArray[np.int64]],
) -> dict[str, bytes]:
    """Draw every picture that the store has something for, by name."""
    labels_N, pictures = store.labels_N, {}
    counts = {"all": facts["labels"]} | ({} if facts["split"] is None else facts["split"]["parts"])
    by_label = {part: {label: count[name] for label, name in CLASS_NAMES.items()} for part, count in counts.items()}
    pictures["balance"] = patch_figures.balance(by_label)
    pictures |= _samples(store, drawn)
    for channel, name in enumerate(("red", "green", "blue")):
        pictures[f"histogram_{name}"] = patch_figures.histogram(channel, survey.histograms)
    pictures["brightness_saturation"] = patch_figures.brightness_saturation(
        survey.brightness_N, survey.saturation_N, labels_N[survey.rows_N]
    )
    if {0, 1} <= survey.mean_patches.keys():
        pictures["mean_difference"] = patch_figures.mean_difference(survey.mean_patches[1], survey.mean_patches[0])
    if facts["stains"] is not None:
        pictures["stains"] = patch_figures.stains(stains_N23[~np.isnan(stains_N23).any(axis=(1, 2))])
    if store.groups_N is not None:
        slides = eda.groups(store.groups_N, labels_N)
        pictures["slides"] = patch_figures.slides(slides)
        if (labels_N >= 0).any():
            pictures["slide_shares"] = patch_figures.slide_shares(slides)
    flagged = _flagged_rows(store, facts)
    if flagged:
        pictures["flagged"] = patch_figures.contact_sheet(flagged, FLAGGED)
    return pictures


def _samples(store: Store, drawn: dict[int, NDArray[np.int64]]) -> dict[str, bytes]:
    """Show a few patches of each class in one picture, and many of each in its own."""
    whole = store.patch_size_px <= patch_figures.THUMBNAIL_PX
    few = [Row(CLASS_WORDS[label], _thumbnails(store, rows[:FEW])) for label, rows in drawn.items()]
    pictures = {"samples": patch_figures.contact_sheet(few, FEW, scale=2, centre=whole)}
    for label, rows in drawn.items():
        heading = f"{CLASS_WORDS[label]}: {min(MANY, len(rows))} of {(store.labels_N == label).sum():,}"
        many = Row(heading, _thumbnails(store, rows[:MANY]))
        pictures[f"samples_{CLASS_NAMES[label]}"] = patch_figures.contact_sheet([many], 6)
    return pictures


def _thumbnails(store: Store, rows_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    return patch_figures.thumbnails(store.gather(rows_N))


def _flagged_rows(store: Store, facts: Facts) -> list[Row]:
    """Show the first patches of each flag, with the beginning of their id and their label."""
    shown = []
    for name, flag in (facts["flags"] or {"by_flag": {}})["by_flag"].items():
        rows = flag["rows"][:FLAGGED]
        if rows:
            captions = [f"{store.ids_N[row][:8]} {CLASS_WORDS[int(store.labels_N[row])]}" for row in rows]
            shown.append(
                Row(f"{name}: {len(rows)} of {flag['patches']:,}", _thumbnails(store, np.array(rows)), captions)
            )
    return shown


def _result(facts: Facts, report: Path) -> InspectResult:
    duplicates, flags, slides = facts["duplicates"], facts["flags"], facts["slides"]
    return InspectResult(
        **{name: facts["labels"][name] for name in ("patches", "negative", "positive", "unlabelled")},
        slides=slides["num_slides"] if slides else 0,
        flagged=flags["flagged"] if flags else 0,
        duplicate_sets=duplicates["sets"] if duplicates else 0,
        straddling_sets=duplicates["straddling_sets"] if duplicates else 0,
        conflicting_sets=duplicates["conflicting_sets"] if duplicates else 0,
        notices=facts["notices"],
        report=str(report),
    )
