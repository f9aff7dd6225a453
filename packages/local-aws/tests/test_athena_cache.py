"""What Athena's cache of fetched objects drops when it is full, and what it must leave alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from local_aws.athena import storage
from local_aws.athena.storage import ObjectStore, StoredObject


def stored(key: str, content: bytes) -> StoredObject:
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return StoredObject("lake", key, len(content), f'"{etag}"')


def test_a_full_cache_drops_the_oldest_file_and_none_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {f"{name}.parquet": name.encode() * 10 for name in "abc"}
    old, used, new = (stored(key, content) for key, content in contents.items())
    unused_client: Any = None
    store = ObjectStore(unused_client, lambda item: contents[item.key], tmp_path)
    monkeypatch.setattr(storage, "CACHE_LIMIT_BYTES", 20)
    cached = store.fetch([old, used])
    for age, path in ((200, cached[old]), (100, cached[used])):
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    # What another query stages: the oldest of all here, and, as it is renamed at any moment, maybe gone.
    staged, gone = (tmp_path / f"{name}.parquet.1.part" for name in ("staged", "gone"))
    staged.write_bytes(b"half")
    os.utime(staged, (0, 0))
    gone.symlink_to(tmp_path / "nowhere")

    fetched = store.fetch([new])

    assert fetched[new].read_bytes() == contents["c.parquet"]
    assert [path.exists() for path in (cached[old], cached[used], staged)] == [False, True, True]
