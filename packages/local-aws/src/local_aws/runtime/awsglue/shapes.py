"""The types that records turn out to have, as Glue tells them: each record speaks for itself.

Where records differ in the type of a field, Glue keeps all of them in a choice; 1 and 1.5 are such a pair.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import types as T

Path = tuple[str, ...]
"""The names that lead to a field; "[]" stands for the elements of an array."""

ELEMENTS = "[]"

_INT, _LONG = 2**31, 2**63
_ATOMS: dict[str, T.DataType] = {
    "boolean": T.BooleanType(),
    "int": T.IntegerType(),
    "long": T.LongType(),
    "double": T.DoubleType(),
    "string": T.StringType(),
    "binary": T.BinaryType(),
    "date": T.DateType(),
    "timestamp": T.TimestampType(),
    "bigint beyond long": T.DecimalType(38, 0),
    "decimal": T.DecimalType(38, 18),
}


@dataclass
class Shape:
    """What was seen of one field: names of simple types, of an array its elements, of a struct its fields."""

    atoms: set[str] = field(default_factory=set)
    element: Shape | None = None
    fields: dict[str, Shape] | None = None

    def add(self, value: Any) -> None:
        """Take a value into account. Raises TypeError for one that no record can hold."""
        if value is None:
            return
        if isinstance(value, dict):
            self.fields = {} if self.fields is None else self.fields
            for name, inner in value.items():
                self.fields.setdefault(str(name), Shape()).add(inner)
        elif isinstance(value, list | tuple):
            self.element = self.element or Shape()
            for inner in value:
                self.element.add(inner)
        else:
            self.atoms.add(_atom(value))

    def merge(self, other: Shape) -> None:
        """Take into account what another shape has seen."""
        self.atoms |= other.atoms
        if other.element is not None:
            self.element = self.element or Shape()
            self.element.merge(other.element)
        if other.fields is not None:
            self.fields = {} if self.fields is None else self.fields
            for name, inner in other.fields.items():
                self.fields.setdefault(name, Shape()).merge(inner)

    @property
    def types(self) -> list[str]:
        """Names of all types that were seen."""
        composite = (("array", self.element), ("struct", self.fields))
        return sorted(self.atoms) + [name for name, seen in composite if seen is not None]

    def spark_type(self, choices: dict[Path, list[str]], path: Path = ()) -> T.DataType:
        """The Spark type of the field at `path`. A choice is told in `choices`, and is text."""
        if len(self.types) > 1:
            choices[path] = self.types
            return T.StringType()
        if self.fields is not None:
            return T.StructType(
                [
                    T.StructField(name, inner.spark_type(choices, (*path, name)))
                    for name, inner in self.fields.items()
                ]
            )
        if self.element is not None:
            return T.ArrayType(self.element.spark_type(choices, (*path, ELEMENTS)))
        return _ATOMS[self.types[0]] if self.types else T.NullType()


def merged(shapes: Iterable[Shape]) -> Shape:
    """One shape for all that these have seen."""
    whole = Shape()
    for shape in shapes:
        whole.merge(shape)
    return whole


def _atom(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if -_INT <= value < _INT:
            return "int"
        return "long" if -_LONG <= value < _LONG else "bigint beyond long"
    for kind, name in (
        (float, "double"),
        (str, "string"),
        (datetime.datetime, "timestamp"),
        (datetime.date, "date"),
        (decimal.Decimal, "decimal"),
        (bytes | bytearray, "binary"),
    ):
        if isinstance(value, kind):
            return name
    raise TypeError(f"a record cannot hold a {type(value).__name__}: {value!r}")
