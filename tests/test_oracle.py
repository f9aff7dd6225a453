"""The witness, as the tests see it, against cases computed by hand."""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from capstone_pipeline.raw_objects import arrival_of, is_event_object
from notebooks import recompute
from notebooks.recompute import (
    Delivered,
    Rejected,
    Row,
    compute,
    parse_line,
    read_object,
    standardised,
)
from tests.oracle import COLUMNS, Expected, assert_same_rows, expected_tables, rows_of

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


def nested(levels: int, behind: bytes = b"") -> bytes:
    """An event that has objects and arrays within each other, itself being the first of so many."""
    inner = b"[" * ((levels - 1) // 2), b"]" * ((levels - 1) // 2)
    outer = b'{"a":' * (levels - 1 - len(inner[0])), b"}" * (levels - 1 - len(inner[0]))
    return encoded(VIEW)[:-1] + b', "unknown": ' + outer[0] + inner[0] + inner[1] + outer[1] + behind + b"}"


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
    assert read_object(content) == (lines, False)
    assert read_object(gzip.compress(content)) == (lines, False)


def test_content_says_whether_an_object_is_compressed_and_its_name_does_not() -> None:
    for uri in (EARLY, EARLY.removesuffix(".gz"), EARLY.removesuffix(".jsonl.gz"), EARLY + ".bz2"):
        for data in (zipped(VIEW), encoded(VIEW)):
            assert len(expected_tables({uri: data})["bronze.events"]) == 1


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 70_000])
def test_members_of_gzip_are_one_text_and_zeros_behind_them_are_nothing(padding: bytes) -> None:
    packed = gzip.compress(b"a\nb") + gzip.compress(b"") + gzip.compress(b"c\n")
    assert read_object(packed + padding) == ([b"a", b"bc"], False)


def test_an_object_of_no_bytes_delivers_nothing() -> None:
    for data in (b"", gzip.compress(b"")):
        assert not any(expected_tables({EARLY: data}).tables.values())


def test_a_truncated_object_delivers_its_lines_the_unfinished_one_too_and_one_rejected_row() -> None:
    whole = zipped(*(VIEW | {"user_id": f"u_{number * 7919 % 10007}"} for number in range(20_000)))
    expected = expected_tables({EARLY: whole[: len(whole) // 2]})
    accepted = columns(expected, "bronze.events", "user_id")
    assert 1_000 < len(accepted) < 19_000
    assert accepted == [(f"u_{number * 7919 % 10007}",) for number in range(len(accepted))]
    unfinished, corrupt = expected["bronze.events_rejected"]
    assert unfinished[0].startswith('{"timestamp"') and unfinished[1] == "malformed_json"
    assert corrupt == (None, "corrupt_file", EARLY, 2025, 11, 18)


PACKED = gzip.compress(b"a\nb\nlast", mtime=0)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (PACKED[:5], []),
        (PACKED[:-1], [b"a", b"b", b"last"]),
        (PACKED[:-8], [b"a", b"b", b"last"]),
        (PACKED[:-10], [b"a", b"b", b"las"]),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], [b"a", b"b", b"last"]),
        (PACKED[:-4] + b"\0\0\0\0", [b"a", b"b", b"last"]),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:] + PACKED, [b"a", b"b", b"last"]),
        (PACKED + b"rubbish", [b"a", b"b", b"last"]),
        (PACKED + PACKED[:-8], [b"a", b"b", b"lasta", b"b", b"last"]),
        (PACKED + b"\x1f", [b"a", b"b", b"last"]),
        (b"\x1f\x8b" + b"rubbish", []),
    ],
)
def test_what_can_be_read_of_a_broken_object_is_lines(data: bytes, lines: list[bytes]) -> None:
    assert read_object(data) == (lines, True)


def test_of_data_that_goes_bad_every_byte_before_counts() -> None:
    packing = zlib.compressobj(wbits=31)
    whole = b"".join(b"line %d\n" % number for number in range(100_000))
    begin = packing.compress(whole + b"unfinished") + packing.flush(zlib.Z_FULL_FLUSH)
    no_such_block = b"\x07"
    assert read_object(begin + no_such_block + b"x" * 20_000) == ([*whole.splitlines(), b"unfinished"], True)


@pytest.mark.parametrize(
    ("content", "is_text"),
    [
        (bytes(range(256)) * 16, False),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01", False),
        (b"\xff\xfe" + "{}\n".encode("utf-16-le"), False),
        (b"\0ab\n", True),
        (b"\0a", False),
        (b"\0ab", True),  # A third is not more than a third.
        ("\N{REPLACEMENT CHARACTER}a".encode(), False),
        (b"\t\r\n", True),
        (b"\x7f\x7f", True),
        (b"a" * 4096 + b"\0" * 9_000, True),
    ],
)
def test_what_begins_as_no_text_does_has_no_lines(content: bytes, is_text: bool) -> None:
    for data in (content, gzip.compress(content)):
        delivered = read_object(data)
        assert delivered.is_corrupt != is_text
        assert bool(delivered.lines) == is_text


@pytest.mark.parametrize(
    ("content", "delivered"),
    [
        (b"a\n12345678\nb\n", Delivered([b"a", b"12345678", b"b"], False)),
        (b"a\n123456789\nb\n123456789\n", Delivered([b"a", b"b"], True)),
        (b"a\n123456789", Delivered([b"a"], True)),
    ],
)
def test_a_line_of_monstrous_length_is_left_out(
    content: bytes, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recompute, "LONGEST_LINE", 8)
    assert read_object(content) == delivered


@pytest.mark.parametrize(
    ("key", "counts"),
    [
        ("events/a", True),
        ("events/year=2025/a.b.c", True),
        ("events/a_b/.", False),
        ("events/_temporary/a.jsonl", False),
        ("events/x/.hidden/a.jsonl", False),
        ("events/_SUCCESS", False),
        ("events/.a.crc", False),
        ("events/a.jsonl._COPYING_", False),
        ("events/a._COPYING_/a.jsonl", True),
        ("other/a.jsonl", False),
        ("events", False),
    ],
)
def test_hidden_objects_are_none(key: str, counts: bool) -> None:
    assert is_event_object(f"s3://_raw/{key}", 1) == counts
    assert not is_event_object(f"s3://_raw/{key}", 0)
    assert bool(expected_tables({f"s3://_raw/{key}": b"?\n"})["bronze.events_rejected"]) == counts


MODIFIED = datetime(2031, 5, 6, 7, 8, 9, 10, UTC)
MINUTE_OF_IT = datetime(2031, 5, 6, 7, 8)


@pytest.mark.parametrize(
    ("key", "arrival"),
    [
        ("year=2025/month=11/day=18/hour=14/minute=30/x", datetime(2025, 11, 18, 14, 30)),
        ("year=2025/month=1/day=02/hour=3/minute=04/events-20240229-235959.gz", datetime(2025, 1, 2, 3, 4)),
        ("year=2025/month=13/day=02/hour=3/minute=04/events-20240229-235999", datetime(2024, 2, 29, 23, 59)),
        ("year=2019/month=1/day=1/hour=0/minute=0/2020/01/02/03/x", datetime(2020, 1, 2, 3)),
        ("year=2025/month=1/day=2/hour=3/minute=004/x", MINUTE_OF_IT),
        ("year=2025/month=1/x/day=2/hour=3/minute=4/x", MINUTE_OF_IT),
        ("myyear=2025/month=1/day=2/hour=3/minute=4/x", MINUTE_OF_IT),
        ("year=٢٠٢٥/month=1/day=2/hour=3/minute=4/x", MINUTE_OF_IT),
        ("2021/02/03/04/events-20240229-235959.x/y", datetime(2021, 2, 3, 4)),
        ("events-20240229-235959.a.b", datetime(2024, 2, 29, 23, 59)),
        ("events-20230229-235959.jsonl", MINUTE_OF_IT),
        ("events-20240229-235959-1.jsonl", MINUTE_OF_IT),
        ("my-events-20240229-235959.jsonl", MINUTE_OF_IT),
        ("events-20240229-2359.jsonl", MINUTE_OF_IT),
        ("2021/02/03/04/05/stream-1", datetime(2021, 2, 3, 4)),
        ("2021/02/03/04", MINUTE_OF_IT),
        ("2021/2/03/04/x", MINUTE_OF_IT),
        ("2040/02/03/04/x", MINUTE_OF_IT),
    ],
)
def test_arrival_is_told_by_the_key_or_else_by_the_modification(key: str, arrival: datetime) -> None:
    assert arrival_of(f"s3://raw/events/{key}", MODIFIED) == arrival


def test_an_arrival_that_nothing_tells_is_the_first_possible_one() -> None:
    first = datetime(2020, 1, 1)
    assert arrival_of("s3://year=2025/month=1/day=2/hour=3/minute=4/x") == datetime(2020, 1, 1)
    assert arrival_of("s3://raw/events/x", datetime(2019, 12, 31, 23, 59, tzinfo=UTC)) == first
    assert arrival_of("s3://raw/events/x", datetime(2040, 1, 1, tzinfo=UTC)) == first
    west = datetime.fromisoformat("2039-12-31T23:59:59-01:00")
    assert arrival_of("s3://raw/events/x", west) == first


def test_the_modification_decides_which_copy_is_newer_where_keys_do_not_tell() -> None:
    objects = {f"s3://raw/events/{name}": zipped(PURCHASE | {"price": price}) for name, price in ("a1", "b2")}
    modified = dict(zip(objects, (MODIFIED, datetime(2030, 1, 1, tzinfo=UTC)), strict=True))
    expected = expected_tables(objects, modified)
    assert columns(expected, "silver.events_cleaned", "price") == [(Decimal("1.00"),)]
    assert columns(expected, "bronze.events", "source_file", "year", "minute") == [
        ("s3://raw/events/a", 2031, 8),
        ("s3://raw/events/b", 2030, 0),
    ]


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
        nested(501),
        nested(501, b', "unknown": 1'),
        b"[" * 501,
        encoded(VIEW).replace(b"u_1", b"\\ud800"),
        encoded(VIEW).replace(b"u_1", b"\\uDC00\\uD800"),
        encoded(VIEW).replace(b"u_1", b"\\ud800\\ud83d\\ude00"),
        encoded(VIEW).replace(b"u_1", b"\\\\\\ud800"),
        encoded(VIEW).replace(b"{", b'{"\\ud800": 1,'),
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
            *(2, Decimal("5.00"), None, None, date(2025, 11, 18), 23, {EARLY}, 2025, 11, 18),
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
        encoded(VIEW).replace(b"user_id", b"\\u0075ser_id"),
        nested(500),
        encoded(VIEW)[:-1] + b', "unknown": [' + b"[]," * 600 + b'"' + b"[" * 600 + b'\\"{"]}',
        encoded(VIEW)[:-1] + b', "unknown": ' + b"9" * 100_000 + b', "\\\\ud800": "\\ud83d\\ude00"}',
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


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    line = encoded(VIEW).replace(b"u_1", b"\\ud83d\\ude00")
    assert parse_line(line).identity.user_id == "\N{GRINNING FACE}"


def test_a_text_may_be_long_and_may_hold_any_character() -> None:
    texts = ("x" * 21_000_000, "\0\N{GRINNING FACE}\x7f\u2028")
    expected = tables_of(
        *(VIEW | {"category": text} for text in texts[:1]), SEARCH | {"search_query": texts[1]}
    )
    assert columns(expected, "bronze.events", "category") == [(texts[0],), (None,)]
    assert sorted(columns(expected, "silver.events_cleaned", "search_query"), key=str) == [
        (texts[1],),
        (None,),
    ]


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
        (b"2e" + b"0" * 5_000, 2),
        (b"2e-" + b"0" * 20 + b"1", None),
        (b"20e-" + b"0" * 20 + b"1", 2),
        (b"2" + b"0" * 5_000 + b"e-5000", 2),
        (b"1e" + b"9" * 5_000, None),
        (b"2." + b"0" * 5_000, 2),
        (b"2.0000000000000000001", None),
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
        (b"0e999999999", "0.00"),
        (b"0e9999999999", None),  # More digits than an exponent may have.
        (b"99999999.99", "99999999.99"),
        (b"0.1", "0.10"),
        (b"1.005", None),
        (b"29.98999999999999999999", None),
        (b"0e" + b"9" * 5_000, None),
        (b"0." + b"0" * 5_000 + b"1e4999", "0.01"),
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
    assert columns(expected, "silver.events_cleaned", "source_file") == [({EARLY, LATER},)]


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
            (Decimal("10.00"), "books", {LATER})
        ]


def test_of_copies_that_arrive_in_one_minute_the_greater_file_name_is_more_recent() -> None:
    expected = expected_tables({TIED: zipped(PURCHASE | {"quantity": 1}), LATER: zipped(PURCHASE)})
    assert columns(expected, "silver.events_cleaned", "quantity", "source_file") == [(1, {TIED})]


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


def test_the_source_is_any_object_that_delivered_the_version_that_won() -> None:
    objects = {TIED: zipped(PURCHASE), LATER: zipped(PURCHASE | {"price": 1}), EARLY: zipped(PURCHASE)}
    expected = expected_tables(objects)["silver.events_cleaned"]
    place = COLUMNS["silver.events_cleaned"].index("source_file")
    assert [row[place] for row in expected] == [{EARLY, TIED}]
    for source in (EARLY, TIED):
        named = [(*expected[0][:place], source, *expected[0][place + 1 :])]
        assert_same_rows("silver.events_cleaned", named, expected)
    with pytest.raises(AssertionError, match="1 missing, 1 surplus"):
        assert_same_rows(
            "silver.events_cleaned", [(*named[0][:place], LATER, *named[0][place + 1 :])], expected
        )


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
    with compute([]) as database:
        assert database.execute("SELECT ratio(?, ?)", [part, whole]).fetchall() == [(Decimal(rounded),)]


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


# --- Comparing -------------------------------------------------------------------------------------------


def test_rows_of_an_arrow_table_compare_with_the_expected_ones() -> None:
    expected = [
        tuple(EARLY if value == {EARLY} else value for value in row)
        for row in tables_of(PURCHASE, SEARCH)["silver.events_cleaned"]
    ]
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
