"""What each role may do: its policies, as the deployed stack has them, evaluated for requests by name.

The evaluator is MiniStack's, which knows conditions. The requests are those of Hadoop's S3A client and of the
services' documentation; none was derived from the policies.
https://docs.aws.amazon.com/glue/latest/ug/getting-started-min-privs-job.html
https://docs.aws.amazon.com/glue/latest/dg/create-service-policy.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsglue.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from glue_scripts.capstone_etl import TABLES
from local_aws import LocalAws
from tests.infrastructure.policies import REGION, Request, decision, parliament
from tests.infrastructure.stacks import ACCOUNT, Stack, create_operations, deployed

ID = "perm-1"
EVENTS = f"arn:aws:s3:::capstone-events-{ID}-{ACCOUNT}"
LAKE = f"arn:aws:s3:::capstone-analytics-{ID}-{ACCOUNT}"
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
JOB = f"arn:aws:glue:{REGION}:{ACCOUNT}:job/capstone-etl-{ID}"
RAW = f"{EVENTS}/events/year=2025/month=11/day=18/hour=14/minute=20/events-20251118-142000.jsonl.gz"

# The neighbour's id begins like ours: what is narrowed by a prefix alone would let us in.
NEIGHBOUR = f"{ID}0"
GRADER = "111122223333"
ROLES = {
    "GeneratorRole": "lambda.amazonaws.com",
    "CleanupRole": "lambda.amazonaws.com",
    "GlueRole": "glue.amazonaws.com",
    "SchedulerRole": "scheduler.amazonaws.com",
    "FilesRole": "events.amazonaws.com",
    "WatchRole": "scheduler.amazonaws.com",
    "GraderRole": GRADER,
}


def below(prefix: str) -> dict[str, str]:
    """The context of a ListBucket request with this prefix."""
    return {"s3:prefix": prefix}


GENERATOR_DUTIES: list[Request] = [
    ("s3:PutObject", RAW, {}),
    ("logs:CreateLogStream", f"{LOGS}:/aws/lambda/capstone-event-generator-{ID}:log-stream:x", {}),
    ("logs:PutLogEvents", f"{LOGS}:/aws/lambda/capstone-event-generator-{ID}:log-stream:x", {}),
]
CLEANUP_DUTIES: list[Request] = [
    *(("s3:ListBucketVersions", bucket, {}) for bucket in (EVENTS, LAKE)),
    *(
        (action, key, {})
        for key in (RAW, f"{LAKE}/queries/queries.sql")
        for action in ("s3:DeleteObject", "s3:DeleteObjectVersion")
    ),
    ("lambda:InvokeFunction", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:capstone-bucket-cleanup-{ID}", {}),
    ("logs:CreateLogStream", f"{LOGS}:/aws/lambda/capstone-bucket-cleanup-{ID}:log-stream:x", {}),
    ("logs:PutLogEvents", f"{LOGS}:/aws/lambda/capstone-bucket-cleanup-{ID}:log-stream:x", {}),
]
GLUE_DUTIES: list[Request] = [
    # Start: the script. Raw files: the bookmark's listing, S3A's look at the folder, the files.
    ("s3:GetObject", f"{LAKE}/scripts/capstone_etl.py", {}),
    ("s3:ListBucket", EVENTS, below("events/")),
    ("s3:ListBucket", EVENTS, below("events/year=2025/month=11/day=18/")),
    ("s3:ListBucket", EVENTS, {}),  # HEAD of an absent object: without it S3 answers 403 instead of 404.
    ("s3:GetBucketLocation", EVENTS, {}),
    ("s3:GetObject", f"{EVENTS}/events", {}),
    ("s3:GetObject", RAW, {}),
    # Tables, Spark's unfinished files below them, index, note: listed, read, put whole or in parts, replaced.
    ("s3:GetBucketLocation", LAKE, {}),
    ("s3:ListBucket", LAKE, {}),
    ("s3:ListBucketMultipartUploads", LAKE, {}),
    *(
        request
        for folder in (
            *(table.location for table in TABLES.values()),
            "silver/events_cleaned/_temporary/0",
            "bronze/deliveries",
            "_pending",
        )
        for request in (
            ("s3:ListBucket", LAKE, below(f"{folder}/")),
            ("s3:GetObject", f"{LAKE}/{folder}", {}),
            ("s3:GetObject", f"{LAKE}/{folder}/part-0.parquet", {}),
            ("s3:PutObject", f"{LAKE}/{folder}/part-0.parquet", {}),
            ("s3:DeleteObject", f"{LAKE}/{folder}/part-0.parquet", {}),
            ("s3:AbortMultipartUpload", f"{LAKE}/{folder}/part-0.parquet", {}),
            ("s3:ListMultipartUploadParts", f"{LAKE}/{folder}/part-0.parquet", {}),
        )
    ),
    # Glue's own: logs (--custom-logGroup-prefix, and its default), the bookmark.
    *(
        (action, f"{LOGS}:{group}:log-stream:jr_1", {})
        for group in (
            f"/aws-glue/jobs/capstone-etl-{ID}/output",
            f"/aws-glue/jobs/capstone-etl-{ID}/error",
            "/aws-glue/jobs/output",
            "/aws-glue/jobs/error",
        )
        for action in ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")
    ),
    ("glue:GetJobBookmark", "*", {}),
]
SCHEDULER_DUTIES: list[Request] = [("glue:StartJobRun", JOB, {})]
FILES_DUTIES: list[Request] = [
    ("glue:NotifyEvent", f"arn:aws:glue:{REGION}:{ACCOUNT}:workflow/capstone-new-files-{ID}", {})
]
CATALOG = f"arn:aws:glue:{REGION}:{ACCOUNT}"
GRADER_DUTIES: list[Request] = [
    *(("s3:ListBucket", LAKE, below(f"{folder}/")) for folder in ("bronze", "silver", "gold", "queries")),
    *(
        ("s3:GetObject", f"{LAKE}/{key}", {})
        for key in (*(f"{table.location}/x.parquet" for table in TABLES.values()), "queries/queries.sql")
    ),
    *(
        (action, f"{CATALOG}:{kind}/{layer}_perm_1{rest}", {})
        for layer in ("bronze", "silver", "gold")
        for action, kind, rest in (
            ("glue:GetDatabase", "database", ""),
            ("glue:GetTable", "table", "/events"),
            ("glue:GetTables", "table", "/events"),
        )
    ),
    ("glue:GetTables", f"{CATALOG}:catalog", {}),
]
DUTIES = {
    "GeneratorRole": GENERATOR_DUTIES,
    "CleanupRole": CLEANUP_DUTIES,
    "GlueRole": GLUE_DUTIES,
    "SchedulerRole": SCHEDULER_DUTIES,
    "FilesRole": FILES_DUTIES,
    "WatchRole": SCHEDULER_DUTIES,
    "GraderRole": GRADER_DUTIES,
}

# No role may do these, whatever else it may do.
NEVER: list[Request] = [
    ("s3:DeleteBucket", EVENTS, {}),
    ("s3:DeleteBucket", LAKE, {}),
    ("s3:PutBucketPolicy", LAKE, {}),
    ("s3:PutLifecycleConfiguration", EVENTS, {}),
    ("s3:ListAllMyBuckets", "*", {}),
    ("s3:ListBucket", LAKE, below("athena-results/")),
    ("s3:GetObject", f"{LAKE}/athena-results/x.csv", {}),
    ("s3:PutObject", f"{LAKE}/scripts/capstone_etl.py", {}),
    ("s3:PutObject", f"{LAKE}/queries/queries.sql", {}),
    ("s3:PutObject", f"{LAKE}/bronzed", {}),
    ("s3:PutObject", f"{LAKE}/_temporary/0", {}),
    ("s3:PutObject", f"{EVENTS}/elsewhere", {}),
    *(
        (action, f"{bucket}-elsewhere/gold/x", {})
        for bucket in (EVENTS, LAKE)
        for action in ("s3:GetObject",)
    ),
    *(
        (action, resource.replace(ID, NEIGHBOUR), context)
        for duties in DUTIES.values()
        for action, resource, context in duties
        if ID in resource
    ),
    ("logs:DeleteLogGroup", f"{LOGS}:/aws-glue/jobs/capstone-etl-{ID}/output:*", {}),
    ("logs:PutLogEvents", f"{LOGS}:/aws/lambda/anything-else:log-stream:x", {}),
    ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Glue"}),
    ("glue:StartJobRun", f"{JOB}-other", {}),
    ("glue:ResetJobBookmark", JOB, {}),
    ("glue:UpdateJob", JOB, {}),
    ("glue:GetTable", f"{CATALOG}:table/gold_other_perm_1/top_products", {}),
    ("glue:GetDatabase", f"{CATALOG}:database/gold_perm_10", {}),
    ("glue:DeleteTable", f"arn:aws:glue:{REGION}:{ACCOUNT}:table/gold_perm_1/top_products", {}),
    ("athena:StartQueryExecution", f"arn:aws:athena:{REGION}:{ACCOUNT}:workgroup/capstone-{ID}", {}),
    (
        "lambda:InvokeFunction",
        f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:capstone-event-generator-{ID}",
        {},
    ),
    ("cloudformation:DescribeStacks", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/other/1", {}),
    ("cloudformation:DeleteStack", f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/capstone-{ID}/1", {}),
    ("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/any", {}),
    ("iam:CreateRole", f"arn:aws:iam::{ACCOUNT}:role/any", {}),
    ("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/any", {}),
    ("kms:Decrypt", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1", {}),
]


def deletes(request: Request) -> bool:
    """Whether an object of our buckets is deleted, as the clean-up may do with every one."""
    return request[0] == "s3:DeleteObject" and request[1].startswith((f"{EVENTS}/", f"{LAKE}/"))


def reads_a_layer(request: Request) -> bool:
    """Whether something below bronze/, silver/ or gold/ is listed or read, as job and grader may."""
    action, resource, context = request
    path = context.get("s3:prefix", "") if action == "s3:ListBucket" else resource.removeprefix(f"{LAKE}/")
    return (
        action in ("s3:ListBucket", "s3:GetObject")
        and resource.startswith(LAKE)
        and path.startswith(("bronze/", "silver/", "gold/"))
    )


@pytest.fixture(scope="module")
def stack(aws: LocalAws) -> Iterator[Stack]:
    with deployed(aws, ID, EtlSchedule="1440", GraderAccountId=GRADER) as stack:
        operations = create_operations(aws, ID, FilesPerRun="12", WatchSeconds="5")
        yield stack
        operations.delete()


def physical_name(stack: Stack, logical_id: str) -> str:
    resource = stack.client("cloudformation").describe_stack_resource(
        StackName=f"{stack.name}-operations" if logical_id in ("FilesRole", "WatchRole") else stack.name,
        LogicalResourceId=logical_id,
    )
    return resource["StackResourceDetail"]["PhysicalResourceId"]


def policies(stack: Stack, role: str) -> list[dict[str, Any]]:
    """The policy documents of a deployed role, inline ones only: no role has others."""
    iam, name = stack.client("iam"), physical_name(stack, role)
    assert not iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    documents = [
        iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
    ]
    assert documents
    return [json.loads(document) if isinstance(document, str) else document for document in documents]


@pytest.fixture(scope="module")
def documents(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    return {role: policies(stack, role) for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_each_of_its_duties(documents: dict[str, list[dict[str, Any]]], role: str) -> None:
    refused = [request for request in DUTIES[role] if decision(documents[role], request) != "Allow"]
    assert refused == []


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_nothing_outside_its_duties(
    documents: dict[str, list[dict[str, Any]]], role: str
) -> None:
    """Neither what nobody may do, nor another role's duties, nor its own on a neighbour's resources."""
    others = [
        request
        for other, duties in DUTIES.items()
        for request in duties
        if other != role
        and request not in DUTIES[role]
        and not (role == "CleanupRole" and deletes(request))
        and not (role in ("GlueRole", "GraderRole") and reads_a_layer(request))
    ]
    allowed = [request for request in NEVER + others if decision(documents[role], request) != "ImplicitDeny"]
    assert allowed == []


def test_the_clean_up_may_look_at_its_own_stack_only(
    stack: Stack, documents: dict[str, list[dict[str, Any]]]
) -> None:
    look = "cloudformation:DescribeStacks"
    assert decision(documents["CleanupRole"], (look, stack.stack_id, {})) == "Allow"
    assert decision(documents["CleanupRole"], (look, f"{stack.stack_id}0", {})) == "ImplicitDeny"


@pytest.mark.parametrize("role", ROLES)
def test_only_its_service_may_assume_a_role(stack: Stack, role: str) -> None:
    described = stack.client("iam").get_role(RoleName=physical_name(stack, role))["Role"]
    (statement,) = described["AssumeRolePolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
    assert statement["Principal"] == {"AWS" if role == "GraderRole" else "Service": ROLES[role]}


def test_without_a_grader_there_is_no_role_for_one(aws: LocalAws) -> None:
    with deployed(aws, "perm-2") as stack:
        assert "GraderRole" not in stack.resources()
        assert "GraderRoleArn" not in stack.outputs


@pytest.mark.parametrize("role", ROLES)
def test_parliament_knows_every_action_resource_and_condition_of_a_role(
    documents: dict[str, list[dict[str, Any]]], role: str
) -> None:
    findings = [finding for document in documents[role] for finding in parliament(document)]
    assert findings == []


def test_parliament_finds_an_action_that_does_not_exist() -> None:
    statement = {"Effect": "Allow", "Action": "s3:PutObjekt", "Resource": f"{LAKE}/*"}
    found = parliament({"Version": "2012-10-17", "Statement": [statement]})
    assert [finding["issue"] for finding in found] == ["UNKNOWN_ACTION"]
