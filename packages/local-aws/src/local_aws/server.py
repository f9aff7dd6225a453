"""Start, find and stop the embedded AWS from outside: the life cycle of its one server process.

What runs inside that process is in `local_aws.process`; nothing here imports MiniStack, so that
`local-aws status` answers at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil

from local_aws.identity import ACCESS_KEY, DEFAULT_REGION, HOST, SECRET_KEY

if TYPE_CHECKING:
    import boto3

DEFAULT_PORT = 4566
DEFAULT_STATE_DIR = Path(".local-aws")

EXIT_PORT_BUSY = 98
"""Exit code of the server process when its port is taken (EADDRINUSE)."""
EXIT_ALREADY_RUNNING = 75
"""Exit code of the server process when another server owns the state directory (EX_TEMPFAIL)."""

TOKEN_VARIABLE = "LOCAL_AWS_SERVER_TOKEN"
"""Set in the server's environment only, so every process that it ever started can be recognised by it."""

_START_TIMEOUT_SECONDS = 60
_STOP_TIMEOUT_SECONDS = 20
_HEALTH_PATH = "/_ministack/health"
REQUESTS_PATH = "/_local_aws/requests"
BYTES_READ = "bytes read"
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

Progress = Callable[[str], None]


class LocalAwsError(Exception):
    """Something about the embedded AWS that its user can act upon; the message says how."""


class PortBusy(LocalAwsError):
    """Another program listens on the port."""


class ServerNotRunning(LocalAwsError):
    """No server runs on the state directory."""


class ServerStartFailed(LocalAwsError):
    """The server process ended, or did not answer, before it was ready."""


class NotAStateDirectory(LocalAwsError):
    """The directory to be removed was not made by the embedded AWS."""


@dataclass(frozen=True)
class StatePaths:
    """Where things lie below a state directory."""

    root: Path

    @property
    def record(self) -> Path:
        """Who serves this directory now, as JSON (`ServerRecord`)."""
        return self.root / "server.json"

    @property
    def lock(self) -> Path:
        """Held by the server for as long as it lives: the one truth about whether it runs."""
        return self.root / "server.lock"

    @property
    def start_lock(self) -> Path:
        """Held while a server is being started or stopped, so that two `up` cannot race."""
        return self.root / "start.lock"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def marker(self) -> Path:
        """Says that the directory is ours, and so may be removed by `clean`."""
        return self.root / "EMBEDDED_AWS_STATE"

    @property
    def objects(self) -> Path:
        return self.root / "s3"

    @property
    def services(self) -> Path:
        return self.root / "services"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def create(self) -> None:
        """Make the directory and mark it as ours; a directory that holds other things is refused."""
        self.root.mkdir(parents=True, exist_ok=True)
        if not self.marker.exists():
            if any(self.root.iterdir()):
                raise NotAStateDirectory(
                    f"{self.root} holds files that the embedded AWS did not write. "
                    "Choose an empty directory with LOCAL_AWS_STATE_DIR or --state-dir."
                )
            self.marker.write_text("State of the embedded AWS. `local-aws clean` removes it.\n")


@dataclass(frozen=True)
class ServerRecord:
    """What a running server says about itself in its state directory."""

    pid: int
    port: int
    started: float
    token: str

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def write(self, path: Path) -> None:
        staged = path.with_suffix(".tmp")
        staged.write_text(json.dumps(asdict(self)))
        staged.replace(path)

    @classmethod
    def read(cls, path: Path) -> ServerRecord | None:
        """The record in `path`, or None where there is none."""
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None


@dataclass(frozen=True)
class LocalAws:
    """A running embedded AWS, as a test or a program uses it."""

    endpoint_url: str
    state_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point any AWS tool started as a subprocess at this server."""
        return environment_for(self.endpoint_url)

    @cached_property
    def _session(self) -> boto3.Session:
        from local_aws.session import LocalSession  # Late: the command line does without boto3, and is quick.

        return LocalSession(self.endpoint_url)

    def session(self) -> boto3.Session:
        """A boto3 session bound to this server; libraries that take a session (awswrangler) work with it."""
        return self._session

    def client(self, service_name: str, **options: Any) -> Any:
        """A boto3 client of this server; without options, the same one each time."""
        if options:
            return self._session.client(service_name, **options)
        if service_name not in self._clients:
            self._clients[service_name] = self._session.client(service_name)
        return self._clients[service_name]

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def requests(self, *, reset: bool = False) -> dict[str, dict[str, int]]:
        """As the function `requests`."""
        return requests(self.endpoint_url, reset=reset)

    @property
    def pid(self) -> int:
        """The server's process, whose children are what it started. Raises ServerNotRunning."""
        record = find(self.state_dir)
        if record is None:
            raise ServerNotRunning(f"No embedded AWS runs on {self.state_dir}.")
        return record.pid

    def has_class_archive(self) -> bool:
        """Whether Spark's class archive is there. Until then, a new installation records it and is busy."""
        from local_aws.glue.archive import archive_options
        from local_aws.glue.spark import spark_jars

        return bool(archive_options(spark_jars()))


def configured_port() -> int:
    """The port from LOCAL_AWS_PORT, else 4566."""
    text = os.environ.get("LOCAL_AWS_PORT") or str(DEFAULT_PORT)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise LocalAwsError(f"LOCAL_AWS_PORT is {text!r}; it must be a port number from 1 to 65535.")
    return int(text)


def configured_s3_delay() -> float:
    """Seconds from LOCAL_AWS_S3_DELAY_MS that each request to S3 waits before it is answered, else 0."""
    text = os.environ.get("LOCAL_AWS_S3_DELAY_MS") or "0"
    if not text.isdecimal():
        raise LocalAwsError(f"LOCAL_AWS_S3_DELAY_MS is {text!r}; it must be a whole number of milliseconds.")
    return int(text) / 1000


def configured_state_dir() -> Path:
    """The state directory from LOCAL_AWS_STATE_DIR, else `.local-aws` in the current folder."""
    return Path(os.environ.get("LOCAL_AWS_STATE_DIR") or DEFAULT_STATE_DIR).expanduser().resolve()


def environment_for(endpoint_url: str) -> dict[str, str]:
    """The four variables that select the embedded AWS, and NO_PROXY where a proxy is configured."""
    variables = {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
    }
    if any(os.environ.get(name) or os.environ.get(name.lower()) for name in _PROXY_VARIABLES):
        present = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
        hosts = [*filter(None, present.split(",")), HOST, "localhost"]
        variables["NO_PROXY"] = variables["no_proxy"] = ",".join(dict.fromkeys(hosts))
    return variables


def find(state_dir: Path) -> ServerRecord | None:
    """The server that runs on `state_dir`, or None. A record left by a server that died is ignored."""
    paths = StatePaths(state_dir)
    if not paths.lock.exists() or not _is_locked(paths.lock):
        return None
    return ServerRecord.read(paths.record)


def is_healthy(record: ServerRecord, timeout: float = 2.0) -> bool:
    """Whether the server answers. Talks to loopback directly, past any configured proxy."""
    connection = http.client.HTTPConnection(HOST, record.port, timeout=timeout)
    try:
        connection.request("GET", _HEALTH_PATH)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def requests(endpoint_url: str, *, reset: bool = False) -> dict[str, dict[str, int]]:
    """The S3 requests so far, as bucket/folder/folder -> kind -> number; `reset`: from 0 after it.

    Beside the kinds there is BYTES_READ: how much of objects the GET requests were answered with.
    """
    connection = http.client.HTTPConnection(urlsplit(endpoint_url).netloc)
    with contextlib.closing(connection):
        connection.request("DELETE" if reset else "GET", REQUESTS_PATH)
        return dict(json.loads(connection.getresponse().read()))


def start(state_dir: Path, port: int, progress: Progress = lambda _: None) -> ServerRecord:
    """Start the server detached from this process, or find it running, and wait until it answers.

    Raises PortBusy, ServerStartFailed, or LocalAwsError when it already runs on another port.
    """
    paths = StatePaths(state_dir)
    paths.create()
    with _exclusive(paths.start_lock):
        running = find(state_dir)
        if running is not None and running.port != port:
            raise LocalAwsError(
                f"The embedded AWS of {state_dir} already runs on port {running.port}. "
                f"Stop it first (local-aws down), or choose another state directory "
                "with LOCAL_AWS_STATE_DIR."
            )
        if running is not None and is_healthy(running, timeout=10):
            progress(f"The embedded AWS already runs at {running.endpoint_url}")
            return running
        _stop_locked(paths)
        process = _spawn(paths, port, bound_to_us=False)
        return _wait_until_ready(process, paths, port, progress)


def stop(state_dir: Path) -> bool:
    """Stop the server of `state_dir` and every process that it started. False when none ran.

    State is saved before it ends. Raises LocalAwsError when it cannot be stopped.
    """
    paths = StatePaths(state_dir)
    if not paths.marker.exists():
        return False
    with _exclusive(paths.start_lock):
        return _stop_locked(paths)


def clean(state_dir: Path) -> bool:
    """Stop the server and remove its state. False when there was nothing to remove.

    Raises NotAStateDirectory for a directory that the embedded AWS did not make.
    """
    if not state_dir.exists():
        return False
    if not StatePaths(state_dir).marker.exists():
        raise NotAStateDirectory(
            f"{state_dir} was not made by the embedded AWS and is left alone. "
            "Check LOCAL_AWS_STATE_DIR or --state-dir."
        )
    stop(state_dir)
    shutil.rmtree(state_dir)
    return True


@contextlib.contextmanager
def running_server(state_dir: Path, port: int | None = None, module: str = "local_aws") -> Iterator[LocalAws]:
    """A server for the length of a `with` block, on a free loopback port unless one is given.

    It ends with the block, and also when this process dies. State stays in `state_dir`: a later block on
    the same directory finds it. `module` is what `python -m` runs: one that changes the server for a test.
    """
    paths = StatePaths(state_dir.resolve())
    paths.create()
    with _exclusive(paths.start_lock):
        _stop_locked(paths)
        process = _spawn(paths, port or 0, bound_to_us=True, module=module)
        record = _wait_until_ready(process, paths, port or 0, lambda _: None)
    try:
        yield LocalAws(record.endpoint_url, paths.root)
    finally:
        stop(paths.root)
        if process.stdin:
            process.stdin.close()
        process.wait()


def _spawn(
    paths: StatePaths, port: int, *, bound_to_us: bool, module: str = "local_aws"
) -> subprocess.Popen[bytes]:
    """Start the server process in a session of its own, its output in the log.

    It imports nothing from the caller's folder, where a `random.py` may lie; only a test's `module` is there.
    """
    is_ours = module == "local_aws"
    if paths.log.exists():
        paths.log.replace(paths.log.with_suffix(".log.1"))
    command = [
        sys.executable,
        *(["-P"] if is_ours else []),
        "-m",
        module,
        "serve",
        "--port",
        str(port),
        "--state-dir",
        str(paths.root),
    ]
    if bound_to_us:
        command.append("--until-stdin-closes")
    with paths.log.open("wb") as log:
        return subprocess.Popen(
            command,
            cwd=paths.root if is_ours else None,
            stdin=subprocess.PIPE if bound_to_us else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_ready(
    process: subprocess.Popen[bytes], paths: StatePaths, port: int, progress: Progress
) -> ServerRecord:
    """Wait for the process's record and for its first healthy answer."""
    began = time.monotonic()
    progress(f"Starting the embedded AWS on {HOST}:{port} ...")
    while time.monotonic() - began < _START_TIMEOUT_SECONDS:
        exit_code = process.poll()
        if exit_code is not None:
            raise _start_failure(exit_code, paths, port)
        record = ServerRecord.read(paths.record)
        if record is not None and record.pid == process.pid and is_healthy(record):
            progress(f"Ready at {record.endpoint_url} after {time.monotonic() - began:.1f} s")
            return record
        time.sleep(0.05)
    process.kill()
    process.wait()
    raise ServerStartFailed(
        f"The embedded AWS did not answer within {_START_TIMEOUT_SECONDS} s.\n{_log_tail(paths.log)}"
    )


def _start_failure(exit_code: int, paths: StatePaths, port: int) -> LocalAwsError:
    """The error for a server process that ended before it was ready."""
    if exit_code == EXIT_PORT_BUSY:
        return PortBusy(
            f"Port {port} on {HOST} is taken by another program. "
            "Stop that program, or choose another port: LOCAL_AWS_PORT=4577 local-aws up"
        )
    if exit_code == EXIT_ALREADY_RUNNING:
        return ServerStartFailed(f"Another embedded AWS is just starting on {paths.root}. Try again.")
    return ServerStartFailed(
        f"The embedded AWS ended with exit code {exit_code} while it started.\n{_log_tail(paths.log)}"
    )


def _log_tail(log: Path, lines: int = 15) -> str:
    """The log's last lines under its path, for an error message."""
    tail = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([f"Last lines of {log}:", *(f"    {line}" for line in tail)])


def _stop_locked(paths: StatePaths) -> bool:
    """Stop server and leftovers; the caller holds the start lock."""
    record = ServerRecord.read(paths.record)
    if record is None:
        return False
    running = _is_locked(paths.lock)
    if running:
        _end_process(record.pid)
    _end_leftovers(record.token)
    paths.record.unlink(missing_ok=True)
    return running


def _end_process(pid: int) -> None:
    """Ask the server to end, which saves its state; kill it when it does not."""
    try:
        process = psutil.Process(pid)
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise LocalAwsError(f"Not allowed to stop the embedded AWS (process {pid}): {error}") from error


def _end_leftovers(token: str) -> None:
    """Kill what a server that died left behind: processes that carry its token in their environment."""
    leftovers = [process for process in psutil.process_iter() if _token_of(process) == token]
    for process in leftovers:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(leftovers, timeout=_STOP_TIMEOUT_SECONDS)


def _token_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(TOKEN_VARIABLE)
    except (psutil.Error, OSError):
        return None  # Gone by now, or another user's: not one of ours either way.


def _is_locked(path: Path) -> bool:
    """Whether another process holds the lock file."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[IO[str]]:
    """Hold the lock file for the length of a `with` block, waiting for it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
