"""The answers of `dashboard.ipynb` as a business person reads them: figures, charts, tables, some sentences.

Everything comes from the gold tables, but for the suspected bots, which only silver can show. What is unusual
is decided here, by the rules that each function states; how it looks is in `charts` and `render`.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import pandas as pd

from capstone_pipeline.answers import partition_filter
from capstone_pipeline.errors import NotRunYet
from capstone_pipeline.plots import BLUE, CATEGORY_COLOURS, ORANGE, RED
from capstone_pipeline.render import Panel, data_table, format_value, plural, printable
from capstone_pipeline.shop import Shop
from notebooks.charts import IN_CATEGORY, ON_DAY, Spec, chart, filter_bar, scripts

FEWEST_HOURS = 12
"""Fewer hours than this say nothing of what is usual."""

UNUSUAL_SCORE = 3.5
"""Modified z-score from which a value is an outlier (Iglewicz and Hoaglin, 1993)."""

TABLE_ROWS = 500
WEAK_LISTED = 5

BY_CATEGORY, BY_DAY = {"category": "category"}, {"event_date": "day"}
"""Which filter hides the rows of a table, by the column that it looks at."""


@dataclass(frozen=True)
class ShopData:
    """What the dashboard shows, as Athena gave it.

    funnel, top_products: of all time. revenue, categories, users: the newest days. hourly: events and revenue
    by (event_date, event_hour, category). busy_users: users with more in one hour than a person does.
    """

    funnel: pd.DataFrame
    revenue: pd.DataFrame
    top_products: pd.DataFrame
    categories: pd.DataFrame
    users: pd.DataFrame
    hourly: pd.DataFrame
    busy_users: pd.DataFrame


# --- Asking -------------------------------------------------------------------------------------------------


def read_answers(
    shop: Shop,
    days_shown: int,
    bot_events_per_hour: int,
    bot_sessions_per_hour: int,
) -> ShopData:
    """Ask Athena everything that the dashboard shows.

    Parameters
    ----------
    days_shown
        How many of the newest days with events are looked at; funnel and top 10 are of all time.
    bot_events_per_hour, bot_sessions_per_hour
        More than this of one user in one hour is suspected to be a bot.

    Raises
    ------
    NotRunYet
        When the gold tables hold nothing.
    QueryFailed
    """
    funnel, revenue, top_products, categories, users = (shop.answer(number).frame for number in range(1, 6))
    if users.empty:
        raise NotRunYet(
            f"The tables of {shop.stack.gold_database_name} are empty.",
            "run build_pipeline.ipynb first (`make report`, or `make demo` on the embedded AWS).",
        )
    newest = sorted(users["event_date"])[-days_shown:]
    return ShopData(
        funnel=funnel,
        revenue=revenue[revenue["event_date"].isin(newest)],
        top_products=top_products,
        categories=categories[categories["event_date"].isin(newest)],
        users=users[users["event_date"].isin(newest)],
        hourly=printable_frame(shop.ask(_hourly_sql(newest), "events by hour and category")),
        busy_users=shop.ask(
            _busy_users_sql(
                shop.stack.silver_database_name, newest, bot_events_per_hour, bot_sessions_per_hour
            ),
            "users with very many events",
        ),
    )


def printable_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Vega ends the process that draws a character which XML does not have."""
    return frame.map(lambda value: printable(value) if isinstance(value, str) else value)


def _hourly_sql(days: list[date]) -> str:
    counts = ", ".join(
        f"sum(CASE WHEN event_type = '{kind}' THEN event_count ELSE 0 END) AS {name}"
        for kind, name in (("page_view", "views"), ("add_to_cart", "add_to_carts"), ("purchase", "purchases"))
    )
    return (
        f"SELECT event_date, event_hour, category, {counts}, sum(revenue) AS total_revenue FROM event_cube "
        f"WHERE {partition_filter(days)} AND event_date >= DATE '{min(days)}' "
        "GROUP BY event_date, event_hour, category ORDER BY event_date, event_hour, category"
    )


def _busy_users_sql(silver: str, days: list[date], most_events: int, most_sessions: int) -> str:
    return (
        "SELECT event_date, event_hour, user_id, count(*) AS event_count, "
        "count(DISTINCT session_id) AS unique_sessions, "
        "sum(CASE WHEN event_type = 'purchase' THEN 1 ELSE 0 END) AS purchases "
        f"FROM {silver}.events_cleaned "
        f"WHERE {partition_filter(days)} AND event_date >= DATE '{min(days)}' "
        "GROUP BY event_date, event_hour, user_id "
        f"HAVING count(*) > {most_events} OR count(DISTINCT session_id) > {most_sessions} "
        "ORDER BY event_count DESC, event_date, event_hour, user_id"
    )


# --- The panels ---------------------------------------------------------------------------------------------


def page_scripts() -> Panel:
    """The scripts of charts and filters; has to be shown once, before the others."""
    return Panel(scripts(), "Scripts of the charts")


def headline_figures(data: ShopData) -> Panel:
    """The filters, and what the shop did in the days shown; figures by category follow the filters."""
    days = sorted(data.users["event_date"])
    facts = [
        {
            "day": str(row.event_date),
            "category": row.category,
            "views": int(row.views),
            "add_to_carts": int(row.add_to_carts),
            "purchases": int(row.purchases),
            "cents": int(row.total_revenue * 100),
        }
        for row in data.hourly.itertuples()
    ]
    total = {
        name: sum(fact[name] for fact in facts) for name in ("views", "add_to_carts", "purchases", "cents")
    }
    revenue = Decimal(total["cents"]) / 100
    cards = [
        ("revenue", "Revenue, USD", _shown(revenue, "money")),
        ("purchases", "Purchases", _shown(total["purchases"], "count")),
        ("average_order", "Revenue per purchase, USD", _shown(_ratio(revenue, total["purchases"]), "money")),
        ("views", "Product views", _shown(total["views"], "count")),
        ("view_to_cart", "View → cart, %", _shown(_ratio(total["add_to_carts"], total["views"]), "percent")),
        (
            "cart_to_purchase",
            "Cart → purchase, %",
            _shown(_ratio(total["purchases"], total["add_to_carts"]), "percent"),
        ),
    ]
    choices = {
        "category": sorted(set(data.hourly["category"])),
        "day": [str(day) for day in reversed(days)],
    }
    period = f"{days[0]} to {days[-1]}, UTC" if len(days) > 1 else f"{days[0]}, UTC"
    content = (
        filter_bar("filters", choices, facts)
        + f'<div class="note">{period}</div><div class="cards">'
        + "".join(
            f'<div class="card"><small>{html.escape(label)}</small><b data-figure="{name}">{value}</b></div>'
            for name, label, value in cards
        )
        + "</div>"
    )
    return Panel(content, "\n".join(f"{label}: {value}" for _, label, value in cards))


def funnel(data: ShopData) -> Panel:
    """From view to cart to purchase, by category and by product, and which products lose the most.

    "Seen often, seldom put into a cart": among the tenth of products with the most views, those that reach
    less than two thirds of the whole shop's carts per view.
    """
    products, overall = _with_rates(data.funnel)
    weak = _weak_products(products, overall)
    missing = "".join(
        f"<li><b>{html.escape(row.product_id)}</b> ({html.escape(row.category)}): {row.views:,} views, "
        f"{row.rate:.1%} of them led to a cart. At the shop's rate it would have been put into "
        f"{row.missed_carts:,.0f} more carts.</li>"
        for row in weak.head(WEAK_LISTED).itertuples()
    )
    headline = (
        f"{plural(len(weak), 'product')} among the most viewed {'sells' if len(weak) == 1 else 'sell'} "
        f"below two thirds of the shop's rate of {overall:.1%} carts per view: high views, low cart. Price, "
        "picture or description may be wrong."
        if len(weak)
        else f"No much-viewed product falls far below the shop's rate of {overall:.1%} carts per view."
    )
    listed = f"The {WEAK_LISTED} that miss the most carts:" if len(weak) > WEAK_LISTED else ""
    categories = _by_category(products)
    best, worst = categories.iloc[0], categories.iloc[-1]
    spread = (
        f"By category, {best['category']} turns the most views into purchases "
        f"({_shown(best['view_to_purchase_conversion'], 'percent')} %), {worst['category']} the fewest "
        f"({_shown(worst['view_to_purchase_conversion'], 'percent')} %)."
    )
    marked = products.assign(weak=products["product_id"].isin(weak["product_id"]))
    description = (
        f"Scatter plot of {len(products)} products: views against carts per view; the shop's rate is "
        f"{overall:.1%}. Red triangles, seen often and seldom put into a cart: "
        f"{', '.join(weak['product_id']) or 'none'}."
    )
    content = (
        f'<div class="insight">{html.escape(headline)} {listed}<ul>{missing}</ul>{html.escape(spread)}</div>'
        + _beside(
            _table(categories, 20, BY_CATEGORY),
            "funnel-chart",
            _funnel_spec(marked, overall),
            description,
        )
        + "<details><summary>All products</summary>"
        + f'<div class="scroll">{_table(data.funnel, TABLE_ROWS, BY_CATEGORY)}</div></details>'
    )
    return Panel(content, f"{headline}\n{spread}")


def revenue(data: ShopData) -> Panel:
    """Revenue by hour, with the hours marked that are far from the usual."""
    unusual = unusual_hours(data.revenue)
    hours = len(_every_hour(data.revenue))
    if hours < FEWEST_HOURS:
        verdict = (
            f"{plural(hours, 'hour')} of data are too few to call one of them unusual; "
            f"that takes {FEWEST_HOURS}."
        )
    elif unusual.empty:
        verdict = f"None of the {hours:,} hours is unusual."
    else:
        verdict = (
            f"{plural(len(unusual), 'hour')} of {hours:,} {'is' if len(unusual) == 1 else 'are'} unusual: "
            + (
                ", ".join(
                    f"{row.event_date} {row.event_hour:02d}:00 "
                    f"({row.total_revenue:,.2f} USD, {row.direction})"
                    for row in unusual.head(10).itertuples()
                )
                + "."
            )
        )
    total = sum(data.revenue["total_revenue"], Decimal("0.00"))
    description = (
        f"Revenue by hour, {total:,.2f} USD in {len(data.revenue):,} hours with purchases. {verdict}"
    )
    newest = data.revenue.sort_values(["event_date", "event_hour"], ascending=False)
    content = f'<div class="insight">{html.escape(verdict)}</div>' + _beside(
        _table(newest, 12, BY_DAY), "revenue-chart", _revenue_spec(data.hourly, unusual), description
    )
    return Panel(content, verdict)


def top_products(data: ShopData) -> Panel:
    """The ten most viewed products, beside how well each sells."""
    rates = data.funnel[["product_id", "category", "purchases", "view_to_purchase_conversion"]]
    table = data.top_products.merge(rates, on=["product_id", "category"], how="left")
    first = table.iloc[0] if len(table) else None
    words = (
        f"{first['product_id']} ({first['category']}) is viewed most, {first['view_count']:,} times."
        if first is not None
        else "No product has been viewed yet."
    )
    content = _beside(
        _table(table, 10, BY_CATEGORY), "top-chart", _top_spec(table), f"Most viewed products. {words}"
    )
    return Panel(content, words)


def category_trend(data: ShopData) -> Panel:
    """Events by category and day, with the change from the day before."""
    days = sorted(set(data.categories["event_date"]))
    newest, before = days[-1], days[-2] if len(days) > 1 else None
    by_day = data.categories.pivot_table(
        index="category", columns="event_date", values="event_count", aggfunc="sum", fill_value=0
    )
    table = pd.DataFrame({"category": by_day.index, "events_newest": by_day[newest].to_numpy()})
    words = f"{newest} saw events in {len(by_day)} categories."
    if before is not None:
        table["events_before"] = by_day[before].to_numpy()
        table["change"] = [
            _ratio(row.events_newest - row.events_before, row.events_before) for row in table.itertuples()
        ]
        known = table.dropna(subset=["change"]).sort_values("change", ascending=False)
        words += "".join(
            f" Compared with {before}, {known.iloc[place]['category']} {verb} most "
            f"({_shown(known.iloc[place]['change'], 'change')} %)."
            for place, verb in ((0, "gained"), (-1, "lost"))
            if (known.iloc[place]["change"] > 0) == (verb == "gained")
        )
    table = table.sort_values("events_newest", ascending=False)
    content = _beside(
        _table(table, 20, BY_CATEGORY),
        "category-chart",
        _category_spec(data.categories),
        f"Events by day. {words}",
    )
    return Panel(content, words)


def users(data: ShopData) -> Panel:
    """Users and sessions by day, sessions per user, and users who do more than a person does."""
    table = data.users.assign(
        sessions_per_user=[
            _ratio(sessions, users)
            for users, sessions in zip(data.users["unique_users"], data.users["unique_sessions"], strict=True)
        ]
    )
    newest = table.iloc[0]
    suspects = sorted(set(data.busy_users["user_id"]))
    words = (
        f"On {newest['event_date']}, {newest['unique_users']:,} users came in {newest['unique_sessions']:,} "
        f"sessions, {_shown(newest['sessions_per_user'], 'money')} each. "
    )
    words += (
        f"{plural(len(suspects), 'user')} did more in one hour than a person does; they may be bots."
        if suspects
        else "No user did more in one hour than a person does."
    )
    content = f'<div class="insight">{html.escape(words)}</div>' + _beside(
        _table(table, 14, BY_DAY), "users-chart", _users_spec(data.users), f"Users and sessions. {words}"
    )
    if suspects:
        content += f"<div>Suspected bots:</div>{_table(data.busy_users, 12, BY_DAY)}"
    return Panel(content, words)


def _table(frame: pd.DataFrame, max_rows: int, marks: dict[str, str]) -> str:
    return data_table(frame, max_rows, marks, show_names=False)


def _beside(table: str, identifier: str, spec: Spec, description: str) -> str:
    drawn = chart(identifier, spec, description)
    return f'<div class="pair"><div>{table}</div><div class="plot">{drawn}</div></div>'


# --- Rules --------------------------------------------------------------------------------------------------


def unusual_hours(revenue: pd.DataFrame) -> pd.DataFrame:
    """The hours whose revenue is an outlier, with `direction` "high" or "low".

    Modified z-score 0.6745 (x - median) / MAD of at least 3.5, over all hours between the first and the last;
    an hour without a purchase counts as 0. Nothing is unusual among fewer than `FEWEST_HOURS` hours.
    """
    hours = _every_hour(revenue)
    columns = ["event_date", "event_hour", "total_revenue", "direction"]
    if len(hours) < FEWEST_HOURS:
        return pd.DataFrame(columns=columns)
    median = hours.median()
    deviation = (hours - median).abs().median()
    if deviation == 0:
        return pd.DataFrame(columns=columns)
    score = 0.6745 * (hours - median) / deviation
    outliers = hours[score.abs() >= UNUSUAL_SCORE]
    rows = [
        (moment.date(), moment.hour, amount, "high" if amount > median else "low")
        for moment, amount in outliers.items()
    ]
    return pd.DataFrame(rows, columns=columns)


def _every_hour(revenue: pd.DataFrame) -> pd.Series:
    if revenue.empty:
        return pd.Series(dtype=float)
    moments = pd.to_datetime(revenue["event_date"]) + pd.to_timedelta(
        revenue["event_hour"].astype(int), unit="h"
    )
    amounts = pd.Series(revenue["total_revenue"].astype(float).to_numpy(), index=moments)
    return amounts.sort_index().asfreq("h", fill_value=0.0)


def _with_rates(funnel: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """The products that were viewed, with carts per view as `rate`, and the rate of the whole shop."""
    seen = funnel[funnel["views"] > 0]
    seen = seen.assign(rate=seen["add_to_carts"].astype(float) / seen["views"].astype(float))
    views = int(seen["views"].sum())
    return seen, int(seen["add_to_carts"].sum()) / views if views else 0.0


def _weak_products(products: pd.DataFrame, overall: float) -> pd.DataFrame:
    """Products seen often and seldom put into a cart, those that lose the most carts first."""
    often = products[products["views"] >= products["views"].quantile(0.9)]
    weak = often[often["rate"] < overall * 2 / 3]
    missed = weak["views"].astype(float) * overall - weak["add_to_carts"].astype(float)
    return weak.assign(missed_carts=missed).sort_values("missed_carts", ascending=False)


def _by_category(products: pd.DataFrame) -> pd.DataFrame:
    """The funnel by category, the best from view to purchase first."""
    table = products.groupby("category", as_index=False)[["views", "add_to_carts", "purchases"]].sum()
    for name, part, whole in (
        ("view_to_cart_conversion", "add_to_carts", "views"),
        ("cart_to_purchase_conversion", "purchases", "add_to_carts"),
        ("view_to_purchase_conversion", "purchases", "views"),
    ):
        table[name] = [_ratio(*pair) for pair in zip(table[part], table[whole], strict=True)]
    return table.sort_values("view_to_purchase_conversion", ascending=False, ignore_index=True)


def _ratio(part: Any, whole: Any) -> Decimal | None:
    return Decimal(str(part)) / Decimal(int(whole)) if whole else None


def _shown(value: Any, kind: str) -> str:
    return format_value(value, kind)


# --- Charts -------------------------------------------------------------------------------------------------


LOG: Spec = {"type": "log", "nice": False, "padding": 12}


def _values(frame: pd.DataFrame) -> Spec:
    """Rows as Vega-Lite takes them: days as text, amounts as numbers."""
    plain = [
        {
            name: float(value)
            if isinstance(value, Decimal)
            else str(value)
            if isinstance(value, date)
            else value
            for name, value in row.items()
        }
        for row in frame.astype(object).to_dict("records")
    ]
    return {"values": plain}


def _axis(field: str, title: str, kind: str = "quantitative", **more: Any) -> Spec:
    return {"field": field, "type": kind, "title": title, **more}


def _funnel_spec(products: pd.DataFrame, overall: float) -> Spec:
    columns = ["product_id", "category", "views", "add_to_carts", "purchases", "rate", "weak"]
    colour = {"condition": {"test": "datum.weak", "value": RED}, "value": BLUE}
    return {
        "height": 300,
        "layer": [
            {
                "data": _values(products[columns]),
                "transform": [{"filter": IN_CATEGORY}],
                "mark": {"type": "point", "filled": True, "tooltip": {"content": "data"}},
                "encoding": {
                    "x": _axis("views", "Views (logarithmic)", scale=LOG, axis={"format": ",d"}),
                    "y": _axis("rate", "Carts per view", axis={"format": ".0%"}),
                    "color": colour,
                    "opacity": {"condition": {"test": "datum.weak", "value": 1}, "value": 0.55},
                    "shape": {"condition": {"test": "datum.weak", "value": "triangle-up"}, "value": "circle"},
                    "size": {"condition": {"test": "datum.weak", "value": 90}, "value": 40},
                },
            },
            {
                "data": {"values": [{"rate": overall}]},
                "mark": {"type": "rule", "strokeDash": [6, 4], "color": "#57606a"},
                "encoding": {"y": _axis("rate", "Carts per view")},
            },
        ],
    }


def _revenue_spec(hourly: pd.DataFrame, unusual: pd.DataFrame) -> Spec:
    outliers = set(zip(unusual["event_date"], unusual["event_hour"], strict=True))
    rows = [
        {
            "day": str(row.event_date),
            "hour": f"{row.event_date}T{row.event_hour:02d}:00:00Z",
            "category": row.category,
            "revenue": float(row.total_revenue),
            "unusual": int((row.event_date, row.event_hour) in outliers),
        }
        for row in hourly.itertuples()
    ]
    is_marked = "datum.unusual && category == 'all'"
    return {
        "height": 300,
        "data": {"values": rows},
        "transform": [
            {"filter": f"({IN_CATEGORY}) && ({ON_DAY})"},
            {
                "aggregate": [
                    {"op": "sum", "field": "revenue", "as": "revenue"},
                    {"op": "max", "field": "unusual", "as": "unusual"},
                ],
                "groupby": ["hour"],
            },
        ],
        "encoding": {
            "x": _axis(
                "hour",
                "Hour (UTC)",
                "temporal",
                timeUnit="utcyearmonthdatehours",
                scale={"type": "utc"},
                axis={"format": "%b %d, %H:00", "labelOverlap": True, "tickCount": 8},
            ),
            "y": _axis("revenue", "Revenue (USD)", axis={"format": ",.0f"}),
        },
        "layer": [
            {
                "mark": {"type": "bar", "tooltip": True},
                "encoding": {"color": {"condition": {"test": is_marked, "value": RED}, "value": BLUE}},
            },
            {
                "mark": {"type": "text", "dy": -8, "color": RED, "fontSize": 14},
                "encoding": {"text": {"condition": {"test": is_marked, "value": "▼"}, "value": ""}},
            },
        ],
    }


def _top_spec(table: pd.DataFrame) -> Spec:
    room_for_labels = {
        "domainMin": 0,
        "domainMax": int(table["view_count"].max()) * 1.15 if len(table) else 1,
    }
    return {
        "height": 300,
        "data": _values(table),
        "transform": [{"filter": IN_CATEGORY}],
        "layer": [
            {"mark": {"type": "bar", "color": BLUE, "tooltip": {"content": "data"}}},
            {
                "mark": {"type": "text", "align": "left", "dx": 4},
                "encoding": {"text": {"field": "view_count", "format": ",d"}},
            },
        ],
        "encoding": {
            "y": _axis("product_id", "", "nominal", sort=None),
            "x": _axis("view_count", "Views", scale=room_for_labels, axis={"format": ",d", "tickCount": 6}),
        },
    }


def _category_spec(categories: pd.DataFrame) -> Spec:
    rows = categories.assign(day=categories["event_date"].astype(str))[["day", "category", "event_count"]]
    transform = [{"filter": f"({IN_CATEGORY}) && ({ON_DAY})"}]
    colours = {"range": list(CATEGORY_COLOURS)}
    if rows["day"].nunique() <= 3:
        return {
            "height": 16 * (1 + rows["day"].nunique()) * rows["category"].nunique(),
            "data": _values(rows),
            "transform": transform,
            "mark": {"type": "bar", "tooltip": True},
            "encoding": {
                "y": _axis("category", "", "nominal", sort="-x"),
                "yOffset": {"field": "day"},
                "x": _axis("event_count", "Events", axis={"format": ",d"}),
                "color": {"field": "day", "type": "nominal", "scale": colours},
            },
        }
    return {
        "height": 300,
        "data": _values(rows),
        "transform": transform,
        "mark": {"type": "line", "point": True, "tooltip": True},
        "encoding": {
            "x": _axis("day", "Day (UTC)", "temporal", scale={"type": "utc"}),
            "y": _axis("event_count", "Events", axis={"format": ",d"}),
            "color": {"field": "category", "type": "nominal", "scale": colours},
            "shape": {"field": "category", "type": "nominal"},
        },
    }


def _users_spec(users: pd.DataFrame) -> Spec:
    rows = users.rename(columns={"event_date": "day", "unique_users": "users", "unique_sessions": "sessions"})
    return {
        "height": 300,
        "data": _values(rows),
        "transform": [{"filter": ON_DAY}, {"fold": ["users", "sessions"], "as": ["what", "count"]}],
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": _axis("day", "Day (UTC)", "nominal", axis={"labelAngle": 0 if len(rows) <= 7 else -90}),
            "xOffset": {"field": "what", "sort": ["users", "sessions"]},
            "y": _axis("count", "Users and sessions", axis={"format": ",d"}),
            "color": {
                "field": "what",
                "type": "nominal",
                "scale": {"domain": ["users", "sessions"], "range": [BLUE, ORANGE]},
            },
        },
    }
