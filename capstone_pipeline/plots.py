"""The plots of the five answers: one function a query, from a result table to a picture.

Each plot says what it shows in its title and axes, holds for two hours of data and for two years, and uses
colours that colour-blind readers can tell apart (Okabe and Ito's). Pictures are SVG inside the HTML. Names
come from events and may be any text: `label` makes them fit to be drawn.
"""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import HOURLY, AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from capstone_pipeline.render import printable, shortened

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8C959F"
CATEGORY_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#8A7A00", "#000000")
MOST_BARS = 48
"""More hours or days than this are drawn as a line."""

FEW_HOURS = 8
"""Up to so many hours, each is labelled with its time and its revenue."""

LONGEST_LABEL = 40
"""Characters of a name that a plot shows."""

WEEK = pd.Timedelta(days=7)
THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")


@contextmanager
def drawing() -> Iterator[None]:
    """Within it, text is drawn as it is: dollar signs make no formula, and the reader's fonts count."""
    look: dict[Any, Any] = {"svg.hashsalt": "capstone", "svg.fonttype": "none", "text.parse_math": False}
    with matplotlib.rc_context(look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


@drawing()
def plot_answer(number: int, frame: pd.DataFrame) -> str:
    """The plot of query `number` as an HTML image with a text alternative; "" where there is nothing to draw.

    A query that was changed to return other columns has no plot either.
    """
    plot, columns = PLOTS.get(number, (None, set()))
    if plot is None or frame.empty or not columns <= set(frame.columns):
        return ""
    figure, axes = new_figure(height=4.0)
    return image(figure, plot(axes, frame))


def label(name: object) -> str:
    """A name from an event as a plot shows it: short, and not beginning with _, which legends leave out."""
    text = printable(str(name))
    return f"{' ' * text.startswith('_')}{shortened(text, LONGEST_LABEL)}"


def new_figure(height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many inches with one pair of axes."""
    figure = Figure(figsize=(7.2, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def image(figure: Figure, description: str) -> str:
    """The figure as an HTML image with a text alternative."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    alternative = html.escape(printable(description))
    return f'<img src="data:image/svg+xml;base64,{encoded}" alt="{alternative}">'


def plot_funnel(axes: Axes, frame: pd.DataFrame) -> str:
    """Views against the share of views that led to a cart; much-seen products that sell badly are named."""
    seen = frame[frame["views"] > 0].assign(
        rate=lambda table: table["add_to_carts"].astype(float) / table["views"].astype(float)
    )
    axes.set_title(
        "Views and carts by product; red: often seen, seldom put into a cart", loc="left", fontsize=11
    )
    if seen.empty:
        axes.text(0.5, 0.5, "no views yet", transform=axes.transAxes, ha="center")
        return "No product has been viewed yet."
    overall = seen["add_to_carts"].sum() / seen["views"].sum()
    often_seen = seen[seen["views"] >= seen["views"].quantile(0.9)]
    weak = often_seen.nsmallest(3, "rate")
    axes.scatter(seen["views"], seen["rate"], s=22, color=BLUE, alpha=0.55, linewidths=0)
    axes.scatter(weak["views"], weak["rate"], s=48, color=RED, marker="^", linewidths=0)
    _name_points(axes, weak)
    axes.axhline(overall, color=GREY, linewidth=1, linestyle="--", label=f"all products: {overall:.1%}")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    spread = seen["views"].max() >= 10 * seen["views"].min()
    if spread:
        axes.set_xscale("log")
    axes.set_xlabel("Views (logarithmic)" if spread else "Views")
    axes.set_ylabel("Carts per view")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))
    names = ", ".join(map(label, weak["product_id"]))
    return (
        f"Scatter plot of {len(seen)} products: views against carts per view. Overall {overall:.1%} of views "
        f"lead to a cart. Often seen but seldom put into a cart: {names}."
    )


def _name_points(axes: Axes, points: pd.DataFrame) -> None:
    """Write each product beside its point: the leftmost to its left, the others to the right."""
    for number, point in enumerate(points.sort_values("views").itertuples()):
        axes.annotate(
            label(point.product_id),
            (point.views, point.rate),
            xytext=[(-7, -3), (7, -7), (7, 5)][number % 3],
            textcoords="offset points",
            ha="right" if number == 0 else "left",
            color=RED,
            fontsize=9,
        )


def plot_hourly_revenue(axes: Axes, frame: pd.DataFrame) -> str:
    """Revenue of the newest week, hour by hour: bars, or a line where there are many hours.

    An hour without a purchase has no row, and so no revenue.
    """
    day, hour = pd.to_datetime(frame["event_date"]), frame["event_hour"].astype(int)
    revenue = pd.Series(
        frame["total_revenue"].astype(float).to_numpy(), index=day + pd.to_timedelta(hour, unit="h")
    )
    everything = revenue.sort_index()
    newest = everything[everything.index > everything.index[-1] - WEEK]
    revenue = newest.asfreq("h", fill_value=0.0)
    if len(revenue) <= MOST_BARS:
        bars = axes.bar(revenue.index, revenue, color=BLUE, width=0.8 / 24)
        if len(revenue) <= FEW_HOURS:
            axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
    else:
        axes.plot(revenue.index, revenue, color=BLUE, linewidth=1.2)
    hours = AutoDateLocator(minticks=3, maxticks=8)
    hours.intervald[HOURLY] = [1, 2, 3, 4, 6, 12]
    if len(revenue) <= FEW_HOURS:
        axes.set_xticks(date2num(revenue.index), _hour_labels(revenue.index))
    else:
        axes.xaxis.set_major_locator(hours)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(hours))
    is_part = len(newest) < len(everything)
    axes.set_title(f"Revenue by hour{', newest 7 days' if is_part else ''}", loc="left", fontsize=11)
    axes.set_xlabel("Hour (UTC)")
    axes.set_ylabel("Revenue (USD)")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(THOUSANDS)
    return (
        f"Revenue of {len(newest)} hours, {revenue.sum():,.2f} USD in all. The best hour is "
        f"{revenue.idxmax():%Y-%m-%d %H:%M} UTC with {revenue.max():,.2f} USD."
    )


def _hour_labels(hours: pd.DatetimeIndex) -> list[str]:
    """Every hour, and the day below the first hour of each day."""
    return [
        f"{hour:%H:%M}\n{hour:%Y-%m-%d}" if number == 0 or hour.hour == 0 else f"{hour:%H:%M}"
        for number, hour in enumerate(hours)
    ]


def plot_top_products(axes: Axes, frame: pd.DataFrame) -> str:
    """Views of the ten products as horizontal bars, the most viewed on top."""
    table = frame.sort_values("rank", ascending=False)
    labels = [label(f"{row.product_id} · {row.category}") for row in table.itertuples()]
    places = range(len(table))
    bars = axes.barh(places, table["view_count"].astype(int), color=BLUE, height=0.7)
    axes.set_yticks(places, labels)
    axes.bar_label(bars, fmt="{:,.0f}", padding=4, fontsize=9)
    axes.margins(x=0.12)
    axes.set_title("Most viewed products", loc="left", fontsize=11)
    axes.set_xlabel("Views")
    axes.xaxis.set_major_formatter(THOUSANDS)
    first = table.iloc[-1]
    name = label(first["product_id"])
    return f"Most viewed products as bars; first is {name} with {first['view_count']:,} views."


def plot_category_performance(axes: Axes, frame: pd.DataFrame) -> str:
    """Events by category: bars for a few days, a line a category where there are more."""
    table = frame.pivot_table(index="event_date", columns="category", values="event_count", aggfunc="sum")
    table = table.astype(float).fillna(0)
    table = table[table.sum().sort_values(ascending=False).index]
    few_days = len(table) <= 3
    shown, names = _largest(table, 15 if few_days else len(CATEGORY_COLOURS))
    (_category_bars if few_days else _category_lines)(axes, shown, names)
    axes.set_title("Events by category and day (UTC)", loc="left", fontsize=11)
    totals = ", ".join(f"{name} {count:,.0f}" for name, count in zip(names, shown.sum(), strict=True))
    return f"Events by category over {len(table)} days: {totals}."


def _category_bars(axes: Axes, table: pd.DataFrame, names: list[str]) -> None:
    height = 0.8 / len(table)
    for number, (day, counts) in enumerate(table.iterrows()):
        offsets = [position + (number - (len(table) - 1) / 2) * height for position in range(len(counts))]
        bars = axes.barh(offsets, counts, height=height * 0.9, color=CATEGORY_COLOURS[number], label=str(day))
        axes.bar_label(bars, fmt="{:,.0f}", padding=4, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("Events")
    axes.xaxis.set_major_formatter(THOUSANDS)
    if len(table) > 1:
        axes.legend(frameon=False, fontsize=9, loc="lower right")


def _category_lines(axes: Axes, table: pd.DataFrame, names: list[str]) -> None:
    days = pd.to_datetime(table.index)
    for number, name in enumerate(names):
        axes.plot(days, table.iloc[:, number], color=CATEGORY_COLOURS[number], label=name, linewidth=1.6)
    axes.figure.autofmt_xdate()
    axes.set_ylabel("Events")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def _largest(table: pd.DataFrame, count: int) -> tuple[pd.DataFrame, list[str]]:
    """The first `count` columns and their labels; of more, the last one stands for all the others."""
    names = [label(name) for name in table.columns]
    if len(names) <= count:
        return table, names
    others = table.iloc[:, count - 1 :].sum(axis="columns")
    return pd.concat([table.iloc[:, : count - 1], others], axis="columns"), [*names[: count - 1], "others"]


def plot_user_activity(axes: Axes, frame: pd.DataFrame) -> str:
    """Different users and sessions of each day, side by side."""
    table = frame.sort_values("event_date")
    users, sessions = table["unique_users"].astype(int), table["unique_sessions"].astype(int)
    if len(table) <= MOST_BARS:
        positions = range(len(table))
        for shift, values, colour, label in (
            (-0.2, users, BLUE, "users"),
            (0.2, sessions, ORANGE, "sessions"),
        ):
            bars = axes.bar([p + shift for p in positions], values, 0.38, color=colour, label=label)
            if len(table) <= 7:
                axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=9)
        axes.set_xticks(positions, [str(day) for day in table["event_date"]])
        axes.set_xlim(-1 if len(table) < 3 else -0.6, len(table) - (0 if len(table) < 3 else 0.4))
        axes.tick_params(axis="x", rotation=0 if len(table) <= 7 else 90)
    else:
        days = pd.to_datetime(table["event_date"])
        axes.plot(days, users, color=BLUE, label="users")
        axes.plot(days, sessions, color=ORANGE, label="sessions")
        axes.figure.autofmt_xdate()
    axes.set_title("Different users and sessions by day (UTC)", loc="left", fontsize=11)
    axes.set_ylim(0, max(sessions.max(), users.max(), 1) * 1.12)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return (
        f"Users and sessions of {len(table)} days; on the last, {table['event_date'].iloc[-1]}, "
        f"{users.iloc[-1]:,} users in {sessions.iloc[-1]:,} sessions."
    )


Plot = Callable[[Axes, pd.DataFrame], str]
PLOTS: dict[int, tuple[Plot, set[str]]] = {
    1: (plot_funnel, {"product_id", "views", "add_to_carts"}),
    2: (plot_hourly_revenue, {"event_date", "event_hour", "total_revenue"}),
    3: (plot_top_products, {"rank", "product_id", "category", "view_count"}),
    4: (plot_category_performance, {"event_date", "category", "event_count"}),
    5: (plot_user_activity, {"event_date", "unique_users", "unique_sessions"}),
}
