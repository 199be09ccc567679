"""Show samples as training sees them at a place in an epoch, beside the patches they are made from."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fastpath.analysis.pixels.eda import CLASS_WORDS
from fastpath.config import AugmentConfig, Config
from fastpath.data.augment import draw, geometry
from fastpath.data.augment.draw import Augmentation
from fastpath.data.loader import train_loader
from fastpath.data.step_inputs import training_layout
from fastpath.errors import UsageError
from fastpath.figures import patch_figures, png, style
from fastpath.figures.patch_figures import Row
from fastpath.runs import output_place
from fastpath.runs.mined_training import with_extra
from fastpath.runs.run_data import RunData, run_data_of
from fastpath.runtime import Runtime
from fastpath.store.reader import open_store
from fastpath.store.split_table import read_split
from fastpath.types import CENTRE, ChannelStats
from fastpath.workflows.show.show import FACTS, OVERVIEW, ShowResult, index_facts, write

ARTEFACTS = {"blur": "blur_px", "noise": "noise_sd", "JPEG": "jpeg_quality", "ring blur": "ring_blur_px"}
FACTORS = ("brightness", "contrast", "saturation", "hue")  # in the order of `Augmentation.factors_N4`


def show_samples(
    path: Path,
    output: Path,
    config: Config,
    runtime: Runtime,
    *,
    epoch: int,
    position: int,
    count: int = 1,
    fold: int | None = None,
    split_file: Path | None = None,
) -> ShowResult:
    """Write the very samples that training reads at a place in an epoch, beside the patches they are made from.

    They come out of the training loader itself, so nothing here can differ from what a run with this configuration
    sees on this kind of device.

    Args:
        path: The store.
        output: The directory to write to.
        config: `data` and `seed` decide.
        runtime: Device and threads.
        epoch: Epoch, from 0.
        position: Position of the first sample in the epoch, from 0.
        count: Consecutive samples; fewer where the epoch ends.
        fold: Which fold is held out; None takes the one the split was written with.
        split_file: Where the store's split lies; None is in the store.

    Raises:
        StoreError: `path` is not a store, or has no split, or no such fold.
        DataError: The table of mined patches does not belong here.
        UsageError: The epoch has no such position.
    """
    output_place.check_directory(output, FACTS, (path,))
    store = open_store(path, split_file=split_file)
    split = None if fold is None else read_split(store, fold)
    data = with_extra(run_data_of(store, config, split), config)
    size = len(data.train_rows_N)
    if position >= size:
        raise UsageError("--position", f"found {position}, wanted 0 to {size - 1}", "choose a place in the epoch")
    places = range(position, min(position + count, size))
    rows_N = data.order(config, epoch)[places.start : places.stop]
    seen_NHWC = _seen(data, config, runtime, epoch, places, rows_N)
    drawn = draw.draw_augmentation(config.data.augment, config.data.image_size_px, config.seed, epoch, places)
    policy, corners_N42 = config.data.augment, centre_corners(drawn, config, store.patch_size_px)

    shown, files, pairs = _index_facts(data, rows_N), {}, []
    for number, (facts, original, seen) in enumerate(zip(shown, data.patches.gather(rows_N), seen_NHWC, strict=True)):
        stem = f"epoch-{epoch}-position-{places[number]}"
        corners_42 = corners_N42[number]
        whole = bool(((corners_42 > -0.01) & (corners_42 < config.data.image_size_px + 0.01)).all())
        facts |= {"epoch": epoch, "position": places[number], "augmentation": _parameters(policy, drawn, number)}
        facts |= {"centre_px": np.round(corners_42, 2).tolist(), "centre_whole": whole}
        facts["files"] = {"seen": f"{stem}.png", "stored": f"{stem}-stored.png"}
        files[f"{stem}.png"], files[f"{stem}-stored.png"] = png.of_image(seen), png.of_image(original)
        pairs += _pair(original, seen, corners_42)
    sheet = Row("", np.stack(pairs), [caption for facts in shown for caption in _captions(facts)])
    files[OVERVIEW] = patch_figures.contact_sheet([sheet], 2 if len(shown) == 1 else 4)
    values = {"store": store.fingerprint, "config": config.to_dict(), "split": data.fingerprint, "samples": shown}
    return write(output, files, values, shown)


def _index_facts(data: RunData, rows_N: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Return what the indexes say of some rows; of mined patches also where they lie, with the label trained on."""
    if data.joined is None:
        return index_facts(data.store, rows_N)
    patch_facts: list[dict[str, Any]] = [{}] * len(rows_N)
    for store, at, own_N in data.joined.parts(rows_N):
        for place, facts in zip(at.tolist(), index_facts(store, own_N), strict=True):
            label = CLASS_WORDS[int(data.joined.labels_N[rows_N[place]])]
            patch_facts[place] = facts | {"label": label, "store": store.name}
    return patch_facts


def centre_corners(drawn: Augmentation, config: Config, patch_px: int) -> NDArray[np.float64]:
    """Return where the corners of the labelled centre lie in each sample, float64 [N, 4, 2], x and y in pixels."""
    layout = training_layout(patch_px, config)
    matrices = geometry.warp_matrices(drawn, layout)[:, :2].astype(np.float64)
    low, high = ((edge + layout.frame_px) * layout.size_px / layout.framed_px for edge in CENTRE.edges(patch_px))
    corners_24 = np.array([[low, high, high, low], [low, low, high, high]])
    return np.asarray(np.linalg.solve(matrices[:, :, :2], corners_24 - matrices[:, :, 2:]).transpose(0, 2, 1))


def _seen(
    data: RunData, config: Config, runtime: Runtime, epoch: int, places: range, rows_N: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Read these positions from the training loader and undo the normalisation, uint8 [N, H, W, 3]."""
    first, last = places.start // config.data.batch_size, (places.stop - 1) // config.data.batch_size
    with closing(train_loader(data.train, config, runtime)) as loader:
        # Copied, because a batch may be a view of memory that the next one is written to.
        batches = [
            (batch.images_NCHW.permute(0, 2, 3, 1).cpu().numpy().copy(), batch.indices_N.cpu().numpy().copy())
            for batch in islice(loader.epoch(epoch, first), last - first + 1)
        ]
    start = places.start - first * config.data.batch_size
    images_NHWC = np.concatenate([images for images, _ in batches])[start : start + len(places)]
    indices_N = np.concatenate([indices for _, indices in batches])[start : start + len(places)]
    assert np.array_equal(indices_N, rows_N), "the loader and the plan disagree"
    return denormalise(images_NHWC, data.split.stats)


def denormalise(images_NHWC: NDArray[np.float32], stats: ChannelStats) -> NDArray[np.uint8]:
    """Return normalised float32 images as bytes, rounded and clipped."""
    values = images_NHWC * np.array(stats.std_3, np.float32) + np.array(stats.mean_3, np.float32)
    return np.asarray(np.clip(np.rint(values * 255), 0, 255).astype(np.uint8))


def _parameters(policy: AugmentConfig, drawn: Augmentation, row: int) -> dict[str, Any]:
    """Return one sample's parameters by name, as plain values; whatever `Augmentation` has is there."""
    values = {name: values_N[row].tolist() for name, values_N in draw.shown(policy, drawn).items()}
    values["crop"] = dict(zip(("top", "left", "height", "width"), values["crop"], strict=True))
    values["factors"] = dict(zip(FACTORS, values["factors"], strict=True))
    values["order"] = [FACTORS[kind] for kind in values["order"]]
    return values


def _pair(
    original: NDArray[np.uint8], seen: NDArray[np.uint8], corners_42: NDArray[np.float64]
) -> list[NDArray[np.uint8]]:
    """Return the patch enlarged to the sample's size and the sample, with the labelled centre framed in both."""
    side = seen.shape[0]
    low, high = CENTRE.edges(side)
    square_42 = np.array([[low, low], [high, low], [high, high], [low, high]])
    large = Image.fromarray(original).resize((side, side), Image.Resampling.BILINEAR)
    lines = []
    for picture, corners in ((large, square_42), (Image.fromarray(seen), corners_42)):
        points = [(float(x), float(y)) for x, y in corners]
        pen = ImageDraw.Draw(picture)
        pen.line([*points, points[0]], fill=(255, 255, 255), width=3)
        pen.line([*points, points[0]], fill=style.FRAME, width=1)
        lines.append(np.asarray(picture))
    return lines


def _captions(facts: dict[str, Any]) -> list[str]:
    drawn = facts["augmentation"]
    did = [name for name, done in (("flip", drawn["hflip"]), ("vertical flip", drawn["vflip"])) if done]
    did += [f"{90 * drawn['turns']}°"] if drawn["turns"] else []
    did += [f"{drawn['angle_deg']:+.1f}°"] if drawn["angle_deg"] else []
    did += [f"zoom {drawn['zoom']:.2f}"] if drawn["zoom"] != 1 else []
    did += [name for name, key in ARTEFACTS.items() if drawn[key] > 0]
    did += ["another's ring"] if drawn["ring_partner"] >= 0 else []
    did.append(f"crop {drawn['crop']['width']}×{drawn['crop']['height']}")  # noqa: RUF001 (a sign, not a letter)
    return [f"{facts['position']}: {facts['id'][:10]} {facts['label']}", ", ".join(did)]
