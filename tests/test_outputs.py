"""tests/outputs.py: what counts as the same output, and what does not."""

from __future__ import annotations

import base64

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.outputs import shown

SVG = base64.b64encode(b'<svg width="9pt" height="9pt"><path d="M0"/></svg>').decode()
PAGE = f'<style>.a{{}}</style><b>3 rows</b> in 0.4 s<img src="data:image/svg+xml;base64,{SVG}" alt="3 bars">'


def outputs_of(text: str, page: str = PAGE) -> dict[str, list[str]]:
    result = new_output("execute_result", {"text/plain": text, "text/html": page}, execution_count=1)
    return shown(new_notebook(cells=[new_code_cell("answer", id="answer", outputs=[result])]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("started 2025-11-18 01:00:00 UTC, took: 1.3 s", "started 2026-02-03 04:05:06 UTC, took: 12.0 s"),
        ("371 days, 2 min 05 s, 1 h 02 min", "1 day, 3 min 00 s, 7 h 00 min"),
        ("at http://127.0.0.1:4566", "at http://127.0.0.1:41234"),
        ("run: jr_0a1b", "run: jr_99ff"),
        ("scanned 42.1 kB", "scanned 7 B"),
    ],
)
def test_what_changes_from_run_to_run_is_the_same(one: str, other: str) -> None:
    assert outputs_of(one) == outputs_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("revenue 164,470.84", "revenue 164,470.85"),
        ("bronze: files: 12", "bronze: files: 11"),
        ("2025-11-18", "2025-11-19"),
    ],
)
def test_another_figure_is_another_output(one: str, other: str) -> None:
    assert outputs_of(one) != outputs_of(other)


@pytest.mark.parametrize(("old", "new"), [("3 rows", "4 rows"), ("3 bars", "4 bars"), ("<img", "<i")])
def test_other_words_in_a_page_and_a_missing_picture_are_another_output(old: str, new: str) -> None:
    assert outputs_of("text", PAGE.replace(old, new)) != outputs_of("text")


def test_a_picture_may_be_drawn_differently_but_not_in_another_size() -> None:
    def with_picture(svg: bytes) -> dict[str, list[str]]:
        return outputs_of("text", PAGE.replace(SVG, base64.b64encode(svg).decode()))

    assert with_picture(b'<svg width="9pt" height="9pt"><path d="M1"/></svg>') == outputs_of("text")
    assert with_picture(b'<svg width="9pt" height="8pt"><path d="M0"/></svg>') != outputs_of("text")
