"""What every test module may use: one embedded AWS for the whole test session, and a Spark session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark import SparkContext
from pyspark.sql import SparkSession

from in_process import Run, runner
from local_aws import LocalAws, running_server, runtime
from local_aws.java import java_home


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A running embedded AWS with empty state, shared by all tests: name your resources apart."""
    with running_server(tmp_path_factory.mktemp("local-aws")) as running:
        yield running


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs Athena's statements in this process."""
    return runner(tmp_path_factory.mktemp("athena"))


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    """The session that other tests may have started in this process, else one of our own."""
    running = SparkContext._active_spark_context is not None
    os.environ["JAVA_HOME"] = java_home()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    # Spark's Python workers import awsglue, too.
    builder = builder.config("spark.executorEnv.PYTHONPATH", str(Path(runtime.__file__).parent))
    session = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    yield session
    if not running:
        session.stop()
