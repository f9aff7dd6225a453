"""What MiniStack's CloudFormation leaves out of AWS::S3::Bucket, done through MiniStack's own S3 API.

It ignores BucketEncryption, LifecycleConfiguration and OwnershipControls, and it deletes a bucket together
with whatever it holds, where AWS fails with BucketNotEmpty: a clean-up that does not work would go unseen.
Other resource types are MiniStack's own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from ministack.services import s3
from ministack.services.cloudformation import provisioners

Properties = Mapping[str, Any]
Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers and body, as MiniStack's S3 functions return them."""

_LIFECYCLE_RULE_PROPERTIES = {
    "Id",
    "Status",
    "Prefix",
    "ExpirationInDays",
    "ExpiredObjectDeleteMarker",
    "NoncurrentVersionExpiration",
    "AbortIncompleteMultipartUpload",
}


def install() -> None:
    """Wrap MiniStack's handlers of AWS::S3::Bucket. Raises KeyError when an upgrade has renamed them."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    handlers.update(
        create=_configuring_create(handlers["create"]),
        update=_configuring_update(handlers["update"]),
        delete=_delete,
    )


def _configuring_create(create: Callable[..., tuple[str, dict]]) -> Callable[..., tuple[str, dict]]:
    def wrapped(logical_id: str, properties: Properties, stack_name: str) -> tuple[str, dict]:
        bucket, attributes = create(logical_id, properties, stack_name)
        _configure(bucket, properties, {})
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
    for name, to_xml, put, remove in (
        ("BucketEncryption", _encryption_xml, s3._put_bucket_encryption, s3._delete_bucket_encryption),
        ("LifecycleConfiguration", _lifecycle_xml, s3._put_bucket_lifecycle, s3._delete_bucket_lifecycle),
        (
            "OwnershipControls",
            _ownership_xml,
            s3._put_bucket_ownership_controls,
            s3._delete_bucket_ownership_controls,
        ),
    ):
        if name in properties:
            _accept(bucket, put(bucket, tostring(to_xml(properties[name]))))
        elif name in old:
            _accept(bucket, remove(bucket))


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
    """The body of PutBucketLifecycleConfiguration. Raises ValueError for what it cannot express."""
    root = Element("LifecycleConfiguration", xmlns=s3.S3_NS)
    for rule in configuration["Rules"]:
        if unknown := rule.keys() - _LIFECYCLE_RULE_PROPERTIES:
            raise ValueError(f"The embedded AWS does not know these lifecycle properties: {sorted(unknown)}")
        element = SubElement(root, "Rule")
        _children(element, {"ID": rule.get("Id"), "Status": rule["Status"]})
        _children(SubElement(element, "Filter"), {"Prefix": rule.get("Prefix", "")})
        expiration = {
            "Days": rule.get("ExpirationInDays"),
            "ExpiredObjectDeleteMarker": rule.get("ExpiredObjectDeleteMarker"),
        }
        if any(value is not None for value in expiration.values()):
            _children(SubElement(element, "Expiration"), expiration)
        for name in ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"):
            if name in rule:
                _children(SubElement(element, name), rule[name])
    return root


def _children(parent: Element, values: Properties) -> None:
    """Append a child for every value that is not None; booleans as XML spells them."""
    for name, value in values.items():
        if value is not None:
            SubElement(parent, name).text = str(value).lower() if isinstance(value, bool) else str(value)
