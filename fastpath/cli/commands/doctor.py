"""`fastpath doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from fastpath.cli import options, render

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@options.command("doctor", "start")
@options.common
@click.pass_context
def command(context: click.Context, as_json: bool, verbosity: int) -> None:
    """Check that this machine can train.

    Software, graphics card and driver, processor, memory, disk, DALI.

    Exits 1 where something prevents training, 0 otherwise.

    \b
    Example:  fastpath doctor
              fastpath doctor --json > machine.json
    """  # noqa: D301 (\b is click's mark for a paragraph to keep as it is)
    from fastpath.workflows import doctor

    result = doctor.examine_machine()
    if as_json:
        click.echo(
            json.dumps({"healthy": result.healthy, "checks": [asdict(check) for check in result.checks]}, indent=2)
        )
    else:
        table = render.table("", "", "", "", show_header=False)
        for check in result.checks:
            if verbosity < 0 and check.status == "ok":
                continue
            colour = _COLOURS[check.status]
            remedy = f" → {check.remedy}" if check.remedy else ""
            render.add_row(table, render.text(check.status, colour), check.name, check.found + remedy)
        render.console().print(table)
        render.end("ready to train" if result.healthy else "not ready: see the problems above")
    context.exit(0 if result.healthy else 1)
