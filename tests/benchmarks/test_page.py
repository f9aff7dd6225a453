"""docs/BENCHMARKS.md is what the results say, with the plots that it shows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.drawing import IMAGES
from benchmarks.page import PAGE, render, write_page
from benchmarks.parts import PARTS
from benchmarks.results import Figure, load

RESULTS = load()


def test_the_page_shows_the_committed_results() -> None:
    assert PAGE.read_text() == render(RESULTS), "run `python -m benchmarks --page-only`"


def test_every_plot_that_the_page_shows_exists_and_no_other() -> None:
    shown = set(re.findall(r"\]\((images/[^)]+)\)", PAGE.read_text()))
    assert shown == {f"{IMAGES}/{path.name}" for path in (PAGE.parent / IMAGES).iterdir()}
    assert len(shown) >= 3


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = set(re.findall(r"\]\((\.\./[^)]+)\)", PAGE.read_text()))
    assert links
    assert [link for link in links if not (PAGE.parent / link).resolve().exists()] == []


def test_plots_of_the_same_results_are_the_same_files(tmp_path: Path) -> None:
    first, second = (write_page(RESULTS, tmp_path / name / "BENCHMARKS.md") for name in ("one", "two"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_every_result_belongs_to_a_part() -> None:
    assert set(RESULTS) <= set(PARTS)
    assert {name: result.title for name, result in RESULTS.items()} == {
        name: PARTS[name].TITLE for name in RESULTS
    }


@pytest.mark.parametrize(("seconds", "verdict"), [(9.94, "met"), (10.06, "**missed**")])
def test_a_target_is_met_or_missed_as_the_figure_says(seconds: float, verdict: str) -> None:
    result = RESULTS["generator"]
    figures = {**result.figures, "seconds": Figure(seconds, "s", "generation", (seconds, seconds))}
    page = render({"generator": replace(result, figures=figures)})
    shown = {9.94: "9.94 s", 10.06: "10.1 s"}[seconds]
    assert f"| generate_sample_data.py | at most 10.0 s | {shown} | {verdict} |" in page
