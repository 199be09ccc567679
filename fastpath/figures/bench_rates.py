"""What a machine reads, loads and trains a second, as bars."""

from __future__ import annotations

from collections.abc import Mapping

from fastpath.figures import png, style


def draw_rates(rates: Mapping[str, float], size: str, runtime: str) -> bytes:
    """Return a PNG: a bar a rate, on a logarithmic axis, since reading is hundreds of times faster than training.

    Args:
        rates: Patches a second by what was measured, the first on top; at least one.
        size: Of input and batch.
        runtime: What it was measured on.
    """
    figure = style.canvas((8, 1.4 + 0.5 * len(rates)))
    axes = figure.add_subplot()
    bars = axes.barh(list(rates), list(rates.values()), height=0.6, color=style.MODEL)
    axes.bar_label(bars, [f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}" for rate in rates.values()], padding=3)
    axes.set_xscale("log")
    axes.margins(x=0.12)
    axes.invert_yaxis()
    style.plain_decades(axes.xaxis)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:,g}")
    style.finish(axes, png.literal(runtime, 100), f"patches a second (log) at {size}", "", grid="x")
    return png.of_figure(figure)
