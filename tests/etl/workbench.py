"""Runs the ETL script as the job does, on an embedded S3 that can go dark, and reads what it wrote.

For: tests of the script's behaviour, on one Spark session for all of them. The script, its bookmark (our
`awsglue`), Spark and its way to S3 are the real ones; only S3 and the Glue service around them are not.
Not for: how a job is started, logged and stopped: the tests of the embedded AWS do that.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from awsglue.context import GlueContext
from awsglue.job import BOOKMARKS_VARIABLE, Job
from pyspark.sql import SparkSession

from glue_scripts import capstone_etl as etl
from tests import oracle
from tests.etl.s3 import Content, Store

RAW, LAKE = "raw", "lake"
ALL_TABLES = tuple(oracle.COLUMNS)


@dataclass(frozen=True)
class State:
    """Both buckets and the bookmark at some moment."""

    buckets: dict[str, Content]
    bookmark: bytes | None


@contextlib.contextmanager
def in_parts() -> Iterator[None]:
    """Every object is large, and judged in parts by several tasks, unless there are many of them."""
    with mock.patch.multiple(etl, PART_BYTES=10, MOST_PARTS=3, BLOCK_LINES=2, FEW_OBJECTS=20):
        yield


class Workbench:
    """A raw bucket, an analytics bucket and a bookmark, all empty at first."""

    def __init__(self, spark: SparkSession, store: Store, bookmark: Path) -> None:
        self.spark, self.store, self.bookmark = spark, store, bookmark
        self.clear()

    # --- What lies there ------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Empty buckets, no bookmark, and a store that can be reached, whatever a test before did to it."""
        self.store.gate.open()
        self.put_back(State({RAW: {}, LAKE: {}}, None))

    def state(self) -> State:
        """Everything as it is now, to be put back later."""
        bookmark = self.bookmark.read_bytes() if self.bookmark.exists() else None
        return State({bucket: self.store.content(bucket) for bucket in (RAW, LAKE)}, bookmark)

    def put_back(self, state: State) -> None:
        """Make everything what it was then."""
        self.forget_bookmark()
        if state.bookmark is not None:
            self.bookmark.write_bytes(state.bookmark)
        for bucket, content in state.buckets.items():
            self.store.put_back(bucket, content)

    def forget_bookmark(self) -> None:
        """What `reset-job-bookmark` does."""
        for path in self.bookmark.parent.glob(f"{self.bookmark.name}*"):
            path.unlink()

    def upload(self, objects: Mapping[str, bytes]) -> None:
        """Put objects (by s3:// URI), each with a later time than any before."""
        for uri, content in objects.items():
            self.store.put(uri, content)

    def delete(self, uris: Iterable[str]) -> None:
        """Delete raw objects, as their expiry does."""
        self.store.delete(RAW, [uri.removeprefix(f"s3://{RAW}/") for uri in uris])

    # --- Runs -----------------------------------------------------------------------------------------------

    def run(
        self,
        bookmark: str = "job-bookmark-enable",
        job_name: str = "capstone-etl",
        **settings: Any,
    ) -> dict[str, Any]:
        """One job run. Returns its summary lines by layer; raises what the script raises."""
        printed = io.StringIO()
        with self._bookmark_of(job_name, bookmark) as (glue_context, job):
            with contextlib.redirect_stdout(printed):
                etl.run(glue_context, RAW, LAKE, **settings)
            job.commit()
        self.printed = printed.getvalue()
        summaries = [json.loads(line) for line in self.printed.splitlines() if line.startswith("{")]
        return {summary.pop("layer"): summary for summary in summaries}

    def watch(
        self,
        deliveries: Iterable[Mapping[str, bytes]],
        step_seconds: float = etl.WHOLE_LISTING_SECONDS,
        **settings: Any,
    ) -> dict[str, Any]:
        """A job run that watches: one of these is uploaded after each round, and then its time is over.

        In its clock so much time goes by from round to round that each lists all raw objects.
        """
        waiting, ahead = iter(deliveries), 0.0

        def sleep(_: float) -> None:
            nonlocal ahead
            delivery = next(waiting, None)
            ahead += etl.LONGEST_RUN_MINUTES * 60 if delivery is None else step_seconds
            self.upload(delivery or {})

        with mock.patch.multiple(etl, sleep=sleep, monotonic=lambda: time.monotonic() + ahead):
            return self.run(watch_seconds=1, watch_minutes=etl.LONGEST_RUN_MINUTES, **settings)

    def run_in_the_dark_after(
        self, requests: int, deliveries: Iterator[Mapping[str, bytes]] | None = None, **options: Any
    ) -> bool:
        """A run that dies as the store goes dark after so many requests; False where it needed no more.

        With deliveries it watches, as `watch` does; those that it did not live to see are uploaded then.
        """
        self.store.gate.shut_after(requests, **options)
        try:
            self.run() if deliveries is None else self.watch(deliveries)
        except Exception:
            if not self.store.gate.is_dark:
                raise
            return True
        finally:
            self._wait_for_tasks()
            self.store.gate.open()
            for delivery in deliveries or ():
                self.upload(delivery)
        return False

    @contextlib.contextmanager
    def _bookmark_of(self, job_name: str, option: str) -> Iterator[tuple[GlueContext, Job]]:
        os.environ[BOOKMARKS_VARIABLE] = str(self.bookmark)
        glue_context = GlueContext(self.spark.sparkContext)
        job = Job(glue_context)
        job.init(job_name, {"job_bookmark_option": option})
        try:
            yield glue_context, job
        finally:
            self.spark.catalog.clearCache()  # On Glue a session ends with its run.

    def _wait_for_tasks(self) -> None:
        """Spark lets the tasks of a failed job go on: those of a killed run must not see the light."""
        tracker = self.spark.sparkContext._jsc.sc().statusTracker()
        while any(executor.numRunningTasks() for executor in tracker.getExecutorInfos()):
            time.sleep(0.01)

    # --- Tables ---------------------------------------------------------------------------------------------

    def rows(self, table: str) -> list[oracle.Row]:
        """The rows of a table; see `rows_of_table`."""
        return rows_of_table(self.store.read(LAKE, f"{etl.TABLES[table].location}/"), table)

    def tables(self) -> dict[str, list[oracle.Row]]:
        return {table: sorted(self.rows(table), key=repr) for table in ALL_TABLES}

    def assert_holds(self, objects: Mapping[str, bytes]) -> None:
        """Every table is what an independent computation makes of these objects; no work is left over."""
        self.assert_tables_hold(objects)
        assert not self.store.objects(LAKE, etl.NOTE)

    def assert_tables_hold(self, objects: Mapping[str, bytes]) -> None:
        """As `assert_holds`, whatever is left over."""
        listed = self.store.objects(RAW)
        times = {f"s3://{RAW}/{key}": one.modified for key, one in listed.items()}
        assert_lake_holds(self.store.read(LAKE), oracle.expected_tables(objects, times))


def assert_lake_holds(lake: Mapping[str, bytes], expected: oracle.Expected) -> None:
    """Every table in these objects, by key, is what was expected."""
    for table in ALL_TABLES:
        oracle.assert_same_rows(table, rows_of_table(lake, table), expected[table])


def rows_of_table(lake: Mapping[str, bytes], table: str) -> list[oracle.Row]:
    """The rows of a table as Athena would read them: every object below its location, by catalog schema."""
    location, parts = etl.TABLES[table].location, []
    for key, content in lake.items():
        if key.startswith(f"{location}/") and content and not re.search(r"/[_.]", key):
            part = pq.ParquetFile(io.BytesIO(content)).read()
            folders = dict(re.findall(r"/(\w+)=(\d+)", key))
            for name in etl.TABLES[table].partitions:
                part = part.append_column(name, pa.repeat(int(folders[name]), len(part)))
            parts.append(part)
    rows = oracle.rows_of(table, pa.concat_tables(parts)) if parts else []
    return added_up(rows) if table == "gold.event_cube" else rows


def added_up(cube: list[oracle.Row]) -> list[oracle.Row]:
    """The cube as queries use it: counts, quantities and revenue of several raw objects in one row."""
    sums: dict[oracle.Row, oracle.Row] = {}
    for row in cube:
        key, counts = (*row[:5], *row[8:]), row[5:8]
        sums[key] = tuple(map(sum, zip(sums[key], counts, strict=True))) if key in sums else counts
    return [(*key[:5], *counts, *key[5:]) for key, counts in sums.items()]
