"""What the pipeline costs a month on AWS: measured bytes and seconds times list prices.

`python -m tools cost` prints it; `make docs` writes its tables into docs/BENCHMARKS_AND_COSTS.md. Bytes and
seconds come from `benchmarks/results/`, and what could not be measured without an AWS account is an
assumption in `ASSUMPTIONS` below, with its reason. Not a quote: prices change, and free tiers, discounts and
taxes are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from benchmarks.results import RESULTS, load
from capstone_pipeline.errors import PipelineError
from tools.markdown import markdown_table

# --- Prices -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    """A list price of us-west-2 in USD: what it is for, where AWS publishes it, of when the copy seen is."""

    amount: Decimal
    unit: str
    source: str
    seen: str


S3_PAGE, GLUE_PAGE = "https://aws.amazon.com/s3/pricing/", "https://aws.amazon.com/glue/pricing/"
LAMBDA_PAGE = "https://aws.amazon.com/lambda/pricing/"
LOGS_PAGE = "https://aws.amazon.com/cloudwatch/pricing/"

PRICES = {
    "storage": Price(Decimal("0.023"), "GB-month of S3 Standard, first 50 TB", S3_PAGE, "2025-10"),
    "storage_next": Price(Decimal("0.022"), "GB-month of S3 Standard, next 450 TB", S3_PAGE, "2025-10"),
    "storage_rest": Price(Decimal("0.021"), "GB-month of S3 Standard, over 500 TB", S3_PAGE, "2025-10"),
    "s3_write": Price(Decimal("0.000005"), "S3 PUT, COPY, POST or LIST request", S3_PAGE, "2025-10"),
    "s3_read": Price(Decimal("0.0000004"), "S3 GET or other request", S3_PAGE, "2025-10"),
    "dpu_hour": Price(
        Decimal("0.44"), "Glue DPU-hour, by the second, at least a minute", GLUE_PAGE, "2026-10"
    ),
    "athena": Price(
        Decimal("5"),
        "TB scanned by Athena, at least 10 MB a query",
        "https://aws.amazon.com/athena/pricing/",
        "2026-07",
    ),
    "lambda_gb_second": Price(Decimal("0.0000166667"), "Lambda GB-second (x86)", LAMBDA_PAGE, "2024-11"),
    "lambda_request": Price(Decimal("0.0000002"), "Lambda request", LAMBDA_PAGE, "2026-09"),
    "log_ingestion": Price(Decimal("0.50"), "GB into CloudWatch Logs", LOGS_PAGE, "2026-02"),
    "metric": Price(Decimal("0.30"), "custom CloudWatch metric, a month", LOGS_PAGE, "2026-02"),
    "alarm": Price(Decimal("0.10"), "CloudWatch alarm, a month", LOGS_PAGE, "2026-02"),
    "key": Price(Decimal("1"), "KMS key, a month", "https://aws.amazon.com/kms/pricing/", "2026-03"),
    "log_storage": Price(Decimal("0.03"), "GB-month in CloudWatch Logs", LOGS_PAGE, "2026-02"),
}
GLUE_MINIMUM_SECONDS = 60
ATHENA_MINIMUM_BYTES = 10 * 2**20
GB, TB = Decimal(2**30), Decimal(2**40)
"""AWS bills in binary units."""

# --- What is measured, and what is assumed ------------------------------------------------------------------

DAYS = 30
DELIVERY_MINUTES = 5
DELIVERIES = DAYS * 24 * 60 // DELIVERY_MINUTES
INTERVALS = {5: "every 5 minutes", 15: "every 15 minutes", 60: "every hour", 1440: "every day"}
LAMBDA_GB = 1
RAW_DAYS, OLD_VERSION_DAYS = 30, 7
"""As in the template: how long raw objects stay, and versions that were replaced or deleted."""

MAX_WORKERS = 10
EXECUTORS = MAX_WORKERS - 1
HOURS = 4
"""Into which the events of a run fall, most of them into one."""
FILES_PER_OBJECT, FILES_PER_RUN = 2, HOURS + 2 + 8
"""Files that are written: for each raw object events and rejects; for each run silver by the hour, cube and
visitors, six tables of gold, index and note."""
WRITE_REQUESTS_PER_FILE, READ_REQUESTS_PER_FILE = 20, 20
OBJECTS_PER_HOUR = 60 // DELIVERY_MINUTES
FILES_READ, REQUESTS_PER_FILE_READ = HOURS * HOURS * OBJECTS_PER_HOUR + 2 * 12 * OBJECTS_PER_HOUR, 3
"""By a run: those of silver in its hours, and on average half a day's of cube and visitors."""
MONITORING = {"metric": 6, "alarm": 2, "key": 1}
"""What the optional operations stack has of each."""
LOG_BYTES_PER_RUN = 2 * 2**20
ASKED_PER_DAY = 24

ASSUMPTIONS = (
    "Seconds were measured on the machine named above, not on Glue. A Glue vCPU is a hyperthread, so one "
    "G.1X worker (4 vCPU) is taken to do the work of a run in the seconds that this machine needs. A run has "
    "one more worker for the driver. Seconds until Spark has started count for every run.",
    f"A run over several objects spreads their work over one worker each, up to {EXECUTORS}. Glue does not "
    "bill the time until a run starts.",
    f"Each file written causes {WRITE_REQUESTS_PER_FILE} write and list requests (put, the committer's "
    f"copy, listings) and {READ_REQUESTS_PER_FILE} others. A run reads {FILES_READ} files (silver of the "
    "hours of its events, cube and visitors of the day) with "
    f"{REQUESTS_PER_FILE_READ} requests each: rather more than the embedded S3 counts "
    "(`make bench PARTS=history`).",
    f"What Spark's committer moves stays as an old version for {OLD_VERSION_DAYS} days: everything written "
    "is stored twice for that time.",
    "A run reads the touched hours of silver. Later in a day there is more of it than when the seconds were "
    "measured; that is left out.",
    "Monitoring is the optional operations stack with its alarms.",
    f"A run logs {LOG_BYTES_PER_RUN // 2**20} MB. Each of the five queries is asked {ASKED_PER_DAY} times a "
    "day.",
)


@dataclass(frozen=True)
class Measurements:
    """What the model needs of the benchmark results. Bytes are as stored, seconds are wall-clock."""

    machine: str
    events: Decimal
    run_seconds: Decimal
    start_seconds: Decimal
    json_bytes: Decimal
    gzip_bytes: Decimal
    bronze_bytes: Decimal
    silver_bytes: Decimal
    gold_bytes_per_day: Decimal
    lambda_seconds: Decimal
    scanned_bytes: tuple[Decimal, ...]

    @property
    def work_seconds(self) -> Decimal:
        """Seconds of a run over one delivery that grow with the data."""
        return self.run_seconds - self.start_seconds

    def times(self, factor: int) -> Measurements:
        """The same pipeline with so many times the events, delivered as so many objects of today's size."""
        return replace(self, events=self.events * factor)


class MeasurementsMissing(PipelineError):
    """The benchmark results that the costs are computed from are not there, or not all of them."""


FIGURES = {
    "events": "one_batch.events",
    "run_seconds": "one_batch.ours_seconds",
    "start_seconds": "one_batch.phase_spark_start_seconds",
    "json_bytes": "storage.json_bytes_per_event",
    "gzip_bytes": "storage.gzip_bytes_per_event",
    "bronze_bytes": "storage.bronze_bytes_per_event",
    "silver_bytes": "storage.silver_bytes_per_event",
    "gold_bytes_per_day": "storage.gold_bytes_per_day",
    "lambda_seconds": "generator.lambda_seconds",
}
SCANNED = tuple(
    f"queries.{name}_scanned_bytes"
    for name in (
        "conversion_funnel",
        "hourly_revenue",
        "top_products",
        "category_performance",
        "user_activity",
    )
)


def read_measurements(folder: Path = RESULTS) -> Measurements:
    """The measured figures.

    Raises MeasurementsMissing, with the names of those that are missing.
    """
    results = load(folder)
    values = {
        f"{part}.{name}": Decimal(str(figure.value))
        for part, result in results.items()
        for name, figure in result.figures.items()
    }
    if missing := [name for name in (*FIGURES.values(), *SCANNED) if name not in values]:
        raise MeasurementsMissing(
            f"The costs cannot be computed: {folder} has no figure {', '.join(missing)}.",
            "measure them (this takes a while), or take the committed results:\n"
            "  make bench\n  git checkout -- benchmarks/results",
        )
    measured = results["one_batch"]
    machine = measured.machine
    return Measurements(
        machine=f"{machine.get('cpus')} CPUs, {machine.get('memory_gib')} GiB, on {measured.measured}",
        scanned_bytes=tuple(values[name] for name in SCANNED),
        **{field: values[name] for field, name in FIGURES.items()},
    )


# --- The model ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run of the job: the deliveries that it takes in, its executors, its seconds."""

    deliveries: int
    executors: int
    seconds: Decimal

    @property
    def dpu_seconds(self) -> Decimal:
        """What Glue bills: a DPU for the driver and one for each executor, for at least a minute."""
        return max(self.seconds, Decimal(GLUE_MINIMUM_SECONDS)) * (1 + self.executors)


def run_of(measured: Measurements, deliveries: int, executors: int | None = None) -> Run:
    """A run over so many deliveries of one object each, on one executor an object unless told otherwise."""
    executors = executors or min(deliveries, EXECUTORS)
    return Run(deliveries, executors, measured.start_seconds + measured.work_seconds * deliveries / executors)


def monthly_costs(measured: Measurements, minutes: int, months: int = 1) -> dict[str, Decimal]:
    """USD a month by what they are for, with a run every `minutes` and data of so many months kept."""
    runs = DAYS * 24 * 60 // minutes
    run = run_of(measured, minutes // DELIVERY_MINUTES)
    logs = Decimal(runs * LOG_BYTES_PER_RUN) / GB
    return {
        "Glue": runs * run.dpu_seconds / 3600 * PRICES["dpu_hour"].amount,
        "S3 storage": storage_cost(stored_bytes(measured, runs, months)),
        "S3 requests": request_cost(runs, run.deliveries),
        "Lambda (generator)": DELIVERIES
        * (
            measured.lambda_seconds * LAMBDA_GB * PRICES["lambda_gb_second"].amount
            + PRICES["lambda_request"].amount
        ),
        "Athena": ASKED_PER_DAY
        * DAYS
        * sum((query_cost(scanned) for scanned in measured.scanned_bytes), Decimal(0)),
        "Monitoring": sum((n * PRICES[name].amount for name, n in MONITORING.items()), Decimal(0)),
        "CloudWatch Logs": logs * (PRICES["log_ingestion"].amount + PRICES["log_storage"].amount),
    }


def stored_bytes(measured: Measurements, runs: int, months: int) -> Decimal:
    """Bytes in both buckets at the end of so many months, old versions included."""
    events_a_day = measured.events * DELIVERIES / DAYS
    raw = events_a_day * measured.gzip_bytes * (min(months * DAYS, RAW_DAYS) + OLD_VERSION_DAYS)
    lake = events_a_day * (measured.bronze_bytes + measured.silver_bytes)
    gold = measured.gold_bytes_per_day
    gold_versions = gold * runs / DAYS * OLD_VERSION_DAYS * 2
    return raw + lake * (months * DAYS + OLD_VERSION_DAYS) + gold * months * DAYS + gold_versions


def storage_cost(stored: Decimal) -> Decimal:
    """USD a month for so many bytes, by the tiers of S3 Standard."""
    left, cost = stored / GB, Decimal(0)
    for tier, size in (("storage", 50 * 1024), ("storage_next", 450 * 1024), ("storage_rest", None)):
        part = left if size is None else min(left, Decimal(size))
        cost += part * PRICES[tier].amount
        left -= part
    return cost


def request_cost(runs: int, deliveries: int) -> Decimal:
    """USD a month for the S3 requests of the runs, each over so many objects."""
    files = deliveries * FILES_PER_OBJECT + FILES_PER_RUN
    raw_listing = math.ceil(RAW_DAYS * 24 * 60 / DELIVERY_MINUTES / 1000)
    writes = files * WRITE_REQUESTS_PER_FILE + raw_listing
    reads = files * READ_REQUESTS_PER_FILE + FILES_READ * REQUESTS_PER_FILE_READ
    return runs * (writes * PRICES["s3_write"].amount + reads * PRICES["s3_read"].amount)


def query_cost(scanned_bytes: Decimal) -> Decimal:
    """USD for one query of Athena that scans so many bytes."""
    return max(scanned_bytes, Decimal(ATHENA_MINIMUM_BYTES)) / TB * PRICES["athena"].amount


# --- Shown --------------------------------------------------------------------------------------------------


def report(measured: Measurements) -> str:
    """All tables as text for a terminal (they are Markdown)."""
    parts = [
        f"Measured with {measured.machine}",
        monthly_table(measured),
        frequency_table(measured),
        price_table(),
        "Assumed:\n" + "\n".join(f"- {assumption}" for assumption in ASSUMPTIONS),
    ]
    return "\n\n".join(parts)


def monthly_table(measured: Measurements) -> str:
    """USD a month by service with a run every five minutes: in the first month, and after a year."""
    first, later = (monthly_costs(measured, DELIVERY_MINUTES, months) for months in (1, 12))
    rows = [[name, usd(first[name]), usd(later[name])] for name in first]
    rows.append(["**all**", usd(sum(first.values(), Decimal(0))), usd(sum(later.values(), Decimal(0)))])
    return markdown_table(["a month", "first month", "twelfth month"], rows)


def frequency_table(measured: Measurements) -> str:
    """How often the job runs against what it costs and how old the answers get."""
    rows = []
    for minutes, name in INTERVALS.items():
        run, costs = run_of(measured, minutes // DELIVERY_MINUTES), monthly_costs(measured, minutes)
        oldest = minutes + float(run.seconds) / 60
        rows.append(
            [
                name,
                f"{DAYS * 24 * 60 // minutes:,}",
                f"{run.seconds:,.0f}",
                f"{1 + run.executors}",
                usd(costs["Glue"]),
                usd(costs["S3 requests"]),
                usd(sum(costs.values(), Decimal(0))),
                f"{oldest:,.0f}",
            ]
        )
    header = [
        "run",
        "runs a month",
        "seconds a run",
        "workers",
        "Glue",
        "S3 requests",
        "all",
        "oldest answer, minutes",
    ]
    return markdown_table(header, rows)


def price_table() -> str:
    """The prices, their sources and of when they are."""
    rows = [[price.unit, f"${price.amount:f}", f"<{price.source}>", price.seen] for price in PRICES.values()]
    return markdown_table(["USD per", "price", "published at", "as seen in"], rows)


def scaling_table(measured: Measurements, factors: Iterable[int] = (1, 10, 100, 1000)) -> str:
    """What grows with the volume, for multiples of today's."""
    columns = [_scaled(measured, factor) for factor in factors]
    names = list(columns[0])
    rows = [[name, *(column[name] for column in columns)] for name in names]
    return markdown_table(["", *(f"{factor:,}x" for factor in factors)], rows)


def _scaled(measured: Measurements, factor: int) -> dict[str, str]:
    more = measured.times(factor)
    a_day = more.events * DELIVERIES / DAYS
    room = DELIVERY_MINUTES * 60 - measured.start_seconds
    executors = math.ceil(measured.work_seconds * factor / room)
    run = run_of(measured, factor, executors)
    silver_day = a_day * measured.silver_bytes
    glue = DELIVERIES * run.dpu_seconds / 3600 * PRICES["dpu_hour"].amount
    return {
        "events per five minutes": f"{more.events:,.0f}",
        "raw gzip a day": size(a_day * measured.gzip_bytes),
        "raw objects a day": f"{DELIVERIES // DAYS * factor:,}",
        "raw objects that a run lists": f"{RAW_DAYS * DELIVERIES // DAYS * factor:,}",
        "bronze files a day": f"{DELIVERIES // DAYS * factor * FILES_PER_OBJECT:,}",
        "silver a day": size(silver_day),
        "read again a day to refresh gold, at most": size(silver_day / 2 * DELIVERIES / DAYS),
        "shuffled by a run, at most": size(more.events * measured.json_bytes),
        "executors to keep up": f"{executors:,}",
        "seconds a run": f"{run.seconds:,.0f}",
        "Glue a month": usd(glue),
        "S3 a month after a year": usd(storage_cost(stored_bytes(more, DELIVERIES, 12))),
        "one query over a day of silver": usd(query_cost(silver_day)),
    }


def usd(amount: Decimal) -> str:
    """An amount as text: cents, or two significant digits where a cent is too coarse."""
    if 0 < amount < Decimal("0.01"):
        return f"${amount:.2g}" if amount >= Decimal("0.0001") else f"${amount:.6f}"
    return f"${amount.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def size(count: Decimal) -> str:
    """Bytes as text, decimal units, three significant digits."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {units[0]}"
