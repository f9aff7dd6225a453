"""Plots that only these notebooks show: bars with a limit, and how often a number occurs."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.ticker import FuncFormatter

from capstone_pipeline.plots import BLUE, GREY, RED, THOUSANDS, drawing, image, label, new_figure


@drawing()
def bar_plot(title: str, unit: str, values: Mapping[str, float], limit: float | None = None) -> str:
    """Horizontal bars, one a name, in the given order; bars beyond `limit` are red and hatched."""
    figure, axes = new_figure(height=max(1.6, 0.9 + 0.32 * len(values)))
    is_red = [limit is not None and value > limit for value in values.values()]
    places = range(len(values))
    bars = axes.barh(places, list(values.values()), color=[RED if red else BLUE for red in is_red])
    axes.set_yticks(places, [label(name) for name in values])
    for bar, red in zip(bars, is_red, strict=True):
        bar.set_hatch("//" if red else "")
    axes.bar_label(bars, fmt="{:,.0f}" if limit is None else "{:,.2f}", padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.14)
    if limit is not None:
        axes.axvline(limit, color=GREY, linewidth=1, linestyle="--")
        beside = axes.get_xaxis_transform()
        axes.text(limit, 0.97, f" limit: {limit:g}", transform=beside, va="top", fontsize=9)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(
        THOUSANDS if limit is None else FuncFormatter(lambda value, _: f"{value:g}")
    )
    listed = ", ".join(
        f"{label(name)} {value:,.0f}" if limit is None else f"{label(name)} {value:.2f}"
        for name, value in values.items()
    )
    return image(figure, f"{title}, {unit}: {listed}.")


@drawing()
def count_plot(title: str, unit: str, counts: Mapping[int, int]) -> str:
    """How often each whole number occurs, as bars on a logarithmic scale."""
    figure, axes = new_figure(height=3.2)
    axes.bar(list(counts), list(counts.values()), color=BLUE, width=0.9)
    axes.set_yscale("log")
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(unit)
    axes.set_ylabel("Count (logarithmic)")
    axes.yaxis.set_major_formatter(THOUSANDS)
    most = max(counts, key=lambda number: counts[number])
    return image(figure, f"{title}: from {min(counts)} to {max(counts)} ({unit}), most often {most}.")
