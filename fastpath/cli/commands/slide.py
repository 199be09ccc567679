"""`fastpath slide`: a trained run and a whole-slide image in, a heatmap and a score out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, machine, options, param_types, render
from fastpath.errors import UsageError

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice, Runtime
    from fastpath.workflows.slide.slide import SlideOptions, SlideResult
    from fastpath.workflows.slide.slide_batch import BatchResult
    from fastpath.workflows.slide.slide_pool import PoolResult
    from fastpath.workflows.slide.slide_table import TableResult


@options.command("slide")
@click.argument("run", type=param_types.PATH, required=False)
@click.argument("images", metavar="[IMAGE]...", type=param_types.PATH, nargs=-1)
@click.option(
    "--table",
    type=param_types.PATH,
    help="In place of RUN and IMAGE: predictions with a slide for each patch, to be aggregated.",
)
@click.option(
    "--pool",
    type=param_types.PATH,
    help="In place of RUN and IMAGE: a folder of slides scored with --lesions; their free-response ROC together.",
)
@click.option(
    "--lesions",
    type=param_types.PATH,
    help="Where tumour is: QuPath's GeoJSON, ASAP's XML, a CSV of lesion,x,y, or a mask; a folder of such, named "
    "as the slides are; or 'none' where there is none.",
)
@click.option("--mpp", type=param_types.Number(0.01, 100), help="Micrometres a pixel, where IMAGE does not tell.")
@click.option(
    "--tile-mpp",
    type=param_types.Number(0.01, 100),
    default=0.97,
    show_default=True,
    help="Micrometres a pixel that the run was trained at.",
)
@click.option(
    "--stride", type=param_types.Count(1), metavar="PX", help="Pixels between tiles. Default: a third of a tile."
)
@click.option(
    "--min-tissue",
    type=param_types.Number(0, 1),
    default=0.1,
    show_default=True,
    help="Least share of tissue of a place that is scored.",
)
@click.option("--top-k", type=param_types.Count(1), default=10, show_default=True, help="Tiles that top_k averages.")
@click.option(
    "--threshold",
    type=param_types.Number(0, 1),
    default=0.5,
    show_default=True,
    help="Probability from which a place is called tumour; 'fastpath evaluate' lists thresholds.",
)
@options.output("The directory to write to.")
@options.checkpoint()
@options.device()
@options.precision()
@options.common
def command(
    run: Path | None,
    images: tuple[Path, ...],
    table: Path | None,
    pool: Path | None,
    lesions: Path | None,
    mpp: float | None,
    tile_mpp: float,
    stride: int | None,
    min_tissue: float,
    top_k: int,
    threshold: float,
    output: Path,
    checkpoint: Literal["best", "last"],
    device: str,
    precision: PrecisionChoice,
    verbosity: int,
    as_json: bool,
) -> None:
    """Score whole slides: heatmaps, outlines for QuPath, slide scores.

    Writes heatmap.png, tumour.geojson and tiles.geojson for QuPath, tiles.parquet and slide.json.

    The slide is read at the scale the run was trained at and scored wherever there is tissue, each place by the tile
    in whose middle it lies. Its score is given as the surest place, the mean, the mean of the 10 surest, and noisy-or.
    With --lesions, also the AUC of the heatmap and CAMELYON16's free-response ROC. An interrupted run goes on where it
    was. Needs pip install 'fastpath[slide]'.

    Several slides get a folder each within the directory, named after them, and scored.csv has a row for each. One that
    cannot be scored does not end the others (exit status 1); the same command again goes on.

    With --table, patch predictions are aggregated by slide and each score's AUC between slides is given. With --pool,
    the free-response ROC is that of all slides in a folder, as CAMELYON16 has it.

    \b
    Example:  fastpath slide runs/first tumour_001.tif -o scored/tumour_001 --lesions tumour_001.xml
              fastpath slide runs/first tumour_*.tif -o scored --lesions annotations/
              fastpath slide runs/first normal_*.tif -o scored --lesions none
              fastpath slide --pool scored -o all
              fastpath slide --table runs/first/evaluation-val/predictions.parquet -o slides
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    if table is not None:
        _check_alone("--table", {"--pool": pool, "RUN": run, "--lesions": lesions})
        from fastpath.workflows.slide import slide_table

        _show_together(slide_table.aggregate_table(table, output, top_k=top_k), as_json=as_json)
        return
    if pool is not None:
        _check_alone("--pool", {"RUN": run, "--lesions": lesions})
        from fastpath.workflows.slide import slide_pool

        _show_together(slide_pool.pool_slides(pool, output), as_json=as_json)
        return
    if run is None or not images:
        raise UsageError("slide", "found no RUN and IMAGE, no --table, no --pool", "see 'fastpath slide --help'")
    from fastpath.workflows.slide.slide import SlideOptions

    runtime = machine.choose(device, precision)
    cut = SlideOptions(
        mpp=mpp,
        tile_mpp=tile_mpp,
        stride_px=stride,
        min_tissue=min_tissue,
        top_k=top_k,
        threshold=threshold,
        lesions=lesions,
    )
    _score(run, images, output, runtime, cut, checkpoint, verbosity, as_json=as_json)


def _check_alone(name: str, others: Mapping[str, Path | None]) -> None:
    """Refuse what asks for scores beside an option that reads those there are."""
    for other, path in others.items():
        if path is not None:
            problem = f"found {other} beside it, wanted it alone: nothing is scored anew"
            raise UsageError(name, problem, "give a table, a pool, or RUN and IMAGE")


def _show_together(result: TableResult | PoolResult, *, as_json: bool) -> None:
    """Print what slides come to that were scored before."""
    from dataclasses import asdict

    for text in result.notices:
        render.notice(text)
    values = asdict(result)
    if not as_json:
        values |= _aucs(values.pop("auc"), values.pop("auc_ends"))
    table = following.to_open(result.output, "slides.csv", "froc.csv")
    render.result(values, as_json=as_json, title=f"{result.num_slides} slides", location=table)


def _aucs(aucs: dict[str, float] | None, ends: dict[str, tuple[float, float]] | None) -> dict[str, str]:
    """Return each AUC between slides with its interval over slides, as it is shown."""
    values = {}
    for name, value in (aucs or {}).items():
        low, high = (ends or {})[name]
        values[f"auc_{name}"] = f"{value:.4f}  ({'no interval' if math.isnan(low) else f'{low:.4f} to {high:.4f}'})"
    return values


def _score(
    run: Path,
    images: tuple[Path, ...],
    output: Path,
    runtime: Runtime,
    cut: SlideOptions,
    checkpoint: Literal["best", "last"],
    verbosity: int,
    *,
    as_json: bool,
) -> None:
    """Score one slide into the directory itself, or each of several into a folder of its own there."""
    from fastpath.workflows.slide import slide, slide_batch

    if len(images) > 1:

        def watch(name: str) -> AbstractContextManager[render.Advance]:
            return render.progress_bar(name, verbosity)

        slides = slide_batch.score_slides(run, images, output, runtime, options=cut, checkpoint=checkpoint, watch=watch)
        _show_slides(slides, as_json=as_json)
        return
    with render.progress_bar("scoring", verbosity) as advance:
        scored = slide.score_slide(run, images[0], output, runtime, options=cut, checkpoint=checkpoint, advance=advance)
    _show_slide(scored, as_json=as_json)


def _show_slide(result: SlideResult, *, as_json: bool) -> None:
    """Print what one slide comes to."""
    from dataclasses import asdict

    if result.notice:
        render.notice(result.notice)
    render.verdicts(result.verdicts)
    values = asdict(result)
    if not as_json:
        values |= {f"score_{name}": value for name, value in values.pop("scores").items()}
        values |= values.pop("lesions") or {}
        del values["fingerprint"]
    page = following.to_open(result.output, "viewer.html")
    render.result(values, as_json=as_json, title=result.image, location=page)


def _show_slides(result: BatchResult, *, as_json: bool) -> None:
    """Print what each slide comes to; exit 1 where one has no score."""
    from dataclasses import asdict

    for row in result.slides:
        if row["problem"]:
            render.notice(f"{row['slide']} has no score: {row['problem']}")
    if as_json:
        render.result(asdict(result), as_json=True, title="")
    else:
        shown = ("slide", "status", "num_tiles", "called_mm2", "score_max", "score_top_k")
        table = render.table(f"{result.num_slides} slides, {result.num_failed} failed", *shown)
        for row in result.slides:
            cells = ("" if row[name] is None else row[name] for name in shown)
            render.add_row(table, *(f"{cell:.4f}" if isinstance(cell, float) else cell for cell in cells))
        render.show(table)
        folder = Path(result.output)
        pooled = any(row["froc_score"] is not None for row in result.slides)
        pool = ("fastpath", "slide", "--pool", folder, "-o", following.free(folder.with_name(f"{folder.name}-pool")))
        render.end(following.to_open(folder, "scored.csv"), pool if pooled else ())
    if result.num_failed:
        click.get_current_context().exit(1)
