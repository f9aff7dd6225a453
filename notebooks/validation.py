"""The checks of `validate_results.ipynb`: what Athena answers, beside what the raw lines say.

One function a check, each returning a table of figures from both sides. `recompute` computes the one side and
knows nothing of the job; the other side is what a user sees: `queries.sql` and the tables, through Athena.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import awswrangler as wr
import pandas as pd

from capstone_pipeline.answers import partition_filter
from capstone_pipeline.errors import PipelineError, own_errors
from capstone_pipeline.render import Sentence, Shown, badge, block, data_table, plural
from capstone_pipeline.shop import Shop
from capstone_pipeline.stack import Connection
from notebooks.recompute import Identity, Recomputed

SHOWN_DIFFERENCES = 6


class ValidationFailed(PipelineError):
    """The tables do not hold what the raw events say."""


@dataclass(frozen=True)
class Figure:
    """One number, or text, from both sides."""

    name: str
    expected: Any
    found: Any

    @property
    def passed(self) -> bool:
        """Whether both sides say the same."""
        return bool(self.expected == self.found)


@dataclass(frozen=True, repr=False)
class Check(Shown):
    """One point of the checklist: its figures, and examples of the rows that differ.

    skipped says why the check could not be made; such a check has neither passed nor failed.
    """

    title: str
    figures: tuple[Figure, ...]
    differences: pd.DataFrame
    sides: tuple[str, str] = ("From the raw lines", "In the tables")
    skipped: str = ""

    @property
    def state(self) -> str:
        """One of "passed", "failed", "skipped"."""
        if self.skipped:
            return "skipped"
        return "passed" if all(figure.passed for figure in self.figures) else "failed"

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.state}{f' ({self.skipped})' if self.skipped else ''}"]
        for figure in self.figures:
            sign = "=" if figure.passed else "≠"
            lines.append(f"  {figure.name}: {_text(figure.expected)} {sign} {_text(figure.found)}")
        if not self.differences.empty:
            lines.append(self.differences.head(SHOWN_DIFFERENCES).to_string(index=False))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        if self.skipped:
            return block(f"<div>{badge('skipped')} &ensp;{html.escape(self.skipped)}</div>")
        content = f"<table><thead><tr><th></th><th>Figure</th>{_heads(self.sides)}</tr></thead><tbody>"
        content += "".join(_figure_row(figure) for figure in self.figures) + "</tbody></table>"
        if not self.differences.empty:
            content += "<div>Rows that differ:</div>" + data_table(self.differences, SHOWN_DIFFERENCES)
        return block(content)


@dataclass(frozen=True, repr=False)
class Validation(Shown):
    """All checks, as the pass/fail table at the end of the notebook."""

    checks: tuple[Check, ...]

    def __str__(self) -> str:
        return "\n".join(f"{check.title}: {check.state}" for check in self.checks)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td>{badge(check.state)}</td><td class="wrap">{html.escape(check.title)}</td>'
            f'<td class="num">{len(check.figures):,}</td><td class="wrap">{_failures(check)}</td></tr>'
            for check in self.checks
        )
        return block(
            '<table><thead><tr><th></th><th>Check</th><th class="num">Figures</th>'
            f"<th>What differs</th></tr></thead><tbody>{rows}</tbody></table>"
        )

    def require_passed(self) -> Sentence:
        """Say that nothing failed, or stop the notebook.

        Raises
        ------
        ValidationFailed
            With the figures that differ.
        """
        failed = [check for check in self.checks if check.state == "failed"]
        if failed:
            wrong = "\n".join(
                f"  {check.title}: {figure.name} should be {_text(figure.expected)}, is {_text(figure.found)}"
                for check in failed
                for figure in check.figures
                if not figure.passed
            )
            raise ValidationFailed(
                f"{len(failed)} of {plural(len(self.checks), 'check')} failed:\n{wrong}",
                "run the job and validate again, in case raw objects were replaced meanwhile. If it still "
                "fails, let the job rebuild everything: reset its bookmark (the command is in the last cell "
                "of build_pipeline.ipynb) and run it.",
            )
        skipped = sum(check.state == "skipped" for check in self.checks)
        return Sentence(f"{len(self.checks) - skipped} checks passed, {skipped} skipped.", "passed")


# --- Layers -------------------------------------------------------------------------------------------------


def check_lines(shop: Shop, expected: Recomputed) -> Check:
    """Bronze: every delivered line was accepted or rejected, file by file and reason by reason."""
    days = {item.arrival.date() for item in expected.objects}
    bronze, where = shop.stack.bronze_database_name, partition_filter(days)
    hours = ", ".join(str(hour) for hour in sorted({item.arrival.hour for item in expected.objects})) or "-1"
    found = shop.ask(
        "SELECT source_file, 'accepted' AS verdict, count(*) AS line_count "
        f"FROM {bronze}.events WHERE {partition_filter(days, injected=True)} AND hour IN ({hours}) "
        "GROUP BY source_file "
        "UNION ALL SELECT source_file, reason AS verdict, count(*) AS line_count "
        f"FROM {bronze}.events_rejected WHERE {where} GROUP BY source_file, reason",
        "lines of bronze by file",
    )
    found = found[~found["source_file"].isin([*expected.expired, *expected.pending])]
    wanted = expected.rows(
        "SELECT source_file, verdict, count(*) AS line_count FROM ("
        "SELECT source_file, 'accepted' AS verdict FROM accepted UNION ALL "
        "SELECT source_file, reason FROM rejected) GROUP BY ALL"
    )
    delivered = expected.rows("SELECT (SELECT count(*) FROM lines) + (SELECT count(*) FROM corrupt_objects)")
    accepted = [_total(frame[frame["verdict"] == "accepted"], "line_count") for frame in (wanted, found)]
    rejected = [_total(frame[frame["verdict"] != "accepted"], "line_count") for frame in (wanted, found)]
    return _check(
        "Every line is accounted for",
        wanted,
        found,
        Figure("lines delivered = accepted + rejected", int(delivered.iat[0, 0]), accepted[1] + rejected[1]),
        Figure("lines accepted", *accepted),
        Figure("lines rejected", *rejected),
        Figure("reasons for rejection", *(frame["verdict"].nunique() - 1 for frame in (wanted, found))),
    )


def check_events(shop: Shop, expected: Recomputed) -> Check:
    """Silver: every event is there once, from a file that delivered it, with its amounts."""
    silver = f"{shop.stack.silver_database_name}.events_cleaned"
    days = shop.ask("SELECT event_date FROM user_activity", "days")["event_date"]
    days = {*days, *expected.rows("SELECT DISTINCT event_date FROM events")["event_date"]}
    where = f"{silver} WHERE {partition_filter(days)}"

    def in_both(sql: str, title: str) -> list[pd.DataFrame]:
        """What a statement answers of the events as recomputed, and of silver's."""
        frames = (expected.rows(sql.format("events")), shop.ask(sql.format(where), title))
        return [_complete(frame, expected) for frame in frames]

    by_day = (
        "SELECT event_date, count(*) AS event_count, sum(quantity) AS quantity, "
        "sum(price * quantity) AS amount FROM {} GROUP BY event_date"
    )
    wanted, found = in_both(by_day, "events of silver by day")
    by_file = f"SELECT source_file, event_date, count(*) AS event_count FROM {where} GROUP BY 1, 2"
    named = _complete(shop.ask(by_file, "events of silver by file"), expected)
    # Without the time: Athena reads it in milliseconds, in which two events may well be one.
    alike_but_for_time = (
        "SELECT event_date, alike, count(*) AS occurrences FROM (SELECT event_date, count(*) AS alike "
        f"FROM {{}} GROUP BY event_date, {', '.join(Identity._fields[:-1])}) AS counted "
        "GROUP BY event_date, alike"
    )
    alike_wanted, alike_found = in_both(alike_but_for_time, "events of silver that are alike")
    twice = _repeated(alike_found) - _repeated(alike_wanted)
    possible, shares = shares_of_files(named, _complete(_bounds(expected), expected))
    pairs = ((possible, shares), (wanted, found), (alike_wanted, alike_found))
    differences = pd.concat([differing_rows(*pair) for pair in pairs])
    return Check(
        "Every event is in silver once",
        (
            Figure(
                "files",
                *(frame[frame["event_count"] > 0]["source_file"].nunique() for frame in (possible, shares)),
            ),
            Figure("events", *(_total(frame, "event_count") for frame in (wanted, found))),
            Figure("price × quantity, USD", *(_total(frame, "amount") for frame in (wanted, found))),
            Figure("events that occur twice", 0, max(0, twice)),
            Figure("rows that differ", 0, len(differences)),
        ),
        differences,
    )


def check_schemas(shop: Shop) -> Check:
    """The columns of the newest file of each table are those that the Glue Data Catalog declares."""
    figures, different = [], []
    for database in shop.stack.database_names:
        for table in _tables(shop.aws, database):
            declared = {column["Name"]: column["Type"] for column in table["StorageDescriptor"]["Columns"]}
            stored = _columns_of_newest_file(shop.aws, table["StorageDescriptor"]["Location"])
            if stored is None:
                continue
            name, columns = f"{database}.{table['Name']}", {**declared, **stored}
            unlike = [column for column in columns if declared.get(column) != stored.get(column)]
            figures.append(Figure(f"columns of {name}", len(columns), len(columns) - len(unlike)))
            different += [(name, column, declared.get(column), stored.get(column)) for column in unlike]
    differences = pd.DataFrame(different, columns=["table", "column", "declared", "stored"])
    return Check(
        "The files have the columns that the catalog declares",
        tuple(figures),
        differences,
        ("In catalog and files", "The same in both"),
    )


# --- The five answers ---------------------------------------------------------------------------------------


def check_funnel(shop: Shop, expected: Recomputed) -> Check:
    """Query 1 shows all products, with correct counts and ratios."""
    title = "Conversion funnel shows all products with correct calculations"
    if expected.expired:
        return _all_time_skipped(title, expected)
    wanted, found = _both(shop, 1, expected, "conversion_funnel")
    totals = [
        Figure(name.replace("_", " "), *(_total(frame, name) for frame in (wanted, found)))
        for name in ("views", "add_to_carts", "purchases")
    ]
    return _check(title, wanted, found, Figure("products and categories", len(wanted), len(found)), *totals)


def check_revenue(shop: Shop, expected: Recomputed) -> Check:
    """Query 2 equals the sum over the single purchases, in all and hour by hour."""
    wanted, found = _both(shop, 2, expected, "hourly_revenue")
    purchases = _complete(
        expected.rows("SELECT event_date, price, quantity FROM events WHERE event_type = 'purchase'"),
        expected,
    )
    by_hand = sum((row.price * row.quantity for row in purchases.itertuples()), Decimal("0.00"))
    return _check(
        "Hourly revenue matches a sum by hand",
        wanted,
        found,
        Figure("hours with a purchase", len(wanted), len(found)),
        Figure("purchases", len(purchases), _total(found, "transaction_count")),
        Figure("revenue added up purchase by purchase, USD", by_hand, _total(found, "total_revenue")),
    )


def check_top_products(shop: Shop, expected: Recomputed) -> Check:
    """Query 3 has the ten most viewed products, and none without an id."""
    title = "Top 10 has no product without an id"
    if expected.expired:
        return _all_time_skipped(title, expected)
    wanted, found = _both(shop, 3, expected, "top_products")
    return _check(
        title,
        wanted,
        found,
        Figure("products", len(wanted), len(found)),
        Figure("products without an id", 0, int(found["product_id"].isna().sum())),
        Figure("views of the ten", *(_total(frame, "view_count") for frame in (wanted, found))),
    )


def check_categories(shop: Shop, expected: Recomputed) -> Check:
    """Query 4 shows all categories, and a day's categories add up to the day's events."""
    wanted, found = _both(shop, 4, expected, "category_performance")
    events = _complete(
        expected.rows("SELECT event_date, count(*) AS event_count FROM events GROUP BY ALL"), expected
    )
    by_day = found.groupby("event_date")["event_count"].sum()
    adding_up = sum(int(by_day.get(row.event_date, 0)) == row.event_count for row in events.itertuples())
    return _check(
        "Category performance shows all categories and adds up",
        wanted,
        found,
        Figure("categories", *(frame["category"].nunique() for frame in (wanted, found))),
        Figure("events of all days", _total(events, "event_count"), _total(found, "event_count")),
        Figure("days whose categories add up to the day's events", len(events), adding_up),
    )


def check_users(shop: Shop, expected: Recomputed) -> Check:
    """Query 5 has the exact number of users and sessions of every day."""
    wanted, found = _both(shop, 5, expected, "user_activity")
    shown = {row.event_date: row for row in found.itertuples()}
    newest = wanted.sort_values("event_date").tail(7)
    figures = [
        Figure(
            f"{label} on {row.event_date}",
            getattr(row, name),
            getattr(shown.get(row.event_date), name, None),
        )
        for row in newest.itertuples()
        for label, name in (("users", "unique_users"), ("sessions", "unique_sessions"))
    ]
    return _check("User activity is exact", wanted, found, Figure("days", len(wanted), len(found)), *figures)


# --- Comparing ----------------------------------------------------------------------------------------------


def differing_rows(wanted: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """The rows that only one side has, as often as it has them more; the first column says which side."""
    names = list(wanted.columns)
    in_wanted, in_found = (Counter(_rows(frame, names)) for frame in (wanted, found))
    missing = [("missing or other", *row) for row in (in_wanted - in_found).elements()]
    surplus = [("in the tables only", *row) for row in (in_found - in_wanted).elements()]
    ordered = [row for pair in zip(missing, surplus, strict=False) for row in pair]
    ordered += missing[len(surplus) :] + surplus[len(missing) :]
    return pd.DataFrame(ordered, columns=["difference", *names], dtype=object)


def shares_of_files(named: pd.DataFrame, bounds: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The events of each file and day: the possible number that is nearest to the one found, and that one."""
    limits = {tuple(row[:2]): row[2:] for row in bounds.itertuples(index=False)}
    counts = {tuple(row[:2]): int(row[2]) for row in named.itertuples(index=False)}
    possible, found = [], []
    for place in sorted(limits.keys() | counts.keys()):
        count, (least, most) = counts.get(place, 0), limits.get(place, (0, 0))
        possible.append((*place, min(max(count, least), most)))
        found.append((*place, count))
    names = ["source_file", "event_date", "event_count"]
    return pd.DataFrame(possible, columns=names, dtype=object), pd.DataFrame(
        found, columns=names, dtype=object
    )


def _bounds(expected: Recomputed) -> pd.DataFrame:
    """How many events of a day name a file as their source: any file may be named that delivered an event."""
    return expected.rows(
        "SELECT source_file, event_date, count(*) FILTER (is_alone) AS least, count(*) AS most FROM (SELECT "
        "unnest(sources) AS source_file, event_date, len(sources) = 1 AS is_alone FROM events) GROUP BY ALL"
    )


def _check(title: str, wanted: pd.DataFrame, found: pd.DataFrame, *figures: Figure) -> Check:
    """A check of these figures and, as the last of them, of every single row."""
    differences = differing_rows(wanted, found)
    return Check(title, (*figures, Figure("rows that differ", 0, len(differences))), differences)


def _both(shop: Shop, number: int, expected: Recomputed, view: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the view recomputes and what the query answers, for the days that can be compared."""
    wanted = expected.rows(f"SELECT * FROM {view} ORDER BY ALL")
    answer = shop.answer(number)
    found = answer.frame
    missing = [name for name in wanted.columns if name not in found.columns]
    if missing:
        raise ValidationFailed(
            f"Query {number}, {answer.query.title}, in queries.sql has no column {', '.join(missing)}.",
            "let the query return it: columns may be added, but these are the ones that are checked.",
        )
    return _complete(wanted, expected), _complete(found, expected)


def _complete(frame: pd.DataFrame, expected: Recomputed) -> pd.DataFrame:
    """The rows of the days of which all raw objects are there still."""
    if expected.last_incomplete_day is None or "event_date" not in frame:
        return frame
    return frame[frame["event_date"] > expected.last_incomplete_day]


def _all_time_skipped(title: str, expected: Recomputed) -> Check:
    reason = f"{plural(len(expected.expired), 'raw object')} expired, and this answer is of all time"
    return Check(title, (), pd.DataFrame(), skipped=reason)


def _rows(frame: pd.DataFrame, names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    for row in frame[list(names)].itertuples(index=False, name=None):
        yield tuple(None if pd.isna(value) else value for value in row)


def _repeated(alike: pd.DataFrame) -> int:
    """How many events there are beyond the first of those that are alike."""
    return sum((row.alike - 1) * row.occurrences for row in alike.itertuples())


def _total(frame: pd.DataFrame, name: str) -> Any:
    values = [value for value in frame[name] if not pd.isna(value)]
    return sum(values[1:], values[0]) if values else 0


def _tables(aws: Connection, database: str) -> list[dict[str, Any]]:
    with own_errors(f"reading the tables of database {database}"):
        pages = aws.client("glue").get_paginator("get_tables").paginate(DatabaseName=database)
        return [table for page in pages for table in page["TableList"]]


def _columns_of_newest_file(aws: Connection, location: str) -> dict[str, str] | None:
    """Names and Athena types of the columns in the newest Parquet file; None where there is no file."""
    with own_errors(f"reading the columns in {location}"):
        files = wr.s3.describe_objects(f"{location.rstrip('/')}/*.parquet", boto3_session=aws.session)
        if not files:
            return None
        newest = max(files, key=lambda uri: (files[uri]["LastModified"], uri))
        types, _ = wr.s3.read_parquet_metadata(newest, boto3_session=aws.session)
    return {str(name): str(kind) for name, kind in types.items()}


# --- Showing ------------------------------------------------------------------------------------------------


def _heads(sides: tuple[str, str]) -> str:
    return "".join(f'<th class="num">{html.escape(side)}</th>' for side in sides)


def _figure_row(figure: Figure) -> str:
    cells = "".join(
        f'<td class="num">{html.escape(_text(value))}</td>' for value in (figure.expected, figure.found)
    )
    state = badge("passed" if figure.passed else "failed")
    return f'<tr><td>{state}</td><td class="wrap">{html.escape(figure.name)}</td>{cells}</tr>'


def _failures(check: Check) -> str:
    if check.skipped:
        return html.escape(check.skipped)
    failed = [figure for figure in check.figures if not figure.passed]
    return html.escape("; ".join(f"{f.name}: {_text(f.expected)} ≠ {_text(f.found)}" for f in failed)) or "–"


def _text(value: Any) -> str:
    if value is None or isinstance(value, str | date):
        return "–" if value is None else str(value)
    return f"{value:,.2f}" if isinstance(value, Decimal) else f"{int(value):,}"
