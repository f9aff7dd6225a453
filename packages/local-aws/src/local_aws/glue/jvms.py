"""Spark's JVMs: each run has one to itself, and one that served well waits, warm, for the next run.

A cold JVM spends half of a short run on loading classes and compiling what it runs; Glue starts jobs from
warm machines as well. What a run could leave behind for the next is put back by the next one's driver
(`local_aws.glue.spark.renew_jvm`). The JVM of a run that did not succeed is never used again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local_aws.glue.spark import class_path, java_options, start_jvm

IDLE_VARIABLE = "LOCAL_AWS_WARM_JVM_SECONDS"
DEFAULT_IDLE_SECONDS = 600.0
"""Twice the five minutes from batch to batch."""

_MOST_RUNS = 50
"""Whatever a run leaks, it does not leak for ever."""
_EXIT_TIMEOUT_SECONDS = 10
_GROUP_TIMEOUT_SECONDS = 5
_LAST_MOMENT_SECONDS = 0.3


@dataclass
class SparkJvm:
    """A JVM process that waits for a driver, or serves one."""

    process: subprocess.Popen[bytes]
    folder: Path
    key: tuple[object, ...]
    """JVMs of the same key are interchangeable."""
    runs: int = 0
    overhead: dict[str, float] = field(default_factory=dict)
    """What its last driver said of it, see `local_aws.glue.spark.jvm_overhead`."""

    @property
    def connection(self) -> Path:
        """The file that tells where it listens, and its secret; there once it does listen."""
        return self.folder / "connection"

    @property
    def log(self) -> Path:
        """What it writes to its standard output and error, since the run began that has it."""
        return self.folder / "jvm.log"

    def has_ended(self) -> bool:
        """Whether it has ended; a moment is given to one that is about to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_LAST_MOMENT_SECONDS)
        return self.process.poll() is not None

    def end(self) -> None:
        """Kill it, with its Python workers, and remove its temporary files."""
        family = family_of(self.process.pid)  # Spark's Python workers are a process group of their own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_EXIT_TIMEOUT_SECONDS)
        kill_group(self.process.pid)
        kill_all(family)
        if self.process.stdin:
            self.process.stdin.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class JvmPool:
    """Hands out JVMs, and keeps one that is idle: for `idle_seconds`, 0 to keep none.

    `folder` is for the JVMs' temporary files; what is in it is removed.
    """

    def __init__(self, folder: Path, idle_seconds: float | None = None) -> None:
        self._folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        if idle_seconds is None:
            idle_seconds = float(os.environ.get(IDLE_VARIABLE, DEFAULT_IDLE_SECONDS))
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: SparkJvm | None = None
        self._timer: threading.Timer | None = None

    def take(self, settings: Mapping[str, str], environment: Mapping[str, str]) -> SparkJvm:
        """A JVM for a run with these Spark settings and environment variables: the idle one if it suits."""
        options, jars = java_options(settings), class_path(settings)
        key = (*options, *jars, *sorted(environment.items()))
        idle = self._take_idle()
        if idle is not None and idle.key == key and idle.process.poll() is None:
            os.truncate(idle.log, 0)
            return idle
        if idle is not None:
            idle.end()
        return self._start(options, jars, environment, key)

    def give_back(self, jvm: SparkJvm) -> None:
        """Keep a JVM whose run has succeeded for the next run."""
        jvm.runs += 1
        if self._idle_seconds <= 0 or jvm.runs >= _MOST_RUNS or jvm.process.poll() is not None:
            jvm.end()
            return
        replaced = self._take_idle()
        if replaced is not None:
            replaced.end()
        with self._lock:
            self._idle = jvm
            self._timer = threading.Timer(self._idle_seconds, self.close)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """End the idle JVM, if there is one."""
        idle = self._take_idle()
        if idle is not None:
            idle.end()

    def _take_idle(self) -> SparkJvm | None:
        with self._lock:
            idle, self._idle = self._idle, None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return idle

    def _start(
        self,
        options: Sequence[str],
        jars: Sequence[Path],
        environment: Mapping[str, str],
        key: tuple[object, ...],
    ) -> SparkJvm:
        folder = self._folder / uuid.uuid4().hex
        temporary = folder / "tmp"
        temporary.mkdir(parents=True)
        with (folder / "jvm.log").open("ab") as log:
            process = start_jvm(
                {},
                jars,
                [*options, f"-Djava.io.tmpdir={temporary}", f"-Dderby.system.home={temporary}"],
                folder / "connection",
                output=log,
                environment={
                    **environment,
                    "SPARK_LOCAL_DIRS": os.fspath(temporary),
                    "TMPDIR": os.fspath(temporary),
                },
                working_folder=temporary,
            )
        return SparkJvm(process, folder, key)


def family_of(process: int) -> list[psutil.Process]:
    """A process, those that it has started, and those that they have; none when it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    return []


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill those that are still there."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_EXIT_TIMEOUT_SECONDS)


def kill_group(leader: int) -> None:
    """Kill a process group and wait until it is gone."""
    deadline = time.monotonic() + _GROUP_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # PermissionError: only a zombie is left (macOS).
            return
        time.sleep(0.02)


def cpu_seconds(process: int) -> float:
    """CPU time that a process has used so far, 0 when it is gone."""
    try:
        used = psutil.Process(process).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return used.user + used.system
