"""Where the pipeline runs: the connection to AWS, and what the CloudFormation stack says of itself.

Read only. The stack is created with the template and the AWS CLI (or `demo.py`), never from here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from capstone_pipeline.errors import (
    StackNotFound,
    StackNotReady,
    StackOutdated,
    error_code,
    own_errors,
)
from capstone_pipeline.render import Shown, facts_table, text_line

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout: queries.sql, glue_scripts/ and sample-data/ are in it."""

_CLIENT_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 3})
_USABLE = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"}


class EndpointSession(boto3.Session):
    """A boto3 session whose clients all go to one endpoint, also those that a library makes from it."""

    def __init__(self, region: str, endpoint_url: str | None) -> None:
        super().__init__(region_name=region)
        self.endpoint_url = endpoint_url

    def client(self, service_name: str, *args: Any, **kwargs: Any) -> Any:
        """As `boto3.Session.client`; `endpoint_url` and `config` have the session's defaults."""
        kwargs["endpoint_url"] = kwargs.get("endpoint_url") or self.endpoint_url
        kwargs["config"] = _CLIENT_CONFIG.merge(kwargs.get("config") or Config())
        return super().client(service_name, *args, **kwargs)


@dataclass(frozen=True, repr=False)
class Connection(Shown):
    """An account, a region and the endpoint through which they are reached (None: AWS itself)."""

    session: boto3.Session
    account: str
    region: str
    endpoint_url: str | None
    _clients: dict[str, Any] = field(default_factory=dict, init=False, compare=False)

    def client(self, service_name: str) -> Any:
        """A boto3 client for `service_name`: the same each time, as it takes a while to make one."""
        if service_name not in self._clients:
            self._clients[service_name] = self.session.client(service_name)
        return self._clients[service_name]

    def __str__(self) -> str:
        return f"Account {self.account} in {self.region} at {self.endpoint_url or 'AWS'}"

    def _repr_html_(self) -> str:
        endpoint = self.endpoint_url or "AWS"
        return text_line(f"Connected to account <b>{self.account}</b> in <b>{self.region}</b> at {endpoint}.")


@dataclass(frozen=True, repr=False)
class StackOutputs(Shown):
    """What the stack says of itself; every name that the pipeline uses comes from here."""

    stack_name: str
    stack_status: str
    student_id: str
    source_bucket_name: str
    analytics_bucket_name: str
    generator_function_name: str
    glue_role_arn: str
    glue_job_name: str
    bronze_database_name: str
    silver_database_name: str
    gold_database_name: str
    athena_workgroup_name: str
    athena_results_location: str
    job_log_group_prefix: str
    script_location: str
    queries_location: str
    raw_events_location: str
    analytics_data_location: str

    @property
    def database_names(self) -> tuple[str, str, str]:
        """Those of bronze, silver and gold."""
        return self.bronze_database_name, self.silver_database_name, self.gold_database_name

    @property
    def output_log_group(self) -> str:
        """CloudWatch log group of what the job prints; the streams are named after the runs."""
        return f"{self.job_log_group_prefix}/output"

    @property
    def error_log_group(self) -> str:
        """CloudWatch log group of Spark's own log."""
        return f"{self.job_log_group_prefix}/error"

    def __str__(self) -> str:
        outputs = "".join(f"\n  {key}: {value}" for key, value in self._outputs())
        return f"Stack {self.stack_name} is {self.stack_status}{outputs}"

    def _repr_html_(self) -> str:
        line = text_line(f"Stack <b>{self.stack_name}</b> is {self.stack_status}.")
        return line + facts_table(self._outputs())

    def _outputs(self) -> list[tuple[str, str]]:
        return [(output_key(f.name), getattr(self, f.name)) for f in fields(self)[2:]]


def connect(region: str, endpoint_url: str | None = None) -> Connection:
    """Connect to AWS and ask it who we are, so that wrong credentials show here and not later.

    Parameters
    ----------
    region
        AWS region, for example "us-west-2".
    endpoint_url
        Where the AWS calls go. None leaves it to the environment (AWS_ENDPOINT_URL), and so to AWS itself
        where that is not set.

    Raises
    ------
    NoCredentials, EndpointUnreachable
    """
    endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None
    with own_errors(f"connecting to {endpoint_url or 'AWS'} in {region}"):
        session = EndpointSession(region, endpoint_url)
        account = session.client("sts").get_caller_identity()["Account"]
    return Connection(session, account, region, endpoint_url)


def read_stack(aws: Connection, stack_name: str) -> StackOutputs:
    """Check that the stack is complete and return its outputs.

    Raises
    ------
    StackNotFound
        With the command that creates the stack.
    StackNotReady
        While the stack changes, or when it failed (with the first failure's reason).
    StackOutdated
        When outputs are missing.
    """
    stack = _describe_stack(aws, stack_name)
    status = stack["StackStatus"]
    if status not in _USABLE:
        raise _not_ready(aws, stack_name, status)
    found = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
    names = [f.name for f in fields(StackOutputs)[2:]]
    missing = [output_key(name) for name in names if output_key(name) not in found]
    if missing:
        raise StackOutdated(
            f"Stack {stack_name} has no output {', '.join(missing)}: it was created from another template.",
            "bring it up to date with:\n"
            f"  aws cloudformation deploy --stack-name {stack_name} --region {aws.region} \\\n"
            "    --template-file capstone-starter.cfn.yaml --capabilities CAPABILITY_IAM",
        )
    return StackOutputs(stack_name, status, **{name: found[output_key(name)] for name in names})


def output_key(field_name: str) -> str:
    """The CloudFormation output of a field of `StackOutputs`: "glue_role_arn" -> "GlueRoleArn"."""
    return "".join(word.capitalize() for word in field_name.split("_"))


def _describe_stack(aws: Connection, stack_name: str) -> dict[str, Any]:
    with own_errors(f"reading stack {stack_name}"):
        try:
            stacks = aws.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        except ClientError as error:
            if error_code(error) != "ValidationError":
                raise
            stacks = []
    existing = [stack for stack in stacks if stack["StackStatus"] != "DELETE_COMPLETE"]
    if not existing:
        student_id = stack_name.removeprefix("capstone-")
        raise StackNotFound(
            f"There is no stack {stack_name} in account {aws.account}, region {aws.region}.",
            "create it, or correct student_id / stack_name / region in the parameters cell:\n"
            f"  aws cloudformation create-stack --stack-name {stack_name} --region {aws.region} \\\n"
            "    --template-body file://capstone-starter.cfn.yaml --capabilities CAPABILITY_IAM \\\n"
            f"    --parameters ParameterKey=StudentId,ParameterValue={student_id}\n"
            "  aws cloudformation wait stack-create-complete "
            f"--stack-name {stack_name} --region {aws.region}",
        )
    return existing[0]


def _not_ready(aws: Connection, stack_name: str, status: str) -> StackNotReady:
    command = f"aws cloudformation {{}} --stack-name {stack_name} --region {aws.region}"
    if status.endswith("_IN_PROGRESS") and "ROLLBACK" not in status and "DELETE" not in status:
        waiter = "stack-update-complete" if status.startswith("UPDATE") else "stack-create-complete"
        return StackNotReady(
            f"Stack {stack_name} is not complete yet: {status}.",
            f"wait for it, then run the cell again:\n  {command.format('wait ' + waiter)}",
        )
    return StackNotReady(
        f"Stack {stack_name} is {status}. {_first_failure(aws, stack_name)}",
        "correct the cause, delete the stack and create it again:\n"
        f"  {command.format('delete-stack')}\n  {command.format('wait stack-delete-complete')}",
    )


def _first_failure(aws: Connection, stack_name: str) -> str:
    """The oldest failure among the stack's events: later ones are mostly its consequences."""
    with own_errors(f"reading the events of stack {stack_name}"):
        pages = aws.client("cloudformation").get_paginator("describe_stack_events")
        events = [event for page in pages.paginate(StackName=stack_name) for event in page["StackEvents"]]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    if not failed:
        return "Its events name no failed resource."
    first = min(failed, key=lambda event: event["Timestamp"])
    reason = first.get("ResourceStatusReason", "no reason given")
    if reason.startswith("Validation failed"):
        return _validation_errors(aws, stack_name) or f"First failure: {reason}"
    return f"First failure: {first['LogicalResourceId']}: {reason}."


def _validation_errors(aws: Connection, stack_name: str) -> str:
    """What CloudFormation found wrong before it created anything; of that, the stack's events only say so."""
    with own_errors(f"reading why stack {stack_name} was refused"):
        pages = aws.client("cloudformation").get_paginator("describe_events")
        events = [event for page in pages.paginate(StackName=stack_name) for event in page["OperationEvents"]]
    errors = [event for event in events if event.get("ValidationStatus") == "FAILED"]
    reasons = [event.get("ValidationStatusReason", "no reason given").rstrip(".") for event in errors]
    return " ".join(
        f"Refused: {event['LogicalResourceId']}: {reason}."
        for event, reason in zip(errors, reasons, strict=True)
    )
