"""Objects' bodies on disk: of every version, and of the parts of uploads that are not complete.

MiniStack keeps the body of each version and part in memory, and copies a body that a new version replaces.
Here a version that is replaced keeps its file (a hard link), one that is deleted loses it, parts are
temporary files that an upload's completion copies one after the other, and of a large object only what is
asked for is read. A body is in memory while a request brings it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from ministack import app as ministack_app
from ministack.services import s3

Answer = tuple[int, dict[str, str], bytes]

_MAPPED_BYTES = 1 << 20
"""From this size on a body is mapped instead of read: a request for a range then reads no more than it."""

_write, _digest, _entry = s3._atomic_write, s3.md5_hash, s3._version_entry_from_record
_read_body, _get_object, _get_object_data = s3._read_body, s3._get_object, s3._get_object_data
_delete_version_file, _persist_delete_marker = s3._delete_version_file, s3._persist_delete_marker


_COMPLETION = {
    'b"".join(combined_parts)': "_local_aws_joined(combined_parts)",
    'hashlib.md5(stored["body"]).digest()': 'bytes.fromhex(stored["body"].digest)',
}
"""What MiniStack's CompleteMultipartUpload does with its parts in memory, and what it is to do instead."""


@dataclass(frozen=True)
class _FileBody:
    """A body that lies in a file already, and its MD5."""

    path: Path
    digest: str

    def __len__(self) -> int:
        return self.path.stat().st_size


def install() -> None:
    """Patch MiniStack in this process. Raises AttributeError when an upgrade has moved the ground."""
    s3._atomic_write, s3.md5_hash = _written, _md5
    s3._version_entry_from_record, s3._persist_displaced_version = _entry_without_body, _keep_replaced_version
    s3._delete_version_file, s3._persist_delete_marker = _delete_version, _hide_behind_marker
    s3._read_body, s3._get_object, s3._get_object_data = _body, _got, _data
    s3._upload_part, s3._upload_part_copy = (
        _part_on_disk(s3._upload_part),
        _part_on_disk(s3._upload_part_copy),
    )
    source = inspect.getsource(s3._complete_multipart_upload)
    for expression, ours in _COMPLETION.items():  # Within a function no other patch reaches them.
        if source.count(expression) != 1:
            raise AttributeError(f"MiniStack's CompleteMultipartUpload has no longer {expression} in it")
        source = source.replace(expression, ours)
    s3._local_aws_joined = _joined
    exec(compile(source, s3.__file__, "exec"), s3.__dict__)


def put(bucket: str, key: str, content: bytes | Path, content_type: str) -> Answer:
    """PutObject, without HTTP. A file is linked and not read into memory; it must not be changed afterwards.

    To be called from a thread: the event loop writes the object, as it does for a request.
    """
    body: bytes | _FileBody
    if isinstance(content, bytes):
        body = content
    else:
        with content.open("rb") as file:
            body = _FileBody(content, hashlib.file_digest(file, "md5").hexdigest())
    answer: Answer = ministack_app.call_service_handler_sync(
        functools.partial(s3.handle_request, internal=True),
        "PUT",
        f"/{bucket}/{key}",
        {"content-type": content_type},
        body,
        {},
    )
    return answer


def content(bucket: str, key: str) -> Any:
    """An object's content as bytes, mapped if it is large; None where the request's account has none."""
    return _get_object_data(bucket, key)


def object_path(bucket: str, key: str) -> Path | None:
    """The file with an object's current content, None where the request's account has no such object."""
    held = s3._buckets.get(bucket)
    return Path(s3._object_disk_path(bucket, key)) if held and key in held["objects"] else None


def _written(path: str, data: Any, **options: Any) -> None:
    if not isinstance(data, _FileBody):
        _write(path, data, **options)
        return
    staged = Path(f"{path}.tmp")
    staged.unlink(missing_ok=True)
    _link(data.path, staged)
    staged.replace(path)


def _md5(data: Any) -> str:
    return data.digest if isinstance(data, _FileBody) else str(_digest(data))


def _entry_without_body(obj: dict[str, Any], version_id: str, data: Any) -> Any:
    return _entry(obj, version_id, None)


def _keep_replaced_version(bucket: str, key: str, replaced: dict[str, Any] | None, versioning: str) -> None:
    """Before another version is written: link the current one's file to where versions lie."""
    if versioning == "Suspended":  # Whatever comes is the null version, and there is only one.
        _delete_version(bucket, key, "null")
    version = (replaced or {}).get("version_id") or "null"
    if replaced is None or (versioning == "Suspended" and version == "null"):
        return
    kept = Path(s3._version_disk_path(bucket, key, version))
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # It was replaced before, and a version never changes.
        _link(Path(s3._object_disk_path(bucket, key)), kept)


def _delete_version(bucket: str, key: str, version: str) -> None:
    """Remove a version's file, and the folders that held nothing else."""
    path = Path(s3._version_disk_path(bucket, key, version))
    _delete_version_file(bucket, key, version)
    with contextlib.suppress(OSError):  # One is not empty, or never was.
        for folder in path.parents:
            folder.rmdir()
            if folder.name == version:
                break


def _hide_behind_marker(bucket: str, key: str, marker: dict[str, Any]) -> None:
    """Record a delete marker. The version that it hides lies with the others, not in its old place."""
    _persist_delete_marker(bucket, key, marker)
    path = Path(s3._object_disk_path(bucket, key))
    if path.is_file():
        _write(str(path), b"")  # Not removed: `a/b` must not make a folder of `a`, which may come back.


def _body(bucket: str, key: str, obj: dict[str, Any]) -> Any:
    if obj.get("body") is not None or obj["size"] < _MAPPED_BYTES:
        return _read_body(bucket, key, obj)
    return _mapped(Path(s3._object_disk_path(bucket, key)))


def _got(bucket: str, key: str, *request: Any) -> Answer:
    status, headers, body = _get_object(bucket, key, *request)
    if status == 200 and isinstance(body, pa.Buffer):
        return status, headers, Path(s3._object_disk_path(bucket, key)).read_bytes()  # Quicker, if it is all.
    return status, headers, bytes(body)


def _data(*request: Any, **options: Any) -> bytes | None:
    body = _get_object_data(*request, **options)
    return None if body is None else bytes(body)


def _part_on_disk(upload: Any) -> Any:
    """UploadPart or UploadPartCopy, after which the part lies in a file that goes when the upload does."""

    def uploaded(bucket: str, key: str, *request: Any) -> Answer:
        answer: Answer = upload(bucket, key, *request)
        if answer[0] == 200:
            query = request[-2]
            part = s3._multipart_uploads[query["uploadId"][0]]["parts"][int(query["partNumber"][0])]
            with _temporary_file() as file:
                file.write(part["body"])
            part["body"] = _temporary_body(file, part["etag"].strip('"'))
        return answer

    return uploaded


def _joined(parts: Iterable[_FileBody]) -> _FileBody:
    """The parts of an upload as one file."""
    with _temporary_file() as whole:
        for part in parts:
            with part.path.open("rb") as file:
                shutil.copyfileobj(file, whole, _MAPPED_BYTES)
    return _temporary_body(whole, "")  # MiniStack makes an upload's ETag of those of its parts.


def _temporary_file() -> IO[bytes]:
    return tempfile.NamedTemporaryFile(delete=False)


def _temporary_body(file: IO[bytes], digest: str) -> _FileBody:
    """A body in a temporary file, which goes when nothing refers to the body any more."""
    body = _FileBody(Path(file.name), digest)
    weakref.finalize(body, body.path.unlink)
    return body


def _mapped(path: Path) -> pa.Buffer:
    """A file's content as bytes that stay on disk; unlike Python's own mapping it holds no file open."""
    with pa.memory_map(str(path)) as file:
        return file.read_buffer()


def _link(path: Path, name: Path) -> None:
    """Give a file another name, or copy it where the file system knows no links. Raises FileExistsError."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(path, name)
