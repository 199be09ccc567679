"""Score a whole-slide image tile by tile, and draw where the network sees tumour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastpath.analysis import metrics, slides
from fastpath.analysis.verdicts import Outside, Verdict
from fastpath.ingest.slide_reader import open_slide
from fastpath.runs import calibration_file, output_place, training_appearance
from fastpath.runs.calibration_file import Kept
from fastpath.runs.inference import portions
from fastpath.runs.precision import settle
from fastpath.runs.row_lookup import of_slide
from fastpath.runs.trained import CheckpointName, TrainedRun, open_run
from fastpath.runtime import Runtime
from fastpath.system import run_log
from fastpath.workflows.slide import slide_files, slide_origin, slide_top
from fastpath.workflows.slide.slide_grid import Grid, Tiles, lay_grid
from fastpath.workflows.slide.slide_lesions import KnownTumour, LesionMatch, known_tumour, lesions_of, match_lesions
from fastpath.workflows.slide.slide_progress import Progress
from fastpath.workflows.slide.slide_top import TopTile

TILE_MPP = 0.97
"""Micrometres a pixel of the Kaggle set and PatchCamelyon."""

MIN_TISSUE = 0.1

Advance = Callable[[int, int], None]
"""Called with tiles done and in all."""

THRESHOLD = 0.5
"""Probability from which a place is called tumour: the report of `evaluate` names others, each with its reason."""


@dataclass(frozen=True, slots=True)
class SlideOptions:
    """How a slide is cut into tiles, and what is made of them.

    Attributes:
        mpp: Micrometres a pixel of the slide's full resolution; None takes what the file tells.
        tile_mpp: Those that the network was trained at.
        stride_px: Side of a cell in pixels of a tile; None is a third of a tile.
        min_tissue: Least share of tissue of a cell that is scored.
        top_k: Cells that `top_k` averages.
        threshold: Probability from which a cell is called tumour.
        lesions: Where tumour is known to be: a file (`slide_lesions.known_tumour`), a folder with a file of the slide's
            name, or `slide_lesions.NONE`.
    """

    mpp: float | None = None
    tile_mpp: float = TILE_MPP
    stride_px: int | None = None
    min_tissue: float = MIN_TISSUE
    top_k: int = slides.TOP_K
    threshold: float = THRESHOLD
    lesions: Path | None = None


@dataclass(frozen=True, slots=True)
class SlideResult:
    """What a slide came to.

    Attributes:
        image: The slide's file name.
        width_px: At full resolution.
        height_px: At full resolution.
        mpp: Micrometres a pixel there.
        tile_px: Side of a tile as the network sees it.
        stride_px: Side of a cell, likewise.
        num_cells: Cells that cover the slide.
        num_tiles: Of these, with tissue: scored.
        threshold: Probability from which a cell is called tumour.
        num_called: Cells that are.
        called_mm2: Their area in square millimetres.
        top_tiles: The surest places, for a person to look at first.
        scores: By aggregation, from calibrated probabilities.
        calibration: The calibration of the probabilities; `none` where they are raw.
        notice: Why they are raw, whether patches of this slide were trained on, and what of the lesions' file was left
            out; empty where none is so.
        lesions: How the heatmap compares with them; None where none were given.
        appearance: By measure, how its tiles lie beside the patches trained on.
        verdicts: Whether its tissue looks like theirs, in words.
        fingerprint: Of all that it was made from: the same where nothing would come out otherwise.
        output: Where the files lie (`slide_files`).
    """

    image: str
    width_px: int
    height_px: int
    mpp: float
    tile_px: int
    stride_px: int
    num_cells: int
    num_tiles: int
    threshold: float
    num_called: int
    called_mm2: float
    top_tiles: list[TopTile]
    scores: dict[str, float]
    calibration: str
    notice: str
    lesions: LesionMatch | None
    appearance: list[Outside]
    verdicts: list[Verdict]
    fingerprint: str
    output: str


def score_slide(
    run_dir: Path,
    image: Path,
    output: Path,
    runtime: Runtime,
    *,
    options: SlideOptions | None = None,
    checkpoint: CheckpointName = "best",
    advance: Advance | None = None,
) -> SlideResult:
    """Score a slide and write what `slide_files` names. A run that was stopped goes on where it was.

    Args:
        run_dir: A run directory.
        image: A slide.
        output: The directory to write to.
        runtime: Device and precision.
        options: How the slide is cut, and lesions.
        checkpoint: The best epoch's weights or the last's.
        advance: Called with tiles done and in all.

    Raises:
        UsageError: The slide's scale is unknown.
        DataError: The image cannot be read or shows no tissue, or the lesions are not lesions.
    """
    options = options or SlideOptions()
    options = replace(options, lesions=lesions_of(options.lesions, image))
    output_place.check_directory(output, slide_files.FACTS, (run_dir, image, options.lesions))
    trained = open_run(run_dir, checkpoint)
    kept = calibration_file.load(trained.path, "none", "logits")
    with closing(open_slide(image)) as slide:
        grid = lay_grid(slide, trained.checkpoint.patch_size_px, options.tile_mpp, options.mpp, options.stride_px)
        lesions = None if options.lesions is None else known_tumour(options.lesions, grid)
        places_N2 = grid.places(options.min_tissue)
        with _scores(trained, grid, places_N2, output, runtime, advance) as logits_N:
            probability_N = metrics.probabilities(kept.calibrator.apply(logits_N))
            outlines = lesions.outlines if lesions else []
            scored = slide_files.Scored(grid, places_N2, logits_N, probability_N, outlines)
            result = _result(trained, kept, image, scored, lesions, output, runtime, options)
            facts = {key: value for key, value in asdict(result).items() if key != "output"}
            slide_files.write(output, facts, scored, result.top_tiles)
    return result


def _result(
    trained: TrainedRun,
    kept: Kept,
    image: Path,
    scored: slide_files.Scored,
    lesions: KnownTumour | None,
    output: Path,
    runtime: Runtime,
    options: SlideOptions,
) -> SlideResult:
    """Return what the scores of an open slide come to."""
    grid, places_N2, probability_N = scored.grid, scored.places_N2, scored.probability_N
    with ThreadPoolExecutor(runtime.num_threads) as pool:
        tiles = Tiles(grid, places_N2, pool, trained.checkpoint.stain)
        outside, verdict = training_appearance.appearance_verdict(trained, tiles)
    num_called = int((probability_N >= options.threshold).sum())
    width, height = grid.slide.size_px
    # It is kept beside the scores, which may go elsewhere.
    notice = "; ".join(filter(None, (*kept.notices, of_slide(trained, image.stem)))).replace(
        f"{trained.path.parent}/", ""
    )
    return SlideResult(
        image=image.name,
        width_px=width,
        height_px=height,
        mpp=grid.mpp,
        tile_px=trained.checkpoint.patch_size_px,
        stride_px=grid.stride_px,
        num_cells=grid.shape[0] * grid.shape[1],
        num_tiles=len(places_N2),
        threshold=options.threshold,
        num_called=num_called,
        called_mm2=num_called * (grid.stride_px * grid.tile_mpp / 1000) ** 2,
        top_tiles=slide_top.choose(grid, places_N2, probability_N),
        scores=slides.slide_scores(probability_N, options.top_k),
        calibration=kept.calibrator.method,
        notice="; ".join(filter(None, (notice, lesions.left_out if lesions else ""))),
        lesions=None if lesions is None else match_lesions(grid, places_N2, probability_N, lesions.mask_HW),
        appearance=outside,
        verdicts=[verdict],
        fingerprint=slide_origin.of_files(trained, image, runtime, asdict(options)),
        output=str(output),
    )


@contextmanager
def _scores(
    trained: TrainedRun,
    grid: Grid,
    places_N2: NDArray[np.int64],
    output: Path,
    runtime: Runtime,
    advance: Advance | None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the logit of each tile, going on after those that are written down.

    They stay written down until the block has ended well: whatever it fails of, they need not be computed again.
    """
    runtime = settle(runtime, trained.config, training=False)
    model, total = runtime.prepare(trained.network()), len(places_N2)
    begun = Progress.resume(output, slide_origin.of_logits(trained, grid, places_N2, runtime), total)
    with closing(begun) as progress, run_log.kept_in(output):
        with ThreadPoolExecutor(runtime.num_threads) as pool:
            tiles = Tiles(grid, places_N2, pool, trained.checkpoint.stain)
            rows_N = np.arange(len(progress), total)
            if advance is not None:
                advance(len(progress), total)
            for logits_N in portions(trained, model, tiles, rows_N, runtime) if len(rows_N) else ():
                progress.append(logits_N)
                if advance is not None:
                    advance(len(progress), total)
        yield progress.logits()
        progress.remove()
