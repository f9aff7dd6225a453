"""Runs a Glue job's script: a Spark driver process, its JVM, its logs, and how it ended.

One thread a run. Script and Spark talk to S3 over HTTP, so what a run had written when it ended, or was
killed, is there. A run that was active when the server died is ended at the next start (`recover`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.glue.driver import DriverSpec, end_of_process
from local_aws.glue.jvms import JvmPool, SparkJvm, cpu_seconds, family_of, kill_all, kill_group
from local_aws.glue.logs import DEFAULT_PREFIX, LogFollower
from local_aws.glue.runs import RunRecord, RunStore
from local_aws.glue.s3a import S3ANotInstalled
from local_aws.glue.spark import s3_on_s3a
from local_aws.runtime.awsglue.job import BOOKMARKS_VARIABLE

CONF_VARIABLE = "LOCAL_AWS_SPARK_CONF"
"""Spark settings of all runs, in the form of Glue's --conf argument, which comes before them."""

_RUNTIME = Path(__file__).resolve().parents[1] / "runtime"
_POLL_SECONDS = 0.1
_EXIT_TIMEOUT_SECONDS = 20
_WITHOUT_EFFECT = ("--extra-jars", "--extra-files", "--additional-python-modules", "--enable-spark-ui")
"""Arguments of Glue that change what a job can do there; a run says when it was given one."""
_SPARK_VARIABLES = (
    "SPARK_HOME",
    "SPARK_CONF_DIR",
    "SPARK_MASTER",
    "PYSPARK_SUBMIT_ARGS",
    "JAVA_TOOL_OPTIONS",
)

logger = logging.getLogger("local_aws.glue")


class JobCannotRun(Exception):
    """The run cannot begin; the message is its ErrorMessage."""


@dataclass(frozen=True)
class RunRequest:
    """A run that is to be executed."""

    record: RunRecord
    script_location: str
    arguments: dict[str, str]
    """All arguments of the script, merged, in the form {"--NAME": "value"}."""
    timeout_seconds: float

    @property
    def log_prefix(self) -> str:
        return self.arguments.get("--custom-logGroup-prefix") or DEFAULT_PREFIX


class JobRunner:
    """Executes runs and keeps their records true. `folder` holds bookmarks and what runs need."""

    def __init__(
        self,
        folder: Path,
        runs: RunStore,
        endpoint_url: str,
        ended: Callable[[RunRecord, str, str], None] = lambda *_: None,
    ) -> None:
        """`ended` is told of every run's record, end state and message."""
        self._folder = folder
        self._runs = runs
        self._endpoint_url = endpoint_url
        self._ended = ended
        self._jvms = JvmPool(folder / "jvms")
        self._stops: dict[str, threading.Event] = {}

    def start(self, request: RunRequest) -> None:
        """Execute a run in a thread of its own."""
        self._stops[request.record.id] = threading.Event()
        name = f"glue-run-{request.record.id}"
        threading.Thread(target=self.execute, args=(request,), name=name, daemon=True).start()

    def execute(self, request: RunRequest) -> None:
        """Execute a run to its end, which is in the store when this returns."""
        record = request.record
        stop = self._stops.setdefault(record.id, threading.Event())
        try:
            run = _Run(request, self._folder, self._runs, self._aws(record), self._jvms, stop)
            state, message = run.execute()
        except Exception as error:
            logger.exception("Run %s of job %s", record.id, record.job.name)
            state, message = "FAILED", f"The embedded AWS could not run the job: {error!r}"
            self._runs.update(record.id, **_ending(state, message))
        finally:
            del self._stops[record.id]
        logger.info("Run %s of job %s: %s %s", record.id, record.job.name, state, message)
        self._ended(record, state, message)

    def stop(self, run_id: str) -> None:
        """Ask an active run to end; it becomes STOPPED once its processes are gone."""
        stop = self._stops.get(run_id)
        if stop is not None:
            self._runs.update(run_id, JobRunState="STOPPING")
            stop.set()

    def recover(self, leftovers: Iterable[RunRecord]) -> None:
        """End runs that were active when the last server process ended."""
        for record in leftovers:
            run_folder = _run_folder(self._folder, record)
            _kill_recorded_processes(run_folder)
            message = "The embedded AWS ended while the run was active. Start the job again."
            stopping = record.document["JobRunState"] == "STOPPING"
            state = "STOPPED" if stopping else "FAILED"
            self._runs.update(record.id, **_ending(state, message))
            shutil.rmtree(run_folder, ignore_errors=True)
            self._ended(record, state, message)

    def bookmarks_path(self, account: str, region: str) -> Path:
        """The file of all bookmarks of an account and region."""
        return _bookmarks_path(self._folder, account, region)

    def _aws(self, record: RunRecord) -> _Aws:
        return _Aws(self._endpoint_url, record.job.account, record.job.region)


class _Aws:
    """The embedded AWS as a run's account and region sees it."""

    def __init__(self, endpoint_url: str, account: str, region: str) -> None:
        self.environment = {
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_ACCESS_KEY_ID": account,  # An account's id is a valid access key of it in the embedded AWS.
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": region,
            "AWS_REGION": region,
        }
        session = boto3.Session(account, "test", region_name=region)
        config = Config(
            proxies={},
            max_pool_connections=16,
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self.s3: Any = session.client("s3", endpoint_url=endpoint_url, config=config)
        self.logs: Any = session.client("logs", endpoint_url=endpoint_url, config=config)


class _Run:
    """One run, from its script's download to its last log line."""

    def __init__(
        self,
        request: RunRequest,
        folder: Path,
        runs: RunStore,
        aws: _Aws,
        jvms: JvmPool,
        stop: threading.Event,
    ) -> None:
        self._request = request
        self._record = request.record
        self._bookmarks = _bookmarks_path(folder, request.record.job.account, request.record.job.region)
        self._runs = runs
        self._aws = aws
        self._jvms = jvms
        self._stop = stop
        self._run_folder = _run_folder(folder, request.record)
        self._temporary = self._run_folder / "tmp"
        self._system_log = self._run_folder / "system.log"
        self._followers: list[LogFollower] = []
        self._running_since: float | None = None

    def execute(self) -> tuple[str, str]:
        """Run to the end; returns JobRunState and ErrorMessage, which are stored by then."""
        self._temporary.mkdir(parents=True)
        self._follow(self._run_folder / "output.log", "output")
        self._follow(self._system_log, "error")
        try:
            state, message = self._drive()
        except JobCannotRun as error:
            state, message = "FAILED", str(error)
        except Exception as error:
            logger.exception("Run %s of job %s", self._record.id, self._record.job.name)
            state, message = "FAILED", f"The embedded AWS could not run the job: {error!r}"
        if message:
            self._log(message)
        for follower in self._followers:
            follower.close()
        self._runs.update(self._record.id, **_ending(state, message, self._running_since))
        shutil.rmtree(self._run_folder, ignore_errors=True)
        return state, message

    def _follow(self, file: Path, kind: str) -> LogFollower:
        """Send a file's lines to the run's log stream of this kind, from now on."""
        group = f"{self._request.log_prefix}/{kind}"
        follower = LogFollower(self._aws.logs, file, group, self._record.id)
        self._followers.append(follower)
        return follower

    def _drive(self) -> tuple[str, str]:
        """Give the script a JVM, and see it to its end, however that comes about. Raises JobCannotRun."""
        script, settings = self._prepare()
        jvm = self._jvms.take(settings, self._jvm_environment())
        log = self._follow(jvm.log, "error")
        used_before = cpu_seconds(jvm.process.pid)
        is_reusable = False
        try:
            spec = self._spec(script, settings, jvm)
            process = self._spawn(spec)
            try:
                state, message = self._supervise(process, spec)
            finally:
                _end_processes(process, patience=_EXIT_TIMEOUT_SECONDS if spec.result.exists() else 0)
            if state == "FAILED" and jvm.has_ended():
                end = end_of_process("Spark's JVM", jvm.process.returncode)
                message = f"{end}. The script got: {message}"
            told = json.loads(spec.result.read_text()) if spec.result.exists() else {}
            is_reusable = state == "SUCCEEDED"
            self._log_effort(jvm, cpu_seconds(jvm.process.pid) - used_before, told.get("overhead"))
            return state, message
        finally:
            if not is_reusable:
                jvm.end()
            log.close()
            self._followers.remove(log)
            if is_reusable:
                self._jvms.give_back(jvm)

    def _prepare(self) -> tuple[Path, dict[str, str]]:
        """Fetch the script, see what it needs; returns its file, Spark's settings. Raises JobCannotRun."""
        script = self._fetch(self._request.script_location, self._run_folder / "script", "script")
        for name in _WITHOUT_EFFECT:
            if self._request.arguments.get(name):
                self._log(f"{name} has no effect in the embedded AWS")
        return script, self._settings()

    def _spec(self, script: Path, settings: dict[str, str], jvm: SparkJvm) -> DriverSpec:
        """What the driver has to know. Raises JobCannotRun."""
        python_path = [os.fspath(script.parent), *self._libraries(), os.fspath(_RUNTIME)]
        return DriverSpec(
            script=os.fspath(script),
            arguments=[token for pair in self._request.arguments.items() for token in pair],
            python_path=python_path,
            settings={
                # Spark's Python workers find what the script finds.
                "spark.executorEnv.PYTHONPATH": os.pathsep.join(python_path),
                "spark.python.daemon.module": "local_aws.glue.workers",
                **settings,
            },
            jvm=jvm.process.pid,
            connection=os.fspath(jvm.connection),
            run_folder=os.fspath(self._run_folder),
        )

    def _jvm_environment(self) -> dict[str, str]:
        """The environment variables of Spark's JVM and of its Python workers."""
        without = (*_SPARK_VARIABLES, "PYTHONPATH")
        environment = {name: value for name, value in os.environ.items() if name not in without}
        return {
            **environment,
            **self._aws.environment,
            "PYSPARK_PYTHON": sys.executable,
            "TZ": "UTC",  # As on Glue.
        }

    def _spawn(self, spec: DriverSpec) -> subprocess.Popen[bytes]:
        """Start the driver, which connects to its JVM and runs the script."""
        with spec.output_log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "local_aws.glue.driver", os.fspath(spec.write())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._temporary,
                start_new_session=True,
                env={
                    **self._jvm_environment(),
                    BOOKMARKS_VARIABLE: os.fspath(self._bookmarks),
                    "PYTHONUNBUFFERED": "1",
                    "TMPDIR": os.fspath(self._temporary),
                },
            )
        created = {pid: psutil.Process(pid).create_time() for pid in (process.pid, spec.jvm)}
        (self._run_folder / "processes.json").write_text(json.dumps(list(created.items())))
        return process

    def _supervise(self, process: subprocess.Popen[bytes], spec: DriverSpec) -> tuple[str, str]:
        """Let the script run, and follow its logs, until it ends, is stopped, or its time is over."""
        while True:
            for follower in self._followers:
                follower.send()
            if self._running_since is None and spec.started_mark.exists():
                self._running_since = time.time()
                if not self._stop.is_set():
                    self._runs.update(
                        self._record.id, JobRunState="RUNNING", RunningSince=self._running_since
                    )
            if spec.result.exists() or process.poll() is not None:
                return self._result(process, spec)
            if self._stop.is_set():
                return "STOPPED", ""
            if self._running_since and time.time() - self._running_since > self._request.timeout_seconds:
                minutes = self._record.document["Timeout"]
                return "TIMEOUT", f"Job execution timed out: it ran for more than {minutes} minute(s)"
            time.sleep(_POLL_SECONDS)

    def _result(self, process: subprocess.Popen[bytes], spec: DriverSpec) -> tuple[str, str]:
        """How the script ended, by its own word, or by its process's exit code."""
        try:
            error = json.loads(spec.result.read_text())["error"]
        except FileNotFoundError:
            return "FAILED", end_of_process("The job's process", process.wait())
        self._running_since = self._running_since or time.time()
        return ("FAILED", error) if error else ("SUCCEEDED", "")

    def _log_effort(self, jvm: SparkJvm, used: float, overhead: dict[str, float] | None) -> None:
        """Say what the run cost the JVM (compiler threads work side by side, so theirs is the sum of all)."""
        effort = f"Spark's JVM used {used:.1f} s of CPU"
        if overhead is not None:
            before, jvm.overhead = jvm.overhead, overhead
            spent = {name: seconds - before.get(name, 0) for name, seconds in overhead.items()}
            effort += (
                f"; it spent {spent['compiling']:.1f} s on compiling code "
                f"and {spent['collecting']:.1f} s on collecting garbage"
            )
        self._log(effort)

    def _log(self, line: str) -> None:
        """Add a line to the run's system log."""
        with self._system_log.open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} GLUE {line}\n")

    def _settings(self) -> dict[str, str]:
        """Spark's configuration: ours, the environment's, the job's --conf argument. Raises JobCannotRun."""
        return {
            "spark.app.name": self._record.job.name,
            "spark.master": "local[*]",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.warehouse.dir": (self._temporary / "spark-warehouse").as_uri(),
            # No _SUCCESS objects: nobody looks at them, and they lie between the data.
            "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
            **self._file_system(),
            **spark_settings(CONF_VARIABLE, os.environ.get(CONF_VARIABLE, "")),
            **spark_settings("--conf", self._request.arguments.get("--conf", "")),
        }

    def _file_system(self) -> dict[str, str]:
        """Spark's settings for s3://. Raises JobCannotRun."""
        try:
            return s3_on_s3a(self._aws.environment["AWS_ENDPOINT_URL"], self._record.job.account)
        except S3ANotInstalled as error:
            raise JobCannotRun(str(error)) from error

    def _libraries(self) -> list[str]:
        """Paths for sys.path from --extra-py-files. Raises JobCannotRun."""
        folder = self._run_folder / "libraries"
        paths = [os.fspath(folder)]
        for uri in filter(None, self._request.arguments.get("--extra-py-files", "").split(",")):
            path = self._fetch(uri.strip(), folder, "--extra-py-files object")
            if path.suffix != ".py":
                paths.append(os.fspath(path))
        return paths

    def _fetch(self, uri: str, folder: Path, what: str) -> Path:
        """Copy an object into `folder`. Raises JobCannotRun when it is not there."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not key:
            raise JobCannotRun(f"The {what} {uri or '(none)'} is not an S3 URI: set it to s3://bucket/key")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / Path(key).name
        try:
            body = self._aws.s3.get_object(Bucket=bucket, Key=key)["Body"]
        except ClientError as error:
            raise JobCannotRun(
                f"The {what} {uri} cannot be read ({error.response['Error']['Code']}). Upload it, then start "
                "the job again."
            ) from error
        with contextlib.closing(body), path.open("wb") as file:
            shutil.copyfileobj(body, file)
        return path


def spark_settings(name: str, text: str) -> dict[str, str]:
    """Settings as of Glue's --conf argument: "a=1", or several as "a=1 --conf b=2". Raises JobCannotRun."""
    settings = {}
    for part in re.split(r"(?:^|\s+)--conf\s+", text.strip()):
        setting, equals, value = part.strip().partition("=")
        if equals:
            settings[setting.strip()] = value.strip()
        elif part.strip():
            raise JobCannotRun(f"{name} {part.strip()!r} is not of the form name=value")
    return settings


def _ending(state: str, message: str, running_since: float | None = None) -> dict[str, Any]:
    """The members of a run's document that its end sets."""
    now = time.time()
    ending: dict[str, Any] = {
        "JobRunState": state,
        "CompletedOn": now,
        "ExecutionTime": round(now - running_since) if running_since else 0,
    }
    return {**ending, "ErrorMessage": message} if message else ending


def _end_processes(process: subprocess.Popen[bytes], patience: float) -> None:
    """Give the driver `patience` seconds to end by itself, then kill what is left of it and its children."""
    family = family_of(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience)
    kill_all(family)
    kill_group(process.pid)
    process.wait()
    if process.stdin:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _kill_recorded_processes(run_folder: Path) -> None:
    """Kill a driver and a JVM that outlived the server which had started them, if they still are those."""
    try:
        recorded = json.loads((run_folder / "processes.json").read_text())
    except FileNotFoundError:
        return
    for pid, created in recorded:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).create_time() == created:
                kill_group(pid)


def _run_folder(folder: Path, record: RunRecord) -> Path:
    return folder / "runs" / record.id


def _bookmarks_path(folder: Path, account: str, region: str) -> Path:
    return folder / account / region / "bookmarks.sqlite"
