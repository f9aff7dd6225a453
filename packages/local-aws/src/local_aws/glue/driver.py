"""The process of one job run: connects to a JVM, runs the script as `__main__`, says how it ended.

Started by `local_aws.glue.runner` as `python -m local_aws.glue.driver <spec>`; not for use by hand.
Its standard input is a leash: its end (the server is gone) ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from local_aws.glue.spark import connect_pyspark, jvm_overhead, renew_jvm


@dataclass(frozen=True)
class DriverSpec:
    """What a driver needs to know; passed as a JSON file."""

    script: str
    arguments: list[str]
    """sys.argv[1:] of the script."""
    python_path: list[str]
    """Folders and archives that come before the installed packages."""
    settings: dict[str, str]
    """Spark's configuration."""
    jvm: int
    """The process of Spark's JVM."""
    connection: str
    """The file that tells how to connect to it."""
    run_folder: str
    """For temporary files, and for the marks and logs below."""

    def write(self) -> Path:
        """Write it into the run folder; returns the file."""
        path = Path(self.run_folder) / "spec.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @property
    def started_mark(self) -> Path:
        """Exists once the script has begun."""
        return Path(self.run_folder) / "started"

    @property
    def result(self) -> Path:
        """Exists once the script has ended and Spark writes no more.

        {"error": null or a message}; of a run that succeeded also its JVM's "overhead" (see `jvm_overhead`).
        """
        return Path(self.run_folder) / "result.json"

    @property
    def output_log(self) -> Path:
        """The script's standard output and standard error."""
        return Path(self.run_folder) / "output.log"


def main() -> None:
    """Run the script of the spec named on the command line."""
    spec = DriverSpec(**json.loads(Path(sys.argv[1]).read_text()))
    threading.Thread(target=_follow_leash, args=(_take_leash(),), daemon=True).start()
    # Now, because importing PySpark takes about as long as a new JVM needs to start.
    import pyspark.sql  # noqa: F401

    from local_aws.glue.failure import describe

    jvm = {}
    try:
        connect_pyspark(Path(spec.connection), lambda: psutil.pid_exists(spec.jvm))
        renew_jvm(spec.settings)
        _set_python_path(spec)
        _show_catalog(spec)
        spec.started_mark.touch()
        error = _run_script(spec, describe)
        _stop_spark()
        if error is None:
            jvm = {"overhead": jvm_overhead()}
    except Exception as failure:
        traceback.print_exc()
        error = describe(failure)
    sys.stdout.flush()
    sys.stderr.flush()
    staged = spec.result.with_suffix(".tmp")
    staged.write_text(json.dumps({"error": error, **jvm}))
    staged.replace(spec.result)
    os._exit(0)


def _take_leash() -> IO[bytes]:
    """Our standard input, out of the script's reach: it gets an empty one."""
    leash = os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return leash


def end_of_process(what: str, exit_code: int) -> str:
    """How a process that said nothing itself came to its end."""
    if exit_code >= 0:
        return f"{what} ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    reason = {
        "SIGKILL": ": the machine's memory ran out, or somebody killed it",
        "SIGTERM": ": the embedded AWS was stopped, or somebody ended it",
    }
    return f"{what} was ended by {name}{reason.get(name, '')}"


def _follow_leash(leash: IO[bytes]) -> None:
    """End this process and its children when the server is gone."""
    leash.read()
    os.killpg(0, signal.SIGKILL)


def _set_python_path(spec: DriverSpec) -> None:
    """Let the script find what it finds on Glue: its own folder, its libraries, the installed packages."""
    sys.path[:] = [*spec.python_path, *sys.path]


def _show_catalog(spec: DriverSpec) -> None:
    """Let Spark see the Data Catalog, when the job asks for it."""
    arguments = dict(zip(spec.arguments[::2], spec.arguments[1::2], strict=True))
    if arguments.get("--enable-glue-datacatalog", "false").lower() != "false":
        session_catalog = importlib.import_module("awsglue.session_catalog")  # As the script finds it.
        session_catalog.enable()


def _run_script(spec: DriverSpec, describe: Callable[[BaseException], str]) -> str | None:
    """Run the script; returns why it failed, or None."""
    module = types.ModuleType("__main__")
    module.__file__ = spec.script
    sys.modules["__main__"] = module
    sys.argv = [spec.script, *spec.arguments]
    try:
        exec(compile(Path(spec.script).read_bytes(), spec.script, "exec"), module.__dict__)
        for thread in threading.enumerate():
            if not thread.daemon and thread is not threading.main_thread():
                thread.join()
    except SystemExit as ended:
        return None if ended.code in (None, 0) else describe(ended)
    except BaseException as failure:
        own_frames = failure.__traceback__.tb_next if failure.__traceback__ else None
        traceback.print_exception(failure.with_traceback(own_frames))
        return describe(failure)
    return None


def _stop_spark() -> None:
    """End all that Spark still does, so that nothing is written after the result is known."""
    from pyspark import SparkContext

    context: Any = SparkContext._active_spark_context
    if context is not None:
        context._jsc.stop()  # PySpark waits a second more for a thread of this process.


if __name__ == "__main__":
    main()
