"""docs/DEPLOYMENT_CHECKLIST.md on operating: its commands work, its policy allows what it says."""

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

from local_aws import LocalAws
from tests.docs.commands import CHECKLIST, ROOT, blocks, checklist
from tests.infrastructure.policies import decision, parliament
from tests.infrastructure.stacks import ACCOUNT, Stack, with_another_script

OPERATING = checklist()[1]
ID = "alice-1"
SCRIPT = b"""print('{"layer": "bronze", "files": 0, "rows_in": 0, "accepted": 0, "rejected": 0}')"""


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    """A stack with its job, whose script stands for the real one: it says that it found nothing."""
    with with_another_script(aws, ID, SCRIPT) as stack:
        yield stack


def test_the_commands_work_in_their_order(stack: Stack, tmp_path: Path) -> None:
    for file in ROOT.glob("*.cfn.yaml"):
        shutil.copy(file, tmp_path)
    done = subprocess.run(
        ["bash", "-euc", "\n".join(block.code for block in blocks(CHECKLIST, "bash", OPERATING))],
        cwd=tmp_path,
        env={
            **os.environ,
            **stack.aws.environment,
            "AWS_PAGER": "",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "STUDENT_ID": ID,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"rate(15 minutes)"' in done.stdout
    assert re.search(rf"capstone-{ID}-no-new-data\s+ALARM", done.stdout)
    (run,) = stack.client("glue").get_job_runs(JobName=f"capstone-etl-{ID}")["JobRuns"]
    assert {"--MAX_REJECTED_PERCENT": "5", "--COMPACT_DAYS": "2"}.items() <= run["Arguments"].items()


def allowed(policy: dict[str, Any], action: str, resource: str, service: str = "") -> bool:
    """Whether the policy allows an action; `service` is the one that a role is passed to."""
    return decision([policy], (action, resource, {"iam:passedtoservice": service})) == "Allow"


def test_who_has_the_policy_may_run_the_job_and_hand_its_role_to_glue_alone(stack: Stack) -> None:
    (block,) = blocks(CHECKLIST, "json", OPERATING)
    policy = json.loads(block.code.replace("ACCOUNT", ACCOUNT).replace("STUDENT_ID", ID))
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
