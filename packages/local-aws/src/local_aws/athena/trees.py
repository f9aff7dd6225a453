"""Surgery on sqlglot's syntax trees that keeps the types that were inferred."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A call of a function of DuckDB, or of one of our macros."""
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def with_modifiers(aggregate: exp.Expr) -> exp.Expr:
    """The aggregate with the FILTER and OVER that belong to it."""
    whole = aggregate
    while isinstance(whole.parent, exp.Filter | exp.Window) and whole.arg_key == "this":
        whole = whole.parent
    return whole


def replace(node: exp.Expr, new: exp.Expr) -> None:
    """Put `new`, which has the node's type, in its place."""
    new.type = node.type
    node.replace(new)


def wrap(node: exp.Expr, wrapper: Callable[[exp.Expr], exp.Expr]) -> None:
    """Put `wrapper(node)`, which has the node's type, in the node's place."""
    placeholder = exp.Placeholder()
    node.replace(placeholder)
    wrapped = wrapper(node)
    wrapped.type = node.type
    placeholder.replace(wrapped)


def group(node: exp.Expr) -> exp.Expr:
    """A copy of the operand, in parentheses where it is an operation of its own."""
    copy = node.copy()
    return exp.paren(copy, copy=False) if isinstance(copy, exp.Binary | exp.Case | exp.If) else copy
