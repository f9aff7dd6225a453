"""What an acceptance leaves behind: a page and a JSON file, with a line for each promise."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

from capstone_pipeline.accept.promises import BROKEN, KEPT, NOT_CHECKED, Finding

PAGE = Path(__file__).resolve().parents[1] / "templates" / "accept" / "page.html"
_CLASSES = {KEPT: "kept", BROKEN: "broken", NOT_CHECKED: "open"}


@dataclass(frozen=True)
class Report:
    """All that an acceptance found. `where` says in words whose seconds and costs these are."""

    stack_name: str
    where: str
    began: str
    minutes: float
    dollars: str
    findings: tuple[Finding, ...]
    runs: tuple[dict[str, Any], ...]

    @property
    def verdict(self) -> str:
        """How many promises are kept, broken, not checked."""
        counts = Counter(finding.state for finding in self.findings)
        return ", ".join(f"{counts[state]} {state}" for state in (KEPT, BROKEN, NOT_CHECKED) if counts[state])

    @property
    def is_broken(self) -> bool:
        """Whether any promise is."""
        return any(finding.state == BROKEN for finding in self.findings)

    def save(self, folder: Path) -> Path:
        """Write accept.json and accept.html; returns the page's path."""
        folder.mkdir(parents=True, exist_ok=True)
        document = {"verdict": self.verdict, **asdict(self)}
        content = json.dumps(document, indent=1, ensure_ascii=False)
        (folder / "accept.json").write_text(content + "\n", encoding="utf-8")
        page = folder / "accept.html"
        page.write_text(self._page(), encoding="utf-8")
        return page

    def _page(self) -> str:
        rows = [
            f'<tr class="{_CLASSES[one.state]}"><td>{one.state}</td>'
            f"<td>{html.escape(one.promise)}<small>{html.escape(one.evidence)}</small></td></tr>"
            for one in self.findings
        ]
        return Template(PAGE.read_text(encoding="utf-8")).substitute(
            stack=html.escape(self.stack_name),
            verdict=html.escape(self.verdict),
            where=html.escape(self.where),
            began=html.escape(self.began),
            minutes=f"{self.minutes:.0f}",
            dollars=html.escape(self.dollars),
            findings="\n".join(rows),
            runs="\n".join(_run_row(run) for run in self.runs),
        )


def _run_row(run: dict[str, Any]) -> str:
    cells = [
        run["run"],
        run["state"],
        "" if run["files"] is None else run["files"],
        run["seconds"],
        f"{run['dpu_seconds']:,.0f}",
    ]
    requests = "not counted" if run["requests"] is None else _pairs(run["requests"])
    cells += [_pairs(run["phases"]), requests]
    return "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
