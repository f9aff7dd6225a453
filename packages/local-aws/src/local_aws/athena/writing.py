"""A query's rows as objects below an S3 location, for CREATE TABLE AS, INSERT INTO and UNLOAD.

Parquet, ORC, JSON lines and delimited text, partitioned or not. Avro, buckets and sorting are refused.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow.orc as orc
import pyarrow.parquet as pq
from sqlglot import exp

from local_aws.athena.engine import Relation, Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.inference import is_integer
from local_aws.athena.partitions import Location, Values
from local_aws.athena.types import from_hive

MAX_PARTITIONS = 100
"""https://docs.aws.amazon.com/athena/latest/ug/ctas-insert-into.html: a statement writes no more."""

COMPRESSIONS = {
    "parquet": ("GZIP", "SNAPPY", "ZSTD", "NONE"),
    "orc": ("ZLIB", "SNAPPY", "ZSTD", "LZ4", "NONE"),
    "json": ("GZIP", "NONE"),
    "textfile": ("GZIP", "NONE"),
}
"""Formats that are written, and their compressions, Athena's default first."""

_NESTED = ("array", "map", "struct", "binary")


@dataclass(frozen=True)
class Layout:
    """How rows are stored. Raises QueryFailed when the embedded Athena does not write it."""

    file_format: str = "parquet"
    compression: str = ""
    partitioned_by: tuple[str, ...] = ()
    delimiter: str = "\x01"

    def __post_init__(self) -> None:
        known = COMPRESSIONS.get(self.file_format)
        if known is None:
            formats = ", ".join(COMPRESSIONS).upper()
            raise QueryFailed(
                "NOT_SUPPORTED", f"{self.file_format.upper()} is not written; use one of {formats}"
            )
        if self.compression and self.compression not in known:
            raise QueryFailed(
                "NOT_SUPPORTED",
                f"{self.file_format.upper()} is not written with {self.compression}; use one of "
                + ", ".join(known),
            )

    @property
    def codec(self) -> str:
        """The compression's name for DuckDB and pyarrow."""
        codec = (self.compression or COMPRESSIONS[self.file_format][0]).lower()
        return "uncompressed" if codec == "none" and self.file_format in ("parquet", "orc") else codec


@dataclass(frozen=True)
class Written:
    """What was written: the number of rows, the objects' URLs, and each new partition's location."""

    rows: int
    urls: tuple[str, ...]
    partitions: dict[Values, str]

    @property
    def manifest(self) -> str:
        """The data manifest: a URL a line."""
        return "".join(f"{url}\n" for url in self.urls)


def write(
    prepared: Relation,
    columns: Sequence[tuple[str, str]],
    layout: Layout,
    location: Location,
    session: Session,
    name: str,
) -> Written:
    """Write the relation's rows as `columns` (names and catalog types, partition columns last).

    The objects' names start with `name`. Raises QueryFailed for types that the format has no text for, and
    for more than MAX_PARTITIONS partitions.
    """
    _check_types(columns, layout)
    folder = session.temporary / name
    folder.mkdir(parents=True)
    try:
        rows = _copy(prepared, columns, layout, folder, name)
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if rows else []
        if layout.partitioned_by and len({path.parent for path in files}) > MAX_PARTITIONS:
            raise QueryFailed(
                "HIVE_TOO_MANY_OPEN_PARTITIONS",
                f"Exceeded limit of {MAX_PARTITIONS} open writers for partitions/buckets",
            )
        urls, partitions = [], {}
        for path in files:
            if layout.file_format == "orc":
                _to_orc(path, layout.codec)
            relative = path.relative_to(folder).as_posix()
            session.store.put(location, relative, path)
            urls.append(f"s3://{location.bucket}/{location.prefix}{relative}")
            values = tuple(unquote(part.partition("=")[2]) for part in relative.split("/")[:-1])
            partitions[values] = urls[-1].rpartition("/")[0] + "/"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Written(rows, tuple(urls), partitions if layout.partitioned_by else {})


def _check_types(columns: Sequence[tuple[str, str]], layout: Layout) -> None:
    refused = {"textfile": _NESTED, "json": ("binary",)}.get(layout.file_format, ())
    for name, hive_type in columns:
        if hive_type.startswith(refused):
            raise QueryFailed(
                "NOT_SUPPORTED",
                f"{hive_type} of column '{name}' is not written as {layout.file_format.upper()}; use PARQUET",
            )


def _copy(
    prepared: Relation, columns: Sequence[tuple[str, str]], layout: Layout, folder: Path, name: str
) -> int:
    """DuckDB's COPY into `folder`; ORC as Parquet first. Returns the number of rows."""
    described = zip(columns, prepared.relation.types, strict=True)
    casts = [
        f'{_cast(index, engine_type.id, from_hive(hive_type))} AS "{column}"'
        for index, ((column, hive_type), engine_type) in enumerate(described, start=1)
    ]
    rows = f"SELECT {', '.join(casts)} FROM ({prepared.sql})"
    suffix = {"parquet": "parquet", "orc": "orc"}.get(layout.file_format, "")
    if not suffix:
        suffix = "gz" if layout.codec == "gzip" else layout.file_format[:4]
    options = _copy_options(layout)
    target = folder / f"{name}.{suffix}"
    if layout.partitioned_by:
        keys = ", ".join(f'"{key}"' for key in layout.partitioned_by)
        target = folder
        options += f", PARTITION_BY ({keys}), FILENAME_PATTERN '{name}_{{i}}', FILE_EXTENSION '{suffix}'"
        options += ", OVERWRITE_OR_IGNORE"
    counted = prepared.connection.execute(f"COPY ({rows}) TO '{target}' ({options})").fetchone()
    return counted[0] if counted else 0


def _cast(index: int, engine_type: str, target: exp.DataType) -> str:
    """SQL for a column's value as another type: DuckDB's cast to an integer rounds half to even."""
    is_rounded = engine_type in ("float", "double") and is_integer(target)
    return f"CAST({f'round(#{index})' if is_rounded else f'#{index}'} AS {target.sql('duckdb')})"


def _copy_options(layout: Layout) -> str:
    if layout.file_format == "orc":
        return "FORMAT parquet"
    if layout.file_format == "textfile":  # LazySimpleSerDe knows no quotes, and \N as NULL.
        delimiter = layout.delimiter.replace("'", "''")
        text = f"FORMAT csv, HEADER false, DELIM '{delimiter}', QUOTE '', ESCAPE '', NULLSTR '\\N'"
        return f"{text}, COMPRESSION {layout.codec}"
    return f"FORMAT {layout.file_format}, COMPRESSION {layout.codec}"


def _to_orc(path: Path, codec: str) -> None:
    """Turn a Parquet file into an ORC file of the same name, a row group at a time."""
    staged = path.with_suffix(".staged")
    parquet = pq.ParquetFile(path)
    with orc.ORCWriter(str(staged), compression=codec) as writer:
        for group in range(parquet.num_row_groups):
            writer.write(parquet.read_row_group(group))
    staged.replace(path)
