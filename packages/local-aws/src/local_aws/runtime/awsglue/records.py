"""Functions of a script over single records, as `Map` and `Filter` call them: records are dictionaries.

A field that a record lacks is None here; on Glue it may be absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyspark import RDD
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import types as T

from .refusals import NotReproduced
from .shapes import Path, Shape, merged

Counted = tuple[DataFrame, Callable[[], int]]
"""The rows that came of it, and a way to count the records in error, which are not among them."""


class DynamicRecord(dict[str, Any]):
    """A record: a dictionary whose fields can also be read and set as attributes. Raises KeyError."""

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def filtered(rows: DataFrame, keeps: Callable[[DynamicRecord], object]) -> Counted:
    """The rows whose record `keeps` accepts. As on Glue a KeyError, ValueError or TypeError rejects one, and
    any other exception makes an error of it."""

    def judge(row: Row) -> tuple[Row, bool, bool]:
        try:
            return row, bool(keeps(_record(row))), False
        except (KeyError, ValueError, TypeError):
            return row, False, False
        except Exception:
            return row, False, True

    judged = rows.rdd.map(judge)
    accepted = judged.filter(lambda outcome: outcome[1]).map(lambda outcome: outcome[0])
    kept = rows.sparkSession.createDataFrame(accepted, rows.schema, verifySchema=False)
    return kept, lambda: judged.filter(lambda outcome: outcome[2]).count()


def mapped(rows: DataFrame, function: Callable[[DynamicRecord], Any]) -> Counted:
    """What `function` makes of each record. A record for which it raises, or returns nothing, is an error.

    A field that was there keeps its type if the new values allow it. Raises NotReproduced when records differ
    in the type of a field.
    """

    def apply(row: Row) -> dict[str, Any] | None:
        try:
            return _plain(function(_record(row))) or None
        except Exception:
            return None

    outcomes = rows.rdd.map(apply).persist()
    results = outcomes.filter(lambda result: result is not None)
    schema = _schema(results, rows.schema)
    tuples = results.map(lambda result: _fitting(result, schema))
    made = rows.sparkSession.createDataFrame(tuples, schema, verifySchema=False)
    return made, lambda: outcomes.filter(lambda result: result is None).count()


def empty(spark: SparkSession) -> DataFrame:
    """No rows of no columns."""
    return spark.range(0).drop("id")


def _record(row: Row) -> DynamicRecord:
    fields = row.asDict(recursive=True)
    return DynamicRecord(
        {name: DynamicRecord(value) if type(value) is dict else value for name, value in fields.items()}
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _schema(results: RDD[Any], before: T.StructType) -> T.StructType:
    def shape(part: Iterable[Any]) -> Iterable[Shape]:
        seen = Shape()
        for result in part:
            seen.add(result)
        yield seen

    whole = merged(results.mapPartitions(shape).collect())
    known = {field.name: field.dataType for field in before}
    fields = []
    for name, seen in (whole.fields or {}).items():
        types = set(seen.types)
        if name in known and types <= _values_of(known[name]):
            fields.append(T.StructField(name, known[name]))
            continue
        if types == {"int", "long"}:
            seen.atoms = {"long"}
        choices: dict[Path, list[str]] = {}
        fields.append(T.StructField(name, seen.spark_type(choices, (name,))))
        for path, kinds in choices.items():
            raise NotReproduced(
                f"Map's function returns {' and '.join(kinds)} for the field {'.'.join(path)}: outside AWS "
                "Glue it must return one type"
            )
    return T.StructType(fields)


def _values_of(data_type: T.DataType) -> set[str]:
    """The types of Python values that a column can hold as it is; none, for a composite one."""
    if isinstance(data_type, T.DoubleType | T.FloatType):
        return {"double", "int", "long"}
    if isinstance(data_type, T.LongType):
        return {"int", "long"}
    if isinstance(data_type, T.DecimalType):
        return {"decimal"}
    if isinstance(data_type, T.ByteType | T.ShortType):
        return set()
    return {data_type.simpleString()}


def _fitting(value: Any, data_type: T.DataType) -> Any:
    """The value as Spark takes it for a column of this type."""
    if value is None:
        return None
    if isinstance(data_type, T.StructType):
        return tuple(_fitting(value.get(field.name), field.dataType) for field in data_type)
    if isinstance(data_type, T.ArrayType):
        return [_fitting(inner, data_type.elementType) for inner in value]
    return float(value) if isinstance(data_type, T.DoubleType | T.FloatType) else value
