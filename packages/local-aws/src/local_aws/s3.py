"""Where MiniStack's S3 differs from AWS's, as far as Spark notices; its requests, counted and delayed."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

from ministack import app as ministack_app
from ministack.services import s3

from local_aws.server import BYTES_READ, HOST, REQUESTS_PATH, configured_s3_delay

_FOLDERS = 2
"""How many levels of folders requests are told apart by."""

_LISTING = {"list-type", "prefix", "delimiter", "marker", "max-keys", "encoding-type"}
"""Parameters of listings: what else is asked of a bucket is one of its settings."""

_counts: dict[str, Counter[str]] = defaultdict(Counter)


def install() -> None:
    """Patch MiniStack in this process. Raises AttributeError when an upgrade has moved the ground."""
    delay = configured_s3_delay()
    signed_region, handle = s3._signed_region, s3.handle_request

    def signed_region_but_hadoops(headers: dict[str, str], query: dict[str, Any]) -> str | None:
        # Hadoop's S3A signs for us-east-1 whatever the endpoint; AWS's own endpoints tell it where they are.
        return None if headers.get("user-agent", "").startswith("Hadoop ") else signed_region(headers, query)

    async def counted(
        method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any], **options: Any
    ) -> Any:
        if path == REQUESTS_PATH:
            return 200, {"Content-Type": "application/json"}, _told(reset=method == "DELETE")
        bucket, key = s3._parse_bucket_key(path, headers)
        kind = _kind(method, key, headers, query)
        if kind == "LIST":
            key = query.get("prefix", [""])[0]
        elif kind == "DELETE MANY":
            first = re.search(rb"<Key>([^<]*)", body)
            key = first[1].decode() if first else ""
        counts = _counts["/".join([bucket, *key.split("/")[:-1][:_FOLDERS]])]
        counts[kind] += 1
        if delay and not options.get("internal"):  # What the server does itself comes over no network.
            await asyncio.sleep(delay)
        answer = await handle(method, path, headers, body, query, **options)
        if kind == "GET" and key:
            counts[BYTES_READ] += len(answer[2])
        return answer

    s3._signed_region = signed_region_but_hadoops
    s3.handle_request = counted
    assert s3.now_iso()
    s3.now_iso = now_in_seconds
    # Clients that name a bucket in the host need a name: `<bucket>.localhost`.
    assert ministack_app._MINISTACK_HOST == HOST
    ministack_app._MINISTACK_HOST = "localhost"


def now_in_seconds() -> str:
    """The time as S3 keeps it for an object: in a listing and in a header it is the same whole second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _kind(method: str, key: str, headers: dict[str, str], query: dict[str, Any]) -> str:
    """The operation, where the method alone would not tell it."""
    if method == "GET" and not key and (not query or _LISTING & query.keys()):
        return "LIST"
    if method == "POST" and "delete" in query:
        return "DELETE MANY"
    if {"uploads", "uploadId"} & query.keys():
        return "MULTIPART"
    return "COPY" if method == "PUT" and "x-amz-copy-source" in headers else method


def _told(*, reset: bool) -> bytes:
    content = json.dumps(_counts).encode()
    if reset:
        _counts.clear()
    return content
