"""The oracle against cases computed by hand, and its gold tables against SQL over the same events."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests.oracle import (
    COLUMNS,
    Expected,
    Rejected,
    Row,
    arrival_minute,
    assert_same_rows,
    delivered_lines,
    expected_tables,
    parse_line,
    ratio,
    rows_of,
    standardised,
)

SAMPLE_DATA = Path(__file__).parent.parent / "sample-data"

VIEW: dict[str, Any] = {
    "timestamp": "2025-11-18T14:23:45.123Z",
    "user_id": "u_1",
    "session_id": "s_1",
    "event_type": "page_view",
    "product_id": "p_1",
    "quantity": None,
    "price": None,
    "category": "toys",
    "search_query": None,
}
PURCHASE = VIEW | {"event_type": "purchase", "quantity": 2, "price": 29.99}
SEARCH = VIEW | {"event_type": "search", "product_id": None, "category": None, "search_query": "red shoes"}

EARLY = "s3://raw/events/year=2025/month=11/day=18/hour=14/minute=30/events-20251118-143000.jsonl.gz"
LATER = "s3://raw/events/year=2025/month=11/day=18/hour=14/minute=40/events-20251118-144000.jsonl.gz"
TIED = "s3://raw/events/year=2025/month=11/day=18/hour=14/minute=40/events-20251118-144001.jsonl.gz"


def encoded(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def zipped(*events: dict[str, Any]) -> bytes:
    return gzip.compress(b"".join(encoded(event) + b"\n" for event in events))


def tables_of(*events: dict[str, Any]) -> Expected:
    return expected_tables({EARLY: zipped(*events)})


def columns(expected: Expected, table: str, *names: str) -> list[Row]:
    positions = [COLUMNS[table].index(name) for name in names]
    return [tuple(row[position] for position in positions) for row in expected[table]]


def silver(*events: dict[str, Any], column: str) -> list[Any]:
    return [value for (value,) in columns(tables_of(*events), "silver.events_cleaned", column)]


def reason(line: bytes) -> str | None:
    """Why a line is rejected; None when it is accepted."""
    try:
        parse_line(line)
    except Rejected as rejection:
        return rejection.reason
    return None


# --- Lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"a\r\nb\x00c\xff\n", [b"a\r", b"b\x00c\xff"]),
    ],
)
def test_lines_end_at_line_feeds_and_an_empty_rest_is_no_line(content: bytes, lines: list[bytes]) -> None:
    assert delivered_lines(content, compressed=False) == lines
    assert delivered_lines(gzip.compress(content)) == lines


def test_a_gzip_object_of_several_members_is_one_text() -> None:
    assert delivered_lines(gzip.compress(b"a\nb") + gzip.compress(b"c\n")) == [b"a", b"bc"]


def test_an_object_without_the_gz_ending_is_read_as_it_is() -> None:
    expected = expected_tables({EARLY.removesuffix(".gz"): encoded(VIEW)})
    assert len(expected["bronze.events"]) == 1


def test_an_object_of_no_bytes_delivers_nothing() -> None:
    expected = expected_tables({EARLY: b""})
    assert not any(expected.tables.values())


def test_a_truncated_object_delivers_its_complete_lines_and_one_rejected_row() -> None:
    whole = zipped(*(VIEW | {"user_id": f"u_{number * 7919 % 10007}"} for number in range(20_000)))
    expected = expected_tables({EARLY: whole[: len(whole) // 2]})
    accepted = columns(expected, "bronze.events", "user_id")
    assert 1_000 < len(accepted) < 19_000
    assert accepted == [(f"u_{number * 7919 % 10007}",) for number in range(len(accepted))]
    assert expected["bronze.events_rejected"] == [(None, "corrupt_file", EARLY, 2025, 11, 18)]


@pytest.mark.parametrize(
    ("defect", "complete_lines"),
    [
        (lambda good: b"this is not gzip at all", 0),
        (lambda good: good[:5], 0),
        (lambda good: good[:-1], 2),  # the length at the end is cut off
        (lambda good: good[:-8] + b"\0\0\0\0" + good[-4:], 2),  # a wrong checksum
        (lambda good: good + b"rubbish after the end", 2),
    ],
)
def test_a_corrupt_object_is_told_by_exactly_one_row(defect: Any, complete_lines: int) -> None:
    expected = expected_tables({EARLY: defect(zipped(VIEW, SEARCH))})
    assert len(expected["bronze.events"]) == complete_lines
    assert expected["bronze.events_rejected"] == [(None, "corrupt_file", EARLY, 2025, 11, 18)]


def test_a_readable_last_piece_of_a_corrupt_object_is_not_a_line() -> None:
    without_its_end = gzip.compress(encoded(VIEW) + b"\n" + encoded(SEARCH))[:-8]
    assert delivered_lines(without_its_end) == [encoded(VIEW)]


def test_arrival_is_the_minute_of_the_path_before_that_of_the_name() -> None:
    assert arrival_minute(EARLY) == (2025, 11, 18, 14, 30)
    assert arrival_minute("s3://raw/events/events-20240229-235959.jsonl.gz") == (2024, 2, 29, 23, 59)
    moved = "s3://raw/events/year=2025/month=01/day=02/hour=03/minute=04/events-20240229-235959.jsonl.gz"
    assert arrival_minute(moved) == (2025, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="neither"):
        arrival_minute("s3://raw/events/readme.txt")


# --- Rejection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"oops",
        encoded(VIEW)[:-1],
        encoded(VIEW) + b"}",
        encoded(VIEW) + encoded(VIEW),
        encoded(VIEW) + b" // a comment",
        b"[" + encoded(VIEW) + b"]",
        b"null",
        b'"text"',
        b"42",
        encoded(VIEW).replace(b'"', b"'"),
        encoded(VIEW).replace(b"}", b",}"),
        encoded(VIEW | {"price": float("nan")}),
        encoded(VIEW | {"unknown": float("inf")}),
        encoded(VIEW | {"unknown": float("-inf")}),
        encoded(VIEW).replace(b"null", b"01", 1),
        encoded(VIEW).replace(b"null", b"+1", 1),
        encoded(VIEW).replace(b"null", b".5", 1),
        encoded(VIEW).replace(b"null", b"5.", 1),
        encoded(VIEW).replace(b"null", b"True", 1),
        encoded(VIEW).replace(b"u_1", b"u\t1"),
        encoded(VIEW).replace(b"u_1", b"u\x001"),
        encoded(VIEW).replace(b"u_1", b"u\xff1"),
        encoded(VIEW).replace(b"u_1", b"u\xed\xa0\x801"),  # a surrogate encoded as if it were a character
        encoded(VIEW).replace(b"u_1", b"u\xc0\x801"),  # overlong
        b"\xef\xbb\xbf" + encoded(VIEW),
        encoded(VIEW).decode().encode("utf-16"),
        b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_strict_json_of_an_object_is_malformed(line: bytes) -> None:
    assert reason(line) == "malformed_json"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (VIEW | {"timestamp": None}, "missing_field:timestamp"),
        (VIEW | {"timestamp": " N/A "}, "missing_field:timestamp"),
        (VIEW | {"timestamp": "yesterday"}, "invalid_value:timestamp"),
        (VIEW | {"timestamp": 1763475825}, "invalid_value:timestamp"),
        (VIEW | {"timestamp": ["2025-11-18T14:23:45Z"]}, "invalid_value:timestamp"),
        (VIEW | {"user_id": None}, "missing_field:user_id"),
        (VIEW | {"user_id": "NULL"}, "missing_field:user_id"),
        (VIEW | {"user_id": {"id": 1}}, "invalid_value:user_id"),
        (VIEW | {"session_id": "\t"}, "missing_field:session_id"),
        (VIEW | {"session_id": []}, "invalid_value:session_id"),
        (VIEW | {"event_type": "none"}, "missing_field:event_type"),
        (VIEW | {"event_type": {}}, "invalid_value:event_type"),
        (VIEW | {"event_type": "wishlist_add"}, "unknown_event_type"),
        (VIEW | {"event_type": "Page_View"}, "unknown_event_type"),
        (VIEW | {"event_type": True}, "unknown_event_type"),
        (VIEW | {"product_id": None}, "missing_field:product_id"),
        (PURCHASE | {"product_id": "nan"}, "missing_field:product_id"),
        (SEARCH | {"product_id": ["p_1"]}, "invalid_value:product_id"),
        (PURCHASE | {"quantity": None}, "missing_field:quantity"),
        (PURCHASE | {"quantity": ""}, "missing_field:quantity"),
        (PURCHASE | {"event_type": "add_to_cart", "quantity": None}, "missing_field:quantity"),
        (PURCHASE | {"event_type": "remove_from_cart", "quantity": None}, "missing_field:quantity"),
        (PURCHASE | {"quantity": 0}, "invalid_value:quantity"),
        (PURCHASE | {"quantity": -1}, "invalid_value:quantity"),
        (PURCHASE | {"quantity": 1.5}, "invalid_value:quantity"),
        (PURCHASE | {"quantity": 2**31}, "invalid_value:quantity"),
        (PURCHASE | {"quantity": "two"}, "invalid_value:quantity"),
        (PURCHASE | {"quantity": True}, "invalid_value:quantity"),
        (PURCHASE | {"quantity": [2]}, "invalid_value:quantity"),
        (VIEW | {"quantity": 1.5}, "invalid_value:quantity"),
        (VIEW | {"quantity": -(2**31) - 1}, "invalid_value:quantity"),
        (PURCHASE | {"price": None}, "missing_field:price"),
        (PURCHASE | {"price": -0.01}, "invalid_value:price"),
        (PURCHASE | {"price": 29.999}, "invalid_value:price"),
        (PURCHASE | {"price": 100_000_000}, "invalid_value:price"),
        (PURCHASE | {"price": "€5"}, "invalid_value:price"),
        (PURCHASE | {"price": False}, "invalid_value:price"),
        (VIEW | {"price": 29.999}, "invalid_value:price"),
        (VIEW | {"category": ["toys"]}, "invalid_value:category"),
        (VIEW | {"search_query": {"q": "shoes"}}, "invalid_value:search_query"),
    ],
)
def test_a_field_that_breaks_its_rule_gives_the_reason(event: dict[str, Any], expected: str) -> None:
    assert reason(encoded(event)) == expected


@pytest.mark.parametrize("field", ["timestamp", "user_id", "session_id", "event_type", "product_id"])
def test_an_absent_required_field_is_a_missing_one(field: str) -> None:
    event = {name: value for name, value in VIEW.items() if name != field}
    assert reason(encoded(event)) == f"missing_field:{field}"


def test_the_first_broken_field_gives_the_reason() -> None:
    repairs: list[tuple[dict[str, Any], str]] = [
        ({"timestamp": VIEW["timestamp"]}, "invalid_value:timestamp"),
        ({"user_id": "u"}, "missing_field:user_id"),
        ({"session_id": "s"}, "invalid_value:session_id"),
        ({"event_type": "purchase"}, "unknown_event_type"),
        ({"product_id": "p"}, "missing_field:product_id"),
        ({"quantity": 1}, "invalid_value:quantity"),
        ({"price": 1}, "missing_field:price"),
        ({"category": "toys"}, "invalid_value:category"),
        ({"search_query": None}, "invalid_value:search_query"),
    ]
    event: dict[str, Any] = {
        "timestamp": "never",
        "session_id": {},
        "event_type": "buy",
        "quantity": 0,
        "category": [],
        "search_query": {},
    }
    for repair, expected in repairs:
        assert reason(encoded(event)) == expected
        event |= repair
    assert reason(encoded(event)) is None


def test_a_rejected_line_is_kept_as_it_was_with_its_reason_and_day_of_arrival() -> None:
    expected = expected_tables({EARLY: gzip.compress(b"oops\r\n\n\xff\n")})
    assert expected["bronze.events_rejected"] == [
        ("oops\r", "malformed_json", EARLY, 2025, 11, 18),
        ("", "malformed_json", EARLY, 2025, 11, 18),
        ("\N{REPLACEMENT CHARACTER}", "malformed_json", EARLY, 2025, 11, 18),
    ]


# --- Acceptance ------------------------------------------------------------------------------------------


def test_an_accepted_line_is_a_row_of_bronze_as_delivered_and_of_silver_as_meant() -> None:
    delivered = PURCHASE | {
        "timestamp": " 2025-11-19T00:30:00.123456+01:00",
        "user_id": " u_1 ",
        "category": "N/A",
        "search_query": "",
        "quantity": "2.0",
        "price": 5,
    }
    expected = tables_of(delivered)
    assert expected["bronze.events"] == [
        (
            *(" 2025-11-19T00:30:00.123456+01:00", " u_1 ", "s_1", "purchase", "p_1"),
            *(2, Decimal("5.00"), "N/A", "", EARLY, 2025, 11, 18, 14, 30),
        )
    ]
    assert expected["silver.events_cleaned"] == [
        (
            *(datetime(2025, 11, 18, 23, 30, 0, 123456, UTC), "u_1", "s_1", "purchase", "p_1"),
            *(2, Decimal("5.00"), None, None, date(2025, 11, 18), 23, EARLY, 2025, 11, 18),
        )
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"  " + encoded(VIEW) + b" \t\r",
        encoded(VIEW | {"unknown": {"deep": [1, None, True, 1e999]}}).replace(b"Infinity", b"1e999"),
        encoded({name: VIEW[name] for name in reversed(VIEW)}),
        b'{"user_id": {"an": "object"},' + encoded(VIEW)[1:],  # the last one of equal keys counts
        encoded(VIEW).replace(b"u_1", b"\\u0075_1"),
    ],
)
def test_any_spelling_of_the_same_json_is_accepted(line: bytes) -> None:
    assert parse_line(line) == parse_line(encoded(VIEW))


@pytest.mark.parametrize(
    "word", ["", " ", "\t\r\n\f\v ", "null", "NULL", " None ", "nan", "NaN", "n/a", "N/A\n"]
)
def test_the_words_for_no_value_are_null(word: str) -> None:
    assert standardised(word) is None


@pytest.mark.parametrize(
    "word", ["nil", "-", "0", "nulls", "n / a", "na", "\u00a0", "\u2003null", "\x1cnull"]
)
def test_other_words_are_values(word: str) -> None:
    assert standardised(word) == word


def test_only_ascii_whitespace_is_trimmed() -> None:
    assert standardised(" \t\n\r\f\v\u00a0a b\u2003 ") == "\u00a0a b\u2003"


def test_numbers_and_booleans_in_text_fields_are_read_as_their_json_text() -> None:
    event = VIEW | {"user_id": 42, "session_id": True, "product_id": -7, "category": False}
    _, identity, payload = parse_line(encoded(event))
    assert (identity.user_id, identity.session_id, identity.product_id) == ("42", "true", "-7")
    assert payload.category == "false"
    assert type(identity.user_id) is str


def test_an_integer_of_thousands_of_digits_is_a_legal_text() -> None:
    line = encoded(VIEW).replace(b'"u_1"', b"9" * 6_000)
    assert parse_line(line).identity.user_id == "9" * 6_000


def test_a_lone_surrogate_becomes_a_question_mark_and_a_pair_one_character() -> None:
    line = encoded(VIEW | {"search_query": "\ud800"}).replace(b"u_1", b"\\ud83d\\ude00")
    assert parse_line(line).identity.search_query == "?"
    assert parse_line(line).identity.user_id == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-11-18T14:23:45Z", datetime(2025, 11, 18, 14, 23, 45)),
        ("2025-11-18T14:23:45.1Z", datetime(2025, 11, 18, 14, 23, 45, 100_000)),
        ("2025-11-18T14:23:45.123Z", datetime(2025, 11, 18, 14, 23, 45, 123_000)),
        ("2025-11-18T14:23:45.123456+00:00", datetime(2025, 11, 18, 14, 23, 45, 123_456)),
        ("2025-11-18T14:23:45.123456-00:00", datetime(2025, 11, 18, 14, 23, 45, 123_456)),
        ("2025-11-18T14:23:45.999999999Z", datetime(2025, 11, 18, 14, 23, 45, 999_999)),
        ("2025-11-18T00:10:00+05:45", datetime(2025, 11, 17, 18, 25)),
        ("2025-11-18T23:10:00-08:00", datetime(2025, 11, 19, 7, 10)),
        ("2025-11-18T12:00:00+18:00", datetime(2025, 11, 17, 18)),
        ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12)),
        ("2019-12-31T23:30:00-01:00", datetime(2020, 1, 1, 0, 30)),
        ("2040-01-01T00:30:00+01:00", datetime(2039, 12, 31, 23, 30)),
        ("\t2025-11-18T14:23:45Z\n", datetime(2025, 11, 18, 14, 23, 45)),
    ],
)
def test_a_timestamp_is_read_as_utc_to_the_microsecond(text: str, moment: datetime) -> None:
    assert parse_line(encoded(VIEW | {"timestamp": text})).identity.event_timestamp == moment.replace(
        tzinfo=UTC
    )


@pytest.mark.parametrize(
    "text",
    [
        "2025-11-18",
        "2025-11-18T14:23Z",
        "2025-11-18T14:23:45",
        "2025-11-18 14:23:45Z",
        "2025-11-18t14:23:45z",
        "2025-11-18T14:23:45.Z",
        "2025-11-18T14:23:45.1234567890Z",
        "2025-11-18T14:23:45,5Z",
        "2025-11-18T14:23:45+0000",
        "2025-11-18T14:23:45+00",
        "2025-11-18T14:23:45+18:01",
        "2025-11-18T14:23:45-19:00",
        "2025-11-18T14:23:45+01:60",
        "2025-11-18T24:00:00Z",
        "2025-11-18T14:60:00Z",
        "2025-11-18T14:23:60Z",
        "2025-02-29T14:23:45Z",
        "2025-13-01T14:23:45Z",
        "2025-00-10T14:23:45Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-18:00",
        "2019-12-31T23:59:59.999999Z",
        "2040-01-01T00:00:00Z",
        "2020-01-01T00:30:00+01:00",
        "+2025-11-18T14:23:45Z",
        "٢٠٢٥-11-18T14:23:45Z",
    ],
)
def test_what_is_no_moment_of_the_accepted_years_is_invalid(text: str) -> None:
    assert reason(encoded(VIEW | {"timestamp": text})) == "invalid_value:timestamp"


@pytest.mark.parametrize(
    ("spelling", "quantity"),
    [
        (b"2", 2),
        (b"2.0", 2),
        (b"2e0", 2),
        (b"20E-1", 2),
        (b"0.2e+1", 2),
        (b'"2"', 2),
        (b'" 2.00 "', 2),
        (b"2147483647", 2**31 - 1),
        (b"0e999999999999999999", None),
        (b"2147483648", None),
        (b"1e999999999999999999", None),
        (b"2.5", None),
        (b'"+2"', 2),
        (b'"02"', 2),
        (b'"2."', 2),
        (b'".2E1"', 2),
        (b'"."', None),
        (b'"+-2"', None),
        (b'"0x2"', None),
        (b'"2_0"', None),
        (b'"2 pieces"', None),
        ('"٢"'.encode(), None),
    ],
)
def test_a_quantity_is_a_whole_number_however_it_is_spelled(spelling: bytes, quantity: int | None) -> None:
    line = encoded(PURCHASE | {"quantity": "here"}).replace(b'"here"', spelling)
    assert reason(line) == (None if quantity else "invalid_value:quantity")
    assert quantity is None or parse_line(line).payload.quantity == quantity


@pytest.mark.parametrize(
    ("spelling", "price"),
    [
        (b"29.99", "29.99"),
        (b"29.990", "29.99"),
        (b"29", "29.00"),
        (b"2999e-2", "29.99"),
        (b'"29.9"', "29.90"),
        (b'"+.5"', "0.50"),
        (b'"-.0"', "0.00"),
        (b'"1e"', None),
        (b"0", "0.00"),
        (b"-0.0", "0.00"),
        (b"0e999999999999999999", "0.00"),
        (b"99999999.99", "99999999.99"),
        (b"0.1", "0.10"),
        (b"1.005", None),
        (b"1e-3", None),
        (b"1e8", None),
        (b"1e-999999999999999999", None),
        (b"0.0000000000000000000000000000000001", None),
        (b'"$5"', None),
        (b'"1,000.00"', None),
        (b'"Infinity"', None),
    ],
)
def test_a_price_is_exact_to_the_cent_however_it_is_spelled(spelling: bytes, price: str | None) -> None:
    line = encoded(PURCHASE | {"price": "here"}).replace(b'"here"', spelling)
    assert reason(line) == (None if price else "invalid_value:price")
    assert price is None or str(parse_line(line).payload.price) == price


def test_a_view_or_search_may_carry_any_quantity_and_price_that_fit() -> None:
    for event in (VIEW, SEARCH):
        payload = parse_line(encoded(event | {"quantity": -5, "price": -1.25})).payload
        assert payload[:2] == (-5, Decimal("-1.25"))
        assert parse_line(encoded(event | {"quantity": "n/a", "price": " "})).payload[:2] == (None, None)


# --- One event, once -------------------------------------------------------------------------------------


def test_copies_count_once_within_and_across_objects() -> None:
    expected = expected_tables({EARLY: zipped(VIEW, VIEW), LATER: zipped(VIEW)})
    assert len(expected["bronze.events"]) == 3
    assert columns(expected, "silver.events_cleaned", "source_file") == [(EARLY,)]


def test_spellings_that_mean_the_same_are_copies() -> None:
    other = VIEW | {
        "timestamp": "2025-11-18T06:23:45.123000999-08:00",
        "user_id": "\tu_1",
        "event_type": " page_view ",
        "search_query": "None",
    }
    assert len(silver(VIEW, other, column="user_id")) == 1


@pytest.mark.parametrize(
    "difference",
    [
        {"user_id": "u_2"},
        {"session_id": "s_2"},
        {"event_type": "search"},
        {"product_id": "p_2"},
        {"search_query": "red shoes"},
        {"timestamp": "2025-11-18T14:23:45.123001Z"},
    ],
)
def test_events_that_differ_in_their_identity_are_two(difference: dict[str, Any]) -> None:
    assert len(silver(VIEW, VIEW | difference, column="user_id")) == 2


def test_the_most_recent_copy_tells_the_payload_in_whatever_order_objects_come() -> None:
    objects = {LATER: zipped(PURCHASE | {"price": 10, "category": "books"}), EARLY: zipped(PURCHASE)}
    for uris in ((EARLY, LATER), (LATER, EARLY)):
        expected = expected_tables({uri: objects[uri] for uri in uris})
        assert columns(expected, "silver.events_cleaned", "price", "category", "source_file") == [
            (Decimal("10.00"), "books", LATER)
        ]


def test_of_copies_that_arrive_in_one_minute_the_greater_file_name_is_more_recent() -> None:
    expected = expected_tables({TIED: zipped(PURCHASE | {"quantity": 1}), LATER: zipped(PURCHASE)})
    assert columns(expected, "silver.events_cleaned", "quantity", "source_file") == [(1, TIED)]


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ({"price": 10, "quantity": 1}, {"price": 9, "quantity": 5}, (1, Decimal("10.00"), "toys")),
        ({"quantity": 3}, {"quantity": 4}, (4, Decimal("29.99"), "toys")),
        ({"category": "books"}, {"category": "toys"}, (2, Decimal("29.99"), "toys")),
        ({"category": None}, {"category": "books"}, (2, Decimal("29.99"), "books")),
    ],
)
def test_within_one_file_price_then_quantity_then_category_decide_with_null_as_lowest(
    first: dict[str, Any], second: dict[str, Any], winner: Row
) -> None:
    for pair in ((first, second), (second, first)):
        expected = tables_of(*(PURCHASE | change for change in pair))
        assert columns(expected, "silver.events_cleaned", "quantity", "price", "category") == [winner]


def test_the_source_is_the_first_object_that_delivered_the_payload_that_won() -> None:
    expected = expected_tables(
        {TIED: zipped(PURCHASE), LATER: zipped(PURCHASE | {"price": 1}), EARLY: zipped(PURCHASE)}
    )
    assert columns(expected, "silver.events_cleaned", "price", "source_file") == [(Decimal("29.99"), EARLY)]


# --- Gold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "whole", "rounded"),
    [
        (1, 3, "0.3333"),
        (2, 3, "0.6667"),
        (1, 8, "0.1250"),
        (1, 32, "0.0313"),  # 0.03125: half is rounded up, not to the even digit
        (3, 160_000, "0.0000"),
        (1, 20_000, "0.0001"),  # 0.00005
        (5, 2, "2.5000"),
        (0, 7, "0.0000"),
    ],
)
def test_ratios_are_rounded_half_up_to_four_decimals(part: int, whole: int, rounded: str) -> None:
    assert str(ratio(part, whole)) == rounded


def test_a_ratio_to_nothing_is_null() -> None:
    assert ratio(3, 0) is None


def at(minute: int, **fields: Any) -> dict[str, Any]:
    """A change of VIEW that makes another event of it."""
    return VIEW | {"timestamp": f"2025-11-18T14:{minute:02d}:00Z"} | fields


def test_the_funnel_counts_each_product_and_category_and_leaves_out_what_has_no_product() -> None:
    cart = {"event_type": "add_to_cart", "quantity": 1, "price": 5}
    expected = tables_of(
        at(1),
        at(2),
        at(3),
        at(4, **cart),
        at(5, category="n/a"),
        at(6, **cart | {"event_type": "purchase", "product_id": "p_2"}),
        at(7, **cart | {"event_type": "remove_from_cart", "product_id": "p_3"}),
        SEARCH,
        SEARCH | {"product_id": "p_4"},
    )
    assert expected["gold.conversion_funnel"] == [
        ("p_1", "toys", 3, 1, 0, Decimal("0.3333"), Decimal("0.0000"), Decimal("0.0000")),
        ("p_1", "uncategorized", 1, 0, 0, Decimal("0.0000"), Decimal("0.0000"), None),
        ("p_2", "toys", 0, 0, 1, None, None, None),
    ]


def test_revenue_is_that_of_purchases_in_hours_that_have_one() -> None:
    expected = tables_of(
        PURCHASE,
        PURCHASE | {"user_id": "u_2", "quantity": 3, "price": "0.10"},
        PURCHASE | {"timestamp": "2025-11-18T16:00:00Z", "price": 0},
        PURCHASE | {"timestamp": "2025-11-18T17:00:00Z", "event_type": "add_to_cart"},
        PURCHASE | {"timestamp": "2025-11-18T18:00:00Z", "event_type": "remove_from_cart"},
    )
    assert expected["gold.hourly_revenue"] == [
        (date(2025, 11, 18), 14, Decimal("60.28"), 2),
        (date(2025, 11, 18), 16, Decimal("0.00"), 1),
    ]


def test_the_ten_most_viewed_products_are_ranked_with_ties_by_product_then_category() -> None:
    views = [at(number, product_id=f"p_{number:02d}") for number in range(12, 0, -1)]
    views += [at(30, product_id="p_11"), at(31, product_id="p_05", category="books"), SEARCH]
    assert tables_of(*views)["gold.top_products"] == [
        (1, "p_11", "toys", 2),
        (2, "p_01", "toys", 1),
        (3, "p_02", "toys", 1),
        (4, "p_03", "toys", 1),
        (5, "p_04", "toys", 1),
        (6, "p_05", "books", 1),
        (7, "p_05", "toys", 1),
        (8, "p_06", "toys", 1),
        (9, "p_07", "toys", 1),
        (10, "p_08", "toys", 1),
    ]


def test_every_event_of_a_day_counts_in_a_category() -> None:
    yesterday = "2025-11-17T23:59:59.999Z"
    expected = tables_of(VIEW, PURCHASE, SEARCH, VIEW | {"timestamp": yesterday, "category": " toys "})
    assert expected["gold.category_performance"] == [
        (date(2025, 11, 17), "toys", 1),
        (date(2025, 11, 18), "toys", 2),
        (date(2025, 11, 18), "uncategorized", 1),
    ]


def test_users_and_sessions_are_counted_once_a_day() -> None:
    tomorrow = "2025-11-18T23:30:00-01:00"
    expected = tables_of(
        VIEW, PURCHASE, SEARCH | {"session_id": "s_2"}, VIEW | {"timestamp": tomorrow, "user_id": "u_2"}
    )
    assert expected["gold.user_activity"] == [(date(2025, 11, 18), 1, 2), (date(2025, 11, 19), 1, 1)]


def test_the_cube_has_a_cell_for_each_hour_product_category_and_type() -> None:
    expected = tables_of(PURCHASE, PURCHASE | {"user_id": "u_2", "quantity": 1}, VIEW, SEARCH)
    day, partition = date(2025, 11, 18), (2025, 11, 18)
    assert expected["gold.event_cube"] == [
        (day, 14, None, "uncategorized", "search", 1, 0, Decimal("0.00"), *partition),
        (day, 14, "p_1", "toys", "page_view", 1, 0, Decimal("0.00"), *partition),
        (day, 14, "p_1", "toys", "purchase", 2, 3, Decimal("89.97"), *partition),
    ]


def test_gold_agrees_with_sql_over_the_sample_data() -> None:
    files = sorted(SAMPLE_DATA.glob("**/*.jsonl.gz"))
    expected = expected_tables(
        {f"s3://raw/events/{file.relative_to(SAMPLE_DATA).as_posix()}": file.read_bytes() for file in files}
    )
    assert len(expected["silver.events_cleaned"]) > 55_000
    for table, rows in sql_answers(files, expected).items():
        assert_same_rows(table, rows, expected[table])


def sql_answers(files: list[Path], expected: Expected) -> dict[str, list[Row]]:
    """The five gold tables by DuckDB, which reads and deduplicates the raw lines in its own way.

    The sample's copies are exact, so that DISTINCT removes them; the lines that are to be rejected are taken
    from the oracle, whose verdicts other tests prove.
    """
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    rejected = pa.table({"line": [row[0] for row in expected["bronze.events_rejected"]]})
    lines = [line.decode("utf-8", "replace") for file in files for line in delivered_lines(file.read_bytes())]
    connection.register("rejected", rejected)
    connection.register("lines", pa.table({"line": lines}))
    connection.execute("""
        CREATE TABLE events AS
        SELECT
            *,
            CAST(moment AS DATE) AS event_date,
            CAST(hour(moment) AS INTEGER) AS event_hour,
            coalesce(category_or_null, 'uncategorized') AS category
        FROM (
            SELECT DISTINCT
                CAST(line ->> '$.timestamp' AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS moment,
                line ->> '$.user_id' AS user_id,
                line ->> '$.session_id' AS session_id,
                line ->> '$.event_type' AS event_type,
                line ->> '$.product_id' AS product_id,
                CAST(line ->> '$.quantity' AS INTEGER) AS quantity,
                CAST(line ->> '$.price' AS DECIMAL(10, 2)) AS price,
                line ->> '$.category' AS category_or_null,
                line ->> '$.search_query' AS search_query
            FROM lines
            WHERE line NOT IN (SELECT line FROM rejected)
        )
    """)
    queries = {
        "gold.conversion_funnel": """
            SELECT
                product_id, category, views, carts, purchases,
                CAST(round(CAST(carts AS DECIMAL(38, 9)) / nullif(views, 0), 4) AS DECIMAL(10, 4)),
                CAST(round(CAST(purchases AS DECIMAL(38, 9)) / nullif(views, 0), 4) AS DECIMAL(10, 4)),
                CAST(round(CAST(purchases AS DECIMAL(38, 9)) / nullif(carts, 0), 4) AS DECIMAL(10, 4))
            FROM (
                SELECT
                    product_id,
                    category,
                    count(*) FILTER (event_type = 'page_view') AS views,
                    count(*) FILTER (event_type = 'add_to_cart') AS carts,
                    count(*) FILTER (event_type = 'purchase') AS purchases
                FROM events
                WHERE event_type IN ('page_view', 'add_to_cart', 'purchase')
                GROUP BY ALL
            )
        """,
        "gold.hourly_revenue": """
            SELECT event_date, event_hour, CAST(sum(quantity * price) AS DECIMAL(18, 2)), count(*)
            FROM events WHERE event_type = 'purchase' GROUP BY ALL
        """,
        "gold.top_products": """
            SELECT row_number() OVER (ORDER BY views DESC, product_id, category) AS place, *
            FROM (
                SELECT product_id, category, count(*) AS views
                FROM events WHERE event_type = 'page_view' GROUP BY ALL
            )
            ORDER BY place LIMIT 10
        """,
        "gold.category_performance": "SELECT event_date, category, count(*) FROM events GROUP BY ALL",
        "gold.user_activity": """
            SELECT event_date, count(DISTINCT user_id), count(DISTINCT session_id) FROM events GROUP BY ALL
        """,
    }
    return {table: connection.sql(query).fetchall() for table, query in queries.items()}


# --- Comparing -------------------------------------------------------------------------------------------


def test_rows_of_an_arrow_table_compare_with_the_expected_ones() -> None:
    expected = tables_of(PURCHASE, SEARCH)["silver.events_cleaned"]
    names = COLUMNS["silver.events_cleaned"]
    values = dict(zip(names, zip(*expected, strict=True), strict=True))
    for zone in (None, "UTC", "America/Los_Angeles"):
        data = pa.table({name: list(values[name]) for name in reversed(names)})
        kind = pa.timestamp("us", tz="UTC")
        moments = data.column("event_timestamp").cast(kind)
        moments = (
            moments.cast(pa.timestamp("ns")) if zone is None else moments.cast(pa.timestamp("us", tz=zone))
        )
        data = data.set_column(data.column_names.index("event_timestamp"), "event_timestamp", moments)
        assert_same_rows("silver.events_cleaned", rows_of("silver.events_cleaned", data), expected)


def test_a_difference_is_shown_with_the_rows_and_the_columns() -> None:
    day = date(2025, 11, 18)
    with pytest.raises(AssertionError) as failure:
        assert_same_rows("gold.user_activity", [(day, 1, 1), (day, 1, 1)], [(day, 1, 2), (day, 1, 1)])
    assert str(failure.value) == "\n".join(
        [
            "gold.user_activity: 2 rows, expected 2; 1 missing, 1 surplus",
            "  columns event_date, unique_users, unique_sessions",
            "  missing (datetime.date(2025, 11, 18), 1, 2)",
            "  surplus (datetime.date(2025, 11, 18), 1, 1)",
        ]
    )


def test_a_column_too_many_or_too_few_is_told() -> None:
    day = date(2025, 11, 18)
    with pytest.raises(AssertionError, match="unexpected columns: bots"):
        rows_of("gold.user_activity", pa.table({"event_date": [day], "bots": [1]}))
    with pytest.raises(KeyError, match="unique_users"):
        rows_of("gold.user_activity", pa.table({"event_date": [day]}))
