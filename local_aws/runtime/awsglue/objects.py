"""S3 objects as the job sees them: files below the folder that the session maps a bucket onto."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class BucketNotMapped(Exception):
    """The Spark session knows no folder for a bucket."""


class SourceObject(NamedTuple):
    """One object: its s3:// URI, when it was last modified (ns since 1970), the file that stands for it."""

    uri: str
    modified_ns: int
    path: Path


def list_objects(spark: SparkSession, uri: str, recurse: bool) -> list[SourceObject]:
    """The objects at or below an s3:// path, by URI; none where nothing lies there.

    As Hadoop does, leaves out whatever has a component that starts with `_` or `.` below that path.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    root = _folder_of(spark, bucket)
    start = root / prefix
    base = f"s3://{bucket}/"
    if start.is_file():
        return [SourceObject(base + prefix, start.stat().st_mtime_ns, start)]
    clean = prefix.strip("/")
    found = _walk(start, base + (f"{clean}/" if clean else ""), recurse)
    return sorted(found)


def _walk(folder: Path | str, uri: str, recurse: bool) -> Iterator[SourceObject]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.name.startswith(("_", ".")):
                continue
            if entry.is_file():
                yield SourceObject(uri + entry.name, entry.stat().st_mtime_ns, Path(entry.path))
            elif recurse:
                yield from _walk(entry.path, f"{uri}{entry.name}/", recurse)


def _folder_of(spark: SparkSession, bucket: str) -> Path:
    setting = f"fs.viewfs.mounttable.{bucket}.linkFallback"
    value = spark.sparkContext._jsc.hadoopConfiguration().get(setting)
    if value is None:
        raise BucketNotMapped(
            f"Bucket {bucket} does not exist, or this Spark session maps it onto no folder. In a job, "
            "name the bucket in a job argument; in a test, start the session with the settings of "
            "local_aws.glue.spark.s3_on_folders(...)."
        )
    return Path(unquote(urlsplit(value).path))
