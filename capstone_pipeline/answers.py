"""The five questions: read `queries.sql`, ask Athena, show the answer as a table beside its plot."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import awswrangler as wr
import pandas as pd

from capstone_pipeline.errors import InvalidQueryFile, QueryFailed, own_errors
from capstone_pipeline.render import (
    Shown,
    data_table,
    file_size,
    format_value,
    plural,
    printable,
    table_beside_plot,
)
from capstone_pipeline.stack import PROJECT, Connection, StackOutputs

MOST_ROWS = 12
"""Of an answer, where it is shown as text."""

NO_ROWS = "The gold table is empty: no run of the job has filled it yet."

_HEADER = re.compile(r"^--\s*query\s+(\d+)\s*,\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_COMMENT = re.compile(r"^--\s?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Query:
    """One statement of the SQL file, with the title and the explaining comment above it."""

    number: int
    title: str
    comment: str
    sql: str


@dataclass(frozen=True)
class Queries:
    """The statements of the SQL file, by their number."""

    path: Path
    queries: tuple[Query, ...]

    def __getitem__(self, number: int) -> Query:
        """The query that the file calls `number`."""
        for query in self.queries:
            if query.number == number:
                return query
        raise InvalidQueryFile(
            f"{self.path} has no query {number}, only {', '.join(str(q.number) for q in self.queries)}.",
            f"write it under a line `-- query {number}, <title>`.",
        )

    def __iter__(self) -> Iterator[Query]:
        return iter(self.queries)

    def __len__(self) -> int:
        return len(self.queries)


@dataclass(frozen=True, repr=False)
class Answer(Shown):
    """A query and what Athena answered."""

    query: Query
    frame: pd.DataFrame
    scanned_bytes: int
    engine_seconds: float

    def __str__(self) -> str:
        if self.frame.empty:
            return f"{self._title}\n{self._no_rows}"
        shown = self.frame.head(MOST_ROWS).map(lambda value: printable(format_value(value, "text")))
        count = f"{len(shown)} of {plural(len(self.frame), 'row')}" * (len(shown) < len(self.frame))
        return f"{self._title}\n{shown.to_string(index=False)}\n{count}".rstrip()

    def _repr_html_(self) -> str:
        note = f"Athena scanned {file_size(self.scanned_bytes)} in {self.engine_seconds:.1f} s"
        table = f"{data_table(self.frame)}<div class='note'>{html.escape(note)}</div>"
        if self.frame.empty:
            table += f"<div>{self._no_rows}</div>"
        return table_beside_plot(table, self.plot)

    @property
    def plot(self) -> str:
        """The answer as an HTML image; "" where there is nothing to draw."""
        from capstone_pipeline.plots import plot_answer  # Late: a shell shows text, and is ready sooner.

        return plot_answer(self.query.number, self.frame)

    @property
    def _title(self) -> str:
        return f"{self.query.number}. {self.query.title}" if self.query.number else self.query.title

    @property
    def _no_rows(self) -> str:
        return NO_ROWS if self.query.number else "No rows."


def read_queries(path: Path | str = PROJECT / "queries.sql") -> Queries:
    """Split the SQL file into its statements.

    Each stands under a line `-- query N, title`; further comment lines below that explain it; it ends with a
    semicolon.

    Raises
    ------
    InvalidQueryFile
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidQueryFile(
            f"Cannot read {path}: {error.strerror}.", "run the notebook in the folder that holds queries.sql."
        ) from error
    headers = list(_HEADER.finditer(text))
    numbers = [int(header[1]) for header in headers]
    if not numbers or len(set(numbers)) < len(numbers):
        raise InvalidQueryFile(
            f"{path} must hold statements under lines `-- query N, title`, each number once; "
            f"found {f'the numbers {numbers}' if numbers else 'no such line'}.",
            f"correct {path}.",
        )
    ends = [*(header.start() for header in headers[1:]), len(text)]
    queries = tuple(
        _query(path, int(header[1]), header[2], text[header.end() : end])
        for header, end in zip(headers, ends, strict=True)
    )
    return Queries(path, queries)


def run_query(aws: Connection, stack: StackOutputs, query: Query, database: str | None = None) -> Answer:
    """Run one query in Athena, in the stack's workgroup and its gold database, or in another one.

    Decimals come back as `decimal.Decimal` and dates as `datetime.date`: nothing is rounded on the way.

    Raises
    ------
    QueryFailed
        With Athena's reason.
    """
    frame = _read(aws, stack, query, database or stack.gold_database_name)
    statistics = getattr(frame, "query_metadata", {}).get("Statistics", {})
    return Answer(
        query=query,
        frame=frame,
        scanned_bytes=statistics.get("DataScannedInBytes", 0),
        engine_seconds=statistics.get("EngineExecutionTimeInMillis", 0) / 1000,
    )


def ask(aws: Connection, stack: StackOutputs, sql: str, title: str) -> pd.DataFrame:
    """What Athena answers to one statement of ours, in the stack's workgroup and its gold database.

    Parameters
    ----------
    title
        What the statement asks for, to be named where it fails.

    Raises
    ------
    QueryFailed
        With Athena's reason.
    """
    return _read(aws, stack, Query(0, title, "", sql), stack.gold_database_name)


def partition_filter(days: Iterable[date], injected: bool = False) -> str:
    """A condition that lets Athena look at few partitions: the years, months and days that occur.

    injected: for bronze.events, whose years, months and days are strings that every query has to name.
    """
    occurring = set(days)
    if not occurring and not injected:
        return "false"
    conditions = []
    for part, text in (("year", "%Y"), ("month", "%m"), ("day", "%d")):
        if injected:
            values = sorted(f"'{day:{text}}'" for day in occurring) or ["''"]
        else:
            values = [str(value) for value in sorted(getattr(day, part) for day in occurring)]
        conditions.append(f"{part} IN ({', '.join(dict.fromkeys(values))})")
    return " AND ".join(conditions)


def _read(aws: Connection, stack: StackOutputs, query: Query, database: str) -> pd.DataFrame:
    try:
        with own_errors(f"running {_name(query)}"):
            return wr.athena.read_sql_query(
                query.sql,
                database=database,
                workgroup=stack.athena_workgroup_name,
                ctas_approach=False,
                athena_query_wait_polling_delay=0.25,
                boto3_session=aws.session,
            )
    except wr.exceptions.QueryFailed as error:
        raise _query_failed(stack, query, database, str(error)) from error
    except wr.exceptions.QueryCancelled as error:
        raise _query_failed(stack, query, database, f"cancelled: {error}") from error


def _name(query: Query) -> str:
    return f"query {query.number}, {query.title}" if query.number else f"the query for {query.title}"


def _query(path: Path, number: int, title: str, body: str) -> Query:
    comment = " ".join(line.strip() for line in _COMMENT.findall(body))
    sql = _COMMENT.sub("", body).strip()
    if not sql.endswith(";"):
        raise InvalidQueryFile(
            f"Query {number}, {title}, in {path} does not end with a semicolon.", f"add it in {path}."
        )
    return Query(number, title, comment, sql.removesuffix(";").strip())


def _query_failed(stack: StackOutputs, query: Query, database: str, reason: str) -> QueryFailed:
    what = "the query in queries.sql" if query.number else "what it names"
    return QueryFailed(
        f"Athena could not run {_name(query)} (workgroup {stack.athena_workgroup_name}, "
        f"database {database}).\nReason: {reason}",
        f"{_advice(reason, what)}\nThe query was:\n{query.sql}",
    )


def _advice(reason: str, what: str = "the query in queries.sql") -> str:
    """What to do about a query that Athena could not run for this reason."""
    if re.search(r"time ?out|timed out|bytes scanned limit|exhausted resources", reason, re.IGNORECASE):
        return (
            "let the query read less and run the cell again: ask gold before silver, silver before bronze, "
            "and where a table has the columns year, month and day, compare each of them with a number "
            "(year = 2025 AND month = 11 AND day = 18; in bronze.events with a text, '2025', '11', '18'), so "
            "that Athena opens the folders of those days only."
        )
    return f"correct {what} and run the cell again."
