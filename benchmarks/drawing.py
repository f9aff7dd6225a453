"""Tables and plots of what was measured: light, colour-blind safe (Okabe and Ito)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import results

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8C959F"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#8A7A00", GREY)

_WIDTH = 8.4


def canvas(height: float) -> tuple[Figure, Axes]:
    """An empty plot of the page's width."""
    figure, (axes,) = canvases(1, height)
    return figure, axes


def canvases(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Several plots side by side."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_facecolor("white")
    all_axes = [figure.add_subplot(1, count, number + 1) for number in range(count)]
    for axes in all_axes:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure, all_axes


def save_svg(figure: Figure, path: Path) -> None:
    """Write the plot so that the same data give the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "path"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def figure_table(figures: Iterable[results.Figure]) -> str:
    """Figures with what they are and their spread; ratios stand out."""
    rows = [
        (figure.what, f"**{figure}**" if figure.unit == "ratio" else str(figure), figure.spread_text)
        for figure in figures
    ]
    return table(("", "Measured", "From – to"), rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are right-aligned unless they hold words."""
    rows = [list(row) for row in rows]
    numeric = [all(_is_number(row[index]) for row in rows) for index in range(len(header))]
    rule = ["---:" if numeric[index] and index else "---" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([*header], rule, *rows))


def _is_number(cell: str) -> bool:
    return not cell or cell.lstrip("*-$")[:1].isdigit()
