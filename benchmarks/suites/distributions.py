"""Every augmentation parameter against torchvision's own draws: two-sample Kolmogorov-Smirnov, 100,000 a side.

torchvision's transforms are asked for their parameters one at a time, as a loader of theirs does.

Usage: python -m benchmarks.suites.distributions [--draws 100000]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import ks_2samp
from torchvision.transforms import v2

from benchmarks import harness
from fastpath.config import AugmentConfig, MixConfig
from fastpath.data.augment import draw, mix
from fastpath.data.augment.draw import COLOUR_ORDERS
from fastpath.data.augment.stages import noise

SIZE_PX, PATCH_PX = 224, 96
MOVED = {"shift_px": 6.0, "zoom": (0.8, 1.2), "blur_p": 1.0, "noise_p": 1.0, "jpeg_p": 1.0}
SHARE_DIGITS = 3  # a fiftieth of Beta(0.2, 0.2) lies so close to 1 that torchvision's float32 rounds it there
Columns = dict[str, NDArray[Any]]


def ours(draws: int) -> Columns:
    """Return each parameter as fastpath draws it, [draws] each."""
    policy = AugmentConfig.model_validate(MOVED)
    drawn = draw.draw_augmentation(policy, SIZE_PX, 11, 0, range(draws))
    columns: Columns = dict(zip(("top", "left", "height", "width"), drawn.crop_N4.T, strict=True))
    columns |= dict(zip(("brightness", "contrast", "saturation", "hue"), drawn.factors_N4.T, strict=True))
    columns |= {"order of the four": drawn.order_N4 @ [64, 16, 4, 1], "angle": drawn.angle_deg_N, "flip": drawn.hflip_N}
    shift = np.rint(drawn.shift_px_N2 * SIZE_PX / PATCH_PX)  # torchvision's are whole pixels of the resized image
    columns |= {"shift right": shift[:, 0], "shift down": shift[:, 1], "zoom": drawn.zoom_N}
    columns |= {"blur": drawn.stages["blur"]["sigma_px"], "JPEG quality": drawn.stages["jpeg"]["quality"]}
    field = noise.noise_field(11, PATCH_PX).ravel()[:draws]
    mixing = mix.draw_mixing(MixConfig(mixup_p=1.0, mixup_alpha=0.2), 11, 0, range(2 * draws))
    return columns | {"noise": field, "Mixup share": mixing.blend_N[::2].round(SHARE_DIGITS)}


def theirs(draws: int) -> Columns:
    """Return each parameter as torchvision draws it, [draws] each."""
    torch.manual_seed(5)
    image = torch.empty(3, SIZE_PX, SIZE_PX)
    crop, jitter = v2.RandomResizedCrop(SIZE_PX, (0.8, 1.0)), v2.ColorJitter(0.2, 0.2, 0.2, 0.1)
    turn, share = v2.RandomRotation(15), 6.0 / PATCH_PX
    move = v2.RandomAffine(0, (share, share), (0.8, 1.2))
    blur, jpeg, blend = v2.GaussianBlur(9, (0.3, 1.2)), v2.JPEG((50, 95)), v2.MixUp(alpha=0.2, num_classes=2)

    def column(make: Callable[[], list[float]], names: list[str]) -> Columns:
        return dict(zip(names, np.array([make() for _ in range(draws)]).T, strict=True))

    def jittered() -> list[float]:
        values = jitter.make_params([])
        code = int(sum(int(kind) * 4**place for kind, place in zip(values["fn_idx"], (3, 2, 1, 0), strict=True)))
        return [*(float(values[f"{name}_factor"]) for name in ("brightness", "contrast", "saturation", "hue")), code]

    def moved() -> list[float]:
        values = move.make_params([image])
        return [*values["translate"], values["scale"]]

    columns = column(lambda: list(crop.make_params([image]).values()), ["top", "left", "height", "width"])
    columns |= column(jittered, ["brightness", "contrast", "saturation", "hue", "order of the four"])
    columns |= column(lambda: [turn.make_params([])["angle"]], ["angle"])
    columns |= column(moved, ["shift right", "shift down", "zoom"])
    columns |= column(lambda: [blur.make_params([])["sigma"][0]], ["blur"])
    columns |= column(lambda: [jpeg.make_params([])["quality"]], ["JPEG quality"])
    columns |= column(lambda: [round(float(blend._dist.sample(())), SHARE_DIGITS)], ["Mixup share"])
    # RandomHorizontalFlip compares a uniform draw with its probability; GaussianNoise adds randn.
    levels = np.clip(np.rint(torch.randn(draws).numpy() * noise.NOISE_LEVELS), -127, 127)  # in steps of the field
    return columns | {"flip": (torch.rand(draws) < 0.5).numpy(), "noise": levels}


def compare(draws: int) -> dict[str, dict[str, float]]:
    """Return the distance between the two distribution functions and its p-value, for each parameter."""
    assert len(COLOUR_ORDERS) == 24
    mine, yours = ours(draws), theirs(draws)
    assert set(mine) == set(yours)
    tests = {name: ks_2samp(mine[name], yours[name]) for name in mine}
    return {name: {"distance": float(test.statistic), "p": float(test.pvalue)} for name, test in tests.items()}


@click.command()
@click.option("--draws", default=100_000, show_default=True)
def main(draws: int) -> None:
    """Compare, print and write a record."""
    rows = compare(draws)
    table = ["| parameter | largest distance of the distribution functions | p |", "|---|---|---|"]
    table += [f"| {name} | {row['distance']:.4f} | {row['p']:.3f} |" for name, row in rows.items()]
    click.echo("\n".join(table))
    click.echo(f"→ {harness.write_record('distributions', {'draws': draws}, rows, chr(10).join(table))}")


if __name__ == "__main__":
    main()
