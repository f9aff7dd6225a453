"""Stacks of the main template on the embedded AWS, for the tests of what they hold and allow."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from capstone_pipeline import create_or_update_job, read_stack
from local_aws import LocalAws
from tests import template
from tests.sample import embedded

ACCOUNT = "000000000000"
TIMEOUT_SECONDS = 60
OPERATIONS = template.PATH.with_name("capstone-operations.cfn.yaml")
FEW_EVENTS = {"EventsPerRunMin": "2000", "EventsPerRunMax": "2500", "GeneratorState": "DISABLED"}


@cache
def client(aws: LocalAws, service: str) -> Any:
    """A boto3 client; making one costs more than most calls that it makes here."""
    return aws.client(service)


@dataclass(frozen=True)
class Stack:
    """A deployed stack: its names and the AWS that it lives in."""

    aws: LocalAws
    name: str
    stack_id: str

    def client(self, service: str) -> Any:
        return client(self.aws, service)

    def description(self) -> dict[str, Any]:
        stacks = self.client("cloudformation").describe_stacks(StackName=self.stack_id)
        return stacks["Stacks"][0]

    @property
    def outputs(self) -> dict[str, str]:
        return {output["OutputKey"]: output["OutputValue"] for output in self.description()["Outputs"]}

    def resources(self) -> dict[str, str]:
        """Type of each resource by its logical id."""
        answer = self.client("cloudformation").describe_stack_resources(StackName=self.stack_id)
        return {item["LogicalResourceId"]: item["ResourceType"] for item in answer["StackResources"]}

    def wait(self, wanted: str) -> None:
        """Wait until the stack is at rest; AssertionError tells what failed when it is not as `wanted`."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (status := self.description()["StackStatus"]).endswith("IN_PROGRESS"):
            assert time.monotonic() < deadline, f"{self.name} is {status} for {TIMEOUT_SECONDS} s"
            time.sleep(0.05)
        events = self.client("cloudformation").describe_stack_events(StackName=self.stack_id)
        failures = [event for event in events["StackEvents"] if "FAILED" in event["ResourceStatus"]]
        assert status == wanted, failures

    def update(self, body: str | None = None, **parameters: str) -> None:
        current = {item["ParameterKey"]: item["ParameterValue"] for item in self.description()["Parameters"]}
        self.client("cloudformation").update_stack(
            StackName=self.name,
            TemplateBody=body or template.body(),
            Parameters=cfn_parameters(current | parameters),
            Capabilities=["CAPABILITY_IAM"],
        )
        self.wait("UPDATE_COMPLETE")

    def delete(self) -> None:
        self.client("cloudformation").delete_stack(StackName=self.name)
        self.wait("DELETE_COMPLETE")

    def invoke_generator(self) -> dict[str, Any]:
        answer = self.client("lambda").invoke(FunctionName=self.outputs["GeneratorFunctionName"])
        payload = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, payload
        return payload

    def raw_lines(self, key: str) -> list[str]:
        stored = self.client("s3").get_object(Bucket=self.outputs["SourceBucketName"], Key=key)
        text = gzip.decompress(stored["Body"].read()).decode()
        assert text.endswith("\n")
        return text.splitlines()


def cfn_parameters(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in values.items()]


def create(aws: LocalAws, student_id: str, body: str | None = None, **parameters: str) -> Stack:
    """Create a stack with few events, the generator not scheduled; returns when it is complete."""
    created = client(aws, "cloudformation").create_stack(
        StackName=f"capstone-{student_id}",
        TemplateBody=body or template.body(),
        Parameters=cfn_parameters({"StudentId": student_id} | FEW_EVENTS | parameters),
        Capabilities=["CAPABILITY_IAM"],
    )
    stack = Stack(aws, f"capstone-{student_id}", created["StackId"])
    stack.wait("CREATE_COMPLETE")
    return stack


def create_operations(aws: LocalAws, student_id: str, **parameters: str) -> Stack:
    """Create the operations stack that watches the stack of this student; returns when it is complete."""
    created = client(aws, "cloudformation").create_stack(
        StackName=f"capstone-{student_id}-operations",
        TemplateBody=OPERATIONS.read_text(),
        Parameters=cfn_parameters({"StudentId": student_id} | parameters),
        Capabilities=["CAPABILITY_IAM"],
    )
    stack = Stack(aws, f"capstone-{student_id}-operations", created["StackId"])
    stack.wait("CREATE_COMPLETE")
    return stack


@contextmanager
def deployed(aws: LocalAws, student_id: str, **parameters: str) -> Iterator[Stack]:
    stack = create(aws, student_id, **parameters)
    yield stack
    stack.delete()


@contextmanager
def with_another_script(aws: LocalAws, student_id: str, script: bytes) -> Iterator[Stack]:
    """A stack with its job, whose script stands for the real one, in the environment that reaches it."""
    with embedded(aws) as connection, deployed(aws, student_id) as stack:
        outputs = read_stack(connection, stack.name)
        bucket, key = outputs.script_location.removeprefix("s3://").split("/", 1)
        stack.client("s3").put_object(Bucket=bucket, Key=key, Body=script)
        create_or_update_job(connection, outputs)
        yield stack


def limited_cleanup(content: dict[str, Any], versions: int = 3) -> str:
    """This template, its clean-up deleting so many versions in an invocation before it asks for another."""
    code = content["Resources"]["CleanupFunction"]["Properties"]["Code"]
    for written, limited in {
        "SPARE_MILLISECONDS = 360_000": "SPARE_MILLISECONDS = 900_000",
        "list_object_versions(Bucket=bucket)": f"list_object_versions(Bucket=bucket, MaxKeys={versions})",
    }.items():
        assert code["ZipFile"].count(written) == 1, written
        code["ZipFile"] = code["ZipFile"].replace(written, limited)
    return json.dumps(content)


def fill(stack: Stack) -> None:
    """Leave current, overwritten and deleted objects in both buckets."""
    s3 = stack.client("s3")
    for bucket in (stack.outputs["SourceBucketName"], stack.outputs["AnalyticsBucketName"]):
        for key in ("a", "b", "gold/with space+and/ünicode"):
            for body in (b"first", b"second"):
                s3.put_object(Bucket=bucket, Key=key, Body=body)
        s3.delete_object(Bucket=bucket, Key="b")
        s3.create_multipart_upload(Bucket=bucket, Key="never-completed")
