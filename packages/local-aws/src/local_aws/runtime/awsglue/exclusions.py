"""The connection option `exclusions`: glob patterns of objects that are not to be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

_TOKEN = re.compile(r"\*\*|\\.|\[(?P<not>!?)(?P<set>[^\]]+)\]|.", re.DOTALL)
_MEANING = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}


def excludes(option: str) -> Callable[[str], bool]:
    """Whether a URI is excluded by this JSON list of patterns. Raises ValueError for anything else.

    `*` and `?` stay within a level of folders, `**` does not; `[a-c]`, `[!a-c]`, `{one,other}` and `\\` are
    as in a shell. A pattern has to match the whole of s3://bucket/key.
    """
    patterns = json.loads(option)
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"exclusions must be a JSON list of strings, not {option!r}")
    expressions = [re.compile(_expression(pattern), re.DOTALL) for pattern in patterns]
    return lambda uri: any(expression.fullmatch(uri) for expression in expressions)


def _expression(glob: str) -> str:
    """The regular expression of a glob pattern. Raises ValueError for braces that do not pair."""
    parts, in_braces = [], False
    for token in _TOKEN.finditer(glob):
        text = token[0]
        if text in "{}":
            if in_braces == (text == "{"):
                raise ValueError(f"exclusions: braces in {glob!r} do not pair, or are nested")
            in_braces = not in_braces
        if token["set"]:
            members = re.sub(r"[\\\[&~|^]", r"\\\g<0>", token["set"])
            parts.append(f"(?!/)[{'^' if token['not'] else ''}{members}]")
        elif text == "," and in_braces:
            parts.append("|")
        else:
            parts.append(_MEANING.get(text) or re.escape(text[-1]))
    if in_braces:
        raise ValueError(f"exclusions: braces in {glob!r} do not pair, or are nested")
    return "".join(parts)
