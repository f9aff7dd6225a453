"""A workgroup's settings as AWS completes them, and where they send a query's results."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError
from ministack.services import athena as ministack_athena

from local_aws.athena.errors import QueryFailed, RequestRefused
from local_aws.athena.partitions import Location

ENGINE = "Athena engine version 3"

Settings = dict[str, Any]


def workgroup(name: str) -> dict[str, Any]:
    """The workgroup as MiniStack keeps it. Raises RequestRefused when there is none."""
    found = ministack_athena._workgroups.get(name)
    if found is None:
        raise RequestRefused(f"WorkGroup {name} is not found.")
    return found


def configuration(found: dict[str, Any]) -> Settings:
    """A workgroup's settings with AWS's defaults; a template may have given booleans and numbers as text."""
    given = found.get("Configuration") or {}
    settings = {
        "EnforceWorkGroupConfiguration": found["Name"] != "primary",
        "PublishCloudWatchMetricsEnabled": False,
        "RequesterPaysEnabled": False,
        **given,
        "EngineVersion": {
            "SelectedEngineVersion": (given.get("EngineVersion") or {}).get("SelectedEngineVersion")
            or "AUTO",
            "EffectiveEngineVersion": ENGINE,
        },
    }
    for key, value in settings.items():
        settings[key] = _unquoted(value)
    if settings.get("BytesScannedCutoffPerQuery"):
        settings["BytesScannedCutoffPerQuery"] = int(settings["BytesScannedCutoffPerQuery"])
    return settings


def update(request: dict[str, Any]) -> None:
    """The part of UpdateWorkGroup that MiniStack leaves out. Raises RequestRefused."""
    found = workgroup(request.get("WorkGroup") or "")
    updates = request.get("ConfigurationUpdates") or {}
    settings = found.setdefault("Configuration", {})
    if updates.get("RemoveBytesScannedCutoffPerQuery"):
        settings.pop("BytesScannedCutoffPerQuery", None)
    if "ManagedQueryResultsConfigurationUpdates" in updates:
        managed = settings.setdefault("ManagedQueryResultsConfiguration", {"Enabled": False})
        managed.update(updates["ManagedQueryResultsConfigurationUpdates"])
        if managed.pop("RemoveEncryptionConfiguration", False):
            managed.pop("EncryptionConfiguration", None)


def has_managed_results(settings: Settings) -> bool:
    """Whether Athena keeps the results itself.

    https://docs.aws.amazon.com/athena/latest/APIReference/API_ManagedQueryResultsConfiguration.html
    """
    return bool(_unquoted((settings.get("ManagedQueryResultsConfiguration") or {}).get("Enabled")))


def result_configuration(request: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The request's result settings, or the workgroup's where they are enforced or the request has none."""
    own = settings.get("ResultConfiguration") or {}
    asked = request.get("ResultConfiguration") or {}
    if settings["EnforceWorkGroupConfiguration"]:
        return own if own.get("OutputLocation") else asked
    return {**own, **asked}


def output_location(chosen: dict[str, Any], s3: Any) -> Location:
    """Where `result_configuration` sends the results. Raises RequestRefused when that is nowhere."""
    url = chosen.get("OutputLocation")
    if not url:
        raise RequestRefused(
            "No output location provided. An output location is required either through the Workgroup result "
            "configuration setting or as an API input."
        )
    try:
        location = Location.parse(url, "ResultConfiguration")
    except QueryFailed as error:
        raise RequestRefused(f"outputLocation is not a valid S3 path: {url}") from error
    try:
        s3.head_bucket(Bucket=location.bucket)
    except ClientError as error:
        raise RequestRefused(f"Unable to verify/create output bucket {location.bucket}") from error
    return location


def _unquoted(value: Any) -> Any:
    return value.lower() == "true" if isinstance(value, str) and value.lower() in ("true", "false") else value
