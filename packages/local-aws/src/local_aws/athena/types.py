"""Column types: the Glue catalog's (Hive) spelling, DuckDB's, and what Athena's API shows of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from duckdb.sqltypes import DuckDBPyType
from sqlglot import exp

MAX_DECIMAL = 38

_INTEGERS = {"tinyint": 3, "smallint": 5, "integer": 10, "bigint": 19}
_RESULT_PRECISION = {**_INTEGERS, "double": 17, "float": 17, "timestamp": 3, "varchar": 2147483647}
_HIVE_NAMES = {
    "integer": "int",
    "varchar": "string",
    "varbinary": "binary",
    "timestamp with time zone": "timestamp",
}
_RESULT_NAMES = {
    "list": "array",
    "array": "array",
    "struct": "row",
    "map": "map",
    "blob": "varbinary",
    "hugeint": "bigint",
    "uhugeint": "bigint",
    "ubigint": "bigint",
    "uinteger": "bigint",
    "usmallint": "integer",
    "utinyint": "smallint",
    "interval": "interval day to second",
    "uuid": "varchar",
    "json": "json",
    "timestamp_s": "timestamp",
    "timestamp_ms": "timestamp",
    "timestamp_ns": "timestamp",
    "null": "varchar",
}


@dataclass(frozen=True)
class ResultColumn:
    """A column of a query's result: Athena's type name, and precision and scale where it has them."""

    name: str
    type: str
    precision: int = 0
    scale: int = 0

    def column_info(self) -> dict[str, Any]:
        """The column as GetQueryResults describes it."""
        return {
            "CatalogName": "hive",
            "SchemaName": "",
            "TableName": "",
            "Name": self.name,
            "Label": self.name,
            "Type": self.type,
            "Precision": self.precision,
            "Scale": self.scale,
            "Nullable": "UNKNOWN",
            "CaseSensitive": self.type in ("varchar", "char", "string"),
        }


def result_column(name: str, engine_type: DuckDBPyType, inferred: exp.DataType | None = None) -> ResultColumn:
    """The column that shows a DuckDB value.

    The type that Trino infers gives a decimal its precision, and widens an integer (DuckDB is stingier).
    """
    type_name = _RESULT_NAMES.get(engine_type.id, engine_type.id)
    if inferred is not None and isinstance(
        inferred.this, exp.Interval
    ):  # Shown as a text: DuckDB has no such.
        return ResultColumn(name, "interval year to month")
    if inferred is not None and inferred.this == exp.DType.JSON:
        return ResultColumn(name, "json", _RESULT_PRECISION["varchar"])
    if type_name in _INTEGERS:
        inferred_name = inferred.sql("athena").lower() if inferred is not None else type_name
        type_name = max(type_name, inferred_name, key=lambda candidate: _INTEGERS.get(candidate, 0))
    if type_name != "decimal":
        return ResultColumn(name, type_name, _RESULT_PRECISION.get(type_name, 0))
    if inferred is not None and inferred.is_type(exp.DType.DECIMAL) and inferred.expressions:
        precision, scale = decimal_parameters(inferred)
    else:
        precision, scale = engine_parameters(engine_type)
    return ResultColumn(name, "decimal", precision, scale)


def decimal_parameters(data_type: exp.DataType) -> tuple[int, int]:
    """(precision, scale) of a DECIMAL; a bare DECIMAL is Trino's decimal(38,0)."""
    values = [int(parameter.name) for parameter in data_type.expressions]
    return (values[0] if values else MAX_DECIMAL, values[1] if len(values) > 1 else 0)


def decimal_type(precision: int, scale: int) -> exp.DataType:
    """DECIMAL(precision, scale), cut to the 38 digits that Trino and DuckDB share."""
    return exp.DataType.build(f"DECIMAL({min(precision, MAX_DECIMAL)}, {scale})")


def from_hive(hive_type: str) -> exp.DataType:
    """A catalog type such as `decimal(10,2)` or `array<struct<a:int>>`, as sqlglot knows it."""
    return exp.DataType.build(hive_type, dialect="hive")


def hive_name(column: ResultColumn, engine_type: DuckDBPyType) -> str:
    """How the catalog spells the type of a result column (for tables that a query creates)."""

    def nested(child: DuckDBPyType) -> str:
        return hive_name(result_column("", child), child)

    if column.type == "decimal":
        return f"decimal({column.precision},{column.scale})"
    children: list[tuple[str, Any]] = engine_type.children if column.type in ("array", "map", "row") else []
    if column.type == "array":
        return f"array<{nested(children[0][1])}>"
    if column.type == "map":
        return "map<{}>".format(",".join(nested(child) for _, child in children))
    if column.type == "row":
        return "struct<{}>".format(",".join(f"{name}:{nested(child)}" for name, child in children))
    return _HIVE_NAMES.get(column.type, column.type)


def engine_parameters(engine_type: DuckDBPyType) -> tuple[int, int]:
    """(precision, scale) of a DuckDB decimal."""
    values: dict[str, Any] = dict(engine_type.children)
    return values["precision"], values["scale"]


def is_readable_as(stored: pa.DataType, declared: exp.DataType) -> bool:
    """Whether Athena reads a Parquet column of one type through a catalog column of the other."""
    kind = declared.this
    if kind in exp.DataType.TEXT_TYPES:
        return pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_binary(stored)
    if kind in exp.DataType.INTEGER_TYPES:  # Of any width, with or without sign: values decide.
        return pa.types.is_integer(stored) or (pa.types.is_decimal(stored) and stored.scale == 0)
    if kind == exp.DType.DECIMAL:
        return pa.types.is_decimal(stored)
    if kind == exp.DType.DOUBLE:
        return pa.types.is_float64(stored) or pa.types.is_float32(stored)
    if kind == exp.DType.FLOAT:
        return pa.types.is_float32(stored)
    if kind == exp.DType.DATE:
        return pa.types.is_date(stored)
    if kind in exp.DataType.TEMPORAL_TYPES:
        return pa.types.is_timestamp(stored)
    if kind == exp.DType.BOOLEAN:
        return pa.types.is_boolean(stored)
    return True  # Binary and nested types: left to the engine's own cast.


_NUMBERS = ("tinyint", "smallint", "int", "bigint", "decimal", "float", "double")


def is_insertable(found: str, expected: str) -> bool:
    """Whether INSERT INTO casts values of one catalog type to a column of the other.

    Trino does where the two have a common type (`StatementAnalyzer.typesMatchForInsert`), also to a narrower
    one: the cast fails where a value does not fit.
    """

    def kind(hive_type: str) -> str:
        name = hive_type.split("(")[0].lower()
        return {"integer": "int", "char": "string", "varchar": "string", "real": "float"}.get(name, name)

    kinds = {kind(found), kind(expected)}
    return len(kinds) == 1 or kinds <= set(_NUMBERS) or kinds == {"date", "timestamp"}
