"""The raw objects in the source bucket: which of them count, and when each arrived. Read only.

The job has these two rules of its own; everything else that looks at raw objects takes them from here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from botocore.exceptions import ClientError

from capstone_pipeline.errors import NoSourceData, SourceBucketNotFound, error_code, own_errors
from capstone_pipeline.render import Shown, file_size, plural, text_line, when
from capstone_pipeline.stack import Connection, StackOutputs


@dataclass(frozen=True)
class RawObject:
    """One object of the source bucket: when its path says that it arrived, and when it was last written."""

    uri: str
    arrival: datetime
    last_modified: datetime
    size_bytes: int = 0


@dataclass(frozen=True, repr=False)
class SourceData(Shown):
    """What the source bucket holds under `events/`."""

    location: str
    files: int
    size_bytes: int
    newest_key: str = ""
    newest_arrival: datetime | None = None

    def __str__(self) -> str:
        if self.newest_arrival is None:
            return f"There is no raw event file in {self.location} yet."
        count, size = plural(self.files, "raw file"), file_size(self.size_bytes)
        newest = self.newest_key.rsplit("/", 1)[-1]
        return (
            f"{count}, {size}, in {self.location}; the newest, {newest}, arrived {when(self.newest_arrival)}."
        )

    def _repr_html_(self) -> str:
        return text_line(html.escape(str(self)))


def read_source_data(aws: Connection, stack: StackOutputs) -> SourceData:
    """Count the raw files that the generator, or anyone else, put into the source bucket.

    Raises
    ------
    SourceBucketNotFound
        When somebody has deleted the bucket.
    """
    objects = list(list_raw_objects(aws, stack))
    newest = max(objects, key=lambda item: (item.last_modified, item.uri), default=None)
    return SourceData(
        location=stack.raw_events_location,
        files=len(objects),
        size_bytes=sum(item.size_bytes for item in objects),
        newest_key=newest.uri if newest else "",
        newest_arrival=newest.last_modified if newest else None,
    )


def check_source_data(aws: Connection, stack: StackOutputs) -> SourceData:
    """As `read_source_data`, where there has to be something.

    Raises
    ------
    NoSourceData
        When there is none, with the commands that bring some.
    SourceBucketNotFound
    """
    found = read_source_data(aws, stack)
    if not found.files:
        raise NoSourceData(
            f"There is no raw event file in {stack.raw_events_location}.",
            "let the generator write one:\n"
            f"  aws lambda invoke --function-name {stack.generator_function_name} --region {aws.region} "
            "response.json\n"
            "or copy the sample data:\n"
            f"  aws s3 sync sample-data/ {stack.raw_events_location}",
        )
    return found


def list_raw_objects(aws: Connection, stack: StackOutputs) -> Iterator[RawObject]:
    """The event objects in the source bucket, by key.

    Raises
    ------
    SourceBucketNotFound
    """
    bucket = stack.source_bucket_name
    prefix = stack.raw_events_location.removeprefix(f"s3://{bucket}/")
    with own_errors(f"listing {stack.raw_events_location}"):
        pages = aws.client("s3").get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=bucket, Prefix=prefix):
                for item in page.get("Contents", []):
                    uri, modified = f"s3://{bucket}/{item['Key']}", item["LastModified"].astimezone(UTC)
                    if is_event_object(uri, item["Size"]):
                        yield RawObject(uri, arrival_of(uri, modified), modified, item["Size"])
        except ClientError as error:
            if error_code(error) != "NoSuchBucket":
                raise
            raise SourceBucketNotFound(
                f"Stack {stack.stack_name} names the source bucket {stack.source_bucket_name}, which does "
                "not exist: somebody has deleted it.",
                "create it again; what the job has taken in is safe in the analytics bucket:\n"
                f"  aws s3 mb s3://{stack.source_bucket_name} --region {aws.region}\n"
                "Its policy and life cycle come back only with a new stack.",
            ) from error


# --- Rules --------------------------------------------------------------------------------------------------

_HIVE_FOLDERS = re.compile(
    r"/year=([0-9]{4})/month=([0-9]{1,2})/day=([0-9]{1,2})/hour=([0-9]{1,2})/minute=([0-9]{1,2})/"
)
_DATED_NAME = re.compile(r"/events-([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2})([0-9]{2})[0-9]{2}(?:\.[^/]*)?\Z")
_FIREHOSE_FOLDERS = re.compile(r"/([0-9]{4})/([0-9]{2})/([0-9]{2})/([0-9]{2})/")
YEARS = range(2020, 2040)
UNKNOWN = datetime.min.replace(tzinfo=UTC)


def is_event_object(uri: str, size: int) -> bool:
    """Whether an object counts: no empty one, no hidden one and none that is still being copied."""
    key = _key(uri)
    is_hidden = re.search(r"/[_.]", key) is not None
    return key.startswith("events/") and size > 0 and not is_hidden and not key.endswith("._COPYING_")


def arrival_of(uri: str, modified: datetime = UNKNOWN) -> datetime:
    """The minute in which an object arrived (UTC, without zone): from its key, or else its modification."""
    for spelling in (_HIVE_FOLDERS, _DATED_NAME, _FIREHOSE_FOLDERS):
        if match := spelling.search(f"/{_key(uri)}"):
            try:
                arrival = datetime(*map(int, match.groups()))  # type: ignore[arg-type]
            except ValueError:
                continue
            if arrival.year in YEARS:
                return arrival
    modified = modified.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None)
    return modified if modified.year in YEARS else datetime(YEARS.start, 1, 1)


def _key(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2]
