"""The stack of an acceptance: an id of its own, put up, and taken down again whatever happens between."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from capstone_pipeline.errors import InvalidSetting, PipelineError, error_code, own_errors
from capstone_pipeline.interrupts import Interrupts
from capstone_pipeline.job import ACTIVE_STATES
from capstone_pipeline.stack import Connection, StackOutputs, read_stack

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "capstone-starter.cfn.yaml"
SUFFIX = "-accept"
LONGEST_ID = 31
"""As the template's StudentId has it: a bucket's name has 63 characters at most."""
GENERATED_EVENTS = 200
"""The generator delivers so many when it is invoked: what it does, not how much, is looked at."""
_PAUSE_SECONDS = 1.0


class StackExists(PipelineError):
    """There is something under the acceptance's id already."""


def own_id(student_id: str) -> str:
    """The id of the acceptance's stack: the student's, cut where it would be too long, and `-accept`.

    Raises InvalidSetting for what can be no student id.
    """
    if not re.fullmatch(r"[a-z0-9-]{1,31}", student_id):
        raise InvalidSetting(
            f"{student_id!r} is no student id.", "give 1 to 31 characters out of a-z, 0-9 and the hyphen."
        )
    return student_id[: LONGEST_ID - len(SUFFIX)].rstrip("-") + SUFFIX


@dataclass
class Site:
    """Where an acceptance takes place. `say` takes its progress, a line at a time."""

    aws: Connection
    student_id: str
    say: Callable[[str], None]
    interrupts: Interrupts
    lab_role_arn: str = ""
    children: list[subprocess.Popen[str]] = field(default_factory=list)
    """Processes that may still be at work in it; their own children write to the same standard error."""

    @property
    def stack_name(self) -> str:
        return f"capstone-{self.student_id}"

    @property
    def job_name(self) -> str:
        return f"capstone-etl-{self.student_id}"

    @property
    def buckets(self) -> tuple[str, str]:
        """Of raw events and of the lake."""
        end = f"{self.student_id}-{self.aws.account}"
        return f"capstone-events-{end}", f"capstone-analytics-{end}"

    @property
    def removal(self) -> str:
        """The commands that take everything down."""
        name, region = self.stack_name, self.aws.region
        return (
            f"  aws glue delete-job --job-name {self.job_name} --region {region}\n"
            f"  aws cloudformation delete-stack --stack-name {name} --region {region}\n"
            f"  aws cloudformation wait stack-delete-complete --stack-name {name} --region {region}"
        )


# --- Up -----------------------------------------------------------------------------------------------------


def refuse_if_occupied(site: Site) -> None:
    """Raise StackExists where there is anything of this id: somebody may need it."""
    if found := left_over(site):
        raise StackExists(
            f"There is something under the id {site.student_id} already: {', '.join(found)}.",
            f"if nobody needs it, remove it, with all its data:\n{site.removal}",
        )


def put_up(site: Site) -> tuple[StackOutputs, int]:
    """Create the stack, its generator off, and wait for it: its outputs, and how many resources it has."""
    cloudformation = site.aws.client("cloudformation")
    parameters = {
        "StudentId": site.student_id,
        "GeneratorState": "DISABLED",
        "EventsPerRunMin": str(GENERATED_EVENTS),
        "EventsPerRunMax": str(GENERATED_EVENTS),
        "LabRoleArn": site.lab_role_arn,
    }
    with own_errors(f"creating stack {site.stack_name}"):
        with site.interrupts.held():
            cloudformation.create_stack(
                StackName=site.stack_name,
                TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
                Parameters=[
                    {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
                ],
                Capabilities=["CAPABILITY_IAM"],
            )
        with suppress(WaiterError):  # read_stack says why.
            waiter = cloudformation.get_waiter("stack_create_complete")
            waiter.wait(StackName=site.stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 900})
        resources = cloudformation.describe_stack_resources(StackName=site.stack_name)["StackResources"]
    return read_stack(site.aws, site.stack_name), len(resources)


# --- Down ---------------------------------------------------------------------------------------------------


def take_down(site: Site) -> list[str]:
    """Stop what runs, remove job and stack with all data; returns what is left nevertheless."""
    site.say(f"taking {site.stack_name} down")
    end_children(site)
    glue, cloudformation = site.aws.client("glue"), site.aws.client("cloudformation")
    with own_errors(f"removing job {site.job_name}"):
        _stop_runs(glue, site.job_name)
        glue.delete_job(JobName=site.job_name)
    with own_errors(f"deleting stack {site.stack_name}"):
        cloudformation.delete_stack(StackName=site.stack_name)
        with suppress(WaiterError):  # It is left over then.
            waiter = cloudformation.get_waiter("stack_delete_complete")
            waiter.wait(StackName=site.stack_name, WaiterConfig={"Delay": 1, "MaxAttempts": 1800})
    return left_over(site)


def end_children(site: Site) -> None:
    """End the notebooks' processes and wait for their kernels' end, so that nothing starts any more."""
    while site.children:
        process = site.children.pop()
        process.kill()
        process.communicate()  # Until the last one that could write has ended.


def _stop_runs(glue: Any, job_name: str) -> None:
    """Stop all runs of the job and wait for their end."""
    while active := _active_runs(glue, job_name):
        stoppable = [run["Id"] for run in active if run["JobRunState"] != "STOPPING"]
        if stoppable:
            glue.batch_stop_job_run(JobName=job_name, JobRunIds=stoppable)
        time.sleep(_PAUSE_SECONDS)


def _active_runs(glue: Any, job_name: str) -> list[dict[str, Any]]:
    try:
        pages = list(glue.get_paginator("get_job_runs").paginate(JobName=job_name))
    except glue.exceptions.EntityNotFoundException:
        return []
    return [run for page in pages for run in page["JobRuns"] if run["JobRunState"] in ACTIVE_STATES]


def left_over(site: Site) -> list[str]:
    """What there is under this id, in words: stack, buckets, job, databases, functions, log groups."""
    aws, student_id = site.aws, site.student_id
    of_id = student_id.replace("-", "_")
    databases = [f"{layer}_{of_id}" for layer in ("bronze", "silver", "gold")]
    functions = [f"capstone-{name}-{student_id}" for name in ("bucket-cleanup", "event-generator")]
    groups = [f"/aws/lambda/{name}" for name in functions]
    groups += [f"/aws-glue/jobs/{site.job_name}/{name}" for name in ("output", "error")]
    with own_errors(f"looking for what there is of {site.stack_name}"):
        found = [f"stack {site.stack_name} ({status})" for status in _stack_statuses(aws, site.stack_name)]
        buckets = {bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"]}
        found += [f"bucket {name}" for name in site.buckets if name in buckets]
        glue = aws.client("glue")
        with suppress(glue.exceptions.EntityNotFoundException):
            found.append(f"job {glue.get_job(JobName=site.job_name)['Job']['Name']}")
        there = _names(aws, "glue", "get_databases", "DatabaseList", "Name")
        found += [f"database {name}" for name in databases if name in there]
        there = _names(aws, "lambda", "list_functions", "Functions", "FunctionName")
        found += [f"function {name}" for name in functions if name in there]
        for name in groups:
            there = _names(
                aws, "logs", "describe_log_groups", "logGroups", "logGroupName", logGroupNamePrefix=name
            )
            found += [f"log group {name}"] if name in there else []
    return found


def _stack_statuses(aws: Connection, stack_name: str) -> list[str]:
    try:
        stacks = aws.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
    except ClientError as error:
        if error_code(error) != "ValidationError":
            raise
        return []
    return [one["StackStatus"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"]


def _names(
    aws: Connection, service: str, operation: str, members: str, name: str, **arguments: str
) -> list[str]:
    pages = aws.client(service).get_paginator(operation).paginate(**arguments)
    return [str(one[name]) for page in pages for one in page[members]]
