"""CloudWatch's metric filters, and alarms about silence, which MiniStack stores but does not act upon.

Of filter patterns only JSON conditions are read: `{ $.field = value }`, several joined by `&&`, with `*` for
any value. Alarms that treat missing data as breaching go off without a datapoint, as AWS's do. And
FilterLogEvents heeds logStreamNamePrefix.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from ministack.core import responses
from ministack.services import cloudwatch, cloudwatch_logs

CHECK_SECONDS = 5.0
"""How often alarms are looked at without a new datapoint."""

_CONDITION = re.compile(r'\(?\s*\$\.(\w+)\s*=\s*("[^"]*"|\*|-?\d+(?:\.\d+)?)\s*\)?')

logger = logging.getLogger("local_aws.monitoring")


class UnknownFilterPattern(ValueError):
    """A filter pattern that the embedded AWS cannot read."""


def install() -> None:
    """Patch MiniStack in this process. Raises AttributeError when an upgrade has moved the ground."""
    put_log_events, put_metric_filter = cloudwatch_logs._put_log_events, cloudwatch_logs._put_metric_filter
    evaluate_alarm, filter_log_events = cloudwatch._evaluate_alarm, cloudwatch_logs._filter_log_events

    def put(data: dict[str, Any]) -> Any:
        answer = put_log_events(data)
        if answer[0] < 400:
            _publish(data["logGroupName"], [event["message"] for event in data.get("logEvents", [])])
        return answer

    def put_filter(data: dict[str, Any]) -> Any:
        try:
            conditions(data.get("filterPattern", ""))
        except UnknownFilterPattern as error:
            return responses.error_response_json("InvalidParameterException", str(error), 400)
        return put_metric_filter(data)

    def filter_events(data: dict[str, Any]) -> Any:
        prefix = data.get("logStreamNamePrefix")
        if prefix and data.get("logStreamNames"):
            reason = "logStreamNamePrefix and logStreamNames cannot be given together"
            return responses.error_response_json("InvalidParameterException", reason, 400)
        group = cloudwatch_logs._log_groups.get(cloudwatch_logs._resolve_log_group_name(data))
        if prefix and group:
            names = [name for name in group["streams"] if name.startswith(prefix)]
            data = {**data, "logStreamNames": names or [prefix]}  # MiniStack takes none for all
        return filter_log_events(data)

    def evaluate(alarm: dict[str, Any]) -> None:
        if alarm.get("TreatMissingData") == "breaching" and not _has_datapoint(alarm):
            _sound(alarm)
        else:
            evaluate_alarm(alarm)

    cloudwatch_logs._put_log_events = put
    cloudwatch_logs._put_metric_filter = put_filter
    cloudwatch_logs._filter_log_events = filter_events
    cloudwatch._evaluate_alarm = evaluate
    threading.Thread(target=_watch, name="alarms", daemon=True).start()


def conditions(pattern: str) -> list[tuple[str, Any]]:
    """The (field, value) pairs of a JSON filter pattern; None stands for any value.

    Raises UnknownFilterPattern.
    """
    inner = pattern.strip()
    parts = inner[1:-1].split("&&") if inner.startswith("{") and inner.endswith("}") else [""]
    matches = [_CONDITION.fullmatch(part.strip()) for part in parts]
    if not all(matches):
        raise UnknownFilterPattern(f"The embedded AWS cannot read the filter pattern {pattern!r}")
    return [
        (match[1], None if match[2] == "*" else json.loads(match[2]))
        for match in matches
        if match is not None
    ]


def datapoints(metric_filter: dict[str, Any], messages: list[str]) -> Iterator[tuple[dict[str, Any], float]]:
    """What a metric filter makes of log messages: (metric transformation, value)."""
    wanted = conditions(metric_filter["filterPattern"])
    for message in messages:
        fields = _json_object(message)
        if all(name in fields and (value is None or fields[name] == value) for name, value in wanted):
            for transformation in metric_filter["metricTransformations"]:
                value = transformation["metricValue"]
                found = fields.get(value[2:]) if value.startswith("$.") else value
                if found is not None:
                    yield transformation, float(found)


def _json_object(message: str) -> dict[str, Any]:
    """The message's fields; none when it is not a JSON object."""
    if not message.startswith("{"):
        return {}
    try:
        fields = json.loads(message)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _publish(group: str, messages: list[str]) -> None:
    """Store the datapoints that the group's metric filters make of these messages."""
    published = False
    for metric_filter in list(cloudwatch_logs._metric_filters.values()):
        if metric_filter["logGroupName"] != group:
            continue
        for transformation, value in datapoints(metric_filter, messages):
            namespace, name = transformation["metricNamespace"], transformation["metricName"]
            unit = transformation.get("unit", "None")
            cloudwatch._store_datum(namespace, name, {}, time.time(), unit, value, None, None, None)
            published = True
    if published:
        cloudwatch._evaluate_all_alarms()


def _has_datapoint(alarm: dict[str, Any]) -> bool:
    """Whether the alarm's metric has a datapoint in the time that the alarm looks at."""
    since = time.time() - alarm.get("Period", 60) * alarm.get("EvaluationPeriods", 1)
    return any(
        point["Timestamp"] >= since
        for (namespace, name, _), points in cloudwatch._metrics.items()
        if (namespace, name) == (alarm.get("Namespace"), alarm.get("MetricName"))
        for point in points
    )


def _sound(alarm: dict[str, Any]) -> None:
    """Bring the alarm to ALARM for want of data, and tell its actions."""
    before, reason = alarm["StateValue"], "Threshold Crossed: no datapoints were received (Breaching)."
    if before == "ALARM":
        return
    now = int(time.time())
    alarm.update(StateValue="ALARM", StateReason=reason, StateUpdatedTimestamp=now)
    cloudwatch._record_history(alarm["AlarmName"], before, "ALARM", reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, "ALARM", reason)


def _watch() -> None:
    """Look at every account's alarms, again and again: silence brings no request that would."""
    while True:
        time.sleep(CHECK_SECONDS)
        try:
            for account, region in {key[:2] for key in list(cloudwatch._alarms._data)}:
                responses.set_request_account_id(account)
                responses.set_request_region(region)
                cloudwatch._evaluate_all_alarms()
        except Exception:
            logger.exception("Looking at the alarms")
