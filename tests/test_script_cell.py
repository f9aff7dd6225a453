"""One ETL script in a cell and in a file: edits reach the other side, and none is ever lost."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from capstone_pipeline import ScriptConflict, script_cell, write_script
from capstone_pipeline.__main__ import main
from capstone_pipeline.script_cell import embed_pictures, is_synced, sync

ONE, TWO, THREE = "print(1)\n", "print(2)\n", "print(3)\n"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook whose cell holds version ONE, as does the file beside it; both sides know it."""
    path = tmp_path / "pipeline.ipynb"
    save_cell(path, ONE)
    script_of(path).write_text(ONE)
    sync(path)
    return path


def script_of(notebook: Path) -> Path:
    return notebook.with_name("etl.py")


def save_cell(notebook: Path, script: str) -> None:
    """Save the notebook as Jupyter does: without the line end at the end of the cell."""
    cells = [new_markdown_cell("# Title"), new_code_cell(f"%%etl_script etl.py\n{script.rstrip()}")]
    nbformat.write(new_notebook(cells=cells), notebook)


def cell_of(notebook: Path) -> str:
    return nbformat.read(notebook, as_version=4).cells[1].source.partition("\n")[2] + "\n"


# --- Running the cell ---------------------------------------------------------------------------------------


def test_running_an_edited_cell_writes_the_file(notebook: Path) -> None:
    assert write_script(script_of(notebook), TWO).status == "written"
    assert script_of(notebook).read_text() == TWO


def test_running_the_cell_again_changes_nothing(notebook: Path) -> None:
    assert write_script(script_of(notebook), ONE).status == "unchanged"


def test_a_cell_may_be_edited_and_run_again_and_again(notebook: Path) -> None:
    write_script(script_of(notebook), TWO)
    assert write_script(script_of(notebook), THREE).status == "written"
    assert script_of(notebook).read_text() == THREE


def test_running_the_cell_creates_a_missing_file_and_its_folder(tmp_path: Path) -> None:
    assert write_script(tmp_path / "glue" / "etl.py", ONE).status == "written"
    assert (tmp_path / "glue" / "etl.py").read_text() == ONE


def test_running_an_untouched_cell_keeps_an_edited_file(notebook: Path) -> None:
    script_of(notebook).write_text(TWO)
    status = write_script(script_of(notebook), ONE)
    assert (status.status, script_of(notebook).read_text()) == ("kept", TWO)
    assert "make notebook" in status._repr_html_()


def test_a_notebook_that_was_closed_unsaved_does_not_bring_its_old_cell_back(notebook: Path) -> None:
    write_script(script_of(notebook), TWO)  # Edited in Jupyter and run, but the notebook was not saved.
    assert write_script(script_of(notebook), ONE).status == "kept"
    assert script_of(notebook).read_text() == TWO


def test_an_emptied_cell_does_not_empty_the_file(notebook: Path) -> None:
    assert write_script(script_of(notebook), "\n").status == "kept"
    assert script_of(notebook).read_text() == ONE


def test_edits_on_both_sides_are_refused_and_stay_as_they_are(notebook: Path) -> None:
    script_of(notebook).write_text(TWO)
    with pytest.raises(ScriptConflict, match="--keep script"):
        write_script(script_of(notebook), THREE)
    assert script_of(notebook).read_text() == TWO


def test_the_same_edit_on_both_sides_is_no_conflict(notebook: Path) -> None:
    script_of(notebook).write_text(TWO)
    assert write_script(script_of(notebook), TWO).status == "unchanged"
    assert write_script(script_of(notebook), THREE).status == "written"


def test_without_a_known_common_version_a_difference_is_a_conflict(notebook: Path) -> None:
    notebook.with_name("etl.py.versions").unlink()
    with pytest.raises(ScriptConflict):
        write_script(script_of(notebook), TWO)


def test_a_merge_conflict_in_the_list_of_versions_does_no_harm(notebook: Path) -> None:
    versions = notebook.with_name("etl.py.versions")
    versions.write_text(f"<<<<<<< HEAD\n{versions.read_text()}=======\n{'0' * 64}\n>>>>>>> branch\n")
    script_of(notebook).write_text(TWO)
    assert write_script(script_of(notebook), ONE).status == "kept"


def test_the_list_of_versions_stays_short(notebook: Path) -> None:
    for number in range(script_cell.KEPT_VERSIONS + 10):
        write_script(script_of(notebook), f"print({number + 10})\n")
    versions = notebook.with_name("etl.py.versions").read_text().split()
    assert len(versions) == script_cell.KEPT_VERSIONS


def test_the_cell_magic_hands_the_whole_cell_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "capstone_pipeline")
    body = 'TEXT = """\n%not_a_magic\n  indented $x {y}\n"""\nBYTES = "\\x01"\n'
    result = shell.run_cell(f"%%etl_script etl.py\n{body}")
    assert result.success
    assert Path("etl.py").read_text() == body


# --- make notebook ------------------------------------------------------------------------------------------


def test_sync_takes_an_edited_file_into_the_cell(notebook: Path) -> None:
    script_of(notebook).write_text(TWO)
    assert "took in" in sync(notebook)
    assert cell_of(notebook) == TWO
    assert is_synced(notebook)


def test_sync_takes_an_edited_cell_to_the_file(notebook: Path) -> None:
    save_cell(notebook, TWO)
    assert "written" in sync(notebook)
    assert script_of(notebook).read_text() == TWO
    assert is_synced(notebook)


def test_sync_leaves_equal_sides_alone(notebook: Path) -> None:
    before = notebook.read_bytes()
    assert "hold the same script" in sync(notebook)
    assert notebook.read_bytes() == before


def test_sync_changes_nothing_but_the_cell(notebook: Path) -> None:
    script_of(notebook).write_text(TWO)
    before = json.loads(notebook.read_text())
    sync(notebook)
    after = json.loads(notebook.read_text())
    assert after["cells"][1].pop("source") != before["cells"][1].pop("source")
    assert after == before


def test_sync_refuses_edits_on_both_sides_until_one_is_chosen(notebook: Path) -> None:
    save_cell(notebook, TWO)
    script_of(notebook).write_text(THREE)
    with pytest.raises(ScriptConflict):
        sync(notebook)
    assert (cell_of(notebook), script_of(notebook).read_text()) == (TWO, THREE)


@pytest.mark.parametrize(("keep", "winner"), [("notebook", TWO), ("script", THREE)])
def test_sync_lets_the_chosen_side_win(notebook: Path, keep: str, winner: str) -> None:
    save_cell(notebook, TWO)
    script_of(notebook).write_text(THREE)
    sync(notebook, keep)
    assert (cell_of(notebook), script_of(notebook).read_text()) == (winner, winner)
    assert is_synced(notebook)


def test_sync_writes_a_deleted_file_again(notebook: Path) -> None:
    script_of(notebook).unlink()
    sync(notebook)
    assert script_of(notebook).read_text() == ONE


def test_sync_cannot_keep_a_script_that_does_not_exist(notebook: Path) -> None:
    script_of(notebook).unlink()
    with pytest.raises(ScriptConflict, match="does not exist"):
        sync(notebook, "script")


def test_a_notebook_without_a_script_cell_is_reported(tmp_path: Path) -> None:
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")]), tmp_path / "other.ipynb")
    with pytest.raises(ScriptConflict, match="no cell that begins with"):
        sync(tmp_path / "other.ipynb")


def test_a_picture_is_taken_into_the_notebook_when_its_file_changes(tmp_path: Path) -> None:
    cell = new_markdown_cell("![flow](attachment:flow.svg)", attachments={"flow.svg": {"image/svg+xml": ""}})
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "n.ipynb")
    (tmp_path / "flow.svg").write_text("<svg/>")
    assert embed_pictures(tmp_path / "n.ipynb", tmp_path) == ["flow.svg"]
    assert embed_pictures(tmp_path / "n.ipynb", tmp_path) == []


def test_the_command_checks_and_syncs(notebook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script_of(notebook).write_text(TWO)
    assert main(["sync", "--check", "--notebook", str(notebook)]) == 1
    assert main(["sync", "--notebook", str(notebook)]) == 0
    assert main(["sync", "--check", "--notebook", str(notebook)]) == 0
    save_cell(notebook, ONE)
    script_of(notebook).write_text(THREE)
    capsys.readouterr()
    save_cell(notebook, "print(4)\n")
    assert main(["sync", "--notebook", str(notebook)]) == 1
    assert "ScriptConflict" in capsys.readouterr().err
