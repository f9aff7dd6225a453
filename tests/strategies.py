"""Hypothesis strategies: raw lines and raw objects that provoke everything the pipeline promises to handle.

For: property tests that run the job, or a part of it, on what is drawn here and compare with `tests.oracle`.
Not for: amounts. There are few users, products and moments, so that copies, corrections and ties are common.

    event_lines()        lines that are accepted: an event in any of its spellings
    corrected_lines()    copies of one event, each with a quantity, price and category of its own
    malformed_lines()    MalformedLine: a line with the reason for which it is rejected
    raw_lines()          any of these
    raw_objects()        one object's bytes: lines, compressed or plain, perhaps corrupt
    object_sets()        objects by their URI, some in the same minute, some arriving late or out of order

Everything is within what the tables can represent: no sums beyond decimal(18,2).
"""

from __future__ import annotations

import calendar
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import strategies as st

Event = dict[str, Any]

# --- Events: what happened, before anyone spells it ------------------------------------------------------

CART_TYPES = ("add_to_cart", "remove_from_cart", "purchase")
EVENT_TYPES = ("page_view", *CART_TYPES, "search")

USERS = ("u_1", "u_2", "ü 3")
SESSIONS = ("s_1", "s_2")
PRODUCTS = ("p_1", "p_2", "p_10", "P_1")
CATEGORIES = ("toys", "books", "Toys", "wine & cheese", None)
SEARCHES = ("red shoes", 'say "cheese"', "naïve\t電池", "nullable", None)
# Around midnight, a month's, a year's and a leap day's end; microseconds that milliseconds would lose.
MOMENTS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2020-01-01T00:00:00",
        "2024-02-29T23:59:59.999999",
        "2025-11-17T23:59:59.999",
        "2025-11-18T00:00:00",
        "2025-11-18T14:23:45.123",
        "2025-11-18T14:23:45.123456",
        "2025-11-18T15:00:00",
        "2025-12-31T23:30:00",
        "2039-12-31T23:59:59",
    )
)
PRICES = ("0", "0.01", "9.99", "10", "19.9", "29.99", "99999999.99")  # to be spelled as JSON numbers
QUANTITIES = (1, 2, 3, 50)


@st.composite
def events(draw: st.DrawFn, moments: Sequence[datetime] = MOMENTS) -> Event:
    """An acceptable event: texts, `timestamp` a datetime, `quantity` an int, `price` a number as text."""
    event_type = draw(st.sampled_from((*EVENT_TYPES, "page_view", "purchase")))
    event: Event = {
        "timestamp": draw(st.sampled_from(moments)),
        "user_id": draw(st.sampled_from(USERS)),
        "session_id": draw(st.sampled_from(SESSIONS)),
        "event_type": event_type,
        "product_id": draw(st.sampled_from(PRODUCTS)),
        "search_query": None,
        **draw(payloads(event_type)),
    }
    if event_type == "search":
        event["product_id"] = draw(st.sampled_from((None, None, None, "p_1")))
        event["search_query"] = draw(st.sampled_from(SEARCHES))
    return event


@st.composite
def payloads(draw: st.DrawFn, event_type: str) -> Event:
    """Quantity, price and category of an event of this type; views and searches may have odd ones."""
    quantities, prices = st.sampled_from(QUANTITIES), st.sampled_from(PRICES)
    if event_type not in CART_TYPES:
        quantities = st.sampled_from((None, None, None, 0, 1, -(2**31), 2**31 - 1))
        prices = st.sampled_from((None, None, None, "9.99", "-9.99"))
    return {
        "quantity": draw(quantities),
        "price": draw(prices),
        "category": draw(st.sampled_from(CATEGORIES)),
    }


# --- Spellings: the many lines that mean one event -------------------------------------------------------

BLANKS = st.text(alphabet=" \t\r\n\f\v", max_size=2)
JSON_BLANKS = st.text(alphabet=" \t\r", max_size=2)
NULL_WORDS = st.sampled_from(("", " ", "null", "NULL", "None", "nan", "NaN", "n/a", " N/A\t"))
ABSENT = object()  # a field that the line does not have


class Spelled(NamedTuple):
    """A JSON value that is already spelled, and goes into the line as it is."""

    text: str


def event_lines(moments: Sequence[datetime] = MOMENTS) -> st.SearchStrategy[bytes]:
    """A line that is accepted."""
    return events(moments).flatmap(spellings)


@st.composite
def corrected_lines(draw: st.DrawFn, moments: Sequence[datetime] = MOMENTS) -> list[bytes]:
    """Two to four copies of one event; each may carry other values, as a correction does."""
    event = draw(events(moments))
    changes = draw(st.lists(payloads(event["event_type"]), min_size=2, max_size=4))
    return [draw(spellings(event | change)) for change in changes]


@st.composite
def spellings(draw: st.DrawFn, event: Event) -> bytes:
    """A line that means this event: plain in most cases, sometimes spelled as strangely as is allowed."""
    if draw(st.integers(0, 2)):
        record = {name: _plain(name, value) for name, value in event.items()}
        return json_line(record)
    record = {name: draw(_any_spelling(name, value)) for name, value in event.items()}
    extras: tuple[Event, ...] = ({}, {"unknown": {"user_id": [1, None, "x"]}}, {"User_ID": "u_9"})
    extra = draw(st.sampled_from(extras))
    names = draw(st.permutations([*record, *extra]))
    line = json_line({name: (record | extra)[name] for name in names}, ascii_only=draw(st.booleans()))
    return draw(JSON_BLANKS).encode() + line + draw(JSON_BLANKS).encode()


def _plain(name: str, value: Any) -> Any:
    if name == "timestamp":
        return value.isoformat()
    return Spelled(value) if name == "price" and value is not None else value


def _any_spelling(name: str, value: Any) -> st.SearchStrategy[Any]:
    if value is None:
        return st.one_of(st.none(), st.just(ABSENT), NULL_WORDS)
    if name == "timestamp":
        return padded(timestamps(value))
    if name in ("quantity", "price"):
        numbers = number_spellings(str(value))
        return st.one_of(numbers.map(Spelled), padded(numbers))
    return padded(st.just(value))


@st.composite
def padded(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text between ASCII whitespace, which does not change what it means."""
    return draw(BLANKS) + draw(texts) + draw(BLANKS)


@st.composite
def timestamps(draw: st.DrawFn, moment: datetime) -> str:
    """ISO 8601 of a moment: in any zone, with as many digits as it needs or more."""
    offset = draw(
        st.sampled_from(("Z", "+00:00", "-00:00", "+01:00", "-08:00", "+05:45", "+18:00", "-18:00"))
    )
    shift = timedelta(0)
    if offset != "Z":
        shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:])) * (-1 if offset[0] == "-" else 1)
    local = moment + shift
    needed = f"{local.microsecond:06d}".rstrip("0")
    shown = draw(st.integers(len(needed), 9))
    beyond = draw(st.sampled_from(("000", "999")))  # digits beyond microseconds are ignored
    digits = (needed.ljust(6, "0") + beyond)[:shown]
    return local.strftime("%Y-%m-%dT%H:%M:%S") + ("." + digits if digits else "") + offset


def number_spellings(text: str) -> st.SearchStrategy[str]:
    """JSON spellings of a number that is given as a plain decimal such as 29.9 or -5."""
    whole, _, fraction = text.partition(".")
    sign, digits = ("-" if whole.startswith("-") else ""), whole.lstrip("-") + fraction
    spelled = [text, f"{whole}.{fraction}0", f"{whole}.{fraction}000"]
    # All digits as a whole number times a power of ten; JSON allows no zeros in front.
    spelled.append(f"{sign}{int(digits)}e-{len(fraction)}")
    spelled.append(f"{sign}{int(digits)}.0E-0{len(fraction)}")
    return st.sampled_from(spelled)


def json_line(record: Event, *, ascii_only: bool = False) -> bytes:
    """One JSON object, without what is ABSENT, and with what is Spelled as it is."""

    def encode(value: Any) -> str:
        return value.text if isinstance(value, Spelled) else json.dumps(value, ensure_ascii=ascii_only)

    members = (f"{encode(name)}: {encode(value)}" for name, value in record.items() if value is not ABSENT)
    return ("{" + ", ".join(members) + "}").encode()


# --- Malformed lines -------------------------------------------------------------------------------------


class MalformedLine(NamedTuple):
    """A line and the reason for which it is rejected."""

    line: bytes
    reason: str


def _bad_values(event_type: str) -> dict[str, list[Any]]:
    """For each reason, what to put into the field that the reason names."""
    lists_and_objects: list[Any] = [[], {}, ["x"], {"id": 1}]
    text = ("timestamp", "user_id", "session_id", "event_type", "product_id", "category", "search_query")
    bad: dict[str, list[Any]] = {f"invalid_value:{field}": [*lists_and_objects] for field in text}
    required = ["timestamp", "user_id", "session_id", "event_type"]
    required += ["product_id"] if event_type != "search" else []
    required += ["quantity", "price"] if event_type in CART_TYPES else []
    for field in required:
        bad[f"missing_field:{field}"] = [None, ABSENT, "", " \t", "null", "N/A", "NaN", "none"]
    bad["invalid_value:timestamp"] += [
        *("yesterday", "2025-11-18", "2025-11-18T14:23:45", "2025-11-18 14:23:45Z", "2025-02-29T00:00:00Z"),
        *(
            "2025-11-18T24:00:00Z",
            "2025-11-18T14:23:45+18:01",
            "2019-12-31T23:59:59Z",
            "2040-01-01T00:00:00Z",
        ),
        *("2025-11-18T14:23:45.Z", "2025-11-18T14:23:45+0100", 1763475825, True),
    ]
    bad["unknown_event_type"] = ["wishlist_add", "PURCHASE", "page view", 7, True]
    bad["invalid_value:quantity"] = [*lists_and_objects, 1.5, 2**31, -(2**31) - 1, "two", "1.5", True]
    bad["invalid_value:price"] = [*lists_and_objects, 29.999, 100_000_000, "9,99", "$5", "1e-3", False]
    if event_type in CART_TYPES:
        bad["invalid_value:quantity"] += [0, -1, "0"]
        bad["invalid_value:price"] += [-0.01, "-5"]
    return bad


def malformed_lines() -> st.SearchStrategy[MalformedLine]:
    """A line that is rejected, of every reason that a line can have."""
    return st.one_of(_not_an_object(), _bad_fields())


@st.composite
def _not_an_object(draw: st.DrawFn) -> MalformedLine:
    good = draw(event_lines())
    damages: tuple[Callable[[bytes], bytes], ...] = (
        lambda line: b"",
        lambda line: b" \t",
        lambda line: b"WARN retrying",
        lambda line: b"null",
        lambda line: b"[" + line + b"]",
        lambda line: line.strip()[:-1],
        lambda line: line.strip() + b"}",
        lambda line: line + line,
        lambda line: line + b"// comment",
        lambda line: line.replace(b'"', b"'"),
        lambda line: line.replace(b":", b"=", 1),
        lambda line: line.strip()[:-1] + b', "unknown": NaN}',
        lambda line: line.strip()[:-1] + b', "unknown": -Infinity}',
        lambda line: line.strip()[:-1] + b', "unknown": 01}',
        lambda line: line.strip()[:-1] + b', "unknown": "\xff"}',
        lambda line: line.strip()[:-1] + b', "unknown": "\x00"}',
        lambda line: line.strip()[:-1] + b",}",
        lambda line: line.strip()[:-1] + b', "unknown": "\\ud800"}',
        lambda line: line.strip()[:-1] + b', "unknown": ' + b"[" * 500 + b"]" * 500 + b"}",
    )
    return MalformedLine(draw(st.sampled_from(damages))(good), "malformed_json")


@st.composite
def _bad_fields(draw: st.DrawFn) -> MalformedLine:
    event = draw(events())
    bad = _bad_values(event["event_type"])
    reason = draw(st.sampled_from(sorted(bad)))
    field = reason.partition(":")[2] or "event_type"
    record = {name: _plain(name, value) for name, value in event.items()}
    return MalformedLine(json_line(record | {field: draw(st.sampled_from(bad[reason]))}), reason)


def raw_lines(
    moments: Sequence[datetime] = MOMENTS, *, corrected: bool = True, max_groups: int = 6
) -> st.SearchStrategy[list[bytes]]:
    """Up to a dozen lines of any kind: alone, twice, or (if `corrected`) with corrections."""
    groups = st.one_of(
        event_lines(moments).map(lambda line: [line]),
        event_lines(moments).map(lambda line: [line, line]),
        *([corrected_lines(moments)] if corrected else []),
        malformed_lines().map(lambda malformed: [malformed.line]),
    )
    return st.lists(groups, max_size=max_groups).map(
        lambda drawn: [line for group in drawn for line in group][:12]
    )


# --- Objects ---------------------------------------------------------------------------------------------

ARRIVALS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2025-11-17T23:50:00",
        "2025-11-18T00:00:00",
        "2025-11-18T14:30:00",
        "2025-11-18T14:30:20",  # the same minute as the one before: a second object in that folder
        "2025-11-18T15:00:00",
        "2026-01-01T00:00:00",
    )
)


def in_year(times: Sequence[datetime], year: int) -> list[datetime]:
    """These times in another year: the first of January stays what it is, a leap day may become the 28th."""
    return [
        time.replace(year=year, day=min(time.day, calendar.monthrange(year, time.month)[1])) for time in times
    ]


@st.composite
def raw_objects(
    draw: st.DrawFn,
    *,
    compressed: bool = True,
    lines: st.SearchStrategy[list[bytes]] | None = None,
    truncated: bool = True,
) -> bytes:
    """The bytes of an object: its last line may lack the line end; a compressed one may be broken, unless
    `truncated` is False."""
    content = b"".join(line + b"\n" for line in draw(raw_lines() if lines is None else lines))
    if content and draw(st.integers(0, 4)) == 0:
        content = content[:-1]
    if not compressed:
        return content
    data = gzip.compress(content, mtime=0)
    if truncated and draw(st.integers(0, 9)) == 0:
        cut = data[: draw(st.integers(1, len(data) - 1))]
        wrong_checksum = data[:-8] + bytes(4) + data[-4:]
        data = draw(st.sampled_from((cut, cut, wrong_checksum, data + b"rubbish")))
    return data


@st.composite
def object_sets(
    draw: st.DrawFn,
    *,
    bucket: str = "raw",
    min_size: int = 1,
    max_size: int = 4,
    lines: st.SearchStrategy[list[bytes]] | None = None,
    times: Sequence[datetime] = ARRIVALS,
    in_order: bool = False,
    truncated: bool = True,
) -> dict[str, bytes]:
    """Raw objects by s3:// URI in the order of their upload: that of their time only when `in_order`.

    Lines of earlier objects come again in later ones. Some keys lack the Hive path, some objects are plain
    text. Without `lines`, any raw lines are drawn.
    """
    content = raw_lines() if lines is None else lines
    arrivals = draw(st.lists(st.sampled_from(times), min_size=min_size, max_size=max_size, unique=True))
    if in_order:
        arrivals.sort()
    objects: dict[str, bytes] = {}
    seen: list[bytes] = []
    for arrival in arrivals:
        again = st.lists(st.sampled_from(seen), max_size=3) if seen else st.just([])
        own = draw(content) + draw(again)
        seen += own
        compressed = draw(st.integers(0, 7)) > 0
        uri = object_uri(arrival, bucket=bucket, compressed=compressed, hive_path=draw(st.integers(0, 7)) > 0)
        objects[uri] = draw(raw_objects(compressed=compressed, lines=st.just(own), truncated=truncated))
    return objects


def object_uri(
    arrival: datetime, *, bucket: str = "raw", compressed: bool = True, hive_path: bool = True
) -> str:
    """The URI under which the generator stores an object that arrives then, or a shorter one."""
    folder = arrival.strftime("year=%Y/month=%m/day=%d/hour=%H/minute=%M/") if hive_path else ""
    name = arrival.strftime("events-%Y%m%d-%H%M%S.jsonl") + (".gz" if compressed else "")
    return f"s3://{bucket}/events/{folder}{name}"
