"""Contract of the embedded CloudFormation: what MiniStack alone leaves out of buckets and of stacks.

Each test fails without `local_aws.cloudformation`, or when a MiniStack upgrade changes what that builds upon.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws

CONFIGURED = {
    "BucketEncryption": {
        "ServerSideEncryptionConfiguration": [
            {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
        ]
    },
    "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]},
    "LifecycleConfiguration": {
        "Rules": [
            {"Id": "days", "Status": "Enabled", "Prefix": "raw/", "ExpirationInDays": "30"},
            {
                "Id": "versions",
                "Status": "Disabled",
                "NoncurrentVersionExpiration": {"NoncurrentDays": 7, "NewerNoncurrentVersions": 2},
                "ExpiredObjectDeleteMarker": True,
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
            },
        ]
    },
}


class BucketStack:
    """A stack of one bucket."""

    def __init__(self, aws: LocalAws, name: str) -> None:
        self.name = name
        self.cloudformation, self.s3 = aws.client("cloudformation"), aws.client("s3")
        self.stack_id = name

    def deploy(self, **properties: Any) -> str:
        """Create the stack, or update it when it exists; the status that it comes to rest in."""
        bucket = {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": self.name, **properties}}
        body = json.dumps({"Resources": {"Bucket": bucket}})
        change = (
            self.cloudformation.create_stack
            if self.stack_id == self.name
            else self.cloudformation.update_stack
        )
        self.stack_id = change(StackName=self.name, TemplateBody=body)["StackId"]
        return self.wait()

    def delete(self) -> str:
        self.cloudformation.delete_stack(StackName=self.name)
        return self.wait()

    def wait(self) -> str:
        deadline = time.monotonic() + 30
        while (status := self._status()).endswith("IN_PROGRESS"):
            assert time.monotonic() < deadline, status
            time.sleep(0.05)
        return status

    def reasons(self) -> str:
        """What the stack's events say of failures."""
        events = self.cloudformation.describe_stack_events(StackName=self.stack_id)["StackEvents"]
        return " ".join(event.get("ResourceStatusReason", "") for event in events)

    def _status(self) -> str:
        return self.cloudformation.describe_stacks(StackName=self.stack_id)["Stacks"][0]["StackStatus"]


def test_encryption_ownership_and_lifecycle_of_the_template_are_applied(aws: LocalAws) -> None:
    stack = BucketStack(aws, "cfn-configured")
    assert stack.deploy(**CONFIGURED) == "CREATE_COMPLETE"

    encryption = stack.s3.get_bucket_encryption(Bucket=stack.name)["ServerSideEncryptionConfiguration"]
    assert encryption["Rules"] == [
        {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}, "BucketKeyEnabled": True}
    ]
    ownership = stack.s3.get_bucket_ownership_controls(Bucket=stack.name)["OwnershipControls"]
    assert ownership["Rules"] == [{"ObjectOwnership": "BucketOwnerPreferred"}]
    assert stack.s3.get_bucket_lifecycle_configuration(Bucket=stack.name)["Rules"] == [
        {"ID": "days", "Status": "Enabled", "Filter": {"Prefix": "raw/"}, "Expiration": {"Days": 30}},
        {
            "ID": "versions",
            "Status": "Disabled",
            "Filter": {"Prefix": ""},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 7, "NewerNoncurrentVersions": 2},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
    ]
    assert stack.delete() == "DELETE_COMPLETE"


def test_an_update_changes_and_removes_them(aws: LocalAws) -> None:
    stack = BucketStack(aws, "cfn-updated")
    stack.deploy(**CONFIGURED)
    rule = {"Id": "days", "Status": "Enabled", "Prefix": "raw/", "ExpirationInDays": 5}
    assert stack.deploy(LifecycleConfiguration={"Rules": [rule]}) == "UPDATE_COMPLETE"
    (stored,) = stack.s3.get_bucket_lifecycle_configuration(Bucket=stack.name)["Rules"]
    assert stored["Expiration"] == {"Days": 5}
    encryption = stack.s3.get_bucket_encryption(Bucket=stack.name)["ServerSideEncryptionConfiguration"]
    assert "aws:kms" not in json.dumps(encryption)

    assert stack.deploy() == "UPDATE_COMPLETE"
    with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
        stack.s3.get_bucket_lifecycle_configuration(Bucket=stack.name)
    assert stack.delete() == "DELETE_COMPLETE"


def test_a_bucket_that_holds_anything_is_not_deleted(aws: LocalAws) -> None:
    stack = BucketStack(aws, "cfn-full")
    stack.deploy()
    stack.s3.put_object(Bucket=stack.name, Key="kept", Body=b"data")
    assert stack.delete() == "DELETE_FAILED"
    assert "not empty" in stack.reasons()
    assert stack.s3.get_object(Bucket=stack.name, Key="kept")["Body"].read() == b"data"

    stack.s3.delete_object(Bucket=stack.name, Key="kept")
    assert stack.delete() == "DELETE_COMPLETE"


def test_a_bucket_that_somebody_deleted_does_not_hold_up_the_stack(aws: LocalAws) -> None:
    stack = BucketStack(aws, "cfn-gone")
    stack.deploy()
    stack.s3.delete_bucket(Bucket=stack.name)
    assert stack.delete() == "DELETE_COMPLETE"


def test_lifecycle_rules_of_every_kind_are_taken_and_can_be_read_back(aws: LocalAws) -> None:
    stack = BucketStack(aws, "cfn-lifecycle")
    rules = [
        {
            "Id": "starter",
            "Status": "Enabled",
            "ExpirationInDays": 365,
            "NoncurrentVersionExpirationInDays": 30,
            "Transitions": [
                {"StorageClass": "STANDARD_IA", "TransitionInDays": 30},
                {"StorageClass": "GLACIER", "TransitionInDays": 90},
            ],
        },
        {
            "Id": "narrow",
            "Status": "Enabled",
            "Prefix": "logs/",
            "TagFilters": [{"Key": "kind", "Value": "old"}],
            "ObjectSizeGreaterThan": "1024",
            "NoncurrentVersionTransitions": [{"StorageClass": "GLACIER", "TransitionInDays": 7}],
        },
        {
            "Id": "tagged",
            "Status": "Enabled",
            "TagFilters": [{"Key": "a", "Value": "b"}],
            "ExpirationInDays": 1,
        },
    ]
    assert stack.deploy(LifecycleConfiguration={"Rules": rules}) == "CREATE_COMPLETE", stack.reasons()
    assert stack.s3.get_bucket_lifecycle_configuration(Bucket=stack.name)["Rules"] == [
        {
            "ID": "starter",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "Expiration": {"Days": 365},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
            "Transitions": [
                {"Days": 30, "StorageClass": "STANDARD_IA"},
                {"Days": 90, "StorageClass": "GLACIER"},
            ],
        },
        {
            "ID": "narrow",
            "Status": "Enabled",
            "Filter": {
                "And": {
                    "Prefix": "logs/",
                    "Tags": [{"Key": "kind", "Value": "old"}],
                    "ObjectSizeGreaterThan": 1024,
                }
            },
            "NoncurrentVersionTransitions": [{"NoncurrentDays": 7, "StorageClass": "GLACIER"}],
        },
        {
            "ID": "tagged",
            "Status": "Enabled",
            "Filter": {"Tag": {"Key": "a", "Value": "b"}},
            "Expiration": {"Days": 1},
        },
    ]
    assert stack.delete() == "DELETE_COMPLETE"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"Status": "Enabled", "ExpirationDays": 1}, "no such properties: ['ExpirationDays']"),
        ({"Status": "Enabled", "ExpirationInDays": 0}, "must be a positive integer"),
    ],
)
def test_a_stack_that_rolled_back_can_be_created_again_once_it_is_deleted(
    aws: LocalAws, rule: dict[str, Any], reason: str
) -> None:
    stack = BucketStack(aws, f"cfn-again-{len(rule)}-{len(reason)}")
    assert stack.deploy(LifecycleConfiguration={"Rules": [rule]}) == "ROLLBACK_COMPLETE"
    assert reason in stack.reasons()
    with pytest.raises(ClientError, match="404"):
        stack.s3.head_bucket(Bucket=stack.name)
    template = json.dumps({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}})
    with pytest.raises(ClientError, match=r"AlreadyExistsException.*rolled back: delete it, then create"):
        stack.cloudformation.create_stack(StackName=stack.name, TemplateBody=template)
    with pytest.raises(ClientError, match=r"AlreadyExistsException.*rolled back: delete it, then create"):
        stack.cloudformation.create_change_set(
            StackName=stack.name, ChangeSetName="again", ChangeSetType="CREATE", TemplateBody=template
        )
    with pytest.raises(ClientError, match=r"ROLLBACK_COMPLETE state and can ?not be updated"):
        stack.cloudformation.update_stack(StackName=stack.name, TemplateBody=template)
    assert stack.delete() == "DELETE_COMPLETE"

    stack.stack_id = stack.name
    assert stack.deploy() == "CREATE_COMPLETE"
    stack.s3.head_bucket(Bucket=stack.name)
    assert stack.delete() == "DELETE_COMPLETE"


def test_the_name_of_a_change_set_is_free_once_it_was_executed_and_not_before(aws: LocalAws) -> None:
    cloudformation = aws.client("cloudformation")

    def create(kind: str, versioning: str) -> None:
        properties = {"VersioningConfiguration": {"Status": versioning}}
        bucket = {"Type": "AWS::S3::Bucket", "Properties": properties}
        cloudformation.create_change_set(
            StackName="named-by-the-second",
            ChangeSetName="deploy-1795789767",
            ChangeSetType=kind,
            TemplateBody=json.dumps({"Resources": {"Bucket": bucket}}),
        )

    create("CREATE", "Enabled")
    with pytest.raises(ClientError, match=r"deploy-1795789767.* already exists"):
        create("CREATE", "Suspended")
    cloudformation.execute_change_set(StackName="named-by-the-second", ChangeSetName="deploy-1795789767")
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="named-by-the-second", WaiterConfig={"Delay": 1}
    )

    create("UPDATE", "Suspended")

    (change_set,) = cloudformation.list_change_sets(StackName="named-by-the-second")["Summaries"]
    assert change_set["ExecutionStatus"] == "AVAILABLE"


SLOW = """
import time

import cfnresponse


def handler(event, context):
    time.sleep(1)
    cfnresponse.send(event, context, cfnresponse.SUCCESS, {}, "slow")
"""


def test_a_stack_deleted_while_it_waits_for_a_custom_resource_is_created_no_further(aws: LocalAws) -> None:
    function = {
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Role": "arn:aws:iam::000000000000:role/any",
        "Timeout": 30,
        "Code": {"ZipFile": SLOW},
    }
    resources = {
        "Function": {"Type": "AWS::Lambda::Function", "Properties": function},
        "Slow": {"Type": "Custom::Slow", "Properties": {"ServiceToken": {"Fn::GetAtt": "Function.Arn"}}},
        "Bucket": {"Type": "AWS::S3::Bucket", "DependsOn": "Slow"},
    }
    stack = BucketStack(aws, "cfn-deleted-early")
    body = json.dumps({"Resources": resources})
    stack.stack_id = stack.cloudformation.create_stack(StackName=stack.name, TemplateBody=body)["StackId"]

    def events() -> list[tuple[str, str]]:
        """The newest first."""
        answer = stack.cloudformation.describe_stack_events(StackName=stack.stack_id)
        return [(event["LogicalResourceId"], event["ResourceStatus"]) for event in answer["StackEvents"]]

    deadline = time.monotonic() + 30
    while ("Slow", "CREATE_IN_PROGRESS") not in events():
        assert time.monotonic() < deadline, events()
        time.sleep(0.05)
    assert stack.delete() == "DELETE_COMPLETE"
    told = events()
    assert told[0] == (stack.name, "DELETE_COMPLETE")
    assert ("Slow", "DELETE_COMPLETE") in told and ("Function", "DELETE_COMPLETE") in told
    assert ("Bucket", "CREATE_COMPLETE") not in told
