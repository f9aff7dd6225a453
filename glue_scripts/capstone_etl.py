"""The ETL job of the event-analytics pipeline: raw -> bronze -> silver -> gold, one incremental run.

Runs unchanged as an AWS Glue 5.1 job (Spark 3.5.6, Python 3.11) and on a laptop. It leaves every layer as one
run over all raw objects ever delivered would have left it, whatever the order of the runs and wherever an
earlier run was killed. S3 has neither transactions nor renames, so:

- what a raw object delivers lies in folders of its own in bronze, `<partition>/object=<id>/`, and what a run
  adds to silver and the cube lies in its own, `<partition>/run=<id>/`: written again, they are the same;
- what a run has in hand stands in a small note from its first change to its last, and after a killed run the
  next takes all of it in again, in the same folders;
- gold is computed from the cube, and each table is one object that one PUT replaces;
- the bookmark comes last.

`capstone-starter.cfn.yaml` declares the tables. Job arguments: --SOURCE_BUCKET (raw events, read only),
--ANALYTICS_BUCKET (everything else). Optional: --MAX_REJECTED_PERCENT fails a run, after all it delivered is
in the tables, if more lines were rejected; --COMPACT_DAYS joins the files of so many days before today.
"""

from __future__ import annotations

import gc
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import accumulate
from time import monotonic, time
from typing import Any, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
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
    """A Parquet table. Queries know its partitions; below them, each raw object or run has its own folder."""

    def __init__(self, name: str, columns: str, partitions: Names = (), below: Names = ()) -> None:
        self.name, self.location, self.columns = name, name.replace(".", "/"), schema(columns)
        self.partitions, self.folders = partitions, partitions + below

    def day(self, day: str) -> str:
        return "{}/year={}/month={}/day={}".format(self.location, *day.split("-"))


BY_DAY, BY_MINUTE = ("year", "month", "day"), ("year", "month", "day", "hour", "minute")
FIELDS = (  # of an event, after its time
    "user_id string, session_id string, event_type string, product_id string, "
    "quantity int, price decimal(10,2), category string, search_query string"
)
RAW_EVENT = schema(f"timestamp string, {FIELDS}")
EVENTS = Table(
    "bronze.events", f"timestamp string, {FIELDS}, source_file string", BY_MINUTE, below=("object",)
)
EVENTS_REJECTED = Table(
    "bronze.events_rejected", "raw_line string, reason string, source_file string", BY_DAY, below=("object",)
)
EVENTS_CLEANED = Table(
    "silver.events_cleaned",
    f"event_timestamp timestamp, {FIELDS}, event_date date, event_hour int, source_file string",
    BY_DAY,
    below=("hour", "run"),
)
EVENT_CUBE = Table(
    "gold.event_cube",
    "event_date date, event_hour int, product_id string, category string, event_type string, "
    "event_count bigint, quantity bigint, revenue decimal(18,2)",
    BY_DAY,
    below=("run",),
)
# The users and sessions of a day, each of them in the folder of one run only. No table of the catalog.
DAILY_VISITORS = Table(
    "gold.daily_visitors", "event_date date, visitor_type string, visitor_id string", BY_DAY, below=("run",)
)
TABLES = {table.name: table for table in (EVENTS, EVENTS_REJECTED, EVENTS_CLEANED, EVENT_CUBE)}

# --- Rules: what an event is --------------------------------------------------------------------------------

ALWAYS_REQUIRED = ("timestamp", "user_id", "session_id", "event_type")
REQUIRED_BY_TYPE = {
    "page_view": ("product_id",),
    "add_to_cart": ("product_id", "quantity", "price"),
    "remove_from_cart": ("product_id", "quantity", "price"),
    "purchase": ("product_id", "quantity", "price"),
    "search": (),
}
NUMBERS = {  # the least value where the field is required, the least and greatest that it can hold, its step
    "quantity": (1, -(2**31), 2**31 - 1, Decimal(1)),
    "price": (0, Decimal("-99999999.99"), Decimal("99999999.99"), Decimal("0.01")),
}
# Copies of one event agree in these (null-safe); at-least-once delivery makes copies.
IDENTITY = ("user_id", "session_id", "event_type", "product_id", "search_query", "event_timestamp")
# What copies of one event may disagree in: a later copy corrects an earlier one.
PAYLOAD = ("price", "quantity", "category")

NULL_TOKENS, ASCII_WHITESPACE = ("", "null", "none", "nan", "n/a"), " \t\n\r\f\v"
FIRST_YEAR, LAST_YEAR = (
    2020,
    2039,
)  # Other event times are absurd. (Partition projection has these years, too.)
DEEPEST_NESTING = 500
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
EVENT_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
    r"(Z|[+-]((0[0-9]|1[0-7]):[0-5][0-9]|18:00))"
)
SURROGATE_PAIR = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def judge(line: bytes) -> tuple[Any, ...] | str:
    """The fields of RAW_EVENT as delivered, or why the line is no event: the first rule that it breaks."""
    event = json_object(line)
    if event is None:
        return "malformed_json"
    required: Names = ALWAYS_REQUIRED
    fields = []
    for name in RAW_EVENT.names:
        try:
            delivered, value = read_field(name, event.get(name))
        except ValueError:
            return f"invalid_value:{name}"
        if value is None:
            if name in required:
                return f"missing_field:{name}"
        elif name == "timestamp":
            if not is_event_time(value):
                return "invalid_value:timestamp"
        elif name == "event_type":
            if value not in REQUIRED_BY_TYPE:
                return "unknown_event_type"
            required = REQUIRED_BY_TYPE[value]
        elif name in NUMBERS and name in required and value < NUMBERS[name][0]:
            return f"invalid_value:{name}"
        fields.append(delivered)
    return tuple(fields)


def read_field(name: str, value: Any) -> tuple[Any, Any]:
    """A field as delivered and standardised: without white space around it, None if it spells nothing.

    Raises ValueError for an object or array, and for a number that is none or that does not fit exactly.
    """
    if value is None:
        return None, None
    if value is True or value is False:
        value = "true" if value else "false"
    elif not isinstance(value, str):  # Numbers are texts, too: see StrictDecoder.
        raise ValueError
    text = value.strip(ASCII_WHITESPACE)
    if len(text) <= 4 and text.lower() in NULL_TOKENS:
        return (None if name in NUMBERS else value), None
    return read_number(text, *NUMBERS[name][1:]) if name in NUMBERS else (value, text)


def read_number(text: str, least: Any, greatest: Any, step: Decimal) -> tuple[Any, Any]:
    if not NUMBER.fullmatch(text):
        raise ValueError
    mantissa, _, exponent = text.lower().partition("e")
    if not mantissa.strip("+-0."):
        text = "0"
    elif len(exponent.lstrip("+-0")) > 9 or not least <= Decimal(text) <= greatest:
        raise ValueError
    number = Decimal(text).quantize(step)
    if number != Decimal(text):
        raise ValueError
    return (number, number) if step < 1 else (int(number), int(number))


def is_event_time(text: str) -> bool:
    with suppress(ValueError, OverflowError):  # There is no February 30, and no time before year 1.
        if EVENT_TIME.fullmatch(text):
            return FIRST_YEAR <= datetime.fromisoformat(text).astimezone(UTC).year <= LAST_YEAR
    return False


class StrictDecoder(json.JSONDecoder):
    """Numbers stay as they are spelled, so that no digit of money is lost. NaN and its like are no JSON."""

    def __init__(self) -> None:
        super().__init__(parse_float=str, parse_int=str, parse_constant=int)

    def __reduce__(self) -> tuple[Any, ...]:
        return StrictDecoder, ()  # Its parser is written in C and cannot be sent to Spark's workers.


STRICT_JSON = StrictDecoder()


def json_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object that is all of the line, else None."""
    try:
        text = line.decode()
        value = STRICT_JSON.decode(text)
    except (ValueError, RecursionError):
        return None
    if "\\u" in text and SURROGATE.search(SURROGATE_PAIR.sub(" ", text.replace("\\\\", "  "))):
        return None  # Half a character: no UTF-8 can hold it.
    if text.count("{") + text.count("[") > DEEPEST_NESTING:
        brackets = re.findall(r"[\[\]{}]", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))
        if max(accumulate(1 if bracket in "{[" else -1 for bracket in brackets)) > DEEPEST_NESTING:
            return None
    return value if isinstance(value, dict) else None


# --- Raw: the lines of an object ----------------------------------------------------------------------------

READ_BYTES, BLOCK_BYTES, LONGEST_LINE = 64 * 2**10, 2**20, 128 * 2**20


def lines_of(content: memoryview) -> Iterator[bytes | None]:
    """The whole lines of an object, whatever its name says; then None, once, if anything of it is lost."""
    pieces: list[bytes] = []  # of a line that goes on in the next block
    size, is_lost = 0, is_no_text(content)
    try:
        for block in () if is_lost else blocks_of(content):
            *ends, rest = block.split(b"\n")
            for end in ends:
                size += len(end)
                is_lost |= size > LONGEST_LINE
                if size <= LONGEST_LINE:
                    yield b"".join((*pieces, end)) if pieces else end
                pieces, size = [], 0
            size += len(rest)
            pieces = [] if size > LONGEST_LINE else pieces
            pieces.append(rest)
    except (zlib.error, EOFError) as error:
        is_lost = True
        if not str(error).endswith(("data check", "length check")):  # With those it was read to its end.
            size = 0
    if 0 < size <= LONGEST_LINE:
        yield b"".join(pieces)
    if is_lost or size > LONGEST_LINE:
        yield None


def is_no_text(content: memoryview) -> bool:
    """Whether an object begins with what is neither UTF-8 nor nearly so."""
    beginning = b""
    with suppress(zlib.error, EOFError):
        for block in blocks_of(content):
            beginning += block
            if len(beginning) >= 4096:
                break
    text = beginning[:4096].decode(errors="replace")
    strange = sum(letter == "\ufffd" or (letter < " " and letter not in "\t\n\r") for letter in text)
    return strange * 3 > len(text)


def blocks_of(content: memoryview) -> Iterator[bytes]:
    """The bytes of an object, decompressed if they begin as gzip does. Raises zlib.error, EOFError."""
    if content[:2] != b"\x1f\x8b":
        yield from (bytes(content[at : at + BLOCK_BYTES]) for at in range(0, len(content), BLOCK_BYTES))
        return
    position = 0
    while position < len(content):  # Gzip members may follow each other, with zeros between them.
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            compressed = content[position : position + READ_BYTES]
            before = member.copy()
            try:
                block = member.decompress(compressed, BLOCK_BYTES)
            except zlib.error:
                for at in range(len(compressed)):  # Once more, byte by byte, up to the error.
                    yield before.decompress(compressed[at : at + 1])
                raise
            position += len(compressed) - len(member.unconsumed_tail) - len(member.unused_data)
            if not block and not compressed:
                raise EOFError
            yield block
        while content[position : position + 1] == b"\0":
            position += 1


# --- Buckets ------------------------------------------------------------------------------------------------


class Bucket:
    """A bucket, through Hadoop's file system API. Paths are relative to root, such as s3://name."""

    def __init__(self, spark: SparkSession, root: str) -> None:
        self.spark, self.root, self._jvm = spark, root, cast(Any, spark._jvm)
        self._files = self._path("").getFileSystem(spark._jsc.hadoopConfiguration())

    def _path(self, path: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(f"{self.root}/{path}")

    def _if_there(self, method: Callable[..., Any], path: str, *arguments: Any) -> Any:
        try:
            return method(self._path(path), *arguments)
        except Py4JJavaError as error:
            if "FileNotFoundException" in str(error):
                return None
            raise

    def objects(self, folder: str) -> list[tuple[str, int, int]]:
        """URI, size in bytes and time of modification (ms) of all objects at any depth below a folder."""
        listed, found = self._if_there(self._files.listFiles, folder, True), []
        while listed and listed.hasNext():
            one = listed.next()
            found.append((one.getPath().toString(), one.getLen(), one.getModificationTime()))
        return found

    def read(self, path: str) -> bytes | None:
        """The content of a small object, None if there is none."""
        if stream := self._if_there(self._files.open, path):
            with closing(stream):
                return bytes(stream.readAllBytes())
        return None

    def write(self, path: str, content: bytes) -> None:
        """Put a small object there, in place of any other: one PUT, when the stream is closed."""
        with closing(self._files.create(self._path(path), True)) as stream:
            stream.write(bytearray(content))

    def is_object(self, uri: str) -> bool:
        """Whether Hadoop finds an object there; it knows no keys with `//` or `/../` in them."""
        status = self._if_there(self._files.getFileStatus, uri.removeprefix(f"{self.root}/"))
        return bool(status and status.isFile())

    def delete(self, path: str) -> None:
        """Delete an object, or a folder with all that is in it, if it is there."""
        self._files.delete(self._path(path), True)

    def append(self, table: Table, rows: DataFrame, **folders: str) -> None:
        """Add files with these rows to their folders of a table; `folders` are the same for all rows."""
        named = rows.select("*", *[F.lit(value).alias(name) for name, value in folders.items()])
        chosen = named.select(*table.columns.names, *table.folders)
        chosen.write.mode("append").partitionBy(*table.folders).parquet(f"{self.root}/{table.location}")

    def rows(self, table: Table, uris: Iterable[str]) -> DataFrame:
        """The rows of some files of a table (there may be none), with the names of their folders."""
        folders = [T.StructField(name, TYPES["string"]) for name in table.folders]
        columns, paths = T.StructType([*table.columns, *folders]), sorted(uris)
        reader = self.spark.read.schema(columns).option("basePath", f"{self.root}/{table.location}")
        return reader.parquet(*paths) if paths else self.spark.createDataFrame([], columns)

    def files(self, table: Table, days: Iterable[str]) -> list[str]:
        """The URIs of a table's files of these days."""
        listed = side_by_side(lambda day: self.objects(table.day(day)), days)
        return [uri for objects in listed for uri, *_ in objects if uri.endswith(".parquet")]


def side_by_side(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """The results for all items. On S3 each call is a round trip."""
    with ThreadPoolExecutor(max_workers=16) as threads:
        return list(threads.map(function, items))


# --- Raw: which objects there are, and which of them are new ------------------------------------------------

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
    version: str  # another when it was uploaded again
    arrival: str  # UTC, as in 2025-11-18T14:25
    lines: int = -1
    accepted: int = 0
    rejected: int = 0
    newest: int = 0  # event, seconds since 1970
    # By day of the events, as in 2025-11-18: their number, and a hash of them in whatever order; their hours.
    days: dict[str, list[int]] = field(default_factory=dict)
    hours: dict[str, list[int]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    @property
    def placement(self) -> dict[str, str]:
        """What all its rows have in common: where they are from, and in which folders they lie."""
        minute = dict(zip(BY_MINUTE, re.split("[-T:]", self.arrival), strict=True))
        return {"source_file": self.uri, **minute, "object": self.id}

    def own_folder(self, table: Table) -> str:
        return "/".join([table.location, *(f"{name}={self.placement[name]}" for name in table.folders)])

    def days_changed_since(self, before: RawObject) -> set[str]:
        days = self.days.keys() | before.days.keys()
        return {day for day in days if self.days.get(day) != before.days.get(day)}


def key_arrival(key: str) -> datetime | None:
    """The minute of arrival that an object's key tells, None if it tells none that can be."""
    for pattern in KEY_ARRIVALS:
        if told := re.search(pattern, key):
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


def list_raw_objects(raw: Bucket) -> dict[str, RawObject]:
    """All event objects of the raw bucket, by URI."""
    found = {}
    for uri, size, modified in raw.objects("events"):
        key = uri.removeprefix(f"{raw.root}/")
        if is_event_object(key, size):
            arrived = arrival(key, datetime.fromtimestamp(modified / 1000, UTC))
            found[uri] = RawObject(uri, f"{modified}-{size}", f"{arrived:%Y-%m-%dT%H:%M}")
    return found


def handed_over(glue_context: GlueContext, source_bucket: str) -> set[str]:
    """The URIs of the objects that are new for the job bookmark.

    Of Glue's reader nothing but the names is used: one byte that is no UTF-8 makes it fail. Then the listing
    alone tells what is new, and the commit moves the bookmark all the same. It is shown no other names than
    .gz, .json and .jsonl, because it tells the codec by the suffix and fails of some.
    """
    shown = (".gz", ".json", ".jsonl")
    ends = [f"**[!{suffix[-at - 1]}]{suffix[-at:]}" for suffix in shown for at in range(1, len(suffix))]
    frame = glue_context.create_dynamic_frame.from_options(
        connection_type="s3",
        connection_options={
            "paths": [f"s3://{source_bucket}/events/"],
            "recurse": True,
            "exclusions": json.dumps(["**[!zln]", *ends]),
        },
        format="csv",
        format_options={"separator": "\x01", "quoteChar": -1, "attachFilename": "source_file"},
        transformation_ctx="raw_events",
    )
    try:
        lines = frame.toDF()
        is_none_new = "source_file" not in lines.columns
        names = [] if is_none_new else lines.select("source_file").distinct().toLocalIterator()
        return {uri for row in names for uri in (row[0], unquote(row[0]))}  # It may be URL-encoded or not.
    except Exception as error:  # Whatever it is: the listing knows all objects.
        print(f"Glue's reader failed, so the listing alone tells what is new: {str(error).strip()[:500]}")
        return set()


# --- Bronze: every line accepted as delivered, or rejected with a reason ------------------------------------

BATCH_LINES, BATCH_BYTES = 10_000, 16 * 2**20
# A row a line: an event, or raw_line and reason. And a row an object: how many lines it has.
JUDGED = schema(
    f"timestamp string, {FIELDS}, raw_line string, reason string, lines bigint, source_file string, "
    "year string, month string, day string, hour string, minute string, object string"
)
NO_EVENT, NO_REASON = (None,) * len(RAW_EVENT), (None, None, None)


def judged_lines(spark: SparkSession, objects: dict[str, RawObject]) -> DataFrame:
    """The rows of JUDGED of these objects. An object is read as a whole, its lines are judged in a stream."""
    placements = {uri: one.placement for uri, one in objects.items()}

    def judge_objects(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        gc.disable()  # It looks at all rows again and again, and there are no cycles.
        for batch in batches:
            for path, content in zip(batch["path"].to_pylist(), batch["content"], strict=True):
                yield from judged_batches(placements[path], memoryview(content.as_buffer()).cast("B"))

    if not placements:
        return spark.createDataFrame([], JUDGED)
    # Names are no globs, and folders no columns.
    reader = spark.read.format("binaryFile").options(__globPaths__=False, recursiveFileLookup=True)
    files = reader.load(sorted(placements))
    return files.select("path", "content").mapInArrow(judge_objects, JUDGED)


def judged_batches(placement: dict[str, str], content: memoryview) -> Iterator[pa.RecordBatch]:
    """The rows of JUDGED of one object, some thousand lines at a time."""
    rows: list[tuple[Any, ...]] = []
    lines = size = 0
    for line in lines_of(content):
        verdict = "corrupt_file" if line is None else judge(line)
        if isinstance(verdict, tuple):
            rows.append(verdict + NO_REASON)
        else:
            rows.append((*NO_EVENT, line if line is None else line.decode(errors="replace"), verdict, None))
        lines += 1
        size += len(line or b"")
        if len(rows) >= BATCH_LINES or size >= BATCH_BYTES:
            yield batch_of(rows, placement)
            rows, size = [], 0
    yield batch_of([*rows, (*NO_EVENT, None, None, lines)], placement)


def batch_of(rows: list[tuple[Any, ...]], placement: dict[str, str]) -> pa.RecordBatch:
    columns = [*zip(*rows, strict=True), *([value] * len(rows) for value in placement.values())]
    arrow = to_arrow_schema(JUDGED)
    return pa.record_batch(
        [pa.array(column, one.type) for column, one in zip(columns, arrow, strict=True)], schema=arrow
    )


def write_bronze(lake: Bucket, judged: DataFrame, objects: dict[str, RawObject]) -> None:
    """Write what was accepted and what was rejected; tell each object what became of its lines.

    Raises RuntimeError unless every line of every object was accepted or rejected.
    """
    lake.append(EVENTS, judged.where("timestamp IS NOT NULL"))
    lake.append(EVENTS_REJECTED, judged.where("reason IS NOT NULL"))
    day = F.to_date("event_timestamp").cast("string").alias("day")
    counts = judged.groupBy("source_file", day).agg(
        F.count("timestamp").alias("accepted"),
        F.count("reason").alias("rejected"),
        F.sum("lines").alias("lines"),
        F.sum(F.xxhash64(*RAW_EVENT.names)).alias("hash"),
        F.collect_set(F.hour("event_timestamp")).alias("hours"),
        F.unix_seconds(F.max("event_timestamp")).alias("newest"),
    )
    for row in counts.collect():
        one = objects[row.source_file]
        if row.day is None:  # The object's own row, and rejected lines.
            one.lines, one.rejected = row.lines, row.rejected
        else:
            one.accepted += row.accepted
            one.newest = max(one.newest, row.newest)
            one.hours[row.day] = sorted(row.hours)
            one.days[row.day] = [row.accepted, row.hash]
    for one in objects.values():
        if one.lines != one.accepted + one.rejected:
            raise RuntimeError(
                f"{one.uri} has {one.lines} lines, but {one.accepted} were accepted and {one.rejected} "
                "rejected. Neither silver nor the bookmark was changed: start the job again."
            )


class Index(dict[str, dict[str, RawObject]]):
    """Which version of which raw object bronze holds: an object of JSON lines for each day of arrival."""

    def __init__(self, lake: Bucket) -> None:
        self.lake, self.folder = lake, "bronze/deliveries"

    def __missing__(self, name: str) -> dict[str, RawObject]:
        lines = (self.lake.read(f"{self.folder}/{name}") or b"").splitlines()
        self[name] = {one.uri: one for one in (RawObject(**json.loads(line)) for line in lines)}
        return self[name]

    def held(self, uris: Iterable[str]) -> dict[str, RawObject]:
        """What bronze holds of these objects, as far as it does."""
        wanted = set(uris)
        found = side_by_side(self.__getitem__, set(map(self.name, wanted)))
        return {uri: one for objects in found for uri, one in objects.items() if uri in wanted}

    def with_events_of(self, days: set[str]) -> list[RawObject]:
        """All objects that delivered events of these days. (Reads the whole index.)"""
        names = [uri.rsplit("/", 1)[1] for uri, *_ in self.lake.objects(self.folder)] if days else []
        found = side_by_side(self.__getitem__, names)
        return [one for objects in found for one in objects.values() if days & one.days.keys()]

    def put(self, objects: dict[str, RawObject]) -> None:
        for uri, one in objects.items():
            self[self.name(uri)][uri] = one
        for name in set(map(self.name, objects)):
            lines = [json.dumps(asdict(one)) + "\n" for one in self[name].values()]
            self.lake.write(f"{self.folder}/{name}", "".join(lines).encode())

    @staticmethod
    def name(uri: str) -> str:
        told = key_arrival(uri.split("/", 3)[3])
        return f"{told:%Y-%m-%d}.jsonl" if told else "undated.jsonl"


# --- Silver: typed, standardised, one row an event ----------------------------------------------------------

REBUILT = "rebuilt"  # in place of a run's id, where a day was computed anew from bronze


def cleaned(events: DataFrame) -> DataFrame:
    """Bronze rows, timed -> silver's columns and folders, and `delivery`, which orders copies of an event."""
    moment = F.col("event_timestamp")
    texts = {one.name for one in RAW_EVENT if one.dataType == TYPES["string"]}
    typed = events.select(
        moment,
        *[
            (standardised(F.col(name)) if name in texts else F.col(name)).alias(name)
            for name in RAW_EVENT.names[1:]
        ],
        "source_file",
        F.struct(*BY_MINUTE, "source_file").alias("delivery"),
    )
    dated = typed.select("*", F.to_date(moment).alias("event_date"), F.hour(moment).alias("event_hour"))
    return with_day_folders(dated.select("*", F.lpad("event_hour", 2, "0").alias("hour")))


def timed(events: DataFrame) -> DataFrame:
    """Add the instant of each event; digits beyond microseconds are cut."""
    return events.withColumn("event_timestamp", standardised(F.col("timestamp")).cast("timestamp"))


def standardised(text: Column) -> Column:
    """As `read_field` does it."""
    trimmed = F.btrim(text, F.lit(ASCII_WHITESPACE))
    return F.when((F.octet_length(trimmed) > 4) | ~F.lower(trimmed).isin(*NULL_TOKENS), trimmed)


def with_day_folders(rows: DataFrame) -> DataFrame:
    day = F.col("event_date").cast("string")
    parts = {"year": day.substr(1, 4), "month": day.substr(6, 2), "day": day.substr(9, 2)}
    return rows.select("*", *[part.alias(name) for name, part in parts.items()])


def latest_versions(copies: DataFrame, silver: DataFrame) -> DataFrame:
    """Delivered copies, and silver's rows -> each delivered event once, and `held`: the version in silver.

    The latest arrival wins, then the last name, then the greatest values. held is null where silver has none.
    """
    version = F.struct(*PAYLOAD)
    both = copies.select("*", F.when(F.lit(False), version).alias("known")).unionByName(
        silver.select("*", version.alias("known")), allowMissingColumns=True
    )
    latest_first = Window.partitionBy(*IDENTITY).orderBy(
        F.col("delivery").desc_nulls_last(), *[F.col(name).desc_nulls_last() for name in PAYLOAD]
    )
    all_copies = latest_first.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    held = F.last("known", ignorenulls=True).over(all_copies).alias("held")
    ranked = both.select(*copies.columns, held, F.row_number().over(latest_first).alias("place"))
    return ranked.where("place = 1 AND delivery IS NOT NULL")


def append_new_events(lake: Bucket, judged: DataFrame, work: Work) -> dict[str, Any]:
    """Append what silver lacks to the run's own folders, but not on days that are to be rebuilt.

    Returns the numbers of events inserted and corrected, and the days of the latter: where silver has another
    version of an event, it is left to a rebuild to decide.
    """
    copies = cleaned(judged.where("timestamp IS NOT NULL")).where(~is_of(work.days))
    hours = {(day, hour) for one in work.objects.values() for day in one.hours for hour in one.hours[day]}
    folders = tuple(f"{lake.root}/{EVENTS_CLEANED.day(day)}/hour={hour:02d}/" for day, hour in hours)
    files = lake.files(EVENTS_CLEANED, {day for day, _ in hours} - work.days)
    silver = lake.rows(EVENTS_CLEANED, [uri for uri in files if uri.startswith(folders)])
    # Most events are later than any in silver. Of the others, by time alone first: it leaves few to compare.
    newest = silver.groupBy("event_date").agg(F.max("event_timestamp").alias("newest"))
    late = copies.join(F.broadcast(newest), "event_date").where("event_timestamp <= newest")
    near = silver.join(F.broadcast(late.select("event_timestamp")), "event_timestamp", "left_semi")
    is_new = F.col("held").isNull()
    is_conflict = ~is_new & ~F.struct(*PAYLOAD).eqNullSafe(F.col("held"))
    days = F.collect_set(F.when(is_conflict, F.col("event_date").cast("string")))
    addition = Observation()
    events = latest_versions(copies, near.select(*IDENTITY, *PAYLOAD)).observe(
        addition,
        F.count_if(is_new).alias("inserted"),
        F.count_if(is_conflict).alias("corrected"),
        F.concat_ws(" ", days).alias("days_in_conflict"),
    )
    lake.append(EVENTS_CLEANED, events.where(is_new), run=work.run)
    return addition.get


def is_of(days: Iterable[str]) -> Column:
    return F.col("event_date").isin([date.fromisoformat(day) for day in days])


def rebuild(lake: Bucket, index: Index, days: set[str]) -> None:
    """Compute these days of silver anew from all that bronze has of them."""
    held = side_by_side(lambda one: lake.objects(one.own_folder(EVENTS)), index.with_events_of(days))
    bronze = lake.rows(EVENTS, [uri for objects in held for uri, *_ in objects])
    copies = cleaned(timed(bronze)).where(is_of(days))
    events = latest_versions(copies, lake.rows(EVENTS_CLEANED, []))
    tables = (EVENTS_CLEANED, EVENT_CUBE, DAILY_VISITORS)
    side_by_side(lake.delete, [table.day(day) for table in tables for day in days])
    lake.append(EVENTS_CLEANED, events, run=REBUILT)


# --- Gold: a cube of hours, the visitors of days, and what is computed from them ----------------------------

UNCATEGORIZED = "uncategorized"


def renew_cube(lake: Bucket, days: set[str], run: str) -> None:
    """Compute cube and visitors of these days anew, from what this run has in silver."""

    own = f"/run={run}/"
    cube, visitors = lake.files(EVENT_CUBE, days), lake.files(DAILY_VISITORS, days)
    stale = [uri.removeprefix(f"{lake.root}/") for uri in cube + visitors if own in uri]
    side_by_side(lake.delete, stale)
    silver = [uri for uri in lake.files(EVENTS_CLEANED, days) if own in uri]
    events = lake.rows(EVENTS_CLEANED, silver).drop("run")
    lake.append(EVENT_CUBE, with_day_folders(event_cube(events)), run=run)
    seen, columns = daily_visitors(events).persist(), DAILY_VISITORS.columns.names
    known = lake.rows(DAILY_VISITORS, [uri for uri in visitors if own not in uri])  # Many more: they pass by.
    seen_again = known.join(F.broadcast(seen), columns, "left_semi").select(*columns)
    new = seen.join(F.broadcast(seen_again), columns, "left_anti")
    lake.append(DAILY_VISITORS, with_day_folders(new), run=run)
    seen.unpersist()


def event_cube(events: DataFrame) -> DataFrame:
    """Silver -> additive counts by hour, product, category and event type; revenue is that of purchases."""
    revenue = F.sum(F.when(F.col("event_type") == "purchase", F.col("price") * F.col("quantity")))
    category = F.coalesce("category", F.lit(UNCATEGORIZED)).alias("category")
    return events.groupBy("event_date", "event_hour", "product_id", category, "event_type").agg(
        F.count("*").alias("event_count"),
        F.coalesce(F.sum("quantity"), F.lit(0)).cast("bigint").alias("quantity"),
        exact_revenue(F.coalesce(revenue, F.lit(0))).alias("revenue"),
    )


def daily_visitors(events: DataFrame) -> DataFrame:
    """Silver -> its distinct users and sessions of each day."""
    visitor = F.explode(F.create_map(F.lit("user"), "user_id", F.lit("session"), "session_id"))
    return events.select("event_date", visitor.alias("visitor_type", "visitor_id")).distinct()


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
    revenue = exact_revenue(F.sum("revenue"))
    return purchases.agg(revenue.alias("total_revenue"), F.sum("event_count").alias("transaction_count"))


@gold("event_cube", "event_date date, category string, event_count bigint")
def category_performance(cube: DataFrame) -> DataFrame:
    return cube.groupBy("event_date", "category").agg(F.sum("event_count").alias("event_count"))


@gold("daily_visitors", "event_date date, unique_users bigint, unique_sessions bigint")
def user_activity(visitors: DataFrame) -> DataFrame:  # Each visitor of a day is in one row.
    users, sessions = (F.count_if(F.col("visitor_type") == kind) for kind in ("user", "session"))
    return visitors.groupBy("event_date").agg(users.alias("unique_users"), sessions.alias("unique_sessions"))


@gold(
    "event_cube",
    "event_date date, product_id string, category string, "
    "views bigint, add_to_carts bigint, purchases bigint",
)
def product_counts(cube: DataFrame) -> DataFrame:
    """What the next two are computed from, so that no run reads the cube of all days. Not in the catalog."""

    def number_of(event_type: str) -> Column:
        return F.sum(F.when(F.col("event_type") == event_type, F.col("event_count")).otherwise(0))

    return (
        cube.where("product_id IS NOT NULL")
        .groupBy("event_date", "product_id", "category")
        .agg(
            number_of("page_view").alias("views"),
            number_of("add_to_cart").alias("add_to_carts"),
            number_of("purchase").alias("purchases"),
        )
    )


@gold(
    "product_counts",
    "product_id string, category string, views bigint, add_to_carts bigint, purchases bigint, "
    "view_to_cart_conversion decimal(10,4), view_to_purchase_conversion decimal(10,4), "
    "cart_to_purchase_conversion decimal(10,4)",
)
def conversion_funnel(counts: DataFrame) -> DataFrame:
    def ratio(part: str, whole: str) -> Column:  # rounded half up
        quotient = F.col(part).cast("decimal(19,0)") / F.col(whole).cast("decimal(19,0)")
        return F.when(F.col(whole) > 0, quotient.cast("decimal(10,4)"))

    sums = [F.sum(name).alias(name) for name in ("views", "add_to_carts", "purchases")]
    totals = counts.groupBy("product_id", "category").agg(*sums)
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


def exact_revenue(total: Column) -> Column:
    """A sum as decimal(18,2). One that does not fit stops the run: Spark would make it null."""
    fits = total.cast("decimal(18,2)")
    message = F.concat(F.lit("Revenue does not fit decimal(18,2): "), total.cast("string"))
    return F.when(total.isNotNull() & fits.isNull(), F.raise_error(message)).otherwise(fits)


def gold_object(name: str) -> str:
    """The one object that a gold table is."""
    return f"{name.replace('.', '/')}/{name}.parquet"


def write_gold(lake: Bucket, days: set[str]) -> None:
    """Replace these days in the gold tables; all days of all of them where one of them is missing."""
    paths = {name: gold_object(name) for name in GOLD}
    before = dict(zip(paths, side_by_side(lake.read, paths.values()), strict=True))
    if None in before.values():
        counted = [uri for uri, *_ in lake.objects(EVENT_CUBE.location)]
        days = days.union("-".join(re.findall(r"=(\d+)/", uri)[:3]) for uri in counted)
    replaced = pa.array(map(date.fromisoformat, days), pa.date32())

    def write(name: str) -> None:
        table, source, compute = GOLD[name]
        columns = table.columns
        rows = compute(sources[source]).select(*columns.names).collect()
        content = pa.Table.from_pylist([row.asDict() for row in rows], to_arrow_schema(columns))
        if before[name] and "event_date" in columns.names:
            held = pq.read_table(BytesIO(before[name]), schema=content.schema)
            kept = held.filter(pc.invert(pc.is_in(held["event_date"], replaced)))
            content = pa.concat_tables([kept, content])
        file = BytesIO()
        pq.write_table(content, file, compression="zstd")
        lake.write(paths[name], file.getvalue())

    cube = lake.rows(EVENT_CUBE, lake.files(EVENT_CUBE, days)).persist()
    sources = {
        "event_cube": cube,
        "daily_visitors": lake.rows(DAILY_VISITORS, lake.files(DAILY_VISITORS, days)),
    }
    side_by_side(write, [name for name, (_, source, _) in GOLD.items() if source in sources])
    cube.unpersist()
    sources = {"product_counts": lake.spark.read.parquet(f"{lake.root}/{paths['gold.product_counts']}")}
    side_by_side(write, [name for name, (_, source, _) in GOLD.items() if source in sources])


# --- The run ------------------------------------------------------------------------------------------------

NOTE = "_pending/run.json"


class TooManyRejected(Exception):
    """More was rejected than --MAX_REJECTED_PERCENT allows. All of it is in the tables all the same."""


@dataclass
class Work:
    """What a run has in hand."""

    run: str  # the name of its folders
    objects: dict[str, RawObject]
    days: set[str]  # to compute anew from bronze

    def total(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.objects.values())

    def note(self, lake: Bucket) -> None:
        objects = [asdict(one) for one in self.objects.values()]
        noted = {"run": self.run, "objects": objects, "days": sorted(self.days)}
        lake.write(NOTE, json.dumps(noted).encode())


def find_work(lake: Bucket, index: Index, raw: Bucket, handed: set[str], compact_days: int) -> Work:
    """What the bookmark hands over, what bronze lacks or has otherwise, and what a killed run had in hand.

    What bronze has of all these objects is deleted. Of those of the killed run that have expired meanwhile it
    stays as it is, and their days are computed anew.
    """
    listed, noted = list_raw_objects(raw), json.loads(lake.read(NOTE) or '{"objects": [], "days": []}')
    left = {one["uri"]: RawObject(**one) for one in noted["objects"]}
    held = index.held(listed.keys() | left.keys())
    if not held and not left and not lake.objects(index.folder) and lake.objects("bronze"):
        raise RuntimeError(
            f"{lake.root}/bronze was written by an older version of this job, which kept other records. To "
            "compute all tables anew from the raw objects, delete bronze/, silver/, gold/, _pending/ and "
            "_staging/ of this bucket, reset the job bookmark, and start the job."
        )
    new = {uri for uri, one in listed.items() if uri not in held or held[uri].version != one.version}
    new |= listed.keys() & (handed | left.keys())
    unreadable = {
        uri for uri, is_there in zip(new, side_by_side(raw.is_object, new), strict=True) if not is_there
    }
    for uri in sorted(unreadable):
        print(f"{uri} is left out: it has just been deleted, or Hadoop cannot open a key like this.")
    objects = {uri: listed[uri] for uri in sorted(new - unreadable)}
    run = noted.get("run") or next((one.id for one in objects.values()), REBUILT)
    work = Work(run, objects, set(noted["days"]))
    work.days.update(*(held[uri].days for uri in left.keys() & held.keys() - objects.keys()))
    closed = [str(datetime.now(UTC).date() - timedelta(days=back + 1)) for back in range(compact_days)]
    work.days.update(
        day
        for day in closed
        if any(f"/run={REBUILT}/" not in uri for uri in lake.files(EVENTS_CLEANED, [day]))
    )
    half_done = [one for uri, one in left.items() if uri in objects or uri not in held]
    delete_bronze(lake, half_done)  # before the note that tells of them is replaced
    if work.objects or work.days or left:
        work.note(lake)
    delete_bronze(lake, [one for uri, one in held.items() if uri in objects])
    return work


def delete_bronze(lake: Bucket, objects: list[RawObject]) -> None:
    side_by_side(
        lake.delete, {one.own_folder(table) for one in objects for table in (EVENTS, EVENTS_REJECTED)}
    )


def run(
    glue_context: GlueContext,
    source_bucket: str,
    analytics_bucket: str,
    max_rejected_percent: float = 100,
    compact_days: int = 0,
) -> None:
    """Bring every layer up to date with the raw objects. Raises TooManyRejected at its end."""
    began, spark = monotonic(), glue_context.spark_session
    configure(spark)
    raw, lake = Bucket(spark, f"s3://{source_bucket}"), Bucket(spark, f"s3://{analytics_bucket}")
    index = Index(lake)
    work = find_work(lake, index, raw, handed_over(glue_context, source_bucket), compact_days)
    judged = take_in(lake, index, work, began)
    is_gold_whole = all(side_by_side(lake.is_object, map(gold_object, GOLD))) or not any(index.values())
    if work.objects or work.days or not is_gold_whole:
        refine(lake, index, work, judged)
    rejected, lines = work.total("rejected"), work.total("lines")
    if rejected * 100 > max_rejected_percent * lines:
        raise TooManyRejected(
            f"{rejected} of {lines} lines were rejected ({rejected / lines:.2%}), more than "
            f"--MAX_REJECTED_PERCENT {max_rejected_percent:g}. See why in events_rejected. Then deliver the "
            "objects again, mended, or start the job with a higher percentage: until then each run reads "
            "them again."
        )
    lake.delete(NOTE)


def take_in(lake: Bucket, index: Index, work: Work, began: float) -> DataFrame:
    """Bring the objects in hand to bronze; returns their lines, judged and timed."""
    judged = timed(judged_lines(lake.spark, work.objects)).persist()
    if work.objects:
        write_bronze(lake, judged, work.objects)
        for uri, before in index.held(work.objects).items():
            work.days |= work.objects[uri].days_changed_since(before)
        work.note(lake)
        index.put(work.objects)
    newest = max((one.newest for one in work.objects.values()), default=0)
    summarise(
        "bronze",
        began,
        files=len(work.objects),
        rows_in=work.total("lines"),
        accepted=work.total("accepted"),
        rejected=work.total("rejected"),
        newest_event_age_seconds=int(time()) - newest if newest else None,
    )
    return judged


def refine(lake: Bucket, index: Index, work: Work, judged: DataFrame) -> None:
    """Bring silver and gold up to date with what is in hand."""
    began = monotonic()
    addition = append_new_events(lake, judged, work)
    judged.unpersist()
    if addition["days_in_conflict"]:
        work.days.update(addition["days_in_conflict"].split())
        work.note(lake)
    if work.days:
        rebuild(lake, index, work.days)
    added_to = {day for one in work.objects.values() for day in one.days} - work.days
    summarise(
        "silver",
        began,
        inserted=addition["inserted"],
        corrected=addition["corrected"],
        duplicates=work.total("accepted") - addition["inserted"] - addition["corrected"],
        days_appended=sorted(added_to),
        days_rebuilt=sorted(work.days),
    )
    began = monotonic()
    for days, owner in ((added_to, work.run), (work.days, REBUILT)):
        if days:
            renew_cube(lake, days, owner)
    write_gold(lake, added_to | work.days)
    summarise("gold", began, days=sorted(added_to | work.days))


def configure(spark: SparkSession) -> None:
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",  # sums of hashes may overflow
        "spark.sql.shuffle.partitions": str(spark.sparkContext.defaultParallelism),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1",  # Python gets one raw object at a time
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        "spark.sql.inMemoryColumnarStorage.compressed": "false",
        "spark.sql.maxConcurrentOutputFileWriters": "16",  # instead of sorting the rows by partition first
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # INT96, the default, has no statistics
        # Spark's own committer moves a task's files when the task ends, and that is all. Glue's moves none.
        "mapreduce.fileoutputcommitter.algorithm.version": "2",
        "mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
    }
    for name, value in settings.items():
        spark.conf.set(name, value)


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
    optional = [name for name in ("MAX_REJECTED_PERCENT", "COMPACT_DAYS") if f"--{name}" in sys.argv]
    arguments = getResolvedOptions(sys.argv, ["JOB_NAME", "SOURCE_BUCKET", "ANALYTICS_BUCKET", *optional])
    percent = number(arguments, "MAX_REJECTED_PERCENT", 100, 100, r"[0-9]+(\.[0-9]+)?")
    days = int(number(arguments, "COMPACT_DAYS", 0, 366, r"[0-9]+"))
    glue_context = GlueContext(SparkContext.getOrCreate())
    job = Job(glue_context)
    job.init(arguments["JOB_NAME"], arguments)
    run(glue_context, arguments["SOURCE_BUCKET"], arguments["ANALYTICS_BUCKET"], percent, days)
    job.commit()


if __name__ == "__main__":
    main()
