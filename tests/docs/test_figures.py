"""Figures in documents are those that were measured, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.results import Figure, Result, ResultsError, format_value, load, save
from tools import figures

MEASURED = {"one_batch.ours_seconds": Figure(14.23, "s", "median of 5", (13.9, 14.8))}


@pytest.mark.parametrize("path", figures.documents(), ids=lambda path: path.name)
def test_a_document_shows_its_figures_as_they_were_last_measured(path: Path) -> None:
    text = path.read_text()
    assert figures.with_figures(text, figures.all_figures()) == text, "run `make figures`"


def test_a_figure_between_markers_is_replaced_and_the_rest_is_left_alone() -> None:
    marker, end = "<!-- figure: one_batch.ours_seconds -->", "<!-- end -->"
    text = f"A run takes {marker}99 s{end}, that is {marker}{end} and *not* 99 s.\n"
    assert (
        figures.with_figures(text, MEASURED)
        == f"A run takes {marker}14.2 s{end}, that is {marker}14.2 s{end} and *not* 99 s.\n"
    )


def test_a_figure_that_was_not_measured_is_refused_by_its_name() -> None:
    with pytest.raises(ResultsError, match=r"unknown figure history\.slope"):
        figures.with_figures("<!-- figure: history.slope -->1<!-- end -->", MEASURED)


@pytest.mark.parametrize("rest", ["14 s", "14 s\n<!-- end -->", "14 <!-- note --> s<!-- end -->"])
def test_a_marker_that_is_not_closed_in_its_line_is_refused(rest: str) -> None:
    with pytest.raises(ResultsError, match="no <!-- end --> in its line"):
        figures.with_figures(f"<!-- figure: one_batch.ours_seconds -->{rest}", MEASURED)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (14.23, "s", "14.2 s"),
        (0.0423, "s", "42.3 ms"),
        (123.4, "s", "123 s"),
        (999, "B", "999 bytes"),
        (94_321, "B", "94.3 kB"),
        (8_200_000, "B", "8.20 MB"),
        (999_700, "B", "1.00 MB"),
        (13.87, "B/event", "13.9 bytes"),
        (0.0583, "B/B", "0.0583"),
        (3.14159, "ratio", "3.14x"),
        (590_000, "count", "590,000"),
        (123_456.7, "events/s", "123,457 events/s"),
        (99.97, "percent", "100 %"),
        (81.25, "MiB", "81.2 MiB"),
        (1234.5, "USD", "$1,234.50"),
        (0.00123, "USD", "$0.00123"),
        (0, "s", "0 s"),
    ],
)
def test_a_figure_looks_as_its_unit_demands(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_a_unit_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ResultsError, match="furlong"):
        format_value(1, "furlong")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = Result(
        part="one_batch",
        title="One batch",
        measured="2026-11-24",
        machine={"cpus": 2},
        figures={"ours_seconds": MEASURED["one_batch.ours_seconds"], "events": Figure(590_000, "count", "x")},
        details={"runs": [1, 2]},
    )
    save(result, tmp_path)
    assert load(tmp_path) == {"one_batch": result}
    assert figures.all_figures(tmp_path)["one_batch.events"] == Figure(590_000, "count", "x")


@pytest.mark.parametrize("unit", ["s", "furlong"])
def test_a_result_file_that_is_broken_is_named(tmp_path: Path, unit: str) -> None:
    document = {"part": "x", "figures": {"a": {"value": 1, "unit": unit, "what": "a"}}}
    (tmp_path / "x.json").write_text(json.dumps(document))
    with pytest.raises(ResultsError, match=r"x\.json is no result file"):
        load(tmp_path)


def test_every_committed_result_is_in_the_file_of_its_part() -> None:
    for part, result in load().items():
        assert result.part == part
        assert result.figures
        assert (figures.ROOT / "benchmarks" / "results" / f"{part}.json").exists()
