"""The nine invariants of the pipeline, each against an independent computation from the raw objects.

The ninth, one set of rules, is that of tests/test_judge_and_witness.py: what follows relies on it.
"""

from __future__ import annotations

import bz2
import importlib
import os
import re
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4
from zipimport import zipimporter

import pyarrow as pa
import pytest
from awsglue.job import Job
from py4j.java_gateway import JVMView
from py4j.protocol import Py4JJavaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from glue_scripts import capstone_etl as etl
from tests import oracle
from tests.etl.events import PURCHASE, SEARCH, VIEW, line, packed, uri
from tests.etl.s3 import MUTATING, Store
from tests.etl.workbench import ALL_TABLES, LAKE, RAW, State, Workbench, in_parts, rows_of_table

Objects = dict[str, bytes]

SAMPLE = Path(__file__).parents[2] / "sample-data"
FIVE = [table for table in ALL_TABLES if table.startswith("gold.") and table != "gold.event_cube"]


@pytest.fixture(scope="module")
def sample() -> Objects:
    """The twelve objects of the sample data."""
    files = sorted(SAMPLE.rglob("*.gz"))
    return {f"s3://raw/events/{path.relative_to(SAMPLE)}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def thin_sample(sample: Objects) -> Objects:
    """Every hundredth line of the sample data, and every line that is rejected or comes twice."""
    lines = {source: oracle.delivered_lines(data) for source, data in sample.items()}
    copies = Counter(one for of_object in lines.values() for one in of_object)

    def is_kept(number: int, one: bytes) -> bool:
        return number % 100 == 0 or copies[one] > 1 or not one.startswith(b'{"timestamp"')

    return {
        source: packed(*(one for number, one in enumerate(of_object) if is_kept(number, one)))
        for source, of_object in lines.items()
    }


def files_of_lake(workbench: Workbench) -> Objects:
    return workbench.store.read(LAKE)


def lines_kept(workbench: Workbench) -> dict[str, int]:
    """How many lines of each object are in bronze, accepted or rejected; a corrupt_file row is one, too."""
    kept: Counter[str] = Counter()
    for table in ("bronze.events", "bronze.events_rejected"):
        source = oracle.COLUMNS[table].index("source_file")
        kept.update(row[source] for row in workbench.rows(table))
    return dict(kept)


def lines_delivered(objects: Objects) -> dict[str, int]:
    counts = {}
    for source, data in objects.items():
        delivered = oracle.read_object(source, data)
        counts[source] = len(delivered.lines) + delivered.is_corrupt
    return {source: count for source, count in counts.items() if count}


# --- 1. Nothing lost ----------------------------------------------------------------------------------------


TWO_HUNDRED = [line(PURCHASE, user_id=f"u_{number}", quantity=number % 9 + 1) for number in range(200)]
WHOLE = packed(*TWO_HUNDRED)


def broken_in_the_middle() -> bytes:
    """200 whole lines, then bytes that are no compressed data, then more of it."""
    packing = zlib.compressobj(wbits=31)
    start = packing.compress(b"\n".join(TWO_HUNDRED) + b"\n") + packing.flush(zlib.Z_FULL_FLUSH)
    return start + b"\xff" * 9 + packing.compress(b"\n".join(TWO_HUNDRED)) + packing.flush()


# What is accepted and how many corrupt_file rows there are, whatever the object's name says.
CONDITIONS: dict[str, tuple[bytes, int, int]] = {
    "whole": (WHOLE, 200, 0),
    "wrong checksum": (WHOLE[:-8] + bytes(4) + WHOLE[-4:], 200, 1),
    "wrong length": (WHOLE[:-4] + bytes(4), 200, 1),
    "no trailer": (WHOLE[:-8], 200, 1),
    "break in the middle": (broken_in_the_middle(), 200, 1),
    "two members": (packed(*TWO_HUNDRED[:100]) + packed(*TWO_HUNDRED[100:]), 200, 0),
    "zero padding": (WHOLE + bytes(1_000), 200, 0),
    "rubbish behind": (WHOLE + b"rubbish", 200, 1),
    "no lines": (packed(), 0, 0),
    "text": (b"\n".join(TWO_HUNDRED), 200, 0),
    "another codec": (bz2.compress(b"\n".join(TWO_HUNDRED)), 0, 1),
    "no codec": (bytes(range(128, 256)) * 20, 0, 1),
}
SUFFIXES = (".bz2", ".zst", ".snappy", ".lz4", ".deflate", ".jsonl", "")


def test_an_object_gives_what_can_be_read_of_it_whatever_its_name_and_its_damage(
    workbench: Workbench,
) -> None:
    objects, accepted, corrupt = {}, Counter[str](), Counter[str]()
    for number, (content, lines, corrupt_rows) in enumerate(CONDITIONS.values()):
        for suffix in (".gz", SUFFIXES[number % len(SUFFIXES)]):
            source = uri(f"2025-11-18T14:{number:02d}", f"events{suffix}")
            objects[source] = content
            accepted[source] += lines
            corrupt[source] += corrupt_rows
    workbench.upload(objects)
    workbench.run()
    assert Counter(row[9] for row in workbench.rows("bronze.events")) == +accepted
    rejected = workbench.rows("bronze.events_rejected")
    assert Counter(row[2] for row in rejected if row[:2] == (None, "corrupt_file")) == +corrupt
    workbench.assert_holds(objects)
    assert workbench.run()["bronze"]["files"] == 0


def test_a_large_object_gives_in_parts_what_it_gives_as_a_whole(workbench: Workbench) -> None:
    objects = {
        uri("2025-11-18T14:25"): packed(*TWO_HUNDRED, *TWO_HUNDRED[:9], b"broken"),
        uri("2025-11-18T14:30"): broken_in_the_middle(),
        uri("2025-11-18T14:35"): packed(line()),  # Two of three parts have no line.
        uri("2025-11-18T14:40"): packed(b"broken"),
    }
    workbench.upload(objects)
    with in_parts():
        workbench.run()
    workbench.assert_holds(objects)
    assert lines_kept(workbench) == lines_delivered(objects)
    files = [key for key in files_of_lake(workbench) if key.startswith("bronze/events")]
    assert all(re.search(r"/[0-9a-f]{16}-[012]\.parquet$", key) for key in files), files
    assert len(files) == 3 * 2 * len(objects)
    again = {source: content + packed(b"again") for source, content in objects.items()}
    workbench.upload(again)
    workbench.run()
    workbench.assert_holds(again)
    files = [key for key in files_of_lake(workbench) if key.startswith("bronze/events")]
    assert not [key for key in files if "-" in Path(key).name], files


def test_an_object_that_is_taken_in_again_has_the_files_that_it_had(workbench: Workbench) -> None:
    """Else who reads bronze meanwhile would find its rows twice."""
    objects = {uri("2025-11-18T14:25"): packed(*TWO_HUNDRED), uri("2025-11-18T14:30"): packed(line(VIEW))}

    def bronze() -> set[str]:
        return {key for key in files_of_lake(workbench) if key.startswith("bronze/events")}

    workbench.upload(objects)
    with in_parts():
        workbench.run()
    before = bronze()
    workbench.forget_bookmark()
    assert workbench.run()["bronze"]["files"] == len(objects)
    assert bronze() == before
    workbench.assert_holds(objects)


def test_a_part_that_is_lost_fails_its_run_by_name_and_is_made_good(workbench: Workbench) -> None:
    objects = {uri("2025-11-18T14:25"): packed(*TWO_HUNDRED)}
    workbench.upload(objects)
    original = etl.judged_objects

    def losing(*arguments: Any) -> DataFrame:
        return original(*arguments).limit(2)

    with in_parts():
        with mock.patch.object(etl, "judged_objects", losing), pytest.raises(RuntimeError, match="142500"):
            workbench.run()
        workbench.run()
    workbench.assert_holds(objects)


def test_a_truncated_object_keeps_its_lines_when_a_later_run_meets_another(workbench: Workbench) -> None:
    truncated = packed(*TWO_HUNDRED)[:-200]
    assert 0 < len(oracle.delivered_lines(truncated)) < 200
    objects = {}
    for arrival in ("2025-11-18T14:25", "2025-11-18T14:30"):
        objects[uri(arrival)] = truncated
        workbench.upload({uri(arrival): truncated})
        workbench.run()
        workbench.assert_holds(objects)


def test_an_object_that_left_no_rows_or_too_few_fails_its_run_by_name_and_is_made_good(
    workbench: Workbench,
) -> None:
    objects = {
        uri("2025-11-18T14:25"): packed(line()),
        uri("2025-11-18T14:30"): packed(line(VIEW), b"broken"),
    }
    workbench.upload(objects)
    lost, original = uri("2025-11-18T14:30"), etl.judged_objects

    def losing(*arguments: Any) -> DataFrame:
        return original(*arguments).where(~F.col("outcome").contains(lost))

    with mock.patch.object(etl, "judged_objects", losing), pytest.raises(RuntimeError, match=re.escape(lost)):
        workbench.run()
    assert not workbench.rows("silver.events_cleaned")
    assert workbench.run()["bronze"]["files"] == 2
    workbench.assert_holds(objects)


ODD_NAMES = (
    *(
        "a b.gz",
        " .gz",
        "100%.gz",
        "100%25.gz",
        "a+b%2Bc.gz",
        "#1=2&3.gz",
        "ü電😀.gz",
        "[a]{b,c}.gz",
        "*?.gz",
    ),
    *("a:b.gz", "[a]{b,c}:d.gz", "a\\b.gz", "{.gz", "[.gz", "'\".gz"),
    *("a b%20.txt", "#😀.zst", "[ab]{c}.bz2", "a:b.x"),  # Glue's reader is not shown these.
)


def test_keys_of_any_spelling_keep_one_identity_by_listing_and_by_bookmark(workbench: Workbench) -> None:
    objects = {
        uri("2025-11-18T14:25", name): packed(line(user_id=f"u_{number}"), line(), b"broken")
        for number, name in enumerate(ODD_NAMES)
    }
    objects |= {uri("2025-11-18T14:26", name): line(user_id="u_2") for name in ("$^.json", "x.gz/y z.jsonl")}
    no_utf8 = {uri("2025-11-18T14:30"): packed(line(), b"\xff")}
    workbench.upload(objects | no_utf8)
    for name in ("a//b.txt", "a.txt/"):  # No Hadoop client can open them; the script can.
        objects[uri("2025-11-18T14:30", name)] = packed(line(user_id=name))
    workbench.upload(objects)
    assert workbench.run()["bronze"]["files"] == len(objects) + 1
    assert "Glue's reader failed" in workbench.printed and "Unable to parse file" in workbench.printed
    workbench.assert_holds(objects | no_utf8)
    assert workbench.run()["bronze"]["files"] == 0, "the bookmark was moved"

    workbench.delete(no_utf8)
    workbench.forget_bookmark()
    summary = workbench.run()
    assert "failed" not in workbench.printed
    shown = [source for source in objects if source.endswith((".gz", ".json", ".jsonl"))]
    assert summary["bronze"]["files"] == len(shown) and summary["silver"]["inserted"] == 0
    workbench.assert_holds(objects | no_utf8)


NO_EVENTS = ("_manifest.json", ".DS_Store", "_temporary/0/x.gz", ".hidden/x.gz", "x.gz._COPYING_")


def test_folders_and_hidden_objects_count_for_nothing_and_every_other_key_has_an_arrival(
    workbench: Workbench,
) -> None:
    line_of = packed(line())
    workbench.upload({f"s3://raw/events/{name}": line_of for name in NO_EVENTS})
    workbench.upload(
        {"s3://raw/events/": b"", "s3://raw/events/year=2025/": b"", uri("2025-11-18T14:20"): b""}
    )
    workbench.upload({"s3://raw/elsewhere/x.gz": line_of})
    assert workbench.run()["bronze"]["files"] == 0
    assert not files_of_lake(workbench)
    names = {
        "year=2025/month=9/day=7/hour=3/minute=5/x.gz": (2025, 9, 7, 3, 5),
        "events-20250907-030559.jsonl.gz": (2025, 9, 7, 3, 5),
        "2025/09/07/03/shop-events-2025-09-07-03-05-00-abc.gz": (2025, 9, 7, 3, 0),
    }
    objects = {f"s3://raw/events/{name}": line_of for name in (*names, "dump.jsonl", "2025/13/41/99/x.gz")}
    workbench.upload(objects)
    workbench.run()
    workbench.assert_holds(objects)
    arrivals = {row[9].removeprefix("s3://raw/events/"): row[10:] for row in workbench.rows("bronze.events")}
    modified = workbench.store.objects(RAW)["events/dump.jsonl"].modified
    assert arrivals.items() >= (names | {"dump.jsonl": modified.timetuple()[:5]}).items()


def test_lines_of_ten_megabytes_are_judged_as_any_line_and_lose_no_other(workbench: Workbench) -> None:
    huge = "x" * 10_000_000
    accepted = [line(SEARCH, search_query=huge), line(VIEW, note=huge)]
    rejected = [huge.encode(), line(user_id="u_4", note=huge)[:-1]]
    objects = {
        uri("2025-11-18T14:25"): packed(line(), accepted[0], line(user_id="u_2"), *rejected),
        uri("2025-11-18T14:30"): packed(line(event_type=huge), line(user_id="u_3"), accepted[1]),
        uri("2025-11-18T14:35"): packed(line(user_id="u_5"), b"broken"),
    }
    workbench.upload(objects)
    summary = workbench.run()["bronze"]
    assert (summary["accepted"], summary["rejected"]) == (6, 4)
    assert lines_kept(workbench) == lines_delivered(objects)
    workbench.assert_holds(objects)


# --- 2. Idempotent ------------------------------------------------------------------------------------------


def test_a_run_without_new_objects_changes_nothing_and_one_after_a_bookmark_reset_no_row(
    workbench: Workbench, thin_sample: Objects
) -> None:
    workbench.upload(thin_sample)
    workbench.run()
    assert lines_kept(workbench) == lines_delivered(thin_sample)
    workbench.store.gate.open()
    summary = workbench.run()
    assert list(summary) == ["bronze"] and summary["bronze"]["files"] == summary["bronze"]["rows_in"] == 0
    assert workbench.store.gate.count == 0 and workbench.store.gate.requests < 20
    workbench.forget_bookmark()
    summary = workbench.run()
    assert summary["bronze"]["files"] == 12
    assert summary["silver"]["inserted"] == 0 and summary["silver"]["days_rebuilt"] == []
    workbench.assert_holds(thin_sample)


def test_a_run_that_finds_new_objects_after_a_bookmark_reset_counts_nothing_twice(
    workbench: Workbench, after_first_run: State
) -> None:
    """The new ones are through all layers when the reader names the others, too."""
    workbench.put_back(after_first_run)
    workbench.forget_bookmark()
    workbench.upload(SECONDS["appending"])
    assert workbench.run()["bronze"]["files"] == len(FIRST | SECONDS["appending"])
    workbench.assert_holds(FIRST | SECONDS["appending"])


# --- 3. Incremental = full ----------------------------------------------------------------------------------


def test_several_runs_leave_what_one_run_leaves_in_whatever_order(
    workbench: Workbench, thin_sample: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In runs that broadcast nothing, as those of very many events, and one that does."""
    monkeypatch.setattr(etl, "PARTITION_EVENTS", 250)
    sources, usual = sorted(thin_sample), etl.MOST_BROADCAST
    for batch, most in ((sources[6:10], 0), (sources[10:], usual), (sources[:6], 0)):
        monkeypatch.setattr(etl, "MOST_BROADCAST", most)
        workbench.upload({source: thin_sample[source] for source in batch})
        workbench.run()
    workbench.assert_holds(thin_sample)


def test_a_later_arrival_corrects_an_earlier_one_whichever_run_takes_it_in_first(
    workbench: Workbench,
) -> None:
    september = {
        "s3://raw/events/year=2025/month=9/day=1/hour=0/minute=0/x.gz": packed(line(quantity=2, price=10))
    }
    november = {uri("2025-11-18T14:25"): packed(line(quantity=2, price=20))}
    late = {uri("2025-11-17T00:00"): packed(line(quantity=2, price=15), line(VIEW))}
    for runs in ((september, november, late), (november, september | late)):
        workbench.clear()
        for objects in runs:
            workbench.upload(objects)
            workbench.run()
        workbench.assert_holds(september | november | late)
        (revenue,) = workbench.rows("gold.hourly_revenue")
        assert str(revenue[2]) == "40.00"


def test_an_object_uploaded_again_replaces_what_it_delivered_before(workbench: Workbench) -> None:
    other_day = "2025-11-17T10:00:00Z"
    contents = (
        packed(line(), line(VIEW), b"broken"),
        packed(line(price=1), line(timestamp=other_day)),  # corrected, gone, on another day
        WHOLE[:-200],
        packed(b"broken"),
    )
    other = {uri("2025-11-18T14:20"): packed(line(user_id="u_2"), line(price=3))}
    workbench.upload(other)
    for content in contents:
        again = {uri("2025-11-18T14:25"): content}
        workbench.upload(again)
        workbench.run()
        workbench.assert_holds(other | again)
        assert lines_kept(workbench) == lines_delivered(other | again)


# --- 4. Crash-safe on S3 ------------------------------------------------------------------------------------

FIRST = {
    uri("2025-11-18T14:25"): packed(line(), line(VIEW), line(user_id="u_2"), b"broken"),
    uri("2025-11-18T14:30"): packed(line(SEARCH, timestamp="2025-11-18T14:27:00Z"), line(user_id="u_3")),
}
SECONDS = {
    "appending": {
        uri("2025-11-18T14:35"): packed(
            line(VIEW, timestamp="2025-11-17T23:59:59.999999Z"),
            line(VIEW, timestamp="2025-11-18T14:33:00Z"),
            line(user_id="u_3"),
            line(event_type="refund"),
        )
    },
    "correcting": {
        uri("2025-11-18T14:35"): packed(line(user_id="u_3", quantity=5), line(VIEW, user_id="u_9"))
    },
    "redelivering": {
        uri("2025-11-18T14:25"): packed(line(), line(user_id="u_2", price=1), b"broken", b"broken"),
        uri("2025-11-18T14:40"): packed(line(VIEW, timestamp="2025-11-17T23:00:00Z")),
    },
}
# Glue's reader fails of it: then the note alone tells what a killed run had in hand.
NO_UTF_8 = {uri("2025-11-18T14:45"): packed(line(user_id="u_7"), b"\xff")}
RECORDS = re.compile(r"\w+ lake/(_pending/|bronze/versions/|gold/\w+/[^/]+\.parquet)")
IS_LONG = "ETL_EXAMPLES" in os.environ


@pytest.fixture(scope="module")
def after_first_run(spark: SparkSession, store: Store, tmp_path_factory: pytest.TempPathFactory) -> State:
    workbench = Workbench(spark, store, tmp_path_factory.mktemp("first") / "bookmarks.sqlite")
    workbench.upload(FIRST)
    workbench.run()
    workbench.assert_holds(FIRST)
    return workbench.state()


def requests_of_a_run(workbench: Workbench) -> list[str]:
    workbench.store.gate.open()
    workbench.run()
    return workbench.store.gate.log


def changes(requests: list[str]) -> list[str]:
    return [request for request in requests if request.split()[0] in MUTATING]


@pytest.mark.parametrize("kind", SECONDS)
def test_a_run_killed_between_any_two_requests_is_made_good_by_the_next(
    workbench: Workbench, after_first_run: State, kind: str
) -> None:
    """At some of all requests, and before and after each that tells what was done, or answers."""
    with in_parts() if kind == "redelivering" else nullcontext():
        kill_and_repeat(
            workbench, after_first_run, SECONDS[kind] | (NO_UTF_8 if kind == "correcting" else {})
        )


def kill_and_repeat(workbench: Workbench, after_first_run: State, second: Objects) -> None:
    workbench.put_back(after_first_run)
    workbench.upload(second)
    uploaded = workbench.state()
    requests = requests_of_a_run(workbench)
    records = [place for place, change in enumerate(changes(requests)) if RECORDS.match(change)]
    assert len(records) >= 9
    after_index = records[2] + 1  # the first two records are notes
    points = sorted({place for record in records for place in (record, record + 1)})
    kills = [(place, True) for place in (points if IS_LONG else (after_index, records[-3]))]
    others = 12 if IS_LONG else 1
    kills += [(len(requests) * nth // (others + 1), False) for nth in range(1, others + 1)]
    killed = 0
    for number, only_changes in kills:
        workbench.put_back(uploaded)
        killed += workbench.run_in_the_dark_after(number, only_changes=only_changes)
        workbench.run()
        workbench.assert_holds(FIRST | second)
    assert killed >= len(kills) - 2, "a run may need a few requests less than another"


@pytest.mark.parametrize("kind", ["correcting", "redelivering"])
def test_tasks_that_spark_repeats_change_nothing(
    workbench: Workbench, after_first_run: State, kind: str
) -> None:
    """A task may have put its files when its worker is lost, and what it had read is then read again."""
    append = etl.Bucket.append

    def append_twice(lake: etl.Bucket, *table_and_rows: Any, **options: Any) -> Callable[[], Any]:
        with mock.patch.object(etl, "uuid4", return_value=uuid4()):
            put, put_again = (append(lake, *table_and_rows, **options) for _ in range(2))

        def twice() -> None:
            put()
            workbench.spark.catalog.clearCache()
            put_again()

        return twice

    workbench.put_back(after_first_run)
    workbench.upload(SECONDS[kind])
    with mock.patch.object(etl.Bucket, "append", append_twice):
        workbench.run()
    workbench.assert_holds(FIRST | SECONDS[kind])


def test_a_run_killed_before_its_bookmark_is_committed_is_repeated_without_a_trace(
    workbench: Workbench, after_first_run: State
) -> None:
    workbench.put_back(after_first_run)
    workbench.upload(SECONDS["correcting"])
    with mock.patch.object(Job, "commit", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        workbench.run()
    before = workbench.tables()
    assert workbench.run()["bronze"]["files"] == 1
    assert workbench.tables() == before
    workbench.assert_holds(FIRST | SECONDS["correcting"])


@pytest.mark.parametrize("kind", ["correcting", "redelivering", "vanishing"])
def test_a_killed_run_is_made_good_although_its_raw_objects_have_expired(
    workbench: Workbench, after_first_run: State, kind: str
) -> None:
    """What it had brought to bronze as a whole stays. Else what it had there goes, not the last version."""
    second = SECONDS.get(kind, {uri("2025-11-18T14:25"): packed()})
    workbench.put_back(after_first_run)
    workbench.upload(second)
    uploaded = workbench.state()
    of_a_run = changes(requests_of_a_run(workbench))
    _, noted, *_ = [place for place, change in enumerate(of_a_run) if "/_pending/" in change]
    points = (max(noted - 2, 0), noted, noted + 1, noted + 3)
    # Else two of them, and the other two where another version came.
    for number in points if IS_LONG else points[kind == "redelivering" :: 2]:
        workbench.put_back(uploaded)
        assert workbench.run_in_the_dark_after(number)
        workbench.delete(second)
        workbench.run()
        expected = FIRST | second if number > noted else FIRST
        workbench.assert_holds(expected)
        assert lines_kept(workbench) == lines_delivered(expected)


# --- 5. Exact -----------------------------------------------------------------------------------------------


def test_a_run_counts_what_is_computed_independently(workbench: Workbench, thin_sample: Objects) -> None:
    """That all tables are exact over the whole sample: see tests/test_build_pipeline_notebook.py."""
    workbench.upload(thin_sample)
    summary = workbench.run()
    workbench.assert_holds(thin_sample)
    bronze, silver = summary["bronze"], summary["silver"]
    assert bronze["files"] == 12
    assert bronze["rows_in"] == sum(lines_delivered(thin_sample).values())
    assert bronze["rows_in"] == bronze["accepted"] + bronze["rejected"]
    assert bronze["accepted"] == silver["inserted"] + silver["duplicates"]
    assert silver["inserted"] == len(workbench.rows("silver.events_cleaned"))


def test_ratios_of_gold_are_rounded_half_up(workbench: Workbench) -> None:
    counts = {  # views, add_to_carts, purchases
        "p_1": (32, 1, 5),  # 0.03125, 0.15625, 5: to even, these would be 0.0312 and 0.1562
        "p_2": (0, 32, 9),  # 0.28125
        "p_3": (8, 1, 0),  # 0.125, 0
        "p_4": (3, 2, 1),  # 0.6666..., 0.3333..., 0.5
    }
    types = ("page_view", "add_to_cart", "purchase")
    lines = [
        line(product_id=product, event_type=event_type, user_id=f"u_{number}")
        for product, of_product in counts.items()
        for event_type, count in zip(types, of_product, strict=True)
        for number in range(count)
    ]
    workbench.upload({uri("2025-11-18T14:25"): packed(*lines)})
    workbench.run()

    def rounded(part: int, whole: int) -> Decimal | None:
        return (Decimal(part) / whole).quantize(Decimal("0.0001"), ROUND_HALF_UP) if whole else None

    assert sorted(workbench.rows("gold.conversion_funnel")) == [
        (
            *(product, "electronics", views, carts, purchases),
            *(rounded(carts, views), rounded(purchases, views), rounded(purchases, carts)),
        )
        for product, (views, carts, purchases) in counts.items()
    ]


def test_the_largest_revenue_is_exact_and_a_larger_one_stops_the_run(workbench: Workbench) -> None:
    objects = {
        uri("2025-11-18T14:25"): packed(
            line(quantity=100_000_000, price=99_999_999.99),
            line(quantity=1, price=999_999.99, user_id="u_2"),
        )
    }
    workbench.upload(objects)
    workbench.run()
    workbench.assert_holds(objects)
    (revenue,) = workbench.rows("gold.hourly_revenue")
    assert str(revenue[2]) == "9999999999999999.99"

    workbench.upload({uri("2025-11-18T14:30"): packed(line(quantity=1, price=0.01, user_id="u_4"))})
    with pytest.raises(
        Py4JJavaError, match=r"10000000000000000.00 cannot be represented as Decimal\(18, 2\)"
    ):
        workbench.run()


def test_sessions_of_any_time_zone_see_the_same_days(workbench: Workbench) -> None:
    jvm: Any = workbench.spark._jvm
    assert jvm.java.util.TimeZone.getDefault().getID() == "Australia/Lord_Howe"
    times = (
        "2025-12-31T23:59:59.999999Z",
        "2026-01-01T00:00:00.000001+00:00",
        "2026-01-01T10:29:59+10:30",
        "2024-02-29T00:00:00-11:00",
        "2025-11-18T14:23:45.1234567Z",
    )
    objects = {uri("2026-01-01T00:05"): packed(*(line(timestamp=time) for time in times))}
    workbench.upload(objects)
    workbench.run()
    workbench.assert_holds(objects)
    days = sorted(str(row[0]) for row in workbench.rows("gold.user_activity"))
    assert days == ["2024-02-29", "2025-11-18", "2025-12-31", "2026-01-01"]


# --- 6. Flat cost -------------------------------------------------------------------------------------------


def run_among_garbage(workbench: Workbench, objects: Objects, pattern: str) -> None:
    """A run during which no object of the lake that the pattern fits can be read."""
    hidden = {key: one for key, one in workbench.store.content(LAKE).items() if re.search(pattern, key)}
    assert hidden
    for key in hidden:
        workbench.store.put(f"s3://{LAKE}/{key}", b"no Parquet")
    workbench.upload(objects)
    workbench.run()
    for key, (listed, content) in hidden.items():
        assert workbench.store.get(f"s3://{LAKE}/{key}") == b"no Parquet"
        workbench.store.put(f"s3://{LAKE}/{key}", content, listed.modified)


def test_a_run_reads_no_files_of_days_that_it_does_not_touch(
    workbench: Workbench, after_first_run: State
) -> None:
    workbench.put_back(after_first_run)
    later = "2025-11-19T08:00:00Z"
    first = packed(line(timestamp=later), line(VIEW, timestamp=later))
    corrected = packed(line(timestamp=later, price=3))
    for objects in ({uri("2025-11-19T08:05"): first}, {uri("2025-11-19T08:10"): corrected}):
        run_among_garbage(workbench, objects, r"/day=18/.*\.parquet$")
    workbench.assert_holds(FIRST | {uri("2025-11-19T08:05"): first, uri("2025-11-19T08:10"): corrected})


def test_a_run_reads_of_a_day_of_silver_only_files_of_the_hours_that_it_touches(workbench: Workbench) -> None:
    def objects(arrival: str, *times: str) -> Objects:
        lines = [line(timestamp=f"2025-11-18T{time}Z") for time in times]
        return {uri(f"2025-11-18T{arrival}"): packed(*lines)}

    delivered = objects("10:35", "10:10:00", "10:30:00", "09:59:59.999999") | objects("20:35", "20:10:00")
    workbench.upload(delivered)
    workbench.run()
    # A copy, an event that is late and new, and one of an hour that has none yet.
    new = objects("22:10", "10:10:00", "10:29:59", "21:00:00")
    run_among_garbage(workbench, new, r"bronze/events/|silver/.*hour=(09|20)/.*\.parquet$")
    workbench.assert_holds(delivered | new)


def test_a_worker_reads_the_contents_of_archives_once_and_not_before_each_task(spark: SparkSession) -> None:
    def as_before_a_task(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        etl.s3_client()
        assert any(isinstance(one, zipimporter) for one in sys.path_importer_cache.values())
        with mock.patch("zipimport._read_directory", side_effect=AssertionError("read again")):
            importlib.invalidate_caches()
        yield from batches

    assert len(spark.range(1).mapInArrow(as_before_a_task, "id bigint").collect()) == 1


def test_a_run_has_java_look_up_few_names_and_no_worker_pass_rows_through(
    workbench: Workbench,
) -> None:
    """PySpark asks for some with each column; and makes rows of Python's objects in a worker."""
    workbench.upload({uri("2025-11-18T14:25"): packed(line())})
    looked_up = list[str]()

    def look_up(view: JVMView, name: str, original: Any = JVMView.__getattr__) -> Any:
        looked_up.append(name)
        return original(view, name)

    with (
        mock.patch.object(JVMView, "__getattr__", look_up),
        mock.patch.object(SparkSession, "createDataFrame", side_effect=AssertionError("in a worker")),
    ):
        workbench.run()
    assert len(looked_up) < 100, Counter(looked_up)


# --- 7. One event, once -------------------------------------------------------------------------------------


def test_copies_of_one_event_count_once(workbench: Workbench) -> None:
    """Each kind on a day of its own, taken in by two runs."""

    def copy(day: str, **changes: Any) -> bytes:
        return line(timestamp=f"2025-11-{day}T14:23:45.123Z", **changes)

    in_other_spellings = (
        copy("13"),
        line(timestamp="2025-11-13T15:23:45.123000+01:00"),
        copy("13", user_id=" u_89234 ", search_query="N/A", price="29.990"),
    )
    runs = (
        {
            uri("2025-11-10T14:25"): packed(copy("10"), copy("10"), copy("10")),
            uri("2025-11-11T14:25"): packed(copy("11")),
            uri("2025-11-11T14:30"): packed(copy("11")),
            uri("2025-11-12T14:30"): packed(copy("12")),
            uri("2025-11-13T14:25"): packed(*in_other_spellings),
            uri("2025-11-14T14:25"): packed(copy("14")),
        },
        {uri("2025-11-12T14:25"): packed(copy("12")), uri("2025-11-14T14:30"): packed(copy("14"))},
    )
    for objects in runs:
        workbench.upload(objects)
        workbench.run()
    workbench.assert_holds(runs[0] | runs[1])
    revenues = workbench.rows("gold.hourly_revenue")
    assert [(str(row[2]), row[3]) for row in revenues] == [("59.98", 1)] * 5


def test_a_run_over_many_objects_finds_the_copies_that_silver_has(workbench: Workbench) -> None:
    """It looks for them at longer moments than a run over few."""
    times = [f"2025-11-18T14:{minute}:45.123456Z" for minute in range(10, 21)]
    assert len(times) > etl.FEW_OBJECTS
    first = {uri("2025-11-18T14:25"): packed(*(line(timestamp=time) for time in times))}
    many = {
        uri(f"2025-11-18T14:{30 + number}"): packed(line(timestamp=time), line(user_id=f"u_{number}"))
        for number, time in enumerate(times)
    }
    for objects, inserted in ((first, len(times)), (many, len(many))):
        workbench.upload(objects)
        assert workbench.run()["silver"]["inserted"] == inserted
    workbench.assert_holds(first | many)


def test_two_objects_of_one_arrival_minute_are_both_kept(workbench: Workbench) -> None:
    one = {uri("2025-11-18T14:25"): packed(line(), line(VIEW), line(user_id="u_2"), b"broken")}
    # It repeats an event, corrects another, and has two of its own.
    other = {
        uri("2025-11-18T14:25", "events-20251118-142530.jsonl.gz"): packed(
            line(), line(VIEW, category="toys"), line(user_id="u_3"), b"broken", line(event_type="refund")
        )
    }
    for objects in (other, one):
        workbench.upload(objects)
        workbench.run()
    workbench.assert_holds(one | other)
    assert lines_kept(workbench) == lines_delivered(one | other)


# --- 8. No torn answers -------------------------------------------------------------------------------------


class Reader(threading.Thread):
    """Reads the five tables over and over: what they were, in the order of their change."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.is_over, self.times, self.error = store.another(), False, 0, ""
        self.keys = {table: object_of(store, table) for table in FIVE}
        self.seen: dict[str, list[bytes]] = {table: [] for table in FIVE}

    def run(self) -> None:
        try:
            is_last = False
            while not is_last:  # The last time begins when the run has ended.
                is_last = self.is_over
                for table, seen in self.seen.items():
                    content = self.store.get(f"s3://{LAKE}/{self.keys[table]}")
                    if content not in seen[-1:]:
                        seen.append(content)
                self.times += 1
        except AssertionError as error:
            self.error = str(error)


def object_of(store: Store, table: str) -> str:
    """The key of the one object that the table is."""
    (key,) = (
        key for key, listed in store.objects(LAKE, table.replace(".", "/") + "/").items() if listed.size
    )
    return key


def test_a_reader_of_gold_sees_each_table_before_a_run_or_after_it_and_nothing_else(
    workbench: Workbench, after_first_run: State
) -> None:
    workbench.put_back(after_first_run)
    delivered = dict(FIRST)
    for objects in SECONDS.values():
        delivered |= objects
        before = {table: sorted(workbench.rows(table), key=repr) for table in FIVE}
        workbench.upload(objects)
        reader = Reader(workbench.store)
        reader.start()
        workbench.run()
        reader.is_over = True
        reader.join()
        assert not reader.error
        assert reader.times > 10
        for table, seen in reader.seen.items():
            after = sorted(workbench.rows(table), key=repr)
            rows = [sorted(rows_of_table({reader.keys[table]: content}, table), key=repr) for content in seen]
            assert all(one in (before[table], after) for one in rows)
            assert rows[-1] == after
    workbench.assert_holds(delivered)
