"""S3 objects as the job sees them, through Hadoop's FileSystem, whichever serves s3:// in the session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from py4j.protocol import Py4JJavaError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_STATUS = re.compile(
    r"\{path=(.*?); isDirectory=false; length=(\d+); .*? modification_time=(\d+); ", re.DOTALL
)
_HIDDEN = re.compile(r"(?:^|/)[_.]")


class SourceObject(NamedTuple):
    """One object: its s3:// URI, when it was last modified (ns since 1970), its size in bytes."""

    uri: str
    modified_ns: int
    size: int


def list_objects(spark: SparkSession, uri: str, recurse: bool) -> list[SourceObject]:
    """The objects at or below an s3:// path, by URI; none where nothing lies there.

    As Hadoop does, leaves out whatever has a component that starts with `_` or `.` below that path.
    """
    hadoop: Any = spark._jvm.org.apache.hadoop  # type: ignore[union-attr]
    path = hadoop.fs.Path(uri)
    try:
        files = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()).listFiles(path, recurse)
        statuses = hadoop.util.functional.RemoteIterators.toList(files)
    except Py4JJavaError as error:
        if error.java_exception.getClass().getName() != "java.io.FileNotFoundException":
            raise
        return []
    # As one text: to ask for each value of each of thousands of objects would take seconds.
    found = [
        SourceObject(uri, int(milliseconds) * 1_000_000, int(size))
        for uri, size, milliseconds in _STATUS.findall(statuses.toString())
    ]
    assert len(found) == statuses.size(), (
        f"an object's name below {uri} looks like Hadoop's description of one"
    )
    base = path.toString()
    return sorted(item for item in found if not _HIDDEN.search(item.uri.removeprefix(base)))
