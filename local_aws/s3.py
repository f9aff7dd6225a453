"""What MiniStack's S3 does otherwise than AWS's, as far as Spark notices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ministack.services import s3


def install() -> None:
    """Patch MiniStack in this process. Raises AttributeError when an upgrade has moved the ground."""
    signed_region = s3._signed_region

    def signed_region_but_hadoops(headers: dict[str, str], query: dict[str, Any]) -> str | None:
        # Hadoop's S3A signs for us-east-1 whatever the endpoint; AWS's own endpoints tell it where they are.
        return None if headers.get("user-agent", "").startswith("Hadoop ") else signed_region(headers, query)

    s3._signed_region = signed_region_but_hadoops
    assert s3.now_iso()
    s3.now_iso = now_in_seconds


def now_in_seconds() -> str:
    """The time as S3 keeps it for an object: in a listing and in a header it is the same whole second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
