"""The commands in README.md and docs/, as scripts that a test can run.

A document is run as a reader follows it: the phases of `docs/DEPLOYMENT_CHECKLIST.md` say which step of the
README comes when, so that their order is the order here. What a line "Expect: ..." names has to be in the
output of the block above it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKLIST = "docs/DEPLOYMENT_CHECKLIST.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_README_STEP = re.compile(r"\[README, (?:step (\d)|set-up)\]\([^)]*#on-aws\)")
_TOKEN = re.compile(f"{_README_STEP.pattern}|{_BLOCK.pattern}", re.DOTALL | re.MULTILINE)
_EXPECTED = re.compile(r"^Expect:(.*?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)
_MARK = "#### "


@dataclass(frozen=True)
class Block:
    """A block of code: where it stands, its language, and what its output has to show."""

    place: str
    language: str
    code: str
    expected: tuple[str, ...] = ()


def document(name: str) -> str:
    """The text of a document, such as "README.md" or "docs/QUERIES_REFERENCE.md"."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """The text below a heading of the second level, up to the next one."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(name: str, language: str, text: str | None = None) -> list[Block]:
    """The blocks of a language in a document, or in a part of it, in their order."""
    found = _BLOCK.finditer(document(name) if text is None else text)
    return [
        Block(f"{name}, block {position}", match[1], match[2])
        for position, match in enumerate(found, start=1)
        if match[1] == language
    ]


def readme_steps() -> dict[int, list[Block]]:
    """The commands of the README's section "On AWS", by the number of their step; 0 is what comes before."""
    parts = re.split(r"^\*\*(\d)\. ", section(document("README.md"), "On AWS"), flags=re.MULTILINE)
    texts = {
        0: parts[0],
        **{int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)},
    }
    return {number: blocks(f"README.md, step {number}", "bash", text) for number, text in texts.items()}


def checklist() -> tuple[str, str]:
    """The deployment checklist: its six phases, and what stands behind them about operating."""
    phases, heading, operating = document(CHECKLIST).partition("\n## Let it run by itself\n")
    return phases, heading + operating


def walk_phases() -> list[Block]:
    """The commands of the six phases in their order, with the README's where the reader is sent there."""
    steps, (text, _) = readme_steps(), checklist()
    walked: list[Block] = []
    tokens = list(_TOKEN.finditer(text))
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token[2] is None:
            walked += steps[int(token[1] or 0)]
        elif token[2] == "bash":
            behind = text[token.end() : following.start() if following else None]
            expected = _EXPECTED.search(behind)
            codes = re.findall(r"`([^`]+)`", expected[1]) if expected else []
            heading = re.findall(r"^#+ (.*)$", text[: token.start()], re.MULTILINE)[-1]
            walked.append(Block(f"{CHECKLIST}, {heading}", "bash", token[3], tuple(codes)))
    return walked


def script(commands: list[Block]) -> str:
    """One shell script of several blocks, which says on both outputs where each of them begins."""
    pieces = []
    for position, block in enumerate(commands):
        mark = f"printf '\\n%s\\n' '{_MARK}{position} {block.place}'"
        pieces.append(f"{mark}\n{mark} >&2\n{block.code}")
    return "\n".join(pieces)


def outputs(printed: str) -> dict[int, str]:
    """What each block of a `script` printed, by its position."""
    parts = re.split(rf"^{_MARK}(\d+) .*$", printed, flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
