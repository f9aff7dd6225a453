"""Reads the lines of S3 objects into a DataFrame, byte for byte; a line ends at "\\n" and nowhere else."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from .objects import SourceObject

LINE_COLUMN = "col0"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SAME_WHEN_ENCODED = re.compile(r"[A-Za-z0-9:/=._+-]*")
_LISTING_THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"
_IGNORE_CORRUPT_FILES = "spark.sql.files.ignoreCorruptFiles"


def read_lines(spark: SparkSession, objects: list[SourceObject], source_column: str | None) -> DataFrame:
    """One row a line: its bytes as the string `col0`, and the URI of its object in `source_column`, if named.

    A frame without objects has no columns, as Glue infers them from data. A corrupt gzip object fails the
    job that reads it, unless spark.sql.files.ignoreCorruptFiles is true.
    """
    if not objects:
        return spark.range(0).drop("id")
    marked = [item for item in objects if _has_byte_order_mark(item.path)]
    others = [item for item in objects if item not in marked] if marked else objects
    frames = []
    if others:
        frames.append(_through_spark(spark, others, source_column))
    if marked:
        frames.append(_through_python(spark, marked, source_column))
    return frames[0] if len(frames) == 1 else frames[0].unionByName(frames[1])


def _through_spark(spark: SparkSession, objects: list[SourceObject], source_column: str | None) -> DataFrame:
    with _listing_in_driver(spark):
        text = (
            spark.read.option("lineSep", "\n")
            .option("recursiveFileLookup", "true")
            .option("__globPaths__", "false")  # A key may hold *, ? or [.
            .text([item.uri for item in objects])
        )
    columns = [F.col("value").alias(LINE_COLUMN)]
    if source_column:
        columns.append(_source_uri(objects).alias(source_column))
    return text.select(*columns)


def _source_uri(objects: list[SourceObject]) -> Column:
    """The URI of a row's object as S3 knows it: Spark gives it percent-encoded."""
    if all(_SAME_WHEN_ENCODED.fullmatch(item.uri) for item in objects):
        return F.col("_metadata.file_path")
    return F.expr("url_decode(replace(_metadata.file_path, '+', '%2B'))")  # To url_decode, + is a space.


@contextmanager
def _listing_in_driver(spark: SparkSession) -> Iterator[None]:
    """Let Spark look at the given files itself: a job with a task per file costs far more than the look."""
    before = spark.conf.get(_LISTING_THRESHOLD)
    spark.conf.set(_LISTING_THRESHOLD, str(2**31 - 1))
    try:
        yield
    finally:
        spark.conf.set(_LISTING_THRESHOLD, str(before))


# Hadoop drops a byte order mark at the start of a file, and so would change its first line. Such files are
# rare, and are read by Python.


def _has_byte_order_mark(path: Path) -> bool:
    try:
        with _open(path) as file:
            return file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK
    except (OSError, EOFError, zlib.error):
        return False  # Corrupt: Spark will say so.


def _through_python(spark: SparkSession, objects: list[SourceObject], source_column: str | None) -> DataFrame:
    ignore_corrupt = spark.conf.get(_IGNORE_CORRUPT_FILES) == "true"
    sources = spark.sparkContext.parallelize(
        [(item.uri, str(item.path)) for item in objects], numSlices=len(objects)
    )
    rows = sources.flatMap(
        lambda source: ((line, source[0]) for line in _lines_of(Path(source[1]), ignore_corrupt))
    )
    lines = spark.createDataFrame(rows, "line binary, source string")
    columns = [F.col("line").cast("string").alias(LINE_COLUMN)]
    if source_column:
        columns.append(F.col("source").alias(source_column))
    return lines.select(*columns)


def _lines_of(path: Path, ignore_corrupt: bool) -> Iterator[bytes]:
    with _open(path) as file:
        try:
            for line in file:
                yield line.removesuffix(b"\n")
        except (OSError, EOFError, zlib.error):
            if not ignore_corrupt:
                raise


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
