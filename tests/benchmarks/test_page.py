"""What the document shows of the results, and the plots beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.page import IMAGES, blocks, draw_plots
from benchmarks.parts import PARTS
from benchmarks.results import ROOT, Figure, load

RESULTS = load()


def test_every_plot_exists_and_is_shown_by_a_document() -> None:
    shown = {
        name
        for path in (ROOT / "docs").glob("*.md")
        for name in re.findall(r"\]\(images/benchmarks/([^)]+)\)", path.read_text())
    }
    assert shown == {path.name for path in IMAGES.iterdir()}


def test_the_committed_plots_are_those_of_the_committed_results(tmp_path: Path) -> None:
    drawn = draw_plots(RESULTS, tmp_path)
    assert {path.name: path.read_bytes() for path in drawn} == {
        path.name: path.read_bytes() for path in IMAGES.iterdir()
    }, "run `make docs`"


def test_every_result_belongs_to_a_part() -> None:
    assert set(RESULTS) <= set(PARTS)
    assert {name: result.title for name, result in RESULTS.items()} == {
        name: PARTS[name].TITLE for name in RESULTS
    }


@pytest.mark.parametrize(("seconds", "verdict"), [(9.94, "met"), (10.06, "**missed**")])
def test_a_target_is_met_or_missed_as_the_figure_says(seconds: float, verdict: str) -> None:
    result = RESULTS["generator"]
    figures = {**result.figures, "lambda_seconds": Figure(seconds, "s", "generation", (seconds, seconds))}
    targets = blocks({"generator": replace(result, figures=figures)})["targets"]
    shown = {9.94: "9.94 s", 10.06: "10.1 s"}[seconds]
    assert f"| the Lambda function's generator | at most 10.0 s | {shown} | {verdict} |" in targets


def test_a_part_without_a_result_says_so() -> None:
    assert blocks({})["history"] == "Not measured yet."
