"""The template's inline Lambda code by itself: what can go wrong in AWS is played by stand-ins here.

`tests/test_stack.py` runs the same functions deployed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import cfnresponse
import pytest
from botocore.exceptions import ClientError

from tests import template

END = datetime(2025, 11, 18, 0, 2, 30, tzinfo=UTC)
STACK_ID = "arn:aws:cloudformation:us-west-2:123456789012:stack/capstone-x/1"


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


# --- Generator ----------------------------------------------------------------------------------------------


class RecordingS3:
    """put_object as S3 answers it, where the names in `taken` are in use."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.stored: dict[str, bytes] = {}
        self.refuse_with = "PreconditionFailed"

    def put_object(self, **request: Any) -> None:
        assert request["IfNoneMatch"] == "*"
        body = request["Body"].read()
        if request["Key"] in self.taken:
            raise refusal(self.refuse_with, "PutObject")
        self.stored[request["Key"]] = body


@pytest.fixture
def s3() -> RecordingS3:
    return RecordingS3()


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch, s3: RecordingS3) -> ModuleType:
    monkeypatch.setattr(boto3, "client", lambda service, **_: {"s3": s3}[service])
    monkeypatch.setenv("SOURCE_BUCKET", "raw")
    monkeypatch.setenv("EVENTS_PER_RUN_MIN", "300")
    monkeypatch.setenv("EVENTS_PER_RUN_MAX", "310")
    return template.inline_module("GeneratorFunction")


def lines(generator: ModuleType, count: int) -> Iterator[str]:
    for second in generator.seconds(random.Random(1), count, END):
        yield from second


@pytest.mark.parametrize("count", [1, 2, 7, 299, 301, 5000])
def test_a_run_has_as_many_events_as_were_drawn(generator: ModuleType, count: int) -> None:
    assert sum(1 for _ in lines(generator, count)) == count


def test_the_events_of_a_run_look_like_a_shop(generator: ModuleType) -> None:
    events = [json.loads(line) for line in lines(generator, 60_000)]
    by_type = Counter(event["event_type"] for event in events)
    assert by_type["page_view"] > by_type["search"] > by_type["purchase"] > by_type["remove_from_cart"] > 0
    assert 0.1 < by_type["add_to_cart"] / by_type["page_view"] < 0.25
    assert 0.2 < by_type["purchase"] / by_type["add_to_cart"] < 0.7

    views = Counter(event["product_id"] for event in events if event["event_type"] == "page_view")
    assert sum(count for _, count in views.most_common(50)) > 0.3 * views.total()  # of 1,000 products
    assert len({event["category"] for event in events}) == len(generator.CATEGORIES) + 1
    sessions = Counter(event["session_id"] for event in events)
    assert 3 < len(events) / len(sessions) < 10


def test_shoppers_buy_and_remove_only_what_is_in_their_cart(generator: ModuleType) -> None:
    rng = random.Random(2)
    for _ in range(2000):
        in_cart: Counter[tuple[str, int, float]] = Counter()
        for tail in reversed(generator.session(rng)):
            event = json.loads("{" + tail)
            item = (event["product_id"], event["quantity"], event["price"])
            if event["event_type"] == "add_to_cart":
                in_cart[item] += 1
            elif event["event_type"] in ("remove_from_cart", "purchase"):
                assert in_cart[item] > 0
                in_cart[item] -= 1


def test_delivery_repeats_a_few_events(generator: ModuleType) -> None:
    copies = Counter(lines(generator, 60_000))
    repeated = sum(count - 1 for count in copies.values())
    assert 0.001 < repeated / 60_000 < 0.004


def test_the_catalogue_is_the_same_in_every_run(generator: ModuleType) -> None:
    assert template.inline_module("GeneratorFunction").CATALOGUE == generator.CATALOGUE
    prices: dict[str, set[tuple[float, str]]] = {}
    for line in lines(generator, 20_000):
        event = json.loads(line)
        if event["price"] is not None:
            prices.setdefault(event["product_id"], set()).add((event["price"], event["category"]))
    assert all(len(variants) == 1 for variants in prices.values())


def test_the_object_is_named_after_the_second_of_the_invocation(
    generator: ModuleType, s3: RecordingS3
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    answer = generator.handler({}, None)
    names = [(before + timedelta(seconds=later)).strftime(generator.KEY) for later in range(5)]
    assert answer["s3_key"] in names
    assert list(s3.stored) == [answer["s3_key"]]
    assert answer == {"event_count": answer["event_count"], "s3_key": answer["s3_key"], "bucket": "raw"}


@pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
def test_a_name_that_another_run_took_is_left_alone(
    generator: ModuleType, s3: RecordingS3, code: str, tmp_path: Any
) -> None:
    s3.refuse_with = code
    s3.taken = {(END + timedelta(seconds=later)).strftime(generator.KEY) for later in range(30)}
    (tmp_path / "body").write_bytes(b"events")
    with (tmp_path / "body").open("rb") as body:
        key = generator.store(body, END)
    # The 30 seconds that are taken end the minute: the free name lies in the next minute's folder.
    assert key == "events/year=2025/month=11/day=18/hour=00/minute=03/events-20251118-000300.jsonl.gz"
    assert s3.stored == {key: b"events"}


def test_a_minute_full_of_names_is_an_error(generator: ModuleType, s3: RecordingS3, tmp_path: Any) -> None:
    s3.taken = {(END + timedelta(seconds=later)).strftime(generator.KEY) for later in range(61)}
    (tmp_path / "body").write_bytes(b"events")
    with (tmp_path / "body").open("rb") as body, pytest.raises(RuntimeError, match="no object name is free"):
        generator.store(body, END)


def test_an_upload_that_s3_refuses_fails_the_run(generator: ModuleType, s3: RecordingS3) -> None:
    s3.refuse_with = "AccessDenied"
    s3.taken = {(datetime.now(UTC) + timedelta(seconds=later)).strftime(generator.KEY) for later in range(9)}
    with pytest.raises(ClientError, match="AccessDenied"):
        generator.handler({}, None)


def test_more_events_at_least_than_at_most_is_an_error(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTS_PER_RUN_MIN", "311")
    with pytest.raises(ValueError, match="EventsPerRunMin is 311, more than EventsPerRunMax, 310"):
        generator.handler({}, None)


def test_750_000_events_need_less_than_512_megabytes() -> None:
    """Measured as Lambda would: the peak of a process that does nothing else, boto3's import included."""
    program = """
import os, re, resource, sys
from pathlib import Path
import boto3

class Upload:
    def put_object(self, **request):
        while request["Body"].read(1 << 20):
            pass

boto3.client = lambda service: Upload()
os.environ.update(SOURCE_BUCKET="raw", EVENTS_PER_RUN_MIN="750000", EVENTS_PER_RUN_MAX="750000")
function = {}
exec(sys.stdin.read(), function)
assert function["handler"]({}, None)["event_count"] == 750_000
# On Linux, ru_maxrss would count the process that this one was forked from.
status = Path("/proc/self/status")
if status.exists():
    print(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1])
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        input=template.inline_code("GeneratorFunction"),
        capture_output=True,
        text=True,
        check=True,
    )
    kilobytes = int(finished.stdout.splitlines()[-1])
    assert kilobytes < 512 * 1024


# --- Clean-up -----------------------------------------------------------------------------------------------


class Versions:
    """A stand-in for S3 with versioned buckets: how many versions and delete markers each one holds."""

    def __init__(self, **buckets: int) -> None:
        self.buckets = {name: [f"v{number}" for number in range(count)] for name, count in buckets.items()}
        self.error = ""

    def list_object_versions(self, Bucket: str) -> dict[str, Any]:
        if Bucket not in self.buckets:
            raise refusal("NoSuchBucket", "ListObjectVersions")
        page = [{"Key": "k", "VersionId": version} for version in self.buckets[Bucket][:1000]]
        return {"Versions": page[::2], "DeleteMarkers": page[1::2]} if page else {}

    def delete_objects(self, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:
        doomed = {version["VersionId"] for version in Delete["Objects"]}
        assert len(doomed) <= 1000
        if self.error:
            return {"Errors": [{"Key": "k", "Code": self.error, "Message": "Access Denied"}]}
        self.buckets[Bucket] = [version for version in self.buckets[Bucket] if version not in doomed]
        return {}


class CleanupRun:
    """The clean-up function with its stand-ins, its answers to CloudFormation, and whom it invoked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, s3: Versions) -> None:
        self.s3 = s3
        self.stack_status = "DELETE_IN_PROGRESS"
        self.milliseconds_left = 900_000
        self.answers: list[SimpleNamespace] = []
        self.invoked: list[dict[str, Any]] = []
        clients = {"s3": s3, "cloudformation": self, "lambda": self}
        monkeypatch.setattr(boto3, "client", lambda service, **_: clients[service])
        monkeypatch.setattr(cfnresponse, "send", self._record)
        self.module = template.inline_module("CleanupFunction")

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        assert StackName == STACK_ID
        if self.stack_status == "unknown":
            raise refusal("AccessDenied", "DescribeStacks")
        return {"Stacks": [{"StackStatus": self.stack_status}]}

    def invoke(self, FunctionName: str, InvocationType: str, Payload: str) -> None:
        assert (FunctionName, InvocationType) == ("cleanup", "Event")
        self.invoked.append(json.loads(Payload))

    def _record(
        self, event: Any, context: Any, status: str, data: Any, identity: str, reason: str | None = None
    ) -> None:
        self.answers.append(SimpleNamespace(status=status, identity=identity, reason=reason))

    def request(self, request_type: str, **more: Any) -> SimpleNamespace:
        """Send a request; the one answer to it."""
        event = {
            "RequestType": request_type,
            "StackId": STACK_ID,
            "ResourceProperties": {"BucketNames": ["raw", "lake"]},
            **more,
        }
        self.answers.clear()
        self.handle(event)
        (answer,) = self.answers
        return answer

    def handle(self, event: dict[str, Any]) -> None:
        """One invocation."""
        context = SimpleNamespace(
            function_name="cleanup",
            log_stream_name="stream",
            get_remaining_time_in_millis=lambda: self.milliseconds_left,
        )
        self.module.handler(event, context)


@pytest.fixture
def cleanup(monkeypatch: pytest.MonkeyPatch) -> CleanupRun:
    return CleanupRun(monkeypatch, Versions(raw=2501, lake=3))


@pytest.mark.parametrize("stack_status", ["DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_deleting_the_stack_empties_the_buckets_beyond_one_page(
    cleanup: CleanupRun, stack_status: str
) -> None:
    cleanup.stack_status = stack_status
    answer = cleanup.request("Delete", PhysicalResourceId="bucket-cleanup")
    assert (answer.status, answer.identity) == ("SUCCESS", "bucket-cleanup")
    assert cleanup.s3.buckets == {"raw": [], "lake": []}


@pytest.mark.parametrize(
    "stack_status", ["UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"]
)
def test_an_update_that_drops_the_clean_up_keeps_the_data(cleanup: CleanupRun, stack_status: str) -> None:
    cleanup.stack_status = stack_status
    assert cleanup.request("Delete", PhysicalResourceId="bucket-cleanup").status == "SUCCESS"
    assert len(cleanup.s3.buckets["raw"]) == 2501


def test_creating_and_updating_touch_nothing_and_keep_the_id(cleanup: CleanupRun) -> None:
    created = cleanup.request("Create")
    updated = cleanup.request("Update", PhysicalResourceId=created.identity)
    assert (created.status, updated.status) == ("SUCCESS", "SUCCESS")
    assert updated.identity == created.identity
    assert len(cleanup.s3.buckets["raw"]) == 2501


def test_a_bucket_that_is_gone_is_no_reason_to_fail(cleanup: CleanupRun) -> None:
    del cleanup.s3.buckets["raw"]
    assert cleanup.request("Delete").status == "SUCCESS"
    assert cleanup.s3.buckets == {"lake": []}


def test_an_object_that_cannot_be_deleted_fails_the_deletion_with_its_name(cleanup: CleanupRun) -> None:
    cleanup.s3.error = "AccessDenied"
    answer = cleanup.request("Delete")
    assert answer.status == "FAILED"
    assert "cannot delete s3://raw/k: Access Denied" in answer.reason


def test_what_s3_is_too_busy_for_is_asked_for_again(
    cleanup: CleanupRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleanup.s3.error = "SlowDown"
    monkeypatch.setattr(cleanup.module.time, "sleep", lambda _: setattr(cleanup.s3, "error", ""))
    assert cleanup.request("Delete").status == "SUCCESS"
    assert cleanup.s3.buckets == {"raw": [], "lake": []}


def test_when_time_runs_out_another_invocation_goes_on_and_the_last_one_answers(cleanup: CleanupRun) -> None:
    cleanup.milliseconds_left = 100_000
    request = {"RequestType": "Delete", "StackId": STACK_ID, "ResponseURL": "https://answer.here"}
    cleanup.invoked = [{**request, "ResourceProperties": {"BucketNames": ["raw", "lake"]}}]
    invocations = 0
    while cleanup.invoked:
        assert not cleanup.answers
        cleanup.handle(cleanup.invoked.pop())
        invocations += 1
    (answer,) = cleanup.answers
    assert answer.status == "SUCCESS"
    assert invocations == 5  # raw takes three, lake one, and the last one finds nothing
    assert cleanup.s3.buckets == {"raw": [], "lake": []}


def test_before_cloudformation_stops_waiting_the_answer_says_to_delete_again_and_that_goes_on(
    cleanup: CleanupRun,
) -> None:
    cleanup.milliseconds_left = 100_000
    answer = cleanup.request("Delete", GiveUpAt=time.time() - 1)
    assert answer.status == "FAILED"
    assert "raw is not empty yet: delete the stack again, which goes on" in answer.reason
    assert (len(cleanup.s3.buckets["raw"]), cleanup.invoked) == (1501, [])
    cleanup.milliseconds_left = 900_000
    assert cleanup.request("Delete").status == "SUCCESS"


def test_when_the_stack_cannot_be_asked_the_data_stays_and_an_answer_is_given(cleanup: CleanupRun) -> None:
    cleanup.stack_status = "unknown"
    answer = cleanup.request("Delete")
    assert answer.status == "FAILED"
    assert "DescribeStacks" in answer.reason
    assert len(cleanup.s3.buckets["raw"]) == 2501


def test_the_last_invocation_answers_before_cloudformation_stops_waiting(cleanup: CleanupRun) -> None:
    resources = template.content()["Resources"]
    timeout = resources["CleanupFunction"]["Properties"]["Timeout"]
    waits = resources["BucketCleanup"]["Properties"]["ServiceTimeout"]
    at_work = timeout - cleanup.module.SPARE_MILLISECONDS / 1000
    assert cleanup.module.PATIENCE_SECONDS + at_work < waits
