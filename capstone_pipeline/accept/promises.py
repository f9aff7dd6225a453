"""What the project promises: a function a promise, whose docstring's first line stands in the report.

Each returns its evidence, or raises `Broken` or `NotChecked` with it. They are looked at in the order in
which they stand here, which is that of the scenario's steps.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from capstone_pipeline.accept import bounds, deliveries
from capstone_pipeline.accept.scenario import GOLD, Answers, Run, Scenario, StepMissing
from capstone_pipeline.errors import PipelineError
from capstone_pipeline.render import duration, file_size, plural

KEPT, BROKEN, NOT_CHECKED = "kept", "broken", "not checked here"


class Broken(Exception):
    """A promise is broken; the message is the evidence."""


class NotChecked(Exception):
    """Whether a promise is kept cannot be seen here; the message says why."""


@dataclass(frozen=True)
class Finding:
    """A line of the report: a promise, what became of it, the evidence. `details` are for the JSON only."""

    promise: str
    state: str
    evidence: str
    details: str = ""


Promise = Callable[[Scenario], str]
PROMISES: list[Promise] = []


def promise(function: Promise) -> Promise:
    PROMISES.append(function)
    return function


def sentence(function: Promise) -> str:
    """What a promise says: the first line of its docstring."""
    return inspect.getdoc(function).splitlines()[0]  # type: ignore[union-attr]


def examine(scenario: Scenario) -> Iterator[Finding]:
    """Look at one promise after the other. Where a step failed, what depends on it is not checked."""
    for function in PROMISES:
        yield _finding(function, scenario)


def _finding(function: Promise, scenario: Scenario) -> Finding:
    state, details = BROKEN, ""
    try:
        state, evidence = KEPT, function(scenario)
    except (NotChecked, StepMissing) as reason:
        state, evidence = NOT_CHECKED, str(reason)
    except Broken as broken:
        evidence = str(broken)
    except PipelineError as error:
        evidence = f"{type(error).__name__}: {error}"
    except Exception as error:  # What nobody thought of must not keep the stack from being taken down.
        evidence, details = f"{type(error).__name__}: {error}", traceback.format_exc()
    return Finding(sentence(function), state, evidence, details)


def _require(condition: Any, evidence: str) -> None:
    if not condition:
        raise Broken(evidence)


# --- The stack and the first run ----------------------------------------------------------------------------


@promise
def template_creates_everything(scenario: Scenario) -> str:
    """The template creates all its resources, under an id of its own."""
    stack, resources, seconds = scenario.deployed
    return f"{stack.stack_name} with {plural(resources, 'resource')}, in {duration(seconds)}"


@promise
def raw_takes_any_key(scenario: Scenario) -> str:
    """The raw bucket keeps objects under the keys they have: with blanks, %, #, =, & and an emoji."""
    given = deliveries.FIRST.keys() | deliveries.IGNORED.keys()
    found = scenario.first_delivery.keys()
    _require(found == given, f"other keys than given: {sorted(found ^ given)}")
    odd = [key.rsplit("/", 1)[-1] for key in given if not key.rsplit("/", 1)[-1].isascii() or " " in key]
    return f"{len(given)} objects listed under their keys, among them {', '.join(sorted(odd))}"


@promise
def notebook_runs(scenario: Scenario) -> str:
    """build_pipeline.ipynb runs from top to bottom: it creates the job, runs it and asks five questions."""
    said, run = scenario.notebook_run
    _require(run.state == "SUCCEEDED", f"its run {run.id} ended as {run.state}")
    return "; ".join(said)


@promise
def only_event_files_count(scenario: Scenario) -> str:
    """The job takes in each event object, and no folder, empty object, marker or hidden file."""
    _, run = scenario.notebook_run
    evidence = f"{run.files} of {len(deliveries.FIRST)} objects, and {len(deliveries.IGNORED)} that are none"
    _require(run.files == len(deliveries.FIRST), evidence)
    return evidence


@promise
def answers_are_right(scenario: Scenario) -> str:
    """The five queries answer what was worked out by hand, row by row and to the cent."""
    return _same_answers(scenario.first_answers, deliveries.AFTER_FIRST)


# --- Runs after it ------------------------------------------------------------------------------------------


@promise
def one_run_at_a_time(scenario: Scenario) -> str:
    """While a run goes on, Glue refuses another one."""
    refusal = scenario.idle_run.second_start
    _require(refusal == "ConcurrentRunsExceededException", f"a second start said {refusal or 'yes'}")
    return refusal


@promise
def nothing_new_changes_nothing(scenario: Scenario) -> str:
    """A run without new objects changes no object of any table."""
    idle = scenario.idle_run
    changed = sorted(dict(idle.before.items() ^ idle.after.items()))
    _require(idle.run.state == "SUCCEEDED", f"run {idle.run.id} ended as {idle.run.state}")
    _require(idle.run.files == 0, f"the run took in {idle.run.files} files")
    _require(not changed, f"changed: {', '.join(changed[:5])}")
    return f"0 new files; {plural(len(idle.after), 'object')} with the same ETags and times as before"


@promise
def reset_changes_nothing(scenario: Scenario) -> str:
    """After the bookmark is reset, every object is taken in again, and every answer stays."""
    run, answers = scenario.reset_run
    evidence = f"{run.files} of {len(deliveries.FIRST)} objects taken in again"
    _require(run.files == len(deliveries.FIRST), evidence)
    return f"{evidence}; {_same_answers(answers, deliveries.AFTER_FIRST)}"


@promise
def readers_see_whole_tables(scenario: Scenario) -> str:
    """Who reads gold while a run writes finds each table as before the run or as after it, no row fewer."""
    watched = scenario.watched_run
    looks = {table: watched.watch.seen[table] for table in GOLD}
    _require(not watched.watch.failures, f"a reader failed: {watched.watch.failures[:1]}")
    for table, seen in looks.items():
        whole = (watched.before[table], watched.after[table])
        torn = [etags for etags, _ in seen if etags not in whole]
        _require(not torn, f"{table} was seen as neither before nor after the run, {len(torn)} times")
        rows = [count for _, count in seen]
        fewer = [pair for pair in pairwise(rows) if pair[1] < pair[0]]
        _require(not fewer, f"{table} had fewer rows than before: {fewer[:1]}")
    number = sum(map(len, looks.values()))
    both = sum(len(set(seen)) > 1 for seen in looks.values())
    return f"{number} looks at five tables through S3; {both} of these were seen before and after"


@promise
def corrections_arrive(scenario: Scenario) -> str:
    """A correction replaces, a copy adds nothing, late events land in their own day, as by hand."""
    watched = scenario.watched_run
    _require(watched.run.files == len(deliveries.SECOND), f"the run took in {watched.run.files} files")
    return _same_answers(watched.answers, deliveries.AFTER_SECOND)


@promise
def bad_bytes_are_told(scenario: Scenario) -> str:
    """Glue's reader fails of bytes that are no UTF-8; the run says so, and goes by the listing."""
    run = scenario.watched_run.run
    _require(run.reader_failure, f"run {run.id} says nothing of it: Glue's reader did not fail")
    return run.reader_failure[:600]


@promise
def no_line_is_lost(scenario: Scenario) -> str:
    """Every line of each raw object is in bronze, accepted or rejected; what is unreadable is one more."""
    found, _ = scenario.second_lines
    differing = {
        key: f"{found.get(key, (0, 0))} instead of {deliveries.LINES.get(key, (0, 0))}"
        for key in found.keys() | deliveries.LINES.keys()
        if found.get(key) != deliveries.LINES.get(key)
    }
    _require(not differing, f"accepted and rejected differ: {differing}")
    accepted, rejected = (sum(counts) for counts in zip(*found.values(), strict=True))
    return (
        f"{accepted} accepted and {rejected} rejected lines of {len(found)} objects, each as counted by hand"
    )


@promise
def rejects_have_their_reasons(scenario: Scenario) -> str:
    """Each rejected line has its reason; a wrong checksum, a cut off object and no gzip are corrupt_file."""
    _, reasons = scenario.second_lines
    evidence = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
    _require(reasons == deliveries.REASONS, f"{evidence}; expected {deliveries.REASONS}")
    return evidence


@promise
def stopped_runs_are_made_good(scenario: Scenario) -> str:
    """A run that is stopped at work leaves nothing wrong: the next one ends as if it had never been."""
    stopped = scenario.stopped_run
    if not stopped.was_at_work:
        raise NotChecked(f"run {stopped.stopped.id} was {stopped.stopped.state} before it could be stopped")
    answers = _same_answers(stopped.answers, deliveries.AFTER_THIRD)
    return f"{stopped.stopped.id} stopped; the next took in {stopped.repeated.files} files; {answers}"


@promise
def redelivery_replaces(scenario: Scenario) -> str:
    """An object delivered again under its key replaces what it delivered before."""
    return _same_answers(scenario.stopped_run.answers, deliveries.AFTER_THIRD)


@promise
def generator_delivers(scenario: Scenario) -> str:
    """The generator, invoked by hand, delivers an object, and the next run takes it in."""
    told, run = scenario.generated
    _require(run.files == 1, f"the run took in {run.files} files")
    return f"{told.get('s3_key')}: {run.summary['bronze']['rows_in']} lines"


@promise
def bookmark_moves_on(scenario: Scenario) -> str:
    """A run in which Glue's reader failed moves the bookmark too: later ones do not fail of that again."""
    _, run = scenario.generated
    _require(not run.reader_failure, run.reader_failure[:200])
    return f"run {run.id} says nothing of it"


@promise
def validation_passes(scenario: Scenario) -> str:
    """The validation, which computes everything again from the raw objects, finds the same in all layers."""
    assert scenario.generated
    return "; ".join(scenario.validated)


@promise
def raw_stays(scenario: Scenario) -> str:
    """The job changes nothing in the raw bucket."""
    now, given = scenario.raw_at_last, deliveries.FIRST.keys() - deliveries.THIRD.keys()
    changed = [key for key in given if now.get(key) != scenario.first_delivery[key]]
    _require(not changed, f"changed: {changed}")
    return f"{len(given)} objects with the ETags and times that they had"


@promise
def log_tells_each_layer(scenario: Scenario) -> str:
    """The log of each run is found by its id, and tells in JSON what became of each layer, and when."""
    if not (succeeded := [run for _, run in scenario.runs if run.state == "SUCCEEDED"]):
        raise NotChecked("no run succeeded")
    silent = [run.id for run in succeeded if not run.has_told_all]
    _require(not silent, f"no summary of all layers in the log of {', '.join(silent)}")
    return f"{plural(len(succeeded), 'run')}, {sum(len(run.lines) for run in succeeded)} lines"


# --- What it takes ------------------------------------------------------------------------------------------


@promise
def requests_stay_within_bounds(scenario: Scenario) -> str:
    """A run over one object, and one with nothing new, ask S3 no more often than is said, by kind."""
    _, run = scenario.generated
    idle = scenario.idle_run.run
    if run.requests is None or idle.requests is None:
        raise NotChecked("what answers here does not count S3's requests by kind")
    of_a_run = _within(run.requests, bounds.REQUESTS_OF_A_RUN)
    return f"one object: {of_a_run}; nothing new: {_within(idle.requests, bounds.REQUESTS_OF_AN_IDLE_RUN)}"


@promise
def queries_scan_little(scenario: Scenario) -> str:
    """Each of the five queries scans less than the 10 MB that Athena bills at least."""
    scanned = scenario.first_answers.scanned
    evidence = ", ".join(f"{number}: {file_size(size)}" for number, size in scanned.items())
    _require(max(scanned.values()) < bounds.ATHENA_MINIMUM_BYTES, evidence)
    return evidence


@promise
def careless_queries_are_refused(scenario: Scenario) -> str:
    """Athena refuses a query on bronze that leaves the day open, which would list each minute there is."""
    refusal = scenario.careless_query
    _require("injected" in refusal, refusal or "it answered")
    return refusal


@promise
def runs_cost_what_is_said(scenario: Scenario) -> str:
    """A run over one object takes no more DPU seconds than docs/BENCHMARKS_AND_COSTS.md reckons with."""
    _, run = scenario.generated
    expected = bounds.DPU_SECONDS_OF_A_RUN
    evidence = (
        f"{run.dpu_seconds:,.0f} DPU seconds in {duration(run.seconds)}; "
        f"docs/BENCHMARKS_AND_COSTS.md: {expected:,.0f}"
    )
    if scenario.aws.endpoint_url:
        raise NotChecked(f"{scenario.aws.endpoint_url} is not AWS, and its seconds are its own: {evidence}")
    _require(run.dpu_seconds <= expected, evidence)
    return evidence


def _same_answers(found: Answers, expected: deliveries.Answers) -> str:
    """Raises Broken with the first rows that differ."""
    for number, rows in expected.items():
        if found.rows[number] != rows:
            missing = [row for row in rows if row not in found.rows[number]]
            surplus = [row for row in found.rows[number] if row not in rows]
            raise Broken(f"query {number}: missing {missing[:3]}, instead {surplus[:3]}, or in another order")
    return f"{sum(map(len, expected.values()))} rows in {len(expected)} answers, all as worked out by hand"


def _within(found: dict[str, int], bound: dict[str, int]) -> str:
    above = {
        kind: (number, bound.get(kind, 0)) for kind, number in found.items() if number > bound.get(kind, 0)
    }
    _require(not above, ", ".join(f"{kind}: {number}, not {most}" for kind, (number, most) in above.items()))
    return ", ".join(f"{kind} {number} (at most {bound[kind]})" for kind, number in sorted(found.items()))


def figures(name: str, run: Run) -> dict[str, Any]:
    """What a run took, for the report."""
    return {
        "run": name,
        "id": run.id,
        "state": run.state,
        "files": run.files,
        "seconds": run.seconds,
        "dpu_seconds": run.dpu_seconds,
        "phases": {layer: counters.get("seconds") for layer, counters in run.summary.items()},
        "requests": run.requests,
    }
