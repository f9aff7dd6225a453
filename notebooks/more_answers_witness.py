"""The answers of `more_answers.sql` once more, event by event in plain Python: what they are held against.

The events come from the raw lines (`recompute`). Nothing is shared with the SQL but the names of the columns.
Each function takes the events of the days that its question looks at and gives the rows in their order, with
None for NULL. Not for the five answers of queries.sql: those are in `recompute.sql`.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import duckdb

Row = tuple[Any, ...]
ONE_DAY = timedelta(days=1)
MOST_SEARCH_ROWS = 22
TIMES_TO_PURCHASE = (  # a text for what lasts less than so many seconds
    (30, "under 30 s"),
    (60, "30 s to 1 min"),
    (120, "1 to 2 min"),
    (300, "2 to 5 min"),
    (600, "5 to 10 min"),
    (3600, "10 min to 1 h"),
    (24 * 3600, "over 1 h"),
)


class Event(NamedTuple):
    """An event as the questions need it; `moment` is as in Athena, which rounds to milliseconds."""

    day: date
    hour: int
    moment: datetime
    user: str
    session: str
    kind: str
    product: str | None
    quantity: int | None
    price: Decimal | None
    category: str
    query: str | None

    @property
    def worth(self) -> Decimal:
        """Price times quantity, of a cart or purchase event."""
        assert self.price is not None and self.quantity is not None
        return self.price * self.quantity


def events(database: duckdb.DuckDBPyConnection, first: date, last: date) -> Iterator[Event]:
    """The events of these days, both included, in no order, from the tables of `recompute.compute`."""
    found = database.cursor().execute(
        "SELECT event_date, event_hour, event_timestamp, user_id, session_id, event_type, product_id, "
        "quantity, price, coalesce(category, 'uncategorized'), search_query FROM events "
        "WHERE event_date BETWEEN ? AND ?",
        [first, last],
    )
    while rows := found.fetchmany(10_000):
        for event in map(Event._make, rows):
            yield event._replace(moment=in_milliseconds(event.moment))


def in_milliseconds(moment: datetime) -> datetime:
    """A time rounded half up, as Trino reads a finer one from a file."""
    return moment.replace(microsecond=0) + timedelta(milliseconds=(moment.microsecond + 500) // 1000)


def sales_by_category(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 6: event_date, category, add_to_carts, purchases, total_revenue."""
    rows: dict[tuple[date, str], list[Any]] = defaultdict(lambda: [0, 0, Decimal(0)])
    for event in events:
        if event.kind == "add_to_cart":
            rows[event.day, event.category][0] += 1
        if event.kind == "purchase":
            row = rows[event.day, event.category]
            row[1] += 1
            row[2] += event.worth
    found = [(*key, *row) for key, row in rows.items()]
    return sorted(found, key=lambda row: (-row[0].toordinal(), -row[4], row[1]))


def orders(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 7: products, orders, items, total_revenue, average_order, items_per_order."""
    bought = defaultdict(list)
    for event in events:
        if event.kind == "purchase":
            bought[event.session].append(event)
    by_size: dict[int | None, list[list[Event]]] = defaultdict(list)
    for order in bought.values():
        by_size[None].append(order)
        by_size[len({event.product for event in order})].append(order)
    rows = []
    for size in sorted(by_size, key=lambda size: size or 0):
        of_size = by_size[size]
        items = sum(event.quantity or 0 for order in of_size for event in order)
        revenue = sum(event.worth for order in of_size for event in order)
        averages = (rounded(total, len(of_size), 2) for total in (revenue, items))
        rows.append((size, len(of_size), items, revenue, *averages))
    return rows


def left_carts(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 8: category, carts, left_carts, share, left_items, left_worth."""
    items: dict[Row, int] = defaultdict(int)
    worth: dict[Row, Decimal] = defaultdict(Decimal)
    buyers = set()
    for event in events:
        key = (event.session, event.product, event.category)
        if event.kind == "purchase":
            buyers.add(event.session)
        if event.kind in ("add_to_cart", "remove_from_cart"):
            sign = 1 if event.kind == "add_to_cart" else -1
            items[key] += sign * (event.quantity or 0)
            worth[key] += sign * event.worth
    by_category: dict[str | None, list[Row]] = defaultdict(list)
    for key, count in items.items():
        if count > 0:
            for category in (None, key[2]):
                by_category[category].append(key)
    rows = []
    for category, keys in by_category.items():
        left = [key for key in keys if key[0] not in buyers]
        carts, left_sessions = ({key[0] for key in some} for some in (keys, left))
        total = sum((worth[key] for key in left), Decimal(0))
        share = rounded(len(left_sessions), len(carts), 4)
        rows.append((category, len(carts), len(left_sessions), share, sum(items[key] for key in left), total))
    return sorted(rows, key=lambda row: (row[0] is not None, -row[5], row[0]))


def times_to_purchase(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 9: time_to_purchase, purchases, share."""
    earliest: dict[Row, datetime] = {}
    for event in events:
        if event.kind in ("page_view", "purchase"):
            key = (event.kind, event.session, event.product)
            earliest[key] = min(event.moment, earliest.get(key, event.moment))
    counts = Counter[str]()
    for (kind, *what), purchased in earliest.items():
        if kind == "purchase":
            viewed = earliest.get(("page_view", *what))
            if viewed is None or viewed > purchased:
                counts["not seen before"] += 1
            else:
                seconds = (purchased - viewed) // timedelta(seconds=1)
                counts[next(text for bound, text in TIMES_TO_PURCHASE if seconds < bound)] += 1
    texts = [text for _, text in TIMES_TO_PURCHASE] + ["not seen before"]
    return [(text, counts[text], rounded(counts[text], counts.total(), 4)) for text in texts if counts[text]]


def searches(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 10: has_searched, search_query, searches, sessions, buying_sessions, share."""
    searched: dict[str, Counter[str]] = defaultdict(Counter)
    buyers = set()
    for event in events:
        texts = searched[event.session]
        if event.kind == "search":
            texts[event.query or "(no text)"] += 1
        if event.kind == "purchase":
            buyers.add(event.session)
    groups: dict[tuple[bool, str | None], list[str]] = defaultdict(list)
    for session, texts in searched.items():
        groups[bool(texts), None].append(session)
        for text in texts:
            groups[True, text].append(session)
    rows = []
    for (has_searched, group), sessions in groups.items():
        count = sum(
            searched[session].total() if group is None else searched[session][group] for session in sessions
        )
        buying = sum(session in buyers for session in sessions)
        share = rounded(buying, len(sessions), 4)
        rows.append((has_searched, group, count, len(sessions), buying, share))
    return sorted(rows, key=lambda row: (row[1] is not None, not row[0], -row[2], row[1]))[:MOST_SEARCH_ROWS]


def returning_users(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 11: event_date, unique_users, returning_users, share."""
    users: dict[date, set[str]] = defaultdict(set)
    for event in events:
        users[event.day].add(event.user)
    rows = []
    for day in sorted(users.keys() - {last}, reverse=True):
        again = len(users[day] & users.get(day + ONE_DAY, set()))
        rows.append((day, len(users[day]), again, rounded(again, len(users[day]), 4)))
    return rows


def days_compared(events: Iterable[Event], first: date, last: date) -> list[Row]:
    """Query 12: event_date, event_hour, total_revenue, revenue_before, revenue_before_by_then, change.

    The events begin a day before the first of the days that the question is asked for.
    """
    sold: dict[date, dict[int, Decimal]] = defaultdict(dict)
    for event in events:
        if event.kind == "purchase":
            hours = sold[event.day]
            hours[event.hour] = hours.get(event.hour, Decimal(0)) + event.worth
    rows = []
    for back in range((last - first).days + 1):
        day = last - back * ONE_DAY
        today, before = (sold.get(one, {}) for one in (day, day - ONE_DAY))
        by_then = {hour: amount for hour, amount in before.items() if hour <= max(today, default=-1)}
        whole_day = [None] if today or before else []
        for hour in [*whole_day, *(sorted(today | before) if day == last else [])]:
            sums = [_sum_of(side, hour) for side in (today, before, by_then)]
            change = rounded(sums[0] - sums[2], sums[2], 4) if sums[2] else None
            rows.append((day, hour, *sums, change))
    return sorted(rows, key=lambda row: (row[1] is not None, row[1]))


def _sum_of(amounts: dict[int, Decimal], hour: int | None) -> Decimal:
    """What an hour sold, or all of them did."""
    return sum((amount for one, amount in amounts.items() if hour in (None, one)), Decimal(0))


def rounded(part: Decimal | int, whole: Decimal | int, places: int) -> Decimal:
    """A quotient as SQL's decimals round it: half away from zero."""
    scaled = Fraction(part) / Fraction(whole) * 10**places
    digits = math.floor(abs(scaled) + Fraction(1, 2))
    return Decimal(digits if scaled >= 0 else -digits).scaleb(-places)
