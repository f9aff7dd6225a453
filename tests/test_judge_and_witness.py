"""The job and its witness state the same rules: of whatever line, object or key, they say the same.

Not for what the rules are: that is tested for each of the two by cases made by hand.
WITNESS_EXAMPLES sets the number of batches of fifty: few by default.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from itertools import product
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capstone_pipeline.raw_objects import arrival_of, is_event_object
from glue_scripts import capstone_etl
from notebooks.recompute import (
    Delivered,
    Rejected,
    parse_line,
    read_object,
)

A_BATCH = 50
BATCHES = settings(
    max_examples=int(os.environ.get("WITNESS_EXAMPLES", "100")),
    deadline=None,
    derandomize="WITNESS_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
# Hypothesis chooses the numbers from which a batch is made: a line is drawn much faster so.
SEEDS = st.integers(0, 2**64)


PURCHASE = {
    "timestamp": '"2025-11-18T14:23:45.123Z"',
    "user_id": '"u_1"',
    "session_id": '"s_1"',
    "event_type": '"purchase"',
    "product_id": '"p_1"',
    "quantity": "2",
    "price": "29.99",
    "category": '"toys"',
    "search_query": "null",
}
FIELDS = tuple(PURCHASE)
TYPES = ("page_view", "add_to_cart", "remove_from_cart", "purchase", "search")
CONTAINERS = ("[]", "{}", "[1]", '{"user_id":"u"}', '[{"a":[null]}]')
NULLS = ("null", '""', '" "', '"null"', '"None"', '"NaN"', '"N/A"', '" n/a\\t"', '"\\u000bnUlL\\f"')
NEARLY_NULLS = ('"nulls"', '"\\u00a0null"', '"ｎｕｌｌ"', '"\\u0000"', '"\\u001cnull"', '"nan\\u0085"', '"-"')
TEXTS = (
    *('"x"', '" x "', '"ü電😀"', '"\\ud83d\\ude00"', '"\\u0041"', '"a\\"b\\\\"', '"\\\\ud800"', '"\\u2028"'),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\\uD83D\\uD83D\\uDE00"', '"\\ud83dx\\ude00"', '"\\ud83d\\\\ude00"'),
    *("true", "false", "0", "-0", "1.50", "1E5", "1e-400", "123456789012345678901234567890"),
    *(
        f'"{word}"'
        for word in ("0", "true", "nan nan", "\u00fc\u0308", "p_1\\n", "n/a.", "[]", "{", "x" * 300)
    ),
)
NO_JSON = (
    "NaN",
    "Infinity",
    "-Infinity",
    "True",
    "nul",
    "01",
    "+1",
    ".5",
    "5.",
    "--1",
    "'x'",
    "x",
    "",
    '"\t"',
)
NUMBER_TEXTS = (
    *("2147483647", "2147483648", "-2147483648", "-2147483649", "99999999.99", "100000000", "1e8", "-1e8"),
    *("2.0", "2e0", "2.0000000000000000001", "29.990", "29.98999999999999999999", "1e999999999999999999"),
    *("0e999999999999999999", "-0.00", "0.005", "1e-2", "1e-3", "٢", "２", "1_0", "0x2", "1,5", "1 2", "$5"),
    *("inf", "-Infinity", "NaN", "+5", ".5", "5.", ".", "e5", "1e", "1e+", "+", "-", "+-1", "1e+02", "00"),
)
TIMES = (
    *("2025-11-18T14:23:45Z", "2024-02-29T23:59:59.999999999-18:00", "2025-02-29T00:00:00Z"),
    *("2019-12-31T23:30:00-01:00", "2020-01-01T00:30:00+01:00", "2039-12-31T23:59:59.9+00:00"),
    *("2040-01-01T00:00:00Z", "2025-11-18T00:00:00-18:00", "2025-11-18T00:00:00+1٨:00"),
    *("2025-11-18T00:00:00.١Z", "2025-11-18T0٠:00:00Z", "2025-11-18T00:00:00.123456999+05:45"),
    *("2040-01-01T00:30:00+01:00", "2025-11-18T24:00:00Z", "2025-11-18T00:00:60Z", "2025-11-18T00:60:00Z"),
    *("2025-11-18T00:00:00+18:01", "2025-11-18T00:00:00+17:60", "2025-11-18T00:00:00-00:00", "2025-11-18"),
    *("2025-11-18 00:00:00Z", "2025-11-18t00:00:00z", "2025-11-18T00:00:00", "2025-11-18T00:00:00.Z"),
    *("٢٠٢٥-11-18T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-18:00", "-2025-01-01T00:00:00Z"),
    *("2025-11-18T00:00:00.1234567890Z", "2025-W47-2T00:00:00Z", "20251118T000000Z", "2025-11-18T00:00Z"),
)
BLANKS = ("", " ", "\\t", "\\n", "\\u000b", "\\f", "\\r", "\\u00a0", "\\u2003", "\\u001f")


@BATCHES
@given(SEEDS)
def test_job_and_witness_judge_any_line_alike(seed: int) -> None:
    random = Random(seed)
    lines = [damaged(random, spelled_event(random)) for _ in range(A_BATCH)]
    assert {line: as_job(line) for line in lines} == {line: as_witness(line) for line in lines}


@pytest.mark.parametrize("field", FIELDS)
def test_job_and_witness_judge_each_odd_value_alike(field: str) -> None:
    texts = [f'"{text}"' for text in (*NUMBER_TEXTS, *TIMES)]
    for value in (*CONTAINERS, *NULLS, *NEARLY_NULLS, *TEXTS, *NO_JSON, *NUMBER_TEXTS, *texts):
        for event_type in TYPES:
            line = spelled(list((PURCHASE | {"event_type": f'"{event_type}"'} | {field: value}).items()))
            assert as_job(line) == as_witness(line)


@pytest.mark.parametrize("levels", [499, 500, 501, 1_100])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"[":'])
def test_job_and_witness_judge_deep_nesting_alike(levels: int, opening: bytes) -> None:
    closing = {b"[": b"]", b'{"a":': b"}", b'[{"[":': b"}]"}[opening]
    times = (levels - 1) // len(closing)
    nested = opening * times + b"1" + closing * times
    for value in (nested, nested + b',"b":1', b'"x","unknown":' + nested):
        line = b'{"user_id":' + value + b"}"
        assert as_job(line) == as_witness(line)


@pytest.mark.parametrize("size", [1_001, 100_000, 5_000_000])
@pytest.mark.parametrize("value", ["9{}", "0.{}1", "1e{}", "1e-{}", "-{}", '"{}"', '"{}e-9"', "[{}]"])
def test_job_and_witness_judge_monstrous_values_alike(size: int, value: str) -> None:
    for field in FIELDS:
        for digit in "09":
            record = dict(PURCHASE) | {field: value.format(digit * size)}
            line = spelled(list(record.items()))
            assert as_job(line) == as_witness(line)


@pytest.mark.parametrize(
    "place", ['"user_id":"{}"', '"{}":1', '"user_id":"{}","user_id":"u"', '"a":[{{"b":"{}"}}]']
)
def test_job_and_witness_judge_surrogates_alike(place: str) -> None:
    pieces = ("\\ud83d", "\\uDE00", "\\\\", "\\n", "\\u0041", "x", "ude00")
    for length in range(1, 5):
        for text in map("".join, product(pieces, repeat=length)):
            line = spelled(list(PURCHASE.items()))[:-1] + f",{place.format(text)}}}".encode()
            assert as_job(line) == as_witness(line)


@BATCHES
@given(SEEDS)
def test_job_and_witness_cut_any_object_into_the_same_lines(seed: int) -> None:
    random = Random(seed)
    for _ in range(A_BATCH // 10):
        content = object_content(random)
        assert cut_by_job(content) == read_object(content)


def test_job_and_witness_leave_out_the_same_monstrous_lines() -> None:
    longest = b"x" * 2**27
    for content in (b"a\n" + longest + b"\nb\n" + longest + b"x\nc\n", longest + b"x", longest):
        by_job, by_witness = cut_by_job(content), read_object(content)
        assert [len(line) for line in by_job.lines] == [len(line) for line in by_witness.lines]
        assert by_job.is_corrupt == by_witness.is_corrupt


@BATCHES
@given(SEEDS)
def test_job_and_witness_tell_the_same_of_any_key(seed: int) -> None:
    random = Random(seed)
    for _ in range(A_BATCH):
        key, size = object_key(random), random.choice((0, 1))
        modified = datetime.fromtimestamp(random.randrange(1_570_000_000, 2_220_000_000), UTC)
        assert capstone_etl.is_event_object(key, size) == is_event_object(f"s3://raw/{key}", size), key
        by_job = capstone_etl.arrival(key, modified).replace(tzinfo=None)
        assert by_job == arrival_of(f"s3://raw/{key}", modified), key


def cut_by_job(content: bytes) -> Delivered:
    """What the job takes from an object: lines, and None where something cannot be read."""
    cut = list(capstone_etl.lines_of(BytesIO(content)))
    return Delivered([line for line in cut if line is not None], None in cut)


def as_job(line: bytes) -> str:
    verdict = capstone_etl.judge(line)
    if isinstance(verdict, str):
        return repr(verdict)
    *delivered, moment = verdict
    return repr((tuple(delivered), moment.replace(tzinfo=None)))


def as_witness(line: bytes) -> str:
    """The reason, or the nine values as delivered and the time; as text, where 2 is not 2.00."""
    try:
        event = parse_line(line)
        return repr((event.delivered, event.identity.event_timestamp.replace(tzinfo=None)))
    except Rejected as rejection:
        return repr(rejection.reason)


# --- Lines --------------------------------------------------------------------------------------------------


def spelled_event(random: Random) -> bytes:
    """A line of an event some of whose fields are odd."""
    record = PURCHASE | {"event_type": f'"{random.choice(TYPES)}"'}
    for field in random.sample(FIELDS, random.choice((0, 1, 1, 1, 2, 3))):
        record[field] = odd_value(random, field)
    members = list(record.items())
    if random.random() < 0.2:
        random.shuffle(members)
    if random.random() < 0.2:
        members.pop(random.randrange(len(members)))
    if random.random() < 0.2:
        again = random.choice((*FIELDS, "unknown"))
        members.insert(random.randrange(len(members) + 1), (again, odd_value(random, again)))
    return spelled(members, random if random.random() < 0.3 else None)


def odd_value(random: Random, field: str) -> str:
    """JSON, or nearly, that may stand in this field and may not belong there."""
    kinds: list[Callable[[], str]] = [
        lambda: random.choice(CONTAINERS),
        lambda: random.choice(NULLS),
        lambda: random.choice(NEARLY_NULLS),
        *[lambda: random.choice(TEXTS)] * 2,
    ]
    if random.random() < 0.03:
        return random.choice(NO_JSON)
    if field in ("quantity", "price"):
        kinds += [lambda: number(random), *[lambda: padded(random, number(random))] * 3] * 3
    if field == "timestamp":
        kinds += [lambda: padded(random, random.choice(TIMES))] * 6
        kinds += [lambda: padded(random, changed_text(random, random.choice(TIMES)))] * 3
    if field == "event_type":
        kinds += [lambda: padded(random, random.choice(TYPES))] * 6
    return random.choice(kinds)()


def number(random: Random) -> str:
    if random.random() < 0.4:
        return random.choice(NUMBER_TEXTS)
    text = random.choice(("", "", "-", "+")) + str(random.choice((0, 2, 20, 29, 2**31 - 1, 10**8)))
    if random.random() < 0.5:
        text += "." + random.choice(("", "0", "5", "99", "990", "000", "9900000000000000000000001"))
    if random.random() < 0.3:
        text += random.choice("eE") + random.choice(("", "+", "-")) + random.choice(("0", "1", "02", "9" * 9))
    return text


def padded(random: Random, text: str) -> str:
    """A text between blanks, of which some are to be trimmed."""
    return f'"{random.choice(BLANKS)}{text}{random.choice(BLANKS)}"'


def changed_text(random: Random, text: str) -> str:
    place = random.randrange(len(text))
    return text[:place] + random.choice(("", *"0123456789.:+-TZ ")) + text[place + 1 :]


def spelled(members: list[tuple[str, str]], random: Random | None = None) -> bytes:
    """A JSON object of these members: with blanks, and names that hide behind escapes, if `random`."""

    def blank() -> str:
        if random is None or random.random() < 0.7:
            return ""
        return random.choice((*" \t\r\n" * 20, *"\f\v\u00a0\ufeff\0"))

    def name(text: str) -> str:
        return f"\\u{ord(text[0]):04x}{text[1:]}" if random and random.random() < 0.1 else text

    inner = ",".join(f'{blank()}"{name(key)}"{blank()}:{blank()}{value}{blank()}' for key, value in members)
    return f"{blank()}{{{inner}}}{blank()}".encode()


def damaged(random: Random, line: bytes) -> bytes:
    """Mostly the line itself, else one of which a few bytes were lost, changed, doubled or put elsewhere."""
    damages: list[Callable[[bytes, int, int], bytes]] = [
        lambda line, start, end: line[:start] + line[end:],
        lambda line, start, end: line[:end] + line[start:],
        lambda line, start, end: (
            line[:start] + bytes([line[start] ^ (1 << random.randrange(8))]) + line[start + 1 :]
        ),
        lambda line, start, end: line[:start] + random.choice(PIECES) + line[start:],
        lambda line, start, end: line[end:] + line[:end],
        lambda line, start, end: line[:start],
        lambda line, start, end: b"[" + line + b"]",
        lambda line, start, end: line + random.choice(PIECES),
    ]
    for _ in range(random.choice((0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4))):
        if line:
            start = random.randrange(len(line))
            line = random.choice(damages)(line, start, start + random.choice((1, 1, 2, 5, 20)))
    return line


PIECES = (
    *(b" ", b"\t", b"\r", b"\n", b"\v", b"\0", b"\x1f", b"\x7f", b"\xff", b"\xc0\x80", b"\xed\xa0\x80"),
    *(
        b"\xef\xbb\xbf",
        b"\xc2\xa0",
        b'"',
        b"\\",
        b"\\u",
        b"\\ud800",
        b"\\u0000",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
    ),
    *(b":", b"null", b"NaN", b"-", b"0", b"1e5", b".", b"e", b"//", b"{}", b',"a":1', b"\\x41", b"'"),
)


# --- Objects ------------------------------------------------------------------------------------------------


def object_content(random: Random) -> bytes:
    """Bytes of an object: mostly lines, mostly compressed, often damaged."""
    texts = [text_content(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    if random.random() < 0.2:
        return b"".join(texts)
    content = b""
    for text in texts:
        packing = zlib.compressobj(random.choice((0, 1, 6, 9)), wbits=31)
        flushed = packing.flush(zlib.Z_FULL_FLUSH) if random.random() < 0.1 else b""
        content += flushed + packing.compress(text) + packing.flush()
        content += b"\0" * random.choice((0, 0, 0, 0, 1, 7, 70_000))
    for _ in range(random.choice((0, 0, 1, 1, 1, 2))):
        content = damaged_content(random, content) if content else content
    return content


def text_content(random: Random) -> bytes:
    size = random.choice((0, 1, 5, 100, 1_000, 70_000))
    if random.random() < 0.1:
        return random.randbytes(size)
    if random.random() < 0.2:  # Around the limit of what is called text.
        return "".join(random.choices("\0\x1fa\t\nü\ufffd", k=size, weights=[1, 1, 4, 1, 1, 1, 1])).encode()
    lines = [b"x%d" % random.randrange(10**6) * random.randrange(9) for _ in range(size // 10)]
    lines += [random.choice((b"", b"\r", b"\xff", b"\0", "ü".encode() * 9))]
    return b"\n".join(lines) + random.choice((b"", b"\n", b"\n\n", b"end"))


def damaged_content(random: Random, content: bytes) -> bytes:
    # Near the end are the checksum and the length, near the start is the head.
    place = random.choice((random.randrange(len(content)), random.randrange(min(len(content), 14))))
    place = random.choice((place, place, -1 - random.randrange(min(len(content), 14))))
    kind = random.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content + random.choice((b"\0", b"x", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"\0x", b"\n"))
    if kind == 2:
        return content[:place] + random.randbytes(random.choice((0, 1, 5))) + content[place:]
    changed = bytearray(content)
    changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def object_key(random: Random) -> str:
    """A key below events/ that tells an arrival, or nearly."""
    folders = [
        f"year={digits(random, 4)}/month={digits(random, 2)}/day={digits(random, 2)}"
        f"/hour={digits(random, 2)}/minute={digits(random, 2)}",
        "/".join(digits(random, size) for size in (4, 2, 2, 2)),
        random.choice(("", "a", "_a", ".a", "a_b", "2025", "year=2025", "a._COPYING_", "\n", "events")),
    ]
    chosen = random.choices(folders, k=random.choice((0, 1, 1, 1, 2, 3)))
    name = f"events-{digits(random, 4)}{digits(random, 2)}{digits(random, 2)}-{digits(random, 6)}"
    name += random.choice(("", ".jsonl.gz", ".", "._COPYING_", "-1.gz", "x", "\n", ".a\n"))
    name = random.choice((name, name, "_" + name, "x" + name, "a.jsonl", "", ".", "a._COPYING_"))
    key = "/".join((*chosen, name))
    return "events/" + (changed_text(random, key) if key and random.random() < 0.2 else key)


def digits(random: Random, size: int) -> str:
    """Digits as in a date, mostly of a possible one."""
    usual, odd = {
        2: (
            ("01", "02", "11", "12", "9", "09", "1"),
            ("0", "00", "13", "23", "24", "29", "31", "60", "٣", "001"),
        ),
        4: (("2025", "2020", "2039", "2024"), ("2019", "2040", "0000", "٢٠٢٥", "20255")),
        6: (("235959", "000000"), ("126099", "240000", "12345", "1234٥6")),
    }[size]
    return random.choice(odd if random.random() < 0.1 else usual)
