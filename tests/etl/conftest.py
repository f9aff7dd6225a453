"""One S3 and one Spark session on it for all tests of the ETL script, on a machine far from UTC."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import pytest
from pyspark.sql import SparkSession

from local_aws.glue.spark import running_gateway
from tests.etl.s3 import Store, running_store
from tests.etl.workbench import LAKE, RAW, Workbench
from tests.sample import FOR_FEW_ROWS

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "packages/local-aws/src/local_aws/runtime"
SMALL = {
    "spark.master": "local[2]",
    "spark.app.name": "capstone-etl-tests",
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.log.level": "OFF",  # Runs are killed, and would tell so at length.
    "spark.ui.showConsoleProgress": "false",
    **FOR_FEW_ROWS,
}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with running_store(tmp_path_factory.mktemp("s3"), (RAW, LAKE)) as running:
        yield running


@pytest.fixture(scope="session")
def spark(store: Store) -> Iterator[SparkSession]:
    # The JVM and the context take over what they find at their start.
    environment = {
        **store.environment,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, RUNTIME))),  # of Python's workers
        "TZ": "Australia/Lord_Howe",
    }
    with ExitStack() as stack:
        with mock.patch.dict(os.environ, environment):
            stack.enter_context(running_gateway(store.spark_settings | SMALL, ("-Xmx2g", "-XX:+UseSerialGC")))
            session = SparkSession.builder.getOrCreate()
        with mock.patch.dict(os.environ, store.environment):  # for boto3 in the script
            yield session
        session.stop()


@pytest.fixture
def workbench(spark: SparkSession, store: Store, tmp_path: Path) -> Workbench:
    return Workbench(spark, store, tmp_path / "bookmarks.sqlite")
