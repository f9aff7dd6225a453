"""What the pipeline must produce from given raw objects: the witness's tables, as tests compare them.

For: tests, which compare every table that the job wrote with `expected_tables`, row by row and to the cent.
Not for rules: those are stated in `notebooks.recompute`, whose functions tests find here as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from capstone_pipeline.raw_objects import UNKNOWN, RawObject, arrival_of, is_event_object
from notebooks import recompute
from notebooks.recompute import (
    Delivered,
    Row,
    compute,
)
from notebooks.recompute import Rejected as Rejected
from notebooks.recompute import parse_line as parse_line

FIELDS = (
    "timestamp",
    "user_id",
    "session_id",
    "event_type",
    "product_id",
    "quantity",
    "price",
    "category",
    "search_query",
)
COLUMNS: dict[str, tuple[str, ...]] = {
    "bronze.events": (*FIELDS, "source_file", "year", "month", "day", "hour", "minute"),
    "bronze.events_rejected": ("raw_line", "reason", "source_file", "year", "month", "day"),
    "silver.events_cleaned": (
        *("event_timestamp", *FIELDS[1:], "event_date", "event_hour", "source_file"),
        *("year", "month", "day"),
    ),
    "gold.event_cube": (
        *("event_date", "event_hour", "product_id", "category", "event_type"),
        *("event_count", "quantity", "revenue", "year", "month", "day"),
    ),
    "gold.conversion_funnel": (
        *("product_id", "category", "views", "add_to_carts", "purchases"),
        *("view_to_cart_conversion", "view_to_purchase_conversion", "cart_to_purchase_conversion"),
    ),
    "gold.hourly_revenue": ("event_date", "event_hour", "total_revenue", "transaction_count"),
    "gold.top_products": ("rank", "product_id", "category", "view_count"),
    "gold.category_performance": ("event_date", "category", "event_count"),
    "gold.user_activity": ("event_date", "unique_users", "unique_sessions"),
}
SILVER = "silver.events_cleaned"
SOURCE = COLUMNS[SILVER].index("source_file")
# Where the witness has them under another name.
VIEWS = {"bronze.events": "accepted", "bronze.events_rejected": "rejected", SILVER: "events"}


@dataclass(frozen=True)
class Expected:
    """The rows of every table as tuples in the order of `COLUMNS`; gold is sorted, the others are not.

    Values are str, int, Decimal, date, datetime (UTC, aware) or None; but source_file in silver is the set of
    the objects that may be named there. `expected["gold.top_products"]`.
    """

    tables: dict[str, list[Row]]

    def __getitem__(self, table: str) -> list[Row]:
        return self.tables[table]


def expected_tables(objects: Mapping[str, bytes], modified: Mapping[str, datetime] | None = None) -> Expected:
    """All tables after the job has processed `objects`: the bytes of each raw object by its s3:// URI.

    `modified` tells when objects were written whose key does not tell when they arrived.
    """
    times = modified or {}
    with compute(
        (RawObject(uri, arrival_of(uri, times.get(uri, UNKNOWN)), times.get(uri, UNKNOWN)), content)
        for uri, content in objects.items()
        if is_event_object(uri, len(content))
    ) as database:
        return Expected({table: _rows(database, table) for table in COLUMNS})


def _rows(database: duckdb.DuckDBPyConnection, table: str) -> list[Row]:
    columns = ", ".join(COLUMNS[table])
    if table == SILVER:
        columns = columns.replace("source_file", "sources AS source_file")
    order = "ORDER BY ALL NULLS FIRST" if table.startswith("gold.") else ""
    view = VIEWS.get(table, table.removeprefix("gold."))
    rows = rows_of(table, database.sql(f"SELECT {columns} FROM {view} {order}").to_arrow_table())
    if table == SILVER:
        return [(*row[:SOURCE], frozenset(row[SOURCE]), *row[SOURCE + 1 :]) for row in rows]
    return rows


# --- Objects and lines -----------------------------------------------------------------------------------


def read_object(uri: str, data: bytes) -> Delivered:
    """The lines of an object, whatever its name is, without their line ends."""
    return recompute.read_object(data)


def delivered_lines(object_bytes: bytes, *, compressed: bool = True) -> list[bytes]:
    """The lines that an object with these bytes delivers."""
    return recompute.read_object(object_bytes).lines


def arrival_minute(uri: str) -> tuple[int, ...]:
    """(year, month, day, hour, minute) of an object, from its key."""
    return arrival_of(uri).timetuple()[:5]


# --- Comparing -------------------------------------------------------------------------------------------


def rows_of(table: str, data: pa.Table) -> list[Row]:
    """The rows of an Arrow table, as read from Parquet, in the form in which `Expected` has them.

    Columns are taken by name and in any order; a timestamp without a zone is UTC. Raises KeyError when a
    column of `table` is missing, and AssertionError when there is one more.
    """
    names = COLUMNS[table]
    extra = sorted(set(data.column_names) - set(names))
    assert not extra, f"{table} has unexpected columns: {', '.join(extra)}"
    columns = []
    for name in names:
        column = data.column(name)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        columns.append(column.to_pylist())
    return list(zip(*columns, strict=True))


def assert_same_rows(table: str, actual: Iterable[Row], expected: Iterable[Row]) -> None:
    """Fail, showing a few of the differing rows, unless both have the same rows the same number of times."""
    expected = list(expected)
    if table == SILVER:
        actual = _with_sets(actual, expected)
    found, wanted = Counter(actual), Counter(expected)
    if found == wanted:
        return
    missing, surplus = wanted - found, found - wanted
    message = [
        f"{table}: {found.total():,} rows, expected {wanted.total():,}; "
        f"{missing.total():,} missing, {surplus.total():,} surplus",
        f"  columns {', '.join(COLUMNS[table])}",
        *(f"  missing {row!s:.2000}" for row in list(missing)[:5]),
        *(f"  surplus {row!s:.2000}" for row in list(surplus)[:5]),
    ]
    raise AssertionError("\n".join(message))


def _with_sets(actual: Iterable[Row], expected: list[Row]) -> Iterator[Row]:
    """The rows of silver, with the set of the objects that may be named in place of one of them."""
    allowed = {(*row[:SOURCE], *row[SOURCE + 1 :]): row[SOURCE] for row in expected}
    for row in actual:
        sources = allowed.get((*row[:SOURCE], *row[SOURCE + 1 :]), ())
        yield (*row[:SOURCE], sources, *row[SOURCE + 1 :]) if row[SOURCE] in sources else row
