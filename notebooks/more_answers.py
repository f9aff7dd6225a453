"""The questions that come after the five: what `more_answers.ipynb` asks, says of the answers, and checks.

Their SQL stands in `more_answers.sql`, their plots in `more_answers_plots`, and what the raw lines give for
them in `more_answers_witness`. Here is which days a question looks at, and a sentence on each answer.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from capstone_pipeline.answers import Answer, Query, partition_filter, read_queries, run_query
from capstone_pipeline.errors import InvalidSetting, NotRunYet
from capstone_pipeline.plots import label
from capstone_pipeline.render import (
    Shown,
    badge,
    block,
    data_table,
    facts_table,
    file_size,
    format_value,
    plural,
    printable,
)
from capstone_pipeline.shop import Shop
from notebooks import more_answers_plots as plots
from notebooks import more_answers_witness as witness
from notebooks.recompute import Recomputed
from notebooks.validation import Check, Figure, Validation, differing_rows

QUERIES = Path(__file__).with_name("more_answers.sql")
MOST_ROWS = 32
"""Of an answer, where it is shown."""

ONE_DAY = timedelta(days=1)
NOTHING = "There is nothing to tell of these days."


# --- What is asked ------------------------------------------------------------------------------------------


def statement(query: Query, first: date, last: date) -> str:
    """The SQL of a question about these days, or about the last of them, as Athena takes it."""
    days = [first + number * ONE_DAY for number in range((last - first).days + 1)]
    return Template(query.sql).substitute(
        day=partition_filter([last]),
        days=partition_filter(days),
        first_day=f"DATE '{first}'",
        last_day=f"DATE '{last}'",
    )


def ask(shop: Shop, query: Query, first: date, last: date) -> Answer:
    """What Athena answers to a question about these days, in silver's database where it reads single events.

    Raises
    ------
    QueryFailed
    """
    is_of_silver = "FROM events_cleaned" in query.sql
    database = shop.stack.silver_database_name if is_of_silver else shop.stack.gold_database_name
    asked = replace(query, sql=statement(query, first, last))
    return run_query(shop.aws, shop.stack, asked, database)


def days_to_look_at(shop: Shop, day: str | None = None, days_shown: int = 7) -> tuple[date, date]:
    """The first and the last of the days: the last is the one asked for, by default the newest with events.

    Raises
    ------
    InvalidSetting
        When there are no events of that day.
    NotRunYet
        When gold holds none at all.
    """
    known = sorted(shop.ask("SELECT event_date FROM user_activity", "days")["event_date"])
    if not known:
        raise NotRunYet(
            f"The tables of {shop.stack.gold_database_name} are empty.",
            "run build_pipeline.ipynb first (`make report`, or `make demo` on the embedded AWS).",
        )
    chosen = str(known[-1]) if day is None else day
    if chosen not in map(str, known):
        raise InvalidSetting(
            f"There are no events of the day {chosen!r}.",
            f"set `day` to one that has some, the newest are {', '.join(map(str, known[-3:]))}, or to None.",
        )
    last = date.fromisoformat(chosen)
    return max(last - (days_shown - 1) * ONE_DAY, min(known)), last


@dataclass(frozen=True, repr=False)
class MoreAnswer(Shown):
    """An answer: what was asked, what Athena said, whether the raw lines say the same, what it means."""

    asked: Answer
    frame: pd.DataFrame
    check: Check
    insight: str
    plot: str

    def __str__(self) -> str:
        return f"{self.insight}\n  {self._verdict}"

    def _repr_html_(self) -> str:
        table = data_table(in_words(self.frame), MOST_ROWS, show_names=False)
        scanned = file_size(self.asked.scanned_bytes)
        note = f"Athena scanned {scanned} in {self.asked.engine_seconds:.1f} s"
        table = f"<div>{table}<div class='note'>{html.escape(note)}</div></div>"
        differences = "" if self.check.state != "failed" else self.check._repr_html_()
        return block(
            f'<div class="insight">{html.escape(self.insight)}</div>'
            f'<div class="pair">{table}<div class="plot">{self.plot}</div></div>'
            f"<div>{badge(self.check.state)} &ensp;{html.escape(self._verdict)}</div>{differences}"
            '<details><summary>The SQL</summary><div class="scroll">'
            f"<pre>{html.escape(self.asked.query.sql)}</pre></div></details>"
        )

    @property
    def _verdict(self) -> str:
        if self.check.state == "skipped":
            return f"Not compared: {self.check.skipped}."
        rows = plural(len(self.frame), "row")
        return {
            "passed": f"The raw lines give the same {rows}, in the same order.",
            "failed": "The raw lines give another answer.",
        }[self.check.state]


@dataclass(frozen=True, repr=False)
class MoreAnswers(Shown):
    """The shop on a day and on the days before it, ready to be asked."""

    shop: Shop
    expected: Recomputed
    first: date
    last: date

    def facts(self) -> list[tuple[str, str]]:
        """Which days are looked at."""
        return [
            ("The day", f"{self.last} (UTC)"),
            ("With those before it", f"{self.first} to {self.last}" if self.first < self.last else "none"),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.facts())

    def _repr_html_(self) -> str:
        return facts_table(self.facts())

    def answer(self, number: int) -> MoreAnswer:
        """Ask a question of `more_answers.sql` by its number, and compare the answer with the raw lines.

        Raises
        ------
        QueryFailed
        """
        query, question = read_queries(QUERIES)[number], QUESTIONS[number]
        asked = ask(self.shop, query, self.first, self.last)
        frame = plain(asked.frame)
        return MoreAnswer(
            asked=asked,
            frame=frame,
            check=self._check(query, question, frame),
            insight=printable(question.insight(frame)) if len(frame) else NOTHING,
            plot=question.plot(frame) if len(frame) else "",
        )

    def _check(self, query: Query, question: Question, found: pd.DataFrame) -> Check:
        since = (self.last if question.of_one_day else self.first) - question.days_earlier * ONE_DAY
        incomplete = self.expected.last_incomplete_day
        title = query.title.capitalize()
        if incomplete is not None and since <= incomplete:
            reason = f"raw objects of {since} have expired"
            return Check(title, (), pd.DataFrame(), skipped=reason)
        events = witness.events(self.expected.database, since, self.last)
        rows = question.witness(events, self.first, self.last)
        return compare(title, pd.DataFrame(rows, columns=found.columns, dtype=object), found)


def about(shop: Shop, expected: Recomputed, day: str | None = None, days_shown: int = 7) -> MoreAnswers:
    """Choose the days, as `days_to_look_at` does, and what the answers are compared with."""
    return MoreAnswers(shop, expected, *days_to_look_at(shop, day, days_shown))


def verdict(*answers: MoreAnswer) -> Validation:
    """All comparisons in one table; `require_passed` stops the notebook where one has failed."""
    return Validation(tuple(answer.check for answer in answers))


# --- Showing ------------------------------------------------------------------------------------------------


def in_words(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as they are shown: where NULL stands for all of a kind, a word says so."""
    shown = frame.copy()
    if "products" in shown:
        shown["products"] = shown["products"].map(lambda size: "all orders" if size is None else str(size))
    if "left_carts" in shown:
        shown["category"] = shown["category"].fillna("all carts")
    if "has_searched" in shown:
        everybody = shown["has_searched"].map({True: "anything", False: "nothing"})
        shown["search_query"] = shown["search_query"].where(shown["search_query"].notna(), everybody)
        shown = shown.drop(columns="has_searched")
    if "revenue_before" in shown:
        hours = [
            format_value(hour, "hour") if hour is not None else "whole day" for hour in shown["event_hour"]
        ]
        shown["event_hour"] = hours
        shown = shown.rename(columns={"event_hour": "time_of_day"})
    return shown


# --- Comparing ----------------------------------------------------------------------------------------------


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with Python's own values, and None for NULL."""
    return frame.astype(object).where(frame.notna(), None)


def compare(title: str, wanted: pd.DataFrame, found: pd.DataFrame) -> Check:
    """The rows of both, one by one, and in their order."""
    different = differing_rows(wanted, found)
    is_ordered = len(different) > 0 or wanted.to_numpy().tolist() == found.to_numpy().tolist()
    return Check(
        title,
        (
            Figure("rows", len(wanted), len(found)),
            Figure("rows that differ", 0, len(different)),
            Figure("order of the rows", "as asked for", "as asked for" if is_ordered else "another"),
        ),
        different,
    )


# --- A sentence on each answer ------------------------------------------------------------------------------


def _sales(frame: pd.DataFrame) -> str:
    newest = frame[frame["event_date"] == frame["event_date"][0]]
    best, total, most = newest.iloc[0], newest["total_revenue"].sum(), newest["purchases"].max()
    if not most:
        return f"On {best['event_date']}, carts were filled, but nothing was bought."
    often = sorted(newest[newest["purchases"] == most]["category"])
    tail = (
        "and is bought most often, too"
        if best["category"] in often
        else f"while {label(often[0])} is bought most often ({plural(most, 'purchase')})"
    )
    return (
        f"On {best['event_date']}, {label(best['category'])} earns {_money(best['total_revenue'])} USD, "
        f"{_percent(best['total_revenue'], total)} % of the day's revenue, {tail}."
    )


def _orders(frame: pd.DataFrame) -> str:
    overall, single = frame.iloc[0], frame[frame["products"] == 1]
    alone = _percent(single.iloc[0]["orders"] if len(single) else 0, overall["orders"])
    return (
        f"An order is worth {_money(overall['average_order'])} USD and holds {overall['items_per_order']} "
        f"items on average; {alone} % of {plural(overall['orders'], 'order')} are of one product only."
    )


def _carts(frame: pd.DataFrame) -> str:
    overall, categories = frame.iloc[0], frame.iloc[1:]
    worst = categories.iloc[0]
    return (
        f"{overall['left_carts']:,} of {plural(overall['carts'], 'cart')} ({_percent(overall['share'])} %) "
        f"are left, with goods for {_money(overall['left_worth'])} USD in them; "
        f"{label(worst['category'])} has the largest part of it ({_money(worst['left_worth'])} USD)."
    )


def _times(frame: pd.DataFrame) -> str:
    counts = frame[frame["time_to_purchase"] != "not seen before"]
    unseen = frame["purchases"].sum() - counts["purchases"].sum()
    rest = f"{plural(unseen, 'purchase') if unseen else 'none'} had no view before on that day."
    if counts.empty:
        return f"No purchase followed a view; {rest}"
    half, so_far = counts["purchases"].sum() / 2, 0
    for row in counts.itertuples():
        so_far += row.purchases
        if so_far >= half:
            break
    typical = f"From the first view of a product to its purchase it typically takes {row.time_to_purchase}"
    return f"{typical}; {rest}"


def _searches(frame: pd.DataFrame) -> str:
    overall = {row.has_searched: row for row in frame.itertuples() if row.search_query is None}
    if True not in overall:
        return f"Nobody searched; {_percent(overall[False].share)} % of the sessions bought something."
    texts = frame[[text is not None for text in frame["search_query"]]]
    most = texts.iloc[0]
    first = f"Most is searched for “{label(most['search_query'])}” ({most['searches']:,} times). "
    others = (
        f", of the others {_percent(overall[False].share)} %"
        if False in overall
        else "; all of them searched"
    )
    return f"{first}Of sessions that search, {_percent(overall[True].share)} % buy{others}."


def _returning(frame: pd.DataFrame) -> str:
    newest = frame.iloc[0]
    return (
        f"Of {plural(newest['unique_users'], 'user')} of {newest['event_date']}, "
        f"{newest['returning_users']:,} have come again on the next day, {_percent(newest['share'])} %."
    )


def _days(frame: pd.DataFrame) -> str:
    day = frame.iloc[0]
    whole = [_money(day[name]) for name in ("total_revenue", "revenue_before")]
    sold = f"{day['event_date']} sold {whole[0]} USD, the day before {whole[1]}"
    if day["change"] is None:
        return f"{sold}; by the hour of the last purchase, the day before had sold nothing to compare with."
    return (
        f"{sold}; up to the hour of the last purchase it had sold {_money(day['revenue_before_by_then'])}: "
        f"a change of {format_value(day['change'], 'change')} %."
    )


def _money(value: Decimal) -> str:
    return format_value(value, "money")


def _percent(part: Any, whole: Any = 1) -> str:
    return f"{100 * Decimal(part) / Decimal(whole):.1f}" if whole else "–"


@dataclass(frozen=True)
class Question:
    """What belongs to a statement of `more_answers.sql`.

    days_earlier: how far before the days shown it looks.
    """

    witness: Callable[[Iterable[witness.Event], date, date], Sequence[witness.Row]]
    plot: Callable[[pd.DataFrame], str]
    insight: Callable[[pd.DataFrame], str]
    of_one_day: bool = True
    days_earlier: int = 0


QUESTIONS = {
    6: Question(witness.sales_by_category, plots.sales_by_category, _sales, of_one_day=False),
    7: Question(witness.orders, plots.orders, _orders),
    8: Question(witness.left_carts, plots.left_carts, _carts),
    9: Question(witness.times_to_purchase, plots.times_to_purchase, _times),
    10: Question(witness.searches, plots.searches, _searches),
    11: Question(witness.returning_users, plots.returning_users, _returning, of_one_day=False),
    12: Question(witness.days_compared, plots.days_compared, _days, of_one_day=False, days_earlier=1),
}
