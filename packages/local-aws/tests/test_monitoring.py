"""Metric filters of the embedded CloudWatch: which lines they take, and what they make of them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.monitoring import UnknownFilterPattern, conditions, datapoints
from local_aws.server import LocalAws


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.layer = "gold" }', [("layer", "gold")]),
        ('{ ($.layer = "bronze") && ($.files = 0) }', [("layer", "bronze"), ("files", 0)]),
        ("{$.age=*}", [("age", None)]),
        ("{ $.age = -1.5 }", [("age", -1.5)]),
    ],
)
def test_a_json_pattern_is_read(pattern: str, expected: list[tuple[str, Any]]) -> None:
    assert conditions(pattern) == expected


@pytest.mark.parametrize("pattern", ["", "ERROR", "{ $.a > 1 }", "{ $.a.b = 1 }", '{ $.a = "x" || $.b = 1 }'])
def test_another_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(UnknownFilterPattern, match="cannot read the filter pattern"):
        conditions(pattern)


def test_a_pattern_that_cannot_be_read_is_refused_by_the_api(aws: LocalAws) -> None:
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="monitoring")
    transformation = {"metricNamespace": "N", "metricName": "M", "metricValue": "1"}
    with pytest.raises(ClientError, match="cannot read the filter pattern"):
        logs.put_metric_filter(
            logGroupName="monitoring",
            filterName="words",
            filterPattern="ERROR",
            metricTransformations=[transformation],
        )


def values(pattern: str, value: str, *messages: Any) -> list[float]:
    """The values that a metric filter takes from messages; those that are no text stand for their JSON."""
    metric_filter = {"filterPattern": pattern, "metricTransformations": [{"metricValue": value}]}
    texts = [message if isinstance(message, str) else json.dumps(message) for message in messages]
    return [found for _, found in datapoints(metric_filter, texts)]


def test_lines_that_match_give_their_field_or_a_constant() -> None:
    lines = [{"layer": "bronze", "rejected": 3}, {"layer": "silver", "rejected": 4}, {"layer": "bronze"}]
    assert values('{ $.layer = "bronze" }', "$.rejected", *lines) == [3.0]
    assert values('{ $.layer = "bronze" }', "1", *lines) == [1.0, 1.0]
    assert values("{ $.rejected = * }", "$.rejected", *lines) == [3.0, 4.0]


def test_lines_that_are_no_json_objects_give_nothing() -> None:
    assert values("{ $.layer = * }", "1", "layer", "{layer: bronze}", "[1]", '{"layer": "x"', "") == []


def test_log_events_are_found_by_the_beginning_of_their_streams_name(aws: LocalAws) -> None:
    logs, group = aws.client("logs"), "monitoring-streams"
    logs.create_log_group(logGroupName=group)
    for stream in ("jr_1", "jr_1-driver", "jr_2"):
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
        event = {"timestamp": int(time.time() * 1000), "message": stream}
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[event])

    def found(**request: Any) -> list[str]:
        events = logs.filter_log_events(logGroupName=group, **request)["events"]
        return sorted(event["message"] for event in events)

    assert found(logStreamNamePrefix="jr_1") == ["jr_1", "jr_1-driver"]
    assert found(logStreamNamePrefix="jr_3") == []
    assert found() == ["jr_1", "jr_1-driver", "jr_2"]
    with pytest.raises(ClientError, match="InvalidParameter"):
        found(logStreamNamePrefix="jr_1", logStreamNames=["jr_1"])
