"""Where dynamic frames come from: S3 objects, by paths or by a table of the catalog, under a job bookmark."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from . import fields
from .bookmarks import RunBookmark, Source
from .catalog import DataCatalog, Partition, Table
from .dynamicframe import Content
from .exclusions import excludes
from .formats import Reader, reader
from .objects import SourceObject, list_objects
from .refusals import NotReproduced, refuse_unknown, require
from .shapes import Path

_PATH_OPTIONS = {"paths", "recurse", "exclusions", "groupFiles", "groupSize", "useS3ListImplementation"}
_TABLE_OPTIONS = _PATH_OPTIONS - {"paths"}
"""Of these only `paths`, `recurse` and `exclusions` change what is read."""

_SOURCE = "__source"


class S3Source:
    """Objects at s3:// paths. Raises NotReproduced for options that are not."""

    def __init__(
        self,
        spark: SparkSession,
        connection_type: str,
        connection_options: Mapping[str, Any],
        format: str | None,
        format_options: Mapping[str, Any],
    ) -> None:
        if connection_type in ("parquet", "orc"):
            connection_type, format = "s3", connection_type
        require("connection_type", connection_type, "s3")
        refuse_unknown("connection option", connection_options, _PATH_OPTIONS)
        self._reader, self._attach = reader(format, format_options)
        paths = connection_options.get("paths")
        if (
            not isinstance(paths, list)
            or not paths
            or not all(str(path).startswith("s3://") for path in paths)
        ):
            raise NotReproduced(f"connection option paths must be a list of s3:// URIs, not {paths!r}")
        self._spark = spark
        recurse = connection_options.get("recurse", False) in (True, "true")
        listed = {item.uri: item for path in paths for item in list_objects(spark, path, recurse)}
        is_excluded = excludes(connection_options.get("exclusions", "[]"))
        self._objects = [item for item in listed.values() if not is_excluded(item.uri)]
        self._properties = json.dumps([dict(connection_options), dict(format_options)], sort_keys=True)

    def under(self, bookmark: RunBookmark | None, transformation_ctx: str) -> None:
        """Leave out what the bookmark says is processed."""
        self._objects = _new(bookmark, transformation_ctx, self._properties, self._objects)

    def content(self) -> Content:
        """Read the objects."""
        return self._reader(self._spark, self._objects, self._attach)


class TableSource:
    """The objects of a table: of the registered partitions for which a Spark SQL predicate is true.

    Types are those of the files, as on Glue; of CSV those of the table. Raises NotReproduced for options and
    tables that are not, ValueError for a predicate that is not one of partition keys.
    """

    def __init__(
        self, spark: SparkSession, database: str, name: str, predicate: str, options: Mapping[str, Any]
    ) -> None:
        refuse_unknown("additional option", options, _TABLE_OPTIONS)
        catalog = DataCatalog()
        self._spark = spark
        self._table = catalog.table(database, name)
        if self._table.is_view:
            raise NotReproduced(f"{database}.{name} is a view; Glue reads tables: use its query on toDF()")
        self._reader = _table_reader(self._table)
        if self._table.partition_keys:
            partitions = _matching(spark, self._table, catalog.partitions(self._table), predicate)
        elif predicate:
            raise ValueError(f"push_down_predicate {predicate!r}: {database}.{name} has no partition keys")
        else:
            partitions = [Partition((), self._table.location)]
        self._values: dict[str, tuple[str, ...]] = {}
        self._objects: list[SourceObject] = []
        is_excluded = excludes(options.get("exclusions", "[]"))
        for partition in partitions:
            for item in list_objects(
                spark, partition.location, options.get("recurse", False) in (True, "true")
            ):
                if not is_excluded(item.uri):
                    self._values[_folder(item.uri)] = partition.values
                    self._objects.append(item)
        self._properties = json.dumps(["catalog", database, name, dict(options)], sort_keys=True)

    def under(self, bookmark: RunBookmark | None, transformation_ctx: str) -> None:
        """Leave out what the bookmark says is processed."""
        self._objects = _new(bookmark, transformation_ctx, self._properties, self._objects)

    def content(self) -> Content:
        """Read the objects, with the values of their partitions."""
        content = self._reader(self._spark, self._objects, _SOURCE)
        if not self._objects:
            return content
        if self._table.format == "csv":
            content = _typed(content, self._table)
        rows = _with_partition_columns(content.rows, self._table, self._values)
        return Content(rows.drop(_SOURCE), content.choices)


def _new(
    bookmark: RunBookmark | None, transformation_ctx: str, properties: str, objects: list[SourceObject]
) -> list[SourceObject]:
    """The objects that are new to a bookmark: all, without one or without a transformation_ctx."""
    if bookmark is None or not transformation_ctx:
        return objects
    return bookmark.unprocessed(Source(transformation_ctx, properties), objects)


def _table_reader(table: Table) -> Reader:
    """The reader for a table's files."""
    if table.format != "csv":
        return reader(table.format, {})[0]
    serde = table.serde_parameters
    has_header = "1" in (
        serde.get("skip.header.line.count"),
        table.parameters.get("skip.header.line.count"),
    )
    quoted = "quoteChar" in serde or "OpenCSVSerde" in str(table.description["StorageDescriptor"])
    options: dict[str, Any] = {
        "separator": serde.get("separatorChar") or serde.get("field.delim") or ",",
        "quoteChar": serde.get("quoteChar", '"') if quoted else -1,
        "skipFirst": has_header,
    }
    if serde.get("escapeChar", "\\") not in ("\\", '"'):
        raise NotReproduced(f"escapeChar of {table.database}.{table.name} is not reproduced outside AWS Glue")
    return reader("csv", options)[0]


def _matching(
    spark: SparkSession, table: Table, partitions: list[Partition], predicate: str
) -> list[Partition]:
    """The partitions for which the predicate is true."""
    if not predicate or not partitions:
        return partitions
    keys = table.partition_keys
    names = [T.StructField(name, T.StringType()) for name in keys]
    schema = T.StructType([T.StructField("__position", T.IntegerType()), *names])
    rows = [(position, *partition.values) for position, partition in enumerate(partitions)]
    typed = [fields.column((name,)).cast(kind).alias(name) for name, kind in keys.items()]
    try:
        matching = spark.createDataFrame(rows, schema).select("__position", *typed).where(predicate)
        return [partitions[row[0]] for row in sorted(matching.select("__position").collect())]
    except AnalysisException as error:
        raise ValueError(
            f"push_down_predicate {predicate!r} cannot be resolved against the partition keys "
            f"{', '.join(keys)} of {table.database}.{table.name}: {error}"
        ) from error


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]


def _with_partition_columns(rows: DataFrame, table: Table, values: Mapping[str, Iterable[str]]) -> DataFrame:
    """The rows with the partition keys' columns, by the folder of each row's object."""
    if not table.partition_keys:
        return rows
    names = [T.StructField(name, T.StringType()) for name in ("__folder", *table.partition_keys)]
    found = rows.sparkSession.createDataFrame(
        [(folder, *of_folder) for folder, of_folder in values.items()], T.StructType(names)
    )
    typed = [fields.column((name,)).cast(kind).alias(name) for name, kind in table.partition_keys.items()]
    own = [fields.column((name,)) for name in rows.columns if name not in table.partition_keys]
    folder = F.regexp_extract(F.col(_SOURCE), "^(.*)/", 1)
    joined = rows.select(*own, folder.alias("__folder")).join(
        F.broadcast(found.select("__folder", *typed)), "__folder"
    )
    return joined.drop("__folder")


def _typed(content: Content, table: Table) -> Content:
    """CSV's text in the types of the table. A column whose text is not all of its type is a choice."""
    columns = list(table.columns.items())
    present = [name for name in content.rows.columns if name != _SOURCE]
    named = [fields.column((one,)).alias(name) for one, (name, _) in zip(present, columns, strict=False)]
    rows = content.rows.select(*named, _SOURCE)
    casts = {name: fields.column((name,)).cast(kind) for name, kind in columns[: len(named)]}
    wrong = rows.agg(
        *(
            F.max((value.isNull() & (fields.column((name,)) != "")).cast("int")).alias(name)
            for name, value in casts.items()
        )
    ).first()
    assert wrong is not None
    choices: dict[Path, list[str]] = {
        (name,): [kind, "string"] for name, kind in columns[: len(named)] if wrong[name]
    }
    typed = [
        fields.column((name,)) if (name,) in choices else value.alias(name) for name, value in casts.items()
    ]
    return Content(rows.select(*typed, _SOURCE), choices)
