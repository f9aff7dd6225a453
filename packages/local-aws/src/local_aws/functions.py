"""Lambda functions run, or fail: what MiniStack answers with "Mock response" is an error.

A function whose code is not where it is said to be is refused when it is created, as on AWS; one that cannot
run here (another runtime than Python, Node.js and binaries, or an image, which needs Docker) likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import lambda_svc, s3
from ministack.services.cloudformation import provisioners

from local_aws.refusals import refusal

_RUNTIMES = ("python", "nodejs", "provided")
_MOCK = "Mock response - "

Action = Callable[..., Any]


class CannotRun(ValueError):
    """The function cannot be run here; CloudFormation reports a ValueError as the resource's failure."""


def install() -> None:
    """Patch MiniStack in this process. Raises AttributeError when an upgrade has moved the ground."""
    fetch, dispatch = lambda_svc._fetch_code_from_s3, lambda_svc._execute_function_dispatch

    def fetch_or_refuse(bucket: str, key: str, version_id: str | None = None) -> bytes:
        code = fetch(bucket, key, version_id)
        if code is None:
            raise CannotRun(_not_found(bucket, key))
        return bytes(code)

    def run(*arguments: Any) -> Any:
        return _told_as_error(dispatch(*arguments))

    lambda_svc._fetch_code_from_s3 = fetch_or_refuse
    lambda_svc._execute_function_dispatch = run
    for name in ("_create_function", "_update_code", "_update_config", "_publish_layer_version"):
        setattr(lambda_svc, name, _refusing(getattr(lambda_svc, name)))
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    handlers["create"] = _checking_create(handlers["create"])


def _refusing(action: Action) -> Action:
    """An action of the API whose last argument is the request; CannotRun becomes its error answer."""

    def wrapped(*arguments: Any) -> Any:
        try:
            if action.__name__ != "_publish_layer_version":
                _check(arguments[-1])
            return action(*arguments)
        except CannotRun as error:
            return lambda_svc.error_response_json("InvalidParameterValueException", str(error), 400)

    return wrapped


def _checking_create(create: Action) -> Action:
    def wrapped(logical_id: str, properties: Mapping[str, Any], stack_name: str) -> Any:
        _check(properties)
        return create(logical_id, properties, stack_name)

    return wrapped


def _check(request: Mapping[str, Any]) -> None:
    """Raises CannotRun for a function, or a change of one, that needs what is not here."""
    runtime = request.get("Runtime")
    if runtime and not runtime.startswith(_RUNTIMES):
        instead = "Functions run in Python, Node.js, and as a binary of the runtime provided."
        raise CannotRun(refusal(f"the Lambda runtime {runtime}", instead))
    code = request.get("Code") or request
    if request.get("PackageType") == "Image" or code.get("ImageUri"):
        raise CannotRun(refusal("Lambda functions in images", "Deploy the code as a .zip file."))


def _not_found(bucket: str, key: str) -> str:
    """What AWS says of code that is not there, and what to do."""
    code, text = "NoSuchKey", "The specified key does not exist."
    if bucket not in s3._buckets:
        code, text = "NoSuchBucket", "The specified bucket does not exist."
    return (
        f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {text} "
        f"Upload the code to s3://{bucket}/{key} first."
    )


def _told_as_error(result: Any) -> Any:
    """A function's result, unless MiniStack made it up."""
    body = result.get("body") if isinstance(result, dict) else None
    said = body.get("body") if isinstance(body, dict) else None
    if not (isinstance(said, str) and said.startswith(_MOCK)):
        return result
    reason = f"The function did not run: {said.removeprefix(_MOCK)}"
    return {"body": {"errorType": "Runtime.InvalidEntrypoint", "errorMessage": reason}, "error": True}
