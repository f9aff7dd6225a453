"""HTML for what the notebooks show: tables, status lines, the progress of a run, a table beside its plot.

Looks right in Jupyter (light and dark theme) and in the rendered report, without scripts and without files
from elsewhere. What a table or a plot is about is decided elsewhere; nothing here knows AWS.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

# Said three times, the class outweighs what Jupyter's own style sheet says of tables.
_STYLE = """<style>
.cap{font-size:14px;line-height:1.5;overflow-x:auto}
.cap.cap.cap table{border-collapse:collapse;margin:.4em 0;font-variant-numeric:tabular-nums;font-size:13px}
.cap.cap.cap th,.cap.cap.cap td{padding:.3em .8em;border:0;text-align:left;
border-bottom:1px solid var(--jp-border-color2,#d8dee4);vertical-align:top;white-space:nowrap;background:none}
.cap.cap.cap thead th{border-bottom-width:2px;font-weight:600;vertical-align:bottom}
.cap th small{display:block;font-weight:400;opacity:.65;font-family:var(--jp-code-font-family,monospace);
font-size:11px}
.cap.cap.cap .num{text-align:right}
.cap.cap.cap .wrap{white-space:normal;overflow-wrap:anywhere;min-width:8em}
.cap .note{opacity:.7;font-size:12px;margin:.2em 0}
.cap .pair{display:flex;flex-wrap:wrap;gap:1.5em;align-items:flex-start}
.cap .pair>div{overflow-x:auto;max-width:100%}
.cap .plot{flex:1 1 420px;min-width:min(420px,100%);margin:.4em 0;overflow-x:auto}
.cap .plot>img{max-width:100%;height:auto;background:#fff;border-radius:6px;padding:6px;
box-sizing:border-box}
.cap .badge{display:inline-block;min-width:5.5em;padding:0 .7em;border-radius:1em;text-align:center;
font-size:12px;font-weight:600;color:#fff;background:#57606a}
.cap .good{background:#00714f}.cap .busy{background:#0072b2}.cap .bad{background:#b3400a}
.cap .bar{height:10px;max-width:640px;border-radius:5px;overflow:hidden;
background:var(--jp-border-color2,#d8dee4)}
.cap .bar div{height:100%;border-radius:5px}
.cap .cards{display:flex;flex-wrap:wrap;gap:.8em;margin:.6em 0}
.cap .card{flex:1 1 150px;box-sizing:border-box;padding:.6em .9em;
border:1px solid var(--jp-border-color2,#d8dee4);border-radius:8px}
.cap .card b{display:block;font-size:1.5em;line-height:1.3;font-variant-numeric:tabular-nums}
.cap .card small{opacity:.7;font-size:12px}
.cap .filters{display:flex;flex-wrap:wrap;gap:.6em 1.2em;align-items:baseline}
.cap .filters select{font:inherit;padding:.2em .5em;margin-left:.3em;max-width:60vw}
.cap .chart{background:#fff;color:#1f2328;border-radius:6px;padding:8px;box-sizing:border-box;overflow:hidden;
margin-bottom:.6em}
.cap .chart>div{width:100%}
.cap .chart img{display:block;max-width:100%;height:auto}
.cap .scroll{max-height:26em;overflow:auto}
.cap .insight{border-left:4px solid #d55e00;padding:.3em .9em;margin:.6em 0;max-width:46rem}
.cap .lines{overflow-x:auto}
.cap.cap.cap .lines td{white-space:normal}
.cap.cap.cap .lines td:last-child{overflow-wrap:anywhere;min-width:14em;max-width:40em;
font-family:var(--jp-code-font-family,monospace);font-size:11px}
@media (max-width:600px){.cap.cap.cap th{white-space:normal}
.cap.cap.cap th,.cap.cap.cap td{padding:.3em .5em}
.cap .plot>img{min-width:520px;max-width:none}
.cap.cap.cap .examples tr{display:flex;flex-wrap:wrap;border-bottom:1px solid var(--jp-border-color2,#d8dee4)}
.cap.cap.cap .examples tr>*{border-bottom:0;padding-bottom:0}
.cap.cap.cap .examples tr>:last-child{flex:1 0 100%;min-width:0;box-sizing:border-box;padding-bottom:.4em}}
.cap tr.red td{background:rgba(213,94,0,.14)!important}
</style>"""

LONGEST_CELL = 260
"""Characters of a text that a table shows."""

_BADGES = {
    "created": "good",
    "updated": "good",
    "uploaded": "good",
    "written": "good",
    "SUCCEEDED": "good",
    "passed": "good",
    "within": "good",
    "STARTING": "busy",
    "RUNNING": "busy",
    "WAITING": "busy",
    "STOPPING": "busy",
    "FAILED": "bad",
    "ERROR": "bad",
    "TIMEOUT": "bad",
    "STOPPED": "bad",
    "failed": "bad",
    "above": "bad",
}
_BAR_COLOURS = {"good": "#00714f", "busy": "#0072b2", "bad": "#b3400a"}


@dataclass(frozen=True)
class Column:
    """How one result column is shown: its heading, and the kind of value that it holds."""

    label: str
    kind: str = "text"


COLUMNS = {
    "product_id": Column("Product"),
    "category": Column("Category"),
    "views": Column("Views", "count"),
    "add_to_carts": Column("Added to cart", "count"),
    "purchases": Column("Purchases", "count"),
    "view_to_cart_conversion": Column("View → cart, %", "percent"),
    "view_to_purchase_conversion": Column("View → purchase, %", "percent"),
    "cart_to_purchase_conversion": Column("Cart → purchase, %", "percent"),
    "event_date": Column("Date, UTC"),
    "event_hour": Column("Hour, UTC", "hour"),
    "total_revenue": Column("Revenue, USD", "money"),
    "transaction_count": Column("Purchases", "count"),
    "rank": Column("Rank", "count"),
    "view_count": Column("Views", "count"),
    "event_count": Column("Events", "count"),
    "unique_users": Column("Users", "count"),
    "unique_sessions": Column("Sessions", "count"),
    "sessions_per_user": Column("Sessions per user", "money"),
    "user_id": Column("User"),
    "events_newest": Column("Events, newest day", "count"),
    "events_before": Column("Events, day before", "count"),
    "change": Column("Change, %", "change"),
    "source_file": Column("Raw object"),
    "line_count": Column("Lines", "count"),
    "share": Column("Share, %", "percent"),
    "products": Column("Different products"),
    "average_order": Column("Average order, USD", "money"),
    "items_per_order": Column("Items per order", "money"),
    "carts": Column("Carts", "count"),
    "left_carts": Column("Left", "count"),
    "left_items": Column("Items in these", "count"),
    "left_worth": Column("Their worth, USD", "money"),
    "time_to_purchase": Column("From view to purchase"),
    "search_query": Column("Searched for"),
    "time_of_day": Column("Hour, UTC"),
    "buying_sessions": Column("Sessions that buy", "count"),
    "returning_users": Column("Came again next day", "count"),
    "revenue_before": Column("Day before, USD", "money"),
    "revenue_before_by_then": Column("Day before by then, USD", "money"),
}


class Shown:
    """Base of what a cell shows by naming it: `_repr_html_` in Jupyter and reports, `str` everywhere else."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Sentence(Shown):
    """A line of plain text as a cell's result, with a badge before it where a state is given."""

    text: str
    state: str = ""

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return text_line(f"{badge(self.state)} &ensp;" * bool(self.state) + html.escape(self.text))


@dataclass(frozen=True, repr=False)
class Panel(Shown):
    """A part of a page: its HTML, and what it says in words."""

    content: str
    words: str

    def __str__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        return block(self.content)


@dataclass(frozen=True, repr=False)
class Progress(Shown):
    """How far a run has come: its state, the elapsed time, and the first `steps_done` of its steps."""

    state: str
    elapsed_seconds: float
    steps: Sequence[str]
    steps_done: int
    note: str = ""

    @property
    def is_active(self) -> bool:
        """Whether the run goes on."""
        return _BADGES.get(self.state, "busy") == "busy"

    def __str__(self) -> str:
        done = ", ".join(self.steps[: self.steps_done])
        words = (f"{self.state}, {duration(self.elapsed_seconds)}", f"{done} done" * bool(done), self.note)
        return "; ".join(filter(None, words))

    def _repr_html_(self) -> str:
        tone = _BADGES.get(self.state, "busy")
        share = 1.0 if not self.is_active else (self.steps_done + 0.5) / (len(self.steps) + 1)
        where = " → ".join(
            f"<b>{html.escape(step)}</b>" if number < self.steps_done else html.escape(step)
            for number, step in enumerate(self.steps)
        )
        where += f" &ensp;{html.escape(self.note)}" if self.note else ""
        return block(
            f"<div>{badge(self.state)} &ensp;{duration(self.elapsed_seconds)} "
            f"&ensp;<span class='note'>{where}</span></div>"
            f'<div class="bar" role="progressbar" aria-valuenow="{share * 100:.0f}">'
            f'<div style="width:{share:.0%};background:{_BAR_COLOURS[tone]}"></div></div>'
        )


def block(content: str) -> str:
    """The content with the style that the other functions' HTML relies on."""
    return f'{_STYLE}<div class="cap">{content}</div>'


def text_line(content: str) -> str:
    """One line of text; `content` is HTML."""
    return block(f"<div>{content}</div>")


def badge(word: str) -> str:
    """A coloured label for a state such as "created", "unchanged", "RUNNING"."""
    return f'<span class="badge {_BADGES.get(word, "")}">{html.escape(word)}</span>'


def facts_table(facts: Iterable[tuple[str, object]]) -> str:
    """Names and their values, one pair a row; an `S3`-like long value may break within a word."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td class="wrap">{html.escape(str(value))}</td></tr>'
        for name, value in facts
    )
    return block(f"<table><tbody>{rows}</tbody></table>")


def status_table(rows: Iterable[tuple[str, str, str]]) -> str:
    """Rows of (state, what, detail); the state is shown as a badge."""
    cells = "".join(
        f'<tr><td>{badge(state)}</td><td class="wrap">{html.escape(what)}</td>'
        f'<td class="wrap">{html.escape(detail)}</td></tr>'
        for state, what, detail in rows
    )
    return block(f"<table><tbody>{cells}</tbody></table>")


def data_table(
    frame: pd.DataFrame,
    max_rows: int = 12,
    marks: Mapping[str, str] | None = None,
    show_names: bool = True,
) -> str:
    """A result table with headings, units and thousands separators.

    Columns in `COLUMNS` are shown as that says, others under their own name. A table longer than `max_rows`
    is cut, and a line below says so. `marks` names columns whose value each row carries as an attribute,
    {"event_date": "day"} as data-day, for filters in the page. `show_names` puts a column's own name below
    its heading; without it, names become plain words.
    """
    columns = [
        (name, COLUMNS.get(str(name)) or _guess(str(name), frame[name], show_names)) for name in frame.columns
    ]
    head = "".join(
        f'<th scope="col"{_align(column)}>{html.escape(column.label)}'
        + (f"<br><small>{html.escape(str(name))}</small></th>" if show_names else "</th>")
        for name, column in columns
    )
    shown = frame.head(max_rows)
    kinds = [column for _, column in columns]
    body = "".join(
        f"<tr{_attributes(frame, row, marks or {})}>"
        f"{''.join(_cell(value, column) for value, column in zip(row, kinds, strict=True))}</tr>"
        for row in shown.itertuples(index=False, name=None)
    )
    note = f"{len(shown):,} of {len(frame):,} rows" if len(shown) < len(frame) else plural(len(frame), "row")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><div class='note'>{note}</div>"


def table_beside_plot(table: str, plot: str) -> str:
    """A table and its plot side by side, below each other where the page is narrow."""
    return block(f'<div class="pair"><div>{table}</div><div class="plot">{plot}</div></div>')


def format_value(value: Any, kind: str) -> str:
    """One value as text; kinds: text, count, money (2 decimals), percent and change (of a ratio), hour."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if kind == "count":
        return f"{int(value):,}"
    if kind == "money":
        return f"{Decimal(value):,.2f}"
    if kind == "percent":
        return f"{Decimal(value) * 100:,.2f}"
    if kind == "change":
        return f"{Decimal(value) * 100:+,.1f}"
    if kind == "hour":
        return f"{int(value):02d}:00"
    if isinstance(value, date):
        return value.isoformat()[:10]
    return str(value)


def printable(text: str) -> str:
    """The text with a mark for each character that a page or a terminal would obey instead of show."""
    return "".join(c if c.isprintable() or c in "\u200c\u200d" else "\ufffd" for c in text)


def shortened(text: str, most: int) -> str:
    """The text, cut after `most` characters."""
    return text if len(text) <= most else f"{text[:most]} …"


def duration(seconds: float) -> str:
    """Seconds as people say them: "8 s", "2 min 05 s", "1 h 02 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def age(seconds: float) -> str:
    """How old something is: whole days, or hours, minutes and seconds where it is less than a day."""
    days = int(seconds // 86_400)
    return plural(days, "day") if days else duration(seconds)


def file_size(size_bytes: float) -> str:
    """Bytes as people say them, in powers of 1,000: "512 bytes", "4.2 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:,.0f} {unit}" if unit == "bytes" else f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:,.1f} TB"


def when(moment: datetime) -> str:
    """A point in time to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 row", "1,200 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _guess(name: str, values: pd.Series, keep_name: bool) -> Column:
    """A column that `COLUMNS` does not know; its heading is its name, or that in plain words."""
    if not keep_name:
        words = name.replace("_", " ")
        name = words[:1].upper() + words[1:]
    if pd.api.types.is_integer_dtype(values.dtype) or (len(values) and all(type(v) is int for v in values)):
        return Column(name, "count")
    return Column(name)


def _attributes(frame: pd.DataFrame, row: Sequence[Any], marks: Mapping[str, str]) -> str:
    values = dict(zip(frame.columns, row, strict=True))
    return "".join(f' data-{name}="{html.escape(str(values[column]))}"' for column, name in marks.items())


def _align(column: Column) -> str:
    """The attribute `align` is for code hosts, which show notebooks without their styles."""
    return "" if column.kind == "text" else ' class="num" align="right"'


def _cell(value: Any, column: Column) -> str:
    text = shortened(printable(format_value(value, column.kind)), LONGEST_CELL)
    return f"<td{_align(column)}>{html.escape(text)}</td>"
