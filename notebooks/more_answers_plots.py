"""The plots of `more_answers.ipynb`: a function an answer, from its rows to an image with a text alternative.

As in `capstone_pipeline.plots`: colours that colour-blind readers can tell apart, names made to fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from capstone_pipeline.plots import (
    BLUE,
    CATEGORY_COLOURS,
    GREY,
    ORANGE,
    THOUSANDS,
    drawing,
    image,
    label,
    new_figure,
)

FEW_DAYS = 3
"""Up to so many days stand as bars beside each other; more are lines."""

MOST_CATEGORIES = len(CATEGORY_COLOURS)
MOST_TEXTS = 12


@drawing()
def sales_by_category(frame: pd.DataFrame) -> str:
    """Revenue by category: bars of each day, or a line a category where there are more days."""
    table = frame.assign(total_revenue=frame["total_revenue"].astype(float))
    table = table.pivot_table(index="category", columns="event_date", values="total_revenue", aggfunc="sum")
    table = table.fillna(0.0)
    table = table.loc[table.sum(axis="columns").sort_values(ascending=False, kind="stable").index]
    table = table.head(MOST_CATEGORIES)
    names = [label(name) for name in table.index]
    figure, axes = new_figure(height=4.4)
    if len(table.columns) <= FEW_DAYS:
        _bars_of_days(axes, table, names)
        axes.set_xlabel("Revenue (USD)")
    else:
        days = pd.to_datetime(pd.Series(table.columns))
        for name, colour, amounts in zip(names, CATEGORY_COLOURS, table.to_numpy(), strict=False):
            axes.plot(days, amounts, color=colour, label=name, linewidth=1.6, marker="o", markersize=3)
        axes.set_xticks(days, [f"{day:%b %d}" for day in days])
        axes.tick_params(axis="x", rotation=0 if len(days) <= 10 else 90)
        axes.set_ylabel("Revenue (USD)")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(THOUSANDS)
        axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    axes.set_title("Revenue by category and day (UTC)", loc="left", fontsize=11)
    totals = ", ".join(
        f"{name} {amount:,.2f}" for name, amount in zip(names, table.sum(axis="columns"), strict=True)
    )
    return image(figure, f"Revenue by category over {len(table.columns)} days, USD: {totals}.")


def _bars_of_days(axes: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    height = 0.8 / len(table.columns)
    newest_first = list(reversed(table.columns))
    for number, day in enumerate(newest_first):
        places = [place + (number - (len(newest_first) - 1) / 2) * height for place in range(len(table))]
        colour = (BLUE, ORANGE, GREY)[number]
        bars = axes.barh(places, table[day], height=height * 0.9, color=colour, label=str(day))
        axes.bar_label(bars, fmt="{:,.0f}", padding=4, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(THOUSANDS)
    if len(newest_first) > 1:
        axes.legend(frameon=False, fontsize=9, loc="lower right")


@drawing()
def orders(frame: pd.DataFrame) -> str:
    """How many orders hold so many products, and what these are worth on average."""
    sizes = frame[[size is not None for size in frame["products"]]].head(12)
    figure, axes = new_figure(height=3.6)
    places = range(len(sizes))
    bars = axes.bar(places, sizes["orders"].astype(int), color=BLUE, width=0.7)
    axes.bar_label(bars, [f"{worth:,.2f}" for worth in sizes["average_order"]], padding=3, fontsize=9)
    axes.set_xticks(places, [str(size) for size in sizes["products"]])
    axes.margins(y=0.12)
    axes.set_title("Orders by number of products; above, their average worth (USD)", loc="left", fontsize=11)
    axes.set_xlabel("Different products in the order")
    axes.set_ylabel("Orders")
    axes.yaxis.set_major_formatter(THOUSANDS)
    told = ", ".join(
        f"{row.products}: {row.orders:,} of {row.average_order:,.2f} USD on average"
        for row in sizes.itertuples()
    )
    return image(figure, f"Orders by number of different products. {told}.")


@drawing()
def left_carts(frame: pd.DataFrame) -> str:
    """What lay in carts that were left, by category, beside how many these were."""
    shown = frame[[name is not None for name in frame["category"]]].head(15)
    return _horizontal(
        "Worth of what lay in carts that were left",
        "Worth (USD)",
        [label(name) for name in shown["category"]],
        [float(worth) for worth in shown["left_worth"]],
        [
            f"{row.left_worth:,.0f} USD, {row.left_carts:,} of {row.carts:,} carts"
            for row in shown.itertuples()
        ],
    )


@drawing()
def times_to_purchase(frame: pd.DataFrame) -> str:
    """How many purchases took so long; those without a view before are grey."""
    return _horizontal(
        "From the first view of a product to its purchase",
        "Purchases",
        list(frame["time_to_purchase"]),
        [float(count) for count in frame["purchases"]],
        [f"{row.purchases:,} ({100 * row.share:.1f} %)" for row in frame.itertuples()],
        colours=[GREY if text == "not seen before" else BLUE for text in frame["time_to_purchase"]],
    )


@drawing()
def searches(frame: pd.DataFrame) -> str:
    """The share of sessions that buy, by what they searched for, beside that of those that did not search."""
    texts = frame[[text is not None for text in frame["search_query"]]].head(MOST_TEXTS)
    overall = [row for row in frame.itertuples() if row.search_query is None]
    names = ["searched for anything" if row.has_searched else "did not search" for row in overall]
    rows = [*overall, *texts.itertuples()]
    return _horizontal(
        "Sessions that buy, by what they searched for",
        "Share of the sessions",
        [*names, *(label(text) for text in texts["search_query"])],
        [float(row.share) for row in rows],
        [f"{100 * row.share:.1f} % of {row.sessions:,}" for row in rows],
        colours=[*(ORANGE for _ in overall), *(BLUE for _ in range(len(texts)))],
        is_share=True,
    )


@drawing()
def returning_users(frame: pd.DataFrame) -> str:
    """How many of a day's users came again on the next day."""
    shown = frame.iloc[::-1]
    return _horizontal(
        "Users who came again on the next day",
        "Share of the day's users",
        [str(day) for day in shown["event_date"]],
        [float(share) for share in shown["share"]],
        [f"{row.returning_users:,} of {row.unique_users:,}" for row in shown.itertuples()],
        is_share=True,
    )


@drawing()
def days_compared(frame: pd.DataFrame) -> str:
    """Revenue of the last day by hour, beside the same hour of the day before."""
    hours = frame[[hour is not None for hour in frame["event_hour"]]]
    day = frame["event_date"][0]
    figure, axes = new_figure(height=3.6)
    for shift, name, colour, text in (
        (-0.2, "total_revenue", BLUE, str(day)),
        (0.2, "revenue_before", ORANGE, "the day before"),
    ):
        places = [hour + shift for hour in hours["event_hour"]]
        axes.bar(places, [float(amount) for amount in hours[name]], 0.38, color=colour, label=text)
    axes.set_xticks(range(0, 24, 3), [f"{hour:02d}:00" for hour in range(0, 24, 3)])
    axes.set_xlim(-0.8, 23.8)
    axes.set_title("Revenue by hour, beside the day before", loc="left", fontsize=11)
    axes.set_xlabel("Hour (UTC)")
    axes.set_ylabel("Revenue (USD)")
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.legend(frameon=False, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)
    totals = frame.iloc[0]
    return image(
        figure,
        f"Revenue by hour: {day} with {totals['total_revenue']:,.2f} USD in all, the day before with "
        f"{totals['revenue_before']:,.2f} USD.",
    )


def _horizontal(
    title: str,
    unit: str,
    names: Sequence[str],
    values: Sequence[float],
    texts: Iterable[Any],
    *,
    colours: Sequence[str] | None = None,
    is_share: bool = False,
) -> str:
    """Horizontal bars in the given order, each with a text at its end."""
    figure, axes = new_figure(height=max(1.6, 0.9 + 0.32 * len(names)))
    texts = list(texts)
    bars = axes.barh(range(len(names)), values, color=colours or BLUE, height=0.7 if len(names) > 1 else 0.4)
    axes.set_yticks(range(len(names)), names)
    if len(names) == 1:
        axes.set_ylim(-0.6, 0.6)
    axes.bar_label(bars, texts, padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, max(values, default=0) * 1.5 or 1)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1) if is_share else THOUSANDS)
    told = ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
    return image(figure, f"{title}: {told}.")
