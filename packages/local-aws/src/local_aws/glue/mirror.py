"""Keeps a folder equal to an S3 bucket around a job run: S3's changes come in before, the job's go out after.

Only what changed is copied, by ETag on S3's side and by file status on the folder's. A manifest beside the
folder says what both looked like when they last agreed. Everything goes through the S3 API.

Not for two runs at once: each has a folder of its own.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

_LIST_PAGE = 1_000_000
"""Objects asked for at once: the embedded S3 has no limit of 1,000, and a page costs it the same as all."""
_COPIES_AT_ONCE = 4
_DELETE_BATCH = 1_000
_LISTING_ATTEMPTS = 5
_S3_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_NOT_A_FILE_HERE = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EILSEQ}
_NOT_FOUND = {"404", "NoSuchKey", "NotFound"}


class BucketChangesTooFast(Exception):
    """Objects were replaced again and again while they were being copied."""


class S3Object(NamedTuple):
    """What a listing says of an object; `modified` is S3's ISO 8601 text."""

    etag: str
    size: int
    modified: str


class FileStatus(NamedTuple):
    """What tells a changed file from an unchanged one: a rename keeps the time but brings another inode."""

    size: int
    modified_ns: int
    inode: int


class _Entry(NamedTuple):
    """A key that folder and bucket agreed on."""

    object: S3Object
    file: FileStatus


@dataclass
class Transfer:
    """What one direction of a synchronisation did."""

    copied: int = 0
    copied_bytes: int = 0
    deleted: int = 0
    objects: int = 0
    """All objects in the bucket (stage-in) or files in the folder (stage-out)."""
    skipped: tuple[str, ...] = ()
    """Keys that cannot be a file, such as `a` beside `a/b`."""


class BucketMirror:
    """The folder of one bucket below `root`, for one job."""

    def __init__(self, s3: Any, bucket: str, root: Path) -> None:
        self.folder = root / bucket
        self._s3 = s3
        self.bucket = bucket
        self._manifest_path = root / f"{bucket}.manifest.json"
        self._incoming = root / f"{bucket}.incoming"
        self._manifest = self._load_manifest()
        self._saved_manifest = dict(self._manifest)

    def stage_in(self) -> Transfer:
        """Make the folder equal to the bucket."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir()
        self._forget_what_differs()
        transfer = Transfer()
        skipped: set[str] = set()
        for _ in range(_LISTING_ATTEMPTS):
            listing = self._list()
            transfer.objects = len(listing)
            for key in [key for key in self._manifest if key not in listing]:
                self._remove_file(key)
                transfer.deleted += 1
            wanted = self._to_copy(listing, skipped)
            with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
                outcomes = list(pool.map(self._download, [(key, listing[key]) for key in wanted]))
            for key, outcome in zip(wanted, outcomes, strict=True):
                if outcome == "copied":
                    transfer.copied += 1
                    transfer.copied_bytes += listing[key].size
                elif outcome == "impossible":
                    skipped.add(key)
            if "changed" not in outcomes:
                break
        else:
            raise BucketChangesTooFast(f"s3://{self.bucket} could not be copied: its objects keep changing")
        self._save_manifest()
        transfer.skipped = tuple(sorted(skipped))
        return transfer

    def stage_out(self) -> Transfer:
        """Bring what was written and deleted in the folder to the bucket, and touch nothing else there.

        A file that the job deleted is deleted in S3 unless it was replaced there meanwhile. Hadoop's `.crc`
        files stay behind; empty folders are removed, as S3 knows none. Raises FileNotFoundError when the
        folder itself is gone, which says nothing about its objects.
        """
        files = dict(_files_below(self.folder))
        changed = [
            key
            for key, status in files.items()
            if key not in self._manifest or self._manifest[key].file != status
        ]
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            etags = list(pool.map(self._upload, changed))
        for key, etag in zip(changed, etags, strict=True):
            self._manifest[key] = _Entry(S3Object(etag, files[key].size, ""), files[key])
        gone = [key for key in self._manifest if key not in files]
        deleted = self._delete_objects(gone)
        for key in gone:
            del self._manifest[key]
        self._save_manifest()
        return Transfer(len(changed), sum(files[key].size for key in changed), deleted, len(files))

    def _forget_what_differs(self) -> None:
        """Start from files that are what the manifest says; a file that is not is fetched anew, or removed.

        Without this a damaged folder would be taken for the job's deletions, and its objects deleted in S3.
        """
        files = dict(_files_below(self.folder))
        self._manifest = {key: entry for key, entry in self._manifest.items() if files.get(key) == entry.file}
        for key in files.keys() - self._manifest.keys():
            (self.folder / key).unlink()

    def _to_copy(self, listing: dict[str, S3Object], skipped: set[str]) -> list[str]:
        """Keys whose object the folder lacks; one that only has a newer time gets it here."""
        wanted = []
        for key, item in listing.items():
            if key.endswith("/") or key in skipped:
                continue
            entry = self._manifest.get(key)
            if entry is not None and entry.object == item:
                continue
            if entry is not None and (entry.object.etag, entry.object.size) == (item.etag, item.size):
                self._agree(key, item, self.folder / key)
            elif _is_a_path(key):
                wanted.append(key)
            else:
                skipped.add(key)
        return wanted

    def _download(self, listed: tuple[str, S3Object]) -> str:
        """Copy one object; says "copied", "changed" (since it was listed) or "impossible" (as a file)."""
        key, item = listed
        try:
            body = self._s3.get_object(Bucket=self.bucket, Key=key, IfMatch=item.etag)["Body"]
        except ClientError as error:
            if error.response["Error"]["Code"] in {*_NOT_FOUND, "412", "PreconditionFailed"}:
                return "changed"
            raise
        descriptor, name = tempfile.mkstemp(dir=self._incoming)
        with contextlib.closing(body), os.fdopen(descriptor, "wb") as file:
            shutil.copyfileobj(body, file, 1 << 20)
        target = self.folder / key
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            Path(name).replace(target)
        except OSError as error:
            if error.errno not in _NOT_A_FILE_HERE:
                raise
            Path(name).unlink()
            return "impossible"
        self._agree(key, item, target)
        return "copied"

    def _agree(self, key: str, item: S3Object, path: Path) -> None:
        """Record that `path` holds the object, and give it the object's time."""
        modified_ns = _modified_ns(item)
        os.utime(path, ns=(modified_ns, modified_ns))
        self._manifest[key] = _Entry(item, _status(path.stat()))

    def _upload(self, key: str) -> str:
        with (self.folder / key).open("rb") as file:
            response = self._s3.put_object(Bucket=self.bucket, Key=key, Body=file)
        return str(response["ETag"])

    def _delete_objects(self, keys: list[str]) -> int:
        """Delete those objects that are still what was staged in; returns how many."""
        with ThreadPoolExecutor(_COPIES_AT_ONCE) as pool:
            unchanged = list(pool.map(self._is_still_ours, keys))
        doomed = [key for key, ours in zip(keys, unchanged, strict=True) if ours]
        for start in range(0, len(doomed), _DELETE_BATCH):
            batch = [{"Key": key} for key in doomed[start : start + _DELETE_BATCH]]
            response = self._s3.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})
            if response.get("Errors"):
                raise OSError(f"s3://{self.bucket}: not deleted: {response['Errors']}")
        return len(doomed)

    def _is_still_ours(self, key: str) -> bool:
        try:
            response = self._s3.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _NOT_FOUND:
                return False
            raise
        return bool(response["ETag"] == self._manifest[key].object.etag)

    def _remove_file(self, key: str) -> None:
        """Take away what S3 no longer has, with the folders that this leaves empty."""
        path = self.folder / key
        path.unlink(missing_ok=True)
        del self._manifest[key]
        for parent in path.parents:
            if parent == self.folder:
                return
            try:
                parent.rmdir()
            except OSError:
                return  # Not empty.

    def _list(self) -> dict[str, S3Object]:
        """Every object of the bucket. Not through boto3's parser: it takes seconds for 100,000 objects."""
        objects: dict[str, S3Object] = {}
        token: str | None = None
        while True:
            params = {"Bucket": self.bucket, "MaxKeys": _LIST_PAGE, "EncodingType": "url"}
            if token:
                params["ContinuationToken"] = token
            url = self._s3.generate_presigned_url("list_objects_v2", Params=params)
            with _direct.open(url) as response:
                page = ElementTree.parse(response).getroot()
            for item in page.iter(f"{_S3_NAMESPACE}Contents"):
                values = {child.tag.removeprefix(_S3_NAMESPACE): child.text or "" for child in item}
                objects[unquote_plus(values["Key"])] = S3Object(
                    values["ETag"], int(values["Size"]), values["LastModified"]
                )
            token = page.findtext(f"{_S3_NAMESPACE}NextContinuationToken")
            if not token:
                return objects

    def _load_manifest(self) -> dict[str, _Entry]:
        try:
            stored = json.loads(self._manifest_path.read_text())
        except FileNotFoundError:
            return {}
        return {key: _Entry(S3Object(*item), FileStatus(*file)) for key, (item, file) in stored.items()}

    def _save_manifest(self) -> None:
        if self._manifest == self._saved_manifest:
            return
        staged = self._manifest_path.with_suffix(".tmp")
        staged.write_text(json.dumps(self._manifest))
        staged.replace(self._manifest_path)
        self._saved_manifest = dict(self._manifest)


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens URLs past any configured proxy: the embedded S3 is on loopback."""


def _modified_ns(item: S3Object) -> int:
    """The object's time for its file: S3's, with digits below the millisecond that depend on the content.

    So a bookmark sees that an object was replaced even within one tick of S3's clock.
    """
    moment = datetime.fromisoformat(item.modified).astimezone(UTC)
    milliseconds = round(moment.timestamp() * 1000)
    return milliseconds * 1_000_000 + int(hashlib.sha256(item.etag.encode()).hexdigest(), 16) % 1_000_000


def _is_a_path(key: str) -> bool:
    """Whether the key can be a file below the folder, and nowhere else."""
    return all(part not in ("", ".", "..") for part in key.split("/")) and "\0" not in key


def _status(stat: os.stat_result) -> FileStatus:
    return FileStatus(stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _files_below(folder: Path) -> Iterator[tuple[str, FileStatus]]:
    """Key and status of every file that is an object; folders without any are removed on the way."""
    yield from _walk(os.fspath(folder), "")


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, FileStatus]]:
    with os.scandir(folder) as entries:
        children: Iterable[os.DirEntry[str]] = list(entries)
    for entry in children:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
            with contextlib.suppress(OSError):  # Not empty.
                Path(entry.path).rmdir()
        elif not (entry.name.startswith(".") and entry.name.endswith(".crc")):
            yield prefix + entry.name, _status(entry.stat(follow_symlinks=False))
