"""The server process of the embedded AWS: MiniStack, narrowed to what we need, with our extensions in it.

Runs in the foreground until it is told to end; starting it in the background is `local_aws.server`'s job.
MiniStack reads its configuration from the environment when it is imported, so every import of it below
happens inside a function, after `_configure`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from local_aws.server import (
    ACCESS_KEY,
    DEFAULT_REGION,
    EXIT_ALREADY_RUNNING,
    EXIT_PORT_BUSY,
    HOST,
    SECRET_KEY,
    TOKEN_VARIABLE,
    ServerRecord,
    StatePaths,
)

SERVICES = (
    "athena",
    "cloudformation",
    "events",
    "glue",
    "iam",
    "kms",
    "lambda",
    "logs",
    "monitoring",
    "s3",
    "scheduler",
    "sns",
    "sqs",
    "ssm",
    "sts",
    "tagging",
)
"""What the pipeline and its operation use. Of the others, IoT and Transfer would open ports of their own."""

EXTENSIONS: tuple[str, ...] = (
    "local_aws.persistence",
    "local_aws.s3",
    "local_aws.bodies",
    "local_aws.cloudformation",
    "local_aws.athena",
    "local_aws.glue",
    "local_aws.events",
    "local_aws.functions",
    "local_aws.monitoring",
    "local_aws.refusals",
)
"""Modules whose `install()` closes a gap of MiniStack in this process, in this order."""

ENFORCE_IAM_VARIABLE = "LOCAL_AWS_ENFORCE_IAM"
"""Set to 1, policies are enforced: for Lambda functions, which run with their roles, and for buckets."""

_CHILD_GRACE_SECONDS = 3.0

logger = logging.getLogger("local_aws")


def serve(state_dir: Path, port: int, *, until_stdin_closes: bool = False) -> int:
    """Serve on 127.0.0.1:`port` (0: any free one) until SIGTERM or SIGINT; returns the exit code.

    With `until_stdin_closes` it also ends when its standard input does, that is, with its parent.
    """
    paths = StatePaths(state_dir)
    paths.create()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_owned(paths.lock))
        except BlockingIOError:
            print(f"Another embedded AWS serves {paths.root}.", file=sys.stderr)
            return EXIT_ALREADY_RUNNING
        try:
            listener = stack.enter_context(_listener(port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            print(f"Port {port} on {HOST} is taken by another program.", file=sys.stderr)
            return EXIT_PORT_BUSY
        record = ServerRecord(os.getpid(), listener.getsockname()[1], time.time(), uuid.uuid4().hex)
        _configure(paths, record)
        record.write(paths.record)
        asyncio.run(_serve(listener, until_stdin_closes))
        paths.record.unlink(missing_ok=True)
    return 0


def install_extensions() -> None:
    """Patch MiniStack in this process. Extensions fail loudly when an upgrade has moved the ground."""
    for name in EXTENSIONS:
        importlib.import_module(name).install()


@contextlib.contextmanager
def _owned(lock: Path) -> Iterator[None]:
    """Own the state directory for as long as this process lives. Raises BlockingIOError when it is owned."""
    with lock.open("a") as file:
        for attempt in range(10):  # A `status` that looks at the lock holds it for an instant.
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 9:
                    raise
                time.sleep(0.05)
        yield


def _listener(port: int) -> socket.socket:
    """The one listening socket, on loopback. Raises OSError (EADDRINUSE) when the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()  # Claims the port: two sockets may be bound to it, but only one may listen.
    except OSError:
        listener.close()
        raise
    return listener


def _configure(paths: StatePaths, record: ServerRecord) -> None:
    """Set the environment that MiniStack, its Lambda workers and our Spark drivers start from.

    The user's AWS configuration and proxies are left out: a profile, a CA bundle or a proxy of theirs would
    break, or lead elsewhere, what the children send to loopback.
    """
    for name in list(os.environ):
        if name.startswith("AWS_") or name.upper() in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            del os.environ[name]
    shutil.rmtree(paths.temporary, ignore_errors=True)
    for folder in (paths.temporary, paths.objects, paths.services):
        folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = None  # Computed anew, from TMPDIR.
    os.environ.update(
        {
            "TMPDIR": str(paths.temporary),
            "LOCAL_AWS_STATE_DIR": str(paths.root),
            TOKEN_VARIABLE: record.token,
            # For the children: this server, and nothing from ~/.aws.
            "AWS_ENDPOINT_URL": record.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": DEFAULT_REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            # For MiniStack.
            "BIND_HOST": HOST,
            "MINISTACK_HOST": HOST,
            "GATEWAY_PORT": str(record.port),
            "MINISTACK_REGION": DEFAULT_REGION,
            "SERVICES": ",".join(SERVICES),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(paths.services),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(paths.objects),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "USE_SSL": "0",
            "AUTH": "true" if os.environ.get(ENFORCE_IAM_VARIABLE) == "1" else "false",
            "LAMBDA_EXECUTOR": "local",
        }
    )


async def _serve(listener: socket.socket, until_stdin_closes: bool) -> None:
    """Run MiniStack's ASGI application on the listening socket until this process is told to end."""
    import hypercorn.asyncio
    import hypercorn.config
    from ministack import app as ministack_app

    from local_aws import guard, persistence

    install_extensions()
    config = hypercorn.config.Config()
    config.bind = [f"fd://{os.dup(listener.fileno())}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    config.loglevel = "WARNING"

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ended.set)
    if until_stdin_closes:
        threading.Thread(target=_when_stdin_closes, args=(loop, ended), daemon=True).start()

    async def until_ended() -> None:
        await ended.wait()
        logger.info("Ending: stopping child processes, saving state")
        # First the children, while the server still answers: whoever waits for one of them (a Lambda
        # invocation, a Glue run) then records how it ended, and that is saved too.
        await asyncio.to_thread(_end_children)
        await asyncio.to_thread(persistence.stop_flushing)

    persistence.start_flushing()
    app: Any = guard.refusing_web_pages(persistence.watching(ministack_app.app))
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=until_ended)
    logger.info("State saved")
    _leave()


def _when_stdin_closes(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(ended.set)


def _end_children() -> None:
    """Terminate every process below this one, and kill those that do not go."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=_CHILD_GRACE_SECONDS)
    for child in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def _leave() -> None:
    """End now. Worker threads may wait for anything, and all that matters has been saved."""
    _end_children()  # One may have been started since.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
