"""What an operator does to the job: limits, compaction, bookmarks, repair, and lakes of the older job."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from unittest import mock

import pytest

from glue_scripts import capstone_etl as etl
from tests.etl.events import VIEW, line, packed, uri
from tests.etl.test_invariants import FIRST, SECONDS, after_first_run
from tests.etl.workbench import LAKE, State, Workbench

__all__ = ["after_first_run"]  # The fixture.

OBJECTS = {uri("2025-11-18T14:25"): packed(line(), line(VIEW), b"broken")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("MAX_REJECTED_PERCENT", value) for value in ("nan", "5%", "-1", "101", "", "1e1")),
        *(("COMPACT_DAYS", value) for value in ("2.0", "9999999", "-1", "two", "inf")),
        *(("WATCH_SECONDS", value) for value in ("-1", "0.5", "3601")),
        *(("WATCH_MINUTES", value) for value in ("10081", "an hour")),
    ],
)
def test_a_setting_that_is_none_is_refused_by_name_before_anything_is_read(
    workbench: Workbench, name: str, value: str
) -> None:
    names = {"JOB_NAME": "capstone-etl", "SOURCE_BUCKET": "raw", "ANALYTICS_BUCKET": LAKE, name: value}
    arguments = [text for pair in names.items() for text in (f"--{pair[0]}", pair[1])]
    workbench.store.gate.open()
    with (
        mock.patch.object(sys, "argv", ["capstone_etl.py", *arguments]),
        pytest.raises(ValueError, match=f"--{name} .*{value!r}"),
    ):
        etl.main()
    assert workbench.store.gate.requests == 0


def test_how_long_to_watch_is_refused_without_how_often(workbench: Workbench) -> None:
    names = {"JOB_NAME": "etl", "SOURCE_BUCKET": "raw", "ANALYTICS_BUCKET": LAKE, "WATCH_MINUTES": "5"}
    arguments = [text for pair in names.items() for text in (f"--{pair[0]}", pair[1])]
    with (
        mock.patch.object(sys, "argv", ["capstone_etl.py", *arguments]),
        pytest.raises(ValueError, match="--WATCH_MINUTES 5 needs --WATCH_SECONDS"),
    ):
        etl.main()


def test_too_many_rejected_lines_fail_each_run_until_they_are_allowed_and_are_all_kept(
    workbench: Workbench,
) -> None:
    workbench.upload(OBJECTS)
    for _ in range(2):
        with pytest.raises(
            etl.TooManyRejected, match=r"1 of 3 lines were rejected \(33.33%\).*--MAX_REJECTED_PERCENT 33"
        ):
            workbench.run(max_rejected_percent=33)
        workbench.assert_tables_hold(OBJECTS)
    assert workbench.run(max_rejected_percent=34)["bronze"]["files"] == 1
    workbench.assert_holds(OBJECTS)
    assert workbench.run(max_rejected_percent=0)["bronze"]["files"] == 0


def test_closed_days_are_compacted_once_and_go_on_taking_late_events(workbench: Workbench) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)

    def files_of_silver() -> set[str]:
        return {key for key in workbench.store.objects(LAKE, "silver") if key.endswith(".parquet")}

    delivered: dict[str, bytes] = {}
    for hour in (9, 10):
        moment = yesterday.replace(hour=hour, minute=0, second=0)
        lines = [
            line(VIEW, user_id=user, timestamp=f"{moment:%Y-%m-%dT}09:{minute}:00Z")
            for minute, user in ((10, "u_1"), (hour + 10, f"u_{hour}"))
        ]
        new = {uri(f"{moment:%Y-%m-%dT%H:%M}"): packed(*lines)}
        delivered |= new
        workbench.upload(new)
        workbench.run()
    before = files_of_silver()
    workbench.run(compact_days=2)
    workbench.assert_holds(delivered)
    compacted = files_of_silver()
    assert len(compacted) < len(before)
    workbench.store.gate.open()
    workbench.run(compact_days=2)
    assert files_of_silver() == compacted and workbench.store.gate.count == 0
    late = {uri(f"{yesterday:%Y-%m-%dT}23:50"): packed(line(timestamp=f"{yesterday:%Y-%m-%dT}09:40:00Z"))}
    workbench.upload(late)
    workbench.run(compact_days=2)
    workbench.assert_holds(delivered | late)


def test_gold_that_was_deleted_is_brought_back_with_news_or_without(
    workbench: Workbench, after_first_run: State
) -> None:
    workbench.put_back(after_first_run)
    workbench.store.delete(LAKE, workbench.store.objects(LAKE, "gold/conversion_funnel/"))
    workbench.run()
    workbench.assert_holds(FIRST)
    workbench.store.delete(LAKE, workbench.store.objects(LAKE, "gold/hourly_revenue/"))
    later = {uri("2025-11-19T08:05"): packed(line(VIEW, timestamp="2025-11-19T08:00:00Z"))}
    workbench.upload(later)
    workbench.run()
    workbench.assert_holds(FIRST | later)


def test_a_paused_a_disabled_and_another_jobs_bookmark_change_no_row(
    workbench: Workbench, after_first_run: State
) -> None:
    workbench.put_back(after_first_run)
    second = SECONDS["redelivering"]
    workbench.upload(second)
    assert workbench.run("job-bookmark-pause")["bronze"]["files"] == 2
    assert workbench.run("job-bookmark-disable")["bronze"]["files"] == 3
    assert workbench.run()["bronze"]["files"] == 2
    assert workbench.run(job_name="another")["bronze"]["files"] == 3
    workbench.assert_holds(FIRST | second)


def test_a_lake_of_the_older_job_is_refused_with_advice_that_helps(workbench: Workbench) -> None:
    workbench.upload(OBJECTS)
    workbench.run()  # So the bookmark has them.
    right = workbench.tables()
    workbench.store.clear(LAKE)
    bronze = "bronze/events/year=2025/month=11/day=18/hour=14/minute=25/a.parquet"
    older = (
        bronze,
        "bronze/deliveries/2025-11-18.jsonl",
        "silver/events_cleaned/b.parquet",
        "gold/event_cube/c.parquet",
        "_pending/d",
        "_staging/e",
    )
    for key in older:
        workbench.store.put(f"s3://{LAKE}/{key}", b"of the older job")
    with pytest.raises(RuntimeError, match=r"older version of this job.*reset the job bookmark") as refused:
        workbench.run()
    assert set(workbench.store.objects(LAKE)) == set(older)
    for key in older:
        assert f"{key.split('/')[0]}/" in str(refused.value)
    workbench.store.clear(LAKE)
    workbench.forget_bookmark()
    workbench.run()
    assert workbench.tables() == right
    workbench.assert_holds(OBJECTS)
