"""What becomes of a raw line: accepted as delivered, or rejected with the first reason that applies.

By hand; that job and witness judge alike whatever else there may be is tested in test_judge_and_witness.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from glue_scripts import capstone_etl as etl
from tests.etl.events import PURCHASE, SEARCH, VIEW, line

PLAIN = json.dumps(PURCHASE)
HUGE = 21_000_000


def nested(levels: int) -> bytes:
    """The purchase's line with arrays in a field that nobody asks for: so many levels in all."""
    return raw("null}", 'null, "unknown": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}")


def raw(old: str, new: str) -> bytes:
    """The purchase's line with a piece of its text replaced."""
    assert old in PLAIN
    return PLAIN.replace(old, new).encode()


REJECTED: dict[str, list[bytes]] = {
    "malformed_json": [
        *(b"", b"  ", b"null", b"1", b'"text"', b"[1]", b"not json", b"{", b"\xff\xfe", b"\x00"),
        f"[{PLAIN}]".encode(),
        PLAIN[:-1].encode(),
        *(f"{PLAIN}{rest}".encode() for rest in (" x", "}", PLAIN, f",{PLAIN}", ', "b": 2', "] x", ",{}] x")),
        f"\ufeff{PLAIN}".encode(),
        PLAIN.encode().replace(b"u_89234", b"u_\xff"),
        raw('"u_89234"', "'u_89234'"),
        raw("u_89234", "u\t1"),
        raw("29.99", "NaN"),
        raw("29.99", "029.99"),
        b"x" * HUGE,
        b'{"user_id": "' + b"x" * HUGE,
        raw("u_89234", r"\ud83d"),
        raw("null}", r'null, "unknown": "\ude00\ud83d"}'),
        *(nested(501), nested(1_001), nested(100_000)),
    ],
    "missing_field:timestamp": [
        b"{}",
        line(timestamp=None),
        line(timestamp=" N/A "),
        line(timestamp="", price="x"),
    ],
    "missing_field:user_id": [
        line(user_id=None),
        line(user_id=" None "),
        line(user_id="\t\n"),
        line(user_id="NaN"),
        raw('"u_89234"', '"u_1", "user_id": null'),
    ],
    "missing_field:session_id": [line(session_id="null")],
    "missing_field:event_type": [line(event_type="")],
    "missing_field:product_id": [line(product_id=None), line(VIEW, product_id="n/a")],
    "missing_field:quantity": [
        line(quantity=None),
        line(quantity=" "),
        line(event_type="add_to_cart", quantity=None),
    ],
    "missing_field:price": [
        line(price=None),
        line(price="none"),
        line(event_type="remove_from_cart", price=None),
    ],
    "invalid_value:timestamp": [
        *(
            line(timestamp=text)
            for text in ("yesterday", "2025-11-18", "2025-11-18T14:23:45", "2025-11-18 14:23:45Z")
        ),
        *(
            line(timestamp=text)
            for text in ("2025-02-29T00:00:00Z", "2025-11-18T24:00:00Z", "2025-11-18T00:00:60Z")
        ),
        *(
            line(timestamp=text)
            for text in ("1970-01-01T00:00:00Z", "2019-12-31T23:59:59Z", "2040-01-01T00:00:00Z")
        ),
        *(line(timestamp=text) for text in ("2025-11-18T00:00:00.1234567890Z", "2025-11-18T00:00:00+19:00")),
        *(line(timestamp="٢٠٢٥-11-18T00:00:00Z"), line(timestamp=1763475825)),
        line(timestamp={"at": 1}),
    ],
    "invalid_value:user_id": [line(user_id={"id": 1}), line(user_id=["u"]), line(user_id=[])],
    "invalid_value:category": [line(category={})],
    "invalid_value:search_query": [line(SEARCH, search_query=["a"])],
    "unknown_event_type": [line(event_type="refund"), line(event_type="Purchase")],
    "invalid_value:quantity": [
        *(line(quantity=value) for value in (1.5, 0, -1, 2**31, 10**40, True, "two", "1.5", {"n": 1}, [1])),
        *(line(VIEW, quantity=1.5), line(quantity="٢"), line(quantity="２")),
        raw('"quantity": 2', '"quantity": 2.0000000000000000001'),
        raw('"quantity": 2', f'"quantity": {"9" * 1_001}'),
        raw('"quantity": 2', '"quantity": 1e999999999'),
    ],
    "invalid_value:price": [
        *(line(price=price) for price in (-0.01, 29.999, 1e30, 100_000_000, "abc", "9,99", "$5", True)),
        *(line(price={}), line(price=[9.99])),
        line(VIEW, price="free"),
        raw("29.99", "1e999999999"),
        raw("29.99", "1e400"),
        raw("29.99", "29.990000000000001"),
        raw("29.99", "29.98999999999999999999"),
        *(line(price="٢٩.٩٩"), line(price="２９.９９"), line(price="9" * 1_001), line(price="x" * HUGE)),
    ],
}

ACCEPTED: list[tuple[bytes, dict[str, Any]]] = [
    (line(), {}),
    (line(VIEW), {"quantity": None, "price": None}),
    (line(SEARCH), {"product_id": None, "search_query": "red shoes"}),
    (line(price=0), {"price": Decimal("0.00")}),
    (raw("29.99", "99999999.99"), {"price": Decimal("99999999.99")}),
    (raw("29.99", "29.9900"), {"price": Decimal("29.99")}),
    (raw("29.99", "2999e-2"), {"price": Decimal("29.99")}),
    (raw("29.99", "0.1"), {"price": Decimal("0.10")}),
    (line(price=" 29.9 "), {"price": Decimal("29.90")}),
    (line(VIEW, price="n/a"), {"price": None}),
    (line(VIEW, quantity=-5), {"quantity": -5}),
    (line(quantity=2.0), {"quantity": 2}),
    (line(quantity="3"), {"quantity": 3}),
    (line(quantity=2**31 - 1), {"quantity": 2**31 - 1}),
    (line(user_id=" u_1 "), {"user_id": " u_1 "}),  # bronze keeps what was delivered
    (line(user_id=12), {"user_id": "12"}),
    (line(user_id="{u} [1]"), {"user_id": "{u} [1]"}),
    (line(user_id="\ufffd"), {"user_id": "\ufffd"}),
    (line(category="NULL"), {"category": "NULL"}),
    (line(SEARCH, search_query="[sale] {50%}"), {"search_query": "[sale] {50%}"}),
    (
        line(timestamp=" 2024-02-29T23:59:59.999999999-18:00 "),
        {"timestamp": " 2024-02-29T23:59:59.999999999-18:00 "},
    ),
    (line(unknown={"user_id": [1]}), {}),
    (line() + b" \t", {}),
    (raw('"u_89234"', '"u_1", "user_id": "u_2"'), {"user_id": "u_2"}),
    (raw('"u_89234"', '{"id": [1]}, "user_id": "u_2"'), {"user_id": "u_2"}),
    (raw('"u_89234"', r'["\ud83d"], "user_id": "u_2"'), {"user_id": "u_2"}),
    (raw("u_89234", r"\ud83d\ude00 \\ud83d"), {}),
    (raw("null}", 'null, "weight": 1e99999}'), {}),
    (nested(500), {}),
    # What is monstrous in one field is no reason to miss another.
    (line(weight=int("9" * 1_001)), {}),
    (raw('"u_89234"', "9" * 1_001), {"user_id": "9" * 1_001}),
    (line(note="x" * HUGE), {}),
    (line(SEARCH, search_query="x" * HUGE), {}),
]


@pytest.mark.parametrize("reason", REJECTED)
def test_a_bad_line_is_rejected_with_its_reason(reason: str) -> None:
    found = {one[:200]: etl.judge(one) for one in REJECTED[reason]}
    assert found == {one[:200]: reason for one in REJECTED[reason]}


@pytest.mark.parametrize(("raw_line", "fields"), ACCEPTED, ids=lambda value: str(value)[:60])
def test_a_good_line_is_accepted_as_delivered(raw_line: bytes, fields: dict[str, Any]) -> None:
    delivered = {**json.loads(raw_line), **fields}
    if delivered["price"] is not None:
        delivered["price"] = Decimal(str(delivered["price"]))
    verdict = etl.judge(raw_line)
    assert [*verdict[:-1]] == [delivered[name] for name in etl.RAW_EVENT.names]
