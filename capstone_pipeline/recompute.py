"""What the tables should hold, computed from the raw objects by DuckDB and without the job's code.

The rules are in `recompute.sql`; here the raw objects are fetched and cut into lines. For
`validate_results.ipynb`, which compares both. Not for the pipeline itself, and not for histories that outgrow
one machine's memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from capstone_pipeline.answers import ask
from capstone_pipeline.errors import PipelineError, own_errors
from capstone_pipeline.render import Shown, facts_table, plural, when
from capstone_pipeline.stack import Connection, StackOutputs

RULES = Path(__file__).with_name("recompute.sql")

_ARRIVAL = re.compile(r"/year=(\d{4})/month=(\d{1,2})/day=(\d{1,2})/hour=(\d{1,2})/minute=(\d{1,2})/")
_ARRIVAL_IN_NAME = re.compile(r"/events-(\d{4})(\d{2})(\d{2})-(\d{2})(\d{2})\d{2}\.[^/]*$")
_LINES = pa.schema(
    {"source_file": pa.string(), "arrival": pa.timestamp("us"), "line": pa.string(), "is_utf8": pa.bool_()}
)


class NotRunYet(PipelineError):
    """The Glue job has never succeeded, so there is nothing to compare."""


@dataclass(frozen=True)
class RawObject:
    """One object of the source bucket: when its path says that it arrived, and when it was last written."""

    uri: str
    arrival: datetime
    last_modified: datetime


@dataclass(frozen=True, repr=False)
class Recomputed(Shown):
    """The recomputed tables, and which raw objects they come from.

    `pending` objects came after the last successful run, so no table can hold them. `expired` ones are named
    in silver but not in the bucket any more: only days after `last_incomplete_day` can be recomputed then.
    """

    database: duckdb.DuckDBPyConnection
    objects: tuple[RawObject, ...]
    pending: tuple[str, ...]
    expired: tuple[str, ...]
    last_incomplete_day: date | None
    as_of: datetime

    def rows(self, sql: str) -> pd.DataFrame:
        """What DuckDB answers over the tables and views of `recompute.sql`."""
        return query_rows(self.database, sql)

    def facts(self) -> list[tuple[str, str]]:
        """What was read and what came of it, as (name, value)."""
        counts = self.rows(
            "SELECT (SELECT count(*) FROM lines), (SELECT count(*) FROM judged WHERE reason IS NULL), "
            "(SELECT count(*) FROM rejected), (SELECT count(*) FROM events)"
        ).iloc[0]
        facts = [("Raw objects read", f"{len(self.objects):,}")]
        names = ("Lines", "Accepted lines", "Rejected lines and objects", "Different events")
        facts += [(name, f"{count:,}") for name, count in zip(names, counts, strict=True)]
        facts.append(("Last successful run", when(self.as_of)))
        if self.pending:
            facts.append(("Not taken in yet", f"{plural(len(self.pending), 'newer object')}, left out here"))
        if self.expired:
            facts.append(
                (
                    "Expired",
                    f"{plural(len(self.expired), 'object')}; compared after {self.last_incomplete_day}",
                )
            )
        return facts

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.facts())

    def _repr_html_(self) -> str:
        return facts_table(self.facts())


def recompute(aws: Connection, stack: StackOutputs) -> Recomputed:
    """Fetch the raw objects that the job has taken in, and compute from them what the tables should hold.

    Raises
    ------
    NotRunYet
        When no run of the job has succeeded.
    """
    as_of = last_successful_run(aws, stack)
    listed = list(list_raw_objects(aws, stack))
    taken_in = _known_objects(aws, stack, (item.arrival.date() for item in listed))
    in_scope = [item for item in listed if item.last_modified <= as_of or item.uri in taken_in]
    expired = sorted(taken_in - {item.uri for item in listed})
    database = compute((item, _fetch(aws, item.uri)) for item in in_scope)
    return Recomputed(
        database=database,
        objects=tuple(in_scope),
        pending=tuple(item.uri for item in listed if item not in in_scope),
        expired=tuple(expired),
        last_incomplete_day=max((arrival_of(uri).date() for uri in expired), default=None),
        as_of=as_of,
    )


def compute(objects: Iterable[tuple[RawObject, bytes]]) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that holds the tables and views of `recompute.sql` for these objects' bytes."""
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.execute(
        "CREATE TABLE lines (source_file VARCHAR, arrival TIMESTAMP, line VARCHAR, is_utf8 BOOLEAN);"
        "CREATE TABLE corrupt_objects (source_file VARCHAR)"
    )
    for item, content in objects:
        delivered, is_corrupt = _lines(item, content)
        database.register("delivered", delivered)
        database.execute("INSERT INTO lines SELECT * FROM delivered")
        if is_corrupt:
            database.execute("INSERT INTO corrupt_objects VALUES (?)", [item.uri])
    database.execute(RULES.read_text(encoding="utf-8"))
    return database


def query_rows(database: duckdb.DuckDBPyConnection, sql: str) -> pd.DataFrame:
    """What DuckDB answers, as Python's own values: decimals and dates stay exact."""
    result = database.execute(sql)
    names = [str(column[0]) for column in result.description or []]
    return pd.DataFrame(result.fetchall(), columns=names, dtype=object)


def last_successful_run(aws: Connection, stack: StackOutputs) -> datetime:
    """When the newest successful run of the job started: what was written later, it may not have seen.

    Raises
    ------
    NotRunYet
    """
    with own_errors(f"reading the runs of job {stack.glue_job_name}"):
        glue = aws.client("glue")
        try:
            pages = glue.get_paginator("get_job_runs").paginate(JobName=stack.glue_job_name)
            runs = [run for page in pages for run in page["JobRuns"]]
        except glue.exceptions.EntityNotFoundException:
            runs = []
    started = [run["StartedOn"] for run in runs if run["JobRunState"] == "SUCCEEDED"]
    if not started:
        raise NotRunYet(
            f"No run of Glue job {stack.glue_job_name} has succeeded, so its tables hold nothing to look at.",
            "run build_pipeline.ipynb first (`make report`, or `make demo` on the embedded AWS).",
        )
    return max(started).astimezone(UTC)


def list_raw_objects(aws: Connection, stack: StackOutputs) -> Iterator[RawObject]:
    """The event objects in the source bucket, by key."""
    prefix = stack.raw_events_location.removeprefix(f"s3://{stack.source_bucket_name}/")
    with own_errors(f"listing {stack.raw_events_location}"):
        pages = aws.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=stack.source_bucket_name, Prefix=prefix):
            for item in page.get("Contents", []):
                if item["Size"] > 0:
                    uri = f"s3://{stack.source_bucket_name}/{item['Key']}"
                    yield RawObject(uri, arrival_of(uri), item["LastModified"].astimezone(UTC))


def arrival_of(uri: str) -> datetime:
    """The minute in which an object arrived (UTC, without zone), from its path or else its name.

    Raises
    ------
    PipelineError
        When neither tells.
    """
    match = _ARRIVAL.search(uri) or _ARRIVAL_IN_NAME.search(uri)
    if match is None:
        raise PipelineError(
            f"{uri} does not say when it arrived.",
            "store raw events as events/year=/month=/day=/hour=/minute=/events-YYYYMMDD-HHMMSS.jsonl.gz.",
        )
    year, month, day, hour, minute = (int(part) for part in match.groups())
    return datetime(year, month, day, hour, minute)


def partition_filter(days: Iterable[date]) -> str:
    """A condition that lets Athena look at few partitions: the years, months and days that occur."""
    occurring = set(days)
    if not occurring:
        return "false"
    return " AND ".join(
        f"{part} IN ({', '.join(str(value) for value in sorted({getattr(day, part) for day in occurring}))})"
        for part in ("year", "month", "day")
    )


def _known_objects(aws: Connection, stack: StackOutputs, arrival_days: Iterable[date]) -> set[str]:
    """The objects that silver or the table of rejected lines name as their source."""
    silver, bronze = f"{stack.silver_database_name}.events_cleaned", stack.bronze_database_name
    days = ask(aws, stack, "SELECT event_date FROM user_activity", "days")["event_date"]
    sql = (
        f"SELECT DISTINCT source_file FROM {silver} WHERE {partition_filter(days)} "
        f"UNION SELECT source_file FROM {bronze}.events_rejected WHERE {partition_filter(arrival_days)}"
    )
    return set(ask(aws, stack, sql, "source files")["source_file"])


def _fetch(aws: Connection, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with own_errors(f"reading {uri}"):
        return bytes(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def _lines(item: RawObject, content: bytes) -> tuple[pa.Table, bool]:
    """The delivered lines of an object, and whether it could not be read to its end."""
    text, is_corrupt = _decompress(content) if item.uri.endswith(".gz") else (content, False)
    lines = text.split(b"\n")
    if is_corrupt or not lines[-1]:
        lines.pop()  # Nothing, or the line in which a corrupt object breaks off.
    decoded = [line.decode("utf-8", "replace") for line in lines]
    is_utf8 = [text.encode("utf-8") == line for text, line in zip(decoded, lines, strict=True)]
    columns = [[item.uri] * len(lines), [item.arrival] * len(lines), decoded, is_utf8]
    return pa.table(columns, schema=_LINES), is_corrupt


def _decompress(content: bytes) -> tuple[bytes, bool]:
    """What gzip data holds up to its first bad byte, and whether there is one."""
    text = bytearray()
    while content:
        member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            for start in range(0, len(content), 512):
                text += member.decompress(content[start : start + 512])
                if member.eof:
                    content = member.unused_data + content[start + 512 :]
                    break
            else:
                return bytes(text), True
        except zlib.error:
            return bytes(text), True
    return bytes(text), False
