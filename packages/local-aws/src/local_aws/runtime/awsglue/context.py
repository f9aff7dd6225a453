"""`GlueContext`: the way from a Spark context to dynamic frames, and from them to S3 and the catalog."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from .bookmarks import RunBookmark
from .dynamicframe import DynamicFrame
from .refusals import NotReproduced, refuse_unknown, refusing
from .sinks import DataSink, table_sink
from .sources import S3Source, TableSource

_OF_SPARK = ("createDataFrame", "range", "read", "readStream", "sql", "table", "udf")
"""Of SQLContext, which Glue's context is."""

_INSTEAD = {
    "create_data_frame": "create_dynamic_frame... .toDF(), or spark.read",
    "create_data_frame_from_catalog": "create_dynamic_frame.from_catalog(...).toDF()",
    "create_data_frame_from_options": "create_dynamic_frame.from_options(...).toDF(), or spark.read",
    "create_dynamic_frame_from_rdd": "DynamicFrame.fromDF(spark.createDataFrame(rdd), glueContext, name)",
    "create_sample_dynamic_frame_from_catalog": "create_dynamic_frame.from_catalog, and toDF().limit(n)",
    "create_sample_dynamic_frame_from_options": "create_dynamic_frame.from_options, and toDF().limit(n)",
    "extract_jdbc_conf": "a job argument; there are no JDBC connections here",
    "forEachBatch": "a job over what is new to its bookmark; there are no streams here",
    "getSampleStreamingDynamicFrame": "a job over what is new to its bookmark; there are no streams here",
    "getSource": "create_dynamic_frame.from_options",
    "getStreamingSource": "a job over what is new to its bookmark; there are no streams here",
    "get_catalog_schema_as_spark_schema": "create_dynamic_frame.from_catalog(...).schema()",
    "purge_table": "purge_s3_path on the table's location, and boto3's batch_delete_partition",
    "start_transaction": "tables that are not governed",
    "commit_transaction": "tables that are not governed",
    "cancel_transaction": "tables that are not governed",
    "transition_s3_path": "a lifecycle rule of the bucket",
    "transition_table": "a lifecycle rule of the bucket",
    "write_data_frame": "DynamicFrame.fromDF and write_dynamic_frame, or DataFrame.write",
    "write_data_frame_from_catalog": "DynamicFrame.fromDF and write_dynamic_frame.from_catalog",
    "write_dynamic_frame_from_jdbc_conf": "write_dynamic_frame.from_options to S3",
    "write_from_jdbc_conf": "write_dynamic_frame.from_options to S3",
    "add_ingestion_time_columns": "pyspark.sql.functions.current_timestamp and date parts of it",
}


class GlueContext:
    """Reads under the job's bookmark; `spark_session` is the Spark session of the given context."""

    def __init__(self, sparkContext: SparkContext | SparkSession | None = None, **options: Any) -> None:
        if isinstance(sparkContext, SparkSession):
            self.spark_session = sparkContext
        else:
            self.spark_session = SparkSession(sparkContext or SparkContext.getOrCreate())
        self.sparkSession = self.spark_session
        self.create_dynamic_frame = DynamicFrameReader(self)
        self.write_dynamic_frame = DynamicFrameWriter(self)
        self._bookmark: RunBookmark | None = None
        self._logger = GlueLogger()

    def create_dynamic_frame_from_options(
        self,
        connection_type: str,
        connection_options: Mapping[str, Any] | None = None,
        format: str | None = None,
        format_options: Mapping[str, Any] | None = None,
        transformation_ctx: str = "",
        push_down_predicate: str = "",
        **kwargs: Any,
    ) -> DynamicFrame:
        """As `create_dynamic_frame.from_options`."""
        given = {"push_down_predicate": push_down_predicate, **kwargs}
        refuse_unknown("argument", {name: value for name, value in given.items() if value}, set())
        source = S3Source(
            self.spark_session, connection_type, connection_options or {}, format, format_options or {}
        )
        source.under(self._bookmark, transformation_ctx)
        return DynamicFrame(source.content, self, transformation_ctx)

    def create_dynamic_frame_from_catalog(
        self,
        database: str | None = None,
        table_name: str | None = None,
        redshift_tmp_dir: str = "",
        transformation_ctx: str = "",
        push_down_predicate: str = "",
        additional_options: Mapping[str, Any] | None = None,
        catalog_id: str | None = None,
        **kwargs: Any,
    ) -> DynamicFrame:
        """As `create_dynamic_frame.from_catalog`."""
        database, table_name = _named(database, table_name, kwargs)
        source = TableSource(
            self.spark_session, database, table_name, push_down_predicate, additional_options or {}
        )
        source.under(self._bookmark, transformation_ctx)
        return DynamicFrame(source.content, self, table_name)

    def getSink(
        self, connection_type: str, format: str | None = None, transformation_ctx: str = "", **options: Any
    ) -> DataSink:
        """A sink to S3. Raises NotReproduced for options that are not reproduced."""
        return DataSink(self, connection_type, format, options)

    def write_dynamic_frame_from_options(
        self,
        frame: DynamicFrame,
        connection_type: str,
        connection_options: Mapping[str, Any] | None = None,
        format: str | None = None,
        format_options: Mapping[str, Any] | None = None,
        transformation_ctx: str = "",
    ) -> DynamicFrame:
        """As `write_dynamic_frame.from_options`."""
        sink = DataSink(self, connection_type, format, connection_options or {})
        if format and format_options:
            sink.setFormat(format, **format_options)
        return sink.write(frame)

    write_from_options = write_dynamic_frame_from_options

    def write_dynamic_frame_from_catalog(
        self,
        frame: DynamicFrame,
        database: str | None = None,
        table_name: str | None = None,
        redshift_tmp_dir: str = "",
        transformation_ctx: str = "",
        additional_options: Mapping[str, Any] | None = None,
        catalog_id: str | None = None,
        **kwargs: Any,
    ) -> DynamicFrame:
        """As `write_dynamic_frame.from_catalog`."""
        database, table_name = _named(database, table_name, kwargs)
        return table_sink(self, database, table_name, additional_options or {}).write(frame)

    def purge_s3_path(
        self, s3_path: str, options: Mapping[str, Any] | None = None, transformation_ctx: str = ""
    ) -> None:
        """Delete the objects below a path that are older than `retentionPeriod` hours, by default seven days.

        Objects of the storage classes in `excludeStorageClasses` stay.
        """
        import boto3  # Now, because most runs do without, and it takes a while.

        options = options or {}
        refuse_unknown("option", options, {"retentionPeriod", "excludeStorageClasses"})
        location = re.fullmatch(r"s3[an]?://([^/]+)/(.*)", s3_path)
        if location is None:
            raise ValueError(f"{s3_path!r} is no path of the form s3://bucket/prefix/")
        bucket, prefix = location.groups()
        hours = float(options.get("retentionPeriod", 168))
        youngest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
        kept_classes = set(options.get("excludeStorageClasses") or ())
        s3: Any = boto3.client("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            doomed = [
                {"Key": item["Key"]}
                for item in page.get("Contents", [])
                if item["LastModified"] <= youngest and item.get("StorageClass") not in kept_classes
            ]
            if doomed:
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed, "Quiet": True})
                if answer.get("Errors"):
                    raise RuntimeError(f"Objects below {s3_path} were not deleted: {answer['Errors']}")

    def get_logger(self) -> GlueLogger:
        """A logger whose lines are in the run's log."""
        return self._logger

    def __getattr__(self, name: str) -> Any:
        if name in _OF_SPARK:
            return getattr(self.spark_session, name)
        return refusing("GlueContext", _INSTEAD)(name)


class DynamicFrameReader:
    """What `GlueContext.create_dynamic_frame` is."""

    def __init__(self, glue_context: GlueContext) -> None:
        self.from_options: Callable[..., DynamicFrame] = glue_context.create_dynamic_frame_from_options
        """Read the objects of an S3 source that are new to the bookmark of `transformation_ctx`.

        Without a transformation_ctx, or in a job without a bookmark, every object is read.
        """
        self.from_catalog: Callable[..., DynamicFrame] = glue_context.create_dynamic_frame_from_catalog
        """The same for a table's objects, of the partitions for which `push_down_predicate` is true."""

    def __getattr__(self, name: str) -> Any:
        instead = {"from_rdd": _INSTEAD["create_dynamic_frame_from_rdd"]}
        return refusing("create_dynamic_frame", instead)(name)


class DynamicFrameWriter:
    """What `GlueContext.write_dynamic_frame` is."""

    def __init__(self, glue_context: GlueContext) -> None:
        self.from_options: Callable[..., DynamicFrame] = glue_context.write_dynamic_frame_from_options
        """Write a frame to S3."""
        self.from_catalog: Callable[..., DynamicFrame] = glue_context.write_dynamic_frame_from_catalog
        """Write a frame to the place of a table, in its format."""

    def __getattr__(self, name: str) -> Any:
        instead = {"from_jdbc_conf": _INSTEAD["write_from_jdbc_conf"]}
        return refusing("write_dynamic_frame", instead)(name)


class GlueLogger:
    """Writes lines with a time and a level to the standard error, which is in the run's log."""

    def debug(self, message: str) -> None:
        """Nothing: Glue's level is info."""

    def info(self, message: str) -> None:
        """A line of this level."""
        self._write("INFO", message)

    def warn(self, message: str) -> None:
        """A line of this level."""
        self._write("WARN", message)

    warning = warn

    def error(self, message: str) -> None:
        """A line of this level."""
        self._write("ERROR", message)

    def _write(self, level: str, message: str) -> None:
        now = datetime.datetime.now(datetime.UTC)
        print(f"{now:%Y-%m-%d %H:%M:%S} {level} GlueLogger: {message}", file=sys.stderr, flush=True)


def _named(database: str | None, table_name: str | None, others: Mapping[str, Any]) -> tuple[str, str]:
    """The names of a table's database and of the table. Raises ValueError, NotReproduced."""
    refuse_unknown("argument", {name: value for name, value in others.items() if value}, {"name_space"})
    namespace = others.get("name_space")
    if (database is None) == (namespace is None):
        raise ValueError("Pass database (or name_space, its old name), and one of them only")
    if table_name is None:
        raise ValueError("table_name is missing")
    return str(database or namespace), table_name


__all__ = ["DataSink", "DynamicFrame", "GlueContext", "NotReproduced"]
