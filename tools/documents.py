"""The parts of the documents that a program writes: sample answers, measurements, costs, scaling arithmetic.

A document has `<!-- generated: name -->` and `<!-- end generated -->` on lines of their own; `make docs` puts
what it computes in between. Not for single measured figures: those are `tools/figures.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from benchmarks import page
from benchmarks.results import load
from capstone_pipeline.answers import Query, read_queries, run_query
from capstone_pipeline.errors import PipelineError
from capstone_pipeline.shop import Shop
from capstone_pipeline.stack import connect, read_stack
from notebooks import more_answers
from tools import cost
from tools.markdown import markdown_table

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_ROWS = 5

_BLOCK = re.compile(r"^<!-- generated: (\w+) -->\n(.*?)^<!-- end generated -->$", re.DOTALL | re.MULTILINE)


def computed_blocks() -> dict[str, str]:
    """The blocks that follow from the committed benchmark results. Raises cost.MeasurementsMissing."""
    measured = cost.read_measurements()
    return {
        **page.blocks(load()),
        "monthly_cost": cost.monthly_table(measured),
        "run_frequency": cost.frequency_table(measured),
        "scaling": cost.scaling_table(measured),
    }


def answer_blocks(student_id: str, region: str) -> dict[str, str]:
    """A sample of each answer, asked of a deployed stack that holds `sample-data/`."""
    aws = connect(region)
    stack = read_stack(aws, f"capstone-{student_id}")
    queries = read_queries(ROOT / "queries.sql")
    five = {table_of(query): sample_answer(run_query(aws, stack, query).frame) for query in queries}
    shop = Shop(aws, stack)
    days = more_answers.days_to_look_at(shop)
    asked = [more_answers.ask(shop, query, *days) for query in read_queries(more_answers.QUERIES)]
    return five | {
        block_of(answer.query): f"```sql\n{answer.query.sql}\n```\n\n{sample_answer(answer.frame)}"
        for answer in asked
    }


def table_of(query: Query) -> str:
    """The gold table that a statement of queries.sql reads."""
    (table,) = re.findall(r"\bFROM (\w+)", query.sql)
    return table


def block_of(query: Query) -> str:
    """The name of the block that shows a statement of more_answers.sql and its answer."""
    return query.title.replace(" ", "_")


def block_names(text: str) -> list[str]:
    """The names of the generated blocks of a document, in their order."""
    return [match[1] for match in _BLOCK.finditer(text)]


def block(text: str, name: str) -> str:
    """What a document shows in its generated block of this name."""
    return next(match[2] for match in _BLOCK.finditer(text) if match[1] == name)


def with_blocks(text: str, contents: Mapping[str, str]) -> str:
    """The text with the named blocks replaced; blocks that are not among `contents` stay as they are."""

    def replaced(match: re.Match[str]) -> str:
        content = contents.get(match[1])
        if content is None:
            return match[0]
        lines = [f"<!-- generated: {match[1]} -->", *content.splitlines(), "<!-- end generated -->"]
        return "\n".join(lines)

    return _BLOCK.sub(replaced, text)


def update_documents(contents: Mapping[str, str], folder: Path = ROOT / "docs") -> list[Path]:
    """Write the contents into the blocks of all documents in the folder; returns the documents that changed.

    Raises PipelineError for a content that no document has a block for.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}
    known = {name for text in texts.values() for name in block_names(text)}
    if unknown := sorted(set(contents) - known):
        raise PipelineError(
            f"No document in {folder} has a block for {', '.join(unknown)}.",
            "add it, each marker on a line of its own:\n"
            f"  <!-- generated: {unknown[0]} -->\n  <!-- end generated -->",
        )
    changed = []
    for path, text in texts.items():
        updated = with_blocks(text, contents)
        if updated != text:
            path.write_text(updated, encoding="utf-8")
            changed.append(path)
    return changed


def sample_answer(frame: pd.DataFrame) -> str:
    """The first rows of an answer as a table, and how many there are in all."""
    shown = frame.head(SAMPLE_ROWS)
    rows = [[None if pd.isna(value) else value for value in row] for row in shown.itertuples(index=False)]
    table = markdown_table([f"`{name}`" for name in frame.columns], rows)
    return f"{table}\n\nRows in all: {len(frame):,}."
