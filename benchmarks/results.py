"""What a measured part leaves behind: `benchmarks/results/<part>.json`, written by `make bench` only.

A figure is one number that documents may show, known as `part.name`; how it looks depends on its unit alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class ResultsError(Exception):
    """A result file, or a document's use of one, is wrong; the message says which and what to do."""


@dataclass(frozen=True)
class Figure:
    """A measured number; `what` says what was measured, `spread` is the least and the greatest repetition."""

    value: float
    unit: str
    what: str
    spread: tuple[float, float] | None = None

    def __str__(self) -> str:
        return format_value(self.value, self.unit)

    @property
    def with_spread(self) -> str:
        """Such as "14.2 s (13.9 s to 14.8 s)"."""
        return f"{self} ({self.spread_text})" if self.spread else str(self)

    @property
    def spread_text(self) -> str:
        """The spread as text, such as "13.9 s to 14.8 s"; empty where nothing was repeated."""
        if self.spread is None:
            return ""
        low, high = (format_value(end, self.unit) for end in self.spread)
        return f"{low} to {high}"


@dataclass(frozen=True)
class Result:
    """All that one part measured. `details` is for the part's table and plots."""

    part: str
    title: str
    measured: str
    machine: dict[str, Any]
    figures: dict[str, Figure]
    details: dict[str, Any] = field(default_factory=dict)


def save(result: Result, folder: Path = RESULTS) -> Path:
    """Write a part's result file and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.part}.json"
    document = asdict(result)
    for figure in document["figures"].values():
        if figure["spread"] is None:
            del figure["spread"]
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def load(folder: Path = RESULTS) -> dict[str, Result]:
    """The results that there are, by part. Raises ResultsError when a file is not what `save` writes."""
    results = {}
    for path in sorted(folder.glob("*.json")):
        try:
            document = json.loads(path.read_text())
            figures = {
                name: Figure(
                    figure["value"],
                    figure["unit"],
                    figure["what"],
                    (figure["spread"][0], figure["spread"][1]) if "spread" in figure else None,
                )
                for name, figure in document.pop("figures").items()
            }
            result = Result(figures=figures, **document)
            for figure in figures.values():
                format_value(figure.value, figure.unit)  # raises for a unit that is unknown
        except (ValueError, KeyError, TypeError, ResultsError) as error:
            raise ResultsError(
                f"{path.name} is no result file ({error!r}): write it anew with `make bench`"
            ) from error
        results[result.part] = result
    return results


def format_value(value: float, unit: str) -> str:
    """A number as documents show it, at three significant digits. Raises ResultsError for an unknown unit."""
    match unit:
        case "s":
            return f"{_digits(value * 1000)} ms" if 0 < value < 0.1 else f"{_digits(value)} s"
        case "us":
            return f"{_digits(value)} µs"
        case "B":
            return _bytes(value)
        case "B/event":
            return f"{_digits(value)} bytes"
        case "B/B" | "number":
            return _digits(value)
        case "ratio":
            return f"{_digits(value)}x"
        case "count":
            return f"{round(value):,}"
        case "events/s":
            return f"{round(value):,} events/s"
        case "percent":
            return f"{_digits(value)} %"
        case "MiB":
            return f"{_digits(value)} MiB"
        case "USD":
            return f"${value:,.2f}" if value >= 1 or value == 0 else f"${_digits(value)}"
        case _:
            raise ResultsError(f"no way to show the unit {unit!r} is known: see benchmarks/results.py")


def _digits(value: float) -> str:
    """Three significant digits, and all of those before the point."""
    if value == 0:
        return "0"
    decimals = 0
    while decimals < 8 and abs(value) * 10**decimals < 99.95:
        decimals += 1
    return f"{value:,.{decimals}f}"


def _bytes(value: float) -> str:
    scale = 0
    while value >= 999.5 and scale < len(_BYTE_UNITS) - 1:
        value, scale = value / 1000, scale + 1
    return f"{round(value) if scale == 0 else _digits(value)} {_BYTE_UNITS[scale]}"
