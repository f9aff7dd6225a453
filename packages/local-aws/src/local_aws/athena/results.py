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
from typing import Any

from local_aws.athena.errors import QueryFailed
from local_aws.athena.types import ResultColumn

Cell = str | None
"""A value as text; None is NULL."""

_CSV_FIELD = re.compile(r'(?:"((?:[^"]|"")*)")?(,|\n)')


@dataclass(frozen=True)
class Result:
    """What a statement leaves: rows as text, bytes read, and where its result object's name ends."""

    columns: list[ResultColumn]
    rows: list[tuple[Cell, ...]]
    bytes_scanned: int = 0
    update_count: int = 0
    manifest: str | None = None


def text_rows(rows: Iterable[Sequence[Any]], columns: Sequence[ResultColumn]) -> list[tuple[Cell, ...]]:
    """Rows of Python values as Athena's texts."""
    return [tuple(_text(value, column) for value, column in zip(row, columns, strict=True)) for row in rows]


def csv_content(columns: Sequence[ResultColumn], rows: Iterable[tuple[Cell, ...]]) -> bytes:
    """The `<id>.csv` of a SELECT: a header, every value quoted, NULL as nothing at all."""
    lines = [_csv_line([column.name for column in columns])]
    lines.extend(_csv_line(row) for row in rows)
    return "".join(lines).encode()


def csv_rows(content: bytes) -> Iterator[tuple[Cell, ...]]:
    """The rows of `csv_content`, header first; NULL and the empty text stay apart."""
    row: list[Cell] = []
    for match in _CSV_FIELD.finditer(content.decode()):
        value, end = match.groups()
        row.append(None if value is None else value.replace('""', '"'))
        if end == "\n":
            yield tuple(row)
            row = []


def text_content(rows: Iterable[tuple[Cell, ...]]) -> bytes:
    """The `<id>.txt` of a DDL or SHOW statement: no header, tabs between values."""
    return "".join("\t".join(cell or "" for cell in row) + "\n" for row in rows).encode()


def text_content_rows(content: bytes) -> Iterator[tuple[Cell, ...]]:
    """The rows of `text_content`: one value per line, as Athena returns them."""
    for line in content.decode().splitlines():
        yield (line,)


def metadata_content(columns: Sequence[ResultColumn]) -> bytes:
    """The `.metadata` object beside a result. Athena's is a private binary format; ours is JSON."""
    return json.dumps([asdict(column) for column in columns]).encode()


def _csv_line(cells: Iterable[Cell]) -> str:
    return ",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells) + "\n"


def _text(value: Any, column: ResultColumn) -> Cell:
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
