"""Reads the lines of S3 objects into a DataFrame as Glue's CSV reader does, and fails where that one does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from .objects import SourceObject

LINE_COLUMN = "col0"

READ_OPTIONS = {
    "recursiveFileLookup": True,
    "__globPaths__": False,  # A key may hold *, ? or [.
    "ignoreCorruptFiles": False,  # What a session says of it does not reach Glue's reader.
    "ignoreMissingFiles": False,
}
"""With which Spark reads just the objects that it is given."""

_SAME_WHEN_ENCODED = re.compile(r"[A-Za-z0-9:/=._+-]*")
_LISTING_THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"


def read_lines(spark: SparkSession, objects: list[SourceObject], source_column: str | None) -> DataFrame:
    """One row a line: the string `col0`, and the URI of its object in `source_column`, if named.

    A line ends at "\\n", "\\r\\n" or "\\r". A name's suffix decides how an object is decompressed. Reads all
    of them once, as Glue does to infer columns, of which a frame without objects has none.

    Raises Py4JJavaError ("Unable to parse file") when one is not UTF-8 or cannot be decompressed.
    """
    if not objects:
        return spark.range(0).drop("id")
    text = text_of(spark, objects)
    refuse_unreadable(spark, objects, text)
    line = F.col("value").alias(LINE_COLUMN)
    return text.select(line, source_uri(objects).alias(source_column)) if source_column else text.select(line)


def text_of(spark: SparkSession, objects: list[SourceObject], whole: bool = False) -> DataFrame:
    """The column `value`: a line a row, or a whole object."""
    with listing_in_driver(spark):
        return spark.read.options(**READ_OPTIONS).text([item.uri for item in objects], wholetext=whole)


def refuse_unreadable(spark: SparkSession, objects: list[SourceObject], text: DataFrame) -> None:
    """Read everything; name the first object that cannot be read. Raises Py4JJavaError."""
    try:
        _read_all(text)
    except Py4JJavaError:
        while len(objects) > 1:  # Spark does not say in which of them it failed.
            half = objects[: len(objects) // 2]
            objects = half if _cannot_be_read(text_of(spark, half)) else objects[len(half) :]
        cannot_parse(spark, objects[0].uri)


def cannot_parse(spark: SparkSession, uri: str) -> None:
    """Fail as Glue does when it cannot read an object. Raises Py4JJavaError."""
    name = uri.rpartition("/")[2]
    spark.range(1).select(F.raise_error(F.lit(f"Unable to parse file: {name}"))).collect()


def _read_all(text: DataFrame) -> None:
    raw = F.col("value").cast("binary")
    is_utf8 = F.encode(F.decode(raw, "UTF-8"), "UTF-8") == raw
    text.agg(F.max(F.when(~is_utf8, F.raise_error(F.lit("not UTF-8")).cast("string")))).collect()


def _cannot_be_read(text: DataFrame) -> bool:
    try:
        _read_all(text)
    except Py4JJavaError:
        return True
    return False


def source_uri(objects: list[SourceObject]) -> Column:
    """The URI of a row's object as S3 knows it: Spark gives it percent-encoded."""
    if all(_SAME_WHEN_ENCODED.fullmatch(item.uri) for item in objects):
        return F.col("_metadata.file_path")
    return F.expr("url_decode(replace(_metadata.file_path, '+', '%2B'))")  # To url_decode, + is a space.


@contextmanager
def listing_in_driver(spark: SparkSession) -> Iterator[None]:
    """Let Spark look at the given files itself: a job with a task per file costs far more than the look."""
    before = spark.conf.get(_LISTING_THRESHOLD)
    spark.conf.set(_LISTING_THRESHOLD, str(2**31 - 1))
    try:
        yield
    finally:
        spark.conf.set(_LISTING_THRESHOLD, str(before))
