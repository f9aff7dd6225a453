"""The server's memory does not grow with what it stores; disk is given back; a restart keeps all versions."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws, StatePaths, running_server

MIB = 1 << 20
BIG = os.urandom(10 * MIB)


def rss(aws: LocalAws) -> float:
    """The server's resident memory, MiB."""
    return psutil.Process(aws.pid).memory_info().rss / MIB


def versioned_bucket(aws: LocalAws, name: str) -> Any:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return s3


def stored_bytes(aws: LocalAws, bucket: str) -> int:
    """What the bucket's bodies take on disk; a file with several names counts once."""
    objects = aws.state_dir / "s3"
    folders = [*objects.glob(f"*/{bucket}"), *objects.glob(f".versions/*/{bucket}")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    sizes = {path.stat().st_ino: path.stat().st_size for path in files if path.suffix != ".json"}
    return sum(sizes.values())


def temporary_files(aws: LocalAws) -> list[Path]:
    return [path for path in StatePaths(aws.state_dir).temporary.iterdir() if path.is_file()]


def put_versions(s3: Any, bucket: str, key: str, contents: list[bytes]) -> list[str]:
    return [s3.put_object(Bucket=bucket, Key=key, Body=content)["VersionId"] for content in contents]


def read(s3: Any, bucket: str, key: str, version: str | None = None, **request: Any) -> bytes:
    if version:
        request["VersionId"] = version
    return bytes(s3.get_object(Bucket=bucket, Key=key, **request)["Body"].read())


def test_overwriting_a_large_object_leaves_memory_where_it_was(aws: LocalAws) -> None:
    s3 = versioned_bucket(aws, "memory-large")
    put_versions(s3, "memory-large", "key", [BIG] * 2)
    before = rss(aws)
    put_versions(s3, "memory-large", "key", [BIG] * 20)
    assert rss(aws) - before < 60


def test_many_versions_of_a_small_object_leave_memory_where_it_was(aws: LocalAws) -> None:
    s3 = versioned_bucket(aws, "memory-small")
    before = rss(aws)
    for folder in range(20):
        put_versions(s3, "memory-small", f"{folder}/key", [b"x" * 20_000] * 100)
    assert rss(aws) - before < 25, "40 MB of content, 2,000 versions"


def test_parts_of_an_upload_wait_on_disk(aws: LocalAws) -> None:
    s3 = versioned_bucket(aws, "memory-parts")
    upload = {"Bucket": "memory-parts", "Key": "key"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]

    def part(number: int) -> dict[str, Any]:
        return {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=BIG)["ETag"]}

    parts = [part(1), part(2)]
    before = rss(aws)
    parts += [part(number) for number in range(3, 23)]
    assert rss(aws) - before < 60
    with most_memory(aws) as during:
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert max(during) - before < 60
    assert temporary_files(aws) == []
    assert read(s3, "memory-parts", "key") == BIG * 22


@contextlib.contextmanager
def most_memory(aws: LocalAws) -> Iterator[list[float]]:
    """The server's memory, again and again for the length of a `with` block."""
    seen = [rss(aws)]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            seen.append(rss(aws))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def test_parts_of_an_upload_that_is_aborted_leave_the_disk(aws: LocalAws) -> None:
    s3 = versioned_bucket(aws, "aborted-parts")
    upload = {"Bucket": "aborted-parts", "Key": "key"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    for number in (1, 1, 2):  # The second takes the place of the first.
        s3.upload_part(**upload, PartNumber=number, Body=BIG)
    assert len(temporary_files(aws)) == 2
    s3.abort_multipart_upload(**upload)
    assert temporary_files(aws) == []


@pytest.mark.parametrize("second", [b"", b"second"])
def test_an_upload_of_parts_has_their_content_and_the_etag_of_aws(aws: LocalAws, second: bytes) -> None:
    s3 = versioned_bucket(aws, f"parts-{len(second)}")
    upload = {"Bucket": f"parts-{len(second)}", "Key": "key"}
    contents = [BIG, second]
    for _ in range(2):  # Also over a version that is there.
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        tags = [
            s3.upload_part(**upload, PartNumber=number, Body=content)["ETag"]
            for number, content in enumerate(contents, start=1)
        ]
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, start=1)]
        done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        digests = b"".join(hashlib.md5(content).digest() for content in contents)
        assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-2"'
        assert read(s3, upload["Bucket"], "key", done["VersionId"]) == BIG + second
        del upload["UploadId"]
    assert stored_bytes(aws, upload["Bucket"]) == 2 * len(BIG + second)


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_versions_come_and_go_with_their_content(aws: LocalAws, size: int) -> None:
    bucket = f"versions-{size}"
    s3 = versioned_bucket(aws, bucket)
    old, middle, new = (bytes([letter]) * size for letter in b"abc")
    first, second, third = put_versions(s3, bucket, "a", [old, middle, new])
    assert [read(s3, bucket, "a", version) for version in (first, second, third)] == [old, middle, new]
    s3.delete_object(Bucket=bucket, Key="a", VersionId=third)
    assert read(s3, bucket, "a") == middle
    marker = s3.delete_object(Bucket=bucket, Key="a")["VersionId"]
    s3.put_object(Bucket=bucket, Key="a/b", Body=new)  # Lies in a folder that has the hidden key's name.
    with pytest.raises(ClientError, match="NoSuchKey"):
        read(s3, bucket, "a")
    assert read(s3, bucket, "a", second) == middle
    s3.delete_object(Bucket=bucket, Key="a", VersionId=marker)
    assert read(s3, bucket, "a") == middle
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a", "VersionId": first})
    (fourth,) = put_versions(s3, bucket, "a", [new])
    assert [read(s3, bucket, "a", version) for version in (first, second, fourth)] == [old, middle, new]
    assert (read(s3, bucket, "copy"), read(s3, bucket, "a/b")) == (old, new)
    assert read(s3, bucket, "a", Range="bytes=2-5") == b"cccc"


def test_a_bucket_whose_versioning_is_suspended_keeps_one_null_version(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="suspended", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="suspended", Key="a", Body=b"before versioning")
    s3.put_bucket_versioning(Bucket="suspended", VersioningConfiguration={"Status": "Enabled"})
    (versioned,) = put_versions(s3, "suspended", "a", [b"versioned"])
    assert read(s3, "suspended", "a", "null") == b"before versioning"
    s3.put_bucket_versioning(Bucket="suspended", VersioningConfiguration={"Status": "Suspended"})
    for content in (b"suspended", b"suspended again"):
        s3.put_object(Bucket="suspended", Key="a", Body=content)
    assert read(s3, "suspended", "a", "null") == read(s3, "suspended", "a") == b"suspended again"
    assert read(s3, "suspended", "a", versioned) == b"versioned"
    s3.delete_object(Bucket="suspended", Key="a")
    with pytest.raises(ClientError, match="MethodNotAllowed"):
        read(s3, "suspended", "a", "null")
    assert stored_bytes(aws, "suspended") == len(b"versioned")


def test_deleted_versions_give_their_disk_back(aws: LocalAws) -> None:
    s3 = versioned_bucket(aws, "disk")
    versions = put_versions(s3, "disk", "folder/key", [BIG[:MIB]] * 5)
    assert stored_bytes(aws, "disk") == 5 * MIB
    for version in versions[:3]:
        s3.delete_object(Bucket="disk", Key="folder/key", VersionId=version)
    assert stored_bytes(aws, "disk") == 2 * MIB
    marker = s3.delete_object(Bucket="disk", Key="folder/key")["VersionId"]
    assert stored_bytes(aws, "disk") == 2 * MIB
    for version in (*versions[3:], marker):
        s3.delete_object(Bucket="disk", Key="folder/key", VersionId=version)
    assert stored_bytes(aws, "disk") == 0
    assert not list(aws.state_dir.glob("s3/.versions/*/disk/*/*")), "no empty folders"


@pytest.mark.parametrize("end", ["in order", "killed"])
def test_a_restart_keeps_every_version(tmp_path: Path, end: str) -> None:
    contents = [BIG[: 2 * MIB], b"small", b"", BIG[MIB : 3 * MIB]]
    with running_server(tmp_path / "state") as first:
        s3 = versioned_bucket(first, "kept")
        versions = put_versions(s3, "kept", "a/key", contents)
        hidden = put_versions(s3, "kept", "hidden", contents)
        s3.delete_object(Bucket="kept", Key="hidden")
        s3.create_multipart_upload(Bucket="kept", Key="unfinished")
        if end == "killed":
            wait_until((first.state_dir / "services" / "s3.json").exists)
            psutil.Process(first.pid).kill()
    with running_server(tmp_path / "state") as second:
        s3 = second.client("s3")
        assert [read(s3, "kept", "a/key", version) for version in versions] == contents
        assert read(s3, "kept", "a/key") == contents[-1]
        assert [read(s3, "kept", "hidden", version) for version in hidden] == contents
        assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="kept")["Contents"]] == ["a/key"]


def wait_until(condition: Callable[[], bool], timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
