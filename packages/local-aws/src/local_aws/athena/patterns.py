"""Patterns of dates and times as strftime's: MySQL's for date_format, Joda's for format_datetime.

Letters that Trino does not support, and those that strftime cannot do, are refused.
https://trino.io/docs/current/functions/datetime.html, "MySQL date functions" and "Java date functions".
"""

from __future__ import annotations

import re

from sqlglot import exp

from local_aws.athena.errors import QueryFailed

_MYSQL = {
    "a": "%a",
    "b": "%b",
    "c": "%-m",
    "d": "%d",
    "e": "%-d",
    "f": "%f",
    "H": "%H",
    "h": "%I",
    "I": "%I",
    "i": "%M",
    "j": "%j",
    "k": "%-H",
    "l": "%-I",
    "M": "%B",
    "m": "%m",
    "p": "%p",
    "r": "%I:%M:%S %p",
    "S": "%S",
    "s": "%S",
    "T": "%H:%M:%S",
    "v": "%V",
    "W": "%A",
    "x": "%G",
    "Y": "%Y",
    "y": "%y",
    "%": "%%",
}
_NOT_PARSED = "vxy"
"""Of MySQL's letters: weeks, which need each other, and years of two digits, which DuckDB reads otherwise."""

_JODA = {
    "y": "%Y",
    "yy": "%y",
    "yyyy": "%Y",
    "Y": "%Y",
    "YY": "%y",
    "YYYY": "%Y",
    "x": "%G",
    "xxxx": "%G",
    "ww": "%V",
    "M": "%-m",
    "MM": "%m",
    "MMM": "%b",
    "MMMM": "%B",
    "d": "%-d",
    "dd": "%d",
    "D": "%-j",
    "DDD": "%j",
    "e": "%u",
    "E": "%a",
    "EE": "%a",
    "EEE": "%a",
    "EEEE": "%A",
    "a": "%p",
    "H": "%-H",
    "HH": "%H",
    "h": "%-I",
    "hh": "%I",
    "m": "%-M",
    "mm": "%M",
    "s": "%-S",
    "ss": "%S",
    "SSS": "%g",
}
_JODA_NOT_PARSED = ("x", "xxxx", "ww", "yy", "YY", "D", "DDD", "e", "E", "EE", "EEE", "EEEE")


def from_mysql(pattern: exp.Expr, *, parsing: bool = False) -> exp.Literal:
    """The pattern of date_format or date_parse as strftime's. Raises QueryFailed for what is not served."""

    def translate(match: re.Match[str]) -> str:
        letter = match.group(1)
        if letter is None:
            return match.group()
        if letter not in _MYSQL or (parsing and letter in _NOT_PARSED):
            raise _refused(f"%{letter}", pattern)
        return _MYSQL[letter]

    return exp.Literal.string(re.sub("%(.)|[^%]+|%", translate, _text(pattern), flags=re.DOTALL))


def from_joda(pattern: exp.Expr, *, parsing: bool = False) -> exp.Literal:
    """The pattern of format_datetime or parse_datetime as strftime's. Raises QueryFailed as `from_mysql`."""

    def translate(match: re.Match[str]) -> str:
        letters = match.group("letters")
        if letters is None:
            return (match.group("quoted") or ("'" if match.group() == "''" else match.group())).replace(
                "%", "%%"
            )
        if letters not in _JODA or (parsing and letters in _JODA_NOT_PARSED):
            raise _refused(letters, pattern)
        return _JODA[letters]

    tokens = r"''|'(?P<quoted>[^']+)'|(?P<letters>([A-Za-z])\3*)|."
    return exp.Literal.string(re.sub(tokens, translate, _text(pattern), flags=re.DOTALL))


def _text(pattern: exp.Expr) -> str:
    if not pattern.is_string:
        raise QueryFailed(
            "NOT_SUPPORTED", "a pattern that is no literal is not available in the embedded AWS", pattern
        )
    return pattern.name


def _refused(letters: str, pattern: exp.Expr) -> QueryFailed:
    return QueryFailed(
        "NOT_SUPPORTED",
        f"'{letters}' in the pattern '{pattern.name}' is not available in the embedded AWS; "
        "use functions such as year, month, week and day_of_week",
        pattern,
    )
