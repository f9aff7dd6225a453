"""The ETL script in its file and in the notebook's cell: the file is the source, no edit is lost unasked."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from capstone_pipeline import ScriptDiffers
from capstone_pipeline.script_cell import ScriptCell
from tools.__main__ import main
from tools.embed import embed_pictures, embed_script

ONE, TWO = "print(1)\n", "print(2)\nprint(3)\n"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook whose cell holds version ONE, as does the file beside it."""
    path = tmp_path / "pipeline.ipynb"
    # Jupyter saves a cell without the line end at its end.
    cells = [new_markdown_cell("# Title"), new_code_cell(f"%%etl_script etl.py\n{ONE.rstrip()}")]
    nbformat.write(new_notebook(cells=cells), path)
    script_of(path).write_text(ONE)
    return path


def script_of(notebook: Path) -> Path:
    return notebook.with_name("etl.py")


def cell_of(notebook: Path) -> str:
    return nbformat.read(notebook, as_version=4).cells[1].source.partition("\n")[2] + "\n"


# --- Running the cell ---------------------------------------------------------------------------------------


def test_running_the_cell_changes_nothing(notebook: Path) -> None:
    status = ScriptCell(notebook.parent)("etl.py", ONE)
    assert (status.status, status.lines) == ("unchanged", 1)
    assert "is the same as this cell" in status._repr_html_()


def test_where_cell_and_file_differ_both_ways_out_are_named_and_neither_is_taken(notebook: Path) -> None:
    with pytest.raises(ScriptDiffers, match="differ in 3 lines") as caught:
        ScriptCell(notebook.parent)("etl.py", TWO)
    assert "make notebook" in caught.value.next_step
    assert "%etl_script write" in caught.value.next_step
    assert (script_of(notebook).read_text(), cell_of(notebook)) == (ONE, ONE)


def test_the_word_write_takes_the_cell_that_was_run_last_to_its_file(notebook: Path) -> None:
    magic = ScriptCell(notebook.parent)
    script_of(notebook).chmod(0o640)
    with pytest.raises(ScriptDiffers):
        magic("etl.py", TWO)
    assert str(magic("write")) == "etl.py: written"
    assert script_of(notebook).read_text() == TWO
    assert script_of(notebook).stat().st_mode & 0o777 == 0o640
    assert magic("etl.py", TWO).status == "unchanged"


@pytest.mark.parametrize("word", ["write", "", "etl.py"])
def test_nothing_is_written_without_a_cell_or_without_the_word(notebook: Path, word: str) -> None:
    magic = ScriptCell(notebook.parent)
    if word != "write":
        magic("etl.py", ONE)
    with pytest.raises(ScriptDiffers, match="nothing was done"):
        magic(word)


def test_a_missing_file_is_a_difference(notebook: Path) -> None:
    script_of(notebook).unlink()
    magic = ScriptCell(notebook.parent)
    with pytest.raises(ScriptDiffers):
        magic("etl.py", ONE)
    magic("write")
    assert script_of(notebook).read_text() == ONE


def test_the_cell_magic_hands_the_whole_cell_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capstone_pipeline.script_cell.ScriptCell.__init__.__defaults__", (tmp_path,))
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "capstone_pipeline")
    body = 'TEXT = """\n%not_a_magic\n  indented $x {y}\n"""\nBYTES = "\\x01"\n'
    assert not shell.run_cell(f"%%etl_script etl.py\n{body}").success
    assert shell.run_cell("%etl_script write").success
    assert (tmp_path / "etl.py").read_text() == body


# --- make notebook ------------------------------------------------------------------------------------------


def test_an_edited_file_is_taken_into_the_cell_and_nothing_else_changes(notebook: Path) -> None:
    script_of(notebook).write_text(TWO)
    before = json.loads(notebook.read_text())
    assert embed_script(notebook)
    assert cell_of(notebook) == TWO
    after = json.loads(notebook.read_text())
    assert after["cells"][1].pop("source") != before["cells"][1].pop("source")
    assert after == before


def test_a_notebook_that_holds_the_script_is_left_alone(notebook: Path) -> None:
    before = notebook.read_bytes()
    assert not embed_script(notebook)
    assert notebook.read_bytes() == before


def test_a_script_that_does_not_exist_is_named(notebook: Path) -> None:
    script_of(notebook).unlink()
    with pytest.raises(ScriptDiffers, match="does not exist"):
        embed_script(notebook)


def test_a_notebook_without_a_script_cell_is_reported(tmp_path: Path) -> None:
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "other.ipynb")
    with pytest.raises(ScriptDiffers, match="no cell that begins with"):
        embed_script(tmp_path / "other.ipynb")


def test_a_picture_is_taken_into_the_notebook_when_its_file_changes(tmp_path: Path) -> None:
    cell = new_markdown_cell("![flow](attachment:flow.png)", attachments={"flow.png": {"image/png": ""}})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    (tmp_path / "flow.png").write_bytes(b"picture")
    assert embed_pictures(tmp_path / "n.ipynb", tmp_path) == ["flow.png"]
    assert embed_pictures(tmp_path / "n.ipynb", tmp_path) == []


def test_the_command_embeds_and_says_so(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script_of(notebook).write_text(TWO)
    for said in ("took in", "holds"):
        assert main(["embed", "--notebook", str(notebook)]) == 0
        assert capsys.readouterr().out == f"pipeline.ipynb {said} the script of its file.\n"
    script_of(notebook).unlink()
    assert main(["embed", "--notebook", str(notebook)]) == 1
    assert "ScriptDiffers" in capsys.readouterr().err
