"""What the pipeline must produce from given raw objects: an independent computation in plain Python.

For: tests, which compare every table that the job wrote with `expected_tables`, row by row and to the cent.
Not for: anything that runs in production, and it shares no code with the job: it was written from the rules
for a raw line alone, with json, zlib, decimal and datetime, one line after the other, all in memory.

Where the rules leave something open, this is how it is read here:

- A quantity or price that is text is trimmed and may be one of the null words, like any text; after that it
  must be spelled as a decimal number (also `+5`, `.5` or `05`). A boolean is not a number.
- A number in a text field appears with the characters that it has in the JSON. Spark prints integers the
  same way, but 1.50 as 1.5 and -0 as 0: compare such fields only for integers and booleans.
- A lone surrogate (`\\ud800`) cannot be stored as UTF-8; it appears as `?`, as Java encodes it.
- A line that is not UTF-8 appears in events_rejected with U+FFFD for what could not be decoded.
- JSON nested deeper than Python's parser can follow (about a thousand levels) is malformed_json.
- A corrupt gzip object yields the complete lines that can be decompressed up to the first bad byte, then one
  row (raw_line None, reason corrupt_file). What follows the last line end of the readable part is no line.
  For a truncated object this is exact; around a bad byte, decompressors may differ by a few bytes. An object
  of no bytes delivers no line and is not corrupt.
- In event_cube, quantity and revenue are 0 where nothing adds to them; quantity sums the events of any type,
  revenue those of purchases.
- Sums are exact, also where a decimal(18,2) could not hold them.
"""

from __future__ import annotations

import gc
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa

Row = tuple[Any, ...]

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


@dataclass(frozen=True)
class Expected:
    """The rows of every table as tuples in the order of `COLUMNS`; gold is sorted, the others are not.

    Values are str, int, Decimal, date, datetime (UTC, aware) or None. `expected["gold.top_products"]`.
    """

    tables: dict[str, list[Row]]

    def __getitem__(self, table: str) -> list[Row]:
        return self.tables[table]


def expected_tables(objects: Mapping[str, bytes]) -> Expected:
    """All tables after the job has processed `objects`: the bytes of each raw object by its s3:// URI.

    Objects whose URI ends in `.gz` are decompressed. Raises ValueError for a URI that does not tell when the
    object arrived.
    """
    with _no_garbage_collection():
        return _expected_tables(objects)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Millions of tuples and no cycles: the collector would search them in vain for a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _expected_tables(objects: Mapping[str, bytes]) -> Expected:
    bronze: list[Row] = []
    rejected: list[Row] = []
    copies: dict[Identity, list[Copy]] = defaultdict(list)
    for uri, data in objects.items():
        arrival = arrival_minute(uri)
        delivered = read_object(uri, data)
        for line in delivered.lines:
            try:
                event = parse_line(line)
            except Rejected as rejection:
                raw_line = line.decode("utf-8", "replace")
                rejected.append((raw_line, rejection.reason, uri, *arrival[:3]))
            else:
                bronze.append((*event.delivered, uri, *arrival))
                copies[event.identity].append(Copy(arrival, uri, *event.payload))
        if delivered.is_corrupt:
            rejected.append((None, "corrupt_file", uri, *arrival[:3]))

    silver = [_silver_row(identity, of_one) for identity, of_one in copies.items()]
    return Expected(
        {
            "bronze.events": bronze,
            "bronze.events_rejected": rejected,
            "silver.events_cleaned": silver,
            **gold_tables(silver),
        }
    )


# --- From objects to lines -------------------------------------------------------------------------------


class Delivered(NamedTuple):
    """The lines of one object, and whether it could be read to its end."""

    lines: list[bytes]
    is_corrupt: bool


def read_object(uri: str, data: bytes) -> Delivered:
    """The lines of an object, without their line ends: gzip when its name ends in `.gz`, else plain text."""
    content, is_corrupt = _decompress(data) if uri.endswith(".gz") else (data, False)
    lines = content.split(b"\n")
    # The last piece is a line when it has bytes; in a corrupt object it is what was being read.
    if not lines[-1] or is_corrupt:
        lines.pop()
    return Delivered(lines, is_corrupt)


def delivered_lines(object_bytes: bytes, *, compressed: bool = True) -> list[bytes]:
    """The lines that an object with these bytes delivers; see `read_object`."""
    return read_object("object.gz" if compressed else "object", object_bytes).lines


def _decompress(data: bytes) -> tuple[bytes, bool]:
    """What can be read of gzip data (one member or several), and whether it is corrupt."""
    content = bytearray()
    while data:
        member = zlib.decompressobj(wbits=31)
        position = 0
        while not member.eof:
            piece = data[position : position + 65_536]
            if not piece:
                return bytes(content), True
            before = member.copy()
            try:
                content += member.decompress(piece)
            except zlib.error:
                return bytes(content + _readable(before, piece)), True
            position += len(piece)
        data = member.unused_data + data[position:]
    return bytes(content), False


def _readable(member: Any, piece: bytes) -> bytes:
    """What a decompressor yields before it fails: byte by byte, as a failing call yields nothing."""
    content = bytearray()
    try:
        for number in piece:
            content += member.decompress(bytes([number]))
    except zlib.error:
        return bytes(content)
    raise AssertionError("these bytes failed in one piece, so they must fail one by one")


HIVE_PATH = re.compile(r"/year=(\d{4})/month=(\d{1,2})/day=(\d{1,2})/hour=(\d{1,2})/minute=(\d{1,2})/")
FILE_NAME = re.compile(r"/events-(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})\d{2}\.[^/]*$")


def arrival_minute(uri: str) -> tuple[int, ...]:
    """(year, month, day, hour, minute) of an object, from its path, else from its name."""
    match = HIVE_PATH.search(uri) or FILE_NAME.search(uri)
    if match is None:
        raise ValueError(f"{uri} has neither a year=/.../minute=/ path nor the name events-YYYYMMDD-HHMMSS.*")
    return tuple(int(part) for part in match.groups())


# --- From lines to events --------------------------------------------------------------------------------


class Rejected(Exception):
    """A line is not accepted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Identity(NamedTuple):
    """What makes two lines copies of one event."""

    user_id: str
    session_id: str
    event_type: str
    product_id: str | None
    search_query: str | None
    event_timestamp: datetime


class Payload(NamedTuple):
    """In what copies of one event may differ."""

    quantity: int | None
    price: Decimal | None
    category: str | None


class Event(NamedTuple):
    """An accepted line: its nine fields as delivered, and what they mean."""

    delivered: Row
    identity: Identity
    payload: Payload


class JsonNumber(str):
    """A JSON number as it is spelled, so that neither digits nor the choice of a type are lost."""

    __slots__ = ()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=_refuse_constant)

EVENT_TYPES = {"page_view", "add_to_cart", "remove_from_cart", "purchase", "search"}
NEEDS_PRODUCT = EVENT_TYPES - {"search"}
NEEDS_PRICE = {"add_to_cart", "remove_from_cart", "purchase"}
NULL_WORDS = {"", "null", "none", "nan", "n/a"}
ASCII_WHITESPACE = " \t\n\r\f\v"
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
PRICE_LIMIT = 10**8  # decimal(10,2) has eight digits before the point


def parse_line(line: bytes) -> Event:
    """The event of a line. Raises Rejected with the first reason that applies."""
    record = _parse_object(line)
    # One field after the other, in the order of FIELDS: the first bad one gives the reason.
    timestamp = _text(record, "timestamp")
    moment = _parse_timestamp(_required(timestamp, "timestamp"))
    user_id = _text(record, "user_id")
    user = _required(user_id, "user_id")
    session_id = _text(record, "session_id")
    session = _required(session_id, "session_id")
    event_type = _text(record, "event_type")
    kind = _required(event_type, "event_type")
    if kind not in EVENT_TYPES:
        raise Rejected("unknown_event_type")
    product_id = _text(record, "product_id")
    product = _required(product_id, "product_id") if kind in NEEDS_PRODUCT else standardised(product_id)
    quantity = _quantity(record, is_required=kind in NEEDS_PRICE)
    price = _price(record, is_required=kind in NEEDS_PRICE)
    category = _text(record, "category")
    search_query = _text(record, "search_query")
    return Event(
        (timestamp, user_id, session_id, event_type, product_id, quantity, price, category, search_query),
        Identity(user, session, kind, product, standardised(search_query), moment),
        Payload(quantity, price, standardised(category)),
    )


def _parse_object(line: bytes) -> dict[str, Any]:
    try:
        text = line.decode("utf-8")
        record = _DECODER.decode(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise Rejected("malformed_json") from None
    if type(record) is not dict:
        raise Rejected("malformed_json")
    if "\\u" in text:
        return {name: _storable(value) for name, value in record.items()}
    return record


def _storable(value: Any) -> Any:
    """A plain string with `?` for each lone surrogate; any other value as it is."""
    return value.encode("utf-8", "replace").decode("utf-8") if type(value) is str else value


def _text(record: dict[str, Any], field: str) -> str | None:
    """A text field as delivered: numbers and booleans as JSON spells them."""
    value = record.get(field)
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, JsonNumber):
        return str(value)
    raise Rejected(f"invalid_value:{field}")


def standardised(text: str | None) -> str | None:
    """Text without surrounding ASCII whitespace; the spellings of "no value" become None."""
    if text is None:
        return None
    stripped = text.strip(ASCII_WHITESPACE)
    if len(stripped) <= 4 and stripped.lower() in NULL_WORDS:
        return None
    return stripped


def _required(text: str | None, field: str) -> str:
    value = standardised(text)
    if value is None:
        raise Rejected(f"missing_field:{field}")
    return value


ISO_8601 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


def _parse_timestamp(text: str) -> datetime:
    match = ISO_8601.fullmatch(text)
    if match is None:
        raise Rejected("invalid_value:timestamp")
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), microsecond, UTC
        )
        if sign:
            offset = timedelta(hours=int(offset_hours), minutes=int(offset_minutes))
            if int(offset_minutes) > 59 or offset > timedelta(hours=18):
                raise Rejected("invalid_value:timestamp")
            moment += -offset if sign == "+" else offset
    except (ValueError, OverflowError):
        raise Rejected("invalid_value:timestamp") from None
    if not 2020 <= moment.year <= 2039:
        raise Rejected("invalid_value:timestamp")
    return moment


def _quantity(record: dict[str, Any], *, is_required: bool) -> int | None:
    number = _number(record, "quantity", is_required)
    if number is None:
        return None
    if number != int(number) or not (1 if is_required else INT32_MIN) <= number <= INT32_MAX:
        raise Rejected("invalid_value:quantity")
    return int(number)


def _price(record: dict[str, Any], *, is_required: bool) -> Decimal | None:
    number = _number(record, "price", is_required)
    if number is None:
        return None
    cents = number * 100
    if cents != int(cents) or abs(number) >= PRICE_LIMIT or (is_required and number < 0):
        raise Rejected("invalid_value:price")
    return Decimal(int(cents)).scaleb(-2)


def _number(record: dict[str, Any], field: str, is_required: bool) -> Decimal | None:
    """The value of a quantity or price: a JSON number, or text that spells one."""
    value = record.get(field)
    if value is not None and not isinstance(value, str):
        raise Rejected(f"invalid_value:{field}")
    text = standardised(value)
    if text is None:
        if is_required:
            raise Rejected(f"missing_field:{field}")
        return None
    number = _exact(text)
    if number is None:
        raise Rejected(f"invalid_value:{field}")
    return number


NUMBER = re.compile(r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?")


@lru_cache(maxsize=100_000)
def _exact(text: str) -> Decimal | None:
    """The number that a text spells, or None when it spells none that a quantity or price can hold.

    Both have at most ten digits before and two after the point: longer numbers are not even computed, as
    1e999999999 has too many digits to work with.
    """
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return Decimal(0)
    # The number is 0.digits times ten to this power.
    power = len(digits) - len(fraction) + int(exponent[:12] or "0")
    digits = digits.rstrip("0")
    if power > 10 or len(digits) - power > 2:
        return None
    return Decimal((1 if sign == "-" else 0, tuple(map(int, digits)), power - len(digits)))


# --- From copies to events -------------------------------------------------------------------------------


class Copy(NamedTuple):
    """One delivery of an event."""

    arrival: tuple[int, ...]
    source_file: str
    quantity: int | None
    price: Decimal | None
    category: str | None

    @property
    def payload(self) -> Payload:
        return Payload(self.quantity, self.price, self.category)

    def recency(self) -> tuple[Any, ...]:
        """Copies in this order: the later arrival is greater, then the greater values, None being lowest."""
        values = (self.price, self.quantity, self.category)
        return self.arrival, self.source_file, *((value is not None, value) for value in values)


def _silver_row(identity: Identity, copies: list[Copy]) -> Row:
    """The one row of an event: what its most recent copy says, and who was the first to say so."""
    winner = first = copies[0]
    if len(copies) > 1:
        winner = max(copies, key=Copy.recency)
        same = [copy for copy in copies if copy.payload == winner.payload]
        first = min(same, key=lambda copy: (copy.arrival, copy.source_file))
    user_id, session_id, event_type, product_id, search_query, moment = identity
    return (
        moment,
        user_id,
        session_id,
        event_type,
        product_id,
        *winner.payload,
        search_query,
        moment.date(),
        moment.hour,
        first.source_file,
        moment.year,
        moment.month,
        moment.day,
    )


# --- From events to answers ------------------------------------------------------------------------------


class SilverEvent(NamedTuple):
    """A row of silver.events_cleaned by name, up to the columns that gold needs."""

    event_timestamp: datetime
    user_id: str
    session_id: str
    event_type: str
    product_id: str | None
    quantity: int | None
    price: Decimal | None
    category: str | None
    search_query: str | None
    event_date: date
    event_hour: int

    @property
    def gold_category(self) -> str:
        return "uncategorized" if self.category is None else self.category

    @property
    def revenue(self) -> Decimal:
        if self.event_type != "purchase" or self.quantity is None or self.price is None:
            return Decimal("0.00")
        return self.quantity * self.price


def gold_tables(silver: Iterable[Row]) -> dict[str, list[Row]]:
    """The event cube and the five gold tables of the rows of silver.events_cleaned."""
    events = [SilverEvent(*row[: len(SilverEvent._fields)]) for row in silver]
    return {
        "gold.event_cube": _event_cube(events),
        "gold.conversion_funnel": _conversion_funnel(events),
        "gold.hourly_revenue": _hourly_revenue(events),
        "gold.top_products": _top_products(events),
        "gold.category_performance": _category_performance(events),
        "gold.user_activity": _user_activity(events),
    }


def _event_cube(events: list[SilverEvent]) -> list[Row]:
    counts: Counter[Row] = Counter()
    quantities: Counter[Row] = Counter()
    revenues: dict[Row, Decimal] = defaultdict(lambda: Decimal("0.00"))
    for event in events:
        cell = (event.event_date, event.event_hour, event.product_id, event.gold_category, event.event_type)
        counts[cell] += 1
        quantities[cell] += event.quantity or 0
        revenues[cell] += event.revenue
    rows = [
        (*cell, count, quantities[cell], revenues[cell], cell[0].year, cell[0].month, cell[0].day)
        for cell, count in counts.items()
    ]
    return sorted(rows, key=lambda row: (row[:2], row[2] is not None, row[2] or "", row[3:5]))


def _conversion_funnel(events: list[SilverEvent]) -> list[Row]:
    steps = ("page_view", "add_to_cart", "purchase")
    counts: dict[Row, Counter[str]] = defaultdict(Counter)
    for event in events:
        if event.product_id is not None and event.event_type in steps:
            counts[event.product_id, event.gold_category][event.event_type] += 1
    rows = []
    for product, by_type in sorted(counts.items()):
        views, carts, purchases = (by_type[step] for step in steps)
        ratios = (ratio(carts, views), ratio(purchases, views), ratio(purchases, carts))
        rows.append((*product, views, carts, purchases, *ratios))
    return rows


def ratio(part: int, whole: int) -> Decimal | None:
    """part / whole rounded half up to four decimals; None when there is no whole."""
    if whole == 0:
        return None
    return Decimal((2 * 10_000 * part + whole) // (2 * whole)).scaleb(-4)


def _hourly_revenue(events: list[SilverEvent]) -> list[Row]:
    revenues: dict[Row, list[Decimal]] = defaultdict(list)
    for event in events:
        if event.event_type == "purchase":
            revenues[event.event_date, event.event_hour].append(event.revenue)
    return sorted((*hour, sum(of_hour, Decimal("0.00")), len(of_hour)) for hour, of_hour in revenues.items())


def _top_products(events: list[SilverEvent]) -> list[Row]:
    views = Counter(
        (event.product_id, event.gold_category)
        for event in events
        if event.event_type == "page_view" and event.product_id is not None
    )
    best = sorted(views.items(), key=lambda item: (-item[1], item[0]))[:10]
    return [(rank, *product, count) for rank, (product, count) in enumerate(best, start=1)]


def _category_performance(events: list[SilverEvent]) -> list[Row]:
    counts = Counter((event.event_date, event.gold_category) for event in events)
    return sorted((*key, count) for key, count in counts.items())


def _user_activity(events: list[SilverEvent]) -> list[Row]:
    users: dict[date, set[str]] = defaultdict(set)
    sessions: dict[date, set[str]] = defaultdict(set)
    for event in events:
        users[event.event_date].add(event.user_id)
        sessions[event.event_date].add(event.session_id)
    return [(day, len(users[day]), len(sessions[day])) for day in sorted(users)]


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
