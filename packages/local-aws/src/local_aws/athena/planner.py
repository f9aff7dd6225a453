"""From a parsed query to SQL that DuckDB runs: names resolved, types inferred, table references planned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, OptimizeError, ParseError, SqlglotError, TokenError
from sqlglot.optimizer.pushdown_projections import pushdown_projections
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, traverse_scope
from sqlglot.schema import MappingSchema

from local_aws.athena import lambdas, unnest
from local_aws.athena.catalog import CATALOG_NAME, Catalog, Table
from local_aws.athena.dialect import AthenaStatements
from local_aws.athena.errors import QueryFailed, from_parser
from local_aws.athena.inference import TrinoTypes, is_unknown, is_year_month, type_of
from local_aws.athena.names import require_served
from local_aws.athena.rewrite import rewrite
from local_aws.athena.scan import PATH, Reference
from local_aws.athena.trees import call

DIALECT = "athena"

_SCAN = "athena_scan"
_OUTPUT_NAME = "athena_output_name"
_MAX_VIEW_DEPTH = 20


@dataclass(frozen=True)
class OutputColumn:
    """A column of the result: its name as Athena shows it, and its type as far as it was inferred."""

    name: str
    data_type: exp.DataType | None


@dataclass(frozen=True)
class Plan:
    """What to run: the views of `references` have to exist when `sql` runs."""

    sql: str
    columns: list[OutputColumn]
    references: list[Reference]


def parse(text: str) -> exp.Expr:
    """The one statement in `text`.

    Raises QueryFailed: SYNTAX_ERROR for anything else, and as `names.require_served` for functions.
    """
    try:
        statements = [
            statement for statement in sqlglot.parse(text, read=AthenaStatements) if statement is not None
        ]
    except (ParseError, TokenError) as error:
        raise from_parser(error) from error
    statements = [statement for statement in statements if not isinstance(statement, exp.Semicolon)]
    if len(statements) != 1:
        raise QueryFailed("SYNTAX_ERROR", f"Only one sql statement is allowed. Got {len(statements)}")
    require_served(statements[0])
    return statements[0]


def with_parameters(query: exp.Expr, parameters: list[str]) -> exp.Expr:
    """The query with its `?` replaced by the execution parameters, which are SQL literals."""
    placeholders = [node for node in query.find_all(exp.Placeholder, bfs=False) if not node.this]
    if len(placeholders) != len(parameters):
        raise QueryFailed(
            "INVALID_PARAMETER_USAGE",
            f"Incorrect number of parameters: expected {len(placeholders)} but found {len(parameters)}",
        )
    for placeholder, parameter in zip(placeholders, parameters, strict=True):
        placeholder.replace(_parameter(parameter))
    return query


def _parameter(text: str) -> exp.Expr:
    """An execution parameter: SQL without names in it (a number, DATE '...'), or else text as it stands."""
    try:
        selected = parse(f"SELECT {text}")
    except QueryFailed:
        return exp.Literal.string(text)
    if not isinstance(selected, exp.Select) or len(selected.expressions) != 1 or selected.find(exp.Column):
        return exp.Literal.string(text)
    return selected.expressions[0].unalias()


def plan(query: exp.Expr, database: str, catalog: Catalog) -> Plan:
    """Plan a SELECT (or VALUES, WITH, UNION ...). Raises QueryFailed for what Athena would not accept."""
    query = _as_select(query.copy())
    unnest.name_columns(query)
    _remember_output_names(query)
    _resolve_tables(query, database, catalog)
    lambdas.name_parameters(query)
    schema = _schema_of(query, catalog)
    query = _qualified(query, schema)
    TrinoTypes(schema).annotate(query)
    columns = _output_columns(query)
    references = _references(query, catalog)
    rewrite(query)
    _show_as_text(query)
    try:
        sql = query.sql("duckdb", unsupported_level=ErrorLevel.RAISE)
        return Plan(sql, columns, references)
    except SqlglotError as error:
        raise QueryFailed("NOT_SUPPORTED", str(error)) from error


def _as_select(query: exp.Expr) -> exp.Expr:
    """A bare VALUES as a SELECT, so that every query has projections."""
    if isinstance(query, exp.Values):
        names = [f"_col{index}" for index in range(len(query.expressions[0].expressions))]
        values = exp.Values(
            expressions=query.expressions,
            alias=exp.TableAlias(
                this=exp.to_identifier("t"), columns=[exp.to_identifier(name) for name in names]
            ),
        )
        return exp.select("*").from_(values)
    return query


def _remember_output_names(query: exp.Expr) -> None:
    """Note on each projection the name that Athena shows; None where it makes one up (`_col3`)."""
    for projection in _first_select(query).expressions:
        if projection.is_star:
            continue
        inner = projection.unalias()
        is_named = isinstance(projection, exp.Alias) or isinstance(inner, exp.Column | exp.Dot)
        inner.meta[_OUTPUT_NAME] = projection.alias_or_name if is_named else None


def _first_select(query: exp.Expr) -> exp.Select:
    """The SELECT that names the result's columns."""
    while not isinstance(query, exp.Select):
        if not isinstance(query, exp.SetOperation | exp.Subquery):
            raise QueryFailed("NOT_SUPPORTED", f"{query.key.upper()} is not supported by the embedded Athena")
        query = query.this
    return query


def _resolve_tables(query: exp.Expr, database: str, catalog: Catalog, depth: int = 0) -> None:
    """Give every table of the catalog its full name, and put the query of a view in its place."""
    for source in query.find_all(exp.Table):
        if not isinstance(source.this, exp.Identifier):  # Such as DuckDB's functions that read any file.
            raise QueryFailed(
                "FUNCTION_NOT_FOUND", f"Table function {source.this.sql()} is not registered", source
            )
    for table in _catalog_tables(query):
        name, schema = table.name.lower(), (table.db or database).lower()
        if table.catalog and table.catalog.lower() != CATALOG_NAME:
            raise QueryFailed("CATALOG_NOT_FOUND", f"Catalog '{table.catalog}' does not exist", table)
        if schema == "information_schema":
            raise QueryFailed(
                "NOT_SUPPORTED", "information_schema is not served by the embedded Athena", table
            )
        definition = catalog.table(schema, name, table)
        if definition.is_view:
            _inline_view(table, definition, catalog, depth)
        else:
            table.set("db", exp.to_identifier(schema))
            table.set("catalog", exp.to_identifier(CATALOG_NAME))
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(name)))


def _inline_view(table: exp.Table, definition: Table, catalog: Catalog, depth: int) -> None:
    if depth >= _MAX_VIEW_DEPTH:
        raise QueryFailed("INVALID_VIEW", f"View '{definition.name}' refers to itself", table)
    inner = parse(definition.view_query)
    _resolve_tables(inner, definition.database, catalog, depth + 1)
    subquery = exp.Subquery(
        this=inner, alias=exp.TableAlias(this=exp.to_identifier(table.alias or definition.name))
    )
    subquery.set("joins", table.args.get("joins"))
    root = table.root()
    table.replace(subquery)
    for column in root.find_all(exp.Column):  # `database.view.column`: a subquery has an alias only.
        if (column.db.lower(), column.table.lower()) == (definition.database, definition.name):
            column.set("db", None)
            column.set("catalog", None)


def _catalog_tables(query: exp.Expr) -> list[exp.Table]:
    """The tables that the query reads from the catalog: not the names that its WITH clauses define."""
    found: dict[int, exp.Table] = {}
    for scope in _scopes(query):
        for source in scope.sources.values():
            if isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
                found[id(source)] = source
    return list(found.values())


def _scopes(query: exp.Expr) -> list[Scope]:
    try:
        return traverse_scope(query)
    except OptimizeError as error:
        raise QueryFailed("SYNTAX_ERROR", str(error)) from error


def _schema_of(query: exp.Expr, catalog: Catalog) -> MappingSchema:
    """Columns and types of the tables that the query reads, for sqlglot."""
    schema = MappingSchema(dialect=AthenaStatements)
    for table in _catalog_tables(query):
        definition = catalog.table(table.db, table.name.lower())
        columns = {column.name: column.data_type for column in definition.all_columns}
        schema.add_table(table, columns, dialect=DIALECT)
    return schema


def _qualified(query: exp.Expr, schema: MappingSchema) -> exp.Expr:
    """The query with `*` expanded and every column tied to its table, by Trino's name rules."""
    try:
        query = qualify(
            query,
            schema=schema,
            dialect=AthenaStatements,
            # Trino knows no alias of the same SELECT in WHERE, GROUP BY or HAVING; DuckDB would accept it.
            expand_alias_refs=False,
        )
    except OptimizeError as error:
        raise _unresolved(query, schema, error) from error
    for column in query.find_all(exp.Column):  # `database.table.column`: a scan is known by the table's name.
        column.set("db", None)
        column.set("catalog", None)
    for scope in _scopes(query):
        _qualify_having(scope, schema)
    return query


def _unresolved(query: exp.Expr, schema: MappingSchema, error: OptimizeError) -> QueryFailed:
    """Athena's error for a name that sqlglot could not resolve."""
    match = re.search(r"Column '\"?([^'\"]+)\"?' could not|Unknown column: (\w+)", str(error))
    if match is None:
        return QueryFailed("SYNTAX_ERROR", str(error))
    name = (match.group(1) or match.group(2)).split(".")[-1]
    where = re.search(r"Line: (\d+), Col: (\d+)", str(error))
    candidates = [column for column in query.find_all(exp.Column) if column.name == name]
    exact = [column for column in candidates if where and _ends_at(column, where)]
    node = next(iter(exact or candidates), None)
    for scope in _scopes(query):
        if any(column is node for column in scope.columns) and len(_owners(scope, name, schema)) > 1:
            return QueryFailed("AMBIGUOUS_NAME", f"Column '{name}' is ambiguous", node)
    return _column_not_found(name, node)


def _column_not_found(name: str, node: exp.Expr | None) -> QueryFailed:
    return QueryFailed(
        "COLUMN_NOT_FOUND",
        f"Column '{name}' cannot be resolved or requester is not authorized to access requested resources",
        node,
    )


def _ends_at(column: exp.Column, where: re.Match[str]) -> bool:
    meta = column.this.meta
    return (str(meta.get("line")), str(meta.get("col"))) == where.groups()


def _owners(scope: Scope, name: str, schema: MappingSchema) -> list[str]:
    """The sources of a SELECT that have a column of this name."""
    owners = []
    for alias, (_, source) in scope.selected_sources.items():
        if name in _column_names(source, schema):
            owners.append(alias)
    return owners


def _column_names(source: exp.Table | Scope, schema: MappingSchema) -> list[str]:
    """The columns of a table, or of what stands in FROM in the place of one."""
    if not isinstance(source, Scope):
        return list(schema.column_names(source, dialect=DIALECT))
    if isinstance(source.expression, exp.Values | exp.Unnest | exp.Table):
        return [column.name for column in source.expression.args["alias"].columns]
    return [projection.alias_or_name for projection in _first_select(source.expression).expressions]


def _qualify_having(scope: Scope, schema: MappingSchema) -> None:
    """Tie the columns of HAVING to their tables: sqlglot leaves them, for dialects with aliases there."""
    having = scope.expression.args.get("having")
    for column in list(having.find_all(exp.Column)) if having else ():
        if not column.table and column.find_ancestor(exp.Select) is scope.expression:
            owners = _owners(scope, column.name, schema)
            if not owners:
                raise _column_not_found(column.name, column)
            column.set("table", exp.to_identifier(owners[0], quoted=True))


def _output_columns(query: exp.Expr) -> list[OutputColumn]:
    """Names and types of the result, in order."""
    columns = []
    for index, projection in enumerate(_first_select(query).expressions):
        inner = projection.unalias()
        name = inner.meta.get(_OUTPUT_NAME, projection.alias_or_name)
        columns.append(OutputColumn(name or f"_col{index}", _known_type(projection)))
    if isinstance(query, exp.SetOperation):  # The branches' common type is not on the first of them.
        return [OutputColumn(column.name, None) for column in columns]
    return columns


def _show_as_text(query: exp.Expr) -> None:
    """Show JSON, and intervals of months, which DuckDB would give as 30 days each, in Trino's text."""
    if not isinstance(query, exp.Select):
        return
    for projection in query.expressions:
        inner = projection.unalias()
        if is_year_month(type_of(projection)):
            inner.replace(call("athena_year_month_text", inner))
        elif type_of(projection).this == exp.DType.JSON and inner.name != "athena_json_extract":
            inner.replace(call("athena_json_text", inner))


def _known_type(node: exp.Expr) -> exp.DataType | None:
    return None if is_unknown(type_of(node)) else type_of(node)


def _references(query: exp.Expr, catalog: Catalog) -> list[Reference]:
    """Number every table reference, and point the query at the view that its scan will create."""
    for index, table in enumerate(_catalog_tables(query)):
        table.meta[_SCAN] = f"scan_{index}"
    needed = _used_columns(query)
    with_path = any(column.name.lower() == PATH for column in query.find_all(exp.Column))
    references = []
    for scope in _scopes(query):
        for alias, (_, node) in scope.selected_sources.items():
            if not isinstance(node, exp.Table) or _SCAN not in node.meta:
                continue
            view = node.meta[_SCAN]
            definition = catalog.table(node.db, node.name)
            predicates = tuple(_partition_predicates(scope, alias, definition))
            references.append(
                Reference(view, alias, definition, needed.get(view, frozenset()), predicates, with_path)
            )
    for table in list(query.find_all(exp.Table)):
        if _SCAN in table.meta:
            table.set("this", exp.to_identifier(table.meta[_SCAN], quoted=True))
            table.set("db", None)
            table.set("catalog", None)
    return references


def _used_columns(query: exp.Expr) -> dict[str, frozenset[str]]:
    """The columns that each scan must read once projections that nobody uses are gone."""
    reduced = pushdown_projections(query.copy())
    used = {}
    for scope in _scopes(reduced):
        for alias, (_, source) in scope.selected_sources.items():
            if isinstance(source, exp.Table) and _SCAN in source.meta:
                used[source.meta[_SCAN]] = frozenset(column.name for column in scope.source_columns(alias))
    return used


def _partition_predicates(scope: Scope, alias: str, table: Table) -> Iterator[exp.Expr]:
    """The conditions of a reference's own WHERE that its partition values alone decide."""
    keys = {key.name for key in table.partition_keys}
    if not keys or _is_nullable_side(scope, alias):
        return
    where = scope.expression.args.get("where")
    for part in _conjuncts(where.this if where else None):
        columns = list(part.find_all(exp.Column))
        is_own = all(column.table == alias and column.name in keys for column in columns)
        if columns and is_own and not part.find(exp.Query, exp.Subquery, exp.AggFunc, exp.Anonymous):
            yield part


def _conjuncts(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The parts of a condition that AND joins."""
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    elif isinstance(condition, exp.Paren):
        yield from _conjuncts(condition.this)
    elif condition is not None:
        yield condition


def _is_nullable_side(scope: Scope, alias: str) -> bool:
    """Whether an outer join may add rows without this table: then WHERE must see all its rows."""
    for join in scope.expression.args.get("joins") or ():
        side = (join.side or "").upper()
        if side in ("RIGHT", "FULL") or (side == "LEFT" and join.this.alias_or_name == alias):
            return True
    return False
