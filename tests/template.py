"""The CloudFormation template as the tests need it: its text, its content, its inline Lambda code.

Deploying it is `tests/test_stack.py`'s affair.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from cfnlint.decode import decode

PATH = Path(__file__).parent.parent / "capstone-starter.cfn.yaml"


def body() -> str:
    """The template as create-stack takes it."""
    return PATH.read_text()


@cache
def _content() -> str:
    template, problems = decode(str(PATH))
    assert not problems, problems
    return json.dumps(template)


def content() -> dict[str, Any]:
    """The template as plain dictionaries, short forms such as !Sub spelled out; a new copy each time."""
    return json.loads(_content())


def resources(resource_type: str) -> dict[str, dict[str, Any]]:
    """The template's resources of a type, by logical id."""
    return {
        name: resource
        for name, resource in content()["Resources"].items()
        if resource["Type"] == resource_type
    }


def inline_code(function: str) -> str:
    """The Python source in the template of the Lambda function with this logical id."""
    return content()["Resources"][function]["Properties"]["Code"]["ZipFile"]


def inline_module(function: str) -> ModuleType:
    """That source, executed as Lambda would import it; set up its environment and clients before."""
    module = ModuleType(function)
    exec(compile(inline_code(function), f"{PATH.name}:{function}", "exec"), module.__dict__)
    return module
