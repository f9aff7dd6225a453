"""`DynamicFrame`, as far as it carries raw lines: format "csv" with a separator that cannot occur.

Each line of each new object comes in the column `col0`, beside the URI of its object. What Glue's reader
cannot read is an error here, too; everything else that its readers can do is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pyspark.sql import DataFrame

from .bookmarks import Source
from .exclusions import excludes
from .lines import read_lines
from .objects import SourceObject, list_objects

if TYPE_CHECKING:
    from .context import GlueContext


class NotReproduced(Exception):
    """The real awsglue may be able to do this; this small one is not, and says so instead of guessing."""


class DynamicFrame:
    """Objects to be read, in Glue's wrapping."""

    def __init__(
        self,
        objects: list[SourceObject],
        source_column: str | None,
        glue_ctx: GlueContext,
        name: str = "",
    ) -> None:
        self._objects = objects
        self._source_column = source_column
        self.glue_ctx = glue_ctx
        self.name = name

    def toDF(self) -> DataFrame:
        """The Spark DataFrame, without columns when there is no object. Raises Py4JJavaError as Glue does."""
        return read_lines(self.glue_ctx.spark_session, self._objects, self._source_column)

    def count(self) -> int:
        """The number of rows."""
        return self.toDF().count()


class DynamicFrameReader:
    """What `GlueContext.create_dynamic_frame` is."""

    def __init__(self, glue_context: GlueContext) -> None:
        self._glue_context = glue_context

    def from_options(
        self,
        connection_type: str,
        connection_options: Mapping[str, Any] | None = None,
        format: str | None = None,
        format_options: Mapping[str, Any] | None = None,
        transformation_ctx: str = "",
        push_down_predicate: str = "",
        **kwargs: Any,
    ) -> DynamicFrame:
        """Read the objects of an S3 source that are new to the bookmark of `transformation_ctx`.

        Without a transformation_ctx, or in a job without a bookmark, every object is read.
        """
        return self._glue_context.create_dynamic_frame_from_options(
            connection_type,
            connection_options,
            format,
            format_options,
            transformation_ctx,
            push_down_predicate,
            **kwargs,
        )


def read_raw_lines(
    glue_context: GlueContext,
    connection_type: str,
    connection_options: Mapping[str, Any],
    format: str | None,
    format_options: Mapping[str, Any],
    transformation_ctx: str,
    others: Mapping[str, Any],
) -> DynamicFrame:
    """The frame for `from_options`. Raises NotReproduced for anything but raw lines from S3."""
    _require("connection_type", connection_type, "s3")
    _require("format", format, "csv")
    _refuse_unknown(
        "connection option", connection_options, {"paths", "recurse", "exclusions", "groupFiles", "groupSize"}
    )
    _refuse_unknown(
        "format option", format_options, {"separator", "quoteChar", "withHeader", "attachFilename"}
    )
    _require("format option separator", format_options.get("separator", ","), "\x01")
    _require("format option quoteChar", format_options.get("quoteChar", '"'), -1)
    _require("format option withHeader", format_options.get("withHeader", False), False)
    _refuse_unknown("argument", {name: value for name, value in others.items() if value}, set())
    paths = connection_options.get("paths")
    if not isinstance(paths, list) or not paths or not all(str(path).startswith("s3://") for path in paths):
        raise NotReproduced(f"connection option paths must be a list of s3:// URIs, not {paths!r}")

    spark = glue_context.spark_session
    recurse = connection_options.get("recurse", False) in (True, "true")
    listed = {item.uri: item for path in paths for item in list_objects(spark, path, recurse)}
    is_excluded = excludes(connection_options.get("exclusions", "[]"))
    objects = [item for item in listed.values() if not is_excluded(item.uri)]
    bookmark = glue_context._bookmark
    if bookmark is not None and transformation_ctx:
        properties = json.dumps([dict(connection_options), dict(format_options)], sort_keys=True)
        objects = bookmark.unprocessed(Source(transformation_ctx, properties), objects)
    return DynamicFrame(objects, format_options.get("attachFilename"), glue_context, transformation_ctx)


def _require(what: str, value: object, supported: object) -> None:
    if value != supported or isinstance(value, bool) != isinstance(supported, bool):
        raise NotReproduced(f"{what}={value!r}: only {supported!r} is reproduced outside AWS Glue")


def _refuse_unknown(kind: str, given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise NotReproduced(f"{kind} {', '.join(unknown)} is not reproduced outside AWS Glue")
