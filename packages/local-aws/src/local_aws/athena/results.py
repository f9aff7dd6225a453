"""A query's result as Athena stores and returns it: text of values, the CSV object, pages of rows."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from local_aws.athena.errors import QueryFailed
from local_aws.athena.types import ResultColumn

Cell = str | None
"""A value as text; None is NULL."""

_CSV_FIELD = re.compile(r'(?:"((?:[^"]|"")*)")?(,|\n)')


@dataclass(frozen=True)
class Result:
    """What a statement leaves: bytes read, and its rows as text.

    Of a SELECT they are in the CSV file `file`, which who receives the result removes, and `rows` is empty.
    """

    columns: list[ResultColumn]
    rows: list[tuple[Cell, ...]]
    bytes_scanned: int = 0
    update_count: int = 0
    manifest: str | None = None
    file: Path | None = None
    file_rows: int = 0


def csv_header(columns: Sequence[ResultColumn]) -> str:
    """The first line of the `<id>.csv` of a SELECT."""
    return _csv_line([column.name for column in columns])


def csv_lines(rows: Iterable[Sequence[Any]], columns: Sequence[ResultColumn]) -> Iterator[str]:
    """Rows of Python values as lines of the `<id>.csv`: every value quoted, NULL as nothing at all."""
    for row in rows:
        yield _csv_line([_text(value, column) for value, column in zip(row, columns, strict=True)])


def csv_content(columns: Sequence[ResultColumn], rows: Iterable[tuple[Cell, ...]]) -> bytes:
    """The whole `<id>.csv` of a few rows of text."""
    return "".join([csv_header(columns), *map(_csv_line, rows)]).encode()


def text_content(rows: Iterable[tuple[Cell, ...]]) -> bytes:
    """The `<id>.txt` of a DDL or SHOW statement: no header, tabs between values."""
    return "".join("\t".join(cell or "" for cell in row) + "\n" for row in rows).encode()


@dataclass(frozen=True)
class Page:
    """Rows of a result file, and where in the file the next ones begin; None after the last."""

    rows: list[tuple[Cell, ...]]
    next_offset: int | None


def read_page(path: Path, offset: int, limit: int, *, is_csv: bool) -> Page:
    """At most `limit` rows from the `offset`-th byte on; the first row of a CSV file is its header."""
    with path.open("rb") as file:
        file.seek(offset)
        records = _csv_records(file) if is_csv else file
        parse = _csv_row if is_csv else _text_row
        rows = [parse(record.decode()) for record in islice(records, limit)]
        end = file.tell()
        return Page(rows, end if file.read(1) else None)


def _csv_records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines put together where a quoted value runs over several."""
    record = b""
    for line in lines:
        record += line
        if record.count(b'"') % 2 == 0:
            yield record
            record = b""


def _csv_row(record: str) -> tuple[Cell, ...]:
    """The values of a line; NULL and the empty text stay apart."""
    values = (match[1] for match in _CSV_FIELD.finditer(record))
    return tuple(None if value is None else value.replace('""', '"') for value in values)


def _text_row(line: str) -> tuple[Cell, ...]:
    """One value per line, as Athena returns them."""
    return (line.removesuffix("\n"),)


def metadata_content(columns: Sequence[ResultColumn]) -> bytes:
    """The `.metadata` object beside a result. Athena's is a private binary format; ours is JSON."""
    return json.dumps([asdict(column) for column in columns]).encode()


def _csv_line(cells: Iterable[Cell]) -> str:
    return ",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


def _text(value: Any, column: ResultColumn) -> Cell:
    if isinstance(value, str):
        return value
    if isinstance(value, Decimal) and column.type == "decimal":
        return f"{value:.{column.scale}f}"
    if isinstance(value, int) and column.type == "bigint" and not -(2**63) <= value < 2**63:
        raise QueryFailed("NUMERIC_VALUE_OUT_OF_RANGE", f"bigint overflow: {value}")
    if value is None:
        return None
    text = _plain_text(value, is_real=column.type == "float")
    return f"{text} UTC" if column.type == "timestamp with time zone" else text


def _plain_text(value: Any, *, is_real: bool = False) -> str:
    """A value as Trino prints it, nested values included."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value, is_real=is_real)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return _timestamp_text(value)
    if isinstance(value, timedelta):
        return _interval_text(value)
    if isinstance(value, bytes | bytearray):
        return " ".join(f"{byte:02x}" for byte in value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain_text(key)}={_plain_text(item)}" for key, item in value.items()) + "}"
    return str(value)


def _timestamp_text(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"


def _interval_text(value: timedelta) -> str:
    """`1 02:03:04.000`: days, hours, minutes, seconds."""
    milliseconds = abs(value) // timedelta(milliseconds=1)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    sign = "-" if value < timedelta(0) else ""
    return f"{sign}{days} {hours:02d}:{minutes:02d}:{seconds:02d}.{milliseconds:03d}"


def _float_text(value: float, *, is_real: bool) -> str:
    """As Java prints it: 1.0, 0.001, 1.0E7, 1.0E-4, Infinity, NaN."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if 1e-3 <= abs(value) < 1e7 and not is_real:
        return repr(value)
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    digits = _shortest_real(value) if is_real else repr(value)
    number = Decimal(digits)
    sign, figures, _ = number.as_tuple()
    exponent = number.adjusted()
    mantissa = "".join(map(str, figures)).rstrip("0") or "0"
    prefix = "-" if sign else ""
    if -3 <= exponent < 7:
        whole, _, fraction = f"{abs(number):f}".partition(".")
        return f"{prefix}{whole}.{fraction.rstrip('0') or '0'}"
    return f"{prefix}{mantissa[0]}.{mantissa[1:] or '0'}E{exponent}"


def _shortest_real(value: float) -> str:
    """The fewest digits that tell a 32-bit float from its neighbours."""
    for digits in range(1, 10):
        text = f"{value:.{digits}g}"
        if struct.pack("f", float(text)) == struct.pack("f", value):
            return text
    return repr(value)
