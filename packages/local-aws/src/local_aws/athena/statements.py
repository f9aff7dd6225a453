"""What a statement asks for, and running it: queries, CREATE TABLE AS, views, and the catalog statements.

A statement that is not served here fails and says so; none succeeds without having been done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ministack.services import athena as ministack_athena
from sqlglot import exp

from local_aws.athena import creation, engine
from local_aws.athena.catalog import Column, Table
from local_aws.athena.engine import Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location, is_hidden
from local_aws.athena.planner import parse, with_parameters
from local_aws.athena.results import Result
from local_aws.athena.types import ResultColumn

_NAME = r"(?:[`\"]?(?P<db>\w+)[`\"]?\.)?[`\"]?(?P<name>\w+)[`\"]?"
_SUPPORTED = (
    "SELECT, WITH, VALUES, CREATE TABLE AS, CREATE EXTERNAL TABLE, CREATE VIEW, CREATE DATABASE, DROP, "
    "SHOW TABLES, SHOW DATABASES, SHOW VIEWS, SHOW COLUMNS, SHOW PARTITIONS, DESCRIBE and MSCK REPAIR TABLE"
)


@dataclass(frozen=True)
class Kind:
    """How Athena classes a statement."""

    statement_type: str
    substatement_type: str

    @property
    def has_csv(self) -> bool:
        """Whether the result is a CSV object with a header (DML), not a plain text one."""
        return self.statement_type == "DML"


def classify(text: str) -> Kind:
    """The class of a statement by its first words; it need not be valid."""
    words = re.findall(r"[A-Za-z_]+", _without_comments(text).lstrip("( \t\r\n").upper()[:400])
    first = words[0] if words else ""
    if first in ("SELECT", "WITH", "VALUES", "TABLE"):
        return Kind("DML", "SELECT")
    if first in ("INSERT", "DELETE", "UPDATE", "MERGE", "UNLOAD"):
        return Kind("DML", first)
    if first == "CREATE" and "TABLE" in words[1:4] and "AS" in words and "EXTERNAL" not in words[1:3]:
        return Kind("DDL", "CREATE_TABLE_AS_SELECT")
    if first in ("CREATE", "DROP", "ALTER", "MSCK"):
        return Kind("DDL", "_".join(words[:2]))
    return Kind("UTILITY", "_".join(words[:2]))


def run(text: str, parameters: list[str], session: Session, query_id: str, output: Location) -> Result:
    """Run one statement. Raises QueryFailed or QueryCancelled.

    `output` is where the workgroup wants results; CREATE TABLE AS puts its data there unless told otherwise.
    """
    plain = _without_comments(text).strip().rstrip(";").strip()
    for pattern, handler in _UTILITIES:
        match = re.fullmatch(pattern, plain, re.IGNORECASE | re.DOTALL)
        if match:
            return handler(match, session)
    if re.match(r"CREATE\s+EXTERNAL\s+TABLE\b", plain, re.IGNORECASE):
        return _create_external_table(plain, session)
    statement = parse(text)
    if parameters:
        statement = with_parameters(statement, parameters)
    if isinstance(statement, exp.Query | exp.Values):
        return engine.select(statement, session)
    if isinstance(statement, exp.Create) and statement.expression:
        if statement.kind == "TABLE":
            return creation.create_table_as(statement, session, query_id, output)
        if statement.kind == "VIEW":
            return creation.create_view(statement, session)
    word = re.match(r"\w+(?:\s+\w+)?", plain)
    raise QueryFailed(
        "NOT_SUPPORTED",
        f"{word.group().upper() if word else 'this statement'} is not supported by the embedded Athena, "
        f"which runs {_SUPPORTED}",
    )


def _without_comments(text: str) -> str:
    """The text without its comments; quoted text stays whole."""
    return re.sub(
        r"('(?:[^']|'')*'|\"[^\"]*\")|--[^\n]*|/\*.*?\*/", lambda m: m.group(1) or " ", text, flags=re.DOTALL
    )


def _listing(column: str, values: list[str]) -> Result:
    return Result([ResultColumn(column, "string")], [(value,) for value in values])


_DONE = Result([], [])


def _like(values: list[str], pattern: str | None) -> list[str]:
    """The values that match a Hive pattern: a regular expression in which `*` means anything."""
    if pattern is None:
        return values
    regex = pattern.strip("'\"").replace(".*", "*").replace("*", ".*")
    return [value for value in values if re.fullmatch(regex, value, re.IGNORECASE)]


def _show_databases(match: re.Match[str], session: Session) -> Result:
    return _listing("database_name", _like(session.catalog.databases(), match.group("like")))


def _show_tables(match: re.Match[str], session: Session) -> Result:
    tables = session.catalog.tables((match.group("db") or session.database).lower())
    if match.group("what").upper() == "VIEWS":
        tables = [table for table in tables if table.is_view]
    return _listing("tab_name", _like([table.name for table in tables], match.group("like")))


def _table_of(match: re.Match[str], session: Session) -> Table:
    database = match.group("db") or match.groupdict().get("in_db") or session.database
    return session.catalog.table(database.lower(), match.group("name").lower())


def _show_columns(match: re.Match[str], session: Session) -> Result:
    return _listing("field", [column.name for column in _table_of(match, session).all_columns])


def _show_partitions(match: re.Match[str], session: Session) -> Result:
    table = _table_of(match, session)
    if not table.partition_keys:
        raise QueryFailed("HIVE_METASTORE_ERROR", f"Table {table.name} is not a partitioned table")
    names = [key.name for key in table.partition_keys]
    return _listing(
        "partition",
        sorted(
            "/".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
            for values, _ in session.catalog.partitions(table)
        ),
    )


def _describe(match: re.Match[str], session: Session) -> Result:
    """Columns, then partition columns again under a heading, tab-separated and padded as Hive prints them."""
    table = _table_of(match, session)
    lines = [_describe_line(column) for column in table.all_columns]
    if table.partition_keys:
        heading = [
            "",
            "# Partition Information",
            f"{'# col_name':<20}\t{'data_type':<20}\t{'comment':<20}",
            "",
        ]
        lines += [f"{line}\t \t " if not line.startswith("# col") else line for line in heading]
        lines += [_describe_line(key) for key in table.partition_keys]
    columns = [ResultColumn(name, "string") for name in ("col_name", "data_type", "comment")]
    return Result(columns, [(line,) for line in lines])


def _describe_line(column: Column) -> str:
    return f"{column.name:<20}\t{column.type:<20}\t{column.comment:<20}"


def _create_database(match: re.Match[str], session: Session) -> Result:
    name = match.group("name").lower()
    if name in session.catalog.databases():
        if match.group("exists"):
            return _DONE
        raise QueryFailed("ALREADY_EXISTS", f"Database {name} already exists")
    description = {"Name": name}
    if match.group("comment"):
        description["Description"] = match.group("comment")
    if match.group("location"):
        description["LocationUri"] = match.group("location")
    session.catalog.glue.create_database(DatabaseInput=description)
    return _DONE


def _drop_database(match: re.Match[str], session: Session) -> Result:
    name = match.group("name").lower()
    if name not in session.catalog.databases():
        if match.group("exists"):
            return _DONE
        raise QueryFailed("SCHEMA_NOT_FOUND", f"Schema '{name}' does not exist")
    if session.catalog.tables(name) and not match.group("cascade"):
        raise QueryFailed("SCHEMA_NOT_EMPTY", f"Database {name} is not empty. One or more tables exist.")
    session.catalog.glue.delete_database(Name=name)
    return _DONE


def _drop_table(match: re.Match[str], session: Session) -> Result:
    """Drop a table or a view from the catalog; its data stays, as on Athena."""
    try:
        table = _table_of(match, session)
    except QueryFailed as error:
        if match.group("exists") and error.code in ("TABLE_NOT_FOUND", "SCHEMA_NOT_FOUND"):
            return _DONE
        raise
    if table.is_view != (match.group("what").upper() == "VIEW"):
        raise QueryFailed("TABLE_NOT_FOUND", f"'{table.name}' is a {'view' if table.is_view else 'table'}")
    session.catalog.glue.delete_table(DatabaseName=table.database, Name=table.name)
    return _DONE


def _create_external_table(text: str, session: Session) -> Result:
    """CREATE EXTERNAL TABLE by MiniStack's own parser of Hive DDL."""
    statement = ministack_athena._parse_ddl(text)
    if not isinstance(statement, ministack_athena._CreateTable):
        raise QueryFailed("SYNTAX_ERROR", "CREATE EXTERNAL TABLE with a clause that is not understood")
    database = statement.database or session.database
    if statement.if_not_exists and any(t.name == statement.table for t in session.catalog.tables(database)):
        return _DONE
    session.catalog.create_table(database, ministack_athena._create_table_input(statement))
    return _DONE


def _repair(match: re.Match[str], session: Session) -> Result:
    """MSCK REPAIR TABLE: register the partitions whose Hive-style folders hold objects."""
    table = _table_of(match, session)
    location = Location.parse(table.location, f"Table '{table.database}.{table.name}'")
    folders = "/".join(f"{re.escape(key.name)}=([^/]+)" for key in table.partition_keys)
    pattern = re.compile(f"{re.escape(location.prefix)}({folders})/(.*)")
    known = {values for values, _ in session.catalog.partitions(table)}
    found: dict[tuple[str, ...], str] = {}
    for item in session.store.list(location):
        place = pattern.match(item.key)
        if place and not is_hidden(place.groups()[-1]):
            found[place.groups()[1:-1]] = place.group(1)
    added = sorted(set(found) - known)
    for values in added:
        url = f"s3://{location.bucket}/{location.prefix}{found[values]}/"
        session.catalog.add_partition(table, values, url)
    lines = [f"Partitions not in metastore:\t{table.name}:{found[values]}" for values in added]
    return _listing("result", lines)


_EXISTS = r"(?P<exists>IF\s+(?:NOT\s+)?EXISTS\s+)?"
_IN = r"(?:\s+(?:IN|FROM)\s+[`\"]?{}[`\"]?)?"
_LIKE = r"(?:\s+(?:LIKE\s+)?(?P<like>'[^']*'))?"

_UTILITIES: tuple[tuple[str, Callable[[re.Match[str], Session], Result]], ...] = (
    (r"SHOW\s+(?:DATABASES|SCHEMAS)" + _LIKE, _show_databases),
    (r"SHOW\s+(?P<what>TABLES|VIEWS)" + _IN.format(r"(?P<db>\w+)") + _LIKE, _show_tables),
    (r"SHOW\s+COLUMNS\s+(?:IN|FROM)\s+" + _NAME + _IN.format(r"(?P<in_db>\w+)"), _show_columns),
    (r"SHOW\s+PARTITIONS\s+" + _NAME, _show_partitions),
    (r"(?:DESCRIBE|DESC)\s+(?:(?:EXTENDED|FORMATTED)\s+)?" + _NAME, _describe),
    (
        r"CREATE\s+(?:DATABASE|SCHEMA)\s+" + _EXISTS + r"[`\"]?(?P<name>\w+)[`\"]?"
        r"(?:\s+COMMENT\s+'(?P<comment>[^']*)')?(?:\s+LOCATION\s+'(?P<location>[^']*)')?",
        _create_database,
    ),
    (
        r"DROP\s+(?:DATABASE|SCHEMA)\s+"
        + _EXISTS
        + r"[`\"]?(?P<name>\w+)[`\"]?(?:\s+(?:(?P<cascade>CASCADE)|RESTRICT))?",
        _drop_database,
    ),
    (r"DROP\s+(?P<what>TABLE|VIEW)\s+" + _EXISTS + _NAME, _drop_table),
    (r"MSCK\s+REPAIR\s+TABLE\s+" + _NAME, _repair),
)
