"""COMPLETION_SUMMARY.md and the links of all documents: what they name exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.commands import ROOT, document

SUMMARY = document("docs/COMPLETION_SUMMARY.md")
NAMED_TESTS = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)`", SUMMARY)))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@cache
def functions_in(file_name: str) -> set[str]:
    """The names of the test functions in the one test file of this name."""
    (path,) = (ROOT / "tests").rglob(file_name)
    functions = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in functions if isinstance(node, ast.FunctionDef)}


def headings(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize(("file_name", "function"), NAMED_TESTS, ids=lambda name: name)
def test_a_test_that_the_summary_names_exists(file_name: str, function: str) -> None:
    assert function in functions_in(file_name)


def test_every_line_of_the_assignment_and_description_names_a_proof_or_a_document() -> None:
    rows = re.findall(r"^\| (?!Asked|-)(.*?) \|(.*)\|$", SUMMARY.split("### Its future")[0], re.MULTILINE)
    assert len(rows) > 25
    unproved = [
        asked for asked, rest in rows if "::" not in rest and "](" not in rest and "the same" not in rest
    ]
    assert unproved == ["Check"]  # the header of the validation checklist


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        file_name, _, anchor = target.partition("#")
        linked = (path.parent / file_name).resolve() if file_name else path
        assert linked.exists(), f"{path.name} links to {target}"
        if anchor:
            assert anchor in headings(linked.read_text(encoding="utf-8")), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_two_documents_share_a_paragraph(path: Path) -> None:
    """A fact stands in one document; the others link to it."""

    def paragraphs(of: Path) -> set[str]:
        prose = re.sub(r"```.*?```", "", of.read_text(encoding="utf-8"), flags=re.DOTALL)
        return {part.strip() for part in prose.split("\n\n") if len(part.strip()) > 80}

    for other in DOCUMENTS:
        if other != path:
            assert paragraphs(path) & paragraphs(other) == set()
