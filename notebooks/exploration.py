"""What `explore_events.ipynb` shows of raw event files on this machine, before any pipeline has touched them.

Reads the files with the rules of `recompute`, so what is called a bad line or a copy here is what the
validation calls so. Needs no AWS.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd

from capstone_pipeline.errors import NoSourceData
from capstone_pipeline.raw_objects import RawObject, arrival_of
from capstone_pipeline.render import Panel, Shown, data_table, facts_table, file_size, plural
from capstone_pipeline.stack import PROJECT
from notebooks.plots import bar_plot, count_plot
from notebooks.recompute import compute, query_rows

FIELDS = (
    *("timestamp", "user_id", "session_id", "event_type", "product_id"),
    *("quantity", "price", "category", "search_query"),
)


@dataclass(frozen=True, repr=False)
class RawFiles(Shown):
    """Event files, and a DuckDB with the tables and views of `recompute.sql` for them."""

    folder: Path
    database: duckdb.DuckDBPyConnection
    files: int
    size_bytes: int

    def rows(self, sql: str) -> pd.DataFrame:
        """What DuckDB answers."""
        return query_rows(self.database, sql)

    def facts(self) -> list[tuple[str, str]]:
        """How much there is, as (name, value)."""
        lines = int(self.rows("SELECT count(*) FROM lines").iat[0, 0])
        text = int(self.rows("SELECT sum(strlen(line) + 1) FROM lines").iat[0, 0])
        return [
            ("Folder", self.folder.name),
            ("Files", f"{self.files:,}, {file_size(self.size_bytes)} compressed"),
            ("Lines", f"{lines:,}, {file_size(text)} of text"),
            ("Bytes per line", f"{text / lines:,.0f}, compressed {self.size_bytes / lines:,.0f}"),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.facts())

    def _repr_html_(self) -> str:
        return facts_table(self.facts())


def read_files(folder: Path | str) -> RawFiles:
    """Read every event file (*.jsonl.gz) below a folder of the project, or any other that is named in full.

    Raises
    ------
    NoSourceData
        When there is none.
    """
    folder = PROJECT / folder
    files = sorted(folder.rglob("*.jsonl.gz"))
    if not files:
        raise NoSourceData(
            f"{folder} holds no event file (*.jsonl.gz).",
            "generate some:\n  python generate_sample_data.py --num-files 12 --events-per-file 5000",
        )

    def raw_object(file: Path) -> RawObject:
        uri = f"/{file.relative_to(folder).as_posix()}"
        return RawObject(uri, arrival_of(uri), datetime.fromtimestamp(file.stat().st_mtime, UTC))

    database = compute((raw_object(file), file.read_bytes()) for file in files)
    return RawFiles(folder, database, len(files), sum(file.stat().st_size for file in files))


def first_lines(raw: RawFiles, count: int = 3) -> Panel:
    """The first lines as they stand in the files."""
    lines = raw.rows(
        f"SELECT line FROM judged WHERE reason IS NULL ORDER BY source_file, rowid LIMIT {count}"
    )["line"]
    return Panel(_text_table(pd.DataFrame({"line": lines})), "\n".join(lines))


def schema(raw: RawFiles) -> Panel:
    """For each field: which JSON types occur, how often it is filled, and how many values it takes."""
    rows = []
    for field in FIELDS:
        kind = f"coalesce(json_type(line, '$.{field}'), 'absent')"
        text = f"json_extract_string(line, '$.{field}')"
        found = raw.rows(
            f"SELECT string_agg(DISTINCT {kind}, ', ' ORDER BY {kind}), count({text}) / count(*), "
            f"count(DISTINCT {text}), min({text}) FROM judged WHERE reason IS NULL"
        ).iloc[0]
        rows.append((field, found.iloc[0].lower(), found.iloc[1], found.iloc[2], found.iloc[3]))
    table = pd.DataFrame(
        rows, columns=["field", "JSON types", "share", "different values", "smallest"], dtype=object
    )
    words = "\n".join(f"{row[0]}: {row[1]}, {row[2]:.1%} filled, {row[3]:,} values" for row in rows)
    return Panel(_text_table(table), words)


def event_mix(raw: RawFiles) -> Panel:
    """How many events there are of each type."""
    table = raw.rows(
        "SELECT event_type, count(*) AS event_count, count(*) / sum(count(*)) OVER () AS share, "
        "count(product_id) AS with_product, count(price) AS with_price, count(search_query) AS with_query "
        "FROM events GROUP BY event_type ORDER BY event_count DESC"
    )
    plot = bar_plot("Events by type", "events", _pairs(table, "event_type", "event_count"))
    return _beside(
        table, plot, ", ".join(f"{row.event_type}: {row.event_count:,}" for row in table.itertuples())
    )


def sessions(raw: RawFiles) -> Panel:
    """How long sessions are, in events, and how many a user has."""
    table = raw.rows(
        "SELECT events_in_session, count(*) AS session_count FROM ("
        "SELECT count(*) AS events_in_session FROM events GROUP BY session_id) GROUP BY ALL ORDER BY 1"
    )
    facts = raw.rows(
        "SELECT count(DISTINCT user_id) AS unique_users, count(DISTINCT session_id) AS unique_sessions, "
        "count(*) / count(DISTINCT session_id) AS events_per_session FROM events"
    ).iloc[0]
    words = (
        f"{facts['unique_users']:,} users in {facts['unique_sessions']:,} sessions, "
        f"{facts['events_per_session']:.1f} events each on average."
    )
    counts = {int(row.events_in_session): int(row.session_count) for row in table.itertuples()}
    return _beside(table, count_plot("Length of sessions", "events in a session", counts), words)


def arrival_delay(raw: RawFiles) -> Panel:
    """How long after it happened an event reached the bucket, in steps of ten minutes."""
    table = raw.rows(
        "SELECT (date_diff('second', event_timestamp, arrival) // 600)::INT AS step, count(*) AS line_count "
        "FROM judged WHERE reason IS NULL GROUP BY step ORDER BY step"
    )
    counts = {int(row.step) * 10: int(row.line_count) for row in table.itertuples()}
    total, late = sum(counts.values()), sum(count for start, count in counts.items() if start >= 10)
    words = (
        f"{total - late:,} of {total:,} lines arrive within ten minutes, {late:,} later, the last "
        f"{max(counts) + 10} minutes after the event."
    )
    plot = bar_plot(
        "Delay between event and arrival",
        "lines",
        {f"{start} to {start + 10} min": count for start, count in counts.items()},
    )
    shown = pd.DataFrame(
        {"minutes": [f"{start} to {start + 10}" for start in counts], "line_count": counts.values()}
    )
    return _beside(shown, plot, words)


def duplicates(raw: RawFiles) -> Panel:
    """Lines that repeat an event: in the same file, or in a later one."""
    identity = "user_id, session_id, event_type, product_id, search_query, event_timestamp"
    table = raw.rows(
        "WITH copies AS (SELECT source_file, first_value(source_file) OVER same AS first_file, "
        "row_number() OVER same AS copy FROM judged WHERE reason IS NULL WINDOW same AS ("
        f"PARTITION BY {identity} ORDER BY arrival, source_file "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) "
        "SELECT CASE WHEN copy = 1 THEN 'first delivery' WHEN source_file = first_file "
        "THEN 'copy in the same file' ELSE 'copy in a later file' END AS delivery, count(*) AS line_count "
        "FROM copies GROUP BY ALL ORDER BY line_count DESC"
    )
    copies = {
        name: count for name, count in _pairs(table, "delivery", "line_count").items() if "copy" in name
    }
    words = f"{sum(copies.values()):,.0f} lines repeat an event that was delivered before."
    return _beside(table, bar_plot("Copies", "lines", copies) if copies else "", words)


def bad_lines(raw: RawFiles) -> Panel:
    """Lines that are no valid event: how many for which reason, with an example each."""
    table = raw.rows(
        "SELECT reason, count(*) AS line_count, max(line) AS example FROM judged "
        "WHERE reason IS NOT NULL GROUP BY reason ORDER BY line_count DESC, reason"
    )
    words = (
        f"{plural(int(sum(table['line_count'])), 'line')} cannot be used, for {plural(len(table), 'reason')}."
    )
    plot = (
        bar_plot("Lines that cannot be used", "lines", _pairs(table, "reason", "line_count"))
        if len(table)
        else ""
    )
    content = (
        f'<div>{words}</div><div class="examples">{_text_table(table)}</div><div class="plot">{plot}</div>'
    )
    return Panel(content, words)


def _beside(table: pd.DataFrame, plot: str, words: str) -> Panel:
    left = f"<div>{data_table(table, 20, show_names=False)}</div>"
    return Panel(f'<div>{words}</div><div class="pair">{left}<div class="plot">{plot}</div></div>', words)


def _text_table(table: pd.DataFrame) -> str:
    return f'<div class="lines">{data_table(table, 20, show_names=False)}</div>'


def _pairs(table: pd.DataFrame, name: str, value: str) -> dict[str, float]:
    return {str(key): float(number) for key, number in zip(table[name], table[value], strict=True)}
