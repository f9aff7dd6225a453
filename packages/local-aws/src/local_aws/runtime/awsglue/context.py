"""`GlueContext`: the way from a Spark context to dynamic frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from .bookmarks import RunBookmark
from .dynamicframe import DynamicFrame, DynamicFrameReader, read_raw_lines


class GlueContext:
    """Reads from S3 under the job's bookmark; `spark_session` is the Spark session of the given context."""

    def __init__(self, sparkContext: SparkContext, **options: Any) -> None:
        self.spark_session: SparkSession = SparkSession(sparkContext)
        self.create_dynamic_frame = DynamicFrameReader(self)
        self._bookmark: RunBookmark | None = None

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
        frame = read_raw_lines(
            self,
            connection_type,
            connection_options or {},
            format,
            format_options or {},
            transformation_ctx,
            {"push_down_predicate": push_down_predicate, **kwargs},
        )
        return frame
