"""A JVM that served a successful run serves the next one, which cannot tell; no other JVM is used again."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from local_aws.glue.jvms import IDLE_VARIABLE, JvmPool
from local_aws.glue.runner import CONF_VARIABLE
from local_aws.server import LocalAws, running_server
from local_aws.testing import GlueBench, spark_jvms

SHOW = """
import json, os, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
jvm, target = spark._jvm, sys.argv[sys.argv.index("--TARGET_BUCKET") + 1]
log = jvm.org.apache.logging.log4j.LogManager.getRootLogger()
spark.read.text(f"s3://{target}/scripts/").count()
print(json.dumps({
    "jvm": jvm.java.lang.ProcessHandle.current().pid(),
    "left": jvm.java.lang.System.getProperty("spark.left.behind"),
    "partitions": spark.conf.get("spark.sql.shuffle.partitions"),
    "log level": log.getLevel().toString(),
    "views": [table.name for table in spark.catalog.listTables()],
    "file": spark.read.text(f"s3://{target}/scripts/which.txt").first().value,
}))
"""
LEAVE = """
jvm.java.lang.System.setProperty("spark.left.behind", "yes")
spark.sparkContext.setLogLevel("INFO")
spark.range(1).createOrReplaceTempView("left_behind")
spark.range(3).cache().count()
if "--RAISE" in sys.argv:
    raise ValueError("no")
if "--DIE" in sys.argv:
    jvm.java.lang.Runtime.getRuntime().halt(7)
"""

# Whether a file of a jar is found, which the run adds when told so.
JAR = """
import json, os, sys, zipfile
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
if "--JAR" in sys.argv:
    with zipfile.ZipFile("added.jar", "w") as jar:
        jar.writestr("added.txt", "from the jar")
    spark.sql(f"ADD JAR '{os.path.abspath('added.jar')}'")
    spark.range(1).repartition(1).collect()
loader = spark._jvm.java.lang.Thread.currentThread().getContextClassLoader()
print(json.dumps({
    "jvm": spark._jvm.java.lang.ProcessHandle.current().pid(),
    "found": loader.getResource("added.txt") is not None,
}))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    """A server of its own, as another test's run would take the idle JVM, and with settings for all runs."""
    settings = {CONF_VARIABLE: "spark.sql.shuffle.partitions=11 --conf spark.ui.enabled=false"}
    with mock.patch.dict(os.environ, settings), running_server(tmp_path_factory.mktemp("jvms")) as aws:
        yield aws


@pytest.fixture(scope="module")
def bench(server: LocalAws) -> GlueBench:
    bench = GlueBench(server, "jvms")
    bench.create_job("show", SHOW + LEAVE)
    bench.s3.put_object(Bucket=bench.target, Key="scripts/which.txt", Body=b"first job")
    return bench


def shown(bench: GlueBench, job: str = "show", **arguments: str) -> dict[str, object]:
    run = bench.succeed(job, **arguments)
    return dict(json.loads(bench.output(job, run["Id"])[-1]))


def test_the_next_run_finds_a_warm_jvm_and_nothing_of_the_run_before(bench: GlueBench) -> None:
    first = shown(bench, conf="spark.sql.shuffle.partitions=7")
    assert first["partitions"] == "7"
    second = shown(bench)
    assert second == {**first, "partitions": "11"}
    assert (second["left"], second["log level"], second["views"]) == (None, "WARN", [])


EFFORT = re.compile(
    r"Spark's JVM used (\S+) s of CPU; it spent (\S+) s on compiling code and (\S+) s on coll"
)


def test_the_log_tells_what_this_run_cost_its_jvm(bench: GlueBench) -> None:
    own_jvm = {"conf": "spark.driver.memory=1400m"}
    told = []
    for _ in ("cold", "warm"):
        lines = bench.output("show", bench.succeed("show", **own_jvm)["Id"], "error")
        (match,) = [match for line in lines if (match := EFFORT.search(line))]
        told.append([float(seconds) for seconds in match.groups()])
    (cold_cpu, cold_compiling, _), (warm_cpu, warm_compiling, _) = told
    assert cold_cpu > warm_cpu > 0
    assert cold_compiling > warm_compiling >= 0, "the warm run's share of what its JVM has spent so far"


def test_a_jar_that_a_run_added_is_not_there_for_the_next(bench: GlueBench) -> None:
    bench.create_job("jars", JAR)
    first, second = shown(bench, "jars", JAR="yes"), shown(bench, "jars")
    assert (first["found"], second["found"]) == (True, False)
    assert first["jvm"] == second["jvm"]


def test_another_job_reads_anew_in_the_same_jvm(bench: GlueBench) -> None:
    before = shown(bench)
    bench.create_job("other", SHOW)
    bench.s3.put_object(Bucket=bench.target, Key="scripts/which.txt", Body=b"other job")
    other = shown(bench, "other")
    assert other == {**before, "file": "other job"}


def test_the_log_of_a_run_holds_its_own_lines_only(bench: GlueBench) -> None:
    bench.create_job("warns", "from pyspark import SparkContext\n" + _warning("one"))
    bench.succeed("warns")
    bench.upload_script("warns", "from pyspark import SparkContext\n" + _warning("two"))
    lines = bench.output("warns", bench.succeed("warns")["Id"], "error")
    assert any("two" in line for line in lines)
    assert not any("one" in line for line in lines)


def _warning(text: str) -> str:
    return f"""
context = SparkContext.getOrCreate()
context._jvm.org.apache.logging.log4j.LogManager.getLogger("job").warn("warning {text}")
"""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"RAISE": "yes"}, "ValueError: no"), ({"DIE": "yes"}, "Spark's JVM ended with exit code 7")],
)
def test_the_jvm_of_a_run_that_did_not_succeed_is_not_used_again(
    server: LocalAws, bench: GlueBench, arguments: dict[str, str], message: str
) -> None:
    before = shown(bench)
    failed = bench.run("show", **arguments)
    assert failed["JobRunState"] == "FAILED"
    assert message in failed["ErrorMessage"]
    assert spark_jvms(server) == []
    assert shown(bench)["jvm"] != before["jvm"]


def test_a_job_that_needs_another_jvm_gets_one(server: LocalAws, bench: GlueBench) -> None:
    before = shown(bench)
    larger = shown(bench, conf="spark.driver.memory=1500m")
    assert larger["jvm"] != before["jvm"]
    assert [jvm.pid for jvm in spark_jvms(server)] == [larger["jvm"]], "one idle JVM is enough"


def test_an_idle_jvm_ends_with_its_time_and_with_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IDLE_VARIABLE, "1.5")
    with running_server(tmp_path) as aws:
        bench = GlueBench(aws, "idle")
        bench.create_job("nothing", "pass")
        bench.succeed("nothing")
        (jvm,) = spark_jvms(aws)
        deadline = time.monotonic() + 10
        while jvm.is_running() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not jvm.is_running()
        bench.succeed("nothing")
        (jvm,) = spark_jvms(aws)
    assert not jvm.is_running()


def test_a_pool_may_keep_no_jvm(tmp_path: Path) -> None:
    pool = JvmPool(tmp_path / "jvms", idle_seconds=0)
    jvm = pool.take({"spark.driver.memory": "256m"}, {"PATH": ""})
    assert jvm.process.poll() is None
    pool.give_back(jvm)
    assert jvm.process.poll() is not None
    assert not jvm.folder.exists()
