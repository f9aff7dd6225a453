"""Statements that write a query's rows: CREATE TABLE AS, INSERT INTO, UNLOAD; and CREATE VIEW."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from sqlglot import exp

from local_aws.athena import engine
from local_aws.athena.catalog import CATALOG_NAME, Table, view_text
from local_aws.athena.engine import Relation, Session
from local_aws.athena.errors import QueryFailed
from local_aws.athena.partitions import Location, is_projected
from local_aws.athena.results import Result
from local_aws.athena.types import ResultColumn, is_insertable
from local_aws.athena.writing import Layout, Written, write

_HIVE = "org.apache.hadoop.hive."
_TEXT_FORMATS = ("org.apache.hadoop.mapred.TextInputFormat", f"{_HIVE}ql.io.HiveIgnoreKeyTextOutputFormat")
_STORAGE = {
    # format: (input format, output format, SerDe), as Trino's HiveStorageFormat has them.
    "parquet": (
        f"{_HIVE}ql.io.parquet.MapredParquetInputFormat",
        f"{_HIVE}ql.io.parquet.MapredParquetOutputFormat",
        f"{_HIVE}ql.io.parquet.serde.ParquetHiveSerDe",
    ),
    "orc": (
        f"{_HIVE}ql.io.orc.OrcInputFormat",
        f"{_HIVE}ql.io.orc.OrcOutputFormat",
        f"{_HIVE}ql.io.orc.OrcSerde",
    ),
    "json": (*_TEXT_FORMATS, "org.apache.hive.hcatalog.data.JsonSerDe"),
    "textfile": (*_TEXT_FORMATS, f"{_HIVE}serde2.lazy.LazySimpleSerDe"),
}
_INSTEAD = {
    "table_type": "the embedded Athena writes Hive tables only: table_type = 'HIVE'",
    "is_external": "the embedded Athena writes external tables only, as Athena does for Hive tables",
    "bucketed_by": "the embedded Athena writes no buckets; use partitioned_by",
    "bucket_count": "the embedded Athena writes no buckets; use partitioned_by",
}
_COMPRESSION_OPTIONS = ("compression", "write_compression", "parquet_compression", "orc_compression")


@dataclass(frozen=True)
class Options:
    """What WITH (...) says."""

    layout: Layout = field(default_factory=Layout)
    external_location: str | None = None
    has_data: bool = True


def create_table_as(
    statement: exp.Create, session: Session, query_id: str, output: Location | None
) -> Result:
    """CREATE TABLE ... WITH (...) AS: below `external_location`, or below the workgroup's results.

    Raises QueryFailed when the name or the location is taken, and for what `writing` does not write.
    """
    database, name = _target(statement, session)
    options = _options(statement)
    if any(table.name == name for table in session.catalog.tables(database)):
        if statement.args.get("exists"):
            return Result([], [])
        raise QueryFailed("TABLE_ALREADY_EXISTS", f"Table '{CATALOG_NAME}.{database}.{name}' already exists")
    if options.external_location:
        location = Location.parse(options.external_location, f"Table '{name}'")
    elif output:
        location = Location(output.bucket, f"{output.prefix}tables/{query_id}/")
    else:
        raise QueryFailed(
            "INVALID_TABLE_PROPERTY",
            "CREATE TABLE AS in a workgroup with managed query results needs external_location",
        )
    url = f"s3://{location.bucket}/{location.prefix}"
    if session.store.list(location):
        raise QueryFailed(
            "HIVE_PATH_ALREADY_EXISTS",
            f"Target directory for table '{database}.{name}' already exists: {url}",
        )
    written = Written(0, (), {})
    with engine.relation(statement.expression, session) as prepared:
        columns = _named(prepared)
        _check_partition_columns(columns, options.layout)
        if options.has_data:
            written = write(prepared, columns, options.layout, location, session, query_id)
    session.catalog.create_table(database, _table_input(name, columns, url, options.layout))
    for values, place in written.partitions.items():
        session.catalog.add_partition(session.catalog.table(database, name), values, place)
    return _rows_written(prepared, written)


def insert(statement: exp.Insert, session: Session, query_id: str) -> Result:
    """INSERT INTO, by a SELECT or VALUES: more objects in the table's own format; new partitions are added.

    Raises QueryFailed for columns that do not fit, and for tables that are not written.
    """
    target = statement.this
    named = [column.name.lower() for column in target.expressions] if isinstance(target, exp.Schema) else []
    place = target.this if isinstance(target, exp.Schema) else target
    table = session.catalog.table((place.db or session.database).lower(), place.name.lower(), place)
    layout = _layout_of(table)
    with engine.relation(_in_table_order(statement.expression, named, table), session) as prepared:
        _check_insertable(prepared, table)
        columns = [(column.name, column.type) for column in table.all_columns]
        location = Location.parse(table.location, f"Table '{table.database}.{table.name}'")
        written = write(prepared, columns, layout, location, session, query_id)
    known = {values for values, _ in session.catalog.partitions(table)} if table.partition_keys else set()
    for values, url in written.partitions.items():
        if values not in known:
            session.catalog.add_partition(table, values, url)
    return _rows_written(prepared, written)


def unload(statement: exp.Create, location: Location, session: Session, query_id: str) -> Result:
    """UNLOAD (query) TO location WITH (...), given as the CREATE TABLE AS with the same query and options.

    https://docs.aws.amazon.com/athena/latest/ug/unload.html. Raises QueryFailed when the location holds
    objects, unless partitions are written, and for what `writing` does not write.
    """
    options = _options(statement)
    if not options.layout.partitioned_by and session.store.list(location):
        raise QueryFailed(
            "HIVE_PATH_ALREADY_EXISTS",
            f"Target directory already exists: s3://{location.bucket}/{location.prefix}; "
            "UNLOAD writes to a location without objects",
        )
    with engine.relation(statement.expression, session) as prepared:
        columns = _named(prepared)
        _check_partition_columns(columns, options.layout)
        written = write(prepared, columns, options.layout, location, session, query_id)
    return _rows_written(prepared, written)


def create_view(statement: exp.Create, query: str, session: Session) -> Result:
    """CREATE [OR REPLACE] VIEW, stored in the catalog as Athena stores it; `query` is the text after AS."""
    database, name = _target(statement, session)
    with engine.relation(statement.expression, session) as prepared:
        columns = _named(prepared)
        types = [(column.name, column.type) for column in prepared.result.columns]
    table_input: dict[str, Any] = {
        "Name": name,
        "TableType": "VIRTUAL_VIEW",
        "Parameters": {"presto_view": "true", "comment": "Presto View"},
        "ViewOriginalText": view_text(query, session.database, types),
        "ViewExpandedText": "/* Presto View */",
        "StorageDescriptor": {"Columns": [{"Name": n, "Type": t} for n, t in columns], "Location": ""},
    }
    existing = {table.name: table for table in session.catalog.tables(database)}
    if name in existing:
        if not statement.args.get("replace") or not existing[name].is_view:
            raise QueryFailed("TABLE_ALREADY_EXISTS", f"'{database}.{name}' already exists")
        session.catalog.glue.delete_table(DatabaseName=database, Name=name)
    session.catalog.create_table(database, table_input)
    return Result([], [])


def _target(statement: exp.Create, session: Session) -> tuple[str, str]:
    target = statement.this
    return (target.db or session.database).lower(), target.name.lower()


def _rows_written(prepared: Relation, written: Written) -> Result:
    scanned = prepared.result.bytes_scanned
    column = ResultColumn("rows", "bigint", 19)
    return Result([column], [], scanned, written.rows, manifest=written.manifest)


def _options(statement: exp.Create) -> Options:
    """What WITH (...) and WITH [NO] DATA ask for. Raises QueryFailed for what is not served."""
    options = Options()
    layout: dict[str, Any] = {}
    properties = statement.args.get("properties")
    for entry in properties.expressions if properties else ():
        name = entry.name.lower()
        if isinstance(entry, exp.FileFormatProperty):
            layout["file_format"] = name
        elif isinstance(entry, exp.PartitionedByProperty):
            layout["partitioned_by"] = tuple(key.name.lower() for key in entry.this.expressions)
        elif isinstance(entry, exp.WithDataProperty):
            options = replace(options, has_data=not entry.args.get("no"))
        elif name in _COMPRESSION_OPTIONS:
            layout["compression"] = entry.args["value"].name.upper()
        elif name == "field_delimiter":
            layout["delimiter"] = entry.args["value"].name
        elif name == "external_location":
            options = replace(options, external_location=entry.args["value"].name)
        elif (name, _word(entry)) not in (("table_type", "HIVE"), ("is_external", "TRUE")):
            advice = _INSTEAD.get(name) or "leave it out"
            raise QueryFailed("NOT_SUPPORTED", f"WITH ({entry.sql('athena')}) is not supported; {advice}")
    return replace(options, layout=Layout(**layout))


def _word(entry: exp.Expr) -> str:
    """The value of a property, a word or a truth, in capitals."""
    value = entry.args.get("value")
    return str(value.this).upper() if isinstance(value, exp.Expr) else ""


def _check_partition_columns(columns: list[tuple[str, str]], layout: Layout) -> None:
    keys = list(layout.partitioned_by)
    names = [name for name, _ in columns]
    if keys and names[-len(keys) :] != keys:
        raise QueryFailed(
            "HIVE_COLUMN_ORDER_MISMATCH",
            "Partition keys must be the last columns in the table and in the same order as the table "
            f"properties: {keys}",
        )
    if keys and len(keys) == len(names):
        raise QueryFailed("INVALID_TABLE_PROPERTY", "Table contains only partition columns")


def _layout_of(table: Table) -> Layout:
    """How INSERT INTO writes to a table. Raises QueryFailed for tables that it does not write to."""
    name = f"'{table.database}.{table.name}'"
    if table.is_view:
        raise QueryFailed("NOT_SUPPORTED", f"Inserting into views is not supported ({name})")
    if is_projected(table) or table.is_bucketed:
        kind = "with partition projection" if is_projected(table) else "with buckets"
        raise QueryFailed("NOT_SUPPORTED", f"INSERT INTO table {name} {kind}; UNLOAD to its location instead")
    for file_format, (_, _, serde) in _STORAGE.items():
        if table.serde == serde or (file_format == "json" and "json" in table.serde.lower()):
            keys = tuple(key.name for key in table.partition_keys)
            delimiter = table.field_delimiter if file_format == "textfile" else "\x01"
            return Layout(file_format, partitioned_by=keys, delimiter=delimiter)
    raise QueryFailed(
        "NOT_SUPPORTED",
        f"INSERT INTO table {name} with SerDe {table.serde}; use Parquet, ORC, JSON or LazySimpleSerDe",
    )


def _in_table_order(query: exp.Expr, named: list[str], table: Table) -> exp.Expr:
    """The query with the table's columns in its order; those that INSERT INTO t (...) leaves out are NULL."""
    if not named:
        return query
    columns = [column.name for column in table.all_columns]
    unknown = [name for name in named if name not in columns]
    if unknown:
        raise QueryFailed(
            "COLUMN_NOT_FOUND", f"Insert column name does not exist in target table: {unknown[0]}"
        )
    alias = exp.TableAlias(
        this=exp.to_identifier("inserted"), columns=[exp.to_identifier(name) for name in named]
    )
    source = (
        exp.Values(expressions=query.expressions, alias=alias)
        if isinstance(query, exp.Values)
        else exp.Subquery(this=query, alias=alias)
    )
    projections = [exp.column(name) if name in named else exp.alias_(exp.null(), name) for name in columns]
    return exp.select(*projections).from_(source)


def _check_insertable(prepared: Relation, table: Table) -> None:
    """Raises QueryFailed where a column does not take what the query gives for it."""
    found = prepared.hive_columns
    expected = table.all_columns
    nulls = [engine_type.id == "null" for engine_type in prepared.relation.types]
    if len(found) != len(expected) or not all(
        is_null or is_insertable(hive_type, column.type)
        for is_null, (_, hive_type), column in zip(nulls, found, expected, strict=True)
    ):
        raise QueryFailed(
            "TYPE_MISMATCH",
            f"Insert query has mismatched column types: Table: [{', '.join(c.type for c in expected)}], "
            f"Query: [{', '.join(hive_type for _, hive_type in found)}]",
        )


def _named(prepared: Relation) -> list[tuple[str, str]]:
    """The columns of the new table. Raises QueryFailed where one has no name of its own, or another's."""
    columns = prepared.hive_columns
    names = [name for name, _ in columns]
    for index, name in enumerate(names):
        if name == f"_col{index}":
            raise QueryFailed("MISSING_COLUMN_NAME", f"Column name not specified at position {index + 1}")
        if name in names[:index]:
            raise QueryFailed("DUPLICATE_COLUMN_NAME", f"Column name '{name}' specified more than once")
        if prepared.relation.types[index].id == "null":
            raise QueryFailed("COLUMN_TYPE_UNKNOWN", f"Column type is unknown: {name}")
    return columns


def _table_input(name: str, columns: list[tuple[str, str]], url: str, layout: Layout) -> dict[str, Any]:
    described = [{"Name": column, "Type": hive_type} for column, hive_type in columns]
    cut = len(described) - len(layout.partitioned_by)
    input_format, output_format, serde = _STORAGE[layout.file_format]
    settings = {"field.delim": layout.delimiter} if layout.file_format == "textfile" else {}
    parameters = {"EXTERNAL": "TRUE", "has_encrypted_data": "false"}
    if layout.file_format != "textfile":
        parameters["classification"] = layout.file_format
    return {
        "Name": name,
        "TableType": "EXTERNAL_TABLE",
        "Parameters": parameters,
        "StorageDescriptor": {
            "Columns": described[:cut],
            "Location": url,
            "InputFormat": input_format,
            "OutputFormat": output_format,
            "SerdeInfo": {"SerializationLibrary": serde, "Parameters": settings},
        },
        "PartitionKeys": described[cut:],
    }
