"""How often 95 % intervals by slide hold the truth, in simulated studies with few slides and few of them with tumour.

A study has `--slides` slides of unequal size (log-normal, sigma 0.8), about 50 patches each. A slide has a share of
tumour of its own (beta) and shifts the scores of its patches: one shift for all, one for each class (equal variances).
`icc` is the intraclass correlation of both, the labels and the scores within a class. The truth is of 20,000 slides.

Usage: python -m benchmarks.suites.coverage [--studies 400] [--slides 8 --slides 16 --slides 40]
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from fastpath.analysis import intervals, measures, weighted
from fastpath.analysis.intervals import Interval
from fastpath.analysis.proportions import proportion

PREVALENCES, AUCS, ICCS = (0.1, 0.4), (0.7, 0.9, 0.98), (0.05, 0.3)
PATCHES, SIZE_SIGMA, TRUTH_SLIDES = 50, 0.8, 20_000
MEASURES = [at for at, measure in enumerate(measures.MEASURES) if measure.tile and measure.name != "ece"]
"""Columns of `measures.table`; the ECE's interval needs resamples: `make test-slow`."""

NAMES = [measures.NAMES[at] for at in MEASURES]
LOW, HIGH = 0.93, 0.97
"""Coverage that is taken as right."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Corner:
    """What studies are drawn from."""

    slides: int
    prevalence: float
    auc: float
    icc: float


@dataclass(frozen=True, slots=True)
class Study:
    """One sample of patches: labels and logits [N], and each one's slide."""

    labels_N: NDArray[np.int8]
    logits_N: Floats
    of_N: NDArray[np.int64]


def draw(corner: Corner, rng: np.random.Generator, slides: int | None = None) -> Study:
    """Draw a study; `slides` in place of the corner's."""
    from scipy.special import ndtri

    num = slides or corner.slides
    weights_U = np.exp(rng.normal(0, SIZE_SIGMA, num))
    sizes_U = np.maximum(2, np.rint(num * PATCHES * weights_U / weights_U.sum())).astype(int)
    of_N = np.repeat(np.arange(num), sizes_U)
    alike = 1 / corner.icc - 1
    share_U = rng.beta(corner.prevalence * alike, (1 - corner.prevalence) * alike, num)
    labels_N = (rng.random(len(of_N)) < share_U[of_N]).astype(np.int8)
    gap = np.sqrt(2) * ndtri(corner.auc)
    shared_U, own_U2 = (rng.normal(0, np.sqrt(corner.icc / 2), size) for size in (num, (num, 2)))
    noise_N = rng.normal(0, np.sqrt(1 - corner.icc), len(of_N))
    evidence_N = gap * labels_N + shared_U[of_N] + own_U2[of_N, labels_N] + noise_N
    prior = np.log(corner.prevalence / (1 - corner.prevalence))
    return Study(labels_N, gap * (evidence_N - gap / 2) + prior, of_N)


def study_intervals(study: Study) -> dict[str, Interval] | None:
    """Return the interval of each measure as `fastpath evaluate` would; None where a class lies in one slide."""
    units = intervals.units_of(study.of_N, len(study.of_N), study.labels_N)
    if min(len(np.unique(study.of_N[study.labels_N == label])) for label in (0, 1)) < 2:
        return None
    scores = weighted.prepare(study.labels_N, study.logits_N)

    def statistic(weights_BN: Floats) -> Floats:
        values_BM: Floats = measures.table(scores, weights_BN)[:, MEASURES]
        return values_BM

    ends = intervals.bootstrap(statistic, units, [measures.SCALES[at] for at in MEASURES])
    called_N, positive_N = study.logits_N >= 0, study.labels_N == 1
    return dict(zip(NAMES, ends, strict=True)) | {
        "sensitivity": proportion(called_N, positive_N, units),
        "specificity": proportion(~called_N, ~positive_N, units),
        "ppv": proportion(positive_N, called_N, units),
    }


def truths(corner: Corner) -> dict[str, float]:
    """Return what the measures are in a population of very many slides; the AUC is known."""
    study = draw(corner, np.random.default_rng(99), TRUTH_SLIDES)
    scores = weighted.prepare(study.labels_N, study.logits_N)
    values_M = measures.table(scores, np.ones((1, len(study.labels_N))))[0, MEASURES]
    called_N, positive_N = study.logits_N >= 0, study.labels_N == 1
    shares = {"sensitivity": called_N[positive_N].mean(), "specificity": (~called_N[~positive_N]).mean()}
    shares["ppv"] = positive_N[called_N].mean()
    return {**dict(zip(NAMES, values_M.tolist(), strict=True)), "auc": corner.auc, **shares}


def coverage(corner: Corner, studies: int) -> dict[str, Any]:
    """Return the share of intervals that hold the truth, by measure, and how many studies had an interval."""
    truth = truths(corner)
    key = [corner.slides, *(round(1000 * value) for value in (corner.prevalence, corner.auc, corner.icc))]
    rng = np.random.default_rng(key)
    held: dict[str, list[bool]] = {name: [] for name in truth}
    for _ in range(studies):
        for name, interval in (study_intervals(draw(corner, rng)) or {}).items():
            if np.isfinite([interval.low, interval.high]).all():
                held[name].append(bool(interval.low <= truth[name] <= interval.high))
    shares = {name: round(float(np.mean(held_N)), 4) if held_N else None for name, held_N in held.items()}
    return {"coverage": shares, "defined": {name: len(held_N) for name, held_N in held.items()}, "truth": truth}


def table_of(results: dict[Corner, dict[str, Any]]) -> str:
    """Return Markdown: a row a corner; what lies outside `LOW` to `HIGH` by more than chance is in bold."""
    names = [*NAMES, "sensitivity", "specificity", "ppv"]
    lines = ["| slides | prevalence | AUC | ICC | " + " | ".join(names) + " |", "|---" * (4 + len(names)) + "|"]
    for corner, covered in results.items():
        cells = [_cell(covered["coverage"][name], covered["defined"][name]) for name in names]
        lines.append(
            f"| {corner.slides} | {corner.prevalence} | {corner.auc} | {corner.icc} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def _cell(share: float | None, studies: int) -> str:
    if share is None:
        return ""
    chance = 2 * np.sqrt(0.95 * 0.05 / studies)
    outside = share < LOW - chance or share > HIGH + chance
    return f"**{share:.3f}**" if outside else f"{share:.3f}"


@click.command()
@click.option("--studies", default=400, show_default=True)
@click.option("--slides", multiple=True, type=int, default=(8, 16, 40), show_default=True)
def main(studies: int, slides: tuple[int, ...]) -> None:
    """Simulate, print and write a record."""
    results = {}
    for parts in itertools.product(slides, PREVALENCES, AUCS, ICCS):
        corner = Corner(*parts)
        results[corner] = coverage(corner, studies)
        click.echo(f"{corner} {results[corner]['coverage']}")
    table = table_of(results)
    note = "Share of 95 % intervals that hold the truth. Bold: outside .93 to .97 by more than two standard errors."
    settings = {"studies": studies, "patches_a_slide": PATCHES, "size_sigma": SIZE_SIGMA, "truth_slides": TRUTH_SLIDES}
    values = {str(corner): covered for corner, covered in results.items()}
    click.echo(f"→ {harness.write_record('coverage', settings, values, f'{note}{chr(10)}{chr(10)}{table}')}")


if __name__ == "__main__":
    main()
