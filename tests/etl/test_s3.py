"""The store of the ETL's tests: Spark reaches it as it reaches S3 on Glue, and it can go dark at any time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from awsglue.context import GlueContext
from awsglue.objects import list_objects
from py4j.protocol import Py4JJavaError
from pyspark import SparkContext
from pyspark.sql import SparkSession

from local_aws.java import java_home
from tests.etl.s3 import Store, running_store

BUCKET = "store-tests"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("s3"), [BUCKET]) as running:
        yield running


@pytest.fixture(scope="module")
def spark(store: Store) -> Iterator[SparkSession]:
    """The session that other tests may have started in this process, else one of our own."""
    running = SparkContext._active_spark_context is not None
    os.environ.update(JAVA_HOME=java_home(), PYSPARK_PYTHON=sys.executable, SPARK_LOCAL_IP="127.0.0.1")
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    for name, value in store.spark_settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    yield session
    if not running:
        session.stop()


@pytest.fixture(scope="module", autouse=True)
def served(spark: SparkSession, store: Store) -> Iterator[None]:
    """Our store as the session's, whichever it had."""
    configuration = spark.sparkContext._jsc.hadoopConfiguration()
    settings = {name.removeprefix("spark.hadoop."): value for name, value in store.spark_settings.items()}
    before = {name: configuration.get(name) for name in settings}
    for name, value in settings.items():
        configuration.set(name, value)
    yield
    for name, old in before.items():
        configuration.unset(name) if old is None else configuration.set(name, old)


@pytest.fixture(autouse=True)
def clean(store: Store) -> None:
    store.gate.open()
    store.clear(BUCKET)


def write(spark: SparkSession, table: str = "table") -> None:
    rows = spark.range(100).selectExpr("id", "id % 3 AS part")
    rows.coalesce(1).write.mode("append").partitionBy("part").parquet(f"s3://{BUCKET}/{table}")


def test_what_spark_writes_it_reads_and_what_it_asks_for_is_counted(
    spark: SparkSession, store: Store
) -> None:
    write(spark)
    changes = store.gate.count
    assert 6 < changes < store.gate.requests
    assert spark.read.parquet(f"s3://{BUCKET}/table").count() == 100
    assert store.gate.count == changes, "reading changes nothing"


def test_a_store_that_goes_dark_ends_the_write_and_keeps_what_was_written(
    spark: SparkSession, store: Store
) -> None:
    write(spark)
    needed = store.gate.count
    for changes in (0, needed // 2, needed - 1):
        store.clear(BUCKET)
        store.put(f"s3://{BUCKET}/kept", b"kept")
        store.gate.shut_after(changes)
        with pytest.raises(Py4JJavaError, match="403"):
            write(spark)
        assert store.gate.is_dark and store.gate.count == changes
        left = store.objects(BUCKET)
        assert "kept" in left and (len(left) > 1) == (changes > 0)
        store.gate.open()
        write(spark)
        assert spark.read.parquet(f"s3://{BUCKET}/table").count() in (100, 200), (
            "a commit that was all but done"
        )


def test_a_read_fails_in_the_dark_too(spark: SparkSession, store: Store) -> None:
    write(spark)
    store.gate.shut_after(3, only_changes=False)
    with pytest.raises(Py4JJavaError, match="403"):
        spark.read.parquet(f"s3://{BUCKET}/table").count()
    assert (store.gate.requests, store.gate.count) == (3, 0)


def test_nothing_is_renamed_onto_an_object(spark: SparkSession, store: Store) -> None:
    for name in "ab":
        store.put(f"s3://{BUCKET}/{name}", name.encode())
    path: Any = spark._jvm.org.apache.hadoop.fs.Path  # type: ignore[union-attr]
    source, target = path(f"s3://{BUCKET}/a"), path(f"s3://{BUCKET}/b")
    files = source.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    with pytest.raises(Py4JJavaError, match="FileAlreadyExistsException"):
        files.rename(source, target)
    assert store.read(BUCKET) == {"a": b"a", "b": b"b"}


def test_glues_reader_finds_objects_as_they_are_named(spark: SparkSession, store: Store) -> None:
    keys = ["a b.json", "100%25.json", "#1=+ü😀.json", "sub/[x]*.json"]
    for key in [*keys, "folder/", "sub/_hidden/x", ".hidden"]:
        store.put(f"s3://{BUCKET}/in/{key}", b"{}\n")
    store.put(f"s3://{BUCKET}/in/broken.gz", b"no gzip")
    options = {"separator": "\x01", "quoteChar": -1, "withHeader": False, "attachFilename": "source_file"}
    read = GlueContext(spark.sparkContext).create_dynamic_frame.from_options
    source: dict[str, Any] = {"paths": [f"s3://{BUCKET}/in/"], "recurse": True}
    with pytest.raises(Py4JJavaError, match=r"Unable to parse file: broken\.gz"):
        read("s3", source, "csv", options).toDF()
    rows = read("s3", {**source, "exclusions": '["**.gz"]'}, "csv", options).toDF().collect()
    assert {(row.source_file, row.col0) for row in rows} == {
        (f"s3://{BUCKET}/in/{key}", "{}") for key in keys
    }
    (single,) = list_objects(spark, f"s3://{BUCKET}/in/a b.json", recurse=False)
    assert single.modified_ns % 10**9 == 0 and single[::2] == (f"s3://{BUCKET}/in/a b.json", 3)
    assert list_objects(spark, f"s3://{BUCKET}/nothing/", recurse=True) == []
    with pytest.raises(Py4JJavaError, match="UnknownStoreException"):
        list_objects(spark, "s3://no-such-bucket/", recurse=True)


def test_a_test_reads_and_writes_beside_the_gate(store: Store, tmp_path: Path) -> None:
    store.gate.shut_after(0)
    content = {"a b/100%.txt": b"1", "a b/ü=1/+😀": b"2", "folder/": b""}
    for key, body in content.items():
        store.put(f"s3://{BUCKET}/{key}", body)
    assert store.read(BUCKET) == content
    assert store.read(BUCKET, "a b/ü") == {"a b/ü=1/+😀": b"2"}
    store.sync_to_folder(BUCKET, tmp_path)
    assert (tmp_path / "a b" / "ü=1" / "+😀").read_bytes() == b"2"
    listed = store.client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert len({item["LastModified"] for item in listed}) == 3, "as if written seconds apart"
    store.clear(BUCKET)
    assert store.objects(BUCKET) == {}
    assert store.gate.requests == 0
