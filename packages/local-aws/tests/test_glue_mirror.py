"""Buckets as folders: what comes in, what goes out, and what is left alone."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from local_aws.glue.mirror import BucketMirror
from local_aws.server import LocalAws


class Bench:
    """A bucket and its mirror."""

    def __init__(self, s3: Any, root: Path) -> None:
        self.s3 = s3
        self.bucket = f"mirror-{uuid.uuid4().hex[:12]}"
        s3.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        self.root = root
        self.folder = self.mirror.folder

    @property
    def mirror(self) -> BucketMirror:
        """A new one each time, as each run has: nothing is remembered but what is on disk."""
        return BucketMirror(self.s3, self.bucket, self.root)

    def put(self, key: str, body: bytes = b"x") -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def objects(self) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            item["Key"]: self.s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
            for item in listed
        }

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def bench(aws: LocalAws, tmp_path: Path) -> Bench:
    return Bench(aws.client("s3"), tmp_path)


def test_only_changes_come_in(bench: Bench) -> None:
    for key in ("a", "deep/er/b", "key with =, ü and %20", "c"):
        bench.put(key, key.encode())
    assert bench.mirror.stage_in().copied == 4
    assert bench.mirror.stage_in().copied == 0
    bench.put("a", b"new")
    bench.s3.delete_object(Bucket=bench.bucket, Key="deep/er/b")
    transfer = bench.mirror.stage_in()
    assert (transfer.copied, transfer.deleted, transfer.objects) == (1, 1, 3)
    assert bench.files() == bench.objects()
    assert not (bench.folder / "deep").exists()


def test_an_object_put_again_unchanged_gets_a_new_time(bench: Bench) -> None:
    bench.put("a")
    bench.mirror.stage_in()
    before = (bench.folder / "a").stat().st_mtime_ns
    time.sleep(1)  # S3 tells whole seconds.
    bench.put("a")
    assert bench.mirror.stage_in().copied == 0
    assert (bench.folder / "a").stat().st_mtime_ns > before


def test_writes_renames_and_deletions_go_out_and_nothing_else_does(bench: Bench) -> None:
    for key in ("kept", "moved/old", "changed", "doomed/x"):
        bench.put(key)
    bench.mirror.stage_in()
    (bench.folder / "moved/old").rename(bench.folder / "moved/new")
    (bench.folder / "changed").write_bytes(b"y")
    (bench.folder / "doomed/x").unlink()
    (bench.folder / "made/up").mkdir(parents=True)
    (bench.folder / "made/part-0").write_bytes(b"0")
    (bench.folder / "made/.part-0.crc").write_bytes(b"crc")
    bench.put("by others")
    transfer = bench.mirror.stage_out()
    assert (transfer.copied, transfer.deleted) == (3, 2)
    assert bench.objects() == {
        "kept": b"x",
        "moved/new": b"x",
        "changed": b"y",
        "made/part-0": b"0",
        "by others": b"x",
    }
    assert not (bench.folder / "doomed").exists() and not (bench.folder / "made/up").exists()
    again = bench.mirror.stage_out()
    assert (again.copied, again.deleted) == (0, 0)
    assert bench.mirror.stage_in().copied == 1


def test_a_file_replaced_by_rename_is_a_change_even_with_equal_time_and_size(bench: Bench) -> None:
    bench.put("a", b"1")
    bench.mirror.stage_in()
    status = (bench.folder / "a").stat()
    (bench.folder / "b").write_bytes(b"2")
    os.utime(bench.folder / "b", ns=(status.st_mtime_ns, status.st_mtime_ns))
    (bench.folder / "b").rename(bench.folder / "a")
    bench.mirror.stage_out()
    assert bench.objects() == {"a": b"2"}


def test_an_object_that_others_replaced_is_not_deleted_with_the_jobs_copy(bench: Bench) -> None:
    bench.put("a", b"ours")
    bench.mirror.stage_in()
    (bench.folder / "a").unlink()
    bench.put("a", b"theirs")
    bench.mirror.stage_out()
    assert bench.objects() == {"a": b"theirs"}


def test_a_lost_folder_is_filled_again_and_never_taken_for_deletions(bench: Bench) -> None:
    bench.put("a")
    bench.put("b")
    bench.mirror.stage_in()
    (bench.folder / "a").unlink()
    (bench.folder / "stray").write_bytes(b"?")
    assert bench.mirror.stage_in().copied == 1
    bench.mirror.stage_out()
    assert bench.objects() == bench.files() == {"a": b"x", "b": b"x"}


def test_without_its_folder_nothing_is_deleted(bench: Bench) -> None:
    bench.put("a")
    bench.mirror.stage_in()
    shutil.rmtree(bench.folder)
    with pytest.raises(FileNotFoundError):
        bench.mirror.stage_out()
    assert bench.objects() == {"a": b"x"}


def test_keys_that_cannot_be_files_are_skipped_and_named(bench: Bench) -> None:
    for key in ("dir", "dir/file", "folder/", "a//b", "../up", "x" * 300):
        bench.put(key)
    transfer = bench.mirror.stage_in()
    assert set(transfer.skipped) >= {"a//b", "../up", "x" * 300}
    assert len({"dir", "dir/file"} & set(transfer.skipped)) == 1
    bench.mirror.stage_out()
    assert len(bench.objects()) == 6


def test_thousands_of_objects_are_compared_quickly(bench: Bench) -> None:
    for number in range(300):
        bench.put(f"events/{number:05}")
    bench.mirror.stage_in()
    began = time.process_time()
    transfer = bench.mirror.stage_in()
    assert (transfer.copied, transfer.objects) == (0, 300)
    assert time.process_time() - began < 1
