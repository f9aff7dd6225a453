"""What build_pipeline.ipynb carries of other files: the ETL script in a cell, pictures as attachments.

The files are the source: `python -m tools embed` (`make notebook`) brings them into the notebook.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

import nbformat

from capstone_pipeline.errors import ScriptDiffers
from capstone_pipeline.script_cell import MAGIC

_CELL = re.compile(rf"\A%%{MAGIC} +(\S+)[ \t]*(?:\n.*)?\Z", re.DOTALL)


def embed_script(notebook: Path) -> bool:
    """Put the file that the notebook's script cell names into that cell; returns whether that changed it.

    The file is looked for from the notebook's folder.

    Raises
    ------
    ScriptDiffers
        When there is no such cell, or no such file.
    """
    content = nbformat.read(notebook, as_version=4)
    cell, path = _script_cell(notebook, content)
    if not path.exists():
        raise ScriptDiffers(
            f"{path}, which should go into {notebook.name}, does not exist.",
            "restore it from version control.",
        )
    first_line = cell["source"].partition("\n")[0]
    embedded = f"{first_line}\n{path.read_text(encoding='utf-8').rstrip(chr(10))}"
    if cell["source"] == embedded:
        return False
    cell["source"] = embedded
    nbformat.write(content, notebook)
    return True


def embed_pictures(notebook: Path, folder: Path) -> list[str]:
    """Refresh a notebook's attached pictures from the files of the same name; return the changed names."""
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


def _script_cell(notebook: Path, content: nbformat.NotebookNode) -> tuple[nbformat.NotebookNode, Path]:
    for cell in content.cells:
        if match := _CELL.match(cell["source"]):
            return cell, notebook.parent / match[1]
    raise ScriptDiffers(
        f"{notebook} has no cell that begins with `%%{MAGIC} <path>`.",
        f"put that line back above the script, or restore {notebook.name} from version control.",
    )
