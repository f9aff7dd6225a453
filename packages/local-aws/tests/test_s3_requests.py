"""What we add to MiniStack's S3: requests are counted and delayed; whole seconds; any region's signature."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from local_aws.server import LocalAws, ServerStartFailed, running_server

BUCKET = "counted-requests"


def test_requests_are_counted_by_folder_and_kind(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    aws.requests(reset=True)
    for key in ("gold/table/part=1/x", "gold/table/y", "z"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"content")
    s3.copy_object(Bucket=BUCKET, Key="gold/copy/x", CopySource=f"{BUCKET}/z")
    s3.get_object(Bucket=BUCKET, Key="gold/table/y")
    s3.head_object(Bucket=BUCKET, Key="z")
    s3.list_objects_v2(Bucket=BUCKET, Prefix="gold/table/part=1/")
    s3.list_objects(Bucket=BUCKET)
    s3.get_bucket_location(Bucket=BUCKET)
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="big/x")["UploadId"]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="big/x", UploadId=upload)
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "gold/table/y"}, {"Key": "z"}]})
    s3.delete_object(Bucket=BUCKET, Key="gold/copy/x")
    counted = {
        folder: kinds
        for folder, kinds in aws.requests(reset=True).items()
        if folder.partition("/")[0] == BUCKET
    }
    assert counted == {
        BUCKET: {"PUT": 1, "HEAD": 1, "LIST": 1, "GET": 1},
        f"{BUCKET}/gold/table": {"PUT": 2, "GET": 1, "LIST": 1, "DELETE MANY": 1, "bytes read": 7},
        f"{BUCKET}/gold/copy": {"COPY": 1, "DELETE": 1},
        f"{BUCKET}/big": {"MULTIPART": 2},
    }
    assert not [folder for folder in aws.requests() if folder.startswith(BUCKET)]


def test_each_request_to_s3_waits_as_long_as_it_is_told_and_none_waits_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_AWS_S3_DELAY_MS", "200")
    with running_server(tmp_path) as slow:
        s3, glue = slow.client("s3"), slow.client("glue")
        began = time.monotonic()
        s3.create_bucket(Bucket="slow", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        s3.put_object(Bucket="slow", Key="x", Body=b"content")
        assert s3.get_object(Bucket="slow", Key="x")["Body"].read() == b"content"
        assert time.monotonic() - began >= 0.6
        began = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            sizes = threads.map(lambda _: s3.head_object(Bucket="slow", Key="x")["ContentLength"], range(8))
        assert list(sizes) == [7] * 8
        assert 0.2 <= time.monotonic() - began < 1.2
        began = time.monotonic()
        glue.get_databases()
        assert time.monotonic() - began < 0.2


def test_a_delay_that_is_no_number_is_named_when_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_AWS_S3_DELAY_MS", "30ms")
    with (
        pytest.raises(ServerStartFailed, match="LOCAL_AWS_S3_DELAY_MS is '30ms'; it must be a whole number"),
        running_server(tmp_path),
    ):
        pass


def test_an_objects_time_is_the_same_in_its_listing_and_its_headers(aws: LocalAws) -> None:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="times", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="times", Key="x")
    (listed,) = s3.list_objects_v2(Bucket="times")["Contents"]
    assert listed["LastModified"] == s3.head_object(Bucket="times", Key="x")["LastModified"]


@pytest.mark.parametrize(("agent", "status"), [("Hadoop 3.3.4, aws-sdk-java", 200), ("other", 301)])
def test_only_hadoop_may_sign_for_another_region(aws: LocalAws, agent: str, status: int) -> None:
    bucket = f"region-{status}"
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    request = AWSRequest("HEAD", f"{aws.endpoint_url}/{bucket}", headers={"User-Agent": agent})
    S3SigV4Auth(Credentials("test", "test"), "s3", "us-east-1").add_auth(request)
    connection = http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc)
    connection.request("HEAD", f"/{bucket}", headers=dict(request.headers))
    assert connection.getresponse().status == status
