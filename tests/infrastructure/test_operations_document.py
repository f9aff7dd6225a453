"""docs/OPERATIONS.md: its commands work as they stand, its policy allows what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import decode

from capstone_pipeline import connect, create_or_update_job, read_stack
from local_aws import LocalAws
from tests.infrastructure.policies import decision, parliament
from tests.infrastructure.stacks import ACCOUNT, OPERATIONS, Stack, deployed

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "OPERATIONS.md").read_text()
ID = "alice-1"
SCRIPT = b"""print('{"layer": "bronze", "files": 0, "rows_in": 0, "accepted": 0, "rejected": 0}')"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    """A stack with its job, whose script stands for the real one: it says that it found nothing."""
    with pytest.MonkeyPatch.context() as environment, deployed(aws, ID) as stack:
        for name, value in aws.environment.items():
            environment.setenv(name, value)
        connection = connect("us-west-2")
        outputs = read_stack(connection, stack.name)
        bucket, key = outputs.script_location.removeprefix("s3://").split("/", 1)
        stack.client("s3").put_object(Bucket=bucket, Key=key, Body=SCRIPT)
        create_or_update_job(connection, outputs)
        yield stack


def test_the_commands_work_in_their_order(stack: Stack, tmp_path: Path) -> None:
    for file in [*ROOT.glob("*.cfn.yaml"), *ROOT.glob("requirements*.txt"), ROOT / "Makefile"]:
        shutil.copy(file, tmp_path)
    shutil.copytree(ROOT / "capstone_pipeline", tmp_path / "capstone_pipeline")
    (tmp_path / "packages/local-aws").mkdir(parents=True)
    shutil.copy(ROOT / "packages/local-aws/pyproject.toml", tmp_path / "packages/local-aws")
    script = "\n".join(blocks("bash"))
    for written, run in {
        "STUDENT_ID=alice ": f"STUDENT_ID={ID} ",
        # An empty stack: what the check says of it is the business of test_troubleshooting.
        'python -m capstone_pipeline check --student-id "$STUDENT_ID"': (
            '! python -m capstone_pipeline check --student-id "$STUDENT_ID" 2>&1'
        ),
        "make lint-templates": "make --dry-run lint-templates",  # Its linters run in test_linters.
    }.items():
        assert script.count(written) == 1, written
        script = script.replace(written, run)

    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={
            **environment,
            **stack.aws.environment,
            "AWS_PAGER": "",
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"rate(15 minutes)"' in done.stdout
    assert re.search(rf"capstone-{ID}-no-new-data\s+ALARM", done.stdout)
    assert "There is no raw event file" in done.stdout
    assert "checkov --file capstone-starter.cfn.yaml --file capstone-operations.cfn.yaml" in done.stdout
    (run,) = stack.client("glue").get_job_runs(JobName=f"capstone-etl-{ID}")["JobRuns"]
    assert run["Arguments"]["--MAX_REJECTED_PERCENT"] == "5"


def allowed(policy: dict[str, Any], action: str, resource: str, service: str = "") -> bool:
    """Whether the policy allows an action; `service` is the one that a role is passed to."""
    return decision([policy], (action, resource, {"iam:passedtoservice": service})) == "Allow"


def test_who_has_the_policy_may_run_the_job_and_hand_its_role_to_glue_alone(stack: Stack) -> None:
    (text,) = blocks("json")
    policy = json.loads(text.replace("ACCOUNT", ACCOUNT).replace("STUDENT_ID", ID))
    assert parliament(policy) == []
    job, role = f"arn:aws:glue:us-west-2:{ACCOUNT}:job/capstone-etl-{ID}", stack.outputs["GlueRoleArn"]
    for action in ("CreateJob", "UpdateJob", "GetJob", "StartJobRun", "GetJobRun", "GetJobRuns"):
        assert allowed(policy, f"glue:{action}", job)
        assert not allowed(policy, f"glue:{action}", f"{job}-other")
    assert not allowed(policy, "glue:DeleteJob", job)
    assert allowed(policy, "iam:PassRole", role, service="glue.amazonaws.com")
    assert not allowed(policy, "iam:PassRole", role, service="lambda.amazonaws.com")
    other = role.replace("GlueRole", "CleanupRole")
    assert not allowed(policy, "iam:PassRole", other, service="glue.amazonaws.com")
    bucket = f"arn:aws:s3:::capstone-analytics-{ID}-{ACCOUNT}"
    assert allowed(policy, "s3:PutObject", f"{bucket}/scripts/capstone_etl.py")
    assert not allowed(policy, "s3:PutObject", f"{bucket}/gold/x")


def test_every_metric_and_parameter_that_is_named_exists() -> None:
    template, _ = decode(str(OPERATIONS))
    filters = [
        resource["Properties"]["MetricTransformations"][0]["MetricName"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Logs::MetricFilter"
    ]
    table = DOCUMENT.split("| Metric | Unit | From |\n")[1].split("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(set(filters))
    parameters = set(template["Parameters"]) | {"EtlSchedule"}
    assert set(re.findall(r" ([A-Z]\w+)=\S", "\n".join(blocks("bash")))) - parameters == {
        "STUDENT_ID",
        "AWS_DEFAULT_REGION",
    }


def test_every_file_that_is_named_exists() -> None:
    named = re.findall(r"`([\w/.-]+\.(?:py|yaml|ipynb))`", DOCUMENT)
    assert named and [name for name in named if not (ROOT / name).exists()] == []
