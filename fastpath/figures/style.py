"""One look for every picture and page: what each colour stands for, and how a panel is made and finished.

Colours are those of Okabe and Ito, *Color Universal Design* (2008), as in Wong, *Points of view: Color blindness*,
Nature Methods 8, 441 (2011): told apart with any kind of colour vision. Where colour alone would tell two curves
apart, dashes, marks or hatches do too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

NORMAL, TUMOUR, UNLABELLED = "#0072b2", "#d55e00", "#7f858d"
CLASSES = {0: NORMAL, 1: TUMOUR, -1: UNLABELLED}
"""Colour of a label; -1 where there is none."""
MODEL, BEFORE, CHANCE = NORMAL, TUMOUR, UNLABELLED
"""What is judged; what it is held against, such as scores before calibration; what chance or nobody's help gives."""
OPERATING_POINT = "#000000"
SERIES = (NORMAL, TUMOUR, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", UNLABELLED)
"""Runs, folds and whatever else is many and has no colour of its own, in this order."""
DASHES = ("-", "--", ":", "-.")
"""Of many lines, in this order: 28 differ in colour or dashes, and neighbours in both."""
CALLED, LESION = "#000000", TUMOUR
"""Outlines around what is called tumour, and around what is known to be."""
INK, SOFT, LINE, WASH = "#23282e", "#5c646d", "#e3e5e8", "#f6f7f8"
"""Letters; those of less weight; rules and grids; what lies behind a box."""
FRAME = "#1e1e1e"
"""Outer line of the frame around a labelled centre; the inner one is white, so that one is seen on any tissue."""
CAUTION = "#fff6ec"
"""Behind what is to be heeded."""
HEAT, DIVERGING = "viridis", "RdBu_r"
"""Matplotlib's maps of what rises from nothing, and of what lies on both sides of it."""

PAGE = {
    "ink": INK,
    "soft": SOFT,
    "line": LINE,
    "wash": WASH,
    "normal": NORMAL,
    "tumour": TUMOUR,
    "unlabelled": UNLABELLED,
    "frame": FRAME,
    "caution": CAUTION,
}
"""What pages call these colours (`var(--tumour)`)."""

TITLE_PT, LABEL_PT, SMALL_PT = 11, 10, 9
"""Sizes of letters: a panel's title, its axes, its ticks and legend."""
SIZE_IN, DPI = (4.6, 4.0), 160
"""Of one panel, which a page sets beside others on a screen and below them on a telephone."""


def rgb(colour: str) -> list[int]:
    """Return a colour as red, green and blue of 0 to 255."""
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def series(number: int) -> tuple[str, str]:
    """Return the colour and the dashes of one of many, by its number from 0."""
    return SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]


def canvas(size_in: tuple[float, float], dpi: float = DPI, *, constrained: bool = True) -> Figure:
    """Return an empty figure; object-oriented, with no pyplot: no window system, no global state.

    Args:
        size_in: Width and height in inches.
        dpi: Pixels an inch.
        constrained: Give every label room, which draws all twice.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size_in, dpi=dpi, layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def panel(size_in: tuple[float, float] = SIZE_IN) -> tuple[Figure, Axes]:
    """Return a figure of one panel, and the panel."""
    figure = canvas(size_in)
    return figure, figure.add_subplot()


def finish(axes: Axes, title: str, x_name: str, y_name: str, *, grid: Literal["both", "x", "y", ""] = "both") -> None:
    """Name a panel and its axes, and give it the frame that all have.

    Args:
        axes: What is drawn already.
        title: Left above; empty leaves what is there.
        x_name: With the unit.
        y_name: With the unit.
        grid: Lines across at the ticks of axis `x`, `y` or `both`; empty for none.
    """
    if title:
        axes.set_title(title, loc="left", fontsize=TITLE_PT, color=INK)
    axes.set_xlabel(x_name, fontsize=LABEL_PT, color=INK)
    axes.set_ylabel(y_name, fontsize=LABEL_PT, color=INK)
    axes.tick_params(labelsize=SMALL_PT, colors=INK)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, axis=grid, color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(UNLABELLED)


def legend_above(axes: Axes, columns: int = 2) -> None:
    """Write what the colours stand for above a panel, where it covers no point."""
    axes.legend(
        frameon=False, fontsize=SMALL_PT, labelcolor=INK, loc="lower center", bbox_to_anchor=(0.5, 0.99), ncols=columns
    )


def plain_decades(axis: Axis) -> None:
    """Name the decades of a logarithmic axis, five at most, and nothing between them: there is no room to."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(base=10, numticks=5))
    axis.set_minor_formatter(NullFormatter())
