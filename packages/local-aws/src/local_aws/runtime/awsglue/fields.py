"""Paths to fields, names of types, and selections of fields, as Glue's transforms spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from .refusals import NotReproduced
from .shapes import Path

_PART = re.compile(r"`([^`]*)`|([^.`]+)")
_SPARK_NAMES = {
    "long": "bigint",
    "short": "smallint",
    "byte": "tinyint",
    "integer": "int",
    "decimal": "decimal(10,2)",  # Glue's own default.
}
_CASTABLE = {"int", "bigint", "smallint", "tinyint", "float", "double", "string", "boolean"} | {
    "date",
    "timestamp",
    "binary",
}
_GLUE_NAMES = {"bigint": "long", "smallint": "short", "tinyint": "byte", "void": "null"}


def parse_path(text: str) -> Path:
    """The names of a dotted path; back-ticks enclose a name that holds dots. Raises ValueError."""
    names, position = [], 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            break
        names.append(part[1] if part[1] is not None else part[2])
        position = part.end()
        if position < len(text) and text[position] != ".":
            break
        position += 1
    if not names or position != len(text) + 1:
        raise ValueError(f"{text!r} is not a path to a field: names, separated by dots")
    return tuple(names)


def find(schema: T.StructType, path: Path, case_sensitive: bool = True) -> Path | None:
    """The path as the schema spells it, or None when there is no such field."""
    found: list[str] = []
    current: T.DataType = schema
    for name in path:
        if not isinstance(current, T.StructType):
            return None
        equal = [field for field in current if field.name == name]
        if not equal and not case_sensitive:
            equal = [field for field in current if field.name.lower() == name.lower()]
        if not equal:
            return None
        found.append(equal[0].name)
        current = equal[0].dataType
    return tuple(found)


def column(path: Path) -> Column:
    """The field at a path."""
    return F.col(quoted(path))


def quoted(path: Path) -> str:
    """The path as Spark reads it, whatever its names hold."""
    return ".".join("`{}`".format(name.replace("`", "``")) for name in path)


def spark_type(name: str) -> str | None:
    """What Spark calls a type of Glue's; None for a composite one, which is left as it is.

    Raises NotReproduced for a name that is not known.
    """
    lower = name.strip().lower()
    if re.match(r"(struct|array|map|list)\b", lower):
        return None
    spelled = _SPARK_NAMES.get(lower, lower)
    if spelled in _CASTABLE or re.fullmatch(r"decimal\(\d+, *\d+\)", spelled):
        return spelled
    raise NotReproduced(f"type {name!r} is not reproduced outside AWS Glue; use one of {sorted(_CASTABLE)}")


def cast(value: Column, type_name: str) -> Column:
    """The value in a type of Glue's; null where it is no such value."""
    target = spark_type(type_name)
    return value if target is None else value.cast(target)


def replaced(path: Path, value: Column) -> tuple[str, Column]:
    """The column that holds the field at `path`, and what it becomes with `value` in its place."""
    if len(path) == 1:
        return path[0], value
    return path[0], column(path[:1]).withField(quoted(path[1:]), value)


def selected(schema: T.StructType, paths: Iterable[Path]) -> list[Column]:
    """Columns of only the fields at these paths, in the schema's order; structs keep only what is named."""
    return _kept(schema, (), set(paths))


def _kept(schema: T.StructType, above: Path, paths: set[Path]) -> list[Column]:
    columns = []
    for field in schema:
        here = (*above, field.name)
        if here in paths:
            columns.append(column(here).alias(field.name))
        elif isinstance(field.dataType, T.StructType) and any(path[: len(here)] == here for path in paths):
            inner = F.struct(*_kept(field.dataType, here, paths))
            columns.append(F.when(column(here).isNotNull(), inner).alias(field.name))
    return columns


def remaining(schema: T.StructType, paths: Iterable[Path]) -> list[Column]:
    """All columns but the fields at these paths, which exist."""
    paths = set(paths)
    columns = []
    for field in schema:
        if (field.name,) in paths:
            continue
        inner = [quoted(path[1:]) for path in paths if path[0] == field.name]
        kept = column((field.name,))
        columns.append((kept.dropFields(*inner) if inner else kept).alias(field.name))
    return columns


def nested(targets: Sequence[tuple[Path, Column]]) -> list[Column]:
    """Columns under the names that target paths give them; paths with a common beginning make a struct."""
    groups: dict[str, list[tuple[Path, Column]]] = {}
    for path, value in targets:
        groups.setdefault(path[0], []).append((path[1:], value))
    columns = []
    for name, members in groups.items():
        deeper = [member for member in members if member[0]]
        value = F.struct(*nested(deeper)) if deeper else members[-1][1]
        columns.append(value.alias(name))
    return columns


def tree(schema: T.StructType, choices: dict[Path, list[str]]) -> str:
    """The schema as Glue's printSchema shows it."""
    return "\n".join(["root", *_branches(schema, choices, (), "")])


def _branches(data_type: T.DataType, choices: dict[Path, list[str]], above: Path, indent: str) -> list[str]:
    lines = []
    if isinstance(data_type, T.ArrayType):
        members = [("element", (*above, "[]"), data_type.elementType)]
    elif isinstance(data_type, T.StructType):
        members = [(field.name, (*above, field.name), field.dataType) for field in data_type]
    else:
        return []
    for name, path, member in members:
        if path in choices:
            lines.append(f"{indent}|-- {name}: choice")
            lines += [f"{indent}|    |-- {choice}" for choice in choices[path]]
            continue
        spelled = (
            member.typeName() if isinstance(member, T.StructType | T.ArrayType) else member.simpleString()
        )
        lines.append(f"{indent}|-- {name}: {_GLUE_NAMES.get(spelled, spelled)}")
        lines += _branches(member, choices, path, f"{indent}|    ")
    return lines
