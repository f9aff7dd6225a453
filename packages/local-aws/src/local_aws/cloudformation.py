"""CloudFormation as AWS has it, where MiniStack's pretends: resource types, rolled back stacks, buckets.

Resource types of services that are not served, which MiniStack would report as created, are refused with the
template. A stack that rolled back has to be deleted before its name can be used again; one that is deleted
while it is created is not created any further. Of AWS::S3::Bucket,
MiniStack ignores BucketEncryption, LifecycleConfiguration and OwnershipControls, and it deletes a bucket
together with whatever it holds, where AWS fails with BucketNotEmpty: a clean-up that does not work would go
unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from ministack.services import cloudformation, s3
from ministack.services.cloudformation import changesets, handlers, provisioners, stacks

from local_aws.refusals import refusal

Properties = Mapping[str, Any]
Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body, as MiniStack's S3 functions return them."""
Operation = Callable[..., Coroutine[Any, Any, None]]
"""MiniStack's work on a stack in the background; the arguments begin with the stack's name and id."""

SERVED_TYPES = frozenset(
    f"AWS::{service}::{kind}"
    for service, kinds in {
        "Athena": "WorkGroup",
        "CDK": "Metadata",
        "CloudFormation": "CustomResource Stack WaitCondition WaitConditionHandle",
        "CloudWatch": "Alarm Dashboard",
        "Events": "EventBus Rule",
        "Glue": "Connection Crawler Database Job Partition Table Trigger Workflow",
        "IAM": "InstanceProfile ManagedPolicy Policy Role User",
        "KMS": "Alias Key",
        "Lambda": "Alias EventInvokeConfig EventSourceMapping Function LayerVersion LayerVersionPermission"
        " Permission Url Version",
        "Logs": "LogGroup LogStream MetricFilter ResourcePolicy SubscriptionFilter",
        "S3": "Bucket BucketPolicy",
        "SNS": "Subscription Topic TopicPolicy",
        "SQS": "Queue QueuePolicy",
        "SSM": "Parameter",
        "Scheduler": "Schedule ScheduleGroup",
    }.items()
    for kind in kinds.split()
)

_UNRECOGNIZED = "Unrecognized resource types"
_LIFECYCLE_RULE_PROPERTIES = {
    "Id",
    "Status",
    "Prefix",
    "TagFilters",
    "ObjectSizeGreaterThan",
    "ObjectSizeLessThan",
    "ExpirationInDays",
    "ExpirationDate",
    "ExpiredObjectDeleteMarker",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionExpirationInDays",
    "Transition",
    "Transitions",
    "NoncurrentVersionTransition",
    "NoncurrentVersionTransitions",
    "AbortIncompleteMultipartUpload",
}
"""All that AWS::S3::Bucket's Rule has (AWS CloudFormation Template Reference, "AWS::S3::Bucket Rule")."""


def install() -> None:
    """Patch MiniStack in this process. Raises KeyError or AttributeError when an upgrade renamed a part."""
    for kind in provisioners._RESOURCE_HANDLERS.keys() - SERVED_TYPES:
        del provisioners._RESOURCE_HANDLERS[kind]
    for module in (handlers, changesets):
        module.validate_template_support = _naming_what_is_served(module.validate_template_support)
    for action, names_new_stack in (("CreateStack", _always), ("CreateChangeSet", _is_of_type_create)):
        original = handlers._ACTION_HANDLERS[action]
        handlers._ACTION_HANDLERS[action] = _refusing_rolled_back(original, names_new_stack)
    create_change_set = handlers._ACTION_HANDLERS["CreateChangeSet"]
    handlers._ACTION_HANDLERS["CreateChangeSet"] = _forgetting_the_executed(create_change_set)
    at_work: dict[str, asyncio.Event] = {}
    handlers._deploy_stack_async = changesets._deploy_stack_async = _telling_its_end(
        stacks._deploy_stack_async, at_work
    )
    handlers._delete_stack_async = _ending_the_creation(stacks._delete_stack_async, at_work)
    stacks._provision_keeping_seed = _unless_deleted(stacks._provision_keeping_seed)
    bucket = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    bucket.update(
        create=_configuring_create(bucket["create"]),
        update=_configuring_update(bucket["update"]),
        delete=_delete,
    )


def _naming_what_is_served(validate: Callable[..., None]) -> Callable[..., None]:
    """MiniStack's check of a template, which says of an unknown type what to do about it."""

    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            validate(*arguments, **options)
        except ValueError as error:
            if _UNRECOGNIZED not in str(error):
                raise
            services = ", ".join(sorted({kind.split("::")[1] for kind in SERVED_TYPES}))
            instead = (
                f"It serves types of {services}. Leave the others out by a Condition, or deploy them on AWS."
            )
            raise ValueError(f"{error}. {refusal('these types', instead)}") from error

    return wrapped


def _refusing_rolled_back(
    action: Callable[[Properties], Answer], names_new_stack: Callable[[Properties], bool]
) -> Callable[[Properties], Answer]:
    """CreateStack or CreateChangeSet, refusing the name of a stack that is still there, rolled back."""

    def wrapped(parameters: Properties) -> Answer:
        name = handlers._p(parameters, "StackName")
        stack = cloudformation._stacks.get(name) or {}
        if stack.get("StackStatus") == "ROLLBACK_COMPLETE" and names_new_stack(parameters):
            message = f"Stack [{name}] already exists. It was rolled back: delete it, then create it again."
            return handlers._error("AlreadyExistsException", message)
        return action(parameters)

    return wrapped


def _forgetting_the_executed(create: Callable[[Properties], Answer]) -> Callable[[Properties], Answer]:
    """CreateChangeSet, to which the name of a change set that was executed is free again, as on AWS.

    Seen on AWS in elias5000/clouds-aws#9. `aws cloudformation deploy` names its change sets by the second,
    and here a deployment may end within the second in which it began.
    """

    def wrapped(parameters: Properties) -> Answer:
        names = (handlers._p(parameters, name) for name in ("ChangeSetName", "StackName"))
        id, change_set = changesets._find_change_set(*names)
        if change_set and change_set["ExecutionStatus"] == "EXECUTE_COMPLETE":
            del cloudformation._change_sets[id]
        return create(parameters)

    return wrapped


def _always(parameters: Properties) -> bool:
    return True


def _is_of_type_create(parameters: Properties) -> bool:
    return handlers._p(parameters, "ChangeSetType") == "CREATE"


def _telling_its_end(deploy: Operation, at_work: dict[str, asyncio.Event]) -> Operation:
    """Creation or update of a stack, whose end can be waited for under the stack's id."""

    async def wrapped(stack_name: str, stack_id: str, *arguments: Any, **options: Any) -> None:
        ended = at_work[stack_id] = asyncio.Event()
        try:
            await deploy(stack_name, stack_id, *arguments, **options)
        finally:
            del at_work[stack_id]
            ended.set()

    return wrapped


def _ending_the_creation(delete: Operation, at_work: dict[str, asyncio.Event]) -> Operation:
    """Deletion of a stack, creating none of its resources any more.

    MiniStack goes on creating after the deletion, behind a custom resource that it waited for. AWS cancels
    what is being created, even a custom resource at work (aws-cloudformation/cloudformation-coverage-roadmap
    #1730); here that one is waited for, so that it is deleted as well.
    """

    async def wrapped(stack_name: str, stack_id: str, *arguments: Any, **options: Any) -> None:
        if ended := at_work.get(stack_id):
            cloudformation._stacks[stack_name]["StackStatus"] = "DELETE_IN_PROGRESS"
            await ended.wait()
        await delete(stack_name, stack_id, *arguments, **options)

    return wrapped


def _unless_deleted(provision: Callable[..., Any]) -> Callable[..., Any]:
    """Creation of a resource, which ends the creation of a stack that is being deleted."""

    def wrapped(kind: str, logical_id: str, properties: Properties, stack_name: str) -> Any:
        if cloudformation._stacks[stack_name]["StackStatus"] == "DELETE_IN_PROGRESS":
            raise asyncio.CancelledError  # Nothing is rolled back: the deletion is what comes next.
        return provision(kind, logical_id, properties, stack_name)

    return wrapped


def _configuring_create(create: Callable[..., tuple[str, dict]]) -> Callable[..., tuple[str, dict]]:
    def wrapped(logical_id: str, properties: Properties, stack_name: str) -> tuple[str, dict]:
        for name, part in _PARTS.items():  # Refused before there is a bucket that nobody would delete.
            if name in properties:
                part.to_xml(properties[name])
        bucket, attributes = create(logical_id, properties, stack_name)
        try:
            _configure(bucket, properties, {})
        except ValueError:
            s3._delete_bucket(bucket)
            raise
        return bucket, attributes

    return wrapped


def _configuring_update(update: Callable[..., tuple[str, dict]]) -> Callable[..., tuple[str, dict]]:
    def wrapped(physical_id: str, old: Properties, new: Properties, stack_name: str) -> tuple[str, dict]:
        bucket, attributes = update(physical_id, old, new, stack_name)
        _configure(bucket, new, old if bucket == physical_id else {})
        return bucket, attributes

    return wrapped


def _delete(bucket: str, properties: Properties) -> None:
    """Delete the bucket as DeleteBucket does; one that is gone already counts as deleted."""
    answer = s3._delete_bucket(bucket)
    if answer[0] != 404:
        _accept(bucket, answer)


def _configure(bucket: str, properties: Properties, old: Properties) -> None:
    """Apply the three configurations; one that `old` had and `properties` has not is removed."""
    for name, part in _PARTS.items():
        if name in properties:
            _accept(bucket, part.put(bucket, tostring(part.to_xml(properties[name]))))
        elif name in old:
            _accept(bucket, part.remove(bucket))


def _accept(bucket: str, answer: Answer) -> None:
    """Raises ValueError, which CloudFormation reports as the resource's failure, when S3 refused."""
    status, _, body = answer
    if status >= 400:
        raise ValueError(f"AWS::S3::Bucket {bucket}: {body.decode(errors='replace')}")


def _encryption_xml(configuration: Properties) -> Element:
    """The body of PutBucketEncryption."""
    root = Element("ServerSideEncryptionConfiguration", xmlns=s3.S3_NS)
    for rule in configuration["ServerSideEncryptionConfiguration"]:
        element = SubElement(root, "Rule")
        default = rule.get("ServerSideEncryptionByDefault", {})
        _children(SubElement(element, "ApplyServerSideEncryptionByDefault"), default)
        if "BucketKeyEnabled" in rule:
            _children(element, {"BucketKeyEnabled": rule["BucketKeyEnabled"]})
    return root


def _ownership_xml(configuration: Properties) -> Element:
    """The body of PutBucketOwnershipControls."""
    root = Element("OwnershipControls", xmlns=s3.S3_NS)
    for rule in configuration["Rules"]:
        _children(SubElement(root, "Rule"), rule)
    return root


def _lifecycle_xml(configuration: Properties) -> Element:
    """The body of PutBucketLifecycleConfiguration. Raises ValueError for what a rule does not have."""
    root = Element("LifecycleConfiguration", xmlns=s3.S3_NS)
    for rule in configuration["Rules"]:
        if unknown := rule.keys() - _LIFECYCLE_RULE_PROPERTIES:
            raise ValueError(f"A lifecycle rule has no such properties: {sorted(unknown)}")
        element = SubElement(root, "Rule")
        _children(element, {"ID": rule.get("Id"), "Status": rule["Status"]})
        _lifecycle_filter(SubElement(element, "Filter"), rule)
        for name, days in (("Transition", "Days"), ("NoncurrentVersionTransition", "NoncurrentDays")):
            for transition in (*([rule[name]] if name in rule else []), *rule.get(f"{name}s", [])):
                renamed = {"TransitionInDays": days, "TransitionDate": "Date"}
                _children(
                    SubElement(element, name), {renamed.get(key, key): transition[key] for key in transition}
                )
        expiration = {
            "Days": rule.get("ExpirationInDays"),
            "Date": rule.get("ExpirationDate"),
            "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
        }
        if any(value is not None for value in expiration.values()):
            _children(SubElement(element, "Expiration"), expiration)
        noncurrent = rule.get("NoncurrentVersionExpiration") or {
            "NoncurrentDays": rule.get("NoncurrentVersionExpirationInDays")
        }
        if noncurrent["NoncurrentDays"] is not None:
            _children(SubElement(element, "NoncurrentVersionExpiration"), noncurrent)
        if "AbortIncompleteMultipartUpload" in rule:
            _children(
                SubElement(element, "AbortIncompleteMultipartUpload"), rule["AbortIncompleteMultipartUpload"]
            )
    return root


def _lifecycle_filter(element: Element, rule: Properties) -> None:
    """Which objects a rule is for; several conditions stand in an And."""
    tags = rule.get("TagFilters", [])
    conditions = ("Prefix", "ObjectSizeGreaterThan", "ObjectSizeLessThan")
    names = [name for name in conditions if rule.get(name) is not None]
    if len(names) + len(tags) > 1:
        element = SubElement(element, "And")
    _children(element, {name: rule[name] for name in names} if names or tags else {"Prefix": ""})
    for tag in tags:
        _children(SubElement(element, "Tag"), tag)


def _children(parent: Element, values: Properties) -> None:
    """Append a child for every value that is not None; booleans as XML spells them."""
    for name, value in values.items():
        if value is not None:
            SubElement(parent, name).text = str(value).lower() if isinstance(value, bool) else str(value)


class _Part(NamedTuple):
    """A configuration of a bucket: its XML body, and MiniStack's functions that keep and remove it."""

    to_xml: Callable[[Properties], Element]
    put: Callable[[str, bytes], Answer]
    remove: Callable[[str], Answer]


_PARTS = {
    "BucketEncryption": _Part(_encryption_xml, s3._put_bucket_encryption, s3._delete_bucket_encryption),
    "LifecycleConfiguration": _Part(_lifecycle_xml, s3._put_bucket_lifecycle, s3._delete_bucket_lifecycle),
    "OwnershipControls": _Part(
        _ownership_xml, s3._put_bucket_ownership_controls, s3._delete_bucket_ownership_controls
    ),
}
