"""Objects of S3 as local files for the query engine: listed, fetched and cached.

Files are cached by their ETag, so an object is fetched once however many queries read it. The cache is
private to the embedded AWS and may be removed at any time.
"""

from __future__ import annotations

import bz2
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
from botocore.exceptions import ClientError

from local_aws import bodies
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location

CACHE_LIMIT_BYTES = 4 * 1024**3
"""The least recently used files go when the cache grows beyond this."""

_FOOTERS_KEPT = 20_000

_lock = threading.Lock()
_footers: OrderedDict[str, ParquetFooter] = OrderedDict()


@dataclass(frozen=True)
class StoredObject:
    """An object of S3."""

    bucket: str
    key: str
    size: int
    etag: str

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def cache_name(self) -> str:
        """The same for the same content: ETag and size, and the extension that names the compression.

        Without `.bz2`, which is decompressed on its way into the cache; the engine reads gzip and Zstandard.
        """
        suffix = "".join(Path(self.key).suffixes[-2:]).removesuffix(".bz2")
        return hashlib.sha256(f"{self.etag}-{self.size}".encode()).hexdigest()[:40] + suffix[-20:]


@dataclass(frozen=True)
class ParquetFooter:
    """What a scan needs of a Parquet file's footer; names are in lower case, as in the catalog."""

    types: dict[str, pa.DataType]
    stored_names: dict[str, str]
    compressed_bytes: dict[str, int]


Reader = Callable[[StoredObject], bytes | None]


class ObjectStore:
    """Objects of one account's buckets, with a cache of their contents in `cache_dir`.

    `s3` lists them; `read` returns the content of one, None when it is gone.
    """

    def __init__(self, s3: Any, read: Reader, cache_dir: Path) -> None:
        self.s3 = s3
        self.read = read
        self.cache_dir = cache_dir

    def list(self, location: Location) -> list[StoredObject]:
        """The objects below a location that hold data. Raises QueryFailed when the bucket is missing."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=location.bucket, Prefix=location.prefix
        )
        try:
            return [
                StoredObject(location.bucket, entry["Key"], entry["Size"], entry["ETag"])
                for page in pages
                for entry in page.get("Contents", ())
                if entry["Size"] > 0
            ]
        except ClientError as error:
            raise QueryFailed(
                "HIVE_FILESYSTEM_ERROR",
                f"Failed to list s3://{location.bucket}/{location.prefix}: "
                f"{error.response['Error']['Message']}",
            ) from error

    def fetch(self, objects: Iterable[StoredObject]) -> dict[StoredObject, Path]:
        """Local files with the objects' contents, fetched where the cache lacks them."""
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        paths = {item: self.cache_dir / item.cache_name for item in objects}
        missing = [(item, path) for item, path in paths.items() if not _is_cached(path)]
        for item, path in missing:
            self._save(item, path)
        if missing:
            self._shrink(keep=set(paths.values()))
        return paths

    def put(
        self,
        location: Location,
        name: str,
        content: bytes | Path,
        content_type: str = "binary/octet-stream",
    ) -> None:
        """Write an object below a location; a file without reading it into memory.

        A file must not be changed afterwards, but may be removed. Raises QueryFailed when S3 refuses.
        """
        status, _, answer = bodies.put(location.bucket, location.prefix + name, content, content_type)
        if status != 200:
            code = re.search(rb"<Code>(\w+)", answer)
            raise QueryFailed(
                "HIVE_FILESYSTEM_ERROR",
                f"Failed to write s3://{location.bucket}/{location.prefix}{name}: "
                f"{code[1].decode() if code else status}",
            )

    def _save(self, item: StoredObject, path: Path) -> None:
        content = self.read(item)
        if content is None or not _is_content_of(item, content):
            raise QueryFailed("HIVE_CURSOR_ERROR", f"{item.url} was changed or deleted while it was read")
        staged = path.with_name(f"{path.name}.{threading.get_ident()}.part")
        staged.write_bytes(bz2.decompress(content) if item.key.endswith(".bz2") else content)
        staged.replace(path)

    def _shrink(self, keep: set[Path]) -> None:
        """Drop the least recently used files beyond the limit, but none that a query is about to read.

        A file that another query is staging (`.part`) may be renamed at any moment: it is not looked at.
        """
        with _lock:
            finished = [path for path in self.cache_dir.iterdir() if path.suffix != ".part"]
            files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in finished)
            excess = sum(size for _, size, _ in files) - CACHE_LIMIT_BYTES
            for _, size, path in files:
                if excess <= 0:
                    return
                if path not in keep:
                    path.unlink(missing_ok=True)
                    excess -= size


def orc_as_parquet(item: StoredObject, path: Path) -> Path:
    """A fetched ORC file as Parquet, made once, with columns `c0`, `c1`...: Athena reads ORC by position.

    https://docs.aws.amazon.com/athena/latest/ug/handling-schema-updates-chapter.html. Raises QueryFailed
    (HIVE_BAD_DATA) for any other file.
    """
    converted = path.with_name(f"{path.name}.parquet")
    if _is_cached(converted):
        return converted
    staged = converted.with_name(f"{converted.name}.{threading.get_ident()}.part")
    try:
        stored = orc.ORCFile(path)
        schema = pa.schema([(f"c{index}", field.type) for index, field in enumerate(stored.schema)])
        with pq.ParquetWriter(staged, schema) as writer:
            for index in range(stored.nstripes):
                stripe = stored.read_stripe(index)
                writer.write_table(pa.table(stripe.columns, schema=schema))
    except (pa.ArrowException, OSError) as error:
        staged.unlink(missing_ok=True)
        raise QueryFailed("HIVE_BAD_DATA", f"Not a valid ORC file: {item.url}: {error}") from error
    staged.replace(converted)
    return converted


def parquet_footer(item: StoredObject, path: Path) -> ParquetFooter:
    """The footer of a fetched Parquet file. Raises QueryFailed (HIVE_BAD_DATA) for any other file."""
    with _lock:
        if path.name in _footers:
            _footers.move_to_end(path.name)
            return _footers[path.name]
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise QueryFailed("HIVE_BAD_DATA", f"Not valid Parquet file: {item.url}: {error}") from error
    sizes: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(index)
            name = chunk.path_in_schema.split(".")[0].lower()
            sizes[name] = sizes.get(name, 0) + chunk.total_compressed_size
    footer = ParquetFooter(
        types={field.name.lower(): field.type for field in schema},
        stored_names={field.name.lower(): field.name for field in schema},
        compressed_bytes=sizes,
    )
    with _lock:
        _footers[path.name] = footer
        while len(_footers) > _FOOTERS_KEPT:
            _footers.popitem(last=False)
    return footer


def _is_content_of(item: StoredObject, content: bytes) -> bool:
    """Whether the content is the one that was listed; a multipart ETag is no checksum, so size decides."""
    etag = item.etag.strip('"')
    if len(content) != item.size:
        return False
    return "-" in etag or hashlib.md5(content, usedforsecurity=False).hexdigest() == etag


def _is_cached(path: Path) -> bool:
    """Whether the cache has the file; marks it as used."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
