"""Whatever is delivered, in whatever order, with whatever crashes: the layers end as computed independently.

ETL_EXAMPLES sets the number of histories: few by default, as each is several Spark runs.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests import oracle, strategies
from tests.etl.workbench import Workbench, killed_at_change

EXAMPLES = int(os.environ.get("ETL_EXAMPLES", "5"))


@dataclass(frozen=True)
class Run:
    """Objects that are uploaded, then a run: perhaps of a reset bookmark, perhaps stopped at some change."""

    objects: dict[str, bytes]
    is_reset: bool
    killed_at_change: int | None


@st.composite
def histories(draw: st.DrawFn) -> list[Run]:
    """Objects cut into runs in order of their upload; some are delivered again with other lines."""
    objects = list(draw(strategies.object_sets(max_size=4)).items())
    again = draw(st.lists(st.sampled_from([source for source, _ in objects]), max_size=1))
    for source in again:
        compressed = source.endswith(".gz")
        objects.append((source, draw(strategies.raw_objects(compressed=compressed).filter(has_lines))))
    cuts = sorted(draw(st.sets(st.integers(1, len(objects)), max_size=2)) | {len(objects)})
    return [
        Run(
            dict(objects[start:end]),
            is_reset=draw(st.integers(0, 9)) == 0,
            killed_at_change=draw(st.one_of(st.none(), st.integers(0, 50))),
        )
        for start, end in itertools.pairwise([0, *cuts])
    ]


def has_lines(data: bytes) -> bool:
    """An object that was emptied under its key is invisible to a bookmark: what it delivered before stays."""
    compressed = data[:2] == b"\x1f\x8b"
    return bool(oracle.delivered_lines(data, compressed=compressed))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="ETL_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(history=histories())
def test_any_history_ends_as_computed_independently(workbench: Workbench, history: list[Run]) -> None:
    workbench.clear()
    final: dict[str, bytes] = {}
    for run in history:
        workbench.upload(run.objects)
        final |= run.objects
        if run.is_reset:
            workbench.forget_bookmark()
        with killed_at_change(run.killed_at_change):
            workbench.run()
    workbench.run()
    workbench.assert_holds(final)
    event(f"{len(history)} runs, {sum(run.killed_at_change is not None for run in history)} to be killed")
