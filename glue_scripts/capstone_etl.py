"""The ETL job of the event-analytics pipeline: raw -> bronze -> silver -> gold, one incremental run.

Runs unchanged as an AWS Glue 5.1 job (Spark 3.5.6, Python 3.11) and on a laptop. It reads the raw objects
that the job bookmark has not seen, and leaves every layer as one run over all objects ever delivered would
have left it, whatever the order of the runs and wherever an earlier run was killed.

It knows nothing of the Glue Data Catalog: `capstone-starter.cfn.yaml` declares the tables, and a test
compares its columns with `TABLES` below.

Job arguments: --SOURCE_BUCKET (raw events, read only) and --ANALYTICS_BUCKET (everything else). Optional:
--MAX_REJECTED_PERCENT fails a run, after all it delivered is in the tables, when more lines were rejected;
--COMPACT_DAYS joins, after the run, the small files of so many days before today.

How a run stays safe without transactions: everything that it will change is prepared under `_staging/`. Then
one object, the publication record, says which files are to be deleted and which moved into place, and only
then does anything change. A run that is killed before has changed nothing; of one that is killed later, the
next run finds the record and carries it out to its end. The bookmark comes last.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatch
from functools import cache, reduce
from io import BytesIO
from time import monotonic
from typing import Any
from uuid import uuid4

from awsglue.context import GlueContext
from awsglue.job import Job
from awsglue.utils import getResolvedOptions
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
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

# The distinct users and sessions of a day: what `user_activity` counts. No table of the catalog.
DAILY_VISITORS = Table(
    "gold/daily_visitors", schema(event_date=DATE, visitor_type=STRING, visitor_id=STRING), BY_DAY
)
# Which raw objects delivered events of a day: empty objects, named by arrival and slice.
EVENT_DAYS = "bronze/event_days"

STAGING = "_staging"
PUBLICATION_RECORD = "_pending/publication.json"


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

    def matching(self, *globs: str) -> list[str]:
        """The URIs of the files and folders that match any of the globs, which do not overlap."""
        return [
            status.getPath().toString()
            for statuses in side_by_side(lambda glob: self._file_system.globStatus(self._path(glob)), globs)
            for status in statuses or ()
        ]

    def exists(self, path: str) -> bool:
        return bool(self._file_system.exists(self._path(path)))

    def delete(self, path: str) -> None:
        """Delete a file or folder, if it is there."""
        self._file_system.delete(self._path(path), True)

    def move(self, path: str, target: str) -> None:
        self._file_system.mkdirs(self._path(target).getParent())
        if not self._file_system.rename(self._path(path), self._path(target)):
            raise OSError(
                f"Could not move {path} to {target} in {self.root}. Start the job again: it is repeatable."
            )

    def first_bytes(self, uri: str, size: int) -> bytes:
        stream = self._file_system.open(self._hadoop.fs.Path(uri))
        try:
            return bytes(self._jvm.org.apache.commons.io.IOUtils.toByteArray(stream, size))
        finally:
            stream.close()

    def read_text(self, path: str) -> str:
        size = self._file_system.getFileStatus(self._path(path)).getLen()
        return self.first_bytes(f"{self.root}/{path}", size).decode()

    def write_text(self, path: str, text: str) -> None:
        stream = self._file_system.create(self._path(path), True)
        stream.write(bytearray(text, "utf-8"))
        stream.close()

    def relative(self, uri: str) -> str:
        return uri.removeprefix(f"{self.root}/")

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


def side_by_side(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """The results for all items. On S3 each call is a round trip."""
    with ThreadPoolExecutor(max_workers=16) as threads:
        return list(threads.map(function, items))


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
    line = F.coalesce(*pieces, F.lit("")) if len(pieces) == 1 else F.concat_ws("\x01", *pieces)
    lines = frame.select(line.alias("raw_line"), "source_file")
    tasks = min(lines.sparkSession.sparkContext.defaultParallelism, MAX_FILES_PER_OBJECT)
    is_spread = lines.rdd.getNumPartitions() >= tasks
    return lines if is_spread else lines.repartition(tasks, "raw_line")


# --- Bronze: every line accepted as delivered, or rejected with a reason ------------------------------------

STRICT_JSON = {
    "mode": "PERMISSIVE",
    "columnNameOfCorruptRecord": "unparsed",
    "allowSingleQuotes": "false",
    "allowNonNumericNumbers": "false",
}
AS_TEXTS = schema(**dict.fromkeys(RAW_EVENT.names, STRING))
AS_OBJECTS = schema(**dict.fromkeys(TEXT_FIELDS, MapType(STRING, STRING)))
AS_ARRAYS = schema(**dict.fromkeys(TEXT_FIELDS, ArrayType(STRING)))
# Numbers that are not plain are parsed wide, so that a value that does not fit is seen instead of rounded.
WIDE_DECIMAL = DecimalType(38, 18)
AS_NUMBERS = schema(**dict.fromkeys(NUMBER_FIELDS, WIDE_DECIMAL))
# An object or array as the value of a member (or text that looks like it).
NESTED = r":[ \t\r]*[{\[]"
# 1e999999999 would be expanded to a billion digits by a decimal parser.
EXPONENT = r'(?:quantity|price)"\s*:[^,}]*[eE]'
ISO_8601 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$"

# A plain line is one flat JSON object and nothing behind it; its texts have no escapes and are valid UTF-8 (a
# bad byte is decoded to U+FFFD); its numbers fit their columns as they are written. Nearly all lines are.
# (Java compares characters of one range of ASCII far more quickly than any other class of them.)
JSON_CHARACTERS = r"[ !#-\[\]-~]*+(?:[\x7f-\x{fffc}\x{fffe}-\x{10ffff}][ !#-\[\]-~]*+)*+"
JSON_TEXT = rf'"{JSON_CHARACTERS}"'
JSON_INTEGER = r"-?+(?:0|[1-9][0-9]{0,7}+)"
JSON_PRICE = JSON_INTEGER + r"(?:\.[0-9]{1,2}+)?+"
JSON_SCALAR = rf"{JSON_TEXT}|{JSON_INTEGER}(?:\.[0-9]++)?+|true|false|null"
JSON_MEMBER = (
    rf'"(?:(?:{"|".join(TEXT_FIELDS)})"[ ]*+:[ ]*+(?:{JSON_TEXT}|null)'
    rf'|quantity"[ ]*+:[ ]*+(?:{JSON_INTEGER}|null)'
    rf'|price"[ ]*+:[ ]*+(?:{JSON_PRICE}|null)'
    rf'|(?!(?:{"|".join(RAW_EVENT.names)})"){JSON_CHARACTERS}"[ ]*+:[ ]*+(?:{JSON_SCALAR}))[ ]*+'
)
PLAIN_LINE = rf"^[ \t\r]*+\{{[ ]*+{JSON_MEMBER}(?:,[ ]*+{JSON_MEMBER}){{0,31}}+\}}[ \t\r]*+$"
PLAIN_LINE_BYTES = 100_000
PARSED_LINE = StructType(
    [*RAW_EVENT.fields, *schema(raw_line=STRING, reason=STRING, source_file=STRING).fields]
)


def parse_lines(lines: DataFrame) -> DataFrame:
    """Lines (raw_line, source_file) -> one row a line: the nine raw fields, raw_line, reason, source_file.

    The fields are null in a rejected row, raw_line and reason are null in an accepted one.
    """
    line, is_plain = F.col("raw_line"), F.col("is_plain")
    sorted_out = lines.select(
        "raw_line",
        "source_file",
        ((F.octet_length(line) <= PLAIN_LINE_BYTES) & line.rlike(PLAIN_LINE)).alias("is_plain"),
    )
    # The few lines that are not plain are parsed several times over, to see what is the matter with them. Not
    # more of them than need be: each field that Spark cannot parse costs it an exception.
    is_nested = ~is_plain & line.rlike(NESTED)
    has_numbers = ~is_plain & ~line.rlike(EXPONENT)
    parsed = sorted_out.select(
        "raw_line",
        "source_file",
        F.when(is_plain, F.from_json(line, RAW_EVENT, STRICT_JSON)).alias("event"),
        F.when(~is_plain, is_one_json_object(line)).alias("is_object"),
        F.when(~is_plain, F.from_json(line, AS_TEXTS, STRICT_JSON)).alias("texts"),
        F.when(is_nested, F.from_json(line, AS_OBJECTS, STRICT_JSON)).alias("objects"),
        F.when(is_nested, F.from_json(line, AS_ARRAYS, STRICT_JSON)).alias("arrays"),
        F.when(has_numbers, F.from_json(line, AS_NUMBERS, STRICT_JSON)).alias("numbers"),
    )
    event, fields = F.col("event"), {column.name: column.dataType for column in RAW_EVENT}
    texts = F.col("texts")
    delivered = {name: F.coalesce(event[name], texts[name]) for name in TEXT_FIELDS} | {
        name: F.coalesce(event[name], wide_number(name).cast(fields[name])) for name in NUMBER_FIELDS
    }
    # Without escapes, the only white space that a JSON text can have is the blank.
    standard_texts = {
        name: F.coalesce(standardised(event[name], margin=" "), standardised(texts[name]))
        for name in TEXT_FIELDS
    }
    standard = parsed.select(
        "raw_line",
        "source_file",
        "is_object",
        "objects",
        "arrays",
        *[column.alias(f"delivered_{name}") for name, column in delivered.items()],
        *[text.alias(name) for name, text in standard_texts.items()],
        *[delivered[name].alias(name) for name in NUMBER_FIELDS],
        *[is_no_number(name, fields[name]).alias(f"{name}_is_invalid") for name in NUMBER_FIELDS],
    )
    judged = standard.select("*", rejection_reason().alias("reason"))

    accepted = F.col("reason").isNull()
    rejected_line = F.decode(line.cast("binary"), "UTF-8")  # bytes that are no UTF-8 become U+FFFD
    return judged.select(
        *[F.when(accepted, F.col(f"delivered_{name}")).alias(name) for name in RAW_EVENT.names],
        F.when(~accepted, rejected_line).alias("raw_line"),
        "reason",
        "source_file",
    )


def wide_number(name: str) -> Column:
    """The value of a number field in a line that is not plain: one on which its text agrees, or null.

    (Spark would read the text "9,99" as 999.)
    """
    number, from_text = F.col("numbers")[name], standardised(F.col("texts")[name]).cast(WIDE_DECIMAL)
    return F.when(number.isNull() | (number == from_text), from_text)


def is_no_number(name: str, fits: DataType) -> Column:
    """Whether a number field of a line that is not plain has text that is no number, or none that fits."""
    number, text = wide_number(name), standardised(F.col("texts")[name])
    return F.when(number.isNull(), text.isNotNull()).otherwise(~number.cast(fits).eqNullSafe(number))


@cache
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

    def number_rules(name: str, minimum: int) -> list[tuple[Column, str]]:
        return [
            (F.col(f"{name}_is_invalid"), f"invalid_value:{name}"),
            (needs_price & F.col(name).isNull(), f"missing_field:{name}"),
            (needs_price & (F.col(name) < minimum), f"invalid_value:{name}"),
        ]

    rules = [
        (~F.col("is_object"), "malformed_json"),
        *text_rules("timestamp", is_required=always),
        (~is_event_time(F.col("timestamp")), "invalid_value:timestamp"),
        *text_rules("user_id", is_required=always),
        *text_rules("session_id", is_required=always),
        *text_rules("event_type", is_required=always),
        (~F.col("event_type").isin(*EVENT_TYPES), "unknown_event_type"),
        *text_rules("product_id", is_required=needs_product),
        *number_rules("quantity", minimum=1),
        *number_rules("price", minimum=0),
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


def standardised(text: Column, margin: str = ASCII_WHITESPACE) -> Column:
    """Text without the white space around it (of these kinds); the usual spellings of nothing are null."""
    # Trimming and lower case are costly, and rarely needed: nearly all texts begin and end with a letter.
    has_margin = any_of([text < "!", *[text.endswith(blank) for blank in margin]])
    trimmed = F.when(has_margin, F.btrim(text, F.lit(margin))).otherwise(text)
    is_short = F.octet_length(trimmed) <= max(map(len, NULL_TOKENS))
    return F.when(~(is_short & F.lower(trimmed).isin(*NULL_TOKENS)), trimmed)


@cache
def standardised_field(name: str) -> Column:
    """(An expression of many parts takes Python a while to put together.)"""
    return standardised(F.col(name)).alias(name)


def event_time(text: Column) -> Column:
    """The instant of an ISO 8601 text in UTC, further digits than microseconds cut; null where it is none."""
    return F.when(text.rlike(ISO_8601), instant_of(text))


def instant_of(iso_8601: Column) -> Column:
    """The instant of a valid text. (Without an offset it means UTC; Spark is slow to look an offset up.)"""
    in_utc = F.when(iso_8601.endswith("Z"), F.substring_index(iso_8601, "Z", 1)).when(
        iso_8601.endswith("+00:00"), F.substring_index(iso_8601, "+", 1)
    )
    return F.coalesce(in_utc, iso_8601).cast(TIMESTAMP)


def is_event_time(text: Column) -> Column:
    return F.coalesce(F.year(event_time(text)).between(FIRST_YEAR, LAST_YEAR), F.lit(False))


def value_of(numbers: dict[date, int], day: Column) -> Column:
    """The number of a day, null where there is none.

    (A number that is no part of a map would be in the code that Spark makes, new in each run and slow.)
    """
    if not numbers:
        return F.lit(None).cast(BIGINT)
    return F.create_map(*[F.lit(item) for pair in numbers.items() for item in pair])[day]


def any_of(conditions: Iterable[Column]) -> Column:
    return reduce(lambda one, other: one | other, conditions, F.lit(False))


def all_of(conditions: Iterable[Column]) -> Column:
    return reduce(lambda one, other: one & other, conditions, F.lit(True))


# --- The lake: tables of staged files, changed all at once --------------------------------------------------


@dataclass(frozen=True)
class StagedFile:
    """A file under `_staging/`, and where it belongs: a folder below its table, a slice of that folder."""

    uri: str
    folder: str  # "" in a table without partitions
    slice: str

    def target(self, table: Table) -> str:
        name = self.uri.rsplit("/", 1)[1]
        return "/".join(filter(None, (table.location, self.folder, f"{self.slice}-{name}")))


@dataclass(frozen=True)
class Lake(Bucket):
    """The analytics bucket as tables."""

    def read(self, table: Table, uris: Iterable[str]) -> DataFrame:
        """The rows of some files of a table (there may be none)."""
        paths = sorted(uris)
        if not paths:
            return table_of(self.spark, [], table.columns)
        return self.spark.read.schema(table.columns).parquet(*paths)

    def published(self, table: Table, *globs: str) -> list[str]:
        """The URIs of the files of a table, as they are now, that match a glob."""
        return self.matching(*[f"{table.location}/{glob}" for glob in globs])

    def stage(self, table: Table, rows: DataFrame) -> list[StagedFile]:
        """Write rows (columns of the table, its partition columns, `slice`) where no reader looks."""
        columns = [*table.columns.names, *table.partitions, "slice"]
        staging = f"{STAGING}/{table.location}/{uuid4().hex}"
        rows.select(*columns).write.partitionBy(*table.partitions, "slice").parquet(f"{self.root}/{staging}")
        return self.staged(staging)

    def staged(self, staging: str) -> list[StagedFile]:
        found = []
        for uri, _ in self.files(staging):
            if uri.endswith(".parquet"):
                *folders, slice_folder, _ = uri.split(f"{staging}/")[1].split("/")
                found.append(StagedFile(uri, "/".join(folders), slice_folder.removeprefix("slice=")))
        return found

    def rows_and_range(self, uri: str, column: str) -> tuple[int, int, int]:
        """How many rows a Parquet file has, the least and the greatest value of one of its columns."""
        parquet, configuration = self._jvm.org.apache.parquet.hadoop, self.spark._jsc.hadoopConfiguration()
        file = parquet.util.HadoopInputFile.fromPath(self._hadoop.fs.Path(uri), configuration)
        reader = parquet.ParquetFileReader.open(file)
        try:
            blocks = reader.getFooter().getBlocks()
            statistics = [
                chunk.getStatistics()
                for block in blocks
                for chunk in block.getColumns()
                if chunk.getPath().toDotString() == column
            ]
            return (
                sum(block.getRowCount() for block in blocks),
                min(values.genericGetMin() for values in statistics),
                max(values.genericGetMax() for values in statistics),
            )
        finally:
            reader.close()


@dataclass
class Publication:
    """All that a run is going to change in the lake."""

    lake: Lake
    moves: dict[str, str] = field(default_factory=dict)  # from a path under `_staging/` to a path of a table
    deletes: list[str] = field(default_factory=list)
    days: set[date] = field(default_factory=set)  # to rebuild, should what is staged be lost

    def replace(self, table: Table, files: Iterable[StagedFile], replaced: Iterable[str] = ()) -> None:
        """Put staged files into a table, in place of some of its files (URIs)."""
        self.deletes += map(self.lake.relative, replaced)
        self.moves |= {self.lake.relative(file.uri): file.target(table) for file in files}

    def files(self, table: Table, *globs: str) -> list[str]:
        """The files of a table that will match a glob: those to be moved too, those to be deleted not."""
        deleted, root = set(self.deletes), self.lake.root
        published = self.lake.published(table, *globs)
        staged = [
            f"{root}/{path}"
            for path, target in self.moves.items()
            if any(fnmatch(target, f"{table.location}/{glob}") for glob in globs)
        ]
        return [uri for uri in published if self.lake.relative(uri) not in deleted] + staged

    def carry_out(self) -> None:
        """Record what is to be changed, and change it."""
        record = {"deletes": self.deletes, "moves": self.moves, "days": sorted(map(str, self.days))}
        self.lake.write_text(PUBLICATION_RECORD, json.dumps(record))
        self.finish()

    def finish(self) -> set[date]:
        """Make the changes of the record, perhaps for the second time; returns the days that need rebuilding.

        Those are the days of the record when a staged file is in neither place: somebody has removed it.
        """

        def move(item: tuple[str, str]) -> bool:
            path, target = item
            if not self.lake.exists(path):
                return self.lake.exists(target)
            self.lake.move(path, target)
            return True

        side_by_side(self.lake.delete, self.deletes)
        is_complete = all(side_by_side(move, self.moves.items()))
        self.lake.delete(PUBLICATION_RECORD)
        self.lake.delete(STAGING)
        return set() if is_complete else self.days


def finish_stopped_publication(lake: Lake) -> set[date]:
    """Carry out what an earlier run had recorded but not finished; see `Publication.finish`."""
    try:
        record = json.loads(lake.read_text(PUBLICATION_RECORD)) if lake.exists(PUBLICATION_RECORD) else None
    except ValueError:  # It was not even written to its end: nothing has been changed.
        record = None
    lost_days = set()
    if record is not None:
        days = set(map(date.fromisoformat, record["days"]))
        lost_days = Publication(lake, record["moves"], record["deletes"], days).finish()
    lake.delete("_pending")
    lake.delete(STAGING)
    return lost_days


def table_of(spark: SparkSession, rows: list[tuple[Any, ...]], columns: StructType) -> DataFrame:
    """The DataFrame of a few rows that the driver knows. (`createDataFrame` would start Python workers.)"""
    records = json.dumps([dict(zip(columns.names, row, strict=True)) for row in rows])
    one_row = spark.range(0, 1, 1, numPartitions=1)
    return one_row.select(F.inline(F.from_json(F.lit(records), ArrayType(columns))))


def day_folder(day: date) -> str:
    return f"year={day:%Y}/month={day:%m}/day={day:%d}"


def day_globs(days: Iterable[date]) -> list[str]:
    """They match the files of these days in a table by day."""
    return [f"{day_folder(day)}/*" for day in days]


def day_slices(days: Iterable[date]) -> list[str]:
    """They match the files of these days in a table that has a slice for each day."""
    return [f"{day:%Y-%m-%d}-*" for day in days]


def with_day_partition(rows: DataFrame) -> DataFrame:
    """Add year, month, day (zero-padded text) of the row's event_date."""
    formats = {"year": "yyyy", "month": "MM", "day": "dd"}
    return rows.select(
        "*", *[F.date_format("event_date", pattern).alias(name) for name, pattern in formats.items()]
    )


# --- Bronze, written: each raw object has a slice of events and one of events_rejected ----------------------


@dataclass(frozen=True)
class Slice:
    """What one raw object gives to a bronze table: the files of this name, by the minute of its arrival."""

    arrival: datetime
    name: str

    @classmethod
    def of(cls, source_file: str) -> Slice:
        name = hashlib.sha256(source_file.encode()).hexdigest()[:16]
        return cls(arrival_of(source_file), name)

    @property
    def partition(self) -> dict[str, str]:
        formats = ("%Y", "%m", "%d", "%H", "%M")
        return {name: self.arrival.strftime(code) for name, code in zip(BY_MINUTE, formats, strict=True)}

    def folder(self, table: Table) -> str:
        return "/".join(f"{name}={self.partition[name]}" for name in table.partitions)

    def glob(self, table: Table) -> str:
        return f"{self.folder(table)}/{self.name}-*"

    def mark(self, day: date) -> str:
        """The empty object which says that events of this day are in the slice."""
        return f"{EVENT_DAYS}/{day_folder(day)}/{self.arrival:%Y%m%d%H%M}-{self.name}"

    @classmethod
    def of_mark(cls, mark: str) -> Slice:
        arrival, _, name = mark.rsplit("/", 1)[1].partition("-")
        return cls(datetime.strptime(arrival, "%Y%m%d%H%M"), name)


def arrival_of(source_file: str) -> datetime:
    """When a raw object arrived, to the minute."""
    try:
        arrival = datetime.strptime(re.sub(ARRIVAL, r"\1\2\3\4\5", source_file), "%Y%m%d%H%M")
    except ValueError:
        return UNKNOWN_ARRIVAL
    return arrival if FIRST_YEAR <= arrival.year <= LAST_YEAR else UNKNOWN_ARRIVAL


@dataclass(frozen=True)
class DeliveredDay:
    """The accepted rows of this run for one day of events; times in microseconds since 1970, UTC."""

    rows: int
    first_time: int
    last_time: int
    source_files: frozenset[str]


@dataclass(frozen=True)
class Delivery:
    """What this run has read, staged as bronze."""

    accepted_files: dict[str, str]  # from the URI of a staged file to the raw object that it is from
    rejected_lines: dict[str, int]  # from a raw object to its number of rejected lines
    days: dict[date, DeliveredDay]

    @property
    def source_files(self) -> set[str]:
        return {*self.accepted_files.values(), *self.rejected_lines}

    @property
    def accepted(self) -> int:
        return sum(day.rows for day in self.days.values())

    @property
    def rejected(self) -> int:
        return sum(self.rejected_lines.values())

    @property
    def newest_event_age(self) -> int | None:
        """Seconds from the latest event to now: how far the tables lag behind the shop."""
        last_times = [day.last_time for day in self.days.values()]
        return (micros_of(datetime.now(UTC)) - max(last_times)) // 1_000_000 if last_times else None


STAGED_LINES = f"{STAGING}/lines"


def stage_delivery(glue_context: GlueContext, lake: Lake, source_bucket: str) -> Delivery:
    """Read, parse and stage the new raw objects, if there are any.

    An object that cannot be decompressed to its end gives the lines before that point and one rejected row
    (raw_line null, reason corrupt_file) for what is lost.
    """
    spark = lake.spark
    lines = read_new_lines(glue_context, source_bucket)
    if lines is None:
        return Delivery({}, {}, {})
    try:
        stage_lines(lake, parse_lines(lines))
        return describe_delivery(lake)
    except Py4JJavaError as error:
        if not is_decompression_error(error):
            raise
    # Read once more, taking of each object what can be read. Off otherwise, because it hides the loss.
    spark.conf.set("spark.sql.files.ignoreCorruptFiles", "true")  # Spark SQL's readers
    spark.sparkContext._jsc.sc().conf().set("spark.files.ignoreCorruptFiles", "true")  # Hadoop's, Glue's
    lines = read_new_lines(glue_context, source_bucket)
    assert lines is not None, "the objects that were just there are gone"
    lake.delete(STAGED_LINES)
    stage_lines(lake, parse_lines(lines))
    corrupt = find_corrupt_objects(spark, source_bucket, readable=describe_delivery(lake).source_files)
    rows = [(*[None] * len(RAW_EVENT.names), None, "corrupt_file", source_file) for source_file in corrupt]
    stage_lines(lake, table_of(spark, rows, PARSED_LINE))
    return describe_delivery(lake)


def stage_lines(lake: Lake, lines: DataFrame) -> None:
    """Stage parsed lines (see `parse_lines`) in one pass, accepted and rejected apart, by raw object.

    A write has one schema. A rejected line passes through it in two text columns of an event. In order of the
    user, Parquet's files are an eighth smaller.
    """
    is_accepted = F.col("reason").isNull()
    carried = {
        "timestamp": F.when(is_accepted, F.col("timestamp")).otherwise(F.col("raw_line")),
        "user_id": F.when(is_accepted, F.col("user_id")).otherwise(F.col("reason")),
    }
    columns = TABLES["bronze.events"].columns.names
    rows = lines.select(
        *[carried.get(name, F.col(name)).alias(name) for name in columns],
        F.when(is_accepted, "accepted").otherwise("rejected").alias("verdict"),
        F.xxhash64("source_file").alias("object"),
    )
    ordered = rows.sortWithinPartitions("user_id")
    ordered.write.mode("append").partitionBy("verdict", "object").parquet(f"{lake.root}/{STAGED_LINES}")


def staged_lines(lake: Lake, verdict: str) -> DataFrame | None:
    """Staged lines as rows of bronze.events (with the hidden column _metadata), None if there are none."""
    folder = f"{STAGED_LINES}/verdict={verdict}"
    if not lake.exists(folder):
        return None
    columns = TABLES["bronze.events"].columns
    return lake.spark.read.schema(columns).parquet(f"{lake.root}/{folder}")


def describe_delivery(lake: Lake) -> Delivery:
    """What is staged: a few numbers a raw object and day."""
    accepted, rejected = staged_lines(lake, "accepted"), staged_lines(lake, "rejected")
    accepted_files: dict[str, str] = {}
    by_day: dict[date, list[Any]] = {}
    if accepted is not None:
        time = cleaned_time()
        counts = accepted.groupBy(
            F.col("_metadata.file_path").alias("uri"), "source_file", F.to_date(time).alias("event_date")
        ).agg(
            F.count("*").alias("rows"),
            F.unix_micros(F.min(time)).alias("first_time"),
            F.unix_micros(F.max(time)).alias("last_time"),
        )
        for row in counts.collect():
            by_day.setdefault(row["event_date"], []).append(row)
            assert accepted_files.setdefault(row["uri"], row["source_file"]) == row["source_file"]
    rejected_lines = rejected.groupBy("source_file").count().collect() if rejected is not None else []
    return Delivery(
        accepted_files=accepted_files,
        rejected_lines={row["source_file"]: row["count"] for row in rejected_lines},
        days={
            day: DeliveredDay(
                rows=sum(row["rows"] for row in rows),
                first_time=min(row["first_time"] for row in rows),
                last_time=max(row["last_time"] for row in rows),
                source_files=frozenset(row["source_file"] for row in rows),
            )
            for day, rows in by_day.items()
        },
    )


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
            while chunk := stream.read1(65_536):  # read() would lose what is before an error
                content += chunk
    except (OSError, EOFError, zlib.error):
        return bytes(content), False
    return bytes(content), True


@dataclass(frozen=True)
class Repetition:
    """What a run reads again of objects that bronze holds already."""

    source_files: set[str]
    days_changed: set[date]
    """All days that an object held or holds, where its content is another now."""


def publish_bronze(publication: Publication, delivery: Delivery) -> Repetition:
    """Give each raw object of this run its slice of both tables, in place of any that it had."""
    lake, events, rejected = publication.lake, TABLES["bronze.events"], TABLES["bronze.events_rejected"]
    slices = {source_file: Slice.of(source_file) for source_file in sorted(delivery.source_files)}

    def held_before(item: tuple[str, Slice]) -> tuple[list[str], list[str]]:
        globs = [f"{table.location}/{item[1].glob(table)}" for table in (events, rejected)]
        return lake.matching(globs[0]), lake.matching(globs[1])

    held = dict(zip(slices, side_by_side(held_before, slices.items()), strict=True))
    repetition = compare_repeated(
        lake, delivery, {source_file: files[0] for source_file, files in held.items() if any(files)}
    )
    publication.replace(
        events,
        [
            StagedFile(uri, slices[source_file].folder(events), slices[source_file].name)
            for uri, source_file in delivery.accepted_files.items()
        ],
        replaced=[uri for files, _ in held.values() for uri in files],
    )
    publication.replace(
        rejected,
        stage_rejected(lake, {source_file: slices[source_file] for source_file in delivery.rejected_lines}),
        replaced=[uri for _, files in held.values() for uri in files],
    )
    side_by_side(
        lambda mark: lake.write_text(mark, ""),
        [
            slices[source_file].mark(day)
            for day, part in delivery.days.items()
            for source_file in part.source_files
        ],
    )
    return repetition


def stage_rejected(lake: Lake, slices: dict[str, Slice]) -> list[StagedFile]:
    """Stage the lines rejected from these objects as rows of events_rejected."""
    lines = staged_lines(lake, "rejected")
    if lines is None:
        return []
    table = TABLES["bronze.events_rejected"]
    placement = table_of(
        lake.spark,
        [
            (source_file, one.name, *(one.partition[name] for name in table.partitions))
            for source_file, one in slices.items()
        ],
        schema(**dict.fromkeys(("source_file", "slice", *table.partitions), STRING)),
    )
    rows = lines.select(
        F.col("timestamp").alias("raw_line"), F.col("user_id").alias("reason"), "source_file"
    ).join(F.broadcast(placement), "source_file")
    return lake.stage(table, rows)


def compare_repeated(lake: Lake, delivery: Delivery, held: dict[str, list[str]]) -> Repetition:
    """Find what changed in objects that bronze holds already, in these files of bronze.events."""
    if not held:
        return Repetition(set(), set())
    table = TABLES["bronze.events"]
    before = lake.read(table, [uri for files in held.values() for uri in files])
    now = lake.read(table, [uri for uri, source in delivery.accepted_files.items() if source in held])
    changed = (
        content_by_object(before)
        .alias("before")
        .join(content_by_object(now).alias("now"), "source_file", "full_outer")
        .where(~F.col("before.content").eqNullSafe(F.col("now.content")))
        .select("source_file")
    )
    affected = before.unionByName(now).join(F.broadcast(changed), "source_file", "left_semi")
    days = affected.select(F.to_date(cleaned_time()).alias("event_date")).distinct()
    return Repetition(set(held), {row["event_date"] for row in days.collect()})


def content_by_object(events: DataFrame) -> DataFrame:
    """Bronze rows -> (source_file, content): equal where an object's rows are the same, in whatever order."""
    row_hash = F.xxhash64(*RAW_EVENT.names).cast(DecimalType(20, 0))
    content = F.struct(F.count("*").alias("rows"), F.sum(row_hash).alias("hashes"))
    return events.groupBy("source_file").agg(content.alias("content"))


# --- Silver: typed, standardised, one row an event ----------------------------------------------------------

NEW_EVENTS, CANDIDATES, CONFLICTS = "events", "candidates", "conflicts"
# The name of a file of silver tells when its first and its last event were, in microseconds since midnight.
SILVER_FILE = re.compile(r"events-(\d{11})-(\d{11})-[^/]*$")
MICROS_OF_A_DAY = 86_400_000_000
# What Athena and Spark read best: large enough to be few, small enough to be read in parallel.
COMPACT_FILE_BYTES = 128 * 2**20


@cache
def cleaned_time() -> Column:
    """The time of an accepted event."""
    return instant_of(standardised(F.col("timestamp")))


def clean(events: DataFrame) -> DataFrame:
    """Bronze rows -> rows of silver's columns, the copies of an event still among them."""
    texts = ("user_id", "session_id", "event_type", "product_id", "category", "search_query")
    standard = events.select(
        cleaned_time().alias("event_timestamp"),
        *[standardised_field(name) for name in texts],
        "quantity",
        "price",
        "source_file",
    )
    return with_silver_columns(standard)


def with_silver_columns(events: DataFrame) -> DataFrame:
    time = F.col("event_timestamp")
    dated = events.select("*", F.to_date(time).alias("event_date"), F.hour(time).alias("event_hour"))
    return dated.select(*TABLES["silver.events_cleaned"].columns.names)


def distinct_events(copies: DataFrame) -> DataFrame:
    """Rows of silver's columns, several an event -> one row an event, however its copies are ordered.

    Its price, quantity and category are those of the most recent copy: latest arrival, then last file name,
    then greatest values. source_file is the first object that delivered exactly these, so that a mere
    repetition in a later object changes nothing.
    """
    delivery = order_of_arrival(F.col("source_file"))
    versions = copies.groupBy(*IDENTITY, *PAYLOAD).agg(
        F.min(delivery).alias("first_delivery"), F.max(delivery).alias("last_delivery")
    )
    latest_first = Window.partitionBy(*IDENTITY).orderBy(
        F.col("last_delivery").desc(), *[F.col(name).desc_nulls_last() for name in PAYLOAD]
    )
    latest = versions.select("*", F.row_number().over(latest_first).alias("age")).where(F.col("age") == 1)
    return with_silver_columns(latest.select("*", "first_delivery.source_file"))


def order_of_arrival(source_file: Column) -> Column:
    """Comparable: by arrival (the same as `arrival_of`), then by name."""
    digits = F.regexp_replace(source_file, ARRIVAL, "$1$2$3$4$5")
    numbers = [
        F.substring(digits, start, length).cast(INT)
        for start, length in ((1, 4), (5, 2), (7, 2), (9, 2), (11, 2))
    ]
    is_known = (
        digits.rlike(r"^\d{12}$")
        & numbers[0].between(FIRST_YEAR, LAST_YEAR)
        & F.make_date(*numbers[:3]).isNotNull()
        & (numbers[3] < 24)
        & (numbers[4] < 60)
    )
    arrival = F.when(is_known, digits).otherwise(f"{UNKNOWN_ARRIVAL:%Y%m%d%H%M}")
    return F.struct(arrival.alias("arrival"), source_file.alias("source_file"))


@dataclass(frozen=True)
class SilverAddition:
    """Staged files that may be appended, and the days where appending cannot set things right."""

    files: list[StagedFile]
    days_in_conflict: set[date]
    inserted: int
    corrected: int


def delivered_events(lake: Lake, delivery: Delivery) -> DataFrame:
    """The delivered rows in the columns of silver, copies among them, with a hash of their identity."""
    accepted = clean(lake.read(TABLES["bronze.events"], delivery.accepted_files))
    return accepted.select("*", F.xxhash64(*IDENTITY).alias("identity_hash"))


def repeated_hashes(lake: Lake, delivery: Delivery) -> DataFrame:
    """(identity_hash, is_repeated = true) of the events that were delivered more than once, and computed."""
    if not delivery.days:
        return table_of(lake.spark, [], schema(identity_hash=BIGINT, is_repeated=BooleanType()))
    counts = delivered_events(lake, delivery).groupBy("identity_hash").count().where(F.col("count") > 1)
    repeated = counts.select("identity_hash", F.lit(True).alias("is_repeated")).persist()
    repeated.count()
    return repeated


def stage_new_events(lake: Lake, delivery: Delivery, days: set[date], repeated: DataFrame) -> SilverAddition:
    """Stage the delivered events of these days that silver lacks.

    A day is in conflict where the delivery holds another version of an event than silver: nothing is appended
    to it.
    """
    table = TABLES["silver.events_cleaned"]
    if not days:
        return SilverAddition([], set(), inserted=0, corrected=0)
    parts = {day: delivery.days[day] for day in days}
    held = {day: silver_files(lake, day) for day in days}
    # Most events come once, and later than any that silver has: only the others need to be compared.
    is_not_later = F.unix_micros("event_timestamp") <= value_of(
        {day: max(file.last_time for file in files) for day, files in held.items() if files},
        F.col("event_date"),
    )
    may_be_copy = F.coalesce("is_repeated", is_not_later, F.lit(False))
    delivered = delivered_events(lake, delivery).join(F.broadcast(repeated), "identity_hash", "left")
    sorted_out = delivered.select(
        *table.columns.names, F.when(may_be_copy, CANDIDATES).otherwise(NEW_EVENTS).alias("slice")
    )
    folders = set(map(day_folder, days))
    staged = {file: rows for file, rows in stage_silver(lake, sorted_out).items() if file.folder in folders}
    repeated.unpersist()
    candidates = [file.uri for file in staged if file.slice == CANDIDATES]
    if candidates:
        overlapping = [
            file.uri
            for day, files in held.items()
            for file in files
            if file.last_time >= parts[day].first_time and file.first_time <= parts[day].last_time
        ]
        copies, existing = lake.read(table, candidates), lake.read(table, overlapping)
        # By time alone first, as number: the cheapest of joins leaves little of a long stretch of silver.
        times = copies.select(F.unix_micros("event_timestamp").alias("micros")).distinct()
        near = existing.join(times, F.unix_micros("event_timestamp") == F.col("micros"), "left_semi")
        compared = compare(distinct_events(copies), near)
        staged |= stage_silver(lake, compared.where(F.col("slice").isNotNull()))
        staged = {file: rows for file, rows in staged.items() if file.slice != CANDIDATES}

    conflicts = {file.folder for file in staged if file.slice == CONFLICTS}
    return SilverAddition(
        files=[file for file in staged if file.folder not in conflicts],
        days_in_conflict={day for day in parts if day_folder(day) in conflicts},
        inserted=sum(rows for file, rows in staged.items() if file.slice != CONFLICTS),
        corrected=sum(rows for file, rows in staged.items() if file.slice == CONFLICTS),
    )


def compare(delivered: DataFrame, existing: DataFrame) -> DataFrame:
    """Add `slice` to delivered events: events (silver lacks it), conflicts (silver differs), null (known)."""
    new, old = delivered.alias("new"), existing.alias("old")
    is_same_event = all_of(F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in IDENTITY)
    is_same_version = all_of(F.col(f"new.{name}").eqNullSafe(F.col(f"old.{name}")) for name in PAYLOAD)
    is_earlier = order_of_arrival(F.col("new.source_file")) < order_of_arrival(F.col("old.source_file"))
    slice_name = F.when(F.col("old.source_file").isNull(), NEW_EVENTS).when(
        ~is_same_version | is_earlier, CONFLICTS
    )
    return new.join(old, is_same_event, "left").select("new.*", slice_name.alias("slice"))


@dataclass(frozen=True)
class SilverFile:
    """A file of a day of silver; the times of its first and last event in microseconds since 1970."""

    uri: str
    first_time: int
    last_time: int


def silver_files(lake: Lake, day: date) -> list[SilverFile]:
    """The files of a day, as their names tell; one of another name may hold any time of the day."""
    midnight = micros_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
    files = []
    for uri in lake.published(TABLES["silver.events_cleaned"], *day_globs([day])):
        named = SILVER_FILE.search(uri)
        first, last = map(int, named.groups()) if named else (0, MICROS_OF_A_DAY)
        files.append(SilverFile(uri, midnight + first, midnight + last))
    return files


def micros_of(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def stage_silver(lake: Lake, rows: DataFrame) -> dict[StagedFile, int]:
    """Stage rows (columns of silver, `slice`) in order of time; returns how many rows are in which file."""
    ordered = with_day_partition(rows).sortWithinPartitions("event_timestamp")
    staged = {}
    for file in lake.stage(TABLES["silver.events_cleaned"], ordered):
        rows_of_file, first, last = lake.rows_and_range(file.uri, "event_timestamp")
        if file.slice == NEW_EVENTS:
            times = (f"{moment % MICROS_OF_A_DAY:011d}" for moment in (first, last))
            file = replace(file, slice="-".join((NEW_EVENTS, *times)))
        staged[file] = rows_of_file
    return staged


def rebuild_silver(publication: Publication, days: set[date]) -> None:
    """Replace these days of silver by what bronze will hold of them."""
    lake, bronze, silver = publication.lake, TABLES["bronze.events"], TABLES["silver.events_cleaned"]
    marks = lake.matching(*[f"{EVENT_DAYS}/{day_folder(day)}/*" for day in days])
    slices = {Slice.of_mark(mark) for mark in marks}
    held = publication.files(bronze, *[one.glob(bronze) for one in slices])
    copies = clean(lake.read(bronze, held)).where(F.col("event_date").isin(*days))
    staged = stage_silver(lake, distinct_events(copies).select("*", F.lit(NEW_EVENTS).alias("slice")))
    publication.replace(silver, staged, replaced=lake.published(silver, *day_globs(days)))


def compact_silver(lake: Lake, days: Iterable[date]) -> None:
    """Join the many files that a day of silver has gathered into a few, in order of time; also its visitors.

    A day that is as compact as can be is left alone. Events that arrive later are appended as ever.
    """
    silver, publication = TABLES["silver.events_cleaned"], Publication(lake)
    for day in days:
        folder = f"{silver.location}/{day_folder(day)}"
        sizes = dict(lake.files(folder)) if lake.exists(folder) else {}
        number_of_files = -(-sum(sizes.values()) // COMPACT_FILE_BYTES)
        if len(sizes) > number_of_files:
            events = lake.read(silver, sizes).repartitionByRange(number_of_files, "event_timestamp")
            publication.days.add(day)
            publication.replace(
                silver, stage_silver(lake, events.select("*", F.lit(NEW_EVENTS).alias("slice"))), sizes
            )
    if publication.days:
        globs = day_globs(publication.days)
        visitors = with_day_partition(lake.read(DAILY_VISITORS, publication.files(DAILY_VISITORS, *globs)))
        rows = visitors.repartition("event_date").select("*", F.lit("visitors").alias("slice"))
        stage_all(publication, (DAILY_VISITORS, rows, globs))
        publication.carry_out()
    summarise("compaction", days=sorted(map(str, publication.days)))


# --- Gold: a cube of hours, and what is rolled up from it ---------------------------------------------------


def publish_gold(
    publication: Publication, added: list[StagedFile], days_added_to: set[date], days_renewed: set[date]
) -> None:
    """Bring the gold tables up to date with silver.

    To the days of the first kind events were only added (in these files): what gold has of them is added to.
    Days of the other kind are computed anew from silver, and the tables over all time from the whole cube.
    """
    lake, silver, cube = publication.lake, TABLES["silver.events_cleaned"], TABLES["gold.event_cube"]
    days = days_added_to | days_renewed
    globs, globs_renewed = day_globs(days), day_globs(days_renewed)
    folders_added_to = set(map(day_folder, days_added_to))
    events = lake.read(
        silver,
        [file.uri for file in added if file.folder in folders_added_to]
        + publication.files(silver, *globs_renewed),
    )
    cube_before = lake.read(cube, lake.published(cube, *day_globs(days_added_to)))
    known = lake.read(DAILY_VISITORS, lake.published(DAILY_VISITORS, *day_globs(days_added_to)))
    cube_of_days = event_cube(events).unionByName(cube_before)

    seen = daily_visitors(events).persist()
    seen.count()  # Now Spark knows how few they are, and plans the look at those known accordingly.
    stage_all(
        publication,
        (cube, one_file_a_day(merged_cube(cube_of_days)), globs),
        (
            DAILY_VISITORS,
            new_visitors(seen, known).select("*", F.lit("visitors").alias("slice")),
            globs_renewed,
        ),
    )
    seen.unpersist()
    cube_now = lake.read(cube, publication.files(cube, *globs))
    if days_renewed:
        counts = product_counts(lake.read(cube, publication.files(cube, "*/*/*/*")))
    else:
        funnel_before = TABLES["gold.conversion_funnel"]
        counts = (
            lake.read(funnel_before, publication.files(funnel_before, "*"))
            .select(*PRODUCT_COUNTS)
            .unionByName(product_counts(cube_now))
            .unionByName(product_counts(cube_before, sign=-1))
        )
    funnel = conversion_funnel(counts)
    activity, activity_globs = TABLES["gold.user_activity"], day_slices(days_added_to)
    activity_before = lake.read(activity, lake.published(activity, *activity_globs))
    visitors_before = set(lake.published(DAILY_VISITORS, *globs))
    visitors_added = set(publication.files(DAILY_VISITORS, *globs)) - visitors_before
    daily = {
        "gold.hourly_revenue": hourly_revenue(cube_now),
        "gold.category_performance": category_performance(cube_now),
        "gold.user_activity": user_activity(lake.read(DAILY_VISITORS, visitors_added), activity_before),
    }
    over_all_time = {"gold.conversion_funnel": funnel, "gold.top_products": top_products(funnel)}
    slice_of_day, slice_of_all = F.date_format("event_date", "yyyy-MM-dd"), F.lit("all")
    stage_all(
        publication,
        *[(TABLES[name], in_one_file(rows, slice_of_day), day_slices(days)) for name, rows in daily.items()],
        *[(TABLES[name], in_one_file(rows, slice_of_all), ["all-*"]) for name, rows in over_all_time.items()],
    )


def stage_all(publication: Publication, *replacements: tuple[Table, DataFrame, list[str]]) -> None:
    """Stage rows in place of a table's files that match the globs; side by side: small writes wait much."""
    lake = publication.lake
    staged = side_by_side(lambda one: lake.stage(one[0], one[1]), replacements)
    for (table, _, globs), files in zip(replacements, staged, strict=True):
        publication.replace(table, files, lake.published(table, *globs))


def one_file_a_day(rows: DataFrame) -> DataFrame:
    days = with_day_partition(rows).select("*", F.lit("cube").alias("slice"))
    return days.repartition("event_date")


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


def merged_cube(cube: DataFrame) -> DataFrame:
    """Several counts of the same hour, product, category and event type -> their sum."""
    return cube.groupBy("event_date", "event_hour", "product_id", "category", "event_type").agg(
        F.sum("event_count").alias("event_count"),
        F.sum("quantity").alias("quantity"),
        exact_revenue(F.sum("revenue")).alias("revenue"),
    )


def daily_visitors(events: DataFrame) -> DataFrame:
    """Silver -> its distinct users and sessions of each day, in the columns of DAILY_VISITORS."""
    seen = events.select(
        "event_date",
        F.explode(
            F.array(
                F.struct(F.lit("user").alias("visitor_type"), F.col("user_id").alias("visitor_id")),
                F.struct(F.lit("session").alias("visitor_type"), F.col("session_id").alias("visitor_id")),
            )
        ).alias("visitor"),
    )
    return seen.select("event_date", "visitor.*").distinct()


def new_visitors(seen: DataFrame, known: DataFrame) -> DataFrame:
    """Daily visitors less those known, with year, month, day. (Known are many more: they only pass by.)"""
    columns = DAILY_VISITORS.columns.names
    seen_again = known.join(seen, columns, "left_semi")
    return with_day_partition(seen.join(seen_again, columns, "left_anti"))


PRODUCT_COUNTS = ("product_id", "category", "views", "add_to_carts", "purchases")


def product_counts(cube: DataFrame, sign: int = 1) -> DataFrame:
    """The cube -> counts of a product and category, hour by hour; to be subtracted when sign is -1."""

    def count_of(event_type: str) -> Column:
        return F.when(F.col("event_type") == event_type, sign * F.col("event_count")).otherwise(0)

    return cube.where(F.col("product_id").isNotNull()).select(
        "product_id",
        "category",
        count_of("page_view").alias("views"),
        count_of("add_to_cart").alias("add_to_carts"),
        count_of("purchase").alias("purchases"),
    )


def conversion_funnel(counts: DataFrame) -> DataFrame:
    """PRODUCT_COUNTS, several a product -> the funnel."""
    totals = (
        counts.groupBy("product_id", "category")
        .agg(*[F.sum(name).alias(name) for name in ("views", "add_to_carts", "purchases")])
        .where(F.col("views") + F.col("add_to_carts") + F.col("purchases") > 0)
    )
    return totals.select(
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


def top_products(funnel: DataFrame) -> DataFrame:
    by_views = [F.col("view_count").desc(), F.col("product_id"), F.col("category")]
    most_viewed = (
        funnel.where(F.col("views") > 0)
        .select("product_id", "category", F.col("views").alias("view_count"))
        .orderBy(*by_views)
        .limit(10)
    )
    rank = F.row_number().over(Window.orderBy(*by_views))
    return most_viewed.select(rank.alias("rank"), "product_id", "category", "view_count")


def category_performance(cube: DataFrame) -> DataFrame:
    return cube.groupBy("event_date", "category").agg(F.sum("event_count").alias("event_count"))


def user_activity(new: DataFrame, before: DataFrame) -> DataFrame:
    """New daily visitors, and the activity of their days before them -> the activity of these days."""

    def is_of_type(visitor_type: str) -> Column:
        return (F.col("visitor_type") == visitor_type).cast(BIGINT)

    counts = new.select(
        "event_date",
        is_of_type("user").alias("unique_users"),
        is_of_type("session").alias("unique_sessions"),
    )
    names = ("unique_users", "unique_sessions")
    return counts.unionByName(before).groupBy("event_date").agg(*[F.sum(name).alias(name) for name in names])


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


class TooManyRejected(Exception):
    """More was rejected than --MAX_REJECTED_PERCENT allows. All of it is in the tables all the same."""


@dataclass(frozen=True)
class Settings:
    """The optional job arguments."""

    max_rejected_percent: float = 100
    compact_days: int = 0


DEFAULTS = Settings()


def run(
    glue_context: GlueContext, source_bucket: str, analytics_bucket: str, settings: Settings = DEFAULTS
) -> None:
    """Bring every layer up to date with the raw objects that are new for the bookmark.

    Raises TooManyRejected at the end.
    """
    configure(glue_context.spark_session)
    lake = Lake(glue_context.spark_session, f"s3://{analytics_bucket}")
    delivery = take_in(glue_context, lake, source_bucket)
    if settings.compact_days:
        today = datetime.now(UTC).date()
        compact_silver(lake, [today - timedelta(days=number + 1) for number in range(settings.compact_days)])
    check_rejected(delivery, settings.max_rejected_percent)


def take_in(glue_context: GlueContext, lake: Lake, source_bucket: str) -> Delivery:
    """Stage what the new raw objects change in bronze, silver and gold, and publish it."""
    watch = Stopwatch()
    days_to_rebuild = finish_stopped_publication(lake)
    delivery = stage_delivery(glue_context, lake, source_bucket)
    publication = Publication(lake, days=days_to_rebuild | delivery.days.keys())
    with ThreadPoolExecutor() as meanwhile:
        repeated = meanwhile.submit(repeated_hashes, lake, delivery)
        repetition = publish_bronze(publication, delivery)
    summarise(
        "bronze",
        files=len(delivery.source_files),
        rows_in=delivery.accepted + delivery.rejected,
        accepted=delivery.accepted,
        rejected=delivery.rejected,
        newest_event_age_seconds=delivery.newest_event_age,
        seconds=watch.lap(),
    )
    if not delivery.source_files and not days_to_rebuild:
        return delivery

    days_to_rebuild |= repetition.days_changed
    addition = stage_new_events(lake, delivery, delivery.days.keys() - days_to_rebuild, repeated.result())
    days_to_rebuild |= addition.days_in_conflict
    days_added_to = delivery.days.keys() - days_to_rebuild
    publication.days |= days_to_rebuild
    publication.replace(TABLES["silver.events_cleaned"], addition.files)
    if days_to_rebuild:
        rebuild_silver(publication, days_to_rebuild)
    summarise(
        "silver",
        inserted=addition.inserted,
        corrected=addition.corrected,
        duplicates=delivery.accepted - addition.inserted - addition.corrected,
        days_appended=sorted(map(str, days_added_to)),
        days_rebuilt=sorted(map(str, days_to_rebuild)),
        seconds=watch.lap(),
    )
    days_renewed = days_to_rebuild | days_to_renew(lake, days_added_to, repetition)
    if publication.days:
        publish_gold(publication, addition.files, days_added_to - days_renewed, days_renewed)
    summarise("gold", days=sorted(map(str, publication.days)), seconds=watch.lap())
    publication.carry_out()
    summarise("publication", files=len(publication.moves), seconds=watch.lap())
    return delivery


def check_rejected(delivery: Delivery, max_percent: float) -> None:
    lines = delivery.accepted + delivery.rejected
    if delivery.rejected * 100 > max_percent * lines:
        raise TooManyRejected(
            f"{delivery.rejected} of {lines} lines were rejected ({delivery.rejected / lines:.2%}), more "
            f"than --MAX_REJECTED_PERCENT {max_percent:g}. See why in events_rejected. Then deliver the "
            "objects again, mended, or start the job with a higher percentage: until then each run reads "
            "them again."
        )


def days_to_renew(lake: Lake, days: set[date], repetition: Repetition) -> set[date]:
    """The days among these whose gold is not to be trusted: added to without need, or not complete."""
    if repetition.source_files or not lake.matching(f"{TABLES['gold.conversion_funnel'].location}/*"):
        return set(days)
    activity = TABLES["gold.user_activity"].location

    def is_complete(day: date) -> bool:
        needed = [
            f"{table.location}/{day_folder(day)}/*" for table in (TABLES["gold.event_cube"], DAILY_VISITORS)
        ]
        needed += [f"{activity}/{glob}" for glob in day_slices([day])]
        return all(lake.matching(glob) for glob in needed)

    return {day for day in days if silver_files(lake, day) and not is_complete(day)}


def configure(spark: SparkSession) -> None:
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",  # a cast that fails gives null: rules above look for it
        "spark.sql.shuffle.partitions": str(spark.sparkContext.defaultParallelism),
        "spark.sql.autoBroadcastJoinThreshold": str(32 * 2**20),
        # Java never compiles a method of more bytes: rows would crawl through it. Spark's limit is 65,535.
        "spark.sql.codegen.hugeMethodLimit": "8000",
        # Write several partitions at once, instead of sorting the rows by partition first.
        "spark.sql.maxConcurrentOutputFileWriters": "16",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",  # INT96, the default, has no statistics
    }
    for name, value in settings.items():
        spark.conf.set(name, value)


class Stopwatch:
    """Tells the seconds since it was asked last."""

    def __init__(self) -> None:
        self._began = monotonic()

    def lap(self) -> float:
        began, self._began = self._began, monotonic()
        return round(self._began - began, 2)


def summarise(layer: str, **counts: Any) -> None:
    """One line of JSON in the job's log, which CloudWatch's metric filters can read as well."""
    print(json.dumps({"layer": layer, **counts}), flush=True)


def main() -> None:
    optional = [name for name in ("MAX_REJECTED_PERCENT", "COMPACT_DAYS") if f"--{name}" in sys.argv]
    arguments = getResolvedOptions(sys.argv, ["JOB_NAME", "SOURCE_BUCKET", "ANALYTICS_BUCKET", *optional])
    settings = Settings(
        max_rejected_percent=float(arguments.get("MAX_REJECTED_PERCENT", 100)),
        compact_days=int(arguments.get("COMPACT_DAYS", 0)),
    )
    glue_context = GlueContext(SparkContext.getOrCreate())
    job = Job(glue_context)
    job.init(arguments["JOB_NAME"], arguments)
    run(glue_context, arguments["SOURCE_BUCKET"], arguments["ANALYTICS_BUCKET"], settings)
    job.commit()


if __name__ == "__main__":
    main()
