"""`fastpath predict`: a trained run and unlabelled patches in, a submission table out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import click

from fastpath.cli import options, render


@click.command(name="predict")
@click.argument("run", type=options.PATH)
@click.option("--store", type=options.PATH, help="Packed patches.")
@click.option("--source", type=options.PATH, help="A folder of patches, packed for the occasion; or one with test/.")
@options.output("The table to write, a CSV of id,label, label being a probability.")
@click.option(
    "--sample",
    type=options.PATH,
    help="A sample submission: its ids, in its order. Default: the sample_submission.csv in or beside --source.",
)
@options.checkpoint()
@options.device()
@options.amp()
@options.common
def command(
    run: Path,
    store: Path | None,
    source: Path | None,
    output: Path,
    sample: Path | None,
    checkpoint: Literal["best", "last"],
    device: str,
    amp: bool,
    as_json: bool,
    verbosity: int,
) -> None:
    """Predict the probability of tumour for patches, as a submission table.

    Rows are in the order of the sample submission where there is one, else of the store.

    \b
    Example:  fastpath predict runs/first --source histopathologic-cancer-detection -o submission.csv
              fastpath predict runs/first --store store-test -o submission.csv
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath import runtime
    from fastpath.errors import UsageError
    from fastpath.workflows import predict

    if (store is None) == (source is None):
        found = "neither" if store is None else "both"
        raise UsageError("--store, --source", f"found {found}, wanted one of them", "give the patches to predict")
    where = runtime.resolve(device, amp=amp)
    if where.notice:
        render.notice(where.notice)
    with ExitStack() as stack:
        if source is not None:
            predict.check_run(run, checkpoint, output)  # before minutes of packing
            sample = sample or predict.sample_beside(source)
            with render.progress_bar("packing", verbosity) as advance:
                store = stack.enter_context(predict.packed(source, output, advance))
        assert store is not None
        with render.progress_bar("predicting", verbosity) as advance:
            result = predict.run(run, store, output, where, sample=sample, which=checkpoint, advance=advance)
    render.result(asdict(result), as_json=as_json, title="predicted", where=output)
