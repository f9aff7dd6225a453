"""Which objects under a table's location belong to which partition, as Athena decides it.

A partition exists because projection says so (`projection.enabled`), or because the catalog lists it.
An object outside every such partition is invisible to queries, here as on AWS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

from sqlglot import exp

from local_aws.athena.catalog import Column, Table
from local_aws.athena.errors import QueryFailed

T = TypeVar("T")

Values = tuple[str, ...]
"""A partition's values in the order of the partition keys, as text that casts to the keys' types."""

_JAVA_TO_STRPTIME = {"yyyy": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S"}
_UNIT_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}


@dataclass(frozen=True)
class Location:
    """`s3://bucket/prefix/`; the prefix is empty or ends with a slash."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, url: str, what: str) -> Location:
        """Raises QueryFailed when `url` is not an S3 location; `what` names its owner in the message."""
        match = re.fullmatch(r"s3[an]?://([^/]+)/?(.*)", url)
        if not match:
            raise QueryFailed("HIVE_METASTORE_ERROR", f"{what} has no S3 location (it is '{url}')")
        prefix = match.group(2)
        return cls(match.group(1), prefix if not prefix or prefix.endswith("/") else prefix + "/")


def is_projected(table: Table) -> bool:
    """Whether partition projection, not the catalog's partition list, says what partitions there are."""
    return table.parameters.get("projection.enabled", "").lower() == "true" and bool(table.partition_keys)


def check_injected(table: Table, conditions: Iterable[exp.Expr]) -> None:
    """Refuse a query that does not name the values of each injected partition column.

    `conditions` are those that AND joins in the WHERE of the SELECT that names the table. Athena also sees
    conditions outside of it, where the table is named in a subquery or a view: here they do not count, so
    such a query is refused and not answered from all partitions.

    Raises QueryFailed, in Athena's words ("Dynamic ID partitioning" in its user guide).
    """
    parts = list(conditions)
    for key in table.partition_keys:
        if table.parameters.get(f"projection.{key.name}.type", "").strip().lower() != "injected":
            continue
        if key.type.lower() != "string":
            raise QueryFailed(
                "INVALID_TABLE_PROPERTY",
                f"projection.{key.name}.type is injected, which only columns of type string can be: "
                f"{key.name} is {key.type}",
            )
        about_key = [part for part in parts if any(c.name == key.name for c in part.find_all(exp.Column))]
        if not about_key or not all(_is_static_equality(part) for part in about_key):
            raise QueryFailed(
                "CONSTRAINT_VIOLATION",
                f"For the injected projected partition column {key.name}, the WHERE clause must contain only "
                "static equality conditions, and at least one such condition must be present.",
            )


def _is_static_equality(condition: exp.Expr) -> bool:
    """Whether it is `column = value` or `column IN (values)`, of values that need no reading."""
    if isinstance(condition, exp.EQ):
        column, values = condition.this, [condition.expression]
        if not isinstance(column, exp.Column):
            column, values = condition.expression, [condition.this]
    elif isinstance(condition, exp.In):
        column, values = condition.this, condition.expressions
    else:
        return False
    return isinstance(column, exp.Column) and not any(value.find(exp.Column) for value in values)


def is_hidden(relative_key: str) -> bool:
    """Whether Athena skips the object: a part of its path below the location starts with `_` or `.`."""
    return any(part.startswith(("_", ".")) for part in relative_key.split("/"))


def projected(table: Table, objects: Iterable[tuple[str, T]]) -> Iterator[tuple[Values, T]]:
    """The (key, item) pairs that lie in a projected partition, with the partition's values.

    Raises QueryFailed when the projection's properties are incomplete or wrong.
    """
    properties = table.parameters
    missing = [key.name for key in table.partition_keys if f"projection.{key.name}.type" not in properties]
    if missing:
        raise QueryFailed(
            "INVALID_TABLE_PROPERTY",
            f"Table '{table.database}.{table.name}' is configured for partition projection, but the "
            f"following partition columns are missing projection configuration: {missing}",
        )
    checks = [_value_check(table, key) for key in table.partition_keys]
    pattern = _template_pattern(table)
    for object_key, item in objects:
        match = pattern.match(object_key)
        if match is None or is_hidden(object_key[match.end() :]):
            continue
        values = [check(match.group(f"k{index}")) for index, check in enumerate(checks)]
        if None not in values:
            yield tuple(value for value in values if value is not None), item


def _template_pattern(table: Table) -> re.Pattern[str]:
    """Matches the key prefix of a projected partition; group `k0` is the first partition key's value."""
    default = table.location.rstrip("/") + "".join(
        f"/{key.name}=${{{key.name}}}" for key in table.partition_keys
    )
    template = table.parameters.get("storage.location.template", default)
    prefix = Location.parse(template, f"Table '{table.database}.{table.name}'").prefix
    pattern = re.escape(prefix)
    for index, key in enumerate(table.partition_keys):
        placeholder = re.escape(f"${{{key.name}}}")
        if placeholder not in pattern:
            raise QueryFailed(
                "INVALID_TABLE_PROPERTY",
                f"storage.location.template of table '{table.database}.{table.name}' lacks ${{{key.name}}}",
            )
        # A date projection's format may hold slashes, so its value may span folders.
        value = ".+?" if table.parameters[f"projection.{key.name}.type"] == "date" else "[^/]*"
        pattern = pattern.replace(placeholder, f"(?P<k{index}>{value})", 1)
        pattern = pattern.replace(placeholder, f"(?P=k{index})")
    return re.compile(pattern)


def _value_check(table: Table, key: Column) -> Callable[[str], str | None]:
    """A function from a folder's text to the partition's value, or None when it is not projected."""

    def setting(name: str) -> str | None:
        return table.parameters.get(f"projection.{key.name}.{name}")

    kind = (setting("type") or "").strip().lower()
    needed = {"integer": "range", "enum": "values", "date": "range"}.get(kind)
    if needed and setting(needed) is None:
        raise QueryFailed("INVALID_TABLE_PROPERTY", f"projection.{key.name}.{needed} is missing")
    if kind == "integer":
        return _integer_check(setting("range") or "", setting("digits"), setting("interval"))
    if kind == "enum":
        allowed = {value.strip() for value in (setting("values") or "").split(",")}
        return lambda text: text if text in allowed else None
    if kind == "date":
        return _date_check(setting("range") or "", setting("format") or "yyyy-MM-dd")
    if kind == "injected":
        return lambda text: text
    raise QueryFailed("INVALID_TABLE_PROPERTY", f"projection.{key.name}.type is '{setting('type')}'")


def _integer_check(bounds: str, digits: str | None, interval: str | None) -> Callable[[str], str | None]:
    low, high = (int(bound) for bound in bounds.split(","))
    width, step = int(digits or 0), int(interval or 1)

    def check(text: str) -> str | None:
        if not re.fullmatch(r"-?\d+", text):
            return None
        value = int(text)
        is_in_range = low <= value <= high and (value - low) % step == 0
        # With `digits` Athena looks for zero-padded folders only, without it for unpadded ones only.
        return text if is_in_range and text == str(value).zfill(width) else None

    return check


def _date_check(bounds: str, java_format: str) -> Callable[[str], str | None]:
    strptime_format = re.sub(
        "|".join(_JAVA_TO_STRPTIME),
        lambda match: _JAVA_TO_STRPTIME[match.group()],
        java_format.replace("'", ""),
    )
    low, high = (_date_bound(bound.strip(), strptime_format) for bound in bounds.split(","))

    def check(text: str) -> str | None:
        try:
            value = datetime.strptime(text, strptime_format)
        except ValueError:
            return None
        return text if low <= value <= high else None

    return check


def _date_bound(text: str, strptime_format: str) -> datetime:
    """A bound of a date range: a date in the column's format, or NOW with an offset such as NOW-3YEARS."""
    match = re.fullmatch(r"NOW(?:\s*([+-]\s*\d+)\s*([A-Z]+?)S?)?", text)
    if match is None:
        return datetime.strptime(text, strptime_format)
    now = datetime.now(UTC).replace(tzinfo=None)
    if match.group(1) is None:
        return now
    count, unit = int(match.group(1).replace(" ", "")), match.group(2)
    if unit in _UNIT_SECONDS:
        return now + timedelta(seconds=count * _UNIT_SECONDS[unit])
    months = now.year * 12 + now.month - 1 + count * (12 if unit == "YEAR" else 1)
    first = date(months // 12, months % 12 + 1, 1)
    return datetime(first.year, first.month, min(now.day, 28), now.hour, now.minute, now.second)
