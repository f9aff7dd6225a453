"""Tables in Markdown, as the documents show them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown; numbers stand to the right, None is an empty cell."""
    rows = [list(row) for row in rows]
    is_number = [
        all(re.fullmatch(r"\$?-?[\d,]+(\.\d+)?( [kMGT]?B)?", _text(row[i])) for row in rows if _text(row[i]))
        for i in range(len(header))
    ]
    lines = [
        _line(header),
        "|" + "|".join("--:" if number else "---" for number in is_number) + "|",
        *(_line(row) for row in rows),
    ]
    return "\n".join(lines)


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(_text(cell) for cell in cells)} |"


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)
