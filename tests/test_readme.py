"""What README.md and docs/ name exists. `tests/docs/test_documented_commands.py` runs their commands."""

from __future__ import annotations

import re

import capstone_pipeline
from notebooks import quality, validation
from tests.docs.commands import ROOT, document, section

README, RECIPES = document("README.md"), document("docs/RECIPES.md")
TEXTS = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))]


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = re.sub(r"\bmake (?:-s|[A-Z_]+=\S+) ", "make ", "\n".join(TEXTS))
    assert set(re.findall(r"(?:^|`|\$\()make ([a-z-]+)", text, re.MULTILINE)) <= targets


def test_every_path_that_is_named_exists() -> None:
    first_cells = re.findall(r"^\| (`[^|]+) \|", section(README, "What is where"), re.MULTILINE)
    paths = {path for cell in first_cells for path in re.findall(r"`([^`]+)`", cell)}
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_error_that_is_explained_exists() -> None:
    named = re.findall(r"^\| `([A-Z]\w+)` \|", section(README, "When something goes wrong"), re.MULTILINE)
    assert len(named) >= 8
    known = {*vars(capstone_pipeline), *vars(quality), *vars(validation)}
    assert [name for name in named if name not in known] == []


def test_every_setting_of_notebook_and_stack_exists() -> None:
    notebook = (ROOT / "build_pipeline.ipynb").read_text()
    template = (ROOT / "capstone-starter.cfn.yaml").read_text()
    settings = re.findall(r"^\| (notebook|stack) \| ([^|]+) \|", section(RECIPES, "Settings"), re.MULTILINE)
    assert settings
    for where, names in settings:
        for name in re.findall(r"`(\w+)`", names):
            declared = f'"{name} = ' in notebook if where == "notebook" else f"\n  {name}:\n" in template
            assert declared, f"{where} has no {name}"
