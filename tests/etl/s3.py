"""The embedded S3 for tests of the ETL script, behind a gate that can be shut between any two requests.

The server is a process of its own; Spark reaches it through S3A, as on Glue (`Store.spark_settings`). What a
`Store` does itself passes beside the gate and is not counted. Each object is written in a second of its own,
so that a later one has a later time, however fast the test is; one that is put back keeps the time it had.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import mmap
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from botocore.config import Config

from local_aws.glue.spark import s3_on_s3a
from local_aws.server import REQUESTS_PATH, LocalAws, environment_for, running_server

OUTSIDE = "beside-the-gate"
MODIFIED = "x-modified"
MUTATING = ("PUT", "POST", "DELETE")

_ALL, _CHANGES, _LEFT, _ONLY_CHANGES = range(4)
_OPEN = -1


class Gate:
    """Counts requests to S3, and after so many of them answers each further one with 403, until opened.

    A run of the script then ends as if it had been killed between two requests: S3A does not repeat what was
    forbidden. Its numbers lie in a file that the server's process has mapped as well.
    """

    def __init__(self, file: Path) -> None:
        with file.open("a+b") as opened:
            opened.truncate(4 * 8)
            self._numbers = memoryview(mmap.mmap(opened.fileno(), 4 * 8)).cast("q")
        self._log = file.with_suffix(".log").open("a", buffering=1)

    @property
    def count(self) -> int:
        """How many requests have changed the store since `open`: PUT, POST and DELETE."""
        return self._numbers[_CHANGES]

    @property
    def requests(self) -> int:
        """How many requests of any kind there were since `open`."""
        return self._numbers[_ALL]

    @property
    def log(self) -> list[str]:
        """The requests since `open`, each as in `GET bucket/key`."""
        return Path(self._log.name).read_text().splitlines()

    @property
    def is_dark(self) -> bool:
        """Whether requests are being refused."""
        return self._numbers[_LEFT] == 0

    def open(self) -> None:
        """Let everything through, and count from 0."""
        self.shut_after(_OPEN)

    def shut_after(self, requests: int, *, only_changes: bool = True) -> None:
        """Refuse everything after so many more requests: changes of the store, or any. Counts from 0."""
        self._numbers[_ONLY_CHANGES] = only_changes
        self._numbers[_ALL] = self._numbers[_CHANGES] = 0
        self._numbers[_LEFT] = requests
        self._log.truncate(0)

    def lets(self, method: str, path: str) -> bool:
        """Whether a request is let through; for the server, which then answers it."""
        if self.is_dark:
            return False
        is_change = method in MUTATING
        self._numbers[_ALL] += 1
        self._numbers[_CHANGES] += is_change
        self._log.write(f"{method} {path.strip('/')}\n")
        if self._numbers[_LEFT] > 0 and (is_change or not self._numbers[_ONLY_CHANGES]):
            self._numbers[_LEFT] -= 1
        return True


class Listed(NamedTuple):
    """What a listing tells of an object."""

    etag: str
    size: int
    modified: datetime


Content = dict[str, tuple[Listed, bytes]]
"""All that is in a bucket, by key."""


class Store:
    """Buckets in the embedded S3."""

    def __init__(self, aws: LocalAws, gate: Gate, client: Any) -> None:
        self.aws = aws
        self.gate = gate
        self.client = client
        self._connection = http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc)

    def another(self) -> Store:
        """The same store on a connection of its own, for another thread."""
        return Store(self.aws, self.gate, self.client)

    @property
    def spark_settings(self) -> dict[str, str]:
        """Settings for a Spark session whose s3:// is this store, by way of S3A and the gate."""
        return s3_on_s3a(self.aws.endpoint_url)

    @property
    def environment(self) -> dict[str, str]:
        """What points boto3 to this store, through the gate."""
        # Twice, as the server may close an idle connection just then; what the gate forbids is not repeated.
        return environment_for(self.aws.endpoint_url) | {"AWS_MAX_ATTEMPTS": "2"}

    def put(self, uri: str, content: bytes, modified: datetime | None = None) -> None:
        """Write an object: in a second of its own, unless it is to have been modified at another time."""
        self._request("PUT", uri.removeprefix("s3://"), content, modified)

    def get(self, uri: str) -> bytes:
        """Read an object."""
        return self._request("GET", uri.removeprefix("s3://"))

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete these objects."""
        named = [{"Key": key} for key in keys]
        for first in range(0, len(named), 1000):
            self.client.delete_objects(Bucket=bucket, Delete={"Objects": named[first : first + 1000]})

    def objects(self, bucket: str, prefix: str = "") -> dict[str, Listed]:
        """What is there below a prefix, in the order of keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found = itertools.chain.from_iterable(page.get("Contents", []) for page in pages)
        return {item["Key"]: Listed(item["ETag"], item["Size"], item["LastModified"]) for item in found}

    def read(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """Key -> content."""
        return {key: content for key, (_, content) in self.content(bucket, prefix).items()}

    def content(self, bucket: str, prefix: str = "") -> Content:
        """What `put_back` takes."""
        return {
            key: (listed, self.get(f"s3://{bucket}/{key}"))
            for key, listed in self.objects(bucket, prefix).items()
        }

    def put_back(self, bucket: str, content: Mapping[str, tuple[Listed, bytes]]) -> None:
        """Make the bucket what it was, times of modification included."""
        now = self.objects(bucket)
        self.delete(bucket, now.keys() - content.keys())
        for key, (listed, data) in content.items():
            if now.get(key) != listed:
                self.put(f"s3://{bucket}/{key}", data, listed.modified)

    def clear(self, bucket: str) -> None:
        """Delete all objects."""
        self.delete(bucket, self.objects(bucket))

    def _request(
        self, method: str, path: str, content: bytes | None = None, modified: datetime | None = None
    ) -> bytes:
        """Without boto3, which takes three times as long."""
        headers = {"User-Agent": OUTSIDE} | ({MODIFIED: in_seconds(modified)} if modified else {})
        try:
            self._connection.request(method, f"/{quote(path)}", content, headers)
            answer = self._connection.getresponse()
        except ConnectionError:  # The server had closed it meanwhile: nobody used it for long.
            self._connection.close()
            self._connection.request(method, f"/{quote(path)}", content, headers)
            answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {body.decode(errors='replace')}"
        return body


@contextlib.contextmanager
def running_store(folder: Path, buckets: Sequence[str] = ("raw", "lake")) -> Iterator[Store]:
    """A store with these buckets, for the length of a `with` block."""
    with running_server(folder, module="tests.etl.s3") as aws:
        config = Config(user_agent_extra=OUTSIDE, s3={"addressing_style": "path"})
        client = aws.client("s3", config=config)
        for bucket in buckets:
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        gate = Gate(folder / "gate")
        gate.open()
        yield Store(aws, gate, client)


def install() -> None:
    """Put the gate and the clock into MiniStack's S3, in the server's process."""
    from ministack.services import s3

    handle, gate = s3.handle_request, Gate(Path(os.environ["LOCAL_AWS_STATE_DIR"]) / "gate")
    seconds, told = itertools.count(int(time.time())), ContextVar("told", default="")

    async def gated(method: str, path: str, headers: dict[str, str], *rest: Any, **options: Any) -> Any:
        told.set(headers.get(MODIFIED, ""))
        if path == REQUESTS_PATH or OUTSIDE in headers.get("user-agent", "") or gate.lets(method, path):
            return await handle(method, path, headers, *rest, **options)
        return s3._error("AccessDenied", "The gate is shut", 403)

    s3.handle_request = gated
    s3.now_iso = lambda: told.get() or in_seconds(datetime.fromtimestamp(next(seconds), UTC))


def in_seconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


if __name__ == "__main__":
    from local_aws import __main__ as local_aws
    from local_aws import process

    process.EXTENSIONS = ("local_aws.persistence", "local_aws.s3", "tests.etl.s3")
    sys.exit(local_aws.main())
