"""The ETL job of the event-analytics pipeline: raw -> bronze -> silver -> gold, one incremental run.

Runs unchanged as an AWS Glue 5.1 job (Spark 3.5.6, Python 3.11) and on a laptop. It reads the raw objects
that the job bookmark has not seen, and leaves every layer as one run over all objects ever delivered would
have left it, whatever the order of the runs and wherever an earlier run was killed.

It knows nothing of the Glue Data Catalog: `capstone-starter.cfn.yaml` declares the tables, and a test
compares its columns with `TABLES` below.

Job arguments: --SOURCE_BUCKET (raw events, read only) and --ANALYTICS_BUCKET (everything else).

How a run stays safe without transactions: every write is prepared under `_staging/` and then moved, file by
file, to its place. The unit that is replaced is a slice: the files that one raw object gave to bronze, one
day of silver, one day of a gold table. A slice is replaced only where this run, or its repetition, can
rebuild it whole from the layer above; the bookmark comes last, so a killed run is repeated over its objects.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import reduce
from io import BytesIO
from typing import Any

from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext, StorageLevel
from pyspark.sql import Column, DataFrame, Observation, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DataType,
    DateType,
    DecimalType,
    IntegerType,
    LongType,
    MapType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

# --- Tables -------------------------------------------------------------------------------------------------

STRING, INT, BIGINT, DATE, TIMESTAMP = StringType(), IntegerType(), LongType(), DateType(), TimestampType()
PRICE, REVENUE, RATIO = DecimalType(10, 2), DecimalType(18, 2), DecimalType(10, 4)


@dataclass(frozen=True)
class Table:
    """One Parquet table: its folder below the analytics bucket, its columns, its partition columns."""

    location: str
    columns: StructType
    partitions: tuple[str, ...] = ()


def schema(**columns: DataType) -> StructType:
    return StructType([StructField(name, data_type) for name, data_type in columns.items()])


RAW_EVENT = schema(
    timestamp=STRING,
    user_id=STRING,
    session_id=STRING,
    event_type=STRING,
    product_id=STRING,
    quantity=INT,
    price=PRICE,
    category=STRING,
    search_query=STRING,
)
BY_DAY = ("year", "month", "day")
BY_MINUTE = (*BY_DAY, "hour", "minute")

TABLES = {
    "bronze.events": Table(
        "bronze/events", StructType([*RAW_EVENT.fields, StructField("source_file", STRING)]), BY_MINUTE
    ),
    "bronze.events_rejected": Table(
        "bronze/events_rejected", schema(raw_line=STRING, reason=STRING, source_file=STRING), BY_DAY
    ),
    "silver.events_cleaned": Table(
        "silver/events_cleaned",
        schema(
            event_timestamp=TIMESTAMP,
            user_id=STRING,
            session_id=STRING,
            event_type=STRING,
            product_id=STRING,
            quantity=INT,
            price=PRICE,
            category=STRING,
            search_query=STRING,
            event_date=DATE,
            event_hour=INT,
            source_file=STRING,
        ),
        BY_DAY,
    ),
    "gold.event_cube": Table(
        "gold/event_cube",
        schema(
            event_date=DATE,
            event_hour=INT,
            product_id=STRING,
            category=STRING,
            event_type=STRING,
            event_count=BIGINT,
            quantity=BIGINT,
            revenue=REVENUE,
        ),
        BY_DAY,
    ),
    "gold.conversion_funnel": Table(
        "gold/conversion_funnel",
        schema(
            product_id=STRING,
            category=STRING,
            views=BIGINT,
            add_to_carts=BIGINT,
            purchases=BIGINT,
            view_to_cart_conversion=RATIO,
            view_to_purchase_conversion=RATIO,
            cart_to_purchase_conversion=RATIO,
        ),
    ),
    "gold.hourly_revenue": Table(
        "gold/hourly_revenue",
        schema(event_date=DATE, event_hour=INT, total_revenue=REVENUE, transaction_count=BIGINT),
    ),
    "gold.top_products": Table(
        "gold/top_products", schema(rank=INT, product_id=STRING, category=STRING, view_count=BIGINT)
    ),
    "gold.category_performance": Table(
        "gold/category_performance", schema(event_date=DATE, category=STRING, event_count=BIGINT)
    ),
    "gold.user_activity": Table(
        "gold/user_activity", schema(event_date=DATE, unique_users=BIGINT, unique_sessions=BIGINT)
    ),
}

# --- Rules --------------------------------------------------------------------------------------------------

EVENT_TYPES = ("page_view", "add_to_cart", "remove_from_cart", "purchase", "search")
TYPES_WITH_PRODUCT = ("page_view", "add_to_cart", "remove_from_cart", "purchase")
TYPES_WITH_PRICE = ("add_to_cart", "remove_from_cart", "purchase")
NUMBER_FIELDS = ("quantity", "price")
TEXT_FIELDS = ("timestamp", "user_id", "session_id", "event_type", "product_id", "category", "search_query")
NULL_TOKENS = ("", "null", "none", "nan", "n/a")
ASCII_WHITESPACE = " \t\n\r\f\v"
UNCATEGORIZED = "uncategorized"

# Event times outside these years are absurd; the tables' partition projection covers the same years.
FIRST_YEAR, LAST_YEAR = 2020, 2039
# The arrival time in an object's key: its Hive folders, else its name events-YYYYMMDD-HHMMSS.
ARRIVAL = (
    r"^.*?/(?:year=|events-)(\d{4})(?:/month=)?(\d\d)(?:/day=)?(\d\d)(?:/hour=|-)(\d\d)(?:/minute=)?(\d\d).*$"
)
# Where a key tells no arrival time. Its rows go to a partition that Athena can see.
UNKNOWN_ARRIVAL = datetime(FIRST_YEAR, 1, 1)

# Copies of one event agree in these (null-safe); at-least-once delivery makes copies.
IDENTITY = ("user_id", "session_id", "event_type", "product_id", "search_query", "event_timestamp")
# What copies of one event may disagree in: a later copy corrects an earlier one.
PAYLOAD = ("price", "quantity", "category")

# A gzip object is read by one task. Few objects are spread over more, for parsing and writing in parallel.
MAX_FILES_PER_OBJECT = 4

STAGING = "_staging"
PENDING_DAYS = "_pending/silver_days.json"


# --- Buckets ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bucket:
    """A bucket, through Hadoop's file system API. Paths are relative to root, such as s3://name."""

    spark: SparkSession
    root: str

    def files(self, folder: str) -> Iterator[tuple[str, int]]:
        """URI and size in bytes of every file at any depth below a folder that exists."""
        found = self._file_system.listFiles(self._path(folder), True)
        while found.hasNext():
            status = found.next()
            yield status.getPath().toString(), status.getLen()

    def matching(self, glob: str) -> list[str]:
        """The URIs of the files and folders that match."""
        statuses = self._file_system.globStatus(self._path(glob))
        return [status.getPath().toString() for status in statuses or ()]

    def exists(self, glob: str) -> bool:
        return bool(self.matching(glob))

    def delete(self, glob: str) -> None:
        for uri in self.matching(glob):
            self._file_system.delete(self._hadoop.fs.Path(uri), True)

    def move(self, uri: str, target: str) -> None:
        path = self._path(target)
        self._file_system.mkdirs(path.getParent())
        if not self._file_system.rename(self._hadoop.fs.Path(uri), path):
            raise OSError(
                f"Could not move {uri} to {self.root}/{target}. Start the job again: it is repeatable."
            )

    def first_bytes(self, uri: str, size: int) -> bytes:
        stream = self._file_system.open(self._hadoop.fs.Path(uri))
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream, size))
        finally:
            stream.close()

    def read_text(self, path: str) -> str:
        (status,) = self._file_system.globStatus(self._path(path))
        return self.first_bytes(f"{self.root}/{path}", status.getLen()).decode()

    def write_text(self, path: str, text: str) -> None:
        stream = self._file_system.create(self._path(path), True)
        stream.write(bytearray(text, "utf-8"))
        stream.close()

    def _path(self, path: str) -> Any:
        return self._hadoop.fs.Path(f"{self.root}/{path}")

    @property
    def _file_system(self) -> Any:
        return self._hadoop.fs.Path(self.root).getFileSystem(self.spark._jsc.hadoopConfiguration())

    @property
    def _hadoop(self) -> Any:
        return self._jvm.org.apache.hadoop

    @property
    def _jvm(self) -> Any:
        return self.spark._jvm


# --- Raw: the lines of the objects that the bookmark has not seen -------------------------------------------


def read_new_lines(glue_context: GlueContext, source_bucket: str) -> DataFrame | None:
    """The untouched lines of new raw objects as (raw_line, source_file), or None if there is no new object.

    DynamicFrame's own JSON reader infers types and drops malformed lines. CSV without quoting, and with a
    separator that no valid JSON holds (a raw control character), hands over each line as it is.
    """
    frame = glue_context.create_dynamic_frame.from_options(
        connection_type="s3",
        connection_options={"paths": [f"s3://{source_bucket}/events/"], "recurse": True},
        format="csv",
        format_options={
            "separator": "\x01",
            "quoteChar": -1,
            "withHeader": False,
            "attachFilename": "source_file",
        },
        transformation_ctx="raw_events",
    ).toDF()
    if "source_file" not in frame.columns:
        return None
    # A line that does hold the separator arrives in several columns: no JSON, but nothing of it is lost.
    pieces = [F.col(column) for column in frame.columns if column != "source_file"]
    lines = frame.select(F.concat_ws("\x01", *pieces).alias("raw_line"), "source_file")
    objects = lines.rdd.getNumPartitions()
    parallelism = min(lines.sparkSession.sparkContext.defaultParallelism, MAX_FILES_PER_OBJECT)
    return (
        lines.repartition(parallelism) if objects < parallelism else lines.repartition(objects, "source_file")
    )


# --- Bronze: every line accepted as delivered, or rejected with a reason ------------------------------------

# Numbers are parsed wide, so that a value that does not fit is seen instead of rounded.
WIDE_DECIMAL = DecimalType(38, 18)
STRICT_JSON = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": "unparsed",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}
AS_EVENT = schema(
    **{name: STRING if name in TEXT_FIELDS else WIDE_DECIMAL for name in RAW_EVENT.names}, unparsed=STRING
)
AS_TEXTS = schema(**dict.fromkeys(RAW_EVENT.names, STRING))
AS_OBJECTS = schema(**dict.fromkeys(TEXT_FIELDS, MapType(STRING, STRING)))
AS_ARRAYS = schema(**dict.fromkeys(TEXT_FIELDS, ArrayType(STRING)))
# One flat object and nothing behind it, without escapes and in valid UTF-8 (a bad byte is decoded to U+FFFD).
PLAIN_OBJECT = "^[ \\t\\r]*\\{[^{}\\[\\]\\\\\ufffd]*+\\}[ \\t\\r]*$"
# Spark would read the text "9,99" as 999.
NUMBER_AS_TEXT = r'(?:quantity|price)"\s*:\s*"'
# 1e999999999 would be expanded to a billion digits by a decimal parser.
HUGE_EXPONENT = r"[0-9.][eE][+-]?[0-9]{4}"
ISO_8601 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$"


def parse_lines(lines: DataFrame) -> DataFrame:
    """Lines (raw_line, source_file) -> one row a line: the nine raw fields, raw_line, reason, source_file.

    The fields are null in a rejected row, raw_line and reason are null in an accepted one.
    """
    line, event = F.col("raw_line"), F.col("event")
    parsed = lines.select(
        "raw_line",
        "source_file",
        (line.rlike(PLAIN_OBJECT) & ~line.rlike(NUMBER_AS_TEXT)).alias("is_plain"),
        F.when(~line.rlike(HUGE_EXPONENT), F.from_json(line, AS_EVENT, STRICT_JSON)).alias("event"),
    )
    # The few lines that are not plainly an event are parsed again, to see what is the matter with them.
    is_doubtful = ~F.col("is_plain") | event.isNull() | event["unparsed"].isNotNull()
    examined = parsed.select(
        "raw_line",
        "source_file",
        "event",
        F.when(is_doubtful, is_one_json_object(line)).alias("is_object"),
        F.when(is_doubtful, F.from_json(line, AS_TEXTS, STRICT_JSON)).alias("texts"),
        F.when(is_doubtful, F.from_json(line, AS_OBJECTS, STRICT_JSON)).alias("objects"),
        F.when(is_doubtful, F.from_json(line, AS_ARRAYS, STRICT_JSON)).alias("arrays"),
    )
    texts = {name: F.coalesce(event[name], F.col("texts")[name]) for name in TEXT_FIELDS}
    numbers = {name: number_of(event[name], F.col("texts"), name) for name in NUMBER_FIELDS}
    standard = examined.select(
        "*",
        *[standardised(text).alias(name) for name, text in texts.items()],
        *[number.alias(name) for name, number in numbers.items()],
    )
    timed = standard.select("*", is_event_time(F.col("timestamp")).alias("has_event_time"))
    judged = timed.select("*", rejection_reason().alias("reason"))

    accepted = F.col("reason").isNull()
    delivered = {**texts, **{name: F.col(name) for name in NUMBER_FIELDS}}
    fields = [
        F.when(accepted, delivered[column.name].cast(column.dataType)).alias(column.name)
        for column in RAW_EVENT
    ]
    rejected_line = F.decode(line.cast("binary"), "UTF-8")  # bytes that are no UTF-8 become U+FFFD
    return judged.select(*fields, F.when(~accepted, rejected_line).alias("raw_line"), "reason", "source_file")


def number_of(parsed: Column, texts: Column, name: str) -> Column:
    """The value of a number field; of an examined line (texts not null), one on which its text agrees."""
    from_text = standardised(texts[name]).cast(WIDE_DECIMAL)
    return F.when(texts.isNull(), parsed).when(parsed.isNull() | (parsed == from_text), from_text)


def rejection_reason() -> Column:
    """The first rule that a line breaks, null where it is an event. For the columns see `parse_lines`."""
    needs_product = F.col("event_type").isin(*TYPES_WITH_PRODUCT)
    needs_price = F.col("event_type").isin(*TYPES_WITH_PRICE)
    always, never = F.lit(True), F.lit(False)

    def text_rules(name: str, is_required: Column) -> list[tuple[Column, str]]:
        # Spark hands over an object or array in a text field as its JSON text.
        is_container = F.col("objects")[name].isNotNull() | F.col("arrays")[name].isNotNull()
        return [
            (is_container, f"invalid_value:{name}"),
            (is_required & F.col(name).isNull(), f"missing_field:{name}"),
        ]

    def number_rules(name: str, fits: DataType, minimum: int) -> list[tuple[Column, str]]:
        number, text = F.col(name), standardised(F.col("texts")[name])
        return [
            (number.isNull() & text.isNotNull(), f"invalid_value:{name}"),
            (needs_price & number.isNull(), f"missing_field:{name}"),
            (number.isNotNull() & ~number.cast(fits).eqNullSafe(number), f"invalid_value:{name}"),
            (needs_price & (number < minimum), f"invalid_value:{name}"),
        ]

    rules = [
        (~F.col("is_object"), "malformed_json"),
        *text_rules("timestamp", is_required=always),
        (~F.col("has_event_time"), "invalid_value:timestamp"),
        *text_rules("user_id", is_required=always),
        *text_rules("session_id", is_required=always),
        *text_rules("event_type", is_required=always),
        (~F.col("event_type").isin(*EVENT_TYPES), "unknown_event_type"),
        *text_rules("product_id", is_required=needs_product),
        *number_rules("quantity", fits=INT, minimum=1),
        *number_rules("price", fits=PRICE, minimum=0),
        *text_rules("category", is_required=never),
        *text_rules("search_query", is_required=never),
    ]
    return F.coalesce(*[F.when(is_broken, F.lit(reason)) for is_broken, reason in rules])


def is_one_json_object(line: Column) -> Column:
    """True where the line is strict JSON in valid UTF-8, an object, with nothing behind it; never null.

    Spark's parser stops behind the first value. Only a line that is one single value parses both as a member
    of an object and as the first of two elements of an array.
    """
    anything = schema(unparsed=STRING)
    as_member = F.from_json(
        F.concat(F.lit('{"event":'), line, F.lit(',"complete":true}')),
        schema(event=anything, complete=STRING),
        STRICT_JSON,
    )
    as_element = F.from_json(F.concat(F.lit("["), line, F.lit(",{}]")), ArrayType(anything), STRICT_JSON)
    stands_alone = (
        as_member["event"].isNotNull() & as_member["complete"].isNotNull() & (F.size(as_element) == 2)
    )
    line_bytes = line.cast("binary")
    is_utf8 = F.encode(F.decode(line_bytes, "UTF-8"), "UTF-8") == line_bytes
    return F.coalesce(stands_alone & is_utf8, F.lit(False))


def standardised(text: Column) -> Column:
    """Trimmed text; the usual spellings of nothing are null."""
    trimmed = F.btrim(text, F.lit(ASCII_WHITESPACE))
    return F.when(~F.lower(trimmed).isin(*NULL_TOKENS), trimmed)


def event_time(text: Column) -> Column:
    """The instant of an ISO 8601 text in UTC, further digits than microseconds cut; null where it is none."""
    return F.when(text.rlike(ISO_8601), text.cast(TIMESTAMP))


def is_event_time(text: Column) -> Column:
    return F.coalesce(F.year(event_time(text)).between(FIRST_YEAR, LAST_YEAR), F.lit(False))


def any_of(conditions: Iterable[Column]) -> Column:
    return reduce(lambda one, other: one | other, conditions)


def all_of(conditions: Iterable[Column]) -> Column:
    return reduce(lambda one, other: one & other, conditions)


# --- Delivery: what this run has to add ---------------------------------------------------------------------


@dataclass(frozen=True)
class RawObject:
    """A raw object, and where its slices of the bronze tables belong."""

    source_file: str

    @property
    def arrival(self) -> datetime:
        """When it arrived, to the minute."""
        try:
            arrival = datetime.strptime(re.sub(ARRIVAL, r"\1\2\3\4\5", self.source_file), "%Y%m%d%H%M")
        except ValueError:
            return UNKNOWN_ARRIVAL
        return arrival if FIRST_YEAR <= arrival.year <= LAST_YEAR else UNKNOWN_ARRIVAL

    @property
    def slice(self) -> str:
        return hashlib.sha256(self.source_file.encode()).hexdigest()[:16]

    @property
    def partition(self) -> dict[str, str]:
        formats = ("%Y", "%m", "%d", "%H", "%M")
        return {name: self.arrival.strftime(code) for name, code in zip(BY_MINUTE, formats, strict=True)}

    def glob(self, table: Table) -> str:
        """Matches the files of its slice of a bronze table."""
        return "/".join(f"{name}={self.partition[name]}" for name in table.partitions) + f"/{self.slice}-*"


@dataclass(frozen=True)
class DeliveredDay:
    """The accepted rows of this run for one day of events; times in microseconds since 1970, UTC."""

    rows: int
    first_time: int
    last_time: int


@dataclass(frozen=True)
class Delivery:
    """The parsed lines of this run (schema: see `parse_lines`) and what one pass over them told."""

    events: DataFrame
    objects: list[RawObject]
    days: dict[date, DeliveredDay]
    lines: int
    rejected: int

    @property
    def accepted_events(self) -> DataFrame:
        return self.events.where(F.col("reason").isNull()).select(*TABLES["bronze.events"].columns.names)


def read_delivery(glue_context: GlueContext, source_bucket: str) -> Delivery | None:
    """Read and parse the new raw objects; None if there are none.

    An object that cannot be decompressed to its end gives the lines before that point and one rejected row
    (raw_line null, reason corrupt_file) for what is lost.
    """
    spark = glue_context.spark_session
    lines = read_new_lines(glue_context, source_bucket)
    if lines is None:
        return None
    try:
        return describe(parse_lines(lines))
    except Py4JJavaError as error:
        if not is_decompression_error(error):
            raise
    # Read once more, taking of each object what can be read. Off otherwise, because it hides the loss.
    spark.catalog.clearCache()
    spark.conf.set("spark.sql.files.ignoreCorruptFiles", "true")  # Spark SQL's readers
    spark.sparkContext._jsc.sc().conf().set("spark.files.ignoreCorruptFiles", "true")  # Hadoop's, Glue's
    lines = read_new_lines(glue_context, source_bucket)
    assert lines is not None, "the objects that were just there are gone"
    events = parse_lines(lines)
    readable = {row["source_file"] for row in events.select("source_file").distinct().collect()}
    corrupt = table_of(
        spark,
        [
            ("corrupt_file", source_file)
            for source_file in find_corrupt_objects(spark, source_bucket, readable)
        ],
        schema(reason=STRING, source_file=STRING),
    )
    return describe(events.unionByName(corrupt, allowMissingColumns=True))


def is_decompression_error(error: Py4JJavaError) -> bool:
    return "org.apache.hadoop.io.compress" in str(error)


def find_corrupt_objects(spark: SparkSession, source_bucket: str, readable: set[str]) -> list[str]:
    """The gzip objects that cannot be decompressed to their end, of those just read and those without a line.

    Runs only after a decompression error. It lists all raw objects, which expire and so are bounded in
    number, and reads to the end only those that this run reads or that hold no line at their beginning.
    """
    bucket = Bucket(spark, f"s3://{source_bucket}")

    def is_corrupt(path: str, size: int) -> bool:
        if path not in readable and b"\n" in decompress(bucket.first_bytes(path, min(size, 65_536)))[0]:
            return False
        return not decompress(bucket.first_bytes(path, size))[1]

    objects = [(path, size) for path, size in bucket.files("events") if path.endswith(".gz") and size > 0]
    with ThreadPoolExecutor(max_workers=16) as threads:
        verdicts = threads.map(lambda item: is_corrupt(*item), objects)
        return [path for (path, _), corrupt in zip(objects, verdicts, strict=True) if corrupt]


def decompress(compressed: bytes) -> tuple[bytes, bool]:
    """What a gzip object holds before its end or first error, and whether it has a proper end."""
    content = bytearray()
    try:
        with gzip.GzipFile(fileobj=BytesIO(compressed)) as stream:
            while chunk := stream.read(65_536):
                content += chunk
    except (OSError, EOFError, zlib.error):
        return bytes(content), False
    return bytes(content), True


def describe(events: DataFrame) -> Delivery:
    """Parsed lines -> the delivery. This is the one action that reads, parses and caches the raw lines."""
    events = events.persist(StorageLevel.MEMORY_AND_DISK)
    time = cleaned_time()
    counts = events.groupBy("source_file", F.to_date(time).alias("event_date")).agg(
        F.count("*").alias("rows"),
        F.count("reason").alias("rejected"),
        F.unix_micros(F.min(time)).alias("first_time"),
        F.unix_micros(F.max(time)).alias("last_time"),
    )
    rows = counts.collect()
    by_day: dict[date, list[Any]] = {}
    for row in rows:
        if row["event_date"] is not None:
            by_day.setdefault(row["event_date"], []).append(row)
    return Delivery(
        events=events,
        objects=[RawObject(source_file) for source_file in sorted({row["source_file"] for row in rows})],
        days={
            day: DeliveredDay(
                rows=sum(row["rows"] for row in day_rows),
                first_time=min(row["first_time"] for row in day_rows),
                last_time=max(row["last_time"] for row in day_rows),
            )
            for day, day_rows in by_day.items()
        },
        lines=sum(row["rows"] for row in rows),
        rejected=sum(row["rejected"] for row in rows),
    )


# --- The lake: slices of tables, staged and then moved into place -------------------------------------------


@dataclass(frozen=True)
class StagedFile:
    folder: str  # its partition folder, "" in a table without partitions
    slice: str
    path: str


@dataclass(frozen=True)
class Lake(Bucket):
    """The analytics bucket as tables."""

    def read(self, table: Table, globs: Iterable[str] = ("",)) -> DataFrame:
        """The rows of a table, or of the folders and files in it that match the globs (there may be none)."""
        paths = [path for glob in globs for path in self.matching(f"{table.location}/{glob}")]
        if not paths:
            return table_of(self.spark, [], table.columns)
        return self.spark.read.schema(table.columns).parquet(*paths).select(*table.columns.names)

    def stage(self, table: Table, rows: DataFrame) -> None:
        """Prepare files of rows (columns of the table, partition columns, `slice`) out of sight."""
        columns = [*table.columns.names, *table.partitions, "slice"]
        staging = f"{self.root}/{STAGING}/{table.location}"
        rows.select(*columns).write.mode("overwrite").partitionBy(*table.partitions, "slice").parquet(staging)

    def staged(self, table: Table) -> list[StagedFile]:
        staging = f"{STAGING}/{table.location}/"
        found = []
        for path, _ in self.files(staging):
            if path.endswith(".parquet"):
                *folders, slice_folder, _ = path.split(staging)[1].split("/")
                found.append(StagedFile("/".join(folders), slice_folder.removeprefix("slice="), path))
        return found

    def publish(self, table: Table, files: Iterable[StagedFile], replaces: Iterable[str] = ()) -> None:
        """Move staged files into place, where they replace the files that match the globs."""
        with ThreadPoolExecutor(max_workers=16) as threads:  # on S3 each call is a round trip
            list(threads.map(lambda glob: self.delete(f"{table.location}/{glob}"), replaces))
            list(threads.map(lambda file: self.move(file.path, target_of(file, table)), files))
        self.delete(f"{STAGING}/{table.location}")

    def replace(self, table: Table, rows: DataFrame, replaces: Iterable[str]) -> None:
        """Write rows (as for `stage`) in place of the files that match the globs."""
        self.stage(table, rows)
        self.publish(table, self.staged(table), replaces)

    def replace_all(self, *replacements: tuple[Table, DataFrame, list[str]]) -> None:
        """Several times `replace`, side by side: small writes wait more than they work."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda replacement: self.replace(*replacement), replacements))


def table_of(spark: SparkSession, rows: list[tuple[Any, ...]], columns: StructType) -> DataFrame:
    """The DataFrame of a few rows that the driver knows. (`createDataFrame` would start Python workers.)"""
    records = json.dumps([dict(zip(columns.names, row, strict=True)) for row in rows])
    one_row = spark.range(0, 1, 1, numPartitions=1)
    return one_row.select(F.inline(F.from_json(F.lit(records), ArrayType(columns))))


def target_of(file: StagedFile, table: Table) -> str:
    return "/".join(
        filter(None, (table.location, file.folder, f"{file.slice}-{file.path.rsplit('/', 1)[1]}"))
    )


def day_folder(day: date) -> str:
    return f"year={day:%Y}/month={day:%m}/day={day:%d}"


def with_day_partition(rows: DataFrame) -> DataFrame:
    """Add year, month, day (zero-padded text) of the row's event_date."""
    formats = {"year": "yyyy", "month": "MM", "day": "dd"}
    return rows.select(
        "*", *[F.date_format("event_date", pattern).alias(name) for name, pattern in formats.items()]
    )


# --- Bronze: every line, accepted as delivered or rejected with its reason ----------------------------------


def refresh_bronze(lake: Lake, delivery: Delivery) -> None:
    """Give each raw object of this run its slice of events and of events_rejected, in place of any it had."""
    placement = table_of(
        lake.spark,
        [(one.source_file, one.slice, *one.partition.values()) for one in delivery.objects],
        schema(**dict.fromkeys(("source_file", "slice", *BY_MINUTE), STRING)),
    )
    placed = delivery.events.join(F.broadcast(placement), "source_file")
    is_accepted = F.col("reason").isNull()
    accepted, rejected = TABLES["bronze.events"], TABLES["bronze.events_rejected"]
    lake.replace_all(
        (accepted, placed.where(is_accepted), [one.glob(accepted) for one in delivery.objects]),
        (rejected, placed.where(~is_accepted), [one.glob(rejected) for one in delivery.objects]),
    )


def days_changed_by_redelivery(lake: Lake, delivery: Delivery) -> set[date]:
    """The days of events in objects that bronze holds with other content: all that they held and hold now."""
    table = TABLES["bronze.events"]
    slices = [one.glob(table) for one in delivery.objects]
    with ThreadPoolExecutor(max_workers=16) as threads:
        delivered_before = any(threads.map(lambda glob: lake.exists(f"{table.location}/{glob}"), slices))
    if not delivered_before:
        return set()
    before, now = lake.read(table, slices), delivery.accepted_events
    changed = (
        content_by_object(before)
        .alias("before")
        .join(content_by_object(now).alias("now"), "source_file", "left")
        .where(~F.col("before.content").eqNullSafe(F.col("now.content")))
        .select("source_file")
    )
    affected = before.unionByName(now).join(F.broadcast(changed), "source_file", "left_semi")
    days = affected.select(F.to_date(cleaned_time()).alias("event_date")).distinct()
    return {row["event_date"] for row in days.collect()}


def content_by_object(events: DataFrame) -> DataFrame:
    """Bronze rows -> (source_file, content): equal where an object's rows are the same, in whatever order."""
    row_hash = F.xxhash64(*RAW_EVENT.names).cast(DecimalType(20, 0))
    content = F.struct(F.count("*").alias("rows"), F.sum(row_hash).alias("hashes"))
    return events.groupBy("source_file").agg(content.alias("content"))


# --- Silver: typed, standardised, one row an event ----------------------------------------------------------

NEW_EVENTS, CONFLICTS = "events", "conflicts"


def cleaned_time() -> Column:
    return standardised(F.col("timestamp")).cast(TIMESTAMP)


def clean(events: DataFrame) -> DataFrame:
    """Bronze rows -> rows of silver's columns, the copies of an event still among them."""
    texts = ("user_id", "session_id", "event_type", "product_id", "category", "search_query")
    standard = events.select(
        cleaned_time().alias("event_timestamp"),
        *[standardised(F.col(name)).alias(name) for name in texts],
        "quantity",
        "price",
        "source_file",
    )
    return with_silver_columns(standard)


def with_silver_columns(events: DataFrame) -> DataFrame:
    time = F.col("event_timestamp")
    dated = events.select("*", F.to_date(time).alias("event_date"), F.hour(time).alias("event_hour"))
    return dated.select(*TABLES["silver.events_cleaned"].columns.names)


def distinct_events(copies: DataFrame, objects: Iterable[RawObject]) -> DataFrame:
    """Rows of silver's columns, from these raw objects -> one row an event, however its copies are ordered.

    Its price, quantity and category are those of the most recent copy: latest arrival, then last file name,
    then greatest values. source_file is the first object that delivered exactly these, so that a mere
    repetition in a later object changes nothing.
    """
    in_order = sorted(objects, key=lambda one: (one.arrival, one.source_file))
    deliveries = F.broadcast(
        table_of(
            copies.sparkSession,
            [(one.source_file, number) for number, one in enumerate(in_order)],
            schema(source_file=STRING, delivery=INT),
        )
    )
    versions = (
        copies.join(deliveries, "source_file")
        .groupBy(*IDENTITY, *PAYLOAD)
        .agg(F.min("delivery").alias("first_delivery"), F.max("delivery").alias("last_delivery"))
    )
    latest_first = Window.partitionBy(*IDENTITY).orderBy(
        F.col("last_delivery").desc(), *[F.col(name).desc_nulls_last() for name in PAYLOAD]
    )
    latest = versions.select("*", F.row_number().over(latest_first).alias("age")).where(F.col("age") == 1)
    return with_silver_columns(latest.join(deliveries, F.col("first_delivery") == F.col("delivery")))


@dataclass(frozen=True)
class SilverAddition:
    """Staged files that may be appended, and the days where appending cannot set things right."""

    files: list[StagedFile]
    days_in_conflict: set[date]
    inserted: int
    corrected: int


def stage_new_events(lake: Lake, delivery: Delivery, days: Iterable[date]) -> SilverAddition:
    """Stage the delivered events of these days that silver lacks.

    A day is in conflict where the delivery holds another version of an event than silver: nothing is appended
    to it. A half-done append is completed by the next run, which finds the rows that are there.
    """
    table = TABLES["silver.events_cleaned"]
    parts = {day: delivery.days[day] for day in days}
    if not parts:
        return SilverAddition([], set(), inserted=0, corrected=0)
    in_days = F.col("event_date").isin(*parts)
    in_time = any_of(
        F.col("event_timestamp").between(
            F.timestamp_micros(F.lit(part.first_time)), F.timestamp_micros(F.lit(part.last_time))
        )
        for part in parts.values()
    )
    delivered = distinct_events(clean(delivery.accepted_events).where(in_days), delivery.objects)
    existing = lake.read(table, [day_folder(day) for day in parts]).where(in_time)
    compared = with_day_partition(compare(delivered, existing))

    counts = Observation("silver")
    is_new, is_conflict = F.col("slice") == NEW_EVENTS, F.col("slice") == CONFLICTS
    counted = compared.observe(
        counts,
        F.count(F.when(is_new, 1)).alias("inserted"),
        F.count(F.when(is_conflict, 1)).alias("corrected"),
    )
    lake.stage(table, counted.where(is_new | is_conflict))
    staged = lake.staged(table)
    conflicts = {file.folder for file in staged if file.slice == CONFLICTS}
    return SilverAddition(
        files=[file for file in staged if file.folder not in conflicts],
        days_in_conflict={day for day in parts if day_folder(day) in conflicts},
        inserted=counts.get["inserted"],
        corrected=counts.get["corrected"],
    )


def compare(delivered: DataFrame, existing: DataFrame) -> DataFrame:
    """Add `slice` to delivered events: events (silver lacks it), conflicts (silver differs), null (known)."""
    new, old = delivered.alias("new"), existing.alias("old")
    is_same_event = all_of(F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in IDENTITY)
    is_same_version = all_of(F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in PAYLOAD)
    is_earlier = order_of_arrival("new.source_file") < order_of_arrival("old.source_file")
    slice_name = F.when(F.col("old.source_file").isNull(), NEW_EVENTS).when(
        ~is_same_version | is_earlier, CONFLICTS
    )
    return new.join(old, is_same_event, "left").select("new.*", slice_name.alias("slice"))


def order_of_arrival(source_file: str) -> Column:
    """Comparable: by arrival, then by name. (An unknown arrival, which is no number, comes first.)"""
    arrival = F.regexp_replace(source_file, ARRIVAL, "$1$2$3$4$5")
    return F.struct(F.when(arrival.rlike(r"^\d{12}$"), arrival), F.col(source_file))


def rebuild_silver(lake: Lake, days: set[date]) -> None:
    """Replace these days of silver by what bronze holds of them."""
    table = TABLES["silver.events_cleaned"]
    # Delivered times are text of any offset (at most 18 hours), perhaps behind a blank: a wide range of that
    # text lets Parquet skip the files of other days.
    time = F.col("timestamp")
    earliest, latest = min(days) - timedelta(days=1), max(days) + timedelta(days=2)
    is_near = time.between(earliest.isoformat(), latest.isoformat()) | (time < "0")
    copies = clean(lake.read(TABLES["bronze.events"]).where(is_near)).where(F.col("event_date").isin(*days))
    sources = [RawObject(row["source_file"]) for row in copies.select("source_file").distinct().collect()]
    rows = with_day_partition(distinct_events(copies, sources)).select("*", F.lit(NEW_EVENTS).alias("slice"))
    lake.replace(table, rows, replaces=[f"{day_folder(day)}/*" for day in days])


# --- Gold: a cube of touched days, and five answers ---------------------------------------------------------


def refresh_gold(lake: Lake, days: set[date]) -> None:
    """Recompute these days of the daily tables from silver, and the tables over all time from the cube."""
    folders = [day_folder(day) for day in days]
    events = lake.read(TABLES["silver.events_cleaned"], folders)
    cube_table = TABLES["gold.event_cube"]
    cube = with_day_partition(event_cube(events)).select("*", F.lit("cube").alias("slice"))
    lake.replace(cube_table, cube.repartition("event_date"), replaces=[f"{folder}/*" for folder in folders])

    cube_of_days, cube_of_all_time = lake.read(cube_table, folders), lake.read(cube_table)
    daily = {
        "gold.hourly_revenue": hourly_revenue(cube_of_days),
        "gold.category_performance": category_performance(cube_of_days),
        "gold.user_activity": user_activity(events),
    }
    over_all_time = {
        "gold.conversion_funnel": conversion_funnel(cube_of_all_time),
        "gold.top_products": top_products(cube_of_all_time),
    }
    slice_of_day, slice_of_all = F.date_format("event_date", "yyyy-MM-dd"), F.lit("all")
    lake.replace_all(
        *[
            (TABLES[name], in_one_file(rows, slice_of_day), [f"{day:%Y-%m-%d}-*" for day in days])
            for name, rows in daily.items()
        ],
        *[(TABLES[name], in_one_file(rows, slice_of_all), ["all-*"]) for name, rows in over_all_time.items()],
    )


def in_one_file(rows: DataFrame, slice_name: Column) -> DataFrame:
    return rows.select("*", slice_name.alias("slice")).repartition(1)


def event_cube(events: DataFrame) -> DataFrame:
    """Silver -> additive counts by hour, product, category and event type; revenue is that of purchases."""
    is_purchase = F.col("event_type") == "purchase"
    revenue = F.sum(F.when(is_purchase, F.col("price") * F.col("quantity")))
    return events.groupBy(
        "event_date",
        "event_hour",
        "product_id",
        F.coalesce("category", F.lit(UNCATEGORIZED)).alias("category"),
        "event_type",
    ).agg(
        F.count("*").alias("event_count"),
        F.coalesce(F.sum("quantity"), F.lit(0)).cast(BIGINT).alias("quantity"),
        exact_revenue(F.coalesce(revenue, F.lit(0))).alias("revenue"),
    )


def conversion_funnel(cube: DataFrame) -> DataFrame:
    def count_of(event_type: str) -> Column:
        return F.coalesce(F.sum(F.when(F.col("event_type") == event_type, F.col("event_count"))), F.lit(0))

    counts = (
        cube.where(F.col("product_id").isNotNull())
        .groupBy("product_id", "category")
        .agg(
            count_of("page_view").alias("views"),
            count_of("add_to_cart").alias("add_to_carts"),
            count_of("purchase").alias("purchases"),
        )
        .where(F.col("views") + F.col("add_to_carts") + F.col("purchases") > 0)
    )
    return counts.select(
        "*",
        ratio("add_to_carts", "views").alias("view_to_cart_conversion"),
        ratio("purchases", "views").alias("view_to_purchase_conversion"),
        ratio("purchases", "add_to_carts").alias("cart_to_purchase_conversion"),
    )


def hourly_revenue(cube: DataFrame) -> DataFrame:
    purchases = cube.where(F.col("event_type") == "purchase")
    return purchases.groupBy("event_date", "event_hour").agg(
        exact_revenue(F.sum("revenue")).alias("total_revenue"),
        F.sum("event_count").alias("transaction_count"),
    )


def top_products(cube: DataFrame) -> DataFrame:
    views = cube.where((F.col("event_type") == "page_view") & F.col("product_id").isNotNull())
    by_views = [F.col("view_count").desc(), F.col("product_id"), F.col("category")]
    most_viewed = (
        views.groupBy("product_id", "category")
        .agg(F.sum("event_count").alias("view_count"))
        .orderBy(*by_views)
        .limit(10)
    )
    rank = F.row_number().over(Window.orderBy(*by_views))
    return most_viewed.select(rank.alias("rank"), "product_id", "category", "view_count")


def category_performance(cube: DataFrame) -> DataFrame:
    return cube.groupBy("event_date", "category").agg(F.sum("event_count").alias("event_count"))


def user_activity(events: DataFrame) -> DataFrame:
    return events.groupBy("event_date").agg(
        F.count_distinct("user_id").alias("unique_users"),
        F.count_distinct("session_id").alias("unique_sessions"),
    )


def ratio(part: str, whole: str) -> Column:
    """part / whole, rounded half up to four digits; null where whole is 0."""
    wide = DecimalType(19, 0)
    return F.when(F.col(whole) > 0, (F.col(part).cast(wide) / F.col(whole).cast(wide)).cast(RATIO))


def exact_revenue(total: Column) -> Column:
    """A sum as decimal(18,2). One that does not fit stops the run: Spark would make it null."""
    fits = total.cast(REVENUE)
    message = F.concat(F.lit("Revenue does not fit decimal(18,2): "), total.cast(STRING))
    return F.when(total.isNotNull() & fits.isNull(), F.raise_error(message).cast(REVENUE)).otherwise(fits)


# --- The run ------------------------------------------------------------------------------------------------


def run(glue_context: GlueContext, source_bucket: str, analytics_bucket: str) -> None:
    """Bring every layer up to date with the raw objects that are new for the bookmark."""
    spark = glue_context.spark_session
    configure(spark)
    lake = Lake(spark, f"s3://{analytics_bucket}")
    lake.delete(STAGING)

    days_to_rebuild = read_pending_days(lake)  # of a run that was stopped
    days_delivered: set[date] = set()
    delivery = read_delivery(glue_context, source_bucket)
    if delivery is None:
        summarise("bronze", files=0, rows_in=0, accepted=0, rejected=0)
    else:
        days_delivered = set(delivery.days)
        days_to_rebuild |= days_changed_by_redelivery(lake, delivery)
        record_pending_days(lake, days_to_rebuild)
        refresh_bronze(lake, delivery)
        accepted = delivery.lines - delivery.rejected
        summarise(
            "bronze",
            files=len(delivery.objects),
            rows_in=delivery.lines,
            accepted=accepted,
            rejected=delivery.rejected,
        )

        addition = stage_new_events(lake, delivery, days_delivered - days_to_rebuild)
        days_to_rebuild |= addition.days_in_conflict
        record_pending_days(lake, days_to_rebuild)
        lake.publish(TABLES["silver.events_cleaned"], addition.files)
        appended_to = days_delivered - days_to_rebuild
        summarise(
            "silver",
            inserted=addition.inserted,
            corrected=addition.corrected,
            duplicates=accepted - addition.inserted - addition.corrected,
            days_appended=sorted(map(str, appended_to)),
            days_rebuilt=sorted(map(str, days_to_rebuild)),
        )
    if days_to_rebuild:
        rebuild_silver(lake, days_to_rebuild)
    if days_delivered | days_to_rebuild:
        refresh_gold(lake, days_delivered | days_to_rebuild)
        summarise("gold", days=sorted(map(str, days_delivered | days_to_rebuild)))
    lake.delete(PENDING_DAYS)
    lake.delete(STAGING)


def configure(spark: SparkSession) -> None:
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",  # a cast that fails gives null: rules above look for it
        "spark.sql.shuffle.partitions": str(2 * spark.sparkContext.defaultParallelism),
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # INT96, the default, has no statistics
    }
    for name, value in settings.items():
        spark.conf.set(name, value)


def read_pending_days(lake: Lake) -> set[date]:
    if not lake.exists(PENDING_DAYS):
        return set()
    return {date.fromisoformat(day) for day in json.loads(lake.read_text(PENDING_DAYS))}


def record_pending_days(lake: Lake, days: set[date]) -> None:
    """Note the days of silver to rebuild from bronze, for the next run should this one be stopped."""
    if days:
        lake.write_text(PENDING_DAYS, json.dumps(sorted(map(str, days))))


def summarise(layer: str, **counts: Any) -> None:
    """One line of JSON in the job's log, which CloudWatch's metric filters can read as well."""
    print(json.dumps({"layer": layer, **counts}), flush=True)


def main() -> None:
    arguments = getResolvedOptions(sys.argv, ["JOB_NAME", "SOURCE_BUCKET", "ANALYTICS_BUCKET"])
    glue_context = GlueContext(SparkContext.getOrCreate())
    job = Job(glue_context)
    job.init(arguments["JOB_NAME"], arguments)
    run(glue_context, arguments["SOURCE_BUCKET"], arguments["ANALYTICS_BUCKET"])
    job.commit()


if __name__ == "__main__":
    main()
