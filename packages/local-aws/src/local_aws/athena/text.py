"""Fields of delimited text as DuckDB expressions: how Hive's LazySimpleSerDe and OpenCSVSerde read a type."""

from __future__ import annotations

from sqlglot import exp

from local_aws.athena.catalog import Table


def is_lazy(table: Table) -> bool:
    """Whether LazySimpleSerDe reads the table: it knows NULL, and values within values."""
    return "opencsv" not in table.serde.lower()


def null_text(table: Table) -> str:
    """What stands for NULL in LazySimpleSerDe's text."""
    return table.serde_parameters.get("serialization.null.format", "\\N")


def plain_value(field: str, data_type: exp.DataType, table: Table) -> str:
    """A field of OpenCSVSerde; NULL where it is no value of the type."""
    return f"TRY_CAST({field} AS {data_type.sql('duckdb')})"


def lazy_value(field: str, data_type: exp.DataType, table: Table) -> str:
    r"""A field of LazySimpleSerDe: NULL is `\N` or what is no value of the type; binary is base64.

    Values within values are split by `collection.delim`, `mapkey.delim`, then by Ctrl-D and onwards:
    https://cwiki.apache.org/confluence/display/hive/languagemanual+ddl ("Row Formats & SerDe").
    """
    settings = table.serde_parameters
    separators = [settings.get("collection.delim", "\x02"), settings.get("mapkey.delim", "\x03")]
    separators += [chr(code) for code in range(4, 9)]
    return _value(field, data_type, separators, null_text(table))


def _value(text: str, data_type: exp.DataType, separators: list[str], null: str) -> str:
    engine_type = data_type.sql("duckdb")
    known = f"NULLIF({text}, {_literal(null)})"
    parts = f"string_split({known}, {_literal(separators[0])})"
    name = f"v{len(separators)}"
    if data_type.is_type(exp.DType.BINARY, exp.DType.VARBINARY):
        return f"TRY(from_base64({known}))"
    if data_type.is_type(exp.DType.ARRAY, exp.DType.LIST):
        item = _value(name, data_type.expressions[0], separators[1:], null)
        filled = f"list_transform({parts}, lambda {name}: {item})"
        return f"CASE WHEN {text} = '' THEN CAST([] AS {engine_type}) ELSE {filled} END"
    if data_type.is_type(exp.DType.MAP):
        key_and_value = [
            _value(f"split_part({name}, {_literal(separators[1])}, {place})", child, separators[2:], null)
            for place, child in enumerate(data_type.expressions, start=1)
        ]
        entry = f"{{'k': {key_and_value[0]}, 'v': {key_and_value[1]}}}"
        filled = f"map_from_entries(list_transform({parts}, lambda {name}: {entry}))"
        return f"CASE WHEN {text} = '' THEN CAST(MAP {{}} AS {engine_type}) ELSE {filled} END"
    if data_type.is_type(exp.DType.STRUCT):
        members = [
            (member.name, _value(f"{parts}[{place}]", member.args["kind"], separators[1:], null))
            for place, member in enumerate(data_type.expressions, start=1)
        ]
        filled = ", ".join(f"{_literal(key)}: {value}" for key, value in members)
        return f"CASE WHEN {known} IS NOT NULL THEN CAST({{{filled}}} AS {engine_type}) END"
    return f"TRY_CAST({known} AS {engine_type})"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
