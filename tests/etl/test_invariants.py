"""The seven invariants of the pipeline, each against an independent computation from the raw objects."""

from __future__ import annotations

import gzip
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError

from glue_scripts import capstone_etl as etl
from tests import oracle
from tests.etl.events import PURCHASE, SEARCH, VIEW, line, packed, uri
from tests.etl.workbench import LAKE, Workbench, killed, killed_at_change

SAMPLE = Path(__file__).parents[2] / "sample-data"


@pytest.fixture(scope="module")
def sample() -> dict[str, bytes]:
    """The twelve objects of the sample data."""
    files = sorted(SAMPLE.rglob("*.gz"))
    return {f"s3://raw/events/{path.relative_to(SAMPLE)}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def thin_sample(sample: dict[str, bytes]) -> dict[str, bytes]:
    """Every twentieth line of the sample data, and every line that is rejected or comes twice."""
    lines = {source: oracle.delivered_lines(data) for source, data in sample.items()}
    copies = Counter(one for of_object in lines.values() for one in of_object)

    def is_kept(number: int, one: bytes) -> bool:
        return number % 20 == 0 or copies[one] > 1 or not one.startswith(b'{"timestamp"')

    return {
        source: packed(*(one for number, one in enumerate(of_object) if is_kept(number, one)))
        for source, of_object in lines.items()
    }


def test_the_sample_data_gives_exactly_what_is_computed_independently(
    workbench: Workbench, sample: dict[str, bytes]
) -> None:
    workbench.upload(sample)
    summary = workbench.run()
    workbench.assert_holds(sample)
    delivered = sum(len(oracle.delivered_lines(data)) for data in sample.values())
    assert summary["bronze"]["files"] == 12
    assert (
        summary["bronze"]["rows_in"]
        == delivered
        == summary["bronze"]["accepted"] + summary["bronze"]["rejected"]
    )
    assert summary["bronze"]["accepted"] == summary["silver"]["inserted"] + summary["silver"]["duplicates"]
    assert summary["silver"]["inserted"] == len(workbench.rows("silver.events_cleaned"))


def test_no_line_is_lost_from_any_object(workbench: Workbench, thin_sample: dict[str, bytes]) -> None:
    workbench.upload(thin_sample)
    workbench.run()
    assert lines_kept(workbench) == {
        one: len(oracle.delivered_lines(data)) for one, data in thin_sample.items()
    }


def lines_kept(workbench: Workbench) -> dict[str, int]:
    """How many lines of each object are in bronze, accepted or rejected."""
    kept: Counter[str] = Counter()
    for table in ("bronze.events", "bronze.events_rejected"):
        source = oracle.COLUMNS[table].index("source_file")
        kept.update(row[source] for row in workbench.rows(table))
    return dict(kept)


def test_a_run_without_new_objects_changes_no_file(
    workbench: Workbench, thin_sample: dict[str, bytes]
) -> None:
    workbench.upload(thin_sample)
    workbench.run()
    before = files_of(workbench)
    summary = workbench.run()
    assert list(summary) == ["bronze"] and summary["bronze"]["files"] == summary["bronze"]["rows_in"] == 0
    assert files_of(workbench) == before


def test_a_run_after_a_bookmark_reset_leaves_the_same_rows(
    workbench: Workbench, thin_sample: dict[str, bytes]
) -> None:
    workbench.upload(thin_sample)
    workbench.run()
    workbench.forget_bookmark()
    summary = workbench.run()
    assert summary["bronze"]["files"] == 12
    assert summary["silver"]["inserted"] == 0 and summary["silver"]["days_rebuilt"] == []
    workbench.assert_holds(thin_sample)


@pytest.mark.parametrize(
    "order", [lambda sources: sources, lambda sources: sources[::-1]], ids=["in order", "latest first"]
)
def test_several_runs_leave_what_one_run_leaves(
    workbench: Workbench, thin_sample: dict[str, bytes], order: Callable[[list[str]], list[str]]
) -> None:
    sources = order(sorted(thin_sample))
    for batch in (sources[:5], sources[5:6], sources[6:]):
        workbench.upload({source: thin_sample[source] for source in batch})
        workbench.run()
    workbench.assert_holds(thin_sample)


def test_a_run_leaves_other_days_and_objects_as_they_are(workbench: Workbench) -> None:
    workbench.upload({uri("2025-11-18T14:25"): packed(line(), line(VIEW))})
    workbench.run()
    before = files_of(workbench)
    later: dict[str, Any] = {"timestamp": "2025-11-19T08:00:00Z"}
    workbench.upload({uri("2025-11-19T08:05"): packed(line(**later), line(SEARCH, **later))})
    workbench.run()
    after = files_of(workbench)
    rewritten = {path for path in before if after.get(path) != before[path]}
    assert {path.split("/")[1] for path in rewritten} == {"conversion_funnel", "top_products"}


COPIES = {
    "in one object": [{uri("2025-11-18T14:25"): packed(line(), line(), line())}],
    "in two objects of one run": [
        {uri("2025-11-18T14:25"): packed(line()), uri("2025-11-18T14:30"): packed(line())}
    ],
    "in two runs": [{uri("2025-11-18T14:25"): packed(line())}, {uri("2025-11-18T14:30"): packed(line())}],
    "in two runs, late one first": [
        {uri("2025-11-18T14:30"): packed(line())},
        {uri("2025-11-18T14:25"): packed(line())},
    ],
    "in other spellings": [
        {
            uri("2025-11-18T14:25"): packed(
                line(),
                line(timestamp="2025-11-18T15:23:45.123000+01:00"),
                line(user_id=" u_89234 ", search_query="N/A", price="29.990"),
            )
        }
    ],
}


@pytest.mark.parametrize("runs", COPIES.values(), ids=COPIES)
def test_copies_of_one_event_count_once(workbench: Workbench, runs: list[dict[str, bytes]]) -> None:
    for objects in runs:
        workbench.upload(objects)
        workbench.run()
    workbench.assert_holds({source: data for objects in runs for source, data in objects.items()})
    (revenue,) = workbench.rows("gold.hourly_revenue")
    assert str(revenue[2]) == "59.98" and revenue[3] == 1


MINUTE = "2025-11-18T14:25"
ONE_OF_MINUTE = {uri(MINUTE): packed(line(), line(VIEW), line(user_id="u_2"), b"broken")}
# It repeats an event, corrects another, and has two of its own.
OTHER_OF_MINUTE = {
    uri(MINUTE, "events-20251118-142530.jsonl.gz"): packed(
        line(), line(VIEW, category="toys"), line(user_id="u_3"), b"broken", line(event_type="refund")
    )
}


@pytest.mark.parametrize(
    "runs",
    [
        [ONE_OF_MINUTE | OTHER_OF_MINUTE],
        [ONE_OF_MINUTE, OTHER_OF_MINUTE],
        [OTHER_OF_MINUTE, ONE_OF_MINUTE],
    ],
    ids=["in one run", "in two runs", "in two runs, last name first"],
)
def test_two_objects_of_one_arrival_minute_are_both_kept(
    workbench: Workbench, runs: list[dict[str, bytes]]
) -> None:
    for objects in runs:
        workbench.upload(objects)
        workbench.run()
    objects = ONE_OF_MINUTE | OTHER_OF_MINUTE
    workbench.assert_holds(objects)
    assert lines_kept(workbench) == dict(zip(objects, (4, 5), strict=True))
    (folder,) = {path.parent for path in (workbench.folder / LAKE / "bronze/events").rglob("*.parquet")}
    assert folder.name == "minute=25"


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


TEN_MEGABYTES = 10_000_000


def test_lines_of_ten_megabytes_are_judged_as_any_line_and_lose_no_other(workbench: Workbench) -> None:
    huge = "x" * TEN_MEGABYTES
    accepted = [line(SEARCH, search_query=huge), line(VIEW, note=huge)]
    rejected = {
        "malformed_json": [huge.encode(), line(user_id="u_4", note=huge)[:-1]],
        "unknown_event_type": [line(event_type=huge)],
    }
    objects = {
        uri("2025-11-18T14:25"): packed(
            line(), accepted[0], line(user_id="u_2"), *rejected["malformed_json"]
        ),
        uri("2025-11-18T14:30"): packed(*rejected["unknown_event_type"], line(user_id="u_3"), accepted[1]),
        uri("2025-11-18T14:35"): packed(line(user_id="u_5"), b"broken"),
    }
    workbench.upload(objects)
    summary = workbench.run()["bronze"]
    assert (summary["accepted"], summary["rejected"]) == (6, 4)
    assert lines_kept(workbench) == {
        source: len(oracle.delivered_lines(data)) for source, data in objects.items()
    }
    workbench.assert_holds(objects)


# --- Crashes ------------------------------------------------------------------------------------------------

FIRST = {
    uri("2025-11-18T14:25"): packed(line(), line(VIEW), line(user_id="u_2"), b"broken"),
    uri("2025-11-18T14:30"): packed(line(SEARCH, timestamp="2025-11-18T14:27:00Z"), line(user_id="u_3")),
}
# An object delivered again with other content, a correction, a late event of another day, rejected lines.
SECOND = {
    uri("2025-11-18T14:25"): packed(line(), line(user_id="u_2", price=1), b"broken", b"broken"),
    uri("2025-11-18T14:35"): packed(
        line(user_id="u_3", quantity=5),
        line(VIEW, timestamp="2025-11-17T23:59:59.999999Z"),
        line(VIEW, timestamp="2025-11-18T14:33:00Z"),
        line(event_type="refund"),
    ),
}
# As above without what forces a day to be rebuilt: this run appends to silver.
APPENDING = {
    uri("2025-11-18T14:35"): packed(
        line(VIEW, timestamp="2025-11-17T23:59:59.999999Z"),
        line(VIEW, timestamp="2025-11-18T14:33:00Z"),
        line(user_id="u_3"),
        line(event_type="refund"),
    ),
}
# A day held by two objects: the second run corrects an event of it.
CORRECTING = {uri("2025-11-18T14:35"): packed(line(user_id="u_3", quantity=5), line(VIEW, user_id="u_9"))}


@dataclass(frozen=True)
class Crash:
    """A second run's new objects, and where the run is stopped: before or after a call of owner.name."""

    objects: dict[str, bytes]
    owner: Any
    name: str
    target: str = ""  # for a change of a bucket: of which path
    after: bool = False

    def is_here(self, *arguments: Any) -> bool:
        path = arguments[2 if self.name == "move" else 1]
        return not self.target or str(path).startswith(self.target)


CRASHES = {
    "half-way through an append": Crash(APPENDING, etl.Bucket, "move", "silver/", after=True),
    "when a day is deleted and not yet replaced": Crash(SECOND, etl.Bucket, "move", "silver/"),
    "the same, after a correction": Crash(CORRECTING, etl.Bucket, "move", "silver/"),
    "before commit": Crash(SECOND, etl, "run", after=True),
}


@pytest.fixture(scope="module")
def after_first_run(spark: Any, buckets: Path) -> str:
    workbench = Workbench(spark, buckets)
    workbench.upload(FIRST)
    workbench.run()
    workbench.assert_holds(FIRST)
    workbench.save("first")
    return "first"


BEFORE_THE_RECORD = {
    "after reading": Crash(SECOND, etl, "stage_delivery", after=True),
    "after bronze is staged": Crash(SECOND, etl, "publish_bronze", after=True),
    "while silver is staged": Crash(SECOND, etl, "stage_silver", after=True),
    "after a day is rebuilt under _staging": Crash(SECOND, etl, "rebuild_silver", after=True),
    "before gold is staged": Crash(SECOND, etl, "publish_gold"),
    "before the publication is recorded": Crash(SECOND, etl.Bucket, "write_text", "_pending/"),
}


def test_runs_killed_before_they_record_what_they_change_have_changed_no_table(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    workbench.upload(SECOND)
    before = workbench.tables()
    for crash in BEFORE_THE_RECORD.values():
        with killed(crash.owner, crash.name, crash.is_here, crash.after):
            workbench.run()
        assert workbench.tables() == before
    workbench.run()
    workbench.assert_holds({**FIRST, **SECOND})


def test_a_publication_killed_before_any_of_its_changes_is_finished_by_the_next_run(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    before = workbench.tables()
    workbench.upload(SECOND)
    with killed(etl.Publication, "carry_out") as stopped:
        workbench.run()
    ((publication,),) = stopped
    workbench.save("staged")
    for number in itertools.count():
        workbench.restore("staged")
        with killed_at_change(number) as killed_there:
            publication.carry_out()
        if not killed_there:
            break
        lost = etl.finish_stopped_publication(publication.lake)
        assert lost == set()
        if number == 0:  # Not even the record was written.
            assert workbench.tables() == before
        else:
            workbench.assert_holds({**FIRST, **SECOND})
    assert number > len(publication.moves) + len(publication.deletes)
    workbench.assert_holds({**FIRST, **SECOND})


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_a_run_killed_anywhere_is_made_good_by_the_next(
    workbench: Workbench, after_first_run: str, crash: Crash
) -> None:
    workbench.restore(after_first_run)
    workbench.upload(crash.objects)
    with killed(crash.owner, crash.name, crash.is_here, crash.after):
        workbench.run()
    workbench.run()
    workbench.assert_holds({**FIRST, **crash.objects})


def test_a_killed_run_is_made_good_although_its_raw_objects_have_expired(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    workbench.upload(CORRECTING)
    crash = CRASHES["the same, after a correction"]
    with killed(crash.owner, crash.name, crash.is_here):
        workbench.run()
    for source in CORRECTING:
        workbench.path(source).unlink()
    workbench.run()
    workbench.assert_holds({**FIRST, **CORRECTING})


def files_of(workbench: Workbench) -> dict[str, bytes]:
    root = workbench.folder / LAKE
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_truncated_object_gives_its_readable_lines_and_stops_nothing(workbench: Workbench) -> None:
    lines = [line(PURCHASE, user_id=f"u_{number}", quantity=number % 9 + 1) for number in range(400)]
    whole = gzip.compress(b"".join(one + b"\n" for one in lines), mtime=0)
    objects = {
        uri("2025-11-18T14:25"): whole[: len(whole) // 2],
        uri("2025-11-18T14:30"): b"this is no gzip",
        uri("2025-11-18T14:35"): packed(line(), b"broken"),
        uri("2025-11-18T14:40"): b"",
        uri("2025-11-18T14:45"): packed(),
    }
    workbench.upload(objects)
    workbench.run()
    workbench.assert_holds(objects)
    corrupt = [row[2] for row in workbench.rows("bronze.events_rejected") if row[1] == "corrupt_file"]
    assert sorted(corrupt) == [uri("2025-11-18T14:25"), uri("2025-11-18T14:30")]
    assert workbench.run()["bronze"]["files"] == 0


def test_a_truncated_object_keeps_its_lines_when_a_later_run_meets_another(workbench: Workbench) -> None:
    lines = [line(PURCHASE, user_id=f"u_{number}") for number in range(9)]
    truncated = packed(*lines)[:-20]
    objects = {}
    for arrival in ("2025-11-18T14:25", "2025-11-18T14:30"):
        objects[uri(arrival)] = truncated
        workbench.upload({uri(arrival): truncated})
        workbench.run()
        workbench.assert_holds(objects)
    assert oracle.delivered_lines(truncated)


def test_the_largest_revenue_is_exact_and_a_larger_one_stops_the_run(workbench: Workbench) -> None:
    largest = packed(
        line(quantity=100_000_000, price=99_999_999.99),
        line(quantity=1, price=999_999.99, user_id="u_2"),
    )
    objects = {uri("2025-11-18T14:25"): largest}
    workbench.upload(objects)
    workbench.run()
    workbench.assert_holds(objects)
    (revenue,) = workbench.rows("gold.hourly_revenue")
    assert str(revenue[2]) == "9999999999999999.99"

    workbench.upload({uri("2025-11-18T14:30"): packed(line(quantity=1, price=0.01, user_id="u_4"))})
    with pytest.raises(Py4JJavaError, match=r"Revenue does not fit decimal\(18,2\): 10000000000000000.00"):
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
