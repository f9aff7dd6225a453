"""Large results go to disk in pieces and are read from there; a query that is stopped ends at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
import pytest
from botocore.exceptions import ClientError

from in_process import runner
from lake import Lake
from local_aws.athena import engine
from local_aws.athena.errors import QueryFailed
from local_aws.server import LocalAws

MIB = 1 << 20
NUMBERS = "UNNEST(sequence(1, {})) AS t(x) CROSS JOIN UNNEST(sequence(1, 10000)) AS u(y)"
ENDLESS = NUMBERS.format(10_000) + " CROSS JOIN UNNEST(sequence(1, 1000)) AS v(z)"


@pytest.fixture(scope="module")
def lake(aws: LocalAws) -> Lake:
    return Lake(aws, "query-results")


class Peak:
    """The most memory that the server had within a `with` block, above what it had at its start; MiB."""

    def __init__(self, aws: LocalAws) -> None:
        self._process, self._ended = psutil.Process(aws.pid), threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.start = self._highest = 0.0

    def now(self) -> float:
        return self._process.memory_info().rss / MIB

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._highest = max(self._highest, self.now())

    def __enter__(self) -> Peak:
        self.start = self._highest = self.now()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()
        self.growth = self._highest - self.start


@pytest.mark.parametrize(
    ("sequence", "columns"),
    [
        pytest.param(290, "x, y", id="2.9 million rows"),
        pytest.param(100, "x * 0.5e0, cast(y AS decimal(7, 2))", id="1 million that Python writes"),
        pytest.param(3100, "x, y", id="31 million rows", marks=pytest.mark.long),
    ],
)
def test_a_large_result_is_written_in_pieces(lake: Lake, sequence: int, columns: str) -> None:
    lake.rows("SELECT 1")
    with Peak(lake.aws) as peak:
        query_id = lake.start(f"SELECT {columns} FROM {NUMBERS.format(sequence)}")
        execution = lake.wait(query_id, timeout=300)
        assert execution["Status"]["State"] == "SUCCEEDED", execution["Status"]
    assert peak.growth < 250
    statistics = lake.athena.get_query_runtime_statistics(QueryExecutionId=query_id)
    written = statistics["QueryRuntimeStatistics"]["Rows"]
    key = execution["ResultConfiguration"]["OutputLocation"].partition(lake.bucket + "/")[2]
    assert written["OutputRows"] == sequence * 10_000
    assert written["OutputBytes"] == lake.s3.head_object(Bucket=lake.bucket, Key=key)["ContentLength"]
    assert not list((lake.aws.state_dir / "tmp").glob("athena-*")), "no file is left"


def test_a_query_gives_back_the_memory_that_it_took(lake: Lake) -> None:
    """Also after Glue has looked for partitions, with an engine of its own."""
    lake.create_table("kept", {"n": "bigint"}, partitions={"day": "string"})
    lake.put_parquet("kept/day=2/x.parquet", {"n": pa.array([1], pa.int64())})
    lake.rows("MSCK REPAIR TABLE kept")
    lake.rows("SELECT 1")
    lake.glue.get_partitions(DatabaseName=lake.database, TableName="kept", Expression="day > '1'")
    with Peak(lake.aws) as peak:
        counted = "SELECT CAST(x * 10000 + y AS varchar) || ' of many' AS text, count(*) FROM {} GROUP BY 1"
        lake.rows(f"SELECT max(text) FROM ({counted.format(NUMBERS.format(400))})")
    assert peak.growth > 150
    deadline = time.monotonic() + 20
    while (grown := peak.now() - peak.start) > 60:
        assert time.monotonic() < deadline, f"{grown:.0f} MiB are kept"
        time.sleep(0.1)


def test_queries_at_the_same_time_do_not_see_each_others_tables(lake: Lake) -> None:
    for number in range(6):
        table = f"part{number}"
        lake.create_table(table, {f"n{number}": "bigint"}, partitions={"day": "string"})
        for day in ("1", "2"):
            values = pa.array(range(number, number + 1_000), pa.int64())
            lake.put_parquet(f"{table}/day={day}/x.parquet", {f"n{number}": values})
        lake.rows(f"MSCK REPAIR TABLE {table}")

    def asked(number: int) -> list[tuple[str | None, ...]]:
        return lake.rows(f"SELECT day, sum(n{number}) FROM part{number} GROUP BY day ORDER BY day")

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(asked, [*range(6)] * 3))
    sums = [str(sum(range(number, number + 1_000))) for number in range(6)]
    assert answers == [[("1", total), ("2", total)] for total in sums] * 3


def test_a_query_that_breaks_the_engine_breaks_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runner(tmp_path)
    assert run("SELECT 1").rows == [("1",)]
    broken = engine._database(tmp_path)
    with monkeypatch.context() as patched:

        def scanner(*_: object) -> None:
            raise duckdb.FatalException("FATAL Error: the database has been invalidated")

        patched.setattr(engine, "Scanner", scanner)
        with pytest.raises(QueryFailed, match="GENERIC_INTERNAL_ERROR"):
            run("SELECT 1")
    broken.close()
    assert run("SELECT 1").rows == [("1",)]


def test_pages_follow_each_other_from_disk(lake: Lake) -> None:
    sql = (
        "SELECT x, CASE x % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'says \"so\", '||chr(10)||'twice'"
        " ELSE 'käse' END AS text FROM UNNEST(sequence(1, 2500)) AS t(x) ORDER BY x"
    )
    texts = (None, "", 'says "so", \ntwice', "käse")
    expected = [("x", "text"), *((str(x), texts[x % 4]) for x in range(1, 2501))]
    query_id = lake.wait(lake.start(sql))["QueryExecutionId"]
    for size in (1000, 7):
        paginator = lake.athena.get_paginator("get_query_results")
        pages = paginator.paginate(QueryExecutionId=query_id, PaginationConfig={"PageSize": size})
        rows = [
            tuple(datum.get("VarCharValue") for datum in row["Data"])
            for page in pages
            for row in page["ResultSet"]["Rows"]
        ]
        assert rows == expected


def test_a_result_that_was_deleted_is_gone(lake: Lake) -> None:
    execution = lake.wait(lake.start("SELECT 1"))
    key = execution["ResultConfiguration"]["OutputLocation"].partition(lake.bucket + "/")[2]
    lake.s3.delete_object(Bucket=lake.bucket, Key=key)
    with pytest.raises(ClientError, match="Could not find results"):
        lake.athena.get_query_results(QueryExecutionId=execution["QueryExecutionId"])


@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT count(*) FROM {ENDLESS} WHERE (x * y) % 7 = 3",
        f"SELECT x, y FROM {ENDLESS}",
        f"SELECT x * 0.5e0, y FROM {ENDLESS}",
    ],
    ids=["computing", "writing", "writing in Python"],
)
def test_a_query_that_is_stopped_ends_as_cancelled(lake: Lake, sql: str) -> None:
    query_id = lake.start(sql)
    while lake.athena.get_query_execution(QueryExecutionId=query_id)["QueryExecution"]["Status"]["State"] in (
        "QUEUED",
    ):
        time.sleep(0.01)
    lake.athena.stop_query_execution(QueryExecutionId=query_id)
    status = lake.wait(query_id, timeout=30)["Status"]
    assert (status["State"], status["StateChangeReason"]) == ("CANCELLED", "Query was cancelled by user")
    with pytest.raises(ClientError, match="CANCELLED"):
        lake.athena.get_query_results(QueryExecutionId=query_id)
    assert not list((lake.aws.state_dir / "tmp").glob("athena-*")), "no file is left"


def test_stopping_a_query_that_has_ended_changes_nothing(lake: Lake) -> None:
    query_id = lake.wait(lake.start("SELECT 1"))["QueryExecutionId"]
    lake.athena.stop_query_execution(QueryExecutionId=query_id)
    assert lake.wait(query_id)["Status"]["State"] == "SUCCEEDED"
