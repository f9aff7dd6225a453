"""The raw objects of an acceptance, three deliveries of them, and what they must come to: worked out by hand.

Small enough to check with a pencil, and every awkward case is in it. A test holds the numbers against the
witness of the validation. Not for volume: that is `sample-data/`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import date
from decimal import Decimal
from typing import Any

DAY, NEXT_DAY = date(2025, 11, 18), date(2025, 11, 19)
_QUARTER_PAST_TWO = "events/year=2025/month=11/day=18/hour=14/minute={}/"
_MIDNIGHT = "events/year=2025/month=11/day=19/hour=00/minute={}/"


def _event(kind: str, time: str, who: str, product: str | None, category: str | None, **more: Any) -> bytes:
    """A line; `who` is user and session, as in "u1 s1"."""
    user, session = who.split()
    fields = {"timestamp": time, "user_id": user, "session_id": session, "event_type": kind}
    return json.dumps(fields | {"product_id": product, "category": category} | more).encode() + b"\n"


def _at(time: str) -> str:
    return f"2025-11-{time.replace(' ', 'T')}Z"


def _view(time: str, who: str, product: str, category: str | None) -> bytes:
    return _event("page_view", _at(time), who, product, category)


def _deal(kind: str, time: str, who: str, product: str, category: str | None, n: int, price: float) -> bytes:
    return _event(kind, _at(time), who, product, category, quantity=n, price=price)


def _packed(*lines: bytes) -> bytes:
    return gzip.compress(b"".join(lines), mtime=0)


def _with_wrong_checksum(*lines: bytes) -> bytes:
    content = bytearray(_packed(*lines))
    content[-8] ^= 0xFF  # The last eight bytes are checksum and length.
    return bytes(content)


def _cut_off_after(*lines: bytes) -> bytes:
    """Gzip of which everything up to here can be unpacked, and then nothing comes."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(b"".join(lines)) + packer.flush(zlib.Z_FULL_FLUSH)


_ORDINARY = _QUARTER_PAST_TWO.format(20) + "events-20251118-142000.jsonl.gz"
_FIRST_VIEW = _view("18 14:15:01", "u1 s1", "P1", "kitchen")
_PURCHASE = _deal("purchase", "18 14:17:00", "u1 s1", "P1", "kitchen", 2, 19.99)
_VIEW_OF_TWO = _view("18 14:20:00", "u2 s2", "P2", "home")
_VIEW_AFTER_MIDNIGHT = _view("19 00:01:00", "u6 s7", "P1", "kitchen")

FIRST: dict[str, bytes] = {
    # All of it is such that Glue's own reader gets through.
    # Ordinary events, a copy of one, and three lines that are none.
    _ORDINARY: _packed(
        _FIRST_VIEW,
        _deal("add_to_cart", "18 14:16:00", "u1 s1", "P1", "kitchen", 1, 19.99),
        _PURCHASE,
        _PURCHASE,
        _event("search", _at("18 14:15:30"), "u2 s2", None, None, search_query="red lamp"),
        b'{"timestamp": "2025-11-18T14:18:00Z", "user_id\n',
        _event("wishlist", _at("18 14:18:10"), "u2 s2", "P1", "kitchen"),
        _event("purchase", _at("18 14:18:20"), "u2 s2", "P1", "kitchen", quantity=1),
    ),
    # Two objects in one minute, the second with a copy of what the first delivered.
    _QUARTER_PAST_TWO.format(25) + "events-20251118-142501.jsonl.gz": _packed(
        _VIEW_OF_TWO, _view("18 14:21:00", "u3 s3", "P2", "home")
    ),
    _QUARTER_PAST_TWO.format(25) + "events-20251118-142531.jsonl.gz": _packed(
        _VIEW_OF_TWO, _deal("remove_from_cart", "18 14:24:00", "u1 s1", "P1", "kitchen", 1, 19.99)
    ),
    # Odd names, and no compression; a time with an offset, a category with blanks around it.
    _QUARTER_PAST_TWO.format(45) + "two words.jsonl": _event(
        "page_view", "2025-11-18T15:42:00+01:00", "u5 s5", "P2", " home "
    ),
    _QUARTER_PAST_TWO.format(45) + "100%25 #1.jsonl": _deal(
        "add_to_cart", "18 14:43:00", "u5 s5", "P2", "home", 1, 49.50
    ),
    _QUARTER_PAST_TWO.format(45) + "price=5&+😀.jsonl": _deal(
        "purchase", "18 14:44:00", "u5 s5", "P2", "home", 1, 49.50
    ),
    # An event of the day before, delivered after midnight.
    _MIDNIGHT.format("05") + "events-20251119-000500.jsonl.gz": _packed(
        _deal("purchase", "18 23:59:30", "u1 s6", "P1", "kitchen", 1, 19.99), _VIEW_AFTER_MIDNIGHT
    ),
}

IGNORED: dict[str, bytes] = {
    "events/year=2025/month=11/day=18/": b"",
    "events/.DS_Store": b"\x00\x00\x00\x01Bud1",
    _QUARTER_PAST_TWO.format(20) + "_SUCCESS": b"done",
    _QUARTER_PAST_TWO.format(55) + "events-20251118-145500.jsonl.gz": b"",
}
"""What lies between the raw objects and is none: a folder, a desktop's file, a marker, an empty object."""

SECOND: dict[str, bytes] = {
    # Bytes that are no UTF-8: of these Glue's own reader fails.
    _QUARTER_PAST_TWO.format(30) + "events-20251118-143000.jsonl.gz": _packed(
        b'{"timestamp": "2025-11-18T14:28:00Z", "user_id": "u\xff\xfe", "session_id": "s3"}\n',
        _view("18 14:29:00", "u3 s3", "P1", "kitchen"),
    ),
    # Gzip with a wrong checksum, and gzip that breaks off: what can be read counts.
    _QUARTER_PAST_TWO.format(35) + "events-20251118-143500.jsonl.gz": _with_wrong_checksum(
        _view("18 14:31:00", "u4 s4", "P3", None)
    ),
    _QUARTER_PAST_TWO.format(40) + "events-20251118-144000.jsonl.gz": _cut_off_after(
        _deal("purchase", "18 14:36:00", "u4 s4", "P3", "n/a", 3, 0.10)
    ),
    # A picture that calls itself gzip.
    _QUARTER_PAST_TWO.format(50) + "events-20251118-145000.jsonl.gz": b"\x89PNG\r\n\x1a\n" + bytes(64),
    # A correction of a purchase (45.00 for 49.50), a copy, a new product, and a view that is nine hours late.
    _MIDNIGHT.format(10) + "events-20251119-001000.jsonl.gz": _packed(
        _deal("purchase", "18 14:44:00", "u5 s5", "P2", "home", 1, 45.00),
        _VIEW_AFTER_MIDNIGHT,
        _deal("purchase", "19 00:06:00", "u6 s7", "P4", "garden", 1, 100.00),
        _view("18 14:59:59", "u7 s8", "P4", "garden"),
    ),
}

THIRD: dict[str, bytes] = {
    # The very first object again under its key, with other content: it replaces what it delivered before.
    _ORDINARY: _packed(_FIRST_VIEW, _deal("purchase", "18 14:17:00", "u1 s1", "P1", "kitchen", 3, 19.99)),
    _MIDNIGHT.format(15) + "events-20251119-001500.jsonl.gz": _packed(
        _view("19 00:12:00", "u8 s9", "P2", "home")
    ),
}

# --- What they must come to ---------------------------------------------------------------------------------

LINES = dict(  # accepted and rejected, after the second delivery, in the order of the objects
    zip(
        FIRST | SECOND,
        [(5, 3), (2, 0), (2, 0), (1, 0), (1, 0), (1, 0), (2, 0), (1, 1), (1, 1), (1, 1), (0, 1), (4, 0)],
        strict=True,
    )
)
REASONS = {"malformed_json": 2, "unknown_event_type": 1, "missing_field:price": 1, "corrupt_file": 3}

Answers = dict[int, list[tuple[Any, ...]]]
"""Rows of each query of queries.sql, by its number, in the query's order."""


def _ratios(*texts: str | None) -> tuple[Decimal | None, ...]:
    return tuple(text if text is None else Decimal(text) for text in texts)


AFTER_FIRST: Answers = {
    1: [
        ("P2", "home", 3, 1, 1, *_ratios("0.3333", "0.3333", "1.0000")),
        ("P1", "kitchen", 2, 1, 2, *_ratios("0.5000", "1.0000", "2.0000")),
    ],
    # 14 h: 2 x 19.99 + 49.50
    2: [(DAY, 23, Decimal("19.99"), 1), (DAY, 14, Decimal("89.48"), 2)],
    3: [(1, "P2", "home", 3), (2, "P1", "kitchen", 2)],
    4: [(NEXT_DAY, "kitchen", 1), (DAY, "home", 5), (DAY, "kitchen", 5), (DAY, "uncategorized", 1)],
    5: [(NEXT_DAY, 1, 1), (DAY, 4, 5)],
}
AFTER_SECOND: Answers = {
    1: [
        ("P1", "kitchen", 3, 1, 2, *_ratios("0.3333", "0.6667", "2.0000")),
        ("P2", "home", 3, 1, 1, *_ratios("0.3333", "0.3333", "1.0000")),
        ("P3", "uncategorized", 1, 0, 1, *_ratios("0.0000", "1.0000", None)),
        ("P4", "garden", 1, 0, 1, *_ratios("0.0000", "1.0000", None)),
    ],
    # 14 h: 2 x 19.99 + 3 x 0.10 + 45.00
    2: [(NEXT_DAY, 0, Decimal("100.00"), 1), (DAY, 23, Decimal("19.99"), 1), (DAY, 14, Decimal("85.28"), 3)],
    3: [(1, "P1", "kitchen", 3), (2, "P2", "home", 3), (3, "P3", "uncategorized", 1), (4, "P4", "garden", 1)],
    4: [
        *[(NEXT_DAY, "garden", 1), (NEXT_DAY, "kitchen", 1)],
        *[(DAY, "kitchen", 6), (DAY, "home", 5), (DAY, "uncategorized", 3), (DAY, "garden", 1)],
    ],
    5: [(NEXT_DAY, 1, 1), (DAY, 6, 7)],
}
AFTER_THIRD: Answers = {
    1: [
        ("P2", "home", 4, 1, 1, *_ratios("0.2500", "0.2500", "1.0000")),
        ("P1", "kitchen", 3, 0, 2, *_ratios("0.0000", "0.6667", None)),
        ("P3", "uncategorized", 1, 0, 1, *_ratios("0.0000", "1.0000", None)),
        ("P4", "garden", 1, 0, 1, *_ratios("0.0000", "1.0000", None)),
    ],
    # 14 h: 3 x 19.99 + 3 x 0.10 + 45.00
    2: [(NEXT_DAY, 0, Decimal("100.00"), 1), (DAY, 23, Decimal("19.99"), 1), (DAY, 14, Decimal("105.27"), 3)],
    3: [(1, "P2", "home", 4), (2, "P1", "kitchen", 3), (3, "P3", "uncategorized", 1), (4, "P4", "garden", 1)],
    4: [
        *[(NEXT_DAY, "garden", 1), (NEXT_DAY, "home", 1), (NEXT_DAY, "kitchen", 1)],
        *[(DAY, "home", 5), (DAY, "kitchen", 5), (DAY, "uncategorized", 2), (DAY, "garden", 1)],
    ],
    5: [(NEXT_DAY, 2, 2), (DAY, 6, 7)],
}
