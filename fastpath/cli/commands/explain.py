"""`fastpath explain`: a trained run in, pictures of where it finds its calls out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fastpath.cli import following, machine, options, param_types, render

if TYPE_CHECKING:
    from fastpath.model.attribution import Method
    from fastpath.workflows.explain.explain import ExplainOptions

METHODS: tuple[Method, ...] = ("gradcam", "hirescam", "integrated_gradients")


@options.command("explain", "judge")
@click.argument("run", type=param_types.PATH)
@click.argument("more_ids", metavar="", nargs=-1)
@click.option(
    "--ids", "first_ids", multiple=True, metavar="ID...", help="Patches by id or its beginning; several may follow."
)
@click.option("--errors", type=param_types.Count(1), metavar="N", help="The N most confident errors of the split.")
@click.option("--sample", type=param_types.Count(1), metavar="N", help="N random patches of the split. Default: 64.")
@click.option("--store", type=param_types.PATH, help="The packed store. Default: the run's own.")
@options.split_file("where the run had it")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="val",
    show_default=True,
    help="The part of the store that errors, sample and audit are of.",
)
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, help="Repeatable. Default: all.")
@click.option("--audit/--no-audit", "with_audit", default=True, show_default=True, help="Score with parts hidden.")
@options.output("The directory to write to.")
@options.checkpoint()
@options.device()
@options.common
def command(
    run: Path,
    more_ids: tuple[str, ...],
    first_ids: tuple[str, ...],
    errors: int | None,
    sample: int | None,
    store: Path | None,
    split_file: Path | None,
    split: str,
    methods: tuple[Method, ...],
    with_audit: bool,
    output: Path,
    checkpoint: Literal["best", "last"],
    device: str,
    as_json: bool,
    verbosity: int,
) -> None:
    """Show where in a patch a run finds its calls.

    And how much of that lies in the centre, which decides the label.

    Attribution maps of single patches, the share of each in the middle third by middle third beside that of networks
    with random weights, and the occlusion test: the AUC of the split with the ring hidden and with the centre
    hidden, behind the mean colour of the training patches. Writes explain.png, patches/ID.png, attributions.csv and
    explain.json.

    \b
    Example:  fastpath explain runs/first --errors 16 -o explained
              fastpath explain runs/first --ids 0a1b2c 3d4e5f --method gradcam -o explained
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.types import Split
    from fastpath.workflows.explain import explain

    chosen = _chosen(first_ids, more_ids, errors, sample)
    runtime = machine.choose(device, "float32")
    with render.progress_bar("explaining", verbosity) as advance:
        result = explain.explain_run(
            run,
            output,
            runtime,
            options=chosen,
            store_path=store,
            split_file=split_file,
            split=Split(split),
            methods=methods or METHODS,
            with_audit=with_audit,
            checkpoint=checkpoint,
            advance=advance,
        )
    for text in result.notices:
        render.notice(text)
    render.verdicts(result.verdicts)
    values = asdict(result)
    if not as_json:
        untrained = values.pop("centre_mass_untrained")
        for method, mass in values.pop("centre_mass").items():
            values |= {f"centre_mass_{method}": mass["mean"], f"untrained_{method}": untrained[method]["mean"]}
        audit = values.pop("audit") or {}
        values |= {("patches_audited" if name == "num_patches" else name): value for name, value in audit.items()}
    render.result(
        values,
        as_json=as_json,
        title=f"{result.num_patches} patches explained",
        location=following.to_open(result.output, "explain.png"),
        following=("fastpath", "export", run, "-o", following.beside(run, "model.pt2")),
    )


def _chosen(
    first_ids: tuple[str, ...], more_ids: tuple[str, ...], errors: int | None, sample: int | None
) -> ExplainOptions:
    """Return which patches were chosen; at most one way is."""
    from fastpath.errors import UsageError
    from fastpath.workflows.explain.explain import SAMPLE, ExplainOptions

    if more_ids and not first_ids:
        raise UsageError("arguments", f"found '{more_ids[0]}' after RUN, wanted one RUN", "write --ids before ids")
    given = [name for name, value in (("--ids", first_ids), ("--errors", errors), ("--sample", sample)) if value]
    if len(given) > 1:
        raise UsageError(" and ".join(given), "found together, wanted one of them", "explain one choice at a time")
    return ExplainOptions(ids=first_ids + more_ids, errors=errors or 0, sample=sample or SAMPLE)
