"""Runs the ETL script as the job does, on folders that stand for the two buckets, and reads what it wrote.

For: tests of the script's behaviour, on one Spark session for all of them. The script, its bookmark (our
`awsglue`) and Spark are the real ones; only S3 and the Glue service around them are missing here.
Not for: how a job is started, logged and stopped: the tests of the embedded AWS do that.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.dataset as ds
from awsglue.context import GlueContext
from awsglue.job import BOOKMARKS_VARIABLE, Job
from pyspark.sql import SparkSession

from glue_scripts import capstone_etl as etl
from tests import oracle

RAW, LAKE = "raw", "lake"
ALL_TABLES = tuple(oracle.COLUMNS)
UPLOAD_TIMES = itertools.count(1_700_000_000)


class Killed(BaseException):
    """The run was stopped here. No Exception: no handler in the script may take it for an error."""


class Workbench:
    """A raw bucket, an analytics bucket and a bookmark, all empty at first."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self.spark = spark
        self.folder = folder
        self.clear()

    def clear(self) -> None:
        """Empty buckets, no bookmark."""
        for name in (RAW, LAKE):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        self.forget_bookmark()

    def save(self, name: str) -> None:
        """Remember buckets and bookmark as they are."""
        saved = self.folder.parent / f"saved-{name}"
        shutil.rmtree(saved, ignore_errors=True)  # Of another module, perhaps.
        shutil.copytree(self.folder, saved)

    def restore(self, name: str) -> None:
        """Put buckets and bookmark back as they were saved."""
        self.clear()
        shutil.copytree(self.folder.parent / f"saved-{name}", self.folder, dirs_exist_ok=True)

    def forget_bookmark(self) -> None:
        """What `reset-job-bookmark` does."""
        for path in self.folder.glob("bookmarks.sqlite*"):
            path.unlink()

    def upload(self, objects: Mapping[str, bytes]) -> None:
        """Put objects (by s3:// URI) into the raw bucket, each with a later time than any before."""
        for uri, content in objects.items():
            path = self.path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            now = next(UPLOAD_TIMES)
            os.utime(path, (now, now))

    def path(self, uri: str) -> Path:
        return self.folder / uri.removeprefix("s3://")

    def run(
        self,
        bookmark: str = "job-bookmark-enable",
        job_name: str = "capstone-etl",
        settings: etl.Settings = etl.DEFAULTS,
    ) -> dict[str, Any]:
        """One job run. Returns its summary lines by layer; raises what the script raises."""
        os.environ[BOOKMARKS_VARIABLE] = str(self.folder / "bookmarks.sqlite")
        glue_context = GlueContext(self.spark.sparkContext)
        job = Job(glue_context)
        job.init(job_name, {"job_bookmark_option": bookmark})
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                etl.run(glue_context, RAW, LAKE, settings)
            job.commit()
        finally:
            self._restore_session()
        summaries = map(json.loads, printed.getvalue().splitlines())
        return {summary.pop("layer"): summary for summary in summaries}

    def _restore_session(self) -> None:
        """On Glue a session ends with its run; here the next run must not find what this one left in it."""
        self.spark.catalog.clearCache()
        self.spark.conf.unset("spark.sql.files.ignoreCorruptFiles")
        self.spark.sparkContext._jsc.sc().conf().remove("spark.files.ignoreCorruptFiles")

    def rows(self, table: str) -> list[oracle.Row]:
        """The rows of a table; see `rows_of_table`."""
        return rows_of_table(self.folder / LAKE, table)

    def tables(self) -> dict[str, list[oracle.Row]]:
        return {table: sorted(self.rows(table), key=repr) for table in ALL_TABLES}

    def assert_holds(self, objects: Mapping[str, bytes]) -> None:
        """Every table is what an independent computation makes of these objects; nothing is left over."""
        self.assert_tables_hold(objects)
        leftovers = [path for path in (self.folder / LAKE).glob("_*/**/*") if path.is_file()]
        assert not leftovers, f"the run left {leftovers}"

    def assert_tables_hold(self, objects: Mapping[str, bytes]) -> None:
        """As `assert_holds`, whatever is left over."""
        expected = oracle.expected_tables(objects)
        for table in ALL_TABLES:
            oracle.assert_same_rows(table, self.rows(table), expected[table])


def rows_of_table(lake: Path, table: str) -> list[oracle.Row]:
    """The rows of a table as Athena would read them: every file below its location, by catalog schema."""
    location = lake / etl.TABLES[table].location
    files = [str(path) for path in location.rglob("*.parquet")]
    if not files:
        return []
    partitions = pa.schema([(name, pa.int32()) for name in etl.TABLES[table].partitions])
    hive = ds.partitioning(partitions, flavor="hive")
    data = ds.dataset(files, partitioning=hive, partition_base_dir=str(location)).to_table()
    return oracle.rows_of(table, data)


@contextlib.contextmanager
def killed(
    owner: Any, name: str, when: Callable[..., bool] = lambda *_: True, after: bool = False
) -> Iterator[list[tuple[Any, ...]]]:
    """Stop the run where it calls owner.name with arguments for which `when` is true, before or after it.

    The list holds the arguments then. Raises AssertionError when the run never came there.
    """
    original = getattr(owner, name)
    stopped: list[tuple[Any, ...]] = []

    def stopping(*args: Any, **kwargs: Any) -> Any:
        stops = when(*args, **kwargs)
        if stops:
            stopped.append(args)
        if stops and not after:
            raise Killed(name)
        result = original(*args, **kwargs)
        if stops:
            raise Killed(name)
        return result

    with mock.patch.object(owner, name, stopping), contextlib.suppress(Killed):
        yield stopped
    assert stopped, f"the run never came to {name}"


@contextlib.contextmanager
def killed_at_change(number: int | None) -> Iterator[list[int]]:
    """Stop the run before its n-th change to a bucket: a file moved, deleted or written.

    The list is empty as long as the run did not come so far.
    """
    changes = itertools.count()
    killed_there: list[int] = []

    def counted(original: Any) -> Any:
        def change(*arguments: Any) -> Any:
            if number is not None and next(changes) >= number:
                killed_there.append(number)
                raise Killed
            return original(*arguments)

        return change

    names = ("move", "delete", "write_text")
    patches = {name: counted(getattr(etl.Bucket, name)) for name in names}
    with mock.patch.multiple(etl.Bucket, **patches), contextlib.suppress(Killed):
        yield killed_there
