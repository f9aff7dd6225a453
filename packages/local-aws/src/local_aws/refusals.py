"""Actions that MiniStack answers as done without doing them: refused by name, with what to use instead.

An action is refused where its effect would be missed: a crawler that finds nothing, a replay of nothing, a
message that nobody gets. What is kept and read back, and needs no effect here (a tag, a description, a
limit), is served. Resource types of CloudFormation are refused by `local_aws.cloudformation`, triggers and
crawlers on a schedule by `local_aws.events`, functions that cannot run by `local_aws.functions`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from ministack import app
from ministack.core.iam_actions import extract_iam_action
from ministack.services import cloudwatch_logs, sns

Answer = tuple[int, dict[str, str], bytes]
Handler = Callable[[str, str, dict[str, str], bytes, dict[str, Any]], Awaitable[Answer]]

_NO_EVENT_STORE = "Send the events again with PutEvents."
_NO_OTHER_REGION = "Call the event bus of the region itself."
_NO_PARTNERS = "Send events of your own with PutEvents."
_NO_LOG_DELIVERY = "Read the logs with FilterLogEvents, or let a Lambda function subscribe to the log group."
_NO_PHONES = "Subscribe an SQS queue or a Lambda function to a topic."
_NO_CONSOLE = "There is no console to sign in to: use access keys, or AssumeRole."
_NO_REPORTS = "Count requests with `local-aws requests`."
_ONE_STORAGE = "Objects here have one storage class in effect."

REFUSED: Mapping[str, Mapping[str, str]] = {
    "athena": {
        "CreateDataCatalog": "Queries read AwsDataCatalog, the Glue catalog, only.",
        "UpdateDataCatalog": "Queries read AwsDataCatalog, the Glue catalog, only.",
    },
    "cloudformation": {
        "SetStackPolicy": "Updates are not held against a stack policy here: use a change set to look first.",
    },
    "events": {
        "CreateArchive": _NO_EVENT_STORE,
        "UpdateArchive": _NO_EVENT_STORE,
        "StartReplay": _NO_EVENT_STORE,
        "CreateEndpoint": _NO_OTHER_REGION,
        "UpdateEndpoint": _NO_OTHER_REGION,
        "ActivateEventSource": _NO_PARTNERS,
        "DeactivateEventSource": _NO_PARTNERS,
        "CreatePartnerEventSource": _NO_PARTNERS,
        "PutPartnerEvents": _NO_PARTNERS,
    },
    "glue": {
        "StartCrawler": (
            "Create a table by CREATE EXTERNAL TABLE in Athena, CreateTable or a template, and register "
            "its partitions by partition projection, MSCK REPAIR TABLE or CreatePartition."
        ),
        "StartWorkflowRun": "Start its jobs with StartJobRun, or its on-demand trigger with StartTrigger.",
        "CreateSecurityConfiguration": "Nothing is encrypted at rest here: leave it out of the job.",
    },
    "iam": {
        "CreateLoginProfile": _NO_CONSOLE,
        "UpdateLoginProfile": _NO_CONSOLE,
        "CreateVirtualMFADevice": _NO_CONSOLE,
        "EnableMFADevice": _NO_CONSOLE,
        "ResyncMFADevice": _NO_CONSOLE,
        "CreateSAMLProvider": "There is no identity provider to ask: use AssumeRole.",
        "UpdateSAMLProvider": "There is no identity provider to ask: use AssumeRole.",
        "CreateOpenIDConnectProvider": "There is no identity provider to ask: use AssumeRole.",
        "GenerateServiceLastAccessedDetails": _NO_REPORTS,
        "GenerateCredentialReport": _NO_REPORTS,
    },
    "kms": {
        "ImportKeyMaterial": "Let KMS make the key: CreateKey without Origin.",
        "GetParametersForImport": "Let KMS make the key: CreateKey without Origin.",
    },
    "logs": {
        "PutDestination": _NO_LOG_DELIVERY,
        "PutDestinationPolicy": _NO_LOG_DELIVERY,
        "PutDeliverySource": _NO_LOG_DELIVERY,
        "PutDeliveryDestination": _NO_LOG_DELIVERY,
        "PutDeliveryDestinationPolicy": _NO_LOG_DELIVERY,
        "CreateDelivery": _NO_LOG_DELIVERY,
    },
    "s3": {
        "PutBucketLogging": _NO_REPORTS,
        "PutMetricsConfiguration": _NO_REPORTS,
        "PutAnalyticsConfiguration": _NO_REPORTS,
        "PutInventoryConfiguration": "List the objects with ListObjectsV2.",
        "PutIntelligentTieringConfiguration": _ONE_STORAGE,
        "PutAccelerateConfiguration": "The endpoint is on this machine: leave it out.",
    },
    "sns": {
        "CreatePlatformApplication": _NO_PHONES,
        "SetPlatformApplicationAttributes": _NO_PHONES,
        "CreatePlatformEndpoint": _NO_PHONES,
        "SetEndpointAttributes": _NO_PHONES,
    },
    "ssm": {
        "SendCommand": "There are no instances: run a Lambda function.",
        "UpdateServiceSetting": "No setting of the service has an effect here: leave it out.",
        "ResetServiceSetting": "No setting of the service has an effect here: leave it out.",
    },
}
"""Service -> action, as IAM names it -> what to use instead."""

_CODES = {
    "athena": "InvalidRequestException",
    "cloudformation": "ValidationError",
    "events": "ValidationException",
    "glue": "InvalidInputException",
    "iam": "InvalidInput",
    "kms": "UnsupportedOperationException",
    "logs": "InvalidParameterException",
    "s3": "NotImplemented",
    "sns": "InvalidParameter",
    "ssm": "ValidationException",
}
_QUERY_PROTOCOL = ("cloudformation", "iam", "sns")


def install() -> None:
    """Put the refusals before MiniStack's handlers. Raises KeyError when an upgrade has renamed a service."""
    for service, actions in REFUSED.items():
        app.SERVICE_HANDLERS[service] = _refusing(service, actions, app.SERVICE_HANDLERS[service])
    cloudwatch_logs._put_subscription_filter = _to_functions_only(cloudwatch_logs._put_subscription_filter)
    sns._publish = _to_no_phone(sns._publish)


def refusal(what: str, instead: str) -> str:
    """The message of a refusal: what is refused, and what to use instead."""
    return f"The embedded AWS does not serve {what}. {instead}"


def _refusing(service: str, actions: Mapping[str, str], handler: Handler) -> Handler:
    async def handle(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Answer:
        action = extract_iam_action(service, method, path, headers, body, query) or ""
        name = action.rpartition(":")[2]
        if name in actions:
            return _answer(service, refusal(f"{service}:{name}", actions[name]))
        return await handler(method, path, headers, body, query)

    return handle


def _to_functions_only(put: Callable[[dict[str, Any]], Answer]) -> Callable[[dict[str, Any]], Answer]:
    """PutSubscriptionFilter: MiniStack keeps filters with any destination, and delivers to Lambda's."""

    def wrapped(data: dict[str, Any]) -> Answer:
        if ":function:" not in data.get("destinationArn", ""):
            return _answer("logs", refusal("this destination of a subscription filter", _NO_LOG_DELIVERY))
        return put(data)

    return wrapped


def _to_no_phone(publish: Callable[[dict[str, Any]], Answer]) -> Callable[[dict[str, Any]], Answer]:
    """Publish, but to a topic only."""

    def wrapped(parameters: dict[str, Any]) -> Answer:
        if sns._p(parameters, "PhoneNumber"):
            return _answer("sns", refusal("messages to phones", _NO_PHONES))
        return publish(parameters)

    return wrapped


def _answer(service: str, message: str) -> Answer:
    """An error as the service spells it."""
    code = _CODES[service]
    if service == "s3":
        body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return 501, {"Content-Type": "application/xml"}, body.encode()
    if service in _QUERY_PROTOCOL:
        error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        body = f"<ErrorResponse>{error}</ErrorResponse>"
        return 400, {"Content-Type": "text/xml"}, body.encode()
    return (
        400,
        {"Content-Type": "application/x-amz-json-1.1"},
        json.dumps({"__type": code, "message": message}).encode(),
    )
