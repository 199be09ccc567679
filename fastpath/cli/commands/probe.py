"""`fastpath probe`: features in, a head on them and its evaluation out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.runtime import Runtime


@options.command("probe")
@click.argument("features", type=param_types.PATH)
@options.output("Directory for report.html, metrics.json, predictions.parquet, head.safetensors and probe.json.")
@click.option(
    "--store", type=param_types.PATH, help="The store that was embedded: for its patches and its present split."
)
@options.split_file("the store's own, with --store")
@click.option(
    "--split", type=click.Choice(["val", "test"]), help="The part to judge. Default: test where there is one, else val."
)
@click.option("--slides", is_flag=True, help="Judge labels of slides instead: attention, means and maxima, by folds.")
@click.option(
    "--slide-labels",
    type=param_types.PATH,
    help="With --slides: a table of slide,label. Default: a slide has tumour where any of its patches has.",
)
@options.device()
@options.seed(42)
@options.common
def command(
    features: Path,
    output: Path,
    store: Path | None,
    split_file: Path | None,
    split: Literal["val", "test"] | None,
    slides: bool,
    slide_labels: Path | None,
    device: str,
    seed: int,
    as_json: bool,
    verbosity: int,
) -> None:
    """Train a logistic head on features, and judge it.

    The report is that of 'fastpath evaluate'. FEATURES is what 'fastpath embed' wrote. The head learns from the
    training split; its regularisation is chosen by inner folds of that split, of whole slides where they are known.
    With --slides, slides are told apart by gated attention (Ilse et al. 2018), beside the mean of their features
    and the surest patches of such a head.

    \b
    Example:  fastpath probe features -o probe
              fastpath probe features -o probe --store store
              fastpath probe features -o slides --slides
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from fastpath.errors import UsageError

    runtime = machine.choose(device, "float32")
    if slides or slide_labels is not None:
        for name, value in (("--store", store), ("--split-file", split_file), ("--split", split)):
            if value is not None:
                raise UsageError(name, "found it beside --slides, which judges by folds of slides", "leave it out")
        _aggregate(features, output, runtime, slide_labels, seed, as_json=as_json, verbosity=verbosity)
        return
    from fastpath.types import Split
    from fastpath.workflows.probe import probe

    part = None if split is None else Split(split)
    result = probe.probe_features(features, output, store_path=store, split_file=split_file, split=part, seed=seed)
    for text in result.notices:
        render.notice(text)
    render.verdicts(result.verdicts)
    if as_json:
        render.result(result.facts | {"output": result.output}, as_json=True, title="")
        return
    names = ("split", "num_patches", "num_positive", "num_slides", "auc", "average_precision", "accuracy")
    values = {name: result.facts[name] for name in names} | {"penalty": result.facts["probe"]["penalty"]}
    page = following.to_open(result.output, "report.html")
    render.result(values, as_json=False, title=f"probe of {result.facts['encoder']}", location=page)


def _aggregate(
    features: Path, output: Path, runtime: Runtime, labels: Path | None, seed: int, *, as_json: bool, verbosity: int
) -> None:
    from dataclasses import asdict

    from fastpath.workflows.probe import slide_labels

    with render.progress_bar("folds", verbosity) as advance:
        result = slide_labels.aggregate_slides(
            features, output, runtime, labels_path=labels, seed=seed, advance=advance
        )
    for text in result.notices:
        render.notice(text)
    values = asdict(result)
    if not as_json:
        auc, _ = values.pop("auc"), values.pop("gain")
        values |= {f"auc {name}": _with_ends(interval) for name, interval in auc.items()}
    table = following.to_open(result.output, "slide_scores.csv")
    render.result(values, as_json=as_json, title="slides told apart", location=table)


def _with_ends(interval: dict[str, float | None]) -> str:
    low, high = interval["low"], interval["high"]
    ends = "no interval" if low is None or high is None else f"{low:.4f} to {high:.4f}"
    return f"{interval['value']:.4f}  ({ends})"
