"""What a run may take at most. Tests hold it against what was measured and what `tools.cost` reckons."""

from __future__ import annotations

from decimal import Decimal

from capstone_pipeline import job

REQUESTS_OF_A_RUN = {
    "LIST": 30,
    "HEAD": 8,
    "GET": 28,
    "PUT": 18,
    "COPY": 1,
    "DELETE": 1,
    "DELETE MANY": 5,
}
"""To S3, by kind, of a run over one object on a day that the lake does not have yet."""
REQUESTS_OF_AN_IDLE_RUN = {"LIST": 15, "GET": 7, "HEAD": 3}
"""Of one with nothing new."""

DPU_SECONDS_OF_A_RUN = 300
"""What Glue bills for such a run, at the high end of what `tools.cost` reckons with."""
DOLLARS_PER_DPU_HOUR = Decimal("0.44")
ATHENA_MINIMUM_BYTES = 10 * 2**20

_RUNS, _MINUTES_A_RUN = 7, 2
"""Of an acceptance, bootstrap included."""


def dollars(dpu_seconds: float) -> Decimal:
    """At the list price in us-west-2."""
    return Decimal(dpu_seconds) / 3600 * DOLLARS_PER_DPU_HOUR


def expected_dollars() -> Decimal:
    """What an acceptance costs at most: its runs, with all workers all the time. All else is cents."""
    return dollars(_RUNS * _MINUTES_A_RUN * 60 * job.WORKERS)
