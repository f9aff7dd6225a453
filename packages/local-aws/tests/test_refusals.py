"""It does, or it refuses by name: every action and resource type of MiniStack is one or the other.

What MiniStack has is read from its own tables. What works here is listed below, by hand: an action that an
upgrade adds is in neither list, and fails until somebody has looked.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.process import SERVICES
from local_aws.server import LocalAws

ROLE = "arn:aws:iam::000000000000:role/any"

SERVED = {
    "athena": """
        StartQueryExecution GetQueryExecution GetQueryResults StopQueryExecution ListQueryExecutions
        CreateWorkGroup DeleteWorkGroup GetWorkGroup ListWorkGroups UpdateWorkGroup CreateNamedQuery
        DeleteNamedQuery GetNamedQuery ListNamedQueries BatchGetNamedQuery BatchGetQueryExecution
        GetDataCatalog ListDataCatalogs DeleteDataCatalog CreatePreparedStatement GetPreparedStatement
        DeletePreparedStatement ListPreparedStatements GetDatabase ListDatabases GetTableMetadata
        ListTableMetadata TagResource UntagResource ListTagsForResource
    """,
    "cloudformation": """
        CreateStack DescribeStacks ListStacks DeleteStack UpdateStack DescribeStackEvents DescribeEvents
        DescribeStackResource DescribeStackResources ListStackResources GetTemplate ValidateTemplate
        ListExports CreateChangeSet DescribeChangeSet ExecuteChangeSet DeleteChangeSet ListChangeSets
        GetTemplateSummary ListImports UpdateTerminationProtection GetStackPolicy CancelUpdateStack
        ContinueUpdateRollback RollbackStack SignalResource DetectStackDrift
        DescribeStackDriftDetectionStatus DetectStackResourceDrift DescribeStackResourceDrifts
    """,
    "events": """
        CreateEventBus UpdateEventBus DeleteEventBus ListEventBuses DescribeEventBus PutRule DeleteRule
        ListRules DescribeRule EnableRule DisableRule PutTargets RemoveTargets ListTargetsByRule
        ListRuleNamesByTarget TestEventPattern PutEvents TagResource UntagResource ListTagsForResource
        DeleteArchive DescribeArchive ListArchives DescribeReplay ListReplays CancelReplay DeleteEndpoint
        DescribeEndpoint ListEndpoints DescribeEventSource DeletePartnerEventSource
        DescribePartnerEventSource ListPartnerEventSources ListPartnerEventSourceAccounts ListEventSources
        PutPermission RemovePermission CreateConnection DescribeConnection DeleteConnection
        ListConnections UpdateConnection DeauthorizeConnection CreateApiDestination DescribeApiDestination
        DeleteApiDestination ListApiDestinations UpdateApiDestination
    """,
    "glue": """
        CreateDatabase DeleteDatabase GetDatabase GetDatabases UpdateDatabase CreateTable DeleteTable
        GetTable GetTables UpdateTable BatchDeleteTable CreatePartition DeletePartition GetPartition
        GetPartitions BatchCreatePartition BatchGetPartition BatchUpdatePartition CreatePartitionIndex
        GetPartitionIndexes UpdateColumnStatisticsForTable GetColumnStatisticsForTable
        DeleteColumnStatisticsForTable UpdateColumnStatisticsForPartition
        GetColumnStatisticsForPartition DeleteColumnStatisticsForPartition CreateConnection
        DeleteConnection GetConnection GetConnections CreateCrawler DeleteCrawler GetCrawler GetCrawlers
        UpdateCrawler StopCrawler GetCrawlerMetrics CreateJob DeleteJob GetJob GetJobs UpdateJob
        StartJobRun GetJobRun GetJobRuns BatchStopJobRun DeleteSecurityConfiguration
        GetSecurityConfiguration GetSecurityConfigurations CreateClassifier GetClassifier GetClassifiers
        DeleteClassifier CreateTrigger GetTrigger DeleteTrigger UpdateTrigger StartTrigger StopTrigger
        ListTriggers BatchGetTriggers GetTriggers CreateWorkflow GetWorkflow DeleteWorkflow UpdateWorkflow
        CreateUserDefinedFunction UpdateUserDefinedFunction DeleteUserDefinedFunction
        GetUserDefinedFunction GetUserDefinedFunctions TagResource UntagResource GetTags
    """,
    "iam": """
        CreateUser GetUser ListUsers DeleteUser CreateRole GetRole ListRoles DeleteRole UpdateRole
        CreatePolicy GetPolicy GetPolicyVersion ListPolicyVersions CreatePolicyVersion
        DeletePolicyVersion ListPolicies DeletePolicy ListEntitiesForPolicy AttachRolePolicy
        DetachRolePolicy ListAttachedRolePolicies PutRolePolicy GetRolePolicy DeleteRolePolicy
        ListRolePolicies AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies CreateAccessKey
        ListAccessKeys DeleteAccessKey UpdateAccessKey GetAccessKeyLastUsed CreateInstanceProfile
        DeleteInstanceProfile GetInstanceProfile AddRoleToInstanceProfile RemoveRoleFromInstanceProfile
        ListInstanceProfiles ListInstanceProfilesForRole TagInstanceProfile UntagInstanceProfile
        ListInstanceProfileTags UpdateAssumeRolePolicy UpdateRoleDescription PutRolePermissionsBoundary
        PutUserPermissionsBoundary DeleteUserPermissionsBoundary DeleteRolePermissionsBoundary TagRole
        UntagRole ListRoleTags TagUser UntagUser ListUserTags SimulatePrincipalPolicy
        SimulateCustomPolicy CreateGroup GetGroup DeleteGroup ListGroups AddUserToGroup
        RemoveUserFromGroup ListGroupsForUser AttachGroupPolicy DetachGroupPolicy
        ListAttachedGroupPolicies PutGroupPolicy GetGroupPolicy DeleteGroupPolicy ListGroupPolicies
        PutUserPolicy GetUserPolicy DeleteUserPolicy ListUserPolicies CreateServiceLinkedRole
        DeleteServiceLinkedRole GetServiceLinkedRoleDeletionStatus GetOpenIDConnectProvider
        DeleteOpenIDConnectProvider GetServiceLastAccessedDetails GetSAMLProvider ListSAMLProviders
        DeleteSAMLProvider ListOpenIDConnectProviders GetAccountAuthorizationDetails DeactivateMFADevice
        ListMFADevices ListVirtualMFADevices DeleteVirtualMFADevice GetLoginProfile DeleteLoginProfile
        GetCredentialReport GetAccountSummary GetAccountPasswordPolicy UpdateAccountPasswordPolicy
        DeleteAccountPasswordPolicy ListAccountAliases CreateAccountAlias DeleteAccountAlias TagPolicy
        UntagPolicy ListPolicyTags
    """,
    "kms": """
        CreateKey ReplicateKey ListKeys DescribeKey GetPublicKey Sign Verify Encrypt Decrypt GenerateMac
        VerifyMac GenerateDataKey GenerateDataKeyWithoutPlaintext GenerateDataKeyPair
        GenerateDataKeyPairWithoutPlaintext GenerateRandom CreateAlias DeleteAlias ListAliases
        CreateGrant ListGrants RevokeGrant RetireGrant UpdateAlias EnableKeyRotation DisableKeyRotation
        GetKeyRotationStatus GetKeyPolicy PutKeyPolicy ListKeyPolicies EnableKey DisableKey
        UpdateKeyDescription ScheduleKeyDeletion CancelKeyDeletion DeleteImportedKeyMaterial TagResource
        UntagResource ListResourceTags
    """,
    "logs": """
        CreateLogGroup DeleteLogGroup DescribeLogGroups CreateLogStream DeleteLogStream
        DescribeLogStreams PutLogEvents GetLogEvents FilterLogEvents GetLogRecord GetLogGroupFields
        StartLiveTail PutRetentionPolicy DeleteRetentionPolicy PutSubscriptionFilter
        DeleteSubscriptionFilter DescribeSubscriptionFilters TagLogGroup UntagLogGroup ListTagsLogGroup
        TagResource UntagResource ListTagsForResource DeleteDestination DescribeDestinations
        PutResourcePolicy DescribeResourcePolicies DeleteResourcePolicy PutMetricFilter
        DeleteMetricFilter DescribeMetricFilters StartQuery GetQueryResults StopQuery GetDeliverySource
        DeleteDeliverySource DescribeDeliverySources GetDeliveryDestination DeleteDeliveryDestination
        DescribeDeliveryDestinations GetDeliveryDestinationPolicy DeleteDeliveryDestinationPolicy
        GetDelivery DeleteDelivery DescribeDeliveries
    """,
    "monitoring": """
        PutMetricData GetMetricStatistics GetMetricData ListMetrics PutMetricAlarm PutCompositeAlarm
        DescribeAlarms DescribeAlarmsForMetric DescribeAlarmHistory DeleteAlarms EnableAlarmActions
        DisableAlarmActions SetAlarmState TagResource UntagResource ListTagsForResource PutDashboard
        GetDashboard DeleteDashboards ListDashboards
    """,
    "sns": """
        CreateTopic DeleteTopic ListTopics GetTopicAttributes SetTopicAttributes AddPermission
        RemovePermission Subscribe ConfirmSubscription Unsubscribe ListSubscriptions
        ListSubscriptionsByTopic GetSubscriptionAttributes SetSubscriptionAttributes Publish PublishBatch
        ListTagsForResource TagResource UntagResource ListPlatformApplications
        GetPlatformApplicationAttributes DeletePlatformApplication GetEndpointAttributes DeleteEndpoint
    """,
    "sqs": """
        CreateQueue DeleteQueue ListQueues GetQueueUrl SendMessage ReceiveMessage DeleteMessage
        ChangeMessageVisibility ChangeMessageVisibilityBatch GetQueueAttributes SetQueueAttributes
        AddPermission RemovePermission PurgeQueue SendMessageBatch DeleteMessageBatch ListQueueTags
        TagQueue UntagQueue
    """,
    "ssm": """
        PutParameter GetParameter GetParameters GetParametersByPath DeleteParameter DeleteParameters
        DescribeParameters GetParameterHistory LabelParameterVersion AddTagsToResource
        RemoveTagsFromResource ListTagsForResource GetCommandInvocation ListCommands
        DescribeInstanceInformation GetServiceSetting
    """,
    "tagging": "GetResources GetTagKeys GetTagValues TagResources UntagResources",
}
"""Service -> the actions that were looked at, and do what they say or read what others left.

Of what cannot be created (archives, crawler runs, platform applications), reading and deleting are served:
there is none.
"""

NOT_BY_ACTION = {"lambda", "s3", "scheduler", "sts"}
"""Services without a table of actions: they tell requests apart by method and path, or one by one."""


def _source_of(service: str) -> str:
    from ministack import app
    from ministack.services.cloudformation import handlers

    if service == "cloudformation":
        return inspect.getsource(handlers)
    return inspect.getsource(app._get_module(app.SERVICE_REGISTRY[service]["module"]))


def _tables(source: str) -> Iterator[list[str]]:
    """Keys of each dictionary that maps names of actions to functions."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Dict) or len(node.keys) < 5:
            continue
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        are_functions = all(isinstance(value, ast.Name | ast.Lambda) for value in node.values)
        if are_functions and all(isinstance(key, str) and key.isalnum() and key[0].isupper() for key in keys):
            yield [str(key) for key in keys]


def _actions(service: str) -> set[str]:
    tables = sorted(_tables(_source_of(service)), key=len)
    return set(tables[-1]) if tables else set()


@pytest.mark.parametrize("service", sorted(set(SERVICES) - NOT_BY_ACTION))
def test_each_action_of_ministack_is_served_or_refused(service: str) -> None:
    from local_aws.refusals import REFUSED

    served, refused = set(SERVED[service].split()), set(REFUSED.get(service, ()))
    actions = _actions(service)
    assert len(actions) >= 5, "MiniStack's table was not found"
    assert not served & refused
    assert actions - served - refused == set(), "neither known to work nor refused"
    assert (served | refused) - actions == set(), "MiniStack has no such action any more"


def test_the_refused_configurations_of_s3_are_those_that_ministack_knows() -> None:
    from ministack.core import iam_actions

    from local_aws.refusals import REFUSED

    tables = (iam_actions._S3_QUERY_ACTIONS, iam_actions._S3_BUCKET_QUERY_ACTIONS)
    writes = {methods["PUT"] for table in tables for methods in table.values() if "PUT" in methods}
    kept = """
        PutBucketTagging PutBucketVersioning PutBucketPolicy PutBucketCORS PutLifecycleConfiguration
        PutEncryptionConfiguration PutBucketNotification PutBucketAcl PutBucketWebsite PutObject
        PutReplicationConfiguration PutBucketRequestPayment PutBucketPublicAccessBlock
        PutBucketOwnershipControls PutBucketObjectLockConfiguration
    """
    assert writes == set(kept.split()) | set(REFUSED["s3"])


OPERATIONS = {
    f"Put{name}Configuration": f"PutBucket{name}Configuration"
    for name in ("Metrics", "Analytics", "Inventory", "IntelligentTiering", "Accelerate")
}
"""IAM's names of actions that the API names otherwise."""


@pytest.mark.parametrize(
    "service",
    ["athena", "cloudformation", "events", "glue", "iam", "kms", "logs", "s3", "sns", "ssm"],
)
def test_what_is_refused_names_itself_and_what_to_use_instead(aws: LocalAws, service: str) -> None:
    from local_aws.refusals import REFUSED

    client = aws.session().client(service, config=Config(parameter_validation=False))
    for action, instead in REFUSED[service].items():
        operation = OPERATIONS.get(action, action)
        shape = client.meta.service_model.operation_model(operation).input_shape
        with pytest.raises(ClientError) as refused:
            getattr(client, xform_name(operation))(**_filled(shape) if shape else {})
        said = refused.value.response["Error"]["Message"]
        assert said == f"The embedded AWS does not serve {service}:{action}. {instead}"


def _filled(shape: Any) -> Any:
    """A value for a shape, with its required members only."""
    if shape.type_name == "structure":
        return {name: _filled(shape.members[name]) for name in shape.required_members}
    if shape.type_name == "string":
        length = max(shape.metadata.get("min", 1), 8)
        return (shape.enum or ["1" * length])[0]
    scalars: dict[str, Any] = {"blob": b"1", "boolean": True, "timestamp": 0, "list": [], "map": {}}
    return scalars.get(shape.type_name, 1)


def test_resource_types_are_served_or_refused_with_the_template(aws: LocalAws) -> None:
    from local_aws.cloudformation import SERVED_TYPES

    listing = (
        "import json; from ministack.services.cloudformation import provisioners as p;"
        "print(json.dumps(sorted(p._RESOURCE_HANDLERS)))"
    )
    listed = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    types = set(json.loads(listed.stdout))
    assert len(types) > 150
    assert SERVED_TYPES - types == {"AWS::Glue::Workflow"}, "ours, or MiniStack has it no more"
    cloudformation = aws.client("cloudformation")
    for kind in sorted(types | SERVED_TYPES):
        body = json.dumps({"Resources": {"One": {"Type": kind}}})
        try:
            cloudformation.validate_template(TemplateBody=body)
        except ClientError as error:
            assert kind not in SERVED_TYPES
            assert f"Unrecognized resource types: [{kind}]. The embedded AWS does not serve" in str(error)
        else:
            assert kind in SERVED_TYPES
    dynamodb = json.dumps({"Resources": {"One": {"Type": "AWS::DynamoDB::Table"}}})
    with pytest.raises(ClientError, match=r"ValidationError.*AWS::DynamoDB::Table.*Leave the others out"):
        cloudformation.create_stack(StackName="unserved", TemplateBody=dynamodb)
    with pytest.raises(ClientError, match="does not exist"):
        cloudformation.describe_stacks(StackName="unserved")


# Single members of requests


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"Type": "SCHEDULED", "Schedule": "cron(0 1 * * ? *)"}, "type SCHEDULED. Let EventBridge Scheduler"),
        ({"Type": "CONDITIONAL", "Predicate": {}}, "type CONDITIONAL. Let an EventBridge rule"),
        ({"Type": "EVENT"}, "needs a WorkflowName"),
        ({"Type": "ON_DEMAND", "Actions": [{"CrawlerName": "c"}]}, "start a crawler. Name a JobName"),
    ],
)
def test_a_trigger_that_would_never_fire_is_refused(
    aws: LocalAws, members: dict[str, Any], said: str
) -> None:
    glue = aws.client("glue")
    with pytest.raises(ClientError, match=f"InvalidInputException.*{said}"):
        glue.create_trigger(**{"Name": "never", "Actions": [{"JobName": "job"}], **members})
    with pytest.raises(ClientError, match="EntityNotFoundException"):
        glue.get_trigger(Name="never")


def test_a_trigger_cannot_be_given_a_schedule_later(aws: LocalAws) -> None:
    glue = aws.client("glue")
    glue.create_trigger(Name="later", Type="ON_DEMAND", Actions=[{"JobName": "job"}])
    with pytest.raises(ClientError, match="EventBridge Scheduler"):
        glue.update_trigger(Name="later", TriggerUpdate={"Schedule": "cron(0 1 * * ? *)"})
    assert glue.get_trigger(Name="later")["Trigger"].get("Schedule", "") == ""


def test_a_crawler_can_be_described_but_has_no_schedule(aws: LocalAws) -> None:
    glue = aws.client("glue")
    crawler = {"Role": ROLE, "DatabaseName": "db", "Targets": {"S3Targets": [{"Path": "s3://b/"}]}}
    glue.create_crawler(Name="described", **crawler)
    assert glue.get_crawler(Name="described")["Crawler"]["State"] == "READY"
    with pytest.raises(ClientError, match="partition projection"):
        glue.create_crawler(Name="scheduled", Schedule="cron(0 1 * * ? *)", **crawler)
    with pytest.raises(ClientError, match="partition projection"):
        glue.start_crawler(Name="described")


def test_a_trigger_on_demand_starts_its_jobs(aws: LocalAws) -> None:
    glue, s3 = aws.client("glue"), aws.client("s3")
    s3.create_bucket(Bucket="on-demand", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    glue.create_job(
        Name="on-demand", Role=ROLE, Command={"Name": "glueetl", "ScriptLocation": "s3://on-demand/none.py"}
    )
    action = {"JobName": "on-demand", "Arguments": {"--WHICH": "triggered"}}
    glue.create_trigger(Name="on-demand", Type="ON_DEMAND", Actions=[action])
    assert glue.get_job_runs(JobName="on-demand")["JobRuns"] == []
    glue.start_trigger(Name="on-demand")
    (run,) = glue.get_job_runs(JobName="on-demand")["JobRuns"]
    assert run["Arguments"]["--WHICH"] == "triggered"
    assert glue.get_trigger(Name="on-demand")["Trigger"]["State"] == "CREATED"


def test_a_trigger_that_was_stopped_starts_nothing(aws: LocalAws) -> None:
    glue, events = aws.client("glue"), aws.client("events")
    glue.create_workflow(Name="halved")
    for name in ("stopped", "going"):  # In this order they are asked.
        glue.create_job(
            Name=name, Role=ROLE, Command={"Name": "glueetl", "ScriptLocation": "s3://on-demand/none.py"}
        )
        glue.create_trigger(Name=name, Type="EVENT", WorkflowName="halved", Actions=[{"JobName": name}])
    glue.stop_trigger(Name="stopped")
    events.put_rule(Name="halved", EventPattern=json.dumps({"source": ["test.halved"]}))
    workflow = "arn:aws:glue:us-west-2:000000000000:workflow/halved"
    events.put_targets(Rule="halved", Targets=[{"Id": "1", "Arn": workflow, "RoleArn": ROLE}])
    events.put_events(Entries=[{"Source": "test.halved", "DetailType": "any", "Detail": "{}"}])
    deadline = time.monotonic() + 30
    while not glue.get_job_runs(JobName="going")["JobRuns"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert glue.get_job_runs(JobName="stopped")["JobRuns"] == []


def test_logs_go_to_functions_and_messages_to_topics_only(aws: LocalAws) -> None:
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="subscribed")
    with pytest.raises(ClientError, match=r"destination of a subscription filter.*Lambda function"):
        logs.put_subscription_filter(
            logGroupName="subscribed",
            filterName="f",
            filterPattern="",
            destinationArn="arn:aws:kinesis:us-west-2:000000000000:stream/s",
        )
    with pytest.raises(ClientError, match=r"messages to phones.*SQS queue"):
        aws.client("sns").publish(PhoneNumber="+15550100", Message="hello")


# Lambda


def _function(**members: Any) -> dict[str, Any]:
    return {"FunctionName": "f", "Runtime": "python3.12", "Role": ROLE, "Handler": "index.run", **members}


def _zip(**files: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (
            {"Code": {"S3Bucket": "code-there", "S3Key": "no.zip"}},
            "NoSuchKey.*Upload the code to s3://code-there",
        ),
        ({"Code": {"S3Bucket": "code-nowhere", "S3Key": "no.zip"}}, "NoSuchBucket"),
        ({"Code": {"ZipFile": _zip()}, "Runtime": "java17"}, "runtime java17. Functions run in Python"),
        ({"Code": {"ImageUri": "x"}, "PackageType": "Image"}, "in images. Deploy the code as a .zip file"),
    ],
)
def test_a_function_that_cannot_run_is_refused(aws: LocalAws, members: dict[str, Any], said: str) -> None:
    functions, s3 = aws.client("lambda"), aws.client("s3")
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket="code-there", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with pytest.raises(ClientError, match=f"InvalidParameterValueException.*{said}"):
        functions.create_function(**_function(**members))
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        functions.get_function(FunctionName="f")


def test_a_function_of_a_template_whose_code_is_missing_fails_the_stack(aws: LocalAws) -> None:
    cloudformation = aws.client("cloudformation")
    code = {"S3Bucket": "code-nowhere", "S3Key": "no.zip"}
    function = {"Type": "AWS::Lambda::Function", "Properties": _function(Code=code)}
    body = json.dumps({"Resources": {"Function": function}})
    cloudformation.create_stack(StackName="codeless", TemplateBody=body)
    with pytest.raises(Exception, match="ROLLBACK_COMPLETE"):
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName="codeless", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
    events = cloudformation.describe_stack_events(StackName="codeless")["StackEvents"]
    reasons = [event.get("ResourceStatusReason", "") for event in events]
    assert "S3 Error Code: NoSuchBucket" in " ".join(reasons)


def test_a_binary_that_is_missing_is_an_error_of_the_function(aws: LocalAws) -> None:
    functions = aws.client("lambda")
    functions.create_function(
        **_function(FunctionName="empty", Runtime="provided.al2023", Code={"ZipFile": _zip(readme="none")})
    )
    answer = functions.invoke(FunctionName="empty", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert "Mock" not in answer["Payload"].read().decode()
