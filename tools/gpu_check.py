"""The one command for a machine with a card: is fastpath right there, how fast is it, and what limits it?

Stages in order: versions and clocks; the card's batches against the CPU's; the `gpu` tests; whole epochs of the
notebook's size; a run repeated, killed and gone on with; sizes of batch; training loops in turns; a profile;
precisions; checkpoints. Each result is on the disk when it is known (`results.jsonl` in --out), a stage that fails or
hangs stops no other, and the table (`table.md`) is there after every stage. docs/benchmarks.md says how to read it.

Usage: make gpu-check     (or: python tools/gpu_check.py [--out DIR] [--budget 400] [--only NAME,NAME] [--skip NAME])
       python tools/gpu_check.py --device cpu --tiny      rehearses everything without a card
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import harness
from benchmarks.card import driver
from benchmarks.card.check import RESULTS, Check, read_rows
from benchmarks.card.stages import STAGES, Stage
from benchmarks.card.table import failures, table
from benchmarks.card.targets import rows_of

REHEARSAL_PATIENCE = 40.0  # a rehearsal's stages are expected to take what a card would, and no CPU does
TABLE = "table.md"


def chosen(only: str, skip: str, stages: Sequence[Stage] = STAGES) -> list[Stage]:
    """Return the stages asked for, in their order.

    Raises:
        click.UsageError: A name that no stage has.
    """
    asked, left_out = (list(filter(None, names.split(","))) for names in (only, skip))
    unknown = sorted({*asked, *left_out} - {stage.name for stage in stages})
    if unknown:
        names = ", ".join(stage.name for stage in stages)
        raise click.UsageError(f"found {', '.join(unknown)}, wanted any of {names}")
    return [stage for stage in stages if (stage.name in asked or not asked) and stage.name not in left_out]


def record(out: Path, settings: dict[str, Any], text: str, *, keep: bool) -> list[Path]:
    """Write the record into the check's folder and, where it is to be kept, beside the others; returns where."""
    rows = list(read_rows(out))
    facts = {key: value for row in rows_of(rows, "facts") for key, value in row.items()}
    card = facts["smi"].get("name") if isinstance(facts.get("smi"), dict) else None
    settings |= {name: facts[name] for name in ("runtime", "smi", "versions") if name in facts}
    folders = [out, *([harness.RECORDS] if keep else [])]
    theme = f"gpu-check-{settings['device'].partition(':')[0]}"
    return [harness.write_record(theme, settings, {"rows": rows}, text, gpu=card, folder=folder) for folder in folders]


@click.command()
@click.option("--device", default="cuda", show_default=True, help="`cpu` rehearses the check without a card.")
@click.option("--tiny", is_flag=True, help="With a network and patches for a rehearsal.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("gpu-check"), show_default=True)
@click.option(
    "--budget", default=400.0, show_default=True, help="Seconds for all stages; what does not fit is skipped."
)
@click.option("--patience", type=float, help="End a stage after so many times its expected time [default: 2].")
@click.option("--only", default="", metavar="NAMES", help="Run these stages only, separated by commas.")
@click.option("--skip", default="", metavar="NAMES", help="Leave these out.")
def main(device: str, tiny: bool, out: Path, budget: float, patience: float | None, only: str, skip: str) -> None:
    """Check and measure; exit 1 where something is not right, 2 where there is no card."""
    stages, out = chosen(only, skip), out.resolve()
    if (out / RESULTS).exists():
        raise click.UsageError(f"{out} already holds a check: choose another --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    rehearsal = tiny or device == "cpu"
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as scratch:
        check = Check(device, tiny, out, Path(scratch), time.time())

        def report() -> None:
            (out / TABLE).write_text(table(check.rows(), stages) + "\n", encoding="utf-8")

        try:
            driver.run(check, stages, budget, patience or (REHEARSAL_PATIENCE if rehearsal else 2.0), report)
        except driver.RefusedError as refused:
            with contextlib.suppress(OSError):  # which held something before
                out.rmdir()
            click.echo(f"gpu-check: {refused}", err=True)
            sys.exit(2)
    rows, text = check.rows(), table(check.rows(), stages)
    report()
    click.echo(text)
    settings = {"device": device, "tiny": tiny, "budget_s": budget, "stages": ", ".join(s.name for s in stages)}
    written = record(out, settings, text, keep=not rehearsal and len(stages) == len(STAGES))
    click.echo(f"→ {written[-1]}")
    sys.exit(int(bool(failures(rows, stages))))


if __name__ == "__main__":
    main()
