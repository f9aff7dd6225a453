"""`local-aws` as a user meets it: subprocesses, exit codes, what is printed where."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_aws.server import LocalAws, ServerRecord, StatePaths, find

EXPORTS = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"]

Cli = Callable[..., subprocess.CompletedProcess[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def cli(state_dir: Path) -> Iterator[Cli]:
    """Runs a command on a state directory and a port of its own; what it started is stopped at the end."""
    port = str(free_port())

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
        variables = {
            **inherited,
            "LOCAL_AWS_STATE_DIR": str(state_dir),
            "LOCAL_AWS_PORT": port,
            **environment,
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name("local-aws")), *arguments],
            cwd=state_dir.parent,
            env=variables,
            capture_output=True,
            text=True,
            timeout=90,
        )

    yield run
    run("clean")


def running(state_dir: Path) -> ServerRecord:
    record = find(state_dir)
    assert record is not None
    return record


def test_up_prints_only_the_exports_on_stdout_and_down_leaves_no_process(cli: Cli, state_dir: Path) -> None:
    up = cli("up")

    assert up.returncode == 0, up.stderr
    assert [line.split("=")[0] for line in up.stdout.splitlines()] == [f"export {name}" for name in EXPORTS]
    assert "Ready at http://127.0.0.1:" in up.stderr

    record = running(state_dir)
    status = cli("status")
    assert status.returncode == 0
    assert "running" in status.stdout and record.endpoint_url in status.stdout

    down = cli("down")
    assert down.returncode == 0
    assert not psutil.pid_exists(record.pid)
    assert cli("status").returncode == 1
    assert "Not running" in cli("down").stderr


def test_up_twice_is_one_server(cli: Cli, state_dir: Path) -> None:
    first = cli("up")
    pid = running(state_dir).pid
    second = cli("up")

    assert second.returncode == 0
    assert second.stdout == first.stdout
    assert "already runs" in second.stderr
    assert running(state_dir).pid == pid


def test_env_prints_what_a_shell_can_evaluate(cli: Cli) -> None:
    assert cli("env").returncode == 1
    assert "local-aws up" in cli("env").stderr

    up = cli("up")
    printed = cli("env").stdout
    assert printed == up.stdout
    evaluated = subprocess.run(
        ["sh", "-c", f"{printed}\necho $AWS_ENDPOINT_URL $AWS_DEFAULT_REGION"], capture_output=True, text=True
    )
    assert evaluated.stdout.split()[1] == "us-west-2"


def test_requests_to_s3_are_told_as_a_table(cli: Cli, state_dir: Path) -> None:
    assert cli("requests").returncode == 1
    cli("up")
    s3 = LocalAws(running(state_dir).endpoint_url, state_dir).client("s3")
    s3.create_bucket(Bucket="told", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for key in ("a/b/c", "a/b/d/e"):
        s3.put_object(Bucket="told", Key=key)
    s3.head_object(Bucket="told", Key="a/b/c")
    table = [line.split() for line in cli("requests", "--reset").stdout.splitlines()]
    assert table == [["HEAD", "PUT"], ["told", "0", "1"], ["told/a/b", "1", "2"], ["total", "1", "3"]]
    assert cli("requests").stdout.split() == ["total"]


def test_a_proxy_in_the_environment_is_bypassed_for_loopback(cli: Cli) -> None:
    broken = {
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "AWS_CA_BUNDLE": "/none",
    }
    up = cli("up", **broken, NO_PROXY="example.org")
    assert up.returncode == 0, up.stderr
    exports = dict(line.removeprefix("export ").split("=", 1) for line in up.stdout.splitlines())
    assert exports["NO_PROXY"] == "example.org,127.0.0.1,localhost"

    listed = subprocess.run(
        [str(Path(sys.executable).with_name("aws")), "s3", "ls"],
        env={**os.environ, **broken, **exports},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert listed.returncode == 0, listed.stderr


def test_a_busy_port_is_named_with_the_variable_that_changes_it(cli: Cli, state_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        refused = cli("up", LOCAL_AWS_PORT=port)

    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in refused.stderr
    assert "LOCAL_AWS_PORT=" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert find(state_dir) is None


def test_a_port_that_is_no_port_is_refused(cli: Cli) -> None:
    refused = cli("up", LOCAL_AWS_PORT="http")

    assert refused.returncode == 1
    assert "LOCAL_AWS_PORT is 'http'" in refused.stderr


def test_a_server_that_dies_at_start_shows_the_end_of_its_log(cli: Cli, state_dir: Path) -> None:
    StatePaths(state_dir).create()
    (state_dir / "services").write_text("a file where the server needs a directory")

    failed = cli("up")

    assert failed.returncode == 1
    assert "exit code" in failed.stderr
    assert str(StatePaths(state_dir).log) in failed.stderr
    assert "FileExistsError" in failed.stderr


def test_state_survives_down_and_up_until_clean(cli: Cli, state_dir: Path) -> None:
    cli("up")
    s3 = s3_of(running(state_dir))
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="kept", Key="a/b", Body=b"one")
    s3.put_object(Bucket="kept", Key="a/b", Body=b"two")
    cli("down")

    cli("up")
    s3 = s3_of(running(state_dir))
    assert s3.get_object(Bucket="kept", Key="a/b")["Body"].read() == b"two"
    assert len(s3.list_object_versions(Bucket="kept")["Versions"]) == 2

    assert cli("clean").returncode == 0
    assert not state_dir.exists()
    assert "Nothing to remove" in cli("clean").stderr


def test_a_killed_server_loses_no_object_and_up_starts_it_again(cli: Cli, state_dir: Path) -> None:
    cli("up")
    killed = running(state_dir)
    s3 = s3_of(killed)
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="kept", Key="object", Body=b"content")
    saved = state_dir / "services" / "s3.json"
    deadline = time.monotonic() + 15
    while not (saved.exists() and "kept" in saved.read_text()):  # The periodic save of everything else.
        assert time.monotonic() < deadline, "settings of buckets are not saved while the server runs"
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)

    assert cli("status").returncode == 1
    assert cli("up").returncode == 0
    assert running(state_dir).pid != killed.pid
    assert s3_of(running(state_dir)).get_object(Bucket="kept", Key="object")["Body"].read() == b"content"


def test_clean_leaves_a_directory_alone_that_it_did_not_make(cli: Cli, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")

    for command in ("clean", "up"):
        refused = cli(command, LOCAL_AWS_STATE_DIR=str(precious))
        assert refused.returncode == 1
        assert str(precious) in refused.stderr
    assert (precious / "thesis.txt").exists()


def test_help_names_every_command_and_variable(cli: Cli) -> None:
    shown = cli("--help").stdout

    for word in ("up", "down", "clean", "status", "env", "serve", "LOCAL_AWS_PORT", "LOCAL_AWS_STATE_DIR"):
        assert word in shown


def s3_of(record: ServerRecord) -> Any:
    return LocalAws(record.endpoint_url, Path()).client("s3")
