"""`fastpath models`: the networks that `model.name` takes."""

from __future__ import annotations

import click

from fastpath.cli import options, render


@options.command("models", "train")
@click.argument("pattern", metavar="[GLOB]", default="*")
@click.option("--pretrained", is_flag=True, help="Only networks with published weights.")
@options.answers
def command(pattern: str, pretrained: bool, as_json: bool) -> None:
    """List timm's networks by name: weights, input size, licence.

    GLOB may hold * and ?; a word without them matches any name that holds it. Parameters are counted where 20 networks
    or fewer match. Nothing is downloaded.

    \b
    Example:  fastpath models 'resnet50*'
              fastpath models lite0 --pretrained
              fastpath train store -o runs/first --set model.name=tf_efficientnet_lite0.in1k
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from dataclasses import asdict

    from fastpath.workflows import models

    result = models.find(pattern, pretrained=pretrained)
    if as_json:
        render.result({"models": [asdict(model) for model in result]}, as_json=True, title="")
        return
    table = render.table("", "model.name", "weights", "input px", "million parameters", "licence")
    table.columns[0].min_width = max(len(model.name) for model in result)  # a name is copied whole
    for model in result:
        count = "" if model.million_parameters is None else f"{model.million_parameters:.1f}"
        size = str(model.input_px or "")
        render.add_row(table, model.name, "published" if model.pretrained else "", size, count, model.licence)
    render.console().print(table)
