"""The ETL job of the event-analytics pipeline: raw -> bronze -> silver -> gold, one incremental run.

Runs unchanged as an AWS Glue 5.1 job (Spark 3.5.6, Python 3.11) and on a laptop. It leaves every layer as one
run over all raw objects ever delivered would have left it, whatever the order of the runs and wherever an
earlier run was killed. S3 has neither transactions nor renames, so:

- a version of a raw object owns its files in each table of bronze, and a run owns folders in silver and the
  visitors, `<partition>/run=<id>/`: written again, they are the same;
- what a run has in hand stands in a small note from its first change to its last, and after a killed run the
  next takes all of it in again, under the same names;
- gold is computed from the cube, and each table is one object that one PUT replaces;
- the bookmark comes last.

`capstone-starter.cfn.yaml` declares the tables. Job arguments: --SOURCE_BUCKET (raw events, read only),
--ANALYTICS_BUCKET (everything else). Optional: --MAX_REJECTED_PERCENT fails a run, after all it delivered is
in the tables, if more lines were rejected; --COMPACT_DAYS joins the files of so many days before today;
--WATCH_SECONDS goes on looking for new objects every so many seconds, for --WATCH_MINUTES.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import partial, reduce
from io import BytesIO
from itertools import accumulate, chain, islice
from math import inf
from operator import and_
from tempfile import TemporaryFile
from time import monotonic, sleep, time
from typing import Any
from urllib.parse import unquote
from uuid import uuid4
from zipimport import zipimporter

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from botocore.config import Config
from botocore.exceptions import ClientError
from pyspark import SparkConf, SparkContext, TaskContext
from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

# --- Tables -------------------------------------------------------------------------------------------------

Names = tuple[str, ...]
OTHER_TYPES = [T.StringType(), T.IntegerType(), T.LongType(), T.DateType(), T.TimestampType()]
DECIMALS = [T.DecimalType(10, 2), T.DecimalType(10, 4), T.DecimalType(18, 2)]
TYPES = {one.simpleString(): one for one in OTHER_TYPES + DECIMALS}


def schema(columns: str) -> T.StructType:
    pairs = map(str.split, columns.split(", "))
    return T.StructType([T.StructField(name, TYPES[data_type]) for name, data_type in pairs])


class Table:
    """A Parquet table. Queries know its partitions; below them there may be more folders."""

    def __init__(self, name: str, columns: str, partitions: Names = (), below: Names = ()) -> None:
        self.name, self.location = name, name.replace(".", "/")
        self.columns, self.partitions, self.folders = schema(columns), partitions, partitions + below
        self.arrow = to_arrow_schema(self.columns)  # Here, as Spark's workers would load much to tell it.

    def day(self, day: str) -> str:
        return "{}/year={}/month={}/day={}".format(self.location, *day.split("-"))

    def folder(self, run: str, day: date, hour: int = 0) -> str:
        below = {"hour": f"/hour={hour:02d}", "run": f"/run={run}"}
        return self.day(str(day)) + "".join(below[name] for name in self.folders[3:])


BY_DAY, BY_MINUTE = ("year", "month", "day"), ("year", "month", "day", "hour", "minute")
FIELDS = (  # of an event, after its time
    "user_id string, session_id string, event_type string, product_id string, "
    "quantity int, price decimal(10,2), category string, search_query string"
)
CLEANED = f"event_timestamp timestamp, {FIELDS}, event_date date, event_hour int, source_file string"
CUBE = (
    "event_date date, event_hour int, product_id string, category string, event_type string, "
    "event_count bigint, quantity bigint, revenue decimal(18,2)"
)
REJECTED = "raw_line string, reason string, source_file string"
VISITORS = "event_date date, visitor_type string, visitor_id string"
RAW_EVENT = schema(f"timestamp string, {FIELDS}")
EVENTS = Table("bronze.events", f"timestamp string, {FIELDS}, source_file string", BY_MINUTE)
DELIVERED = T.StructType([*EVENTS.columns, *[T.StructField(name, TYPES["string"]) for name in BY_MINUTE]])
EVENTS_REJECTED = Table("bronze.events_rejected", REJECTED, BY_DAY)
EVENTS_CLEANED = Table("silver.events_cleaned", CLEANED, BY_DAY, ("hour", "run"))
EVENT_CUBE = Table("gold.event_cube", CUBE, BY_DAY, ("hour",))
# The users and sessions of a day, each of them in the folder of one run only.
DAILY_VISITORS = Table("gold.daily_visitors", VISITORS, BY_DAY, ("run",))
BRONZE = (EVENTS, EVENTS_REJECTED)
TABLES = {table.name: table for table in (*BRONZE, EVENTS_CLEANED, EVENT_CUBE, DAILY_VISITORS)}

# --- Rules: what an event is --------------------------------------------------------------------------------

ALWAYS_REQUIRED: Names = ("timestamp", "user_id", "session_id", "event_type")
REQUIRED_BY_TYPE: dict[str, Names] = {
    "page_view": ("product_id",),
    "add_to_cart": ("product_id", "quantity", "price"),
    "remove_from_cart": ("product_id", "quantity", "price"),
    "purchase": ("product_id", "quantity", "price"),
    "search": (),
}
# Their step, the bound that they stay below, and the least value where they are required.
NUMBERS = {"quantity": (Decimal(1), 2**31, 1), "price": (Decimal("0.01"), 10**8, 0)}
# Copies of one event agree in these (null-safe); at-least-once delivery makes copies.
IDENTITY = ("user_id", "session_id", "event_type", "product_id", "search_query", "event_timestamp")
# What copies of one event may disagree in: a later copy corrects an earlier one.
PAYLOAD = ("price", "quantity", "category")

NULL_TOKENS, ASCII_WHITESPACE = ("", "null", "none", "nan", "n/a"), " \t\n\r\f\v"
FIRST_YEAR, LAST_YEAR = 2020, 2039  # Other event times are absurd; partition projection has these, too.
DEEPEST_NESTING = 500
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?0*[0-9]{1,9})?")
EXACT = Context(prec=10, traps=[Inexact, InvalidOperation])
EVENT_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-]((0[0-9]|1[0-7]):[0-5][0-9]|18:00))"
)


def judge(line: bytes) -> tuple[Any, ...] | str:
    """The fields of RAW_EVENT as delivered, and the event's time; or the first rule that the line breaks."""
    try:
        event = json_object(line)
    except (ValueError, RecursionError):
        return "malformed_json"
    required, fields = ALWAYS_REQUIRED, []
    for name in RAW_EVENT.names:
        delivered = value = event.get(name)
        if value is not None:
            try:
                delivered, value = read_field(name, value, name in required)
            except (ValueError, ArithmeticError):
                return f"invalid_value:{name}"
        if value is None and name in required:
            return f"missing_field:{name}"
        if name == "event_type":
            if value not in REQUIRED_BY_TYPE:
                return "unknown_event_type"
            required = REQUIRED_BY_TYPE[value]
        if name == "timestamp":
            time = value
        fields.append(delivered)
    return (*fields, time)


def read_field(name: str, value: Any, is_required: bool) -> tuple[Any, Any]:
    """A field as delivered and standardised: without white space around it, None if it spells nothing.

    Raises ValueError or ArithmeticError for what the field cannot hold.
    """
    if value is True or value is False:
        value = "true" if value else "false"
    elif not isinstance(value, str):  # Numbers are texts, too: see StrictDecoder.
        raise ValueError
    text = value.strip(ASCII_WHITESPACE)
    if len(text) <= 4 and text.lower() in NULL_TOKENS:
        return (None if name in NUMBERS else value), None
    if name in NUMBERS:
        number = read_number(text, *NUMBERS[name], is_required)
        return number, number
    return value, read_time(text) if name == "timestamp" else text


def read_time(text: str) -> datetime:
    if not EVENT_TIME.fullmatch(text):
        raise ValueError
    moment = datetime.fromisoformat(text).astimezone(UTC)  # Raises ValueError on February 30.
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError
    return moment


def read_number(text: str, step: Decimal, bound: int, least: int, is_required: bool) -> Decimal | int:
    if not NUMBER.fullmatch(text):  # Decimal reads other digits and NaN, too.
        raise ValueError
    number = EXACT.quantize(Decimal(text), step) + 0  # Raises ArithmeticError where anything is lost.
    if not (least if is_required else -bound) <= number < bound:
        raise ValueError
    return number if step < 1 else int(number)


class StrictDecoder(json.JSONDecoder):
    """Numbers stay as they are spelled, so that no digit of money is lost. NaN and its like are no JSON."""

    def __init__(self) -> None:
        super().__init__(parse_float=str, parse_int=str, parse_constant=int)

    def __reduce__(self) -> tuple[Any, ...]:
        return StrictDecoder, ()  # Its parser is written in C and cannot be sent to Spark's workers.


STRICT_JSON = StrictDecoder()


def json_object(line: bytes) -> dict[str, Any]:
    """The JSON object that is all of the line. Raises ValueError or RecursionError if it is none."""
    text = line.decode().strip(" \t\n\r")
    value, end = STRICT_JSON.raw_decode(text)
    if end < len(text):
        raise ValueError
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UTF-8 cannot hold half a character.
    if text.count("{") + text.count("[") > DEEPEST_NESTING:
        brackets = re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))
        if max(accumulate(1 if bracket in "{[" else -1 for bracket in brackets)) > DEEPEST_NESTING:
            raise ValueError
    if not isinstance(value, dict):
        raise ValueError
    return value


# --- Raw: the lines of an object ----------------------------------------------------------------------------

READ_BYTES, BLOCK_BYTES, LONGEST_LINE = 64 * 2**10, 2**20, 128 * 2**20


def lines_of(file: Any) -> Iterator[bytes | None]:
    """The lines of an object, whatever its name says; then None, once, if anything of it is lost."""
    pieces: list[bytes] = []  # of a line that goes on in the next block
    size, is_lost = 0, False
    for block in text_of(file):
        if block is None:
            is_lost = True
            break
        *ends, rest = block.split(b"\n")
        for end in ends:
            if size + len(end) <= LONGEST_LINE:
                yield b"".join((*pieces, end)) if pieces else end
            else:
                is_lost = True
            pieces, size = [], 0
        size += len(rest)
        pieces = [] if size > LONGEST_LINE else pieces
        pieces.append(rest)
    if 0 < size <= LONGEST_LINE:
        yield b"".join(pieces)
    if is_lost or size > LONGEST_LINE:
        yield None


def text_of(file: Any) -> Iterator[bytes | None]:
    """As `blocks_of`, but None alone if an object begins with what is neither UTF-8 nor nearly so."""
    blocks, beginning = blocks_of(file), list[bytes | None]()
    while sum(len(block or b"") for block in beginning) < 4096 and (more := list(islice(blocks, 1))):
        beginning += more
    text = b"".join(filter(None, beginning))[:4096].decode(errors="replace")
    strange = sum(letter == "\ufffd" or (letter < " " and letter not in "\t\n\r") for letter in text)
    yield from (None,) if strange * 3 > len(text) else chain(beginning, blocks)


def blocks_of(file: Any) -> Iterator[bytes | None]:
    """The bytes of an object, decompressed if they begin as gzip does; then None if they break off."""
    packed = file.read(READ_BYTES)
    if not packed.startswith(b"\x1f\x8b"):
        yield packed
        yield from iter(lambda: file.read(READ_BYTES), b"")
        return
    while packed:  # Gzip members may follow each other, with zeros between them.
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            before = member.copy()
            try:
                block = member.decompress(packed, BLOCK_BYTES)
            except zlib.error:
                with suppress(zlib.error):  # Once more, byte by byte, up to the error.
                    yield from (before.decompress(packed[at : at + 1]) for at in range(len(packed)))
                block = packed = b""
            if not block and not packed:
                yield None
                return
            yield block
            packed = member.unconsumed_tail or (b"" if member.eof else file.read(READ_BYTES))
        packed = member.unused_data.lstrip(b"\0")
        while not packed and (more := file.read(READ_BYTES)):
            packed = more.lstrip(b"\0")


# --- Buckets ------------------------------------------------------------------------------------------------

THREADS = 16
TASK_BYTES = 6 * 2**20  # of the files that a task reads; one counts as so many more as its request costs:
REQUEST_BYTES, BYTES_OF_AN_EVENT = 2**16, 20
PACKED: dict[str, Any] = {"compression": "zstd"}
SMALL_BYTES, MOST_SMALL_FILES = 2**20, 50  # of the visitors of a day


def s3_client() -> Any:
    """A client. A worker of Spark's, which does this in each task, then needs less time around them."""
    client = boto3.client("s3", config=Config(max_pool_connections=THREADS))
    gc.freeze()  # It looks for garbage after each task. What is loaded by now is none.
    # It has Python 3.11 read the contents of Spark's archives before each task (CPython issue 103200).
    zipimporter.invalidate_caches = lambda self: None  # type: ignore[method-assign]
    return client


class Bucket:
    """A bucket: its objects by key, and tables by Spark."""

    def __init__(self, spark: SparkSession, name: str) -> None:
        self.spark, self.uri, self.name = spark, f"s3://{name}", name
        self.s3 = s3_client()

    def objects(self, prefix: str) -> list[dict[str, Any]]:
        """Key, Size, ETag and LastModified of all objects whose keys begin so."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        try:
            return [one for page in pages for one in page.get("Contents", [])]
        except ClientError as error:  # It does not name the bucket.
            raise RuntimeError(f"Cannot list {self.uri}/{prefix}: {error}") from error

    def read(self, key: str) -> bytes | None:
        """The content of a small object, None if there is none."""
        with suppress(self.s3.exceptions.NoSuchKey):
            return bytes(self.s3.get_object(Bucket=self.name, Key=key)["Body"].read())
        return None

    def write(self, key: str, content: bytes) -> None:
        """Put a small object there, in place of any other."""
        self.s3.put_object(Bucket=self.name, Key=key, Body=content)

    def delete(self, prefixes: Iterable[str]) -> None:
        """Delete all objects whose keys begin with one of these."""
        self.delete_these([one["Key"] for one in chain(*side_by_side(self.objects, prefixes))])

    def delete_these(self, keys: list[str]) -> None:
        """Delete objects that are there: of others, a versioned bucket would keep a delete marker."""
        for at in range(0, len(keys), 1000):
            named = [{"Key": key} for key in keys[at : at + 1000]]
            answer = self.s3.delete_objects(Bucket=self.name, Delete={"Objects": named})
            if failed := answer.get("Errors"):
                raise RuntimeError(f"Could not delete {self.uri}/{failed[0]['Key']}: {failed[0]['Message']}")

    def append(self, table: Table, rows: DataFrame, run: str = "", file: str = "") -> Callable[[], Any]:
        """What puts rows into the folders of their days in a table: each task a file into each, by one PUT.

        With a `file`, whose rows must be in one task's hands, it takes the place of what had that name. It
        is planned here: other threads would not plan with this session's settings.
        """
        bucket, columns, name = self.name, table.arrow, file or uuid4().hex[:8] + "-{}"
        keys = ["event_date", *["event_hour"] * ("hour" in table.folders)]

        def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            s3, task = s3_client(), TaskContext.get().partitionId()  # type: ignore[union-attr]
            writers = dict[str, pq.ParquetWriter]()
            with ExitStack() as files:
                for batch in map(pa.Table.from_batches, ([one] for one in batches)):
                    for values in batch.group_by(keys).aggregate([]).to_pylist():
                        one = table.folder(run, *values.values())
                        if one not in writers:
                            content = files.enter_context(TemporaryFile())
                            writers[one] = pq.ParquetWriter(content, columns, **PACKED)
                        is_there = reduce(and_, (pc.field(key) == value for key, value in values.items()))
                        writers[one].write_table(batch.filter(is_there).cast(columns))
                for one, writer in writers.items():
                    writer.close()
                    writer.where.seek(0)
                    s3.upload_fileobj(writer.where, bucket, f"{one}/{name.format(task)}.parquet")
            yield pa.record_batch([[len(writers)]], ["files"])

        return rows.select(*columns.names).mapInArrow(write, "files bigint").collect

    def rows(
        self,
        columns: T.StructType,
        files: dict[str, int],
        narrow: Callable[[pa.Table], pa.Table] | None = None,
        narrowed: T.StructType | None = None,
    ) -> DataFrame:
        """The rows of Parquet files of these sizes, each got by one request: Spark makes a dozen.

        Folders are columns, too. With `narrow`, Spark gets what that makes of the rows, group by group: these
        columns, or `narrowed`.
        """
        columns_told = narrowed or columns
        bucket, schema, told = self.name, to_arrow_schema(columns), to_arrow_schema(columns_told)
        # Of text that is dropped, its place in a dictionary is enough.
        texts = [one.name for one in schema if one.type == pa.string()] if narrow else None
        size = sum(files.values()) + REQUEST_BYTES * len(files)
        tasks = min(len(files), 1 + size // (8 * TASK_BYTES if narrow else TASK_BYTES))
        by_size = sorted(files, key=files.__getitem__)
        keys = [key for task in range(tasks) for key in by_size[task::tasks]]

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            s3 = s3_client()

            def get(number: int) -> bytes:
                return bytes(s3.get_object(Bucket=bucket, Key=keys[number])["Body"].read())

            for numbers in (batch["id"].to_pylist() for batch in batches):
                for number, content in zip(numbers, side_by_side(get, numbers), strict=True):
                    folders = dict(re.findall(r"(\w+)=([^/]+)/", keys[number]))
                    own = [name for name in schema.names if name not in folders]
                    file = pq.ParquetFile(BytesIO(content), read_dictionary=texts)
                    for group in range(file.num_row_groups):
                        rows = file.read_row_group(group, columns=own)
                        rows = narrow(rows.unify_dictionaries()) if narrow else rows
                        for name in schema.names:
                            if name in folders:
                                rows = rows.append_column(name, pa.repeat(folders[name], len(rows)))
                        yield from rows.select(told.names).cast(told).to_batches()

        return self.spark.range(0, len(keys), 1, tasks).mapInArrow(read, columns_told)

    def rows_in(self, columns: T.StructType, contents: list[bytes]) -> DataFrame:
        """The rows of Parquet files that were read before."""

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for number in chain.from_iterable(batch["id"].to_pylist() for batch in batches):
                yield from pq.ParquetFile(BytesIO(contents[number])).read().to_batches()

        return self.spark.range(0, len(contents), 1, 1).mapInArrow(read, columns)

    def events(self, objects: Iterable[RawObject]) -> DataFrame:
        """What bronze has accepted of these objects."""
        sizes = {
            key: one.accepted * BYTES_OF_AN_EVENT // one.parts
            for one in objects
            if one.accepted
            for key in one.files_in(EVENTS)
        }
        return self.rows(DELIVERED, sizes)

    def files(self, folders: Iterable[str]) -> dict[str, int]:
        """The keys and sizes of all Parquet files in these folders."""
        listed = chain(*side_by_side(self.objects, (f"{folder}/" for folder in folders)))
        return {one["Key"]: one["Size"] for one in listed if one["Key"].endswith(".parquet")}


def side_by_side(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """The results for all items. On S3 each call is a round trip."""
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(function, items))


# --- Raw: which objects there are, and which of them are new ------------------------------------------------

PART_BYTES, MOST_PARTS = 8 * 2**20, 4  # of a raw object that several tasks judge
BLOCK_LINES = 10_000  # that follow each other in a part: neighbours are alike, and pack well
FEW_OBJECTS = 8  # More keep all workers busy without.
WHOLE_LISTING_SECONDS = 900  # While watching, rounds between list the folders of today and yesterday only.

# Where a key tells its arrival: Hive's folders, the name events-YYYYMMDD-HHMMSS, Firehose's folders.
KEY_ARRIVALS = (
    r"(?:^|/)year=([0-9]{4})/month=([0-9]{1,2})/day=([0-9]{1,2})/hour=([0-9]{1,2})/minute=([0-9]{1,2})/",
    r"(?:^|/)events-([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})[0-9]{2}(?:\.[^/]*)?\Z",
    r"(?:^|/)([0-9]{4})/([0-9]{2})/([0-9]{2})/([0-9]{2})/",
)


@dataclass
class RawObject:
    """A raw object, and what bronze got of it."""

    uri: str
    version: str  # another when something else was uploaded
    arrival: str  # UTC, as in 2025-11-18T14:25
    parts: int = 1  # each judged by a task
    is_judged: bool = False
    accepted: int = 0
    rejected: int = 0
    newest: int = 0  # event, seconds since 1970
    days: dict[str, list[int]] = field(default_factory=dict)  # of its events, as in 2025-11-18: their hours

    @property
    def id(self) -> str:  # Of each version: what is in hand leaves the files of the last one alone.
        return hashlib.sha256(f"{self.uri} {self.version}".encode()).hexdigest()[:16]

    def prefix(self, table: Table) -> str:
        """What the keys of its own files in a table of bronze begin with."""
        times = zip(BY_MINUTE, re.split("[-T:]", self.arrival), strict=True)
        folders = [f"{name}={time}" for name, time in times if name in table.partitions]
        return "/".join([table.location, *folders, self.id])

    def files_in(self, table: Table) -> list[str]:
        """The keys of its own files in a table of bronze, one of each part."""
        names = [f"-{part}" for part in range(self.parts)] if self.parts > 1 else [""]
        return [f"{self.prefix(table)}{name}.parquet" for name in names]

    @property
    def files(self) -> set[str]:
        """The keys of those that it has: of an object in parts all, also where a part is empty."""
        counts = zip(BRONZE, (self.accepted, self.rejected), strict=True)
        has = [table for table, count in counts if count or self.parts > 1]
        return {key for table in has for key in self.files_in(table)}

    def joined_with(self, other: RawObject) -> RawObject:
        """What became of two of its parts together."""
        days = {
            day: sorted({*self.days.get(day, ()), *other.days.get(day, ())})
            for day in sorted(self.days.keys() | other.days.keys())
        }
        accepted, rejected = self.accepted + other.accepted, self.rejected + other.rejected
        newest = max(self.newest, other.newest)
        return replace(self, accepted=accepted, rejected=rejected, newest=newest, days=days)


def key_arrival(key: str) -> datetime | None:
    """The minute of arrival that an object's key tells, None if it tells none that can be."""
    for told in filter(None, (re.search(pattern, key) for pattern in KEY_ARRIVALS)):
        with suppress(ValueError):
            moment = datetime(*map(int, told.groups()))  # type: ignore[arg-type]
            if FIRST_YEAR <= moment.year <= LAST_YEAR:
                return moment
    return None


def arrival(key: str, modified: datetime) -> datetime:
    """When a raw object arrived, to the minute (UTC): as its key tells, else when it was modified."""
    told = key_arrival(key) or modified.replace(second=0, microsecond=0, tzinfo=None)
    return told if FIRST_YEAR <= told.year <= LAST_YEAR else datetime(FIRST_YEAR, 1, 1)


def is_event_object(key: str, size: int) -> bool:
    """Neither an empty object that stands for a folder, nor what logs, manifests and copies leave behind."""
    is_hidden = any(part.startswith(("_", ".")) for part in key.split("/"))
    return size > 0 and not is_hidden and not key.endswith("._COPYING_")


def list_raw_objects(raw: Bucket, is_whole: bool) -> dict[str, RawObject]:
    """The event objects of the raw bucket, by URI: all of them, or those below the folders of two days."""
    today = datetime.now(UTC)
    folders = [f"events/year={day:%Y/month=%m/day=%d}/" for day in (today, today - timedelta(days=1))]
    found = {}
    for one in chain(*side_by_side(raw.objects, ["events/"] if is_whole else folders)):
        key, uri = one["Key"], f"{raw.uri}/{one['Key']}"
        if is_event_object(key, one["Size"]):
            arrived = arrival(key, one["LastModified"])
            parts = min(1 + one["Size"] // PART_BYTES, MOST_PARTS)
            found[uri] = RawObject(uri, one["ETag"].strip('"'), f"{arrived:%Y-%m-%dT%H:%M}", parts)
    return found


def handed_over(glue_context: GlueContext, raw: Bucket) -> set[str]:
    """The URIs of the objects that are new for the job bookmark.

    Of Glue's reader nothing but the names is used: one byte that is no UTF-8 makes it fail. Then the listing
    alone tells what is new, and the commit moves the bookmark all the same. It is shown no other names than
    .gz, .json and .jsonl, because it tells the codec by the suffix and fails of some.
    """
    shown = (".gz", ".json", ".jsonl")
    ends = [f"**[!{suffix[-at - 1]}]{suffix[-at:]}" for suffix in shown for at in range(1, len(suffix))]
    source = {"paths": [f"{raw.uri}/events/"], "recurse": True, "exclusions": json.dumps(["**[!zln]", *ends])}
    source["useS3ListImplementation"] = True  # page by page, instead of folder by folder
    csv = {"separator": "\x01", "quoteChar": -1, "attachFilename": "source_file"}
    read = glue_context.create_dynamic_frame.from_options
    try:
        lines = read("s3", source, "csv", csv, transformation_ctx="raw_events").toDF()
        is_none_new = "source_file" not in lines.columns
        names = [] if is_none_new else lines.select("source_file").distinct().toLocalIterator()
        return {uri for row in names for uri in (row[0], unquote(row[0]))}  # It may be URL-encoded or not.
    except Exception as error:  # Whatever it is: the listing knows all objects.
        print(f"Glue's reader failed, so the listing alone tells what is new: {str(error).strip()[:500]}")
        return set()


# --- Bronze: every line accepted as delivered, or rejected with a reason ------------------------------------

BATCH_BYTES, BYTES_OF_A_LINE = 128 * 2**20, 1_000
HOUR = 3_600_000_000  # microseconds


def judged_objects(spark: SparkSession, objects: list[RawObject], lake: str, step: int) -> DataFrame:
    """Bring objects to bronze, each part in a task of its own.

    -> what became of each part, as JSON, and the moments of its events, in steps: see `Work`.
    """
    parts = [(one, part) for one in objects for part in range(one.parts)]

    def bring(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        gc.disable()  # It looks at all rows again and again, and there are no cycles.
        for batch in batches:
            in_hand = [parts[number] for number in batch["id"].to_pylist()]
            moments = [write_bronze(one, part, BLOCK_LINES, lake, step) for one, part in in_hand]
            outcomes = [json.dumps(vars(one)) for one, _ in in_hand]
            yield pa.record_batch([outcomes, moments], ["outcome", "moments"])

    columns = "outcome string, moments binary"
    return spark.range(0, len(parts), 1, len(parts)).mapInArrow(bring, columns)


def write_bronze(one: RawObject, part: int, block: int, lake: str, step: int) -> bytes:
    """Judge a part of an object's lines in a stream, then put its two files in place, each by one PUT.

    A part is every second block of lines, say. The object then knows what became of it; returned are the
    moments of its events. Raises RuntimeError unless all lines are in the files.
    """
    s3, (bucket, key) = s3_client(), one.uri.removeprefix("s3://").split("/", 1)
    lines, hours, moments = 0, set[int](), [np.array([], np.int64)]
    with TemporaryFile() as accepted, TemporaryFile() as rejected:
        files = {EVENTS: accepted, EVENTS_REJECTED: rejected}
        writers = [pq.ParquetWriter(file, table.arrow, **PACKED) for table, file in files.items()]
        with writers[0], writers[1]:
            numbered = enumerate(lines_of(s3.get_object(Bucket=bucket, Key=key)["Body"]))
            own_lines = (line for number, line in numbered if number // block % one.parts == part)
            for *rows, times in judged_batches(own_lines, one.uri):
                for writer, of_table in zip(writers, rows, strict=True):
                    writer.write_table(arrow_table(of_table, writer.schema))
                since_1970 = pa.array(times, pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
                hours.update(np.unique(since_1970 // HOUR).tolist())
                moments.append(np.unique(since_1970 // step * step))
                one.newest = max(one.newest, int(since_1970.max(initial=0)) // 1_000_000)
                lines += sum(map(len, rows))
        one.accepted, one.rejected = (pq.read_metadata(file).num_rows for file in files.values())
        if lines != one.accepted + one.rejected:
            raise RuntimeError(f"{one.uri}: of {lines} lines, {one.accepted} + {one.rejected} are in bronze.")
        for table, file in files.items():
            if (own := one.files_in(table)[part]) in one.files:
                file.seek(0)
                s3.put_object(Bucket=lake, Key=own, Body=file)
    one.is_judged = True
    for hour in sorted(hours):
        moment = datetime.fromtimestamp(hour * 3600, UTC)
        one.days.setdefault(str(moment.date()), []).append(moment.hour)
    return np.unique(np.concatenate(moments)).tobytes()


Judged = tuple[list[Any], list[Any], list[datetime]]


def judged_batches(lines: Iterable[bytes | None], uri: str) -> Iterator[Judged]:
    """Lines of an object -> some ten thousand at a time, the rows of both tables, and the events' times."""
    accepted, rejected, times, size = list[Any](), list[Any](), list[datetime](), 0
    for line in lines:
        verdict = "corrupt_file" if line is None else judge(line)
        if isinstance(verdict, str):
            rejected.append((line if line is None else line.decode(errors="replace"), verdict, uri))
        else:
            *fields, moment = verdict
            accepted.append((*fields, uri))
            times.append(moment)
        size += BYTES_OF_A_LINE + len(line or b"")
        if size >= BATCH_BYTES:
            yield accepted, rejected, times
            accepted, rejected, times, size = [], [], [], 0
    if accepted or rejected:
        yield accepted, rejected, times


def arrow_table(rows: list[Any], columns: pa.Schema) -> pa.Table:
    values = zip(*rows, strict=True) if rows else [()] * len(columns)
    arrays = [pa.array(column, one.type) for column, one in zip(values, columns, strict=True)]
    return pa.Table.from_arrays(arrays, schema=columns)


# The index: which version of which raw object bronze holds, and of which hours its events are; an object of
# JSON lines for each day of arrival that keys tell.
INDEX = "bronze/versions/"


def index_key(uri: str) -> str:
    told = key_arrival(uri.split("/", 3)[3])
    return f"{INDEX}{told:%Y-%m-%d}.jsonl" if told else f"{INDEX}undated.jsonl"


def read_index(lake: Bucket, keys: Iterable[str]) -> dict[str, RawObject]:
    """What bronze holds, by URI, as these objects of the index tell it."""
    lines = b"".join(content or b"" for content in side_by_side(lake.read, keys)).splitlines()
    return {one.uri: one for one in (RawObject(**json.loads(line)) for line in lines)}


def put_in_index(lake: Bucket, held: dict[str, RawObject], objects: dict[str, RawObject]) -> None:
    """Delete what bronze has of these objects besides, then let the index tell what it has now."""
    stale = {key for uri in objects.keys() & held.keys() for key in held[uri].files}
    lake.delete(stale.difference(*(one.files for one in objects.values())))
    held |= objects
    lines: dict[str, list[str]] = {index_key(uri): [] for uri in objects}
    for uri, one in held.items():
        if index_key(uri) in lines:
            lines[index_key(uri)].append(json.dumps(vars(one)) + "\n")
    side_by_side(lambda key: lake.write(key, "".join(lines[key]).encode()), lines)


def take_in(lake: Bucket, work: Work, objects: dict[str, RawObject]) -> None:
    """Bring these objects, which the note names, to bronze. Raises RuntimeError if one is not there then."""
    if len(objects) > FEW_OBJECTS:
        objects = {uri: replace(one, parts=1) for uri, one in objects.items()}
    for uri, one in objects.items():  # Written again, its files are the same, by name as well.
        if uri in work.held and work.held[uri].version == one.version:
            one.parts = work.held[uri].parts
    # Few moments have to be kept of many objects.
    work.step = max(work.step, 1 if len(objects) <= FEW_OBJECTS else 10_000 << len(objects).bit_length())
    rows = judged_objects(lake.spark, list(objects.values()), lake.name, work.step).collect()
    moments = [np.frombuffer(row.moments, np.int64) for row in rows]
    work.moments = np.unique(np.concatenate([work.moments, *moments]))
    parts, outcomes = Counter[str](), dict[str, RawObject]()
    for part in (RawObject(**json.loads(row.outcome)) for row in rows):
        parts[part.uri] += 1
        outcomes[part.uri] = part.joined_with(outcomes[part.uri]) if part.uri in outcomes else part
    if lost := [uri for uri, one in objects.items() if parts[uri] != one.parts]:
        raise RuntimeError(f"Nothing became of {min(lost)}. The bookmark stays: start the job again.")
    work.objects |= outcomes
    for uri, one in outcomes.items():
        if uri in work.held and work.held[uri].version != one.version:
            work.days |= work.held[uri].days.keys() | one.days.keys()
    work.note(lake)
    put_in_index(lake, work.held, outcomes)


# --- Silver: typed, standardised, one row an event ----------------------------------------------------------

REBUILT = "rebuilt"  # in place of a run's id, where a day was computed anew from bronze


def of_silver(*names: str) -> T.StructType:
    """Some of its columns."""
    return T.StructType([EVENTS_CLEANED.columns[name] for name in names])


def cleaned(events: DataFrame) -> DataFrame:
    """Bronze rows -> silver's columns, and `delivery`, which orders copies of an event."""
    texts = {one.name for one in RAW_EVENT if one.name not in NUMBERS}
    typed = events.select(
        *[(standardised(name) if name in texts else F.col(name)).alias(name) for name in RAW_EVENT.names],
        F.struct(F.concat(*BY_MINUTE).alias("arrival"), "source_file").alias("delivery"),
    )
    moment = F.col("timestamp").cast("timestamp")  # Digits beyond microseconds are cut.
    times = {"event_timestamp": moment, "event_date": F.to_date(moment), "event_hour": F.hour(moment)}
    return typed.withColumns(times)


def standardised(name: str) -> Column:
    """As `read_field` does it."""
    trimmed = F.btrim(name, F.lit(ASCII_WHITESPACE))
    return F.when((F.octet_length(trimmed) > 4) | ~F.lower(trimmed).isin(*NULL_TOKENS), trimmed)


def latest_versions(copies: DataFrame, silver: DataFrame) -> DataFrame:
    """Delivered copies, and silver's rows -> each delivered event once, and `held`: the version in silver.

    The latest arrival wins, then the last name, then the greatest values. held is null where silver has none.
    """
    version = F.struct(*PAYLOAD)
    both = copies.select("*", F.when(F.lit(False), version).alias("known")).unionByName(
        silver.select("*", version.alias("known")), allowMissingColumns=True
    )
    order = [F.col(name).desc_nulls_last() for name in ("delivery", *PAYLOAD)]
    latest_first = Window.partitionBy(*IDENTITY).orderBy(*order)
    all_copies = latest_first.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    held = F.last("known", ignorenulls=True).over(all_copies).alias("held")
    ranked = both.select(*copies.columns, held, F.row_number().over(latest_first).alias("place"))
    return ranked.where("place = 1 AND delivery IS NOT NULL").select("*", "delivery.source_file")


def append_new_events(lake: Bucket, work: Work) -> dict[str, Any]:
    """Append what silver lacks to the run's own folders, but not on days that are to be rebuilt.

    Returns the numbers of events inserted and corrected, and the days of the latter: where silver has another
    version of an event, it is left to a rebuild to decide.
    """
    copies = cleaned(lake.events(work.objects.values())).where(~is_of(work.days))
    hours = {(day, hour) for one in work.objects.values() for day in one.days for hour in one.days[day]}
    folders = [f"{EVENTS_CLEANED.day(day)}/hour={hour:02d}" for day, hour in hours if day not in work.days]
    files = lake.files(folders)
    step, moments = work.step, work.moments // work.step

    def of_moments_in_hand(events: pa.Table) -> pa.Table:  # They are few.
        steps = events["event_timestamp"].cast(pa.int64()).to_numpy() // step
        not_later = moments[: np.searchsorted(moments, steps.max(initial=0), "right")]
        return events.filter(pc.is_in(pa.array(steps), pa.array(not_later)))

    near = lake.rows(of_silver(*IDENTITY, *PAYLOAD), files, of_moments_in_hand)
    is_new = F.col("held").isNull()
    is_conflict = ~is_new & ~F.struct(*PAYLOAD).eqNullSafe(F.col("held"))
    days = F.collect_set(F.when(is_conflict, F.col("event_date").cast("string")))
    addition = Observation()
    events = latest_versions(copies, near).observe(
        addition,
        F.count_if(is_new).alias("inserted"),
        F.count_if(is_conflict).alias("corrected"),
        F.concat_ws(" ", days).alias("days_in_conflict"),
    )
    lake.append(EVENTS_CLEANED, events.where(is_new), work.run)()
    return addition.get


def is_of(days: Iterable[str]) -> Column:
    if not days:
        return F.lit(False)  # To compare with none, Spark would parse each event's time once more.
    return F.col("event_date").isin([date.fromisoformat(day) for day in days])


def rebuild(lake: Bucket, days: set[str]) -> None:
    """Compute these days of silver anew from all that bronze has of them."""
    index = read_index(lake, [one["Key"] for one in lake.objects(INDEX)])
    objects = [one for one in index.values() if days & one.days.keys()]
    set_shuffle_partitions(lake, sum(one.accepted for one in objects))
    copies = cleaned(lake.events(objects)).where(is_of(days))
    events = latest_versions(copies, lake.rows(of_silver(*IDENTITY, *PAYLOAD), {}))
    lake.delete(
        f"{table.day(day)}/" for table in (EVENTS_CLEANED, EVENT_CUBE, DAILY_VISITORS) for day in days
    )
    by_hour = events.repartition("event_date", "event_hour")
    # In the order of a run's own files, neighbours are alike, and pack well.
    lake.append(EVENTS_CLEANED, by_hour.sortWithinPartitions("event_hour", *IDENTITY), REBUILT)()


# --- Gold: a cube of hours, the visitors of days, and what is computed from them ----------------------------

UNCATEGORIZED = "uncategorized"


def renew(lake: Bucket, work: Work, days: set[str], run: str) -> None:
    """Bring cube and visitors of these days up to date with what a run has in silver."""
    silver = lake.files(map(EVENTS_CLEANED.day, days))
    own = {key: size for key, size in silver.items() if f"/run={run}/" in key}
    cube, visitors = renewed_cube(lake, work, own, silver), renewed_visitors(lake, work, own, days, run)
    side_by_side(lambda put: put(), (cube, visitors))


def renewed_cube(lake: Bucket, work: Work, own: dict[str, int], silver: dict[str, int]) -> Callable[[], Any]:
    """What adds a run's events to the cube of their hours: each hour is one object, put by one PUT.

    If a killed run may have added them already, the hours are counted anew, from all of their events. No task
    reads an hour: Spark may repeat one, and what it had put there would count twice.
    """
    counted, hours = [], {key.split("/run=")[0] for key in own}
    if work.is_repeated:
        own = {key: size for key, size in silver.items() if key.split("/run=")[0] in hours}
    else:
        folders = [EVENT_CUBE.location + hour.removeprefix(EVENTS_CLEANED.location) for hour in hours]
        counted = side_by_side(lake.read, [f"{folder}/cube.parquet" for folder in folders])
    events = lake.rows(of_silver(*EVENT_CUBE.columns.names[:5], "quantity", "price"), own)
    cube = event_cube(events, lake.rows_in(EVENT_CUBE.columns, [one for one in counted if one]))
    return lake.append(EVENT_CUBE, cube.repartition("event_date", "event_hour"), file="cube")


def renewed_visitors(
    lake: Bucket, work: Work, own: dict[str, int], days: set[str], run: str
) -> Callable[[], Any]:
    """What puts a run's visitors of these days: those of its events that no other run's folder has.

    What it had put before, as a run that was killed, is deleted.
    """
    visitors = lake.files(map(DAILY_VISITORS.day, days))
    of_others = {key: size for key, size in visitors.items() if f"/run={run}/" not in key}
    lake.delete_these(list(visitors.keys() - of_others.keys()))
    columns, of_events = DAILY_VISITORS.columns, of_silver("event_date", "user_id", "session_id")
    seen = lake.rows(of_events, own, daily_visitors, columns).distinct().persist()
    hashed = F.xxhash64("visitor_id").alias("hash")  # Found faster than texts; a few too many do no harm.
    hashes = work.broadcast_if_few(seen.select(hashed))
    known = lake.rows(columns, of_others).select("*", hashed)  # Many: they pass by.
    seen_again = known.join(hashes, "hash", "left_semi").select(*columns.names)
    new = seen.join(work.broadcast_if_few(seen_again), columns.names, "left_anti")
    return lake.append(DAILY_VISITORS, new, run)


def join_visitors(lake: Bucket, work: Work, days: set[str]) -> None:
    """Join the small files of visitors of a day where many runs have left one.

    A run killed meanwhile leaves the day in its note: the next computes it anew.
    """
    for day in days:
        files = lake.files([DAILY_VISITORS.day(day)])
        small = {key: size for key, size in files.items() if size <= SMALL_BYTES}
        if len(small) > MOST_SMALL_FILES:
            work.days.add(day)
            work.note(lake)
            joined = lake.rows(DAILY_VISITORS.columns, small).coalesce(1)
            lake.append(DAILY_VISITORS, joined, f"{work.run}-joined")()
            lake.delete_these(list(small))


def event_cube(events: DataFrame, cube: DataFrame) -> DataFrame:
    """Silver, and the cube of other events of its hours -> the cube of all of them.

    Counts and sums by hour, product, category and event type; revenue is that of purchases.
    """
    revenue = F.when(F.col("event_type") == "purchase", F.col("price") * F.col("quantity"))
    category, names = F.coalesce("category", F.lit(UNCATEGORIZED)), EVENT_CUBE.columns.names
    one_each = events.withColumns({"category": category, "event_count": F.lit(1), "revenue": revenue})
    totals = [(one.name, one.dataType) for one in EVENT_CUBE.columns.fields[5:]]
    sums = [F.coalesce(F.sum(name), F.lit(0)).cast(kind).alias(name) for name, kind in totals]
    return one_each.select(*names).unionByName(cube).groupBy(*names[:5]).agg(*sums)


def daily_visitors(events: pa.Table) -> pa.Table:
    """Silver -> its distinct users and sessions of each day."""

    def of_type(kind: str) -> pa.Table:
        days, ids = events.group_by(["event_date", f"{kind}_id"]).aggregate([]).columns
        columns = [days, pa.repeat(kind, len(days)), ids.cast(pa.string())]
        return pa.table(columns, DAILY_VISITORS.columns.names)

    return pa.concat_tables(map(of_type, ("user", "session")))


GOLD: dict[str, tuple[Table, str, Callable[[DataFrame], DataFrame]]] = {}


def gold(source: str, columns: str) -> Callable[[Any], Any]:
    """Make a function the definition of the gold table of its name: what its columns are computed from."""

    def define(compute: Callable[[DataFrame], DataFrame]) -> Callable[[DataFrame], DataFrame]:
        name = f"gold.{compute.__name__}"
        GOLD[name] = (Table(name, columns), source, compute)
        return compute

    return define


@gold("event_cube", "event_date date, event_hour int, total_revenue decimal(18,2), transaction_count bigint")
def hourly_revenue(cube: DataFrame) -> DataFrame:
    purchases = cube.where(F.col("event_type") == "purchase").groupBy("event_date", "event_hour")
    revenue = F.sum("revenue").cast("decimal(18,2)")
    return purchases.agg(revenue.alias("total_revenue"), F.sum("event_count").alias("transaction_count"))


@gold("event_cube", "event_date date, category string, event_count bigint")
def category_performance(cube: DataFrame) -> DataFrame:
    return cube.groupBy("event_date", "category").agg(F.sum("event_count").alias("event_count"))


DAYS_AND_TYPES = "event_date date, visitor_type string"
VISITOR_COUNTS = schema(f"{DAYS_AND_TYPES}, visitors bigint")


def counted(visitors: pa.Table) -> pa.Table:
    """How many visitors of each day and type there are. Each of a day is in one row."""
    rows = visitors.group_by(visitors.column_names).aggregate([([], "count_all")])
    return rows.rename_columns(VISITOR_COUNTS.names)


@gold("daily_visitors", "event_date date, unique_users bigint, unique_sessions bigint")
def user_activity(visitors: DataFrame) -> DataFrame:
    of_type = (F.when(F.col("visitor_type") == kind, F.col("visitors")) for kind in ("user", "session"))
    users, sessions = map(F.sum, of_type)
    return visitors.groupBy("event_date").agg(users.alias("unique_users"), sessions.alias("unique_sessions"))


COUNTED = {"views": "page_view", "add_to_carts": "add_to_cart", "purchases": "purchase"}
COUNTS = "product_id string, category string, views bigint, add_to_carts bigint, purchases bigint"


@gold("event_cube", f"event_date date, {COUNTS}")
def product_counts(cube: DataFrame) -> DataFrame:
    """What the next two are computed from, so that no run reads the cube of all days. Not in the catalog."""
    counts = [
        F.sum(F.expr(f"IF(event_type = '{kind}', event_count, 0)")).alias(name)
        for name, kind in COUNTED.items()
    ]
    return cube.where("product_id IS NOT NULL").groupBy("event_date", "product_id", "category").agg(*counts)


@gold(
    "product_counts",
    f"{COUNTS}, view_to_cart_conversion decimal(10,4), view_to_purchase_conversion decimal(10,4), "
    "cart_to_purchase_conversion decimal(10,4)",
)
def conversion_funnel(counts: DataFrame) -> DataFrame:
    def ratio(part: str, whole: str) -> Column:  # rounded half up
        quotient = F.col(part).cast("decimal(19,0)") / F.col(whole).cast("decimal(19,0)")
        return F.when(F.col(whole) > 0, quotient.cast("decimal(10,4)"))

    totals = counts.groupBy("product_id", "category").agg(*[F.sum(name).alias(name) for name in COUNTED])
    return totals.where("views + add_to_carts + purchases > 0").select(
        "*",
        ratio("add_to_carts", "views").alias("view_to_cart_conversion"),
        ratio("purchases", "views").alias("view_to_purchase_conversion"),
        ratio("purchases", "add_to_carts").alias("cart_to_purchase_conversion"),
    )


@gold("product_counts", "rank int, product_id string, category string, view_count bigint")
def top_products(counts: DataFrame) -> DataFrame:
    by_views = [F.col("view_count").desc(), F.col("product_id"), F.col("category")]
    views = counts.groupBy("product_id", "category").agg(F.sum("views").alias("view_count"))
    most_viewed = views.where("view_count > 0").orderBy(*by_views).limit(10)
    return most_viewed.select(F.row_number().over(Window.orderBy(*by_views)).alias("rank"), "*")


TABLES |= {name: table for name, (table, *_) in GOLD.items() if name != "gold.product_counts"}


def gold_key(name: str) -> str:
    """The one object that a gold table is."""
    return f"{name.replace('.', '/')}/{name}.parquet"


def write_gold(lake: Bucket, days: set[str]) -> None:
    """Replace these days in the gold tables; all days of all of them where one of them is missing."""
    before = dict(zip(GOLD, side_by_side(lake.read, map(gold_key, GOLD)), strict=True))
    if None in before.values():
        all_hours = lake.files([EVENT_CUBE.location])
        days = days.union("-".join(re.findall(r"=(\d+)/", key)[:3]) for key in all_hours)
    is_kept = [("event_date", "not in", [date.fromisoformat(day) for day in days])]

    def write(computed: tuple[str, DataFrame]) -> None:
        name, rows = computed
        columns = GOLD[name][0].arrow
        content, file = arrow_table(rows.select(*columns.names).collect(), columns), BytesIO()
        if before[name] and "event_date" in columns.names:
            kept = pq.read_table(BytesIO(before[name]), filters=is_kept, schema=columns)
            content = pa.concat_tables([kept, content])
        pq.write_table(content, file, **PACKED)
        lake.write(gold_key(name), file.getvalue())

    def computed_from(**sources: DataFrame) -> list[tuple[str, DataFrame]]:
        of_these = {name: one for name, one in GOLD.items() if one[1] in sources}
        return [(name, compute(sources[one])) for name, (_, one, compute) in of_these.items()]

    hours, visitor_files = (lake.files(map(one.day, days)) for one in (EVENT_CUBE, DAILY_VISITORS))
    cube, counts = lake.rows(EVENT_CUBE.columns, hours).persist(), "gold.product_counts"
    visitors = lake.rows(schema(DAYS_AND_TYPES), visitor_files, counted, VISITOR_COUNTS)
    with ThreadPoolExecutor() as threads:  # Other threads would not plan with this session's settings.
        of_days = threads.map(write, computed_from(event_cube=cube, daily_visitors=visitors))
        of_all_time = lake.rows(GOLD[counts][0].columns, {gold_key(counts): 0})
        planned = computed_from(product_counts=of_all_time)
        list(of_days)
        list(threads.map(write, planned))


# --- The run ------------------------------------------------------------------------------------------------

NOTE = "_pending/run.json"
PARTITION_EVENTS = 300_000  # of a shuffle's partition, however many workers there are at the start
MOST_BROADCAST = 20_000_000  # rows
LONGEST_RUN_MINUTES = 7 * 24 * 60  # that Glue allows
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # a sum that its type cannot hold stops the run
    "spark.sql.inMemoryColumnarStorage.compressed": "false",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",  # a row group of a file
}


class TooManyRejected(Exception):
    """More was rejected than --MAX_REJECTED_PERCENT allows. All of it is in the tables all the same."""


@dataclass
class Work:
    """What a run has in hand."""

    run: str  # the name of its folders
    objects: dict[str, RawObject]
    days: set[str]  # to compute anew from bronze
    held: dict[str, RawObject]  # what bronze has of the days of arrival that concern the run
    is_repeated: bool  # by a run that was killed, under the same name
    # When their events were: microseconds since 1970, in order, rounded down to a step.
    moments: np.ndarray[Any, Any] = field(default_factory=lambda: np.array([], np.int64))
    step: int = 1

    def total(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.objects.values())

    @property
    def newest(self) -> int:
        """The newest event of them, seconds since 1970, 0 if there is none."""
        return max((one.newest for one in self.objects.values()), default=0)

    def broadcast_if_few(self, rows: DataFrame) -> DataFrame:
        """No more rows than are in hand: sent to all workers, if a driver's memory holds so many."""
        return F.broadcast(rows) if self.total("accepted") <= MOST_BROADCAST else rows

    def note(self, lake: Bucket) -> None:
        objects = [vars(one) for one in self.objects.values()]
        noted = {"run": self.run, "objects": objects, "days": sorted(self.days)}
        lake.write(NOTE, json.dumps(noted).encode())


def find_work(lake: Bucket, listed: dict[str, RawObject], compact_days: int) -> Work:
    """Of the raw objects, what bronze lacks or has otherwise, and what a killed run had in hand.

    What that one had brought to bronze as a whole stays, also of objects that have expired meanwhile, whose
    days are computed anew.
    """
    noted = json.loads(lake.read(NOTE) or '{"objects": [], "days": []}')
    left = {one["uri"]: RawObject(**one) for one in noted["objects"]}
    held = read_index(lake, {index_key(uri) for uri in listed.keys() | left.keys()})
    if not held and not left and lake.objects("bronze/") and not lake.objects(INDEX):
        raise RuntimeError(
            f"{lake.uri}/bronze was written by an older version of this job, which kept other records. To "
            "compute all tables anew from the raw objects, delete bronze/, silver/, gold/, _pending/ and "
            "_staging/ of this bucket, reset the job bookmark, and start the job."
        )
    put_in_index(lake, held, {uri: one for uri, one in left.items() if one.is_judged})
    new = {uri for uri, one in listed.items() if uri not in held or held[uri].version != one.version}
    objects = {uri: listed[uri] for uri in sorted(new | (listed.keys() & left.keys()))}
    run = noted.get("run") or uuid4().hex[:16]
    days = set(noted["days"]).union(*(held[uri].days for uri in left.keys() & held.keys() - objects.keys()))
    today = datetime.now(UTC).date()
    for day in (str(today - timedelta(days=back + 1)) for back in range(compact_days)):
        if any(f"/run={REBUILT}/" not in key for key in lake.files([EVENTS_CLEANED.day(day)])):
            days.add(day)
    # What it left half done goes before the note that names it is replaced.
    written = side_by_side(lake.objects, (one.prefix(table) for one in left.values() for table in BRONZE))
    named = {key for uri in left.keys() & held.keys() for key in held[uri].files}
    lake.delete_these([one["Key"] for one in chain(*written) if one["Key"] not in named])
    work = Work(run, objects, days, held, "run" in noted)
    if objects or days or left:
        work.note(lake)
    return work


def run(
    glue_context: GlueContext,
    source_bucket: str,
    analytics_bucket: str,
    max_rejected_percent: float = 100,
    compact_days: int = 0,
    watch_seconds: float = 0,
    watch_minutes: float = 0,
) -> None:
    """Bring every layer up to date with the raw objects: once, or again and again for so many minutes.

    Glue documents one commit of the bookmark, at the end of a script: so the last round asks Glue's reader,
    for all that came since the bookmark. Raises TooManyRejected at the end of a round.
    """
    began, spark = monotonic(), glue_context.spark_session
    for name, value in SETTINGS.items():
        spark.conf.set(name, value)
    for name in ("functions", "PythonUtils", "SparkSession", "SparkSession$", "org", "py4j"):
        # PySpark asks Java for them hundreds of times, which then looks into each of its archives.
        setattr(spark._jvm, name, getattr(spark._jvm, name))
    raw, lake = Bucket(spark, source_bucket), Bucket(spark, analytics_bucket)
    known, done, newest, rounds, idle_rounds = dict[str, RawObject](), set[str](), 0, 0, 0
    told = whole_listing = -inf
    is_last = False
    while not is_last:
        now = monotonic()
        is_last = now >= began + watch_minutes * 60
        is_whole = is_last or now >= whole_listing + WHOLE_LISTING_SECONDS
        whole_listing = now if is_whole else whole_listing
        listed = list_raw_objects(raw, is_whole)
        if is_last or not rounds or not known.items() >= listed.items():
            names = partial(handed_over, glue_context, raw) if is_last else set[str]
            work = take_round(lake, listed, names, done, compact_days if is_last else 0)
            refuse_too_many(work, max_rejected_percent)
            lake.delete([NOTE])
            spark.catalog.clearCache()
            known, done, newest = known | listed, done | work.objects.keys(), max(newest, work.newest)
        else:
            idle_rounds += 1
        rounds += 1
        if watch_minutes and (is_last or now >= told + 60):
            told = now
            summarise(
                "watch", began, rounds=rounds, idle_rounds=idle_rounds, newest_event_age_seconds=age(newest)
            )
        sleep(0 if is_last else max(0, now + watch_seconds - monotonic()))


def take_round(
    lake: Bucket,
    listed: dict[str, RawObject],
    names: Callable[[], set[str]],
    done: set[str],
    compact_days: int,
) -> Work:
    """Take in what is new of the listed objects, and what the reader names besides, unless it is done."""
    began = monotonic()
    with ThreadPoolExecutor(1) as meanwhile:  # The listing tells what is new; a reset hands over more.
        handed = meanwhile.submit(names)
        work = find_work(lake, listed, compact_days)
        if work.objects:
            bring_through(lake, work, work.objects, began)
    once_more = (listed.keys() & handed.result()) - work.objects.keys() - done
    again = {uri: listed[uri] for uri in sorted(once_more)}
    if again:  # After others that are through already: the cube has these, as after a killed run.
        work.is_repeated |= bool(work.objects)
        work.objects |= again
        work.note(lake)
    if again or not work.objects:
        bring_through(lake, work, again, began)
    return work


def bring_through(lake: Bucket, work: Work, objects: dict[str, RawObject], began: float) -> None:
    """Bring these of the objects in hand, which the note names, through all layers."""
    if objects:
        take_in(lake, work, objects)
    accepted, rejected = work.total("accepted"), work.total("rejected")
    counts = {"files": len(work.objects), "rows_in": accepted + rejected, "accepted": accepted}
    summarise("bronze", began, **counts, rejected=rejected, newest_event_age_seconds=age(work.newest))
    is_gold_whole = all(side_by_side(lake.objects, map(gold_key, GOLD))) or not work.held
    if work.objects or work.days or not is_gold_whole:
        refine(lake, work)


def refuse_too_many(work: Work, max_rejected_percent: float) -> None:
    """Raises TooManyRejected, before the note is deleted: each run takes the same objects in again."""
    rejected, lines = work.total("rejected"), work.total("rejected") + work.total("accepted")
    if rejected * 100 > max_rejected_percent * lines:
        raise TooManyRejected(
            f"{rejected} of {lines} lines were rejected ({rejected / lines:.2%}), more than "
            f"--MAX_REJECTED_PERCENT {max_rejected_percent:g}. See why in events_rejected. Then deliver the "
            "objects again, mended, or start the job with a higher percentage: until then each run reads "
            "them again."
        )


def age(newest: int) -> int | None:
    return int(time()) - newest if newest else None


def refine(lake: Bucket, work: Work) -> None:
    """Bring silver and gold up to date with what is in hand."""
    began = monotonic()
    set_shuffle_partitions(lake, work.total("accepted"))
    addition = append_new_events(lake, work)
    if addition["days_in_conflict"]:
        work.days.update(addition["days_in_conflict"].split())
        work.note(lake)
    if work.days:
        rebuild(lake, work.days)
    added_to = {day for one in work.objects.values() for day in one.days} - work.days
    counts = {name: addition[name] for name in ("inserted", "corrected")}
    counts["duplicates"] = work.total("accepted") - sum(counts.values())
    summarise("silver", began, **counts, days_appended=sorted(added_to), days_rebuilt=sorted(work.days))
    began = monotonic()
    for days, owner in ((added_to, work.run), (work.days, REBUILT)):
        if days:
            renew(lake, work, days, owner)
    write_gold(lake, added_to | work.days)
    join_visitors(lake, work, added_to)
    summarise("gold", began, days=sorted(added_to | work.days))


def set_shuffle_partitions(lake: Bucket, events: int) -> None:
    """Let shuffles of so many events have as many partitions as these need; Spark joins what stays small."""
    lake.spark.conf.set("spark.sql.shuffle.partitions", 1 + events // PARTITION_EVENTS)


def summarise(layer: str, began: float, **counts: Any) -> None:
    """Print a line of JSON, which CloudWatch's metric filters can read as well."""
    print(json.dumps({"layer": layer, **counts, "seconds": round(monotonic() - began, 2)}), flush=True)


def number(arguments: dict[str, str], name: str, default: float, greatest: float, spelling: str) -> float:
    """The value of an optional job argument. Raises ValueError where it is none that it can have."""
    text = arguments.get(name, str(default))
    if not re.fullmatch(spelling, text) or float(text) > greatest:
        raise ValueError(f"--{name} is a number from 0 to {greatest}, not {text!r}.")
    return float(text)


def main() -> None:
    optional = ("MAX_REJECTED_PERCENT", "COMPACT_DAYS", "WATCH_SECONDS", "WATCH_MINUTES")
    given = [name for name in optional if f"--{name}" in sys.argv]
    arguments = getResolvedOptions(sys.argv, ["JOB_NAME", "SOURCE_BUCKET", "ANALYTICS_BUCKET", *given])
    whole, decimal = "[0-9]+", r"[0-9]+(\.[0-9]+)?"
    percent = number(arguments, "MAX_REJECTED_PERCENT", 100, 100, decimal)
    days = int(number(arguments, "COMPACT_DAYS", 0, 366, whole))
    seconds = number(arguments, "WATCH_SECONDS", 0, 3600, whole)
    minutes = number(arguments, "WATCH_MINUTES", LONGEST_RUN_MINUTES, LONGEST_RUN_MINUTES, whole)
    if "WATCH_MINUTES" in given and not seconds:
        raise ValueError(f"--WATCH_MINUTES {minutes:g} needs --WATCH_SECONDS: how often to look.")
    # A round is a hundred plans: what is compiled for one is kept for the next. A context has it as it began.
    keep_code = SparkConf().set("spark.sql.codegen.cache.maxEntries", "1000")
    glue_context = GlueContext(SparkContext.getOrCreate(keep_code))
    job = Job(glue_context)
    job.init(arguments["JOB_NAME"], arguments)
    buckets = arguments["SOURCE_BUCKET"], arguments["ANALYTICS_BUCKET"]
    run(glue_context, *buckets, percent, days, seconds, minutes if seconds else 0)
    job.commit()


if __name__ == "__main__":
    main()
