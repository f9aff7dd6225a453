"""Statements about the catalog: SHOW, DESCRIBE, CREATE and DROP of databases and tables, ALTER, MSCK REPAIR.

Hive's statements have no parser here; each is one pattern in STATEMENTS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ministack.services import athena as ministack_athena

from local_aws.athena.catalog import Column, Table
from local_aws.athena.engine import Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location, Values, is_hidden
from local_aws.athena.results import Result
from local_aws.athena.types import ResultColumn

_NAME = r"(?:[`\"]?(?P<db>\w+)[`\"]?\.)?[`\"]?(?P<name>\w+)[`\"]?"
_PARTITION = re.compile(r"PARTITION\s*\(([^()]*)\)(?:\s*LOCATION\s*'([^']*)')?", re.IGNORECASE)
_KEY_VALUE = re.compile(r"\s*[`\"]?(\w+)[`\"]?\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([\w.-]+))\s*(?:,|$)")


def run(plain: str, session: Session) -> Result | None:
    """Run a statement about the catalog; None when it is another kind. Raises QueryFailed.

    `plain` has no comments and no semicolon.
    """
    for pattern, handler in STATEMENTS:
        match = re.fullmatch(pattern, plain, re.IGNORECASE | re.DOTALL)
        if match:
            return handler(match, session)
    return None


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


def _create_external_table(match: re.Match[str], session: Session) -> Result:
    """CREATE EXTERNAL TABLE by MiniStack's own parser of Hive DDL; it knows no backslash before a quote."""
    statement = ministack_athena._parse_ddl(match.group().replace("\\'", "''"))
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


def _alter_table(match: re.Match[str], session: Session) -> Result:
    """ALTER TABLE: https://docs.aws.amazon.com/athena/latest/ug/ddl-reference.html."""
    table = _table_of(match, session)
    change = match.group("change")
    for pattern, handler in _CHANGES:
        found = re.fullmatch(pattern, change, re.IGNORECASE | re.DOTALL)
        if found:
            handler(found, table, session)
            return _DONE
    raise QueryFailed(
        "NOT_SUPPORTED",
        f"ALTER TABLE {table.name} {' '.join(change.split()[:2]).upper()}; the embedded Athena has "
        "ADD PARTITION, DROP PARTITION, SET LOCATION, SET TBLPROPERTIES, ADD COLUMNS and REPLACE COLUMNS",
    )


def _add_partitions(match: re.Match[str], table: Table, session: Session) -> None:
    known = {values for values, _ in session.catalog.partitions(table)}
    for values, url in _partitions_named(match.group("partitions"), table):
        if values not in known:
            session.catalog.add_partition(table, values, url)
        elif not match.group("exists"):
            raise QueryFailed("ALREADY_EXISTS", f"Partition already exists: {table.name} {list(values)}")


def _drop_partitions(match: re.Match[str], table: Table, session: Session) -> None:
    """The data of a dropped partition stays, as on Athena."""
    known = {values for values, _ in session.catalog.partitions(table)}
    for values, _ in _partitions_named(match.group("partitions"), table):
        if values in known:
            session.catalog.drop_partition(table, values)
        elif not match.group("exists"):
            raise QueryFailed("NOT_FOUND", f"Partition not found: {table.name} {list(values)}")


def _partitions_named(text: str, table: Table) -> list[tuple[Values, str]]:
    """(values, location) of each `PARTITION (key = value, ...) [LOCATION '...']`."""
    rest = _PARTITION.sub("", text).replace(",", "").strip()
    found = []
    for pairs, url in _PARTITION.findall(text):
        given = {name.lower(): a or b or c for name, a, b, c in _KEY_VALUE.findall(pairs)}
        if rest or _KEY_VALUE.sub("", pairs) or set(given) != {key.name for key in table.partition_keys}:
            keys = ", ".join(f"{key.name} = ..." for key in table.partition_keys)
            raise QueryFailed(
                "NOT_SUPPORTED",
                f"{text.strip()}: the embedded Athena takes PARTITION ({keys}) for table {table.name}",
            )
        values = tuple(given[key.name] for key in table.partition_keys)
        folders = "/".join(f"{key.name}={given[key.name]}" for key in table.partition_keys)
        found.append((values, url or f"{table.location.rstrip('/')}/{folders}/"))
    return found


def _set_location(match: re.Match[str], table: Table, session: Session) -> None:
    location = Location.parse(match.group("location"), f"Table '{table.name}'")

    def change(description: dict[str, Any]) -> None:
        description["StorageDescriptor"]["Location"] = f"s3://{location.bucket}/{location.prefix}"

    if not match.group("partition"):
        session.catalog.update_table(table, change)
        return
    for values, _ in _partitions_named(match.group("partition"), table):
        session.catalog.drop_partition(table, values)
        session.catalog.add_partition(table, values, match.group("location"))


def _set_properties(match: re.Match[str], table: Table, session: Session) -> None:
    properties = ministack_athena._property_list(ministack_athena._Cursor(match.group("properties")))
    if properties is None:
        raise QueryFailed("SYNTAX_ERROR", "SET TBLPROPERTIES takes ('key' = 'value', ...)")
    session.catalog.update_table(table, lambda found: found.setdefault("Parameters", {}).update(properties))


def _change_columns(match: re.Match[str], table: Table, session: Session) -> None:
    columns = ministack_athena._column_list(ministack_athena._Cursor(match.group("columns")))
    if not columns:
        raise QueryFailed("SYNTAX_ERROR", f"{match.group('how').upper()} COLUMNS takes (name type, ...)")

    def change(description: dict[str, Any]) -> None:
        storage = description["StorageDescriptor"]
        storage["Columns"] = (storage["Columns"] if match.group("how").upper() == "ADD" else []) + columns

    session.catalog.update_table(table, change)


def _show_properties(match: re.Match[str], session: Session) -> Result:
    parameters = _table_of(match, session).parameters
    key = match.group("key")
    chosen = parameters if key is None else {key: parameters.get(key, "")}
    return _listing("prpt_name", [f"{name}\t{value}" for name, value in chosen.items()])


def _show_create(match: re.Match[str], session: Session) -> Result:
    """SHOW CREATE TABLE as Hive prints it, a line a row; of a view, the statement that makes it."""
    table = _table_of(match, session)
    if table.is_view:
        text = f"CREATE VIEW {table.database}.{table.name} AS\n{table.view_query}"
        return _listing("Create View", text.splitlines())
    if match.group("what").upper() == "VIEW":
        raise QueryFailed("TABLE_NOT_FOUND", f"'{table.database}.{table.name}' is a table, not a view")
    lines = [f"CREATE EXTERNAL TABLE `{table.name}`(", *_column_lines(table.columns)]
    if table.comment:
        lines += ["COMMENT ", f"  {_quoted(table.comment)}"]
    if table.partition_keys:
        lines += ["PARTITIONED BY ( ", *_column_lines(table.partition_keys)]
    if table.is_bucketed:
        names = [
            f"  {name}" + (", " if name != table.bucket_columns[-1] else ") ")
            for name in table.bucket_columns
        ]
        lines += ["CLUSTERED BY ( ", *names, f"INTO {table.number_of_buckets} BUCKETS"]
    lines += ["ROW FORMAT SERDE ", f"  {_quoted(table.serde)} "]
    settings = {k: v for k, v in table.serde_parameters.items() if (k, v) != ("serialization.format", "1")}
    if settings:
        lines += ["WITH SERDEPROPERTIES ( ", *_property_lines(settings, ") ")]
    lines += ["STORED AS INPUTFORMAT ", f"  {_quoted(table.input_format)} "]
    lines += [
        "OUTPUTFORMAT ",
        f"  {_quoted(table.output_format)}",
        "LOCATION",
        f"  {_quoted(table.location)}",
    ]
    if table.parameters:
        lines += ["TBLPROPERTIES (", *_property_lines(table.parameters, ")")]
    return _listing("createtab_stmt", lines)


def _column_lines(columns: tuple[Column, ...]) -> list[str]:
    lines = [
        f"  `{c.name}` {c.type}" + (f" COMMENT {_quoted(c.comment)}" if c.comment else "") for c in columns
    ]
    return [f"{line}, " for line in lines[:-1]] + [f"{lines[-1]})"]


def _property_lines(properties: dict[str, str], end: str) -> list[str]:
    lines = [
        f"  {_quoted(name)}={_quoted(value)}" for name, value in properties.items() if name != "EXTERNAL"
    ]
    return [f"{line}, " for line in lines[:-1]] + [f"{lines[-1]}{end}"] if lines else [end]


def _quoted(text: str) -> str:
    shown = text.replace("\\", "\\\\").replace("'", "\\'").replace("\t", "\\t").replace("\n", "\\n")
    return "'" + shown.replace("\x01", "\\u0001") + "'"


_EXISTS = r"(?P<exists>IF\s+(?:NOT\s+)?EXISTS\s+)?"
_IN = r"(?:\s+(?:IN|FROM)\s+[`\"]?{}[`\"]?)?"
_LIKE = r"(?:\s+(?:LIKE\s+)?(?P<like>'[^']*'))?"

STATEMENTS: tuple[tuple[str, Callable[[re.Match[str], Session], Result]], ...] = (
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
    (r"CREATE\s+EXTERNAL\s+TABLE\b.*", _create_external_table),
    (r"ALTER\s+TABLE\s+" + _NAME + r"\s+(?P<change>.*)", _alter_table),
    (r"SHOW\s+CREATE\s+(?P<what>TABLE|VIEW)\s+" + _NAME, _show_create),
    (r"SHOW\s+TBLPROPERTIES\s+" + _NAME + r"(?:\s*\(\s*'(?P<key>[^']*)'\s*\))?", _show_properties),
    (r"MSCK\s+REPAIR\s+TABLE\s+" + _NAME, _repair),
)

_PARTITIONS = r"(?P<partitions>PARTITION\b.*)"
_CHANGES: tuple[tuple[str, Callable[[re.Match[str], Table, Session], None]], ...] = (
    (r"ADD\s+" + _EXISTS + _PARTITIONS, _add_partitions),
    (r"DROP\s+" + _EXISTS + _PARTITIONS, _drop_partitions),
    (r"(?P<partition>PARTITION\s*\([^()]*\)\s*)?SET\s+LOCATION\s+'(?P<location>[^']*)'", _set_location),
    (r"SET\s+TBLPROPERTIES\s*(?P<properties>\(.*\))", _set_properties),
    (r"(?P<how>ADD|REPLACE)\s+COLUMNS\s*(?P<columns>\(.*\))", _change_columns),
)
