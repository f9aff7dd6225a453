"""Athena's SQL as sqlglot parses it, with what sqlglot drops: the names of functions as they are written."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp
from sqlglot.dialects.athena import Athena
from sqlglot.dialects.trino import Trino
from sqlglot.parsers.athena import AthenaParser, AthenaTrinoParser
from sqlglot.tokens import Token

from local_aws.athena.types import decimal_type

FUNCTION_NAME = "athena_function"
"""Key of a call's `meta`: the function's name as the statement spells it."""

_PASSED_THROUGH = frozenset(
    "array_distinct array_except array_intersect array_max array_min array_remove array_union arrays_overlap"
    " contains date_format date_parse format_datetime from_unixtime json_array_length json_extract"
    " json_extract_scalar json_format json_query json_value parse_datetime reverse sha1"
    " to_base".upper().split()
)
"""Functions that `functions` translates by name, from the arguments as written."""

_MODIFIERS = (exp.Window, exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.WithinGroup)


class _Trino(Trino):
    INDEX_OFFSET = 0
    """Subscripts stay as written: before types are known, an index and a map's key look the same."""


class _Parser(AthenaTrinoParser):
    FUNCTIONS: ClassVar = {
        **{k: v for k, v in AthenaTrinoParser.FUNCTIONS.items() if k not in _PASSED_THROUGH},
        "LOWER": exp.Lower.from_arg_list,  # sqlglot's own make one function of LOWER(TO_HEX(...)).
        "UPPER": exp.Upper.from_arg_list,
    }
    FUNCTION_PARSERS: ClassVar = {
        k: v for k, v in AthenaTrinoParser.FUNCTION_PARSERS.items() if k not in _PASSED_THROUGH
    }
    TYPE_LITERAL_PARSERS: ClassVar = {
        **AthenaTrinoParser.TYPE_LITERAL_PARSERS,
        exp.DType.DECIMAL: lambda self, this, to: _decimal_literal(this, to),
    }

    def parse(self, raw_tokens: list[Token], sql: str) -> list[exp.Expr | None]:
        statements = super().parse(raw_tokens, sql)
        for statement in statements:
            for subscript in statement.find_all(exp.Bracket) if statement is not None else ():
                subscript.set("offset", 1)
        return statements

    def _parse_function_call(self, *args: Any, **options: Any) -> exp.Expr | None:
        name = self._curr.text if self._curr else ""
        result = super()._parse_function_call(*args, **options)
        call = result
        while isinstance(call, _MODIFIERS):
            call = call.this
        if call is not None and FUNCTION_NAME not in call.meta:
            call.meta[FUNCTION_NAME] = name.lower()
        return result


def _decimal_literal(text: exp.Expr, to: exp.DataType) -> exp.Cast:
    """DECIMAL '1.23': as many digits as are written."""
    if not to.expressions:
        whole, _, fraction = text.name.strip().lstrip("+-").partition(".")
        to = decimal_type(max(len(whole.lstrip("0")) + len(fraction), 1), len(fraction))
    return exp.Cast(this=text, to=to)


class _AthenaParser(AthenaParser):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._trino_parser = _Parser(
            error_level=self.error_level,
            error_message_context=self.error_message_context,
            max_errors=self.max_errors,
            dialect=_Trino(),
        )


class AthenaStatements(Athena):
    """The dialect to parse statements with; `athena` itself writes them."""

    PSEUDOCOLUMNS = {"$PATH"}  # noqa: RUF012
    EXCLUDES_PSEUDOCOLUMNS_FROM_STAR = True
    SUPPORTS_NULL_TYPE = True
    """NULL has a type, which Trino calls unknown: it is known to be that."""

    Parser = _AthenaParser
