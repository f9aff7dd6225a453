"""docs/RECIPES.md: their edits fit the files as they are, and what comes out holds together."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from capstone_pipeline import read_queries

ROOT = Path(__file__).parent.parent.parent
FILES = ("queries.sql", "glue_scripts/capstone_etl.py", "capstone-starter.cfn.yaml")
RECIPES = re.findall(
    r"^## ([^\n]+)\n(?:(?!^## ).)*?```diff\n(.*?)```",
    (ROOT / "docs" / "RECIPES.md").read_text(),
    re.DOTALL | re.MULTILINE,
)


def apply(recipe: str, folder: Path) -> None:
    """Make a recipe's edits: each piece of a file must be found there exactly once."""
    for part in re.split(r"^--- ", recipe, flags=re.MULTILINE)[1:]:
        name, _, edits = part.partition("\n")
        for hunk in edits.split("@@\n"):
            lines = hunk.splitlines()
            old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
            new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
            text = (folder / name).read_text()
            assert text.count(old) == 1, f"{name} has this {text.count(old)} times:\n{old}"
            (folder / name).write_text(text.replace(old, new))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_there_are_three_recipes() -> None:
    assert [title for title, _ in RECIPES] == ["Change a query", "Add a gold table", "Add a field"]


@pytest.mark.parametrize(("title", "recipe"), RECIPES, ids=[title for title, _ in RECIPES])
def test_after_a_recipe_the_files_are_still_what_they_should_be(
    title: str, recipe: str, checkout: Path
) -> None:
    apply(recipe, checkout)
    assert len(read_queries(checkout / "queries.sql")) == 5
    ast.parse((checkout / "glue_scripts" / "capstone_etl.py").read_text())
    template = (checkout / "capstone-starter.cfn.yaml").read_text()
    lint = [sys.executable, "-m", "ruff", "check", "--config", str(ROOT / "pyproject.toml"), "glue_scripts"]
    done = subprocess.run(lint, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert template.count("Type: AWS::Glue::Table\n") == 10 + (title == "Add a gold table")


def test_the_changed_query_is_answered_with_the_new_column(checkout: Path) -> None:
    apply(dict(RECIPES)["Change a query"], checkout)
    query = read_queries(checkout / "queries.sql")[2]
    assert "AS average_purchase" in query.sql
