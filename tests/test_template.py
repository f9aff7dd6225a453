"""What the template says, without deploying it: clean, in step with the ETL script, least privilege."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest

from glue_scripts.capstone_etl import FIRST_YEAR, LAST_YEAR, TABLES
from tests import template

ACCOUNT = "123456789012"
BUCKETS = ("SourceBucket", "AnalyticsBucket")
INLINE_FUNCTIONS = ("GeneratorFunction", "CleanupFunction")
PARTITION_RANGES = {
    "year": f"{FIRST_YEAR},{LAST_YEAR}",
    "month": "1,12",
    "day": "1,31",
    "hour": "0,23",
    "minute": "0,59",
}
INJECTED = {"bronze.events": ("year", "month", "day")}
"""Partition keys that every query has to name. Athena injects strings only."""

USD_PER_LIST_REQUEST = 0.000005

# Actions for which AWS knows no resource; every other action is to be narrowed to one.
UNRESTRICTABLE = {"glue:GetJobBookmark"}


def named(value: Any, student_id: str) -> str:
    """A name or ARN of the template with the parameters filled in; other references stay as ${Reference}."""
    if isinstance(value, str):
        return value
    assert value.keys() == {"Fn::Sub"}, value
    text, variables = value["Fn::Sub"], {}
    if isinstance(text, list):
        text, variables = text
    if variables:
        underscored = {"Fn::Join": ["_", {"Fn::Split": ["-", {"Ref": "StudentId"}]}]}
        assert variables == {"Id": underscored}
    for name, replacement in {
        "StudentId": student_id,
        "AWS::AccountId": ACCOUNT,
        "Id": student_id.replace("-", "_"),
    }.items():
        text = text.replace(f"${{{name}}}", replacement)
    return text.replace("${!", "${")


def roles() -> dict[str, dict[str, Any]]:
    return {name: role["Properties"] for name, role in template.resources("AWS::IAM::Role").items()}


def statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    return [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def table(name: str) -> dict[str, Any]:
    """The TableInput of a table of the script's TABLES, "layer.table"."""
    layer, table_name = name.split(".")
    found = [
        properties["TableInput"]
        for resource in template.resources("AWS::Glue::Table").values()
        for properties in [resource["Properties"]]
        if properties["TableInput"]["Name"] == table_name
        and properties["DatabaseName"] == {"Ref": f"{layer.capitalize()}Database"}
    ]
    assert len(found) == 1, f"{name}: {len(found)} tables in the template"
    return found[0]


# --- The template as a whole --------------------------------------------------------------------------------


def test_create_stack_accepts_the_template_as_a_file_and_there_is_room_for_the_next_feature() -> None:
    """The TemplateBody of CreateStack has at most 51,200 bytes; beyond that the template must lie in S3."""
    assert len(template.body().encode()) <= 45_000


def test_parameters_are_the_documented_ones() -> None:
    parameters = template.content()["Parameters"]
    assert {name: parameter.get("Default") for name, parameter in parameters.items()} == {
        "StudentId": None,
        "EventsPerRunMin": 500_000,
        "EventsPerRunMax": 750_000,
        "GeneratorState": "ENABLED",
        "LabRoleArn": "",
        "GraderAccountId": "",
        "RawRetentionDays": 30,
        "EtlSchedule": 0,
    }
    assert parameters["StudentId"]["AllowedPattern"] == "^[a-z0-9-]+$"
    assert parameters["GeneratorState"]["AllowedValues"] == ["ENABLED", "DISABLED"]
    assert all(parameter["Description"] for parameter in parameters.values())


def test_outputs_are_all_that_the_notebook_needs() -> None:
    outputs = template.content()["Outputs"]
    assert set(outputs) == {
        "StudentId",
        "SourceBucketName",
        "AnalyticsBucketName",
        "GeneratorFunctionName",
        "GlueRoleArn",
        "GlueJobName",
        "BronzeDatabaseName",
        "SilverDatabaseName",
        "GoldDatabaseName",
        "AthenaWorkgroupName",
        "AthenaResultsLocation",
        "JobLogGroupPrefix",
        "ScriptLocation",
        "QueriesLocation",
        "RawEventsLocation",
        "AnalyticsDataLocation",
        "GraderRoleArn",
    }


@pytest.mark.parametrize("student_id", ["jsanghvi", "mary-ann-2"])
def test_names_are_the_documented_ones(student_id: str) -> None:
    resources = template.content()["Resources"]

    def name_of(resource: str, *path: str) -> str:
        value = resources[resource]["Properties"]
        for key in path:
            value = value[key]
        return named(value, student_id)

    underscored = student_id.replace("-", "_")
    assert name_of("SourceBucket", "BucketName") == f"capstone-events-{student_id}-{ACCOUNT}"
    assert name_of("AnalyticsBucket", "BucketName") == f"capstone-analytics-{student_id}-{ACCOUNT}"
    assert name_of("GeneratorFunction", "FunctionName") == f"capstone-event-generator-{student_id}"
    assert name_of("AthenaWorkgroup", "Name") == f"capstone-{student_id}"
    assert name_of("BronzeDatabase", "DatabaseInput", "Name") == f"bronze_{underscored}"
    assert name_of("SilverDatabase", "DatabaseInput", "Name") == f"silver_{underscored}"
    assert name_of("GoldDatabase", "DatabaseInput", "Name") == f"gold_{underscored}"
    assert named(template.content()["Outputs"]["GlueJobName"]["Value"], student_id) == (
        f"capstone-etl-{student_id}"
    )


@pytest.mark.parametrize(
    ("resource", "name_property", "limit"),
    [
        ("SourceBucket", "BucketName", 63),
        ("AnalyticsBucket", "BucketName", 63),
        ("GeneratorFunction", "FunctionName", 64),
        ("CleanupFunction", "FunctionName", 64),
        ("GeneratorSchedule", "Name", 64),
        ("JobSchedule", "Name", 64),
        ("AthenaWorkgroup", "Name", 128),
    ],
)
def test_the_longest_student_id_fits_every_name(resource: str, name_property: str, limit: int) -> None:
    longest = "x" * template.content()["Parameters"]["StudentId"]["MaxLength"]
    name = named(template.content()["Resources"][resource]["Properties"][name_property], longest)
    assert len(name) <= limit


# --- Catalog ------------------------------------------------------------------------------------------------


def test_the_template_has_exactly_the_tables_that_the_job_writes() -> None:
    names = {
        f"{properties['DatabaseName']['Ref'].removesuffix('Database').lower()}.{properties['TableInput']['Name']}"
        for resource in template.resources("AWS::Glue::Table").values()
        for properties in [resource["Properties"]]
    }
    assert names == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_columns_that_the_job_writes(name: str) -> None:
    written, declared = TABLES[name], table(name)
    columns = [(column["Name"], column["Type"]) for column in declared["StorageDescriptor"]["Columns"]]
    assert columns == [(field.name, field.dataType.simpleString()) for field in written.columns.fields]
    keys = [(key["Name"], key["Type"]) for key in declared.get("PartitionKeys", [])]
    injected = INJECTED.get(name, ())
    assert keys == [(key, "string" if key in injected else "int") for key in written.partitions]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_external_parquet_where_the_job_writes_it(name: str) -> None:
    declared = table(name)
    assert declared["TableType"] == "EXTERNAL_TABLE"
    assert declared["Parameters"]["classification"] == "parquet"
    storage = declared["StorageDescriptor"]
    assert named(storage["Location"], "x") == f"s3://${{AnalyticsBucket}}/{TABLES[name].location}/"
    format_of = template.content()["Mappings"]["Parquet"]["Hive"]
    for setting, key in (
        (storage["InputFormat"], "In"),
        (storage["OutputFormat"], "Out"),
        (storage["SerdeInfo"]["SerializationLibrary"], "Serde"),
    ):
        assert setting == {"Fn::FindInMap": ["Parquet", "Hive", key]}
        assert "parquet" in format_of[key]
    assert format_of["In"].endswith("InputFormat") and format_of["Out"].endswith("OutputFormat")


@pytest.mark.parametrize("name", TABLES)
def test_a_partitioned_table_projects_its_partitions(name: str) -> None:
    written, parameters = TABLES[name], table(name)["Parameters"]
    if not written.partitions:
        assert set(parameters) == {"classification"}
        return
    assert parameters["projection.enabled"] == "true"
    for key in written.partitions:
        if key in INJECTED.get(name, ()):
            assert parameters[f"projection.{key}.type"] == "injected"
            continue
        assert parameters[f"projection.{key}.type"] == "integer"
        assert parameters[f"projection.{key}.range"] == PARTITION_RANGES[key]
        # Folders are zero-padded: month=03.
        assert parameters.get(f"projection.{key}.digits") == (None if key == "year" else "2")
    # Athena's own template is Hive's folders below the location, which the job writes: none is needed
    # (https://repost.aws/knowledge-center/athena-error-invalid-table-property).
    assert "storage.location.template" not in parameters


@pytest.mark.parametrize("name", [name for name, table in TABLES.items() if table.partitions])
def test_a_query_without_a_filter_costs_cents_at_most(name: str) -> None:
    """Athena lists each projected partition that a query leaves open; injected ones it has to name."""
    parameters, partitions = table(name)["Parameters"], 1
    for key in TABLES[name].partitions:
        if parameters[f"projection.{key}.type"] == "integer":
            low, high = map(int, parameters[f"projection.{key}.range"].split(","))
            partitions *= high - low + 1
    assert partitions * USD_PER_LIST_REQUEST < 0.05


def test_databases_tables_and_columns_say_what_they_hold() -> None:
    for database in template.resources("AWS::Glue::Database").values():
        assert database["Properties"]["DatabaseInput"]["Description"]
    for name in TABLES:
        declared = table(name)
        assert declared["Description"]
        for column in [*declared["StorageDescriptor"]["Columns"], *declared.get("PartitionKeys", [])]:
            assert column.get("Comment"), f"{name}.{column['Name']} has no comment"


# --- Buckets and deletion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_versioned_encrypted_private_and_spoken_to_over_tls_only(bucket: str) -> None:
    properties = template.content()["Resources"][bucket]["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    encryption = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption == [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    block = properties["PublicAccessBlockConfiguration"]
    assert len(block) == 4 and all(block.values())

    (policy,) = [
        resource["Properties"]["PolicyDocument"]["Statement"]
        for resource in template.resources("AWS::S3::BucketPolicy").values()
        if resource["Properties"]["Bucket"] == {"Ref": bucket}
    ]
    (statement,) = policy
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [{"Fn::GetAtt": [bucket, "Arn"]}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}]


@pytest.mark.parametrize("bucket", BUCKETS)
def test_no_bucket_keeps_old_versions_or_incomplete_uploads(bucket: str) -> None:
    properties = template.content()["Resources"][bucket]["Properties"]
    rules = {rule["Id"]: rule for rule in properties["LifecycleConfiguration"]["Rules"]}
    assert all(rule["Status"] == "Enabled" for rule in rules.values())
    assert "Prefix" not in rules["expire-old-versions"]
    assert rules["expire-old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] <= 7
    assert rules["expire-old-versions"]["ExpiredObjectDeleteMarker"] is True
    assert "Prefix" not in rules["abort-incomplete-uploads"]
    assert rules["abort-incomplete-uploads"]["AbortIncompleteMultipartUpload"]


def test_only_raw_events_and_athena_results_expire() -> None:
    expiring = {
        (bucket, rule["Prefix"]): rule["ExpirationInDays"]
        for bucket in BUCKETS
        for rule in template.content()["Resources"][bucket]["Properties"]["LifecycleConfiguration"]["Rules"]
        if "ExpirationInDays" in rule
    }
    assert expiring == {
        ("SourceBucket", "events/"): {"Ref": "RawRetentionDays"},
        ("AnalyticsBucket", "athena-results/"): 7,
    }


@pytest.mark.parametrize("bucket", BUCKETS)
def test_deleting_the_stack_deletes_a_bucket_but_replacing_it_keeps_the_data(bucket: str) -> None:
    resource = template.content()["Resources"][bucket]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Delete", "Retain")


def test_what_writes_to_the_buckets_is_deleted_before_the_clean_up_empties_them() -> None:
    """CloudFormation deletes a resource after those that depend on it."""
    resources = template.content()["Resources"]
    assert resources["BucketCleanup"]["Properties"]["BucketNames"] == [{"Ref": name} for name in BUCKETS]
    for writer in ("GeneratorFunction", "GlueRole", "JobSchedule", "AthenaWorkgroup"):
        assert resources[writer]["DependsOn"] == "BucketCleanup"


# --- Roles and functions ------------------------------------------------------------------------------------


def test_each_duty_has_a_role_of_its_own_which_only_its_service_may_assume() -> None:
    trusted = {
        name: [
            (statement["Principal"], statement["Action"])
            for statement in role["AssumeRolePolicyDocument"]["Statement"]
        ]
        for name, role in roles().items()
    }
    assert trusted == {
        "GeneratorRole": [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")],
        "CleanupRole": [({"Service": "lambda.amazonaws.com"}, "sts:AssumeRole")],
        "GlueRole": [({"Service": "glue.amazonaws.com"}, "sts:AssumeRole")],
        "SchedulerRole": [({"Service": "scheduler.amazonaws.com"}, "sts:AssumeRole")],
        "GraderRole": [({"AWS": {"Ref": "GraderAccountId"}}, "sts:AssumeRole")],
    }


@pytest.mark.parametrize("role", ["GlueRole", "SchedulerRole"])
def test_a_service_that_acts_for_other_accounts_too_may_assume_a_role_for_this_one_only(role: str) -> None:
    """Of Glue nothing says that it always sends the key: hence IfExists there."""
    (statement,) = roles()[role]["AssumeRolePolicyDocument"]["Statement"]
    ((operator, keys),) = statement["Condition"].items()
    assert operator == ("StringEqualsIfExists" if role == "GlueRole" else "StringEquals")
    assert keys == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


@pytest.mark.parametrize("role", ["GeneratorRole", "CleanupRole", "GlueRole", "SchedulerRole", "GraderRole"])
def test_a_role_allows_named_actions_on_named_resources(role: str) -> None:
    assert "ManagedPolicyArns" not in roles()[role]
    for statement in statements(roles()[role]):
        assert statement["Effect"] == "Allow"
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action]
        if statement["Resource"] == "*":
            assert set(actions) <= UNRESTRICTABLE
        else:
            assert "*" not in as_list(statement["Resource"])


def test_the_job_lists_and_writes_below_the_prefixes_of_its_layers_only() -> None:
    glue = {statement.get("Sid"): statement for statement in statements(roles()["GlueRole"])}
    separator, arns = glue["WriteData"]["Resource"]["Fn::Split"]
    writable = {arn.removeprefix("${B}/") for arn in arns["Fn::Sub"][0].split(separator)}
    assert writable == {"bronze/*", "silver/*", "gold/*", "_pending/*"}
    for sid in ("ListRawEvents", "ListData"):
        assert glue[sid]["Condition"]["StringLikeIfExists"]["s3:prefix"]
    assert {location.location.split("/")[0] for location in TABLES.values()} == {"bronze", "silver", "gold"}


def test_with_a_lab_role_the_stack_creates_no_role() -> None:
    content = template.content()
    assert content["Conditions"]["CreateRoles"] == {"Fn::Equals": [{"Ref": "LabRoleArn"}, ""]}
    assert content["Conditions"]["CreateSchedulerRole"]["Fn::And"][0] == {"Condition": "CreateRoles"}
    for name, role in template.resources("AWS::IAM::Role").items():
        if name != "GraderRole":  # which AWS refuses by name where no role may be created
            assert role["Condition"] == ("CreateSchedulerRole" if name == "SchedulerRole" else "CreateRoles")
    users = [content["Resources"][function]["Properties"]["Role"] for function in INLINE_FUNCTIONS]
    users.append(content["Resources"]["JobSchedule"]["Properties"]["Target"]["RoleArn"])
    users.append(content["Outputs"]["GlueRoleArn"]["Value"])
    for role_reference in users:
        condition, own, shared = role_reference["Fn::If"]
        assert (condition, shared) == ("CreateRoles", {"Ref": "LabRoleArn"})
        assert own["Fn::GetAtt"][0] in roles()


@pytest.mark.parametrize(
    ("arn", "accepted"),
    [
        ("", True),
        ("arn:aws:iam::123456789012:role/LabRole", True),
        ("arn:aws-us-gov:iam::123456789012:role/path/LabRole", True),
        ("LabRole", False),
        ("arn:aws:iam::123456789012:user/somebody", False),
    ],
)
def test_lab_role_arn_is_empty_or_the_arn_of_a_role(arn: str, accepted: bool) -> None:
    pattern = template.content()["Parameters"]["LabRoleArn"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, arn)) == accepted


def test_only_the_schedule_may_invoke_the_generator() -> None:
    (permission,) = template.resources("AWS::Lambda::Permission").values()
    assert permission["Properties"] == {
        "FunctionName": {"Ref": "GeneratorFunction"},
        "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": ["GeneratorSchedule", "Arn"]},
    }
    schedule = template.content()["Resources"]["GeneratorSchedule"]["Properties"]
    assert schedule["ScheduleExpression"] == "rate(5 minutes)"
    # A course's budget pays for what LabRole runs: there the generator waits for you.
    assert schedule["State"] == {"Fn::If": ["CreateRoles", {"Ref": "GeneratorState"}, "DISABLED"]}


def test_every_log_group_has_a_retention() -> None:
    for group in template.resources("AWS::Logs::LogGroup").values():
        assert group["Properties"]["RetentionInDays"] > 0


@pytest.mark.parametrize("function", INLINE_FUNCTIONS)
def test_inline_code_meets_the_projects_style(function: str) -> None:
    for command in (["check"], ["format", "--check"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", f"{function}.py", "-"],
            input=template.inline_code(function),
            text=True,
            check=True,
            cwd=template.PATH.parent,
        )
