"""Distance of the DALI graph from torchvision, in grey levels, transform by transform, on real patches.

Usage: python -m benchmarks.suites.numerics [--folder KAGGLE_FOLDER] [--patches 512]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import harness
from fastpath.config import AugmentConfig, Config, DataConfig
from fastpath.data import loader, reference
from fastpath.data.augment import draw
from fastpath.data.augment.stages import noise, ring_swap
from fastpath.runtime import Runtime, resolve
from fastpath.store.reader import Store, open_store
from fastpath.types import ChannelStats, Samples
from fastpath.workflows import pack

STATS = ChannelStats((0.6999, 0.5416, 0.6931), (0.2213, 0.2659, 0.1982))
STILL = {"hflip": 0, "rotation_deg": 0, "crop_scale": (1, 1), "crop_ratio": (1, 1)}
STILL |= {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0}
CROP = {"crop_scale": (0.8, 1.0), "crop_ratio": (0.75, 4 / 3)}
COLOUR = {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}
MOVED: dict[str, object] = {"rotation_deg": 15, "zoom": (0.8, 1.2), "shift_px": 6.0}
CASES: dict[str, dict[str, object]] = {
    "nothing": {},
    "flips and quarter turns": {"hflip": 0.5, "vflip": 0.5, "quarter_turns": True},
    "rotation": {"rotation_deg": 15},
    "crop": dict(CROP),
    "brightness": {"brightness": 0.2},
    "contrast": {"contrast": 0.2},
    "saturation": {"saturation": 0.2},
    "hue": {"hue": 0.1},
    "all colour": dict(COLOUR),
    "all geometry": {"hflip": 0.5, "rotation_deg": 15, **CROP},
    "everything": {"hflip": 0.5, "rotation_deg": 15, **CROP, **COLOUR},
    "stain": {"stain": 0.1},
    "rotation, zoom and shift": MOVED,
    "the same, clamped": MOVED | {"border": "clamp"},
    "the same, reflected": MOVED | {"border": "reflect"},
    "blur": {"blur_p": 1.0},
    "noise": {"noise_p": 1.0},
    "JPEG artefacts": {"jpeg_p": 1.0},
    "ring blurred": {"ring_blur_p": 1.0},
    "ring restained": {"ring_stain_p": 1.0},
    "ring swapped": {"ring_swap_p": 1.0},
    **{f"policy {name}": {"policy": name} for name in ("d4", "strong", "ring")},
}


def distances(store: Store, rows: NDArray[np.int64], size: int, case: str, runtime: Runtime) -> NDArray[np.float32]:
    """Return the signed distances graph - torchvision of these patches, [N, 3, H, W]."""
    asked = CASES[case]
    policy = AugmentConfig.model_validate(asked if "policy" in asked else STILL | asked)
    field = noise.noise_field(42, store.patch_size_px)
    config = Config(seed=42, data=DataConfig(image_size_px=size, batch_size=64, sampling="natural", augment=policy))
    grey_levels = []
    batches = loader.train_loader(Samples(store, rows, STATS), config, runtime)
    for step, batch in enumerate(batches.epoch(0)):
        drawn = draw.draw_augmentation(policy, size, config.seed, 0, range(step * 64, step * 64 + len(batch.indices_N)))
        taken = batch.indices_N.numpy()
        partners = ring_swap.partner_rows(drawn.stages, taken, rows)
        patches, partner_patches = (
            torch.from_numpy(store.gather(these)).permute(0, 3, 1, 2) for these in (taken, partners)
        )
        patches = reference.patches_with_artefacts(patches, partner_patches, drawn, field)
        wanted = reference.training_images(patches, drawn, size, STATS, border=policy.border)
        grey_levels.append((batch.images_NCHW - wanted) * torch.tensor(STATS.std_3)[:, None, None] * 255)
    return torch.cat(grey_levels).numpy()


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Kaggle folder; default: the real sample.")
@click.option("--patches", type=int, default=512, show_default=True)
def main(folder: Path | None, patches: int) -> None:
    """Measure, print and write a record."""
    folder = folder or harness.sample_folder()
    if folder is None:
        raise click.ClickException("no real patches here: give --folder, or set FASTPATH_SAMPLE_DATA")
    runtime = resolve("cpu")
    torch.set_num_threads(1)  # torchvision on one image at a time gains nothing from more
    results: dict[str, dict[str, float]] = {}
    table = ["| size | transform | mean distance | 99th percentile | signed mean |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as scratch:
        pack.pack_source(folder, Path(scratch) / "store")
        store = open_store(Path(scratch) / "store")
        rows = np.linspace(0, len(store) - 1, patches).astype(np.int64)
        for size in (224, 96):
            for case in CASES:
                signed = distances(store, rows, size, case, runtime)
                absolute = np.abs(signed)
                p99 = np.percentile(absolute[:, :, ::3, ::3], 99)
                row = {"mean": float(absolute.mean()), "p99": float(p99), "signed": float(signed.mean())}
                results[f"{case} at {size}"] = row
                table.append(f"| {size} | {case} | {row['mean']:.2f} | {row['p99']:.1f} | {row['signed']:+.2f} |")
                click.echo(table[-1])
    settings = {"patches": patches, "data": f"{folder.name}, real patches", "unit": "grey levels of 0 to 255"}
    click.echo(f"→ {harness.write_record('numerics', settings, results, chr(10).join(table))}")


if __name__ == "__main__":
    main()
