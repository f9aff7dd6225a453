"""`DynamicFrame`: a Spark DataFrame in Glue's wrapping, with Glue's methods.

Where records differ in the type of a field, Glue keeps a choice of types. Here such a field is known, and can
be resolved with `cast`; what would have to hold values of several types is refused with `NotReproduced`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from . import fields, records
from .catalog import DataCatalog
from .refusals import NotReproduced, refuse_thresholds, refusing
from .shapes import ELEMENTS, Path

__all__ = ["DynamicFrame", "DynamicFrameCollection", "NotReproduced"]

Mapping4 = tuple[str, ...]
"""(source, target), (source, target, target type) or (source, source type, target, target type)."""

_INSTEAD = {
    "relationalize": "explode arrays and select nested fields: DynamicFrame.fromDF(frame.toDF().select(...))",
    "unnest": "apply_mapping with dotted source paths, or toDF().select('a.b')",
    "unbox": "pyspark.sql.functions.from_json on toDF()",
    "spigot": "toDF().limit(n).write.json(path)",
    "mapPartitions": "map, or toDF().rdd.mapPartitions",
    "mapPartitionsWithIndex": "map, or toDF().rdd.mapPartitionsWithIndex",
    "errorsAsDynamicFrame": "errorsCount(), and a look at what the function raises",
    "assertErrorThreshold": "errorsCount()",
    "unnest_ddb_json": "apply_mapping with dotted source paths",
    "simplify_ddb_json": "apply_mapping with dotted source paths",
    "with_frame_schema": "toDF(), whose schema is known",
}


@dataclass(frozen=True)
class Content:
    """What a frame holds: rows, where a choice is text, and the types of each choice."""

    rows: DataFrame
    choices: dict[Path, list[str]] = field(default_factory=dict)
    errors: Callable[[], int] = lambda: 0


class DynamicFrame:
    """Rows that are read and computed when they are needed. `glue_ctx` is the GlueContext."""

    def __init__(self, content: DataFrame | Callable[[], Content], glue_ctx: Any, name: str = "") -> None:
        self._make = content if callable(content) else lambda: Content(content)
        self._earlier_errors: Callable[[], int] = lambda: 0
        self.glue_ctx = glue_ctx
        self.name = name

    @classmethod
    def fromDF(cls, dataframe: DataFrame, glue_ctx: Any, name: str = "") -> DynamicFrame:
        """The frame of a Spark DataFrame."""
        return cls(dataframe, glue_ctx, name)

    def toDF(self, options: Iterable[Any] | None = None) -> DataFrame:
        """The Spark DataFrame, without columns when nothing was read.

        Raises NotReproduced for a choice that was not resolved, Py4JJavaError for objects that Glue's reader
        cannot read, either.
        """
        if options:
            raise NotReproduced("toDF(options) is not reproduced outside AWS Glue: use resolveChoice first")
        for path, types in self._content.choices.items():
            raise NotReproduced(
                f"The field {'.'.join(path)} is {' in some records and '.join(types)} in others: on AWS Glue "
                "a choice, which becomes a struct here. Resolve it first, such as with "
                f"resolveChoice(specs=[('{'.'.join(path)}', 'cast:{types[0]}')])"
            )
        return self._content.rows

    # Looking

    def schema(self) -> T.StructType:
        """The schema, in Spark's types. Raises NotReproduced for a choice that was not resolved."""
        return self.toDF().schema

    def printSchema(self) -> None:
        """Print the schema as a tree, with Glue's names of types."""
        print(fields.tree(self._content.rows.schema, self._content.choices))

    def show(self, num_rows: int = 20) -> None:
        """Print records as JSON, one a line."""
        for record in self._content.rows.toJSON().take(num_rows):
            print(record)

    def count(self) -> int:
        """The number of rows."""
        return self._content.rows.count()

    def getNumPartitions(self) -> int:
        """The number of Spark's partitions."""
        return self._content.rows.rdd.getNumPartitions()

    def errorsCount(self) -> int:
        """The number of records in error, of this transformation and those before it."""
        return self._earlier_errors() + self.stageErrorsCount()

    def stageErrorsCount(self) -> int:
        """The number of records that this transformation made errors of."""
        return self._content.errors()

    # Fields

    def select_fields(
        self,
        paths: str | Iterable[str],
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """Only these fields; a path that does not exist is left out."""
        refuse_thresholds(stageThreshold, totalThreshold)
        wanted = _paths(paths)
        return self._select(lambda schema: fields.selected(schema, _existing(schema, wanted)))

    def drop_fields(
        self,
        paths: str | Iterable[str],
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """All fields but these."""
        refuse_thresholds(stageThreshold, totalThreshold)
        unwanted = _paths(paths)
        return self._select(lambda schema: fields.remaining(schema, _existing(schema, unwanted)))

    def rename_field(
        self,
        oldName: str,
        newName: str,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """One field under another name. Raises NotReproduced for a field within a struct."""
        refuse_thresholds(stageThreshold, totalThreshold)
        old, new = fields.parse_path(oldName), fields.parse_path(newName)
        if len(old) > 1 or len(new) > 1:
            raise NotReproduced(f"rename_field({oldName!r}, {newName!r}) within a struct: use apply_mapping")

        def rename(content: Content) -> Content:
            rows = content.rows
            columns = [
                fields.column((name,)).alias(new[0] if name == old[0] else name) for name in rows.columns
            ]
            choices = {
                (new if path[:1] == old else path[:1]) + path[1:]: types
                for path, types in content.choices.items()
            }
            return Content(rows.select(*columns), choices)

        return self._then(rename)

    def apply_mapping(
        self,
        mappings: Mapping4 | Iterable[Mapping4],
        case_sensitive: bool = False,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The mapped fields and no others, under their new names and types.

        A value that is none of the new type becomes null; a source that does not exist is left out.
        Raises TypeError or ValueError for what is no mapping.
        """
        refuse_thresholds(stageThreshold, totalThreshold)
        steps = [_step(mapping) for mapping in ([mappings] if isinstance(mappings, tuple) else mappings)]

        def select(content: Content) -> Content:
            targets = []
            for source, target, type_name in steps:
                found = fields.find(content.rows.schema, source, case_sensitive)
                if found is None:
                    continue
                if found in content.choices:
                    self.toDF()  # It says what to do.
                value = fields.column(found)
                targets.append((target, fields.cast(value, type_name) if type_name else value))
            return Content(content.rows.select(*fields.nested(targets)))

        return self._then(select)

    def applyMapping(self, *args: Any, **kwargs: Any) -> DynamicFrame:
        """The same as `apply_mapping`."""
        return self.apply_mapping(*args, **kwargs)

    def resolveChoice(
        self,
        specs: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
        choice: str = "",
        database: str | None = None,
        table_name: str | None = None,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
        catalog_id: str | None = None,
    ) -> DynamicFrame:
        """Resolve choices: those of `specs` (path, action), or all of them by the action `choice`.

        The actions cast:<type> and match_catalog are reproduced; the others do nothing where there is no
        choice, and raise NotReproduced where there is one.
        """
        refuse_thresholds(stageThreshold, totalThreshold)
        if (specs is None) == (not choice):
            raise ValueError("resolveChoice takes specs or choice, and one of them only")
        if isinstance(specs, tuple):
            specs = [specs]
        actions = {fields.parse_path(path): action for path, action in specs or ()}
        if choice == "match_catalog":
            if not database or not table_name:
                raise ValueError("resolveChoice(choice='match_catalog') needs database and table_name")
            columns = DataCatalog().table(database, table_name).types
            return self._then(
                lambda content: _resolved(
                    content,
                    {p: f"cast:{columns[p[0]]}" for p in content.choices if len(p) == 1 and p[0] in columns},
                )
            )
        return self._then(
            lambda content: _resolved(content, actions or dict.fromkeys(content.choices, choice))
        )

    def split_fields(
        self,
        paths: str | Iterable[str],
        name1: str,
        name2: str,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrameCollection:
        """Two frames: with only these fields, and with all others."""
        refuse_thresholds(stageThreshold, totalThreshold)
        first, second = self.select_fields(paths), self.drop_fields(paths)
        first.name, second.name = name1, name2
        return DynamicFrameCollection([first, second], self.glue_ctx)

    # Rows

    def filter(
        self,
        f: Callable[[records.DynamicRecord], object],
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The records for which `f` is true; KeyError, ValueError and TypeError count as false."""
        refuse_thresholds(stageThreshold, totalThreshold)
        return self._then(lambda _: _counted(records.filtered(self.toDF(), f)))

    def map(
        self,
        f: Callable[[records.DynamicRecord], Any],
        preservesPartitioning: bool = False,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """What `f` returns for each record; records for which it raises are counted as errors."""
        refuse_thresholds(stageThreshold, totalThreshold)
        return self._then(lambda _: _counted(records.mapped(self.toDF(), f)))

    def join(
        self,
        paths1: str | Iterable[str],
        paths2: str | Iterable[str],
        frame2: DynamicFrame,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The equality join, with all fields of both; of two with one name, `frame2`'s gets a dot."""
        refuse_thresholds(stageThreshold, totalThreshold)
        keys1, keys2 = _paths(paths1), _paths(paths2)
        if len(keys1) != len(keys2):
            raise ValueError(f"join needs as many keys of one frame as of the other: {keys1}, {keys2}")

        def join(_: Content) -> Content:
            left, right = self.toDF(), frame2.toDF()
            taken = set(left.columns)
            right = right.select(
                *(fields.column((n,)).alias(f".{n}" if n in taken else n) for n in right.columns)
            )
            renamed = [((f".{key[0]}" if key[0] in taken else key[0]), *key[1:]) for key in keys2]
            pairs = zip(keys1, renamed, strict=True)
            condition = [left[fields.quoted(one)] == right[fields.quoted(other)] for one, other in pairs]
            return Content(left.join(right, condition, "inner"))

        return self._then(join, self.name + frame2.name)

    def split_rows(
        self,
        comparison_dict: Mapping[str, Mapping[str, Any]],
        name1: str,
        name2: str,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrameCollection:
        """Two frames: rows that meet all comparisons, such as {"age": {">": 10, "<": 20}}, and the others."""
        refuse_thresholds(stageThreshold, totalThreshold)
        compared = [
            _compare(fields.column(fields.parse_path(path)), sign, value)
            for path, comparisons in comparison_dict.items()
            for sign, value in comparisons.items()
        ]
        meets = F.lit(True)
        for one in compared:
            meets = meets & one
        frames = {
            name1: self._then(lambda _: Content(self.toDF().where(meets)), name1),
            name2: self._then(lambda _: Content(self.toDF().where(~F.coalesce(meets, F.lit(False)))), name2),
        }
        return DynamicFrameCollection(frames, self.glue_ctx)

    def union(
        self,
        other_frame: DynamicFrame,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The records of both; a field that one of them lacks is null."""
        refuse_thresholds(stageThreshold, totalThreshold)
        return self._then(
            lambda _: Content(self.toDF().unionByName(other_frame.toDF(), allowMissingColumns=True))
        )

    def mergeDynamicFrame(
        self,
        stage_dynamic_frame: DynamicFrame,
        primary_keys: str | Iterable[str],
        transformation_ctx: str = "",
        options: Mapping[str, Any] | None = None,
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The records of the staging frame, and those of this one that it has no key of."""
        refuse_thresholds(stageThreshold, totalThreshold)
        keys = [primary_keys] if isinstance(primary_keys, str) else list(primary_keys)

        def merge(_: Content) -> Content:
            stage = stage_dynamic_frame.toDF()
            kept = self.toDF().join(stage.select(*keys), keys, "left_anti")
            return Content(kept.unionByName(stage, allowMissingColumns=True))

        return self._then(merge)

    def repartition(
        self,
        num_partitions: int,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The same rows in so many of Spark's partitions."""
        refuse_thresholds(stageThreshold, totalThreshold)
        return self._then(lambda content: Content(content.rows.repartition(num_partitions), content.choices))

    def coalesce(
        self,
        num_partitions: int,
        shuffle: bool = False,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        """The same rows in so many of Spark's partitions at most."""
        if shuffle:
            return self.repartition(num_partitions, transformation_ctx, info, stageThreshold, totalThreshold)
        refuse_thresholds(stageThreshold, totalThreshold)
        return self._then(lambda content: Content(content.rows.coalesce(num_partitions), content.choices))

    # Writing

    def write(
        self,
        connection_type: str,
        connection_options: Mapping[str, Any] | None = None,
        format: str | None = None,
        format_options: Mapping[str, Any] | None = None,
        accumulator_size: int = 0,
    ) -> DynamicFrame:
        """As `GlueContext.write_dynamic_frame_from_options`."""
        written: DynamicFrame = self.glue_ctx.write_dynamic_frame_from_options(
            self, connection_type, connection_options, format, format_options
        )
        return written

    def __getattr__(self, name: str) -> Any:
        return refusing("DynamicFrame", _INSTEAD)(name)

    @cached_property
    def _content(self) -> Content:
        try:
            return self._make()
        except AttributeError as error:  # Which would make Python ask __getattr__ for `_content`.
            raise RuntimeError(f"{error}") from error

    def _then(self, step: Callable[[Content], Content], name: str | None = None) -> DynamicFrame:
        """The frame that `step` makes of this one's content, once it is needed."""
        frame = DynamicFrame(lambda: step(self._content), self.glue_ctx, self.name if name is None else name)
        frame._earlier_errors = self.errorsCount
        return frame

    def _select(self, columns: Callable[[T.StructType], list[Column]]) -> DynamicFrame:
        """The frame with some fields of this one, and the choices among them."""

        def select(content: Content) -> Content:
            rows = content.rows.select(*columns(content.rows.schema))
            left = {
                path: types
                for path, types in content.choices.items()
                if fields.find(rows.schema, path[: path.index(ELEMENTS)] if ELEMENTS in path else path)
            }
            return Content(rows, left)

        return self._then(select)


class DynamicFrameCollection:
    """Frames by name."""

    def __init__(
        self, dynamic_frames: Mapping[str, DynamicFrame] | list[DynamicFrame], glue_ctx: Any
    ) -> None:
        if isinstance(dynamic_frames, list):
            dynamic_frames = {frame.name: frame for frame in dynamic_frames}
        self._frames = dict(dynamic_frames)
        self._glue_ctx = glue_ctx

    def __getitem__(self, key: str) -> DynamicFrame:
        return self._frames[key]

    def __len__(self) -> int:
        return len(self._frames)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._frames.keys()

    def values(self) -> Iterable[DynamicFrame]:
        """The frames."""
        return self._frames.values()

    def select(self, key: str, transformation_ctx: str = "") -> DynamicFrame:
        """The frame of this name, or an empty one."""
        if key in self._frames:
            return self._frames[key]
        return DynamicFrame(records.empty(self._glue_ctx.spark_session), self._glue_ctx, key)

    def map(
        self, callable: Callable[[DynamicFrame, str], DynamicFrame], transformation_ctx: str = ""
    ) -> DynamicFrameCollection:
        """The frames that `callable` makes of each frame and its context."""
        made = {name: callable(frame, f"{transformation_ctx}:{name}") for name, frame in self._frames.items()}
        return DynamicFrameCollection(made, self._glue_ctx)

    def __getattr__(self, name: str) -> Any:
        return refusing("DynamicFrameCollection", {"flatmap": "a loop over values()"})(name)


def _counted(outcome: records.Counted) -> Content:
    rows, errors = outcome
    return Content(rows, errors=errors)


def _paths(paths: str | Iterable[str]) -> list[Path]:
    return [fields.parse_path(path) for path in ([paths] if isinstance(paths, str) else paths)]


def _existing(schema: T.StructType, paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if fields.find(schema, path)]


def _step(mapping: Mapping4) -> tuple[Path, Path, str | None]:
    """A mapping's source, target and target type."""
    if not isinstance(mapping, tuple):
        raise TypeError(f"a mapping must be a tuple, not {mapping!r}")
    if len(mapping) not in (2, 3, 4):
        raise ValueError(f"a mapping has 2, 3 or 4 members: {mapping!r}")
    source, target = mapping[0], mapping[2] if len(mapping) == 4 else mapping[1]
    type_name = mapping[-1] if len(mapping) > 2 else None
    if type_name is not None:
        fields.spark_type(type_name)  # Refused now, not when the rows are needed.
    return fields.parse_path(source), fields.parse_path(target), type_name


def _resolved(content: Content, actions: Mapping[Path, str]) -> Content:
    """The content with these actions carried out. Raises NotReproduced."""
    rows, choices = content.rows, dict(content.choices)
    for path, action in actions.items():
        verb, _, type_name = action.partition(":")
        if verb not in ("cast", "make_cols", "make_struct", "project"):
            raise ValueError(f"resolveChoice: {action!r} is no action; use cast:<type>")
        if verb != "cast" or ELEMENTS in path:
            if path in choices:
                raise NotReproduced(
                    f"resolveChoice({'.'.join(path)!r}, {action!r}) of {' and '.join(choices[path])} is not "
                    "reproduced outside AWS Glue: use cast:<type>, of a field that is in no array"
                )
            continue
        if fields.find(rows.schema, path) is None:
            continue
        rows = rows.withColumns(dict([fields.replaced(path, fields.cast(fields.column(path), type_name))]))
        choices.pop(path, None)
    return Content(rows, choices)


def _compare(value: Column, sign: str, other: Any) -> Column:
    comparisons = {
        ">": "__gt__",
        ">=": "__ge__",
        "<": "__lt__",
        "<=": "__le__",
        "=": "__eq__",
        "!=": "__ne__",
    }
    if sign not in comparisons:
        raise ValueError(f"split_rows: {sign!r} is no comparison; use one of {sorted(comparisons)}")
    compared: Column = getattr(value, comparisons[sign])(other)
    return compared
