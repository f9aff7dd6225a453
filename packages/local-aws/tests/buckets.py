"""Folders that stand for buckets in a Spark session, so that a test can set the times of objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pyspark.sql import SparkSession

_SCHEME = "rawfile"
"""Local files without Hadoop's checksums, or a `.crc` file would lie beside every object. A scheme of its
own, because parts of Hadoop insist that `file:` has them."""


def map_buckets(session: SparkSession, buckets: Mapping[str, Path]) -> None:
    """Let s3://bucket/key be the file folder/key in this session, for each bucket and its folder."""
    configuration = session.sparkContext._jsc.hadoopConfiguration()
    configuration.set(f"fs.{_SCHEME}.impl", "org.apache.hadoop.fs.RawLocalFileSystem")
    configuration.set("fs.s3.impl", "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme")
    for bucket, folder in buckets.items():
        folder.mkdir(parents=True, exist_ok=True)
        link = folder.resolve().as_uri().replace("file:", f"{_SCHEME}:", 1)
        configuration.set(f"fs.viewfs.mounttable.{bucket}.linkFallback", link)
