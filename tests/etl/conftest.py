"""One Spark session for all tests of the ETL script, on a machine whose clock is far from UTC."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pyspark.sql import SparkSession

from local_aws.glue.spark import s3_on_folders
from local_aws.java import java_home
from tests.etl.workbench import LAKE, RAW, Workbench

# Hadoop starts a `chmod` for each file and folder that it makes, and an `ls` for each that it lists: most of
# the time of a small run.
QUIET_FILES = """
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;

public class QuietFiles extends org.apache.hadoop.fs.RawLocalFileSystem {
    public void setPermission(Path path, FsPermission permission) {}

    public FileStatus getFileStatus(Path path) throws java.io.IOException {
        return withoutPermission(super.getFileStatus(path));
    }

    public FileStatus[] listStatus(Path path) throws java.io.IOException {
        FileStatus[] found = super.listStatus(path);
        for (int i = 0; i < found.length; i++) found[i] = withoutPermission(found[i]);
        return found;
    }

    private FileStatus withoutPermission(FileStatus file) {
        return new FileStatus(file.getLen(), file.isDirectory(), file.getReplication(), file.getBlockSize(),
            file.getModificationTime(), file.getPath());
    }
}
"""


@pytest.fixture(scope="session")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("buckets")


@pytest.fixture(scope="session")
def spark(buckets: Path) -> Iterator[SparkSession]:
    """Spark as small as the data: a few partitions, no UI."""
    builder = SparkSession.builder.master("local[2]").appName("capstone-etl-tests")
    settings = {
        **s3_on_folders({name: buckets / name for name in (RAW, LAKE)}),
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "2g",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # many small plans
        "spark.sql.warehouse.dir": str(buckets / "warehouse"),
        "spark.log.level": "ERROR",
        "spark.ui.showConsoleProgress": "false",
        # Plans of a few rows are interpreted faster than compiled. The jobs of the embedded AWS compile them.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    # The JVM and the context take over what they find at their start.
    environment = {
        "JAVA_HOME": java_home(),
        "PYSPARK_PYTHON": sys.executable,
        "TZ": "Australia/Lord_Howe",
    }
    with mock.patch.dict(os.environ, environment):
        session = builder.getOrCreate()
    serve_quietly(session)
    yield session
    session.stop()


def serve_quietly(session: SparkSession) -> None:
    """Have the buckets' file systems, which Hadoop keeps once they are made, be of the class above."""
    jvm: Any = session._jvm
    compiler = jvm.org.codehaus.janino.SimpleCompiler()
    compiler.cook(QUIET_FILES)
    configuration = session._jsc.hadoopConfiguration()
    configuration.setClassLoader(compiler.getClassLoader())
    configuration.set("fs.rawfile.impl", "QuietFiles")
    for bucket in (RAW, LAKE):
        jvm.org.apache.hadoop.fs.Path(f"s3://{bucket}").getFileSystem(configuration)


@pytest.fixture
def workbench(spark: SparkSession, buckets: Path) -> Workbench:
    return Workbench(spark, buckets)
