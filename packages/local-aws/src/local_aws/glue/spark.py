"""Starts Spark's JVM quickly, with s3:// served by Hadoop's S3A connector.

Used by the job runner's driver process, and by tests that want the same Spark (`s3_on_s3a`,
`running_gateway`). Knows nothing about jobs and runs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from local_aws.glue.archive import archive_options
from local_aws.glue.s3a import jar_paths, s3a_jars
from local_aws.java import java_home

GATEWAY_PORT_VARIABLE = "PYSPARK_GATEWAY_PORT"
GATEWAY_SECRET_VARIABLE = "PYSPARK_GATEWAY_SECRET"

_HESITANT_COMPILER = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)
"""Java's optimising compiler at a tenth of its eagerness: it took a third of a short job's time."""

_GATEWAY_TIMEOUT_SECONDS = 60
_S3_SCHEMES = ("s3", "s3a")
_DRIVER_CLASS_PATH = "spark.driver.extraClassPath"

# What spark-class passes as well: Spark reaches into these packages (JavaModuleOptions of Spark 3.5).
_OPENED_PACKAGES = (
    "java.base/java.lang",
    "java.base/java.lang.invoke",
    "java.base/java.lang.reflect",
    "java.base/java.io",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.base/sun.nio.cs",
    "java.base/sun.security.action",
    "java.base/sun.util.calendar",
    "java.management/sun.management",
    "java.security.jgss/sun.security.krb5",
    "jdk.management/com.sun.management.internal",
)


class SparkDidNotStart(Exception):
    """Spark's JVM ended, or did not answer, before Python could connect to it."""


def spark_home() -> Path:
    """The folder of the installed pyspark package."""
    spec = importlib.util.find_spec("pyspark")
    assert spec is not None and spec.origin is not None, "pyspark is not installed"
    return Path(spec.origin).parent


def spark_jars() -> list[Path]:
    """The class path of jobs."""
    return class_path({_DRIVER_CLASS_PATH: _joined(jar_paths())})


def class_path(settings: Mapping[str, str]) -> list[Path]:
    """Spark's jars, then those that the settings add."""
    added = settings.get(_DRIVER_CLASS_PATH, "").split(os.pathsep)
    return [*sorted((spark_home() / "jars").glob("*.jar")), *(Path(jar) for jar in added if jar)]


def _joined(jars: Iterable[Path]) -> str:
    return os.pathsep.join(map(os.fspath, jars))


def s3_on_s3a(endpoint_url: str, account: str = "000000000000") -> dict[str, str]:
    """Spark settings under which s3:// is Hadoop's S3A connector, as on Glue, against this endpoint.

    `account` is the access key. Raises S3ANotInstalled when the jars are not there and cannot be downloaded.
    """
    jars = _joined(s3a_jars())
    options = {
        "endpoint": endpoint_url,
        "path.style.access": "true",
        "connection.ssl.enabled": "false",
        "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "access.key": account,
        "secret.key": "test",
        # Nothing is throttled or far away here: what fails twice goes on failing.
        "attempts.maximum": "2",
        "retry.limit": "2",
        "retry.interval": "50ms",
        "buffer.dir": "${java.io.tmpdir}/s3a",
        "paging.maximum": "1000",  # S3 gives no more; the embedded one would.
        "directory.marker.retention": "keep",  # The default of Glue's Hadoop, 3.4; it saves many requests.
    }
    return {
        _DRIVER_CLASS_PATH: jars,
        "spark.executor.extraClassPath": jars,
        **{
            f"spark.hadoop.fs.{scheme}.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"
            for scheme in _S3_SCHEMES
        },
        **{f"spark.hadoop.fs.s3a.{name}": value for name, value in options.items()},
    }


def java_options(settings: Mapping[str, str]) -> list[str]:
    """JVM options for a driver: ours, and those that Spark's launcher makes of the settings.

    Memory is spark.driver.memory, else a quarter of the machine's, from 1 to 4 GiB.
    """
    memory = settings.get("spark.driver.memory") or _default_memory()
    return [
        f"-Xmx{memory}",
        "-XX:+UseParallelGC",
        *_HESITANT_COMPILER,
        "-Duser.timezone=UTC",  # As on Glue.
        *shlex.split(settings.get("spark.driver.extraJavaOptions", "")),
    ]


def _default_memory() -> str:
    mebibytes = psutil.virtual_memory().total // 2**20 // 4
    return f"{min(max(mebibytes, 1024), 4096)}m"


def start_jvm(
    settings: Mapping[str, str],
    jars: Sequence[Path],
    java_options: Sequence[str],
    connection_info: Path,
    output: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    working_folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start Spark's JVM for PySpark; it writes where it listens to `connection_info` and ends with its stdin.

    With `working_folder` it is a process group of its own, which works there.

    It is what `spark-submit pyspark-shell` ends up running, without the shell scripts and the extra JVM that
    only work out this command line.
    """
    recording = any(option.startswith("-XX:ArchiveClassesAtExit") for option in java_options)
    log4j = Path(__file__).with_name("log4j2.properties")
    command = [
        os.fspath(Path(java_home()) / "bin" / "java"),
        "-cp",
        os.pathsep.join(map(os.fspath, jars)),
        *([] if recording else archive_options(jars)),
        *java_options,
        f"-Dlog4j2.configurationFile={log4j.as_uri()}",
        "-Djdk.reflect.useDirectMethodHandle=false",
        "-XX:+IgnoreUnrecognizedVMOptions",
        *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED_PACKAGES),
        "org.apache.spark.deploy.SparkSubmit",
    ]
    for name, value in settings.items():
        command += ["--conf", f"{name}={value}"]
    return subprocess.Popen(
        [*command, "pyspark-shell"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        cwd=working_folder,
        start_new_session=working_folder is not None,
        env={
            **(os.environ if environment is None else environment),
            "SPARK_HOME": os.fspath(spark_home()),
            "JAVA_HOME": java_home(),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_SCALA_VERSION": "2.12",  # Executors in processes of their own are started with it.
            "_PYSPARK_DRIVER_CONN_INFO_PATH": os.fspath(connection_info),
        },
    )


def connect_pyspark(connection_info: Path, is_alive: Callable[[], bool]) -> None:
    """Wait for the JVM and make PySpark in this process use it. Raises SparkDidNotStart."""
    deadline = time.monotonic() + _GATEWAY_TIMEOUT_SECONDS
    while not connection_info.exists():
        if not is_alive():
            raise SparkDidNotStart("Spark's JVM ended before it was ready")
        if time.monotonic() > deadline:
            raise SparkDidNotStart(f"Spark's JVM did not answer within {_GATEWAY_TIMEOUT_SECONDS} s")
        time.sleep(0.01)
    content = connection_info.read_bytes()
    port, length = struct.unpack_from(">ii", content)
    os.environ[GATEWAY_PORT_VARIABLE] = str(port)
    os.environ[GATEWAY_SECRET_VARIABLE] = content[8 : 8 + length].decode()


def renew_jvm(settings: Mapping[str, str]) -> None:
    """Make the JVM that PySpark uses as good as new, with these Spark settings and no others.

    What remains of an earlier run are loaded classes, and what Java made of them. To be called before the
    first SparkContext. Measured with a job that takes in 590,000 lines: 13 s of CPU in a warm JVM, 29 to 34
    in a cold one.
    """
    from pyspark import SparkContext

    SparkContext._ensure_initialized()
    server: Any = SparkContext._gateway.java_gateway_server  # type: ignore[union-attr]
    jvm: Any = SparkContext._jvm
    _forget_objects(server.getGateway())
    system = jvm.java.lang.System
    for name in system.getProperties().stringPropertyNames():
        if name.startswith("spark."):
            system.clearProperty(name)
    for name, value in settings.items():
        system.setProperty(name, value)
    jvm.org.apache.hadoop.fs.FileSystem.closeAll()  # They keep the settings that they were made with.
    jvm.org.apache.hadoop.fs.FileSystem.clearStatistics()
    jvm.org.apache.logging.log4j.core.config.Configurator.reconfigure()


def jvm_overhead() -> dict[str, float]:
    """Seconds for which the JVM that PySpark uses has compiled code and collected garbage so far."""
    from pyspark import SparkContext

    jvm: Any = SparkContext._jvm
    beans = jvm.java.lang.management.ManagementFactory
    collections = [bean.getCollectionTime() for bean in beans.getGarbageCollectorMXBeans()]
    compilation = beans.getCompilationMXBean().getTotalCompilationTime()
    return {"compiling": compilation / 1000, "collecting": sum(collections) / 1000}


def _forget_objects(gateway: Any) -> None:
    """Let the JVM forget what Py4J holds for earlier processes: objects o0, o1 and so on up to this one."""
    bindings = gateway.getBindings()
    first_of_ours = int(gateway._target_id[1:])
    for name in list(bindings):
        if re.fullmatch(r"o\d+", name) and int(name[1:]) < first_of_ours:
            bindings.remove(name)


@contextlib.contextmanager
def running_gateway(settings: Mapping[str, str], options: Sequence[str]) -> Iterator[None]:
    """A JVM with these settings for the PySpark of this process, for the length of a `with` block.

    To be entered before the first SparkSession. Twice as fast as PySpark's own way, for tests.
    """
    with tempfile.TemporaryDirectory(prefix="spark-") as folder:
        connection = Path(folder) / "connection"
        jvm = start_jvm(settings, class_path(settings), options, connection)
        try:
            connect_pyspark(connection, lambda: jvm.poll() is None)
            yield
        finally:
            assert jvm.stdin is not None
            jvm.stdin.close()
            jvm.wait()
