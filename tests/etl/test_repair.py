"""What an operator does to the job: limits, compaction, bookmarks, repair. And what a run does not read."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pyspark.sql import DataFrame

from glue_scripts import capstone_etl as etl
from tests.etl.events import VIEW, line, packed, uri
from tests.etl.test_invariants import FIRST, SECOND, after_first_run
from tests.etl.workbench import LAKE, Workbench, killed

__all__ = ["after_first_run"]  # The fixture.


def silver_of(workbench: Workbench) -> set[Path]:
    return set((workbench.folder / LAKE / "silver").rglob("*.parquet"))


def test_closed_days_are_compacted_once_and_go_on_taking_late_events(workbench: Workbench) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)

    def objects(hour: int, *users: str) -> dict[str, bytes]:
        moment = yesterday.replace(hour=hour, minute=0, second=0)
        lines = [line(VIEW, user_id=user, timestamp=f"{moment:%Y-%m-%dT%H:%M:%SZ}") for user in users]
        return {uri(f"{moment:%Y-%m-%dT%H:%M}"): packed(*lines)}

    compacting = etl.Settings(compact_days=2)
    delivered = objects(9, "u_1", "u_2")
    workbench.upload(delivered)
    workbench.run()
    for hour in (10, 11):
        new = objects(hour, "u_1", f"u_{hour}")
        delivered |= new
        workbench.upload(new)
        with mock.patch.object(etl, "compact_silver", lambda *_: None):
            workbench.run(settings=compacting)
        assert len(silver_of(workbench)) > 1
        workbench.run(settings=compacting)
        assert len(silver_of(workbench)) == 1
        workbench.assert_holds(delivered)
    compacted = silver_of(workbench)
    workbench.run(settings=compacting)
    assert silver_of(workbench) == compacted


def test_too_many_rejected_lines_fail_a_run_that_has_kept_them_all(workbench: Workbench) -> None:
    objects = {uri("2025-11-18T14:25"): packed(line(), line(VIEW), b"broken")}
    workbench.upload(objects)
    with pytest.raises(
        etl.TooManyRejected, match=r"1 of 3 lines were rejected \(33.33%\).*--MAX_REJECTED_PER"
    ):
        workbench.run(settings=etl.Settings(max_rejected_percent=33))
    workbench.assert_holds(objects)
    assert workbench.run(settings=etl.Settings(max_rejected_percent=34))["bronze"]["files"] == 1
    workbench.assert_holds(objects)
    assert workbench.run(settings=etl.Settings(max_rejected_percent=0))["bronze"]["files"] == 0


def test_staged_files_that_somebody_removed_are_made_again(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    workbench.upload(SECOND)
    with killed(etl.Bucket, "move", lambda *arguments: arguments[2].startswith("silver/")):
        workbench.run()
    shutil.rmtree(workbench.folder / LAKE / "_staging")
    workbench.run()
    workbench.assert_holds({**FIRST, **SECOND})


def test_a_record_that_was_cut_off_while_it_was_written_says_nothing(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    before = workbench.tables()
    record = workbench.folder / LAKE / etl.PUBLICATION_RECORD
    record.parent.mkdir(exist_ok=True)
    record.write_text('{"deletes": ["silver/')
    workbench.run()
    assert not record.exists() and workbench.tables() == before


def test_a_bookmark_reset_brings_back_gold_that_was_deleted(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    shutil.rmtree(workbench.folder / LAKE / "gold")
    workbench.forget_bookmark()
    workbench.run()
    workbench.assert_holds(FIRST)


def test_a_paused_a_disabled_and_another_jobs_bookmark_change_no_row(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    workbench.upload(SECOND)
    assert workbench.run("job-bookmark-pause")["bronze"]["files"] == 2
    workbench.assert_holds({**FIRST, **SECOND})
    assert workbench.run("job-bookmark-disable")["bronze"]["files"] == 3
    assert workbench.run()["bronze"]["files"] == 2
    assert workbench.run(job_name="another")["bronze"]["files"] == 3
    workbench.assert_holds({**FIRST, **SECOND})


def test_a_run_reads_no_files_of_days_that_it_does_not_touch(
    workbench: Workbench, after_first_run: str
) -> None:
    workbench.restore(after_first_run)
    objects = {
        uri("2025-11-19T08:05"): packed(
            line(timestamp="2025-11-19T08:00:00Z"), line(VIEW, timestamp="2025-11-19T08:01:00Z")
        )
    }
    workbench.upload(objects)
    with watched_reads() as read:
        workbench.run()
    workbench.assert_holds({**FIRST, **objects})
    assert {path.rsplit("/", 1)[0] for path in read} == {"gold/conversion_funnel"}


def test_a_run_opens_of_a_day_of_silver_only_files_of_the_hours_that_it_may_have_copies_of(
    workbench: Workbench,
) -> None:
    def objects(arrival: str, *times: str) -> dict[str, bytes]:
        return {
            uri(f"2025-11-18T{arrival}"): packed(*(line(timestamp=f"2025-11-18T{time}Z") for time in times))
        }

    def run(new: dict[str, bytes], opened: set[str]) -> None:
        """Files of hours that are not to be opened hold no Parquet meanwhile."""
        kept = {path: path.read_bytes() for path in silver_of(workbench) if hour_of(path) not in opened}
        for path in kept:
            path.write_bytes(b"no Parquet")
        workbench.upload(new)
        with watched_reads() as read:
            workbench.run()
        for path, content in kept.items():
            path.write_bytes(content)
        assert {hour_of(Path(path)) for path in read if path.startswith("silver/")} == opened
        delivered.update(new)
        workbench.assert_holds(delivered)

    delivered: dict[str, bytes] = {}
    for hour in ("00", "10", "20"):
        run(objects(f"{hour}:35", f"{hour}:10:00", f"{hour}:30:00"), opened=set())
    run(objects("22:05", "22:00:00", "22:04:59.999999"), opened=set())
    # A copy, and an event that is late and new.
    run(objects("22:10", "10:10:00", "10:29:59"), opened={"10"})
    assert {hour_of(path) for path in silver_of(workbench)} == {"00", "10", "20", "22"}


def hour_of(path: Path) -> str:
    """The hour of the first event of a file of silver, by the time in its name: microseconds of the day."""
    return f"{int(path.name.split('-')[1]) // 3_600_000_000:02d}"


@contextlib.contextmanager
def watched_reads() -> Iterator[set[str]]:
    """The paths of the published files that a run reads."""
    read: set[str] = set()
    original = etl.Lake.read

    def reading(lake: Any, table: Any, uris: Iterable[str]) -> DataFrame:
        uris = list(uris)
        read.update(path for path in map(lake.relative, uris) if not path.startswith("_staging/"))
        return original(lake, table, uris)

    with mock.patch.object(etl.Lake, "read", reading):
        yield read
