"""Where a command computes: decided and told in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastpath.cli import render

if TYPE_CHECKING:
    from fastpath.runtime import PrecisionChoice, Runtime


def choose(
    device: str,
    precision: PrecisionChoice,
    num_threads: int | None = None,
    *,
    ranked: bool = False,
    plainly: bool = False,
) -> Runtime:
    """Decide where to compute and tell what is odd about it; with `-v`, tell what was decided.

    Args:
        device: As `--device` has it.
        precision: As `--precision` has it.
        num_threads: CPU threads; None takes all cores.
        ranked: Be one of the processes that torchrun started, if it did.
        plainly: Whether what was decided is told without `-v` too.
    """
    from fastpath.runtime import resolve

    runtime = resolve(device, precision=precision, num_threads=num_threads, ranked=ranked)
    tell(runtime, plainly=plainly)
    return runtime


def tell(runtime: Runtime, *, plainly: bool = False) -> None:
    """Tell where a command computes, as `choose` does; of several ranks the first tells it."""
    if runtime.rank == 0:
        if plainly:
            render.say(runtime.describe(), on_stderr=True)
        else:
            render.detail(runtime.describe())
        if runtime.notice:
            render.notice(runtime.notice)
