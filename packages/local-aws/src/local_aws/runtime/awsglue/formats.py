"""Reads objects of csv, json, parquet and orc as Glue's readers do, and fails where those fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from . import fields
from .dynamicframe import Content
from .lines import (
    READ_OPTIONS,
    cannot_parse,
    listing_in_driver,
    read_lines,
    refuse_unreadable,
    source_uri,
    text_of,
)
from .objects import SourceObject
from .records import empty
from .refusals import NotReproduced, refuse_unknown, require
from .shapes import Path, Shape, merged

Reader = Callable[[SparkSession, list[SourceObject], str | None], Content]
"""Reads objects; the last argument names a column for the URI of a row's object."""


def reader(format: str | None, options: Mapping[str, Any]) -> tuple[Reader, str | None]:
    """The reader of a format, and the name of the column that `attachFilename` asks for.

    Raises NotReproduced for formats and options that would read differently on Glue.
    """
    attach = options.get("attachFilename")
    if format == "csv":
        return _csv_reader(options), attach
    if format == "json":
        refuse_unknown("format option", options, {"multiLine", "multiline", "attachFilename"})
        multi_line = options.get("multiLine", options.get("multiline", False)) in (True, "true")
        return partial(_read_json, multi_line=multi_line), attach
    if format in ("parquet", "orc"):
        refuse_unknown("format option", options, set())
        return partial(_read_columnar, format=format), None
    require("format", format, "csv", "json", "orc", "parquet")
    raise AssertionError("unreachable")


def _csv_reader(options: Mapping[str, Any]) -> Reader:
    refuse_unknown(
        "format option",
        options,
        {"separator", "quoteChar", "escaper", "withHeader", "multiLine", "attachFilename"}
        | {"skipFirst", "optimizePerformance"},
    )
    flags = {name: options.get(name, False) for name in ("withHeader", "multiLine", "skipFirst")}
    for name, value in flags.items():
        require(f"format option {name}", value, True, False)
    require("format option optimizePerformance", options.get("optimizePerformance", False), False)
    separator, quote = options.get("separator", ","), options.get("quoteChar", '"')
    escaper = options.get("escaper")
    if separator == "\x01" and quote == -1 and not any(flags.values()) and escaper is None:
        return lambda spark, objects, source: Content(read_lines(spark, objects, source))
    settings = {
        "sep": separator,
        "quote": "" if quote == -1 else quote,
        "escape": escaper
        or ("" if quote == -1 else quote),  # A quote is doubled, unless there is an escaper.
        "header": flags["withHeader"] or flags["skipFirst"],
        "multiLine": flags["multiLine"],
        "enforceSchema": not flags["withHeader"],  # Objects with another header are not to be mixed up.
        "mode": "FAILFAST",  # Spark would drop what a row has more than the first.
    }
    return partial(_read_csv, settings=settings, named=flags["withHeader"])


def _read_csv(
    spark: SparkSession,
    objects: list[SourceObject],
    source: str | None,
    settings: Mapping[str, Any],
    named: bool,
) -> Content:
    """Every column is text, the empty one included. Raises Py4JJavaError ("Unable to parse file")."""
    if not objects:
        return Content(empty(spark))
    refuse_unreadable(spark, objects, text_of(spark, objects))
    rows = _load(spark, "csv", objects, settings)
    columns = [
        F.coalesce(fields.column((name,)), F.lit("")).alias(name if named else f"col{position}")
        for position, name in enumerate(rows.columns)
    ]
    return Content(rows.select(*columns, *_source_column(objects, source)))


def _read_columnar(
    spark: SparkSession, objects: list[SourceObject], source: str | None, format: str
) -> Content:
    if not objects:
        return Content(empty(spark))
    rows = _load(spark, format, objects, {})
    return Content(rows.select("*", *_source_column(objects, source)))


def _read_json(
    spark: SparkSession, objects: list[SourceObject], source: str | None, multi_line: bool
) -> Content:
    """One record a line, or an object. Raises Py4JJavaError ("Unable to parse file"), NotReproduced."""
    if not objects:
        return Content(empty(spark))
    text = text_of(spark, objects, whole=multi_line)
    refuse_unreadable(spark, objects, text)
    rows = text.select("value", source_uri(objects).alias("uri")).rdd
    shape, complaints = _shape_of(rows.mapPartitions(_judge).collect())
    for uri, is_array in complaints:
        if is_array:
            raise NotReproduced(
                f"{uri} holds an array where a record is expected; outside AWS Glue (where jsonPath could "
                "take it apart) write one object a line"
            )
        cannot_parse(spark, uri)
    choices: dict[Path, list[str]] = {}
    schema = shape.spark_type(choices)
    if not isinstance(schema, T.StructType) or not schema.fields:
        return Content(empty(spark))
    read = _load(spark, "json", objects, {"multiLine": multi_line, "mode": "FAILFAST"}, schema)
    return Content(read.select("*", *_source_column(objects, source)), choices)


def _judge(part: Iterable[Row]) -> Iterator[tuple[Shape, list[tuple[str, bool]]]]:
    """What the records of a partition hold, and the first that is none: its object, if it is an array."""
    shape = Shape()
    for value, uri in part:
        if not value.strip():
            continue
        try:
            record = json.loads(value)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            yield shape, [(uri, isinstance(record, list))]
            return
        shape.add(record)
    yield shape, []


def _shape_of(
    judged: Iterable[tuple[Shape, list[tuple[str, bool]]]],
) -> tuple[Shape, list[tuple[str, bool]]]:
    parts = list(judged)
    return merged(shape for shape, _ in parts), [one for _, complaints in parts for one in complaints]


def _load(
    spark: SparkSession,
    format: str,
    objects: list[SourceObject],
    options: Mapping[str, Any],
    schema: T.StructType | None = None,
) -> DataFrame:
    reads = spark.read.format(format).options(**READ_OPTIONS, **options)
    if schema is not None:
        reads = reads.schema(schema)
    with listing_in_driver(spark):
        return reads.load([item.uri for item in objects])


def _source_column(objects: list[SourceObject], name: str | None) -> list[Column]:
    return [source_uri(objects).alias(name)] if name else []
