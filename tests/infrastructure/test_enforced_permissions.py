"""The functions of the stack at work on an embedded AWS that enforces their roles' policies.

The Glue job is not among them: the embedded AWS runs it with its own permissions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local_aws import LocalAws, running_server
from tests import template
from tests.infrastructure.stacks import Stack, create, fill, limited_cleanup

ID = "enforced-1"


@pytest.fixture(scope="module")
def strict_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOCAL_AWS_ENFORCE_IAM", "1")
        with running_server(tmp_path_factory.mktemp("strict-aws")) as running:
            yield running


def without(*resource_types: str) -> dict[str, Any]:
    content = template.content()
    for name, resource in list(content["Resources"].items()):
        if resource["Type"] in resource_types:
            del content["Resources"][name]
    return content


@pytest.fixture(scope="module")
def stack(strict_aws: LocalAws) -> Stack:
    """Without the bucket policies: they ask for TLS, which the embedded AWS has not."""
    return create(strict_aws, ID, limited_cleanup(without("AWS::S3::BucketPolicy")))


def test_the_roles_suffice_to_generate_events_and_to_empty_the_buckets(stack: Stack) -> None:
    key = stack.invoke_generator()["s3_key"]
    assert stack.raw_lines(key)
    fill(stack)
    stack.delete()


def test_a_generator_with_another_role_writes_nothing(strict_aws: LocalAws) -> None:
    content = without("AWS::S3::BucketPolicy")
    resources = content["Resources"]
    resources["GeneratorFunction"]["Properties"]["Role"] = resources["CleanupFunction"]["Properties"]["Role"]
    stack = create(strict_aws, "enforced-2", json.dumps(content))
    with pytest.raises(AssertionError, match="not authorized to perform: s3:PutObject"):
        stack.invoke_generator()
    stack.delete()


def test_buckets_refuse_what_does_not_come_over_tls(strict_aws: LocalAws) -> None:
    stack = create(strict_aws, "enforced-3")
    with pytest.raises(AssertionError, match="with an explicit deny in a resource-based policy"):
        stack.invoke_generator()
