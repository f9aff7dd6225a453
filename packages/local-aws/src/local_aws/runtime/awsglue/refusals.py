"""Says by name what the real awsglue can do and this small one does not, instead of guessing or of failing
with an AttributeError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class NotReproduced(Exception):
    """The real awsglue may be able to do this; this small one is not, and says so instead of guessing."""


def require(what: str, value: object, *supported: object) -> None:
    """Raise NotReproduced unless `value` is one of those that are reproduced."""
    if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in supported):
        names = " or ".join(repr(one) for one in supported)
        raise NotReproduced(f"{what}={value!r}: only {names} is reproduced outside AWS Glue")


def refuse_unknown(kind: str, given: Mapping[str, Any], known: set[str]) -> None:
    """Raise NotReproduced for options or arguments that are not among the known ones."""
    unknown = sorted(set(given) - known)
    if unknown:
        raise NotReproduced(f"{kind} {', '.join(unknown)} is not reproduced outside AWS Glue")


def refuse_thresholds(stage: int, total: int) -> None:
    """Raise NotReproduced for numbers of errors at which a transformation would have to fail."""
    for name, value in (("stageThreshold", stage), ("totalThreshold", total)):
        if value:
            raise NotReproduced(f"{name}={value} is not reproduced outside AWS Glue: look at errorsCount()")


def refusing(owner: str, advice: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a module: raises NotReproduced for the names of `advice`, each with what to use."""

    def refuse(name: str) -> Any:
        if name in advice:
            raise NotReproduced(f"{owner}.{name} is not reproduced outside AWS Glue. Instead: {advice[name]}")
        raise AttributeError(f"{owner!r} has no attribute {name!r}")

    return refuse
