"""What IAM policies allow, by MiniStack's evaluator, and what parliament says of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document

from tests.infrastructure.stacks import ACCOUNT

REGION = "us-west-2"
PARLIAMENT = Path(__file__).parent.parent.parent / ".venv-linters" / "bin" / "parliament"

Request = tuple[str, str, dict[str, str]]
"""Action, ARN of the resource, and condition keys of the request in lower case."""


def decision(documents: list[dict[str, Any]], request: Request) -> str:
    """What AWS would decide for a principal with these policies: Allow, Deny or ImplicitDeny."""
    action, resource, context = request
    asked = EvalContext(
        principal_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/role/session",
        principal_type="AssumedRole",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=resource,
        region=REGION,
        source_ip="10.0.0.1",
        secure_transport=True,
        service_context=dict(context),
    )
    return evaluate(asked, [parse_policy_document(document) for document in documents]).decision


def parliament(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings of parliament, which runs in the linters' environment (`make linters`)."""
    done = subprocess.run([PARLIAMENT, "--json"], input=json.dumps(document), capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
