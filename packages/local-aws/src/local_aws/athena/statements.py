"""What a statement asks for, and running it: queries, CREATE TABLE AS, views, and the catalog statements.

A statement that is not served here fails and says so; none succeeds without having been done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import exp

from local_aws.athena import creation, definitions, engine
from local_aws.athena.engine import Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location
from local_aws.athena.planner import parse, with_parameters
from local_aws.athena.results import Result
from local_aws.athena.types import ResultColumn

WRITING = ("CREATE_TABLE_AS_SELECT", "INSERT", "UNLOAD")
"""Statements whose result is what they wrote: a manifest, no rows."""

_SUPPORTED = (
    "SELECT, WITH, VALUES, INSERT INTO, UNLOAD, CREATE TABLE AS, CREATE EXTERNAL TABLE, CREATE VIEW, "
    "CREATE DATABASE, DROP, ALTER TABLE, SHOW, DESCRIBE, MSCK REPAIR TABLE, PREPARE, EXECUTE and EXPLAIN"
)
_ICEBERG = r"(DELETE|UPDATE|MERGE|OPTIMIZE|VACUUM|CREATE\s+TABLE)\b"
_UNLOAD = re.compile(
    r"UNLOAD\s*(?P<query>\(.*\))\s*TO\s*'(?P<url>[^']*)'\s*WITH\s*\((?P<options>.*)\)",
    re.IGNORECASE | re.DOTALL,
)
_VIEW_QUERY = re.compile(r"\bVIEW\s+\S+\s+AS\b\s*(.*?)(?:;\s*)?$", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """How Athena classes a statement."""

    statement_type: str
    substatement_type: str

    @property
    def has_csv(self) -> bool:
        """Whether the result is a CSV object with a header (DML), not a plain text one."""
        return self.statement_type == "DML"

    def result_name(self, query_id: str) -> str:
        """The result object's name below the output location.

        https://docs.aws.amazon.com/athena/latest/ug/querying-finding-output-files.html
        """
        if self.substatement_type == "CREATE_TABLE_AS_SELECT":
            return f"tables/{query_id}"
        if self.substatement_type in WRITING:
            return query_id
        return f"{query_id}.csv" if self.has_csv else f"{query_id}.txt"


def classify(text: str) -> Kind:
    """The class of a statement by its first words; it need not be valid."""
    words = re.findall(r"[A-Za-z_]+", without_comments(text).lstrip("( \t\r\n").upper())
    first = words[0] if words else ""
    if first in ("SELECT", "WITH", "VALUES", "TABLE"):
        return Kind("DML", "SELECT")
    if first in ("INSERT", "DELETE", "UPDATE", "MERGE", "UNLOAD"):
        return Kind("DML", first)
    if first == "CREATE" and "TABLE" in words[1:4] and "AS" in words and "EXTERNAL" not in words[1:3]:
        return Kind("DDL", "CREATE_TABLE_AS_SELECT")
    if first in ("CREATE", "DROP", "ALTER", "MSCK"):
        what = [word for word in words[1:] if word not in ("OR", "REPLACE", "EXTERNAL")]
        return Kind("DDL", "_".join([first, *what[:1]]))
    return Kind("UTILITY", "_".join(words[:2]) if first == "SHOW" else first)


def run(text: str, parameters: list[str], session: Session, query_id: str, output: Location | None) -> Result:
    """Run one statement. Raises QueryFailed or QueryCancelled.

    `output` is where the workgroup wants results, None where Athena manages them; CREATE TABLE AS puts its
    data there unless told otherwise.
    """
    plain = without_comments(text)
    done = definitions.run(plain, session)
    if done is not None:
        return done
    unloading = _UNLOAD.fullmatch(plain)
    explained = re.match(r"EXPLAIN\b(?:\s*\(\s*FORMAT\s+TEXT\s*\))?(.*)", plain, re.IGNORECASE | re.DOTALL)
    if unloading:
        text = f"CREATE TABLE unloaded WITH ({unloading['options']}) AS {unloading['query']}"
    elif explained:
        text = _explained_query(explained[1])
    statement = parse(text)
    if parameters:
        statement = with_parameters(statement, parameters)
    if isinstance(statement, exp.Query | exp.Values):
        return _explain(statement, session) if explained else engine.select(statement, session)
    if isinstance(statement, exp.Insert) and not explained:
        return creation.insert(statement, session, query_id)
    if isinstance(statement, exp.Create) and statement.expression and not explained:
        if unloading:
            location = Location.parse(unloading["url"], "TO of UNLOAD")
            return creation.unload(statement, location, session, query_id)
        if statement.kind == "TABLE":
            return creation.create_table_as(statement, session, query_id, output)
        if statement.kind == "VIEW":
            return creation.create_view(statement, _view_query(text, statement), session)
    word = re.match(r"\w+(?:\s+\w+)?", plain)
    iceberg = re.match(_ICEBERG, plain, re.IGNORECASE)
    if iceberg:
        raise QueryFailed(
            "NOT_SUPPORTED",
            f"{iceberg[1].upper()} is for Iceberg tables, which the embedded Athena does not have; use "
            "CREATE EXTERNAL TABLE or CREATE TABLE AS, INSERT INTO, and DROP TABLE",
        )
    raise QueryFailed(
        "NOT_SUPPORTED",
        f"{word.group().upper() if word else 'this statement'} is not supported by the embedded Athena, "
        f"which runs {_SUPPORTED}",
    )


def _explained_query(text: str) -> str:
    """The query behind EXPLAIN. Raises QueryFailed for options other than FORMAT TEXT, and for ANALYZE."""
    option = re.match(r"\s*(ANALYZE\b|\(\s*(?:FORMAT|TYPE)\s+\w+)", text, re.IGNORECASE)
    if option:
        raise QueryFailed(
            "NOT_SUPPORTED", f"EXPLAIN {option[1].lstrip('( ').upper()}; use EXPLAIN, which answers in text"
        )
    return text


def _explain(query: exp.Expr, session: Session) -> Result:
    """The plan as text, a line a row: DuckDB's, as it is DuckDB that runs the query."""
    with engine.relation(query, session) as prepared:
        lines = prepared.relation.explain().splitlines()
    # Athena's answer has the column's name as its first row, too, as dbt-athena's tests show.
    column = ResultColumn("Query Plan", "varchar", 2147483647)
    return Result([column], [(line,) for line in (column.name, *lines)])


def _view_query(text: str, statement: exp.Create) -> str:
    """The view's query as it was written; from the parsed statement where the text is not found."""
    found = _VIEW_QUERY.search(text)
    return found[1] if found else statement.expression.sql("athena")


def without_comments(text: str) -> str:
    """The statement without comments, and without a semicolon at its end; quoted text stays whole."""
    quoted_or_comment = r"('(?:[^']|'')*'|\"[^\"]*\")|--[^\n]*|/\*.*?\*/"
    plain = re.sub(quoted_or_comment, lambda match: match.group(1) or " ", text, flags=re.DOTALL)
    return plain.strip().rstrip(";").strip()
