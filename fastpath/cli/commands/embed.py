"""`fastpath embed`: a packed store in, features of a published encoder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastpath.cli import following, inputs, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice

_LOCAL = "local-dir:"


@options.command("embed", "use")
@options.store_argument()
@options.output("Directory for the features: features-NNNNN.npy, rows.parquet and features.json.")
@click.option(
    "--model",
    required=True,
    help="The encoder: a model of timm, hf-hub:ORG/NAME, or local-dir:FOLDER with config.json and weights.",
)
@click.option(
    "--weights",
    "weights_path",
    type=param_types.PATH,
    help="A .pth or .safetensors file of the encoder's own, in place of the published weights: nothing is fetched.",
)
@options.device()
@options.precision()
@options.common
def command(
    store: Path,
    output: Path,
    model: str,
    weights_path: Path | None,
    device: str,
    precision: PrecisionChoice,
    as_json: bool,
    verbosity: int,
) -> None:
    """Describe every patch by a published encoder: one vector each.

    For example by a pathology foundation model.

    Patches are enlarged to the encoder's own input size and normalised as its authors did. The same command again goes
    on after an interruption, and leaves features alone that are there. 'fastpath probe' trains a head on them.

    \b
    Example:  fastpath embed store -o features --model hf-hub:MahmoodLab/UNI2-h --amp
              fastpath embed store -o features --model vit_small_patch16_224 --weights dino.safetensors
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    if model.startswith(_LOCAL):
        inputs.check_there(Path(model.removeprefix(_LOCAL)))
    from fastpath.workflows import embed

    runtime = machine.choose(device, precision)
    with render.progress_bar("embedding", verbosity) as advance:
        result = embed.embed_store(store, output, model, runtime, weights=weights_path, advance=advance)
    for text in result.notices:
        render.notice(text)
    title, next_command = f"features of {store}", following.probe(output) if following.is_divided(store) else ()
    render.result(asdict(result), as_json=as_json, title=title, location=output, following=next_command)
