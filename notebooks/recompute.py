"""What the tables should hold, computed from the raw objects without the job's code: its independent witness.

The rules stand here and in `recompute.sql` for the second and last time. Here an object becomes lines, and a
line an event or the reason why it is none, in plain Python; there lines become events, and events answers,
in SQL. For `validate_results.ipynb`, for exploring raw files and for the tests. Not for the pipeline itself,
and not for histories that outgrow one machine's memory.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pyarrow as pa

from capstone_pipeline.answers import partition_filter
from capstone_pipeline.errors import own_errors
from capstone_pipeline.job import last_successful_run
from capstone_pipeline.raw_objects import YEARS, RawObject, arrival_of, list_raw_objects
from capstone_pipeline.render import Shown, facts_table, plural, when
from capstone_pipeline.shop import Shop

Row = tuple[Any, ...]

QUESTIONS = Path(__file__).with_name("recompute.sql")


@dataclass(frozen=True, repr=False)
class Recomputed(Shown):
    """The recomputed tables, and which raw objects they come from.

    `pending` objects came after the last successful run, so no table can hold them. `expired` ones are named
    in silver but not in the bucket any more: only days after `last_incomplete_day` can be recomputed then.
    """

    database: duckdb.DuckDBPyConnection
    objects: tuple[RawObject, ...]
    pending: tuple[str, ...]
    expired: tuple[str, ...]
    last_incomplete_day: date | None
    as_of: datetime

    def rows(self, sql: str) -> pd.DataFrame:
        """What DuckDB answers over the tables and views of `recompute.sql`."""
        return query_rows(self.database, sql)

    def facts(self) -> list[tuple[str, str]]:
        """What was read and what came of it, as (name, value)."""
        counts = self.rows(
            "SELECT (SELECT count(*) FROM lines), (SELECT count(*) FROM judged WHERE reason IS NULL), "
            "(SELECT count(*) FROM rejected), (SELECT count(*) FROM events)"
        ).iloc[0]
        facts = [("Raw objects read", f"{len(self.objects):,}")]
        names = ("Lines", "Accepted lines", "Rejected lines and objects", "Different events")
        facts += [(name, f"{count:,}") for name, count in zip(names, counts, strict=True)]
        facts.append(("Last successful run", when(self.as_of)))
        if self.pending:
            facts.append(("Not taken in yet", f"{plural(len(self.pending), 'newer object')}, left out here"))
        if self.expired:
            facts.append(
                (
                    "Expired",
                    f"{plural(len(self.expired), 'object')}; compared after {self.last_incomplete_day}",
                )
            )
        return facts

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.facts())

    def _repr_html_(self) -> str:
        return facts_table(self.facts())


def recompute(shop: Shop) -> Recomputed:
    """Fetch the raw objects that the job has taken in, and compute from them what the tables should hold.

    Raises
    ------
    NotRunYet
        When no run of the job has succeeded.
    """
    as_of = last_successful_run(shop.aws, shop.stack)
    listed = list(list_raw_objects(shop.aws, shop.stack))
    taken_in = _known_objects(shop, (item.arrival.date() for item in listed))
    in_scope = [item for item in listed if item.last_modified <= as_of or item.uri in taken_in]
    expired = sorted(taken_in.keys() - {item.uri for item in listed})
    database = compute((item, _fetch(shop, item.uri)) for item in in_scope)
    return Recomputed(
        database=database,
        objects=tuple(in_scope),
        pending=tuple(item.uri for item in listed if item not in in_scope),
        expired=tuple(expired),
        last_incomplete_day=max((taken_in[uri] for uri in expired), default=None),
        as_of=as_of,
    )


def compute(objects: Iterable[tuple[RawObject, bytes]]) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that holds the tables and views of `recompute.sql` for these objects' bytes."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    given, _, derived = QUESTIONS.read_text(encoding="utf-8").partition("-- Derived\n")
    database.execute(given)
    for item, content in objects:
        delivered = read_object(content)
        place = [item.uri, item.arrival]
        for start in range(0, len(delivered.lines), LINES_AT_ONCE):
            judged = _judged(delivered.lines[start : start + LINES_AT_ONCE])
            database.register("judged_lines", judged)
            database.execute("INSERT INTO judged SELECT ?, ?, * FROM judged_lines", place)
        if delivered.is_corrupt:
            database.execute("INSERT INTO corrupt_objects VALUES (?, ?)", place)
    database.execute(derived)
    return database


def query_rows(database: duckdb.DuckDBPyConnection, sql: str) -> pd.DataFrame:
    """What DuckDB answers, as Python's own values: decimals and dates stay exact."""
    result = database.execute(sql)
    names = [str(column[0]) for column in result.description or []]
    return pd.DataFrame(result.fetchall(), columns=names, dtype=object)


def _known_objects(shop: Shop, arrival_days: Iterable[date]) -> dict[str, date]:
    """The objects that silver or the table of rejected lines name as their source, and the last day to which
    each may have brought events: that of its arrival, or one that silver shows."""
    silver, bronze = f"{shop.stack.silver_database_name}.events_cleaned", shop.stack.bronze_database_name
    days = shop.ask("SELECT event_date FROM user_activity", "days")["event_date"]
    sql = (
        f"SELECT source_file, max(event_date) AS last_day FROM {silver} WHERE {partition_filter(days)} "
        "GROUP BY source_file UNION ALL SELECT source_file, CAST(NULL AS date) AS last_day "
        f"FROM {bronze}.events_rejected WHERE {partition_filter(arrival_days)} GROUP BY source_file"
    )
    known: dict[str, date] = {}
    for row in shop.ask(sql, "source files").itertuples():
        last_day = known.get(row.source_file, arrival_of(row.source_file).date())
        known[row.source_file] = last_day if pd.isna(row.last_day) else max(last_day, row.last_day)
    return known


def _fetch(shop: Shop, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with own_errors(f"reading {uri}"):
        return bytes(shop.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


# --- From bytes to lines ------------------------------------------------------------------------------------

LONGEST_LINE = 128 * 2**20
LINES_AT_ONCE = 10_000
_NO_TEXT = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ufffd]")


class Delivered(NamedTuple):
    """The lines of one object without their line ends, and whether anything of it could not be read."""

    lines: list[bytes]
    is_corrupt: bool


def read_object(content: bytes) -> Delivered:
    """The lines in the bytes of an object, compressed or not."""
    text, is_broken = _unpacked(content)
    start = text[:4096].decode("utf-8", "replace")
    if 3 * len(_NO_TEXT.findall(start)) > len(start):
        return Delivered([], True)
    lines = text.split(b"\n")
    if not lines[-1]:
        lines.pop()
    kept = [line for line in lines if len(line) <= LONGEST_LINE]
    return Delivered(kept, is_broken or len(kept) < len(lines))


def _unpacked(content: bytes) -> tuple[bytes, bool]:
    """What can be read of an object, and whether something is wrong behind it."""
    if not content.startswith(b"\x1f\x8b"):
        return content, False
    text, position = bytearray(), 0
    while position < len(content):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            piece = content[position : position + 16_384]
            if not piece:
                return bytes(text), True
            position += len(piece)
            before = member.copy()
            try:
                text += member.decompress(piece)
            except zlib.error:
                return bytes(text + _up_to_the_break(before, piece)), True
        position -= len(member.unused_data)
        while content[position : position + 1] == b"\0":  # Padding.
            position += 1
    return bytes(text), False


def _up_to_the_break(member: Any, piece: bytes) -> bytes:
    """What a decompressor yields before it fails. A call that fails yields nothing, so a byte each."""
    text = bytearray()
    with suppress(zlib.error):
        for number in piece:
            text += member.decompress(bytes([number]))
    return bytes(text)


# --- From lines to events -----------------------------------------------------------------------------------

EVENT_TYPES = {"page_view", "add_to_cart", "remove_from_cart", "purchase", "search"}
NEEDS_PRODUCT = EVENT_TYPES - {"search"}
NEEDS_PRICE = {"add_to_cart", "remove_from_cart", "purchase"}
NULL_WORDS = {"", "null", "none", "nan", "n/a"}
DEEPEST_NESTING = 500


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


def parse_line(line: bytes) -> Event:
    """The event of a line. Raises Rejected with the first reason that applies."""
    record = _parse_object(line)
    # One field after the other, in the order of the raw event: the first bad one gives the reason.
    timestamp = _text(record, "timestamp")
    moment = _moment(_required(timestamp, "timestamp"))
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


class _Number(str):
    """A JSON number as it is spelled, so that neither digits nor the choice of a type are lost."""

    __slots__ = ()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant)


def _parse_object(line: bytes) -> dict[str, Any]:
    if _is_too_deep(line):
        raise Rejected("malformed_json")
    try:
        text = line.decode("utf-8")
        record = _JSON.decode(text)
    except ValueError:  # Of JSON as of UTF-8.
        raise Rejected("malformed_json") from None
    if type(record) is not dict or ("\\u" in text and any(map(_HALF_A_PAIR.search, _texts(record)))):
        raise Rejected("malformed_json")
    return record


_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, the names of its members included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _is_too_deep(line: bytes) -> bool:
    """Whether objects and arrays are nested too deep; what is no JSON may be called so or not."""
    if line.count(b"{") + line.count(b"[") <= DEEPEST_NESTING:
        return False
    depth, is_in_text = 0, False
    for mark in re.finditer(rb'\\.|["{}\[\]]', line, re.DOTALL):
        if mark[0] == b'"':
            is_in_text = not is_in_text
        elif not is_in_text:
            depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(mark[0], 0)
            if depth > DEEPEST_NESTING:
                return True
    return False


def _text(record: dict[str, Any], field: str) -> str | None:
    """A text field as delivered: numbers and booleans as JSON spells them."""
    value = record.get(field)
    if value is None or type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, _Number):
        return str(value)
    raise Rejected(f"invalid_value:{field}")


def standardised(text: str | None) -> str | None:
    """Text without surrounding ASCII whitespace; the spellings of "no value" become None."""
    if text is None:
        return None
    stripped = text.strip(" \t\n\r\f\v")
    if len(stripped) <= 4 and stripped.lower() in NULL_WORDS:
        return None
    return stripped


def _required(text: str | None, field: str) -> str:
    value = standardised(text)
    if value is None:
        raise Rejected(f"missing_field:{field}")
    return value


_ISO_8601 = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):([0-5]\d))", re.ASCII
)


def _moment(text: str) -> datetime:
    """A time in UTC; what is finer than microseconds is cut off."""
    match = _ISO_8601.fullmatch(text)
    if match is None:
        raise Rejected("invalid_value:timestamp")
    second, fraction, sign, hours, minutes = match.groups(default="0")
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        local = datetime.fromisoformat(f"{second}.{fraction[:6]:0<6}+00:00")
        moment = local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):
        raise Rejected("invalid_value:timestamp") from None
    if moment.year not in YEARS or offset > timedelta(hours=18):
        raise Rejected("invalid_value:timestamp")
    return moment


def _quantity(record: dict[str, Any], *, is_required: bool) -> int | None:
    hundredths = _hundredths_of(record, "quantity", is_required)
    if hundredths is None:
        return None
    quantity, rest = divmod(hundredths, 100)
    if rest or not (1 if is_required else -(2**31)) <= quantity < 2**31:
        raise Rejected("invalid_value:quantity")
    return quantity


def _price(record: dict[str, Any], *, is_required: bool) -> Decimal | None:
    cents = _hundredths_of(record, "price", is_required)
    if cents is None:
        return None
    if abs(cents) >= 10**10 or (is_required and cents < 0):  # As many digits as decimal(10,2) has.
        raise Rejected("invalid_value:price")
    return Decimal(cents).scaleb(-2)


def _hundredths_of(record: dict[str, Any], field: str, is_required: bool) -> int | None:
    """A hundred times a quantity or price: a JSON number, or text that spells one."""
    value = record.get(field)
    if value is not None and not isinstance(value, str):
        raise Rejected(f"invalid_value:{field}")
    text = standardised(value)
    if text is None:
        if is_required:
            raise Rejected(f"missing_field:{field}")
        return None
    hundredths = _hundredths(text)
    if hundredths is None:
        raise Rejected(f"invalid_value:{field}")
    return hundredths


_NUMBER = re.compile(r"([+-]?)(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?)0*([0-9]{1,9}))?")


@lru_cache(maxsize=4096)
def _hundredths(text: str) -> int | None:
    """A hundred times the number that a text spells; None if it spells none that a quantity or price can be.

    Both have at most ten digits before and two after the point: longer numbers are not even computed, as
    1e999999999 has too many digits to work with.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return 0
    # The number is its significant digits times ten to this power.
    power = int(exponent_sign + (exponent or "0")) - len(fraction) + len(digits) - len(significant)
    if power < -2 or len(significant) + power > 10:
        return None
    return int(sign + significant) * 10 ** (power + 2)


# --- From events to a table ---------------------------------------------------------------------------------

_DELIVERED = pa.struct(
    [
        *((name, pa.string()) for name in ("timestamp", "user_id", "session_id", "event_type", "product_id")),
        *(("quantity", pa.int32()), ("price", pa.decimal128(10, 2))),
        *(("category", pa.string()), ("search_query", pa.string())),
    ]
)
_JUDGED = pa.schema(
    [
        *(("line", pa.string()), ("reason", pa.string()), ("delivered", _DELIVERED)),
        *((name, pa.string()) for name in Identity._fields[:-1]),
        *(("event_timestamp", pa.timestamp("us")), ("quantity", pa.int32())),
        *(("price", pa.decimal128(10, 2)), ("category", pa.string())),
    ]
)
_NO_EVENT = (None,) * (1 + len(Identity._fields) + len(Payload._fields))


def _judged(lines: list[bytes]) -> pa.Table:
    """A row a line: its text, then why it is rejected, or what was delivered and what that means."""
    rows: list[Row] = []
    for line in lines:
        text = line.decode("utf-8", "replace")
        try:
            event = parse_line(line)
        except Rejected as rejection:
            rows.append((text, rejection.reason, *_NO_EVENT))
        else:
            rows.append((text, None, event.delivered, *event.identity, *event.payload))
    columns = zip(zip(*rows, strict=True), _JUDGED.types, strict=True)
    return pa.table([pa.array(values, kind) for values, kind in columns], schema=_JUDGED)
