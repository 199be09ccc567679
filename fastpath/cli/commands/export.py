"""`fastpath export`: a trained run in, one file for another runtime out, with a card that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from fastpath.cli import options, render


@options.command("export")
@click.argument("run", type=options.PATH)
@options.output("The file to write: .onnx, .pt2 (torch.export) or .ts (TorchScript).")
@options.tta("d4: average the logits of the eight turned and mirrored views within.")
@click.option(
    "--calibrated/--raw", default=True, show_default=True, help="Include the calibration the run has, if any."
)
@click.option("--store", type=options.PATH, help="Patches to compare on. Default: the run's own store.")
@options.split_file("where the run had it")
@click.option(
    "--check", type=options.Count(0), default=1000, show_default=True, help="Patches to compare; 0 compares none."
)
@options.checkpoint()
@options.common
def command(
    run: Path,
    output: Path,
    tta: Literal["none", "d4"],
    calibrated: bool,
    store: Path | None,
    split_file: Path | None,
    check: int,
    checkpoint: Literal["best", "last"],
    as_json: bool,
    verbosity: int,
) -> None:
    """Write a run as one file that takes patches as they are: uint8, N×height×width×3, red green blue.

    Normalisation, resizing, calibration and, on demand, the eight views are within; the batch size is free; outputs are
    `logit` and `probability`. The file is compared with the run on real patches and kept only where no logit differs by
    more than 0.001. A model card is written beside it. ONNX needs pip install 'fastpath[export]'.

    \b
    Example:  fastpath export runs/first -o model.onnx
              fastpath export runs/first -o model.pt2 --tta d4
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.runtime import resolve
    from fastpath.workflows.export import export

    runtime = resolve("cpu")
    with render.progress_bar("comparing", verbosity) as advance:
        result = export.export_run(
            run,
            output,
            runtime,
            tta=tta,
            calibrated=calibrated,
            store_path=store,
            split_file=split_file,
            check=check,
            which=checkpoint,
            advance=advance,
        )
    if result.notice:
        render.notice(result.notice)
    render.result(asdict(result), as_json=as_json, title=f"exported as {result.kind}", location=result.output)
