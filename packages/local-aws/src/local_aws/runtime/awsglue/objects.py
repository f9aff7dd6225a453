"""S3 objects as the job sees them, through Hadoop's FileSystem, whichever serves s3:// in the session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from py4j.protocol import Py4JJavaError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

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
    jvm: Any = spark._jvm
    configuration = spark.sparkContext._jsc.hadoopConfiguration()
    path = jvm.org.apache.hadoop.fs.Path(uri)
    try:
        place = path.getFileSystem(configuration).resolvePath(path)  # A folder, when buckets are folders.
        files = place.getFileSystem(configuration).listFiles(place, recurse)
        statuses = jvm.org.apache.hadoop.util.functional.RemoteIterators.toList(files)
    except Py4JJavaError as error:
        if error.java_exception.getClass().getName() != "java.io.FileNotFoundException":
            raise
        return []
    if statuses.isEmpty():
        return []
    values = (_texts(jvm, statuses, getter) for getter in ("getPath", "getModificationTime", "getLen"))
    base = place.toString()
    found = (
        SourceObject(path.toString() + file.removeprefix(base), int(milliseconds) * 1_000_000, int(size))
        for file, milliseconds, size in zip(*values, strict=True)
        if not _HIDDEN.search(file.removeprefix(base))
    )
    return sorted(found)


def _texts(jvm: Any, objects: Any, getter: str) -> list[str]:
    """The value of a getter for each of a Java collection's objects: one by one it would take seconds."""
    collections = jvm.org.apache.commons.collections
    for method in (getter, "toString"):
        call = collections.functors.InvokerTransformer.getInstance(method)
        objects = collections.CollectionUtils.collect(objects, call)
    return list(jvm.java.lang.String.join("\0", objects).split("\0"))
