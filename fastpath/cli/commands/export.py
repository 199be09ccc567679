"""`fastpath export`: a trained run in, one file for another runtime out, with a card that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastpath.cli import machine, options, param_types, render


@options.command("export")
@click.argument("run", type=param_types.PATH)
@options.output("The file to write: .onnx, .pt2 (torch.export), .ts (TorchScript) or .safetensors; a folder for timm.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["onnx", "pt2", "ts", "safetensors", "timm"]),
    help="What to write.  [default: by the ending of -o]",
)
@options.tta("d4: average the logits of the eight turned and mirrored views within.")
@click.option(
    "--calibrated/--raw", default=True, show_default=True, help="Include the calibration the run has, if any."
)
@click.option("--store", type=param_types.PATH, help="Patches to compare on. Default: the run's own store.")
@options.split_file("where the run had it")
@click.option(
    "--check", type=param_types.Count(0), default=1000, show_default=True, help="Patches to compare; 0 compares none."
)
@options.checkpoint()
@options.common
def command(
    run: Path,
    output: Path,
    kind: Literal["onnx", "pt2", "ts", "safetensors", "timm"] | None,
    tta: Literal["none", "d4"],
    calibrated: bool,
    store: Path | None,
    split_file: Path | None,
    check: int,
    checkpoint: Literal["best", "last"],
    as_json: bool,
    verbosity: int,
) -> None:
    """Write a run as one file for another runtime.

    The file takes patches as they are: uint8, N×height×width×3, red green blue.

    Normalisation, resizing, calibration and, on demand, the eight views are within; the batch size is free; outputs are
    `logit` and `probability`. The file is compared with the run on real patches and kept only where no logit differs by
    more than 0.001. A model card is written beside it. ONNX needs pip install 'fastpath[export]'.

    .safetensors holds the network's weights alone, by timm's names; --format timm writes a folder in the layout of the
    Hugging Face hub, which timm.create_model("local-dir:FOLDER", pretrained=True) loads. Both are compared likewise.

    \b
    Example:  fastpath export runs/first -o model.onnx
              fastpath export runs/first -o model.pt2 --tta d4
              fastpath export runs/first -o tumour-resnet18 --format timm
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.workflows.export import export

    runtime = machine.choose("cpu", "float32")
    with render.progress_bar("comparing", verbosity) as advance:
        result = export.export_run(
            run,
            output,
            runtime,
            kind=kind,
            tta=tta,
            calibrated=calibrated,
            store_path=store,
            split_file=split_file,
            check=check,
            checkpoint=checkpoint,
            advance=advance,
        )
    if result.notice:
        render.notice(result.notice)
    render.result(asdict(result), as_json=as_json, title=f"exported as {result.kind}", location=result.output)
