"""Where a command computes: decided and told in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastpath.cli import render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice, Runtime


def choose(
    device: str,
    precision: PrecisionChoice,
    verbosity: int,
    num_threads: int | None = None,
    *,
    ranked: bool = False,
    describe_from: int = 1,
) -> Runtime:
    """Decide where to compute and tell what is odd about it; with `-v`, tell what was decided.

    Args:
        device: As `--device` has it.
        precision: As `--precision` has it.
        verbosity: Of `options.common`.
        num_threads: CPU threads; None takes all cores.
        ranked: Be one of the processes that torchrun started, if it did.
        describe_from: The verbosity from which what was decided is told: 0 tells it but with `-q`.
    """
    from fastpath.runtime import resolve

    runtime = resolve(device, precision=precision, num_threads=num_threads, ranked=ranked)
    tell(runtime, verbosity, describe_from=describe_from)
    return runtime


def tell(runtime: Runtime, verbosity: int, *, describe_from: int = 1) -> None:
    """Tell where a command computes, as `choose` does; of several ranks the first tells it."""
    if runtime.rank == 0:
        if verbosity >= describe_from:
            render.say(runtime.describe(), on_stderr=True)
        if runtime.notice:
            render.notice(runtime.notice)
