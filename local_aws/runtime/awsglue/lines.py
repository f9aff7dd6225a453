"""Reads the lines of S3 objects into a DataFrame, byte for byte; a line ends at "\\n" and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from .objects import SourceObject

LINE_COLUMN = "col0"

_SAME_WHEN_ENCODED = re.compile(r"[A-Za-z0-9:/=._+-]*")
_LISTING_THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"


def read_lines(spark: SparkSession, objects: list[SourceObject], source_column: str | None) -> DataFrame:
    """One row a line: its bytes as the string `col0`, and the URI of its object in `source_column`, if named.

    A frame without objects has no columns, as Glue infers them from data. A corrupt gzip object fails the
    job that reads it, unless spark.sql.files.ignoreCorruptFiles is true.
    """
    if not objects:
        return spark.range(0).drop("id")
    with _listing_in_driver(spark):
        text = (
            spark.read.option("lineSep", "\n")
            .option("recursiveFileLookup", "true")
            .option("__globPaths__", "false")  # A key may hold *, ? or [.
            .text([item.uri for item in objects])
        )
    line = F.col("value").alias(LINE_COLUMN)
    return (
        text.select(line, _source_uri(objects).alias(source_column)) if source_column else text.select(line)
    )


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
