"""The server process: what it binds, what it starts, what it leaves, and what it needs MiniStack to be."""

from __future__ import annotations

import inspect
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.process import EXTENSIONS, SERVICES
from local_aws.server import LocalAws, ServerRecord, StatePaths, find, running_server

ROLE = "arn:aws:iam::000000000000:role/any"
FUNCTION = "arn:aws:lambda:us-west-2:000000000000:function:any"


def server_process(aws: LocalAws) -> psutil.Process:
    record = ServerRecord.read(StatePaths(aws.state_dir).record)
    assert record is not None
    return psutil.Process(record.pid)


def create_function(aws: LocalAws, name: str, source: str, **settings: Any) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("index.py", textwrap.dedent(source))
    aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=ROLE,
        Handler="index.handler",
        Code={"ZipFile": content.getvalue()},
        **settings,
    )


def invoke(aws: LocalAws, name: str, payload: object = None) -> tuple[Any, str | None]:
    """The function's answer, and the kind of its error if it failed."""
    answer = aws.client("lambda").invoke(FunctionName=name, Payload=json.dumps(payload))
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


# --- The process ---


def test_the_server_and_its_children_listen_on_one_loopback_port_only(aws: LocalAws) -> None:
    create_function(aws, "listening", "def handler(event, context): return 1")
    assert invoke(aws, "listening") == (1, None)
    server = server_process(aws)
    # (An idle JVM of another test's job waits for its driver, on a port of its own.)
    processes = [server, *(one for one in server.children(recursive=True) if "java" not in one.name())]
    assert len(processes) > 1, "the Lambda worker is a child of the server"

    listening = {
        connection.laddr
        for process in processes
        for connection in process.net_connections(kind="all")
        if connection.status == psutil.CONN_LISTEN or connection.type.name == "SOCK_DGRAM"
    }

    assert {tuple(address) for address in listening} == {("127.0.0.1", int(aws.endpoint_url.rsplit(":")[-1]))}


def test_only_the_services_that_we_need_answer(aws: LocalAws) -> None:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{aws.endpoint_url}/_ministack/health", timeout=10) as answer:
        health = json.load(answer)

    assert set(health["services"]) == set(SERVICES)
    assert health["iot_mtls"] == "disabled"


def test_the_environment_points_a_subprocess_at_the_server(aws: LocalAws) -> None:
    source = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    environment = {**os.environ, **aws.environment}

    printed = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)

    assert printed.stdout.strip() == "000000000000", printed.stderr


def test_a_session_reaches_its_own_server_whatever_the_environment_says(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert aws.session().client("sts").get_caller_identity()["Account"] == "000000000000"


def test_a_running_server_ends_with_its_lambda_workers_and_keeps_its_state(tmp_path: Path) -> None:
    with running_server(tmp_path / "state") as first:
        first.client("glue").create_database(DatabaseInput={"Name": "kept"})
        first.client("ssm").put_parameter(Name="kept", Value="value", Type="String")
        create_function(first, "kept", "def handler(event, context): return event")
        assert invoke(first, "kept", {"a": 1}) == ({"a": 1}, None)
        server = server_process(first)
        processes = [server, *server.children(recursive=True)]

    assert len(processes) > 1
    assert not any(process.is_running() for process in processes)

    with running_server(tmp_path / "state") as second:
        assert [d["Name"] for d in second.client("glue").get_databases()["DatabaseList"]] == ["kept"]
        assert second.client("ssm").get_parameter(Name="kept")["Parameter"]["Value"] == "value"
        assert invoke(second, "kept", {"b": 2}) == ({"b": 2}, None)


def test_a_busy_lambda_does_not_delay_the_end(tmp_path: Path) -> None:
    with running_server(tmp_path / "state") as aws:
        create_function(aws, "slow", "import time\ndef handler(e, c): time.sleep(60)", Timeout=120)
        aws.client("lambda").invoke(FunctionName="slow", InvocationType="Event")
        deadline = time.monotonic() + 20
        while not server_process(aws).children() and time.monotonic() < deadline:
            time.sleep(0.05)
        processes = [server_process(aws), *server_process(aws).children(recursive=True)]
        began = time.monotonic()

    assert len(processes) > 1
    assert time.monotonic() - began < 15
    assert not any(process.is_running() for process in processes)


def test_a_server_ends_when_the_process_that_runs_it_is_killed(tmp_path: Path) -> None:
    source = f"""
        import time
        from pathlib import Path
        from local_aws.server import running_server
        with running_server(Path({str(tmp_path / "state")!r})) as aws:
            print(aws.endpoint_url, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().startswith("http://127.0.0.1:")
    record = find(tmp_path / "state")
    assert record is not None

    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    psutil.wait_procs([p for p in psutil.process_iter() if p.pid == record.pid], timeout=15)
    assert not psutil.pid_exists(record.pid)
    assert find(tmp_path / "state") is None


def test_a_second_server_on_the_same_state_replaces_none_that_others_use(tmp_path: Path) -> None:
    with running_server(tmp_path / "state") as aws:
        refused = subprocess.run(
            [sys.executable, "-m", "local_aws", "serve", "--port", "0", "--state-dir", str(aws.state_dir)],
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert refused.returncode != 0
        assert "Another embedded AWS serves" in refused.stderr
        assert aws.client("s3").list_buckets()["Buckets"] == []


# --- Lambda ---


def test_a_function_reaches_this_aws_through_boto3_and_knows_itself(aws: LocalAws) -> None:
    source = """
        import os
        import boto3
        import cfnresponse

        def handler(event, context):
            s3 = boto3.client("s3")
            here = {"LocationConstraint": "us-west-2"}
            s3.create_bucket(Bucket=event["bucket"], CreateBucketConfiguration=here)
            s3.put_object(Bucket=event["bucket"], Key="written", Body=os.environ["GREETING"].encode())
            return {
                **os.environ,
                "cfnresponse": cfnresponse.SUCCESS,
                "remaining": context.get_remaining_time_in_millis(),
                "arn": context.invoked_function_arn,
            }
    """
    create_function(
        aws,
        "self-aware",
        source,
        Timeout=60,
        MemorySize=256,
        Environment={"Variables": {"GREETING": "hello", "AWS_REGION_NAME": "x"}},
    )

    answer, error = invoke(aws, "self-aware", {"bucket": "from-lambda"})

    assert error is None, answer
    assert answer["AWS_LAMBDA_FUNCTION_NAME"] == "self-aware"
    assert answer["AWS_REGION"] == "us-west-2"
    assert answer["AWS_ENDPOINT_URL"] == aws.endpoint_url
    assert answer["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert answer["cfnresponse"] == "SUCCESS"
    assert 50_000 < answer["remaining"] <= 60_000
    assert answer["arn"] == "arn:aws:lambda:us-west-2:000000000000:function:self-aware"
    written = aws.client("s3").get_object(Bucket="from-lambda", Key="written")
    assert written["Body"].read() == b"hello"


def test_a_function_that_raises_says_what(aws: LocalAws) -> None:
    create_function(aws, "raising", "def handler(event, context): raise ValueError('no such thing')")

    answer, error = invoke(aws, "raising")

    assert error == "Unhandled"
    assert "no such thing" in answer["errorMessage"]


def test_a_function_that_takes_too_long_is_stopped(aws: LocalAws) -> None:
    create_function(aws, "endless", "import time\ndef handler(e, c): time.sleep(30)", Timeout=1)

    answer, error = invoke(aws, "endless")

    assert error is not None
    assert "timed out" in answer["errorMessage"].lower()


# --- CloudFormation ---


def test_a_stack_that_cannot_be_created_rolls_back_with_the_reason(aws: LocalAws) -> None:
    template = {
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "rolled-back"}},
            "Table": {
                "Type": "AWS::Glue::Table",
                "DependsOn": "Bucket",
                "Properties": {
                    "CatalogId": "000000000000",
                    "DatabaseName": "no_such_database",
                    "TableInput": {"Name": "t"},
                },
            },
        }
    }
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName="failing", TemplateBody=json.dumps(template))
    deadline = time.monotonic() + 30
    while True:
        stack = cloudformation.describe_stacks(StackName="failing")["Stacks"][0]
        if not stack["StackStatus"].endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            break
        time.sleep(0.1)

    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    events = cloudformation.describe_stack_events(StackName="failing")["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"] == "CREATE_FAILED"]
    assert [event["LogicalResourceId"] for event in failed] == ["Table"]
    assert "no_such_database" in failed[0]["ResourceStatusReason"]
    with pytest.raises(ClientError):
        aws.client("s3").head_bucket(Bucket="rolled-back")


# --- What we need MiniStack to be ---


def test_a_disabled_rule_does_not_fire_and_an_enabled_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from ministack.services import eventbridge

    fired: list[str] = []
    monkeypatch.setattr(
        eventbridge, "_invoke_target", lambda target, event, rule, view: fired.append(rule["Name"])
    )
    eventbridge._ensure_default_bus()
    for name, state in (("on", "ENABLED"), ("off", "DISABLED")):
        eventbridge._put_rule({"Name": name, "State": state, "ScheduleExpression": "rate(5 minutes)"})
        eventbridge._put_targets({"Rule": name, "Targets": [{"Id": "1", "Arn": FUNCTION}]})
    try:
        eventbridge._tick_scheduled_rules()
        assert fired == []
        for rule in eventbridge._rules._data.values():
            rule["CreationTime"] -= 301
        eventbridge._rule_last_fired.clear()
        eventbridge._tick_scheduled_rules()
        assert fired == ["on"]
    finally:
        eventbridge.reset()


def test_ministack_still_has_what_the_server_builds_on() -> None:
    from ministack import app
    from ministack.core import persistence

    assert set(SERVICES) <= set(app.SERVICE_REGISTRY)
    assert callable(app.app)
    assert inspect.signature(app._build_persistence_save_dict).parameters == {}
    assert list(inspect.signature(persistence.save_state).parameters) == ["service", "data"]
    assert list(inspect.signature(persistence._json_default).parameters) == ["obj"]


def test_every_extension_can_be_installed() -> None:
    import importlib

    for name in EXTENSIONS:
        assert inspect.signature(importlib.import_module(name).install).parameters == {}
