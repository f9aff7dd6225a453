"""Glue's transforms: classes that are called by `apply`, each a method of `DynamicFrame`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyspark.sql import types as T

from .dynamicframe import DynamicFrame, DynamicFrameCollection
from .fields import quoted
from .refusals import NotReproduced, refusing
from .shapes import Path

__all__ = [
    "ApplyMapping",
    "Coalesce",
    "DropFields",
    "DropNullFields",
    "ErrorsAsDynamicFrame",
    "Filter",
    "FlatMap",
    "Join",
    "Map",
    "MapToCollection",
    "Relationalize",
    "RenameField",
    "Repartition",
    "ResolveChoice",
    "SelectFields",
    "SelectFromCollection",
    "Spigot",
    "SplitFields",
    "SplitRows",
    "Unbox",
    "Union",
    "UnnestFrame",
]


class GlueTransform:
    """A transform, called as `Transform.apply(...)` or `Transform()(...)`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Carry the transform out."""
        return cls()(*args, **kwargs)

    @classmethod
    def name(cls) -> str:
        """The transform's name."""
        return cls.__name__


class FrameTransform(GlueTransform):
    """A transform that is a method of the frame that it is given, with that method's other parameters."""

    _method: str

    def __call__(self, frame: DynamicFrame, *args: Any, **kwargs: Any) -> DynamicFrame:
        transformed: DynamicFrame = getattr(frame, self._method)(*args, **kwargs)
        return transformed


class ApplyMapping(FrameTransform):
    """As `DynamicFrame.apply_mapping`."""

    _method = "apply_mapping"


class SelectFields(FrameTransform):
    """As `DynamicFrame.select_fields`."""

    _method = "select_fields"


class DropFields(FrameTransform):
    """As `DynamicFrame.drop_fields`."""

    _method = "drop_fields"


class RenameField(GlueTransform):
    """As `DynamicFrame.rename_field`."""

    def __call__(
        self,
        frame: DynamicFrame,
        old_name: str,
        new_name: str,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        return frame.rename_field(
            old_name, new_name, transformation_ctx, info, stageThreshold, totalThreshold
        )


class Filter(FrameTransform):
    """As `DynamicFrame.filter`."""

    _method = "filter"


class Map(FrameTransform):
    """As `DynamicFrame.map`."""

    _method = "map"


class Join(GlueTransform):
    """As `DynamicFrame.join`."""

    def __call__(
        self,
        frame1: DynamicFrame,
        frame2: DynamicFrame,
        keys1: str | Iterable[str],
        keys2: str | Iterable[str],
        transformation_ctx: str = "",
    ) -> DynamicFrame:
        return frame1.join(keys1, keys2, frame2, transformation_ctx)


class ResolveChoice(FrameTransform):
    """As `DynamicFrame.resolveChoice`."""

    _method = "resolveChoice"


class DropNullFields(GlueTransform):
    """Without the fields that are null in every record, also within structs; says which, as Glue does."""

    def __call__(
        self,
        frame: DynamicFrame,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        paths = [quoted(path) for path in _null_fields(frame.schema(), ())]
        print("null_fields", paths)
        return frame.drop_fields(paths, transformation_ctx, info, stageThreshold, totalThreshold)


class Repartition(FrameTransform):
    """As `DynamicFrame.repartition`."""

    _method = "repartition"


class Coalesce(FrameTransform):
    """As `DynamicFrame.coalesce`."""

    _method = "coalesce"


class SplitFields(GlueTransform):
    """As `DynamicFrame.split_fields`; the frames are called after the given one unless named."""

    def __call__(
        self,
        frame: DynamicFrame,
        paths: str | Iterable[str],
        name1: str | None = None,
        name2: str | None = None,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrameCollection:
        name = frame.name or "frame"
        return frame.split_fields(
            paths,
            name1 or f"{name}1",
            name2 or f"{name}2",
            transformation_ctx,
            info,
            stageThreshold,
            totalThreshold,
        )


class SplitRows(GlueTransform):
    """As `DynamicFrame.split_rows`."""

    def __call__(
        self,
        frame: DynamicFrame,
        comparison_dict: Mapping[str, Mapping[str, Any]],
        name1: str = "frame1",
        name2: str = "frame2",
        transformation_ctx: str = "",
        info: str | None = None,
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrameCollection:
        return frame.split_rows(
            comparison_dict, name1, name2, transformation_ctx, info or "", stageThreshold, totalThreshold
        )


class Union(GlueTransform):
    """As `DynamicFrame.union`."""

    def __call__(
        self,
        frame1: DynamicFrame,
        frame2: DynamicFrame,
        transformation_ctx: str = "",
        info: str = "",
        stageThreshold: int = 0,
        totalThreshold: int = 0,
    ) -> DynamicFrame:
        return frame1.union(frame2, transformation_ctx, info, stageThreshold, totalThreshold)


class SelectFromCollection(GlueTransform):
    """As `DynamicFrameCollection.select`."""

    def __call__(self, dfc: DynamicFrameCollection, key: str, transformation_ctx: str = "") -> DynamicFrame:
        return dfc.select(key, transformation_ctx)


class MapToCollection(GlueTransform):
    """As `DynamicFrameCollection.map`."""

    def __call__(
        self,
        dfc: DynamicFrameCollection,
        callable: Callable[[DynamicFrame, str], DynamicFrame],
        transformation_ctx: str = "",
    ) -> DynamicFrameCollection:
        return dfc.map(callable, transformation_ctx)


class _Refused:
    """A transform of Glue's that is not here, which says so when it is used: `import *` brings it, too."""

    def __init__(self, name: str, instead: str) -> None:
        self._name = name
        self._instead = instead

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise NotReproduced(
            f"The transform {self._name} is not reproduced outside AWS Glue. Instead: {self._instead}"
        )

    apply = __call__


Relationalize = _Refused(
    "Relationalize", "explode arrays and select nested fields of toDF(), then DynamicFrame.fromDF"
)
UnnestFrame = _Refused("UnnestFrame", "ApplyMapping with dotted source paths, or toDF().select('a.b')")
Unbox = _Refused("Unbox", "pyspark.sql.functions.from_json on toDF()")
Spigot = _Refused("Spigot", "toDF().limit(n).write.json(path)")
FlatMap = _Refused("FlatMap", "a loop over DynamicFrameCollection.values()")
ErrorsAsDynamicFrame = _Refused(
    "ErrorsAsDynamicFrame", "DynamicFrame.errorsCount(), and a look at what the function raises"
)

_INSTEAD = dict.fromkeys(
    ("get_transforms", "get_transform", "describe_transform"), "the names in awsglue.transforms.__all__"
)

__getattr__ = refusing("awsglue.transforms", _INSTEAD)


def _null_fields(data_type: T.DataType, above: Path) -> list[Path]:
    if isinstance(data_type, T.NullType):
        return [above]
    if isinstance(data_type, T.StructType):
        return [path for field in data_type for path in _null_fields(field.dataType, (*above, field.name))]
    return []
