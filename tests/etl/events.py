"""Raw events and raw objects by hand, for tests that say exactly what they deliver."""

from __future__ import annotations

import gzip
import json
from typing import Any

PURCHASE: dict[str, Any] = {
    "timestamp": "2025-11-18T14:23:45.123Z",
    "user_id": "u_89234",
    "session_id": "s_29384",
    "event_type": "purchase",
    "product_id": "p_5521",
    "quantity": 2,
    "price": 29.99,
    "category": "electronics",
    "search_query": None,
}
VIEW = PURCHASE | {"event_type": "page_view", "quantity": None, "price": None}
SEARCH = VIEW | {"event_type": "search", "product_id": None, "category": None, "search_query": "red shoes"}


def line(event: dict[str, Any] = PURCHASE, **changes: Any) -> bytes:
    """An event as a raw line, with some fields changed."""
    return json.dumps(event | changes).encode()


def packed(*lines: bytes) -> bytes:
    """A raw object of these lines."""
    return gzip.compress(b"".join(one + b"\n" for one in lines), mtime=0)


def uri(arrival: str, name: str = "") -> str:
    """The URI of the object that arrives then, as in 2025-11-18T14:25; `name` for a second one."""
    day, _, minute = arrival.partition("T")
    year, month, day = day.split("-")
    hour, minute = minute.split(":")
    folder = f"year={year}/month={month}/day={day}/hour={hour}/minute={minute}"
    return f"s3://raw/events/{folder}/{name or f'events-{year}{month}{day}-{hour}{minute}00.jsonl.gz'}"
