"""Reads the lines of S3 objects into a DataFrame, byte for byte; a line ends at "\\n" and nowhere else."""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from .objects import SourceObject

LINE_COLUMN = "col0"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SAME_WHEN_ENCODED = re.compile(r"[A-Za-z0-9:/=._+-]*")
_LISTING_THRESHOLD = "spark.sql.sources.parallelPartitionDiscovery.threshold"


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
        frames.append(
            _through_spark(spark, [item.uri for item in others], source_column, _source_uri(others))
        )
    if marked:
        frames.append(_with_second_mark(spark, marked, source_column))
    return frames[0] if len(frames) == 1 else frames[0].unionByName(frames[1])


def _through_spark(
    spark: SparkSession, uris: list[str], source_column: str | None, source: Column
) -> DataFrame:
    with _listing_in_driver(spark):
        text = (
            spark.read.option("lineSep", "\n")
            .option("recursiveFileLookup", "true")
            .option("__globPaths__", "false")  # A key may hold *, ? or [.
            .text(uris)
        )
    line = F.col("value").alias(LINE_COLUMN)
    return text.select(line, source.alias(source_column)) if source_column else text.select(line)


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
# rare: they are read from a copy with a second mark for Hadoop to drop.


def _has_byte_order_mark(path: Path) -> bool:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return bool(file.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK)
    except (OSError, EOFError, zlib.error):
        return False  # Corrupt: Spark will say so.


def _with_second_mark(
    spark: SparkSession, objects: list[SourceObject], source_column: str | None
) -> DataFrame:
    folder = Path(tempfile.mkdtemp(prefix="byte-order-marks-"))
    originals = {}
    for number, item in enumerate(objects):
        copy = folder / f"{number}{item.path.suffix}"
        originals[copy.name] = item.uri
        with copy.open("wb") as target, item.path.open("rb") as source:
            # Concatenated gzip members are one gzip file.
            target.write(gzip.compress(_BYTE_ORDER_MARK) if copy.suffix == ".gz" else _BYTE_ORDER_MARK)
            shutil.copyfileobj(source, target)
    names = F.create_map(*(F.lit(text) for pair in originals.items() for text in pair))
    original = names[F.regexp_extract("_metadata.file_path", "[^/]+$", 0)]
    return _through_spark(spark, [(folder / name).as_uri() for name in originals], source_column, original)
