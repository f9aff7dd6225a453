"""The ETL script in the notebook: a cell that shows the whole file that Glue runs.

The file is the source. `python -m tools embed` (`make notebook`) puts it into the cell that
begins with `%%etl_script PATH`; running it compares the two and stops where they differ. Where the cell was
edited, `%etl_script write` in another cell takes it to the file.
"""

from __future__ import annotations

import difflib
import html
from dataclasses import dataclass
from pathlib import Path

from capstone_pipeline.errors import ScriptDiffers
from capstone_pipeline.render import Shown, badge, plural, text_line
from capstone_pipeline.stack import PROJECT

MAGIC = "etl_script"
WRITE = "write"
"""The word that takes the cell that was run last to its file."""


@dataclass(frozen=True, repr=False)
class ScriptStatus(Shown):
    """What became of the script: status is "unchanged" or "written"."""

    status: str
    path: str
    lines: int

    def __str__(self) -> str:
        return f"{self.path}: {self.status}"

    def _repr_html_(self) -> str:
        what = "is the same as this cell" if self.status == "unchanged" else "was written from the cell"
        name, count = html.escape(self.path), plural(self.lines, "line")
        return text_line(f"{badge(self.status)} &ensp;<code>{name}</code> ({count}) {what}.")


class ScriptCell:
    """The magic `etl_script`: above a cell it compares, alone with the word `write` it writes."""

    def __init__(self, folder: Path = PROJECT) -> None:
        self._folder = folder
        self._last: tuple[str, str] | None = None

    def __call__(self, line: str, cell: str | None = None) -> ScriptStatus:
        """What IPython calls. Raises ScriptDiffers."""
        if cell is not None:
            self._last = (line.strip(), _normalised(cell))
            return self._compared(*self._last)
        if line.strip() != WRITE or self._last is None:
            raise ScriptDiffers(
                f"%{MAGIC} {line.strip()}: nothing was done.",
                f"run the cell that begins with %%{MAGIC} first, then `%{MAGIC} {WRITE}` in another cell.",
            )
        path, script = self._last
        _replace(self._folder / path, script)
        return ScriptStatus("written", path, script.count("\n"))

    def _compared(self, path: str, script: str) -> ScriptStatus:
        file = self._folder / path
        in_file = _normalised(file.read_text(encoding="utf-8")) if file.exists() else ""
        if script == in_file:
            return ScriptStatus("unchanged", path, script.count("\n"))
        changes = list(difflib.unified_diff(in_file.splitlines(), script.splitlines(), n=0))[2:]
        count = sum(line[0] in "+-" for line in changes)
        raise ScriptDiffers(
            f"This cell and {path}, which Glue runs, differ in {plural(count, 'line')}.",
            "if the file is right, take it into the notebook and load that again:\n  make notebook\n"
            f"If the cell is right, take it to the file, with this in a cell of its own:\n  %{MAGIC} {WRITE}",
        )


def _normalised(text: str) -> str:
    """The text with exactly one line end at its end: Jupyter strips it, editors add it."""
    return text.rstrip("\n") + "\n"


def _replace(path: Path, text: str) -> None:
    """Write so that a reader, or a crash, sees the old content or the new, never a part."""
    staged = path.with_name(f"{path.name}.new")
    staged.write_text(text, encoding="utf-8")
    if path.exists():
        staged.chmod(path.stat().st_mode)
    staged.replace(path)
