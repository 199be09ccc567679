"""Where a command computes: decided and told in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastpath.cli import render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice, Runtime


def choose(device: str, precision: PrecisionChoice, verbosity: int, num_threads: int | None = None) -> Runtime:
    """Decide where to compute and tell what is odd about it; with `-v`, tell what was decided.

    Args:
        device: As `--device` has it.
        precision: As `--precision` has it.
        verbosity: Of `options.common`.
        num_threads: CPU threads; None takes all cores.
    """
    from fastpath.runtime import resolve

    runtime = resolve(device, precision=precision, num_threads=num_threads)
    if verbosity > 0:
        render.say(runtime.describe(), on_stderr=True)
    if runtime.notice:
        render.notice(runtime.notice)
    return runtime
