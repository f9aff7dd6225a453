"""Whatever is delivered, in whatever order, with whatever crashes: the layers end as computed independently.

A history is what becomes of a few raw objects: delivered over several runs, late, twice, again with other
lines, truncated, corrected. A run of the script takes seconds however little it reads, so most histories are
told many at a time: in one lake, run by run, each in a year of its own. The lake is compared whole. A run is
killed between any two of its requests to S3.

ETL_EXAMPLES sets the number of histories: few and always the same by default, `make test-long` for many.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.engine import ConjectureRunner

from glue_scripts import capstone_etl as etl
from tests import oracle, strategies
from tests.etl.workbench import Workbench, in_parts

HISTORIES = int(os.environ.get("ETL_EXAMPLES", "38"))
YEARS = range(2020, 2040)
DIFFERENT_HISTORIES = 18  # at least, of those of one large lake
# A small lake has one history: gold may be empty before a run, and silver may have one day or none.
SMALL_LAKES = -(-HISTORIES // 25)
LARGE_LAKES = -(-(HISTORIES - SMALL_LAKES) // DIFFERENT_HISTORIES)
# Hypothesis gives up examples for which it has to draw too much.
HISTORY = {"max_size": 4, "max_groups": 6}
SHORT_HISTORY = {"max_size": 3, "max_groups": 2}


@dataclass(frozen=True)
class Run:
    """Objects that are uploaded, then a run: perhaps of a reset bookmark, perhaps killed on its way.

    Or a run that watches, while they are uploaded one by one. Or one that judges them in parts, as if they
    were large.
    """

    objects: dict[str, bytes]
    is_reset: bool
    requests: int | None
    is_watching: bool = False
    is_in_parts: bool = False

    def __str__(self) -> str:
        disturbances = ["after a bookmark reset"] if self.is_reset else []
        disturbances += ["watching"] if self.is_watching else []
        disturbances += ["in parts"] if self.is_in_parts else []
        if self.requests is not None:
            disturbances.append(f"killed after {self.requests} requests")
        objects = [
            f"\n    {source}: {oracle.read_object(source, data)}" for source, data in self.objects.items()
        ]
        return f"A run ({', '.join(disturbances) or 'undisturbed'}) of {''.join(objects) or 'nothing new'}"


@dataclass(frozen=True)
class Weather:
    """What may happen in a lake. Something always does where there are many histories, so some have less."""

    is_calm: bool  # objects come in order of time, nothing is corrected, no run is killed
    is_redelivered: bool  # an object may come again with other lines
    is_truncated: bool


@dataclass(frozen=True)
class Lake:
    """Some runs, and what they tell: a text for each history, the same when only the year is another."""

    runs: list[Run]
    histories: set[str]


@st.composite
def lakes(draw: st.DrawFn, years: st.SearchStrategy[list[int]], size: Mapping[str, int]) -> Lake:
    """A lake with a history in each of these years: the n-th run reads the n-th part of each."""
    number_of_runs = draw(st.integers(1, 3))
    is_calm = draw(st.integers(0, 3)) == 3
    weather = Weather(is_calm, not is_calm and draw(st.integers(0, 3)) < 3, draw(st.booleans()))
    told = {year: draw(histories(year, number_of_runs, weather, size)) for year in draw(years)}
    requests = st.integers(0, 80 + 25 * len(told))  # About as many as a run asks.
    runs = [
        Run(
            {source: data for part in parts for source, data in part.items()},
            is_reset=draw(st.integers(0, 9)) == 9,
            requests=None if is_calm or draw(st.integers(0, 2)) == 2 else draw(requests),
            is_watching=draw(st.integers(0, 2)) > 0,
            is_in_parts=draw(st.booleans()),
        )
        for parts in zip(*told.values(), strict=True)
    ]
    return Lake(runs, {text_of(year, parts) for year, parts in told.items()})


def text_of(year: int, parts: list[dict[str, bytes]]) -> str:
    delivered = [
        [(source, oracle.read_object(source, data)) for source, data in one.items()] for one in parts
    ]
    return str(delivered).replace(str(year), "YYYY")


@st.composite
def histories(
    draw: st.DrawFn, year: int, number_of_runs: int, weather: Weather, size: Mapping[str, int]
) -> list[dict[str, bytes]]:
    """Objects of a year, cut into runs in order of their upload."""
    moments = draw(
        st.lists(st.sampled_from(strategies.in_year(strategies.MOMENTS, year)), min_size=1, max_size=4)
    )
    times = strategies.in_year(strategies.ARRIVALS, year)
    lines = strategies.raw_lines(moments, corrected=not weather.is_calm, max_groups=size["max_groups"])
    drawn = strategies.object_sets(
        max_size=size["max_size"],
        lines=lines,
        times=times,
        in_order=weather.is_calm,
        truncated=weather.is_truncated,
    )
    objects = list(draw(drawn).items())
    if weather.is_redelivered and draw(st.booleans()):
        source = draw(st.sampled_from([source for source, _ in objects]))
        again = strategies.raw_objects(
            compressed=source.endswith(".gz"), lines=lines, truncated=weather.is_truncated
        )
        objects.append((source, draw(again.filter(bool))))  # What is emptied counts as deleted.
    numbers = st.lists(st.integers(0, number_of_runs - 1), min_size=len(objects), max_size=len(objects))
    runs: list[dict[str, bytes]] = [{} for _ in range(number_of_runs)]
    for number, (source, data) in zip(sorted(draw(numbers)), objects, strict=True):
        runs[number][source] = data
    return runs


class Tally(Counter[str]):
    """What happened in all lakes, and their different histories."""

    def __init__(self) -> None:
        super().__init__()
        self.histories: set[str] = set()


@pytest.fixture(autouse=True)
def no_variations() -> Iterator[None]:
    """Hypothesis follows up an example with some that repeat parts of it; here each shall be a new one."""
    with mock.patch.object(ConjectureRunner, "generate_mutations_from", lambda *_: None):
        yield


@pytest.fixture(scope="module")
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """What is told at the end of the module."""
    counts = Tally()
    yield counts
    seed = request.config.getoption("--hypothesis-seed")
    told = [
        f"{len(counts.histories):,} different histories in {counts['lakes']:,} lakes;",
        f"{counts['runs']:,} runs, {counts['killed']:,} killed, {counts['reset']:,} after a bookmark reset, "
        f"{counts['watching']:,} that watched, {counts['parts']:,} that judged objects in parts;",
        f"{counts['objects']:,} objects, {counts['redelivered']:,} of them delivered again under their key;",
        f"days of gold {counts['added to']:,} times added to, {counts['renewed']:,} times computed anew;",
        f"{counts['lines']:,} lines: {counts['lost']:,} lost, {counts['doubled']:,} counted twice;",
        f"seed {'fixed' if seed is None else seed}",
    ]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *told, sep="\n")
    if counts["lakes"] >= SMALL_LAKES + LARGE_LAKES:
        assert counts["killed"] * 8 > counts["runs"], "runs ask less than is drawn: they live on"


def settings_for(lakes: int) -> settings:
    return settings(
        max_examples=lakes,
        deadline=None,
        derandomize="ETL_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )


@settings_for(SMALL_LAKES)
@given(lake=lakes(st.sampled_from(YEARS).map(lambda year: [year]), HISTORY))
def test_any_history_ends_as_computed_independently(workbench: Workbench, tally: Tally, lake: Lake) -> None:
    assert_ends_as_computed(workbench, tally, lake)


@settings_for(LARGE_LAKES)
@given(
    lake=lakes(st.just(list(YEARS)), SHORT_HISTORY).filter(
        lambda lake: len(lake.histories) >= DIFFERENT_HISTORIES
    )
)
def test_many_histories_in_one_lake_end_as_computed_independently(
    workbench: Workbench, tally: Tally, lake: Lake
) -> None:
    assert_ends_as_computed(workbench, tally, lake)


def assert_ends_as_computed(workbench: Workbench, tally: Tally, lake: Lake) -> None:
    """Each run that is not killed leaves every table as an independent computation has it."""
    workbench.clear()
    final: dict[str, bytes] = {}
    for run in [*lake.runs, Run({}, is_reset=False, requests=None)]:
        note(str(run))
        deliveries = in_halves(run.objects) if run.is_watching else None
        if deliveries is None:
            workbench.upload(run.objects)
        if run.is_reset:
            workbench.forget_bookmark()
        tally.update(
            runs=1,
            reset=run.is_reset,
            watching=run.is_watching,
            parts=run.is_in_parts,
            objects=len(run.objects),
            redelivered=len(final.keys() & run.objects.keys()),
        )
        final |= run.objects
        with in_parts() if run.is_in_parts else nullcontext():
            if run.requests is not None and workbench.run_in_the_dark_after(
                run.requests, deliveries, only_changes=False
            ):
                tally.update(killed=1)
                continue
            summary = workbench.run() if deliveries is None else workbench.watch(deliveries)
        days = summary.get("silver", {"days_appended": [], "days_rebuilt": []})
        tally.update({"added to": len(days["days_appended"]), "renewed": len(days["days_rebuilt"])})
        count_lines(workbench, tally, final)
        workbench.assert_holds(final)
    tally.histories |= lake.histories
    tally.update(lakes=1, lines=sum(len(oracle.read_object(*item).lines) for item in final.items()))


def in_halves(objects: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """The objects in two deliveries. No object for each: a round takes seconds."""
    for first in (True, False):
        yield {
            source: objects[source] for nth, source in enumerate(objects) if (nth * 2 < len(objects)) == first
        }


def count_lines(workbench: Workbench, tally: Tally, objects: Mapping[str, bytes]) -> None:
    """Count what bronze has less and more of each object's lines, and silver of each event."""
    expected = oracle.expected_tables(objects)
    for tables, key in (
        (("bronze.events", "bronze.events_rejected"), ("source_file",)),
        (("silver.events_cleaned",), etl.IDENTITY),
    ):
        found, wanted = Counter[oracle.Row](), Counter[oracle.Row]()
        for table in tables:
            columns = [oracle.COLUMNS[table].index(name) for name in key]
            found.update(tuple(row[column] for column in columns) for row in workbench.rows(table))
            wanted.update(tuple(row[column] for column in columns) for row in expected[table])
        tally.update(lost=(wanted - found).total(), doubled=(found - wanted).total())
