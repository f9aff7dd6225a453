"""The strategies draw what they promise, and the oracle holds the laws of the pipeline on what they draw."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from tests.oracle import (
    COLUMNS,
    Expected,
    Rejected,
    assert_same_rows,
    delivered_lines,
    expected_tables,
    parse_line,
    read_object,
)
from tests.strategies import (
    MalformedLine,
    Spelled,
    corrected_lines,
    event_lines,
    events,
    json_line,
    malformed_lines,
    object_sets,
    raw_lines,
    spellings,
)

GOLD = [table for table in COLUMNS if table.startswith("gold.")]
REASONS = [
    "malformed_json",
    "unknown_event_type",
    *(f"missing_field:{f}" for f in ("timestamp", "user_id", "session_id", "event_type", "product_id")),
    *(f"missing_field:{f}" for f in ("quantity", "price")),
    *(f"invalid_value:{f}" for f in ("timestamp", "user_id", "session_id", "event_type", "product_id")),
    *(f"invalid_value:{f}" for f in ("quantity", "price", "category", "search_query")),
]


def reason(line: bytes) -> str | None:
    try:
        parse_line(line)
    except Rejected as rejection:
        return rejection.reason
    return None


def assert_same_tables(actual: Expected, expected: Expected, tables: list[str]) -> None:
    for table in tables:
        assert_same_rows(table, actual[table], expected[table])


# The same examples in every run; making the last one smaller would take minutes.
SEARCH = settings(
    max_examples=5_000, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def never_drawn(strategy: SearchStrategy[Any], situations: Mapping[str, Callable[[Any], bool]]) -> set[str]:
    """The situations that no example of a search was in."""
    missing = dict(situations)

    def are_all_found(example: Any) -> bool:
        for name in [name for name, holds in missing.items() if holds(example)]:
            del missing[name]
        return not missing

    with contextlib.suppress(NoSuchExample):
        find(strategy, are_all_found, settings=SEARCH)
    return set(missing)


# --- What is drawn ---------------------------------------------------------------------------------------


@given(event_lines())
def test_event_lines_are_accepted_and_are_one_line_each(line: bytes) -> None:
    assert reason(line) is None
    assert b"\n" not in line


@given(events().flatmap(lambda event: st.tuples(st.just(event), spellings(event), spellings(event))))
def test_every_spelling_of_an_event_means_the_same(drawn: tuple[dict[str, Any], bytes, bytes]) -> None:
    event, first, second = drawn
    parsed = parse_line(first)
    assert parsed[1:] == parse_line(second)[1:]
    assert parsed.identity.event_timestamp == event["timestamp"]
    assert parsed.payload.quantity == event["quantity"]
    assert (None if parsed.payload.price is None else float(parsed.payload.price)) == (
        None if event["price"] is None else float(event["price"])
    )


@given(corrected_lines())
def test_corrections_are_copies_of_one_event(lines: list[bytes]) -> None:
    assert len({parse_line(line).identity for line in lines}) == 1


@given(malformed_lines())
def test_malformed_lines_are_rejected_for_the_reason_they_tell(malformed: MalformedLine) -> None:
    assert reason(malformed.line) == malformed.reason
    assert b"\n" not in malformed.line


def test_every_reason_is_drawn() -> None:
    reasons = {wanted: lambda malformed, wanted=wanted: malformed.reason == wanted for wanted in REASONS}
    assert never_drawn(malformed_lines(), reasons) == set()


def test_every_situation_is_drawn() -> None:
    objects: dict[str, Callable[[dict[str, bytes]], bool]] = {
        "out of order": lambda o: len(o) > 1 and list(o) != sorted(o),
        "two in a minute": lambda o: len({uri.rpartition("/")[0] for uri in o}) < len(o),
        "no hive path": lambda o: any("year=" not in uri for uri in o),
        "plain text": lambda o: not all(uri.endswith(".gz") for uri in o),
        "corrupt": lambda o: any(read_object(*item).is_corrupt for item in o.items()),
    }
    tables: dict[str, Callable[[Expected], bool]] = {
        "copies": lambda t: len(t["bronze.events"]) > len(t["silver.events_cleaned"]) > 0,
        "revenue in two hours": lambda t: len(t["gold.hourly_revenue"]) > 1,
        "three days": lambda t: len(t["gold.user_activity"]) > 2,
    }
    assert never_drawn(object_sets(), objects) == set()
    assert never_drawn(object_sets().map(expected_tables), tables) == set()


# --- Laws ------------------------------------------------------------------------------------------------

few = settings(max_examples=10)  # Of several computations each.


@few
@given(object_sets())
def test_every_delivered_line_is_accepted_or_rejected(objects: dict[str, bytes]) -> None:
    expected = expected_tables(objects)
    bronze = COLUMNS["bronze.events"].index("source_file")
    rejected = COLUMNS["bronze.events_rejected"].index("source_file")
    for uri, data in objects.items():
        delivered = read_object(uri, data)
        rows = sum(row[bronze] == uri for row in expected["bronze.events"])
        rows += sum(row[rejected] == uri for row in expected["bronze.events_rejected"])
        assert rows == len(delivered.lines) + delivered.is_corrupt


@few
@given(object_sets(), st.randoms(use_true_random=False))
def test_the_order_of_objects_does_not_matter(objects: dict[str, bytes], random: Any) -> None:
    uris = list(objects)
    random.shuffle(uris)
    shuffled = expected_tables({uri: objects[uri] for uri in uris})
    assert_same_tables(shuffled, expected_tables(objects), list(COLUMNS))


@few
@given(raw_lines(), st.randoms(use_true_random=False))
def test_the_order_and_repetition_of_lines_in_an_object_change_no_event(
    lines: list[bytes], random: Any
) -> None:
    uri = "s3://raw/events/events-20251118-143000.jsonl"
    again = lines * 2
    random.shuffle(again)
    once = expected_tables({uri: b"".join(line + b"\n" for line in lines)})
    twice = expected_tables({uri: b"".join(line + b"\n" for line in again)})
    assert_same_tables(twice, once, ["silver.events_cleaned", *GOLD])


@few
@given(object_sets())
def test_copies_that_arrived_before_everything_else_change_no_answer(objects: dict[str, bytes]) -> None:
    lines = [line for uri, data in objects.items() for line in read_object(uri, data).lines]
    first = "s3://raw/events/events-20200101-000000.jsonl.gz"
    copies = gzip.compress(b"".join(line + b"\n" for line in lines))
    assert delivered_lines(copies) == lines
    assert_same_tables(expected_tables(objects | {first: copies}), expected_tables(objects), GOLD)


@few
@given(object_sets())
def test_the_answers_fit_together(objects: dict[str, bytes]) -> None:
    expected = expected_tables(objects)
    events_per_day = sum(row[-1] for row in expected["gold.category_performance"])
    cells = sum(row[5] for row in expected["gold.event_cube"])
    assert len(expected["silver.events_cleaned"]) == events_per_day == cells
    assert sum(row[7] for row in expected["gold.event_cube"]) == sum(
        r[2] for r in expected["gold.hourly_revenue"]
    )
    purchases = sum(row[4] for row in expected["gold.conversion_funnel"])
    assert purchases == sum(row[3] for row in expected["gold.hourly_revenue"])
    assert [row[0] for row in expected["gold.top_products"]] == list(
        range(1, len(expected["gold.top_products"]) + 1)
    )


def test_json_line_spells_what_is_given_spelled() -> None:
    assert json_line({"a": Spelled("1.50"), "b": "ü"}) == '{"a": 1.50, "b": "ü"}'.encode()
    assert json_line({"b": "ü"}, ascii_only=True) == b'{"b": "\\u00fc"}'
