"""What a program writes into the documents is what it computes now, and goes where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.parts import PARTS
from benchmarks.results import Result, load
from capstone_pipeline.errors import PipelineError
from tests.docs.commands import ROOT
from tools.__main__ import main
from tools.cost import MeasurementsMissing
from tools.documents import block, block_names, computed_blocks, update_documents, with_blocks
from tools.markdown import markdown_table

DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
COMPUTED = ["targets", "conditions", *PARTS, "monthly_cost", "run_frequency", "scaling"]


@pytest.fixture(scope="module")
def computed() -> dict[str, str]:
    """What the blocks have to show; nothing, where not everything that they need was measured."""
    try:
        return computed_blocks()
    except MeasurementsMissing:
        return dict.fromkeys(COMPUTED, "")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_shows_what_the_results_give_now(path: Path, computed: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    assert with_blocks(text, computed) == text, "run `make docs`"


def test_every_computed_block_has_its_place_in_one_document(computed: dict[str, str]) -> None:
    names = [name for path in DOCUMENTS for name in block_names(path.read_text(encoding="utf-8"))]
    assert sorted(computed) == sorted(COMPUTED)
    assert [name for name in COMPUTED if names.count(name) != 1] == []


def test_only_the_named_block_is_replaced() -> None:
    end = "<!-- end generated -->\n"
    text = f"# A\n\n<!-- generated: a -->\nold\n{end}\n<!-- generated: b -->\n{end}"
    updated = with_blocks(text, {"a": "new\nlines\n"})
    assert block(updated, "a") == "new\nlines\n"
    assert block(updated, "b") == ""
    assert updated.replace("new\nlines", "old") == text
    assert with_blocks(updated, {"a": "new\nlines"}) == updated


def test_a_content_without_a_place_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n")
    with pytest.raises(PipelineError, match=r"No document in .* has a block for lost"):
        update_documents({"lost": "x"}, tmp_path)


def test_only_documents_that_change_are_written(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.md").write_text(f"<!-- generated: {name} -->\nx\n<!-- end generated -->\n")
    assert update_documents({"a": "x", "b": "y"}, tmp_path) == [tmp_path / "b.md"]
    assert (tmp_path / "b.md").read_text() == "<!-- generated: b -->\ny\n<!-- end generated -->\n"


def test_a_table_has_its_numbers_on_the_right_and_nothing_for_none() -> None:
    table = markdown_table(["name", "count"], [["a", "1,000"], ["b", None]])
    assert table == "| name | count |\n|---|--:|\n| a | 1,000 |\n| b |  |"


def test_the_command_says_which_documents_it_wrote(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Not into the checkout, where another test looks at the plots meanwhile.
    drawn = list[dict[str, Result]]()
    monkeypatch.setattr("benchmarks.page.draw_plots", drawn.append)
    monkeypatch.setattr("tools.documents.computed_blocks", lambda: {})
    assert main(["docs"]) == 0
    assert capsys.readouterr().out == "All documents are up to date.\n"
    assert drawn == [load()]
