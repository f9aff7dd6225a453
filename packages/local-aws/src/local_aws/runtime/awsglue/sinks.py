"""Where dynamic frames go: files below an s3:// path, and if asked for a table and its partitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame

from . import fields, records
from .catalog import DataCatalog, Partition, Table
from .dynamicframe import DynamicFrame, DynamicFrameCollection
from .refusals import NotReproduced, refuse_unknown, require

_SINK_OPTIONS = {"path", "partitionKeys", "enableUpdateCatalog", "updateBehavior", "compression"}
_FORMAT_OPTIONS = {
    "csv": {"separator", "quoteChar", "writeHeader"},
    "json": set(),
    "orc": {"compression"},
    "parquet": {"compression", "useGlueParquetWriter"},
}
_WRITER_ADVICE = (
    "On AWS the catalog is updated for Parquet by Glue's own writer only: use setFormat('glueparquet'), "
    "setFormat('parquet', useGlueParquetWriter=True), or the table property useGlueParquetWriter=true"
)


class DataSink:
    """Writes frames beside what is there already; nothing is replaced. `context` is the GlueContext."""

    def __init__(
        self, context: Any, connection_type: str, format: str | None, options: Mapping[str, Any]
    ) -> None:
        """Raises NotReproduced for options that are not reproduced, ValueError for a missing path."""
        if connection_type in ("parquet", "orc"):
            connection_type, format = "s3", connection_type
        require("connection_type", connection_type, "s3")
        refuse_unknown("connection option", options, _SINK_OPTIONS)
        self._path = str(options.get("path") or "")
        if not self._path.startswith("s3://"):
            raise ValueError(f"connection option path must be an s3:// URI, not {options.get('path')!r}")
        self._path = self._path.rstrip("/")
        self._context = context
        self._partition_keys = list(options.get("partitionKeys") or [])
        self._updates_catalog = options.get("enableUpdateCatalog") in (True, "true")
        self._update_behavior = options.get("updateBehavior") or "UPDATE_IN_DATABASE"
        require("connection option updateBehavior", self._update_behavior, "UPDATE_IN_DATABASE", "LOG")
        self._compression = options.get("compression")
        self._table: tuple[str, str] | None = None
        self._format, self._format_options = "", dict[str, Any]()
        self._is_glue_writer = False
        if format:
            self.setFormat(format)

    def setFormat(self, format: str, **options: Any) -> None:
        """csv, json, orc, parquet or glueparquet. Raises NotReproduced for others and for other options."""
        require("format", format, *sorted(_FORMAT_OPTIONS), "glueparquet")
        self._is_glue_writer = format == "glueparquet" or options.get("useGlueParquetWriter") in (
            True,
            "true",
        )
        self._format = "parquet" if format == "glueparquet" else format
        refuse_unknown("format option", options, _FORMAT_OPTIONS[self._format])
        self._format_options = options

    def setCatalogInfo(self, catalogDatabase: str, catalogTableName: str, catalogId: str = "") -> None:
        """The table that is created, or whose partitions and columns are added, with enableUpdateCatalog."""
        self._table = (catalogDatabase, catalogTableName)

    def writeFrame(self, dynamic_frame: DynamicFrame, info: str = "") -> DynamicFrame:
        """Write the frame; returns the records that could not be, which are none.

        Raises ValueError when there is no format, or the table's partition keys are others.
        """
        if not self._format:
            raise ValueError("Call setFormat on the sink first")
        rows = dynamic_frame.toDF()
        table = self._checked_table() if self._updates_catalog else None
        if rows.columns:
            self._write(rows)
            if self._updates_catalog:
                self._update_catalog(rows, table)
        nothing = records.empty(self._context.spark_session)
        return DynamicFrame(nothing, dynamic_frame.glue_ctx, f"{dynamic_frame.name}_errors")

    def write(
        self, dynamic_frame_or_dfc: DynamicFrame | DynamicFrameCollection, info: str = ""
    ) -> DynamicFrame:
        """As `writeFrame`."""
        if not isinstance(dynamic_frame_or_dfc, DynamicFrame):
            raise NotReproduced(
                "Writing a DynamicFrameCollection is not reproduced: write each of its values()"
            )
        return self.writeFrame(dynamic_frame_or_dfc, info)

    def _write(self, rows: DataFrame) -> None:
        unknown = [name for name in self._partition_keys if name not in rows.columns]
        if unknown:
            raise ValueError(f"partitionKeys {unknown} are no fields of the frame, which has {rows.columns}")
        writer = rows.write.format(self._format).mode("append").options(**self._spark_options())
        writer.partitionBy(*self._partition_keys).save(self._path)

    def _spark_options(self) -> dict[str, Any]:
        given = self._format_options
        options: dict[str, Any] = {}
        compression = given.get("compression") or self._compression
        if compression:
            options["compression"] = compression
        if self._format == "csv":
            quote = given.get("quoteChar", '"')
            options["sep"] = given.get("separator", ",")
            options["quote"] = "" if quote == -1 else quote
            options["escape"] = options["quote"]
            options["header"] = given.get("writeHeader", True)
        return options

    def _checked_table(self) -> Table | None:
        """The table as it is now, if it is. Raises ValueError when it cannot be updated by this sink."""
        if self._table is None:
            raise ValueError("enableUpdateCatalog needs setCatalogInfo(catalogDatabase=, catalogTableName=)")
        table = DataCatalog().find_table(*self._table)
        if self._format not in ("parquet", "json"):
            raise NotReproduced(
                f"enableUpdateCatalog for {self._format} is not reproduced: create the table, write without "
                "it, and run MSCK REPAIR TABLE in Athena"
            )
        is_glue_table = table and table.parameters.get("useGlueParquetWriter", "").lower() == "true"
        if self._format == "parquet" and not self._is_glue_writer and not is_glue_table:
            raise ValueError(_WRITER_ADVICE)
        if table is not None and list(table.partition_keys) != self._partition_keys:
            raise ValueError(
                f"partitionKeys are {self._partition_keys}, those of the table {'.'.join(self._table)} "
                f"{list(table.partition_keys)}: they must be the same, in the same order"
            )
        return table

    def _update_catalog(self, rows: DataFrame, table: Table | None) -> None:
        """Create the table, or add new columns to it (partitioned ones only, as on Glue); add partitions."""
        assert self._table is not None
        types = {field.name: field.dataType.simpleString() for field in rows.schema}
        keys = {name: types.pop(name) for name in self._partition_keys}
        catalog = DataCatalog()
        if table is None:
            table = catalog.create_table(*self._table, types, keys, f"{self._path}/", self._format)
        elif keys and self._update_behavior == "UPDATE_IN_DATABASE":
            known = {name.lower() for name in table.types}
            new = {name: kind for name, kind in types.items() if name.lower() not in known}
            if new:
                catalog.add_columns(table, new)
        if keys:
            catalog.add_partitions(table, self._partitions(rows))

    def _partitions(self, rows: DataFrame) -> list[Partition]:
        """The partitions that Spark wrote: their folders are named as it names them."""
        jvm: Any = rows.sparkSession._jvm
        utils = jvm.org.apache.spark.sql.catalyst.catalog.ExternalCatalogUtils
        columns = [fields.column((name,)).cast("string") for name in self._partition_keys]
        partitions = []
        for row in rows.select(*columns).distinct().collect():
            folders = [
                utils.getPartitionPathString(name, value)
                for name, value in zip(self._partition_keys, row, strict=True)
            ]
            values = tuple(utils.DEFAULT_PARTITION_NAME() if value in (None, "") else value for value in row)
            partitions.append(Partition(values, f"{self._path}/{'/'.join(folders)}/"))
        return partitions


def table_sink(context: Any, database: str, name: str, options: Mapping[str, Any]) -> DataSink:
    """A sink for the place and the format of a table. Raises ValueError, NotReproduced."""
    refuse_unknown("additional option", options, _SINK_OPTIONS - {"path"})
    table = DataCatalog().table(database, name)
    if table.partition_keys and not options.get("partitionKeys"):
        raise ValueError(
            f"{database}.{name} is partitioned: pass additional_options={{'partitionKeys': "
            f"{list(table.partition_keys)}}}, or its files lie outside of all partitions"
        )
    location = re.sub(r"^s3[an]://", "s3://", table.location)
    sink = DataSink(context, "s3", table.format, {**options, "path": location})
    sink.setCatalogInfo(database, name)
    if table.format == "csv":
        delimiter = table.serde_parameters.get("separatorChar") or table.serde_parameters.get("field.delim")
        has_header = table.parameters.get("skip.header.line.count") == "1"
        sink.setFormat("csv", separator=delimiter or ",", writeHeader=has_header)
    return sink
