"""One ETL script in two places: a notebook cell that holds it whole, and the file that Glue runs.

Either side may be edited. The cell begins with `%%etl_script PATH`: running it brings an edited cell to the
file; `python -m capstone_pipeline sync` (`make notebook`) brings an edited file to the cell. What keeps edits
from being lost is a list of the versions that both sides have had in common (`PATH.versions`, SHA-256, newest
last): a side that holds one of these was not edited since, and may be replaced by the other.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import nbformat

from capstone_pipeline.errors import ScriptConflict
from capstone_pipeline.render import Shown, badge, plural, text_line

MAGIC = "etl_script"
KEPT_VERSIONS = 50

_CELL = re.compile(rf"\A%%{MAGIC} +(\S+)[ \t]*(?:\n(.*))?\Z", re.DOTALL)
_DIGEST = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)


class Newer(Enum):
    """Which of the two places holds edits that the other has not."""

    NEITHER = "neither"
    CELL = "cell"
    FILE = "file"
    BOTH = "both"


@dataclass(frozen=True, repr=False)
class ScriptStatus(Shown):
    """What running the script's cell did: status is "written", "unchanged" or "kept"."""

    status: str
    path: Path
    lines: int

    def __str__(self) -> str:
        return f"{self.path}: {self.status}"

    def _repr_html_(self) -> str:
        explanation = {
            "written": "was written from this cell",
            "unchanged": "is the same as this cell",
            "kept": "was edited and is newer than this cell, so the file is used; <code>make notebook</code> "
            "takes it into the cell",
        }[self.status]
        return text_line(
            f"{badge(self.status)} &ensp;<code>{html.escape(str(self.path))}</code> "
            f"({plural(self.lines, 'line')}) {explanation}."
        )


def write_script(path: Path | str, cell: str) -> ScriptStatus:
    """Bring the script from its cell to its file, unless the file is the newer one.

    Raises
    ------
    ScriptConflict
        When both were edited.
    """
    path = Path(path)
    newer = _newer(cell, path)
    if newer is Newer.BOTH:
        raise _conflict(path)
    if newer is Newer.CELL:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, _normalised(cell))
    if newer is not Newer.FILE:
        _remember(path)
    status = {Newer.CELL: "written", Newer.NEITHER: "unchanged", Newer.FILE: "kept"}[newer]
    return ScriptStatus(status, path, len(path.read_text(encoding="utf-8").splitlines()))


def sync(notebook: Path | str, keep: str | None = None) -> str:
    """Make a notebook's script cell and the file that it names the same, and say what was done.

    Parameters
    ----------
    notebook
        The notebook; its script cell names the file relative to the notebook's folder.
    keep
        None takes the edited side. "notebook" or "script" names the side that wins whatever the other holds.

    Raises
    ------
    ScriptConflict
        When both sides were edited and `keep` does not say which one wins.
    """
    notebook = Path(notebook)
    content = nbformat.read(notebook, as_version=4)
    cell, path, source = _script_cell(notebook, content)
    newer = {"notebook": Newer.CELL, "script": Newer.FILE}.get(keep or "") or _newer(source, path)
    if newer is Newer.FILE and not path.exists():
        raise ScriptConflict(
            f"{path}, which should go into {notebook.name}, does not exist.",
            "write the file from the notebook:\n  python -m capstone_pipeline sync --keep notebook",
        )
    if newer is Newer.BOTH:
        raise _conflict(path)
    if newer is Newer.CELL:
        _replace(path, _normalised(source))
    if newer is Newer.FILE:
        script = path.read_text(encoding="utf-8")
        first_line = cell["source"].partition("\n")[0]
        cell["source"] = f"{first_line}\n{_normalised(script).removesuffix(chr(10))}"
        nbformat.write(content, notebook)
    _remember(path)
    return {
        Newer.NEITHER: f"{notebook.name} and {path} hold the same script.",
        Newer.CELL: f"{path} was written from {notebook.name}.",
        Newer.FILE: f"{notebook.name} took in {path}.",
    }[newer]


def is_synced(notebook: Path | str) -> bool:
    """Whether the notebook and the file hold the same script, and the list of versions says so too."""
    content = nbformat.read(notebook, as_version=4)
    _, path, source = _script_cell(Path(notebook), content)
    return _newer(source, path) is Newer.NEITHER and _versions(path)[-1:] == [_digest(source)]


def embed_pictures(notebook: Path | str, folder: Path | str) -> list[str]:
    """Refresh a notebook's attached pictures from the files of the same name; return the changed names."""
    notebook, folder = Path(notebook), Path(folder)
    content = nbformat.read(notebook, as_version=4)
    changed = []
    for cell in content.cells:
        for name, picture in cell.get("attachments", {}).items():
            encoded = base64.b64encode((folder / name).read_bytes()).decode("ascii")
            for mime_type in picture:
                if picture[mime_type] != encoded:
                    picture[mime_type] = encoded
                    changed.append(name)
    if changed:
        nbformat.write(content, notebook)
    return changed


def _newer(cell: str, path: Path) -> Newer:
    if not path.exists():
        return Newer.CELL
    in_cell, in_file = _digest(cell), _digest(path.read_text(encoding="utf-8"))
    versions = _versions(path)
    if in_cell == in_file:
        return Newer.NEITHER
    if in_cell in versions or not cell.strip():
        # An old version in the cell is a notebook that was not saved or not reloaded, not an edit.
        return Newer.FILE
    if versions and in_file == versions[-1]:
        return Newer.CELL
    return Newer.BOTH


def _script_cell(notebook: Path, content: nbformat.NotebookNode) -> tuple[nbformat.NotebookNode, Path, str]:
    for cell in content.cells:
        match = _CELL.match(cell["source"])
        if match:
            return cell, notebook.parent / match[1], match[2] or ""
    raise ScriptConflict(
        f"{notebook} has no cell that begins with `%%{MAGIC} <path>`.",
        f"put that line back above the script, or restore {notebook.name} from version control.",
    )


def _conflict(path: Path) -> ScriptConflict:
    return ScriptConflict(
        f"The ETL script was edited in the notebook and in {path} as well; neither was changed now.",
        "save the notebook, compare the two, and say which one wins:\n"
        "  python -m capstone_pipeline sync --keep script      the file goes into the notebook\n"
        "  python -m capstone_pipeline sync --keep notebook    the notebook's cell goes into the file",
    )


def _normalised(text: str) -> str:
    """The text with exactly one line end at its end: Jupyter strips it, editors add it."""
    return text.rstrip("\n") + "\n"


def _digest(text: str) -> str:
    return hashlib.sha256(_normalised(text).encode()).hexdigest()


def _versions_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.versions")


def _versions(path: Path) -> Sequence[str]:
    """Oldest first. Lines that are no digest, as a merge conflict leaves them, do not count."""
    record = _versions_path(path)
    return _DIGEST.findall(record.read_text(encoding="utf-8")) if record.exists() else []


def _remember(path: Path) -> None:
    """Note the file's present version as the newest that both sides have in common."""
    digest, versions = _digest(path.read_text(encoding="utf-8")), list(_versions(path))
    if versions[-1:] != [digest]:
        kept = [version for version in versions if version != digest][-KEPT_VERSIONS + 1 :]
        _replace(_versions_path(path), "".join(f"{version}\n" for version in [*kept, digest]))


def _replace(path: Path, text: str) -> None:
    """Write so that a reader, or a crash, sees the old content or the new, never a part."""
    staged = path.with_name(f"{path.name}.new")
    staged.write_text(text, encoding="utf-8")
    if path.exists():
        staged.chmod(path.stat().st_mode)
    staged.replace(path)
