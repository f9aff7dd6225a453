"""What the pipeline costs a month on AWS: measured bytes and seconds times list prices.

`python -m tools cost` prints it; `make docs` writes its tables into docs/BENCHMARKS_AND_COSTS.md. Bytes and
seconds come from `benchmarks/results/`, and what could not be measured without an AWS account is an
assumption in `ASSUMED` below. Each cost is a range: `LOW` and `HIGH` are the ends of what is not known. Not a
quote: prices change, and free tiers, discounts and taxes are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from benchmarks.results import RESULTS, load
from capstone_pipeline.errors import PipelineError
from capstone_pipeline.job import WORKERS
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
LAMBDA_MIB, MIB_OF_A_VCPU = 1024, 1769
"""As in the template; and the memory that brings a whole vCPU (Lambda Developer Guide, "Memory")."""
LAMBDA_GB = Decimal(LAMBDA_MIB) / 1024
RAW_DAYS, OLD_VERSION_DAYS = 30, 7
"""As in the template: how long raw objects stay, and versions that were replaced or deleted."""

EXECUTORS = WORKERS - 1
FILES_PER_OBJECT = 2
"""Bronze's: the events and the rejects of a raw object."""
OBJECTS_PER_HOUR = 60 // DELIVERY_MINUTES
MONITORING = {"metric": 6, "alarm": 3, "key": 1}
"""What the optional operations stack has of each."""
WATCH_WORKERS, WATCH_SECONDS, WATCH_RUN_HOURS = 2, 5, 23
"""Of a run that watches, as the operations template starts it; WATCH_SECONDS is an example."""
WATCH_LISTED_DAYS, WATCH_LISTING_MINUTES = 2, 15
"""What each round lists, and how often one lists all raw objects instead (as in the script)."""
KEYS_PER_LIST = 1_000
ASKED_PER_DAY = 24

KINDS = {"LIST": "s3_write", "PUT": "s3_write", "GET": "s3_read", "HEAD": "s3_read", "DELETE": "free"}
"""Of requests to S3, and by which price they go. A COPY counts as a PUT."""
POINTS = {
    "batch_1": "the first run of a lake",
    "batch_288": "the last run of a day",
    "day_30": "a run on day 30, raw objects not yet expired",
}
"""Of a run's requests: `benchmarks/results/requests.json` has the figures `<point>_<kind>`, such as
batch_1_list, in the unit count; `<point>_waiting_seconds` may say for how long the run waits for S3."""
REQUESTS_UNTIL_MEASURED = {
    "batch_1": {"LIST": 30, "PUT": 19, "GET": 28, "HEAD": 8, "DELETE": 6},
    "batch_288": {"LIST": 60, "PUT": 19, "GET": 700, "HEAD": 100, "DELETE": 6},
    "day_30": {"LIST": 70, "PUT": 19, "GET": 700, "HEAD": 100, "DELETE": 6},
}
"""The first are the bounds of `make accept` (capstone_pipeline/accept/bounds.py), the others guesses."""


@dataclass(frozen=True)
class Case:
    """What is not known, at one end of its range."""

    name: str
    bootstrap_seconds: int
    slower_by: Decimal
    all_workers: bool
    log_bytes: int
    requests_at: str


LOW = Case("low", 20, Decimal(1), False, 2**20, "batch_1")
HIGH = Case("high", 40, Decimal("1.5"), True, 5 * 2**20, "day_30")
CASES = (LOW, HIGH)

KNOWN = (
    "Every run on Glue starts a JVM anew. Its seconds are those of a cold run here without starting Spark, "
    "for which Glue's bootstrap stands.",
    "Glue bills each worker's seconds, for a minute at least. With auto scaling a run has the driver's "
    "worker and those that it can use.",
    "Lambda gives 1,024 MB six tenths of a vCPU: the generator takes 1.7 times as long as on a whole core.",
    f"A run that watches has {WATCH_WORKERS} workers all day, whatever comes.",
    "Bytes are measured. So are the requests to S3, where benchmarks/results/requests.json says so.",
)
ASSUMED = (
    f"Bootstrap takes {LOW.bootstrap_seconds} to {HIGH.bootstrap_seconds} seconds and is billed.",
    f"A vCPU of Glue or Lambda is as fast as a core of the machine named above, or {HIGH.slower_by} times "
    "slower. A worker has four, that machine two; one object is one task.",
    f"A run over one object uses one worker beside the driver's, or holds all {EXECUTORS}. Over more objects "
    "it uses all; the first object is taken in by a cold JVM, the others by a warm one.",
    f"A run asks S3 as often as the first run of a lake, or as often as on day {DAYS}.",
    f"What is put in place of older gold leaves that as an old version, for {OLD_VERSION_DAYS} days.",
    f"A run logs {LOW.log_bytes // 2**20} to {HIGH.log_bytes // 2**20} MB. Glue's job metrics, which may be "
    "billed as custom ones, are off. Monitoring is the optional operations stack.",
    f"Each of the five queries is asked {ASKED_PER_DAY} times a day. Later in a day a run reads more of "
    "silver than when the seconds were measured; that is left out.",
)


@dataclass(frozen=True)
class Measurements:
    """What the model needs of the benchmark results. Bytes are as stored, seconds are wall-clock."""

    machine: str
    events: Decimal
    cold_seconds: Decimal
    cold_start_seconds: Decimal
    warm_seconds: Decimal
    warm_start_seconds: Decimal
    json_bytes: Decimal
    gzip_bytes: Decimal
    bronze_bytes: Decimal
    silver_bytes: Decimal
    gold_bytes_per_day: Decimal
    lambda_seconds: Decimal
    scanned_bytes: tuple[Decimal, ...]
    requests: Mapping[str, Mapping[str, int]] = field(default_factory=lambda: REQUESTS_UNTIL_MEASURED)
    waiting_seconds: Mapping[str, Decimal] = field(default_factory=dict)
    requests_are_measured: bool = False

    def first_seconds(self, case: Case) -> Decimal:
        """Seconds of a run over one delivery, without bootstrap: the JVM is cold, S3 lets it wait."""
        work = (self.cold_seconds - self.cold_start_seconds) * case.slower_by
        return work + self.waiting_seconds.get(case.requests_at, Decimal(0))

    def next_seconds(self, case: Case) -> Decimal:
        """Seconds by which another delivery makes a run on one executor longer."""
        return (self.warm_seconds - self.warm_start_seconds) * case.slower_by

    def times(self, factor: int) -> Measurements:
        """The same pipeline with so many times the events, delivered as so many objects of today's size."""
        return replace(self, events=self.events * factor)


class MeasurementsMissing(PipelineError):
    """The benchmark results that the costs are computed from are not there, or not all of them."""


FIGURES = {
    "events": "one_batch.events",
    "cold_seconds": "one_batch.ours_cold_seconds",
    "cold_start_seconds": "one_batch.phase_spark_start_cold_seconds",
    "warm_seconds": "one_batch.ours_seconds",
    "warm_start_seconds": "one_batch.phase_spark_start_seconds",
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
    requests = _measured_requests(values) if "requests" in results else None
    return Measurements(
        requests=requests or REQUESTS_UNTIL_MEASURED,
        requests_are_measured=requests is not None,
        waiting_seconds={
            point: values[name] for point in POINTS if (name := f"requests.{point}_waiting_seconds") in values
        },
        machine=f"{machine.get('cpus')} CPUs, {machine.get('memory_gib')} GiB, on {measured.measured}",
        scanned_bytes=tuple(values[name] for name in SCANNED),
        **{field: values[name] for field, name in FIGURES.items()},
    )


def _measured_requests(values: Mapping[str, Decimal]) -> dict[str, dict[str, int]]:
    names = {(point, kind): f"requests.{point}_{kind.lower()}" for point in POINTS for kind in KINDS}
    if missing := [name for name in names.values() if name not in values]:
        raise MeasurementsMissing(
            f"benchmarks/results/requests.json has no figure {', '.join(missing)}.",
            "measure all of them, or remove the file: then the model says that it assumes them.",
        )
    return {point: {kind: int(values[names[point, kind]]) for kind in KINDS} for point in POINTS}


# --- The model ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run of the job: the deliveries that it takes in, its executors, its seconds, bootstrap included."""

    deliveries: int
    executors: int
    seconds: Decimal

    @property
    def dpu_seconds(self) -> Decimal:
        """What Glue bills: a DPU for the driver and one for each executor, for at least a minute."""
        return max(self.seconds, Decimal(GLUE_MINIMUM_SECONDS)) * (1 + self.executors)


def run_of(measured: Measurements, case: Case, deliveries: int, executors: int | None = None) -> Run:
    """A run over so many deliveries of one object each, on so many executors (None: those of the job)."""
    used = min(deliveries, executors or EXECUTORS)
    seconds = case.bootstrap_seconds + measured.first_seconds(case)
    seconds += measured.next_seconds(case) * (deliveries - 1) / used
    return Run(deliveries, executors or (EXECUTORS if case.all_workers else used), seconds)


def monthly_costs(
    measured: Measurements, case: Case, minutes: int = DELIVERY_MINUTES, months: int = 1
) -> dict[str, Decimal]:
    """USD a month by what they are for, with a run every `minutes` and data of so many months kept."""
    runs = DAYS * 24 * 60 // minutes
    run = run_of(measured, case, minutes // DELIVERY_MINUTES)
    logs = Decimal(runs * case.log_bytes) / GB
    share = Decimal(LAMBDA_MIB) / MIB_OF_A_VCPU
    lambda_seconds = measured.lambda_seconds / share * case.slower_by
    return {
        "Glue": runs * run.dpu_seconds / 3600 * PRICES["dpu_hour"].amount,
        "S3 storage": storage_cost(stored_bytes(measured, runs, months)),
        "S3 requests": request_cost(measured, case, runs, run.deliveries),
        "Lambda (generator)": DELIVERIES
        * (lambda_seconds * LAMBDA_GB * PRICES["lambda_gb_second"].amount + PRICES["lambda_request"].amount),
        "Athena": ASKED_PER_DAY
        * DAYS
        * sum((query_cost(scanned) for scanned in measured.scanned_bytes), Decimal(0)),
        "Monitoring": sum((n * PRICES[name].amount for name, n in MONITORING.items()), Decimal(0)),
        "CloudWatch Logs": logs * (PRICES["log_ingestion"].amount + PRICES["log_storage"].amount),
    }


def watch_costs(measured: Measurements, case: Case) -> dict[str, Decimal]:
    """USD a month where one run watches all the time: workers all day, and the listings of all rounds."""
    rounds, a_day = DAYS * 24 * 3600 // WATCH_SECONDS, DELIVERIES // DAYS
    whole_listings = DAYS * 24 * 60 // WATCH_LISTING_MINUTES
    listings = rounds * WATCH_LISTED_DAYS * math.ceil(a_day / KEYS_PER_LIST)
    listings += whole_listings * math.ceil(RAW_DAYS * a_day / KEYS_PER_LIST)
    costs = monthly_costs(measured, case)
    return costs | {
        "Glue": DAYS * 24 * WATCH_WORKERS * PRICES["dpu_hour"].amount,
        "S3 requests": costs["S3 requests"] + listings * PRICES["s3_write"].amount,
    }


def stored_bytes(measured: Measurements, runs: int, months: int) -> Decimal:
    """Bytes in both buckets at the end of so many months, old versions included."""
    events_a_day = measured.events * DELIVERIES / DAYS
    raw = events_a_day * measured.gzip_bytes * (min(months * DAYS, RAW_DAYS) + OLD_VERSION_DAYS)
    lake = events_a_day * (measured.bronze_bytes + measured.silver_bytes)
    gold = measured.gold_bytes_per_day
    gold_versions = gold * runs / DAYS * OLD_VERSION_DAYS
    return raw + lake * months * DAYS + gold * months * DAYS + gold_versions


def storage_cost(stored: Decimal) -> Decimal:
    """USD a month for so many bytes, by the tiers of S3 Standard."""
    left, cost = stored / GB, Decimal(0)
    for tier, size in (("storage", 50 * 1024), ("storage_next", 450 * 1024), ("storage_rest", None)):
        part = left if size is None else min(left, Decimal(size))
        cost += part * PRICES[tier].amount
        left -= part
    return cost


def request_cost(measured: Measurements, case: Case, runs: int, deliveries: int) -> Decimal:
    """USD a month for the S3 requests of the runs, each over so many objects.

    Each object beyond the first brings what it writes itself: a tenth of the run's requests.
    """
    a_run = sum(
        count * (PRICES[KINDS[kind]].amount if KINDS[kind] in PRICES else Decimal(0))
        for kind, count in measured.requests[case.requests_at].items()
    )
    return runs * a_run * (1 + Decimal(deliveries - 1) / 10)


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
        request_table(measured),
        price_table(),
        *(
            f"{title}:\n" + "\n".join(f"- {sentence}" for sentence in sentences)
            for title, sentences in (("Known", KNOWN), ("Assumed, low to high", ASSUMED))
        ),
    ]
    return "\n\n".join(parts)


def monthly_table(measured: Measurements) -> str:
    """USD a month by service with a run every five minutes: in the first month, and after a year."""
    months = [[monthly_costs(measured, case, months=months) for case in CASES] for months in (1, 12)]
    rows = [[name, *(_span(low[name], high[name]) for low, high in months)] for name in months[0][0]]
    rows.append(["**all**", *(_span(_all(low), _all(high)) for low, high in months)])
    return markdown_table(["a month, low to high", "first month", "twelfth month"], rows)


def frequency_table(measured: Measurements) -> str:
    """How often the job runs against what it costs and how old the answers get."""
    rows = []
    for minutes, name in INTERVALS.items():
        runs = [run_of(measured, case, minutes // DELIVERY_MINUTES) for case in CASES]
        low, high = (monthly_costs(measured, case, minutes) for case in CASES)
        rows.append(
            [
                name,
                f"{DAYS * 24 * 60 // minutes:,}",
                _numbers(*(run.seconds for run in runs)),
                _numbers(*(1 + run.executors for run in runs)),
                _span(low["Glue"], high["Glue"]),
                _span(low["S3 requests"], high["S3 requests"]),
                _span(_all(low), _all(high)),
                _numbers(*(minutes + run.seconds / 60 for run in runs)),
            ]
        )
    rounds = [measured.next_seconds(case) for case in CASES]
    low, high = (watch_costs(measured, case) for case in CASES)
    rows.append(
        [
            f"one that watches, every {WATCH_SECONDS} seconds",
            f"{math.ceil(DAYS * 24 / WATCH_RUN_HOURS)}",
            f"{_numbers(*rounds)} a round",
            f"{WATCH_WORKERS}",
            _span(low["Glue"], high["Glue"]),
            _span(low["S3 requests"], high["S3 requests"]),
            _span(_all(low), _all(high)),
            " – ".join(f"{(WATCH_SECONDS + seconds) / 60:.1f}" for seconds in rounds),
        ]
    )
    header = ["run", "runs a month", "seconds a run", "workers"]
    return markdown_table(
        [*header, "Glue", "S3 requests", "all, low to high", "oldest answer, minutes"], rows
    )


def request_table(measured: Measurements) -> str:
    """How often a run asks S3, by kind."""
    rows = [
        [title, *(f"{measured.requests[point][kind]:,}" for kind in KINDS)] for point, title in POINTS.items()
    ]
    origin = "measured" if measured.requests_are_measured else "assumed"
    return markdown_table([f"requests to S3, {origin}", *KINDS], rows)


def _all(costs: Mapping[str, Decimal]) -> Decimal:
    return sum(costs.values(), Decimal(0))


def _span(low: Decimal, high: Decimal) -> str:
    texts = [usd(low), usd(high)]
    return " – ".join(dict.fromkeys(texts))


def _numbers(low: Decimal | int, high: Decimal | int) -> str:
    return " – ".join(dict.fromkeys(f"{value:,.0f}" for value in (low, high)))


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
    runs = []
    for case in CASES:
        room = DELIVERY_MINUTES * 60 - case.bootstrap_seconds - measured.first_seconds(case)
        executors = max(1, math.ceil(measured.next_seconds(case) * (factor - 1) / room))
        runs.append(run_of(measured, case, factor, executors))
    silver_day = a_day * measured.silver_bytes
    glue = [DELIVERIES * run.dpu_seconds / 3600 * PRICES["dpu_hour"].amount for run in runs]
    return {
        "events per five minutes": f"{more.events:,.0f}",
        "raw gzip a day": size(a_day * measured.gzip_bytes),
        "raw objects a day": f"{DELIVERIES // DAYS * factor:,}",
        "raw objects that a run lists": f"{RAW_DAYS * DELIVERIES // DAYS * factor:,}",
        "bronze files a day": f"{DELIVERIES // DAYS * factor * FILES_PER_OBJECT:,}",
        "silver a day": size(silver_day),
        "shuffled by a run, at most": size(more.events * measured.json_bytes),
        "executors to keep up": _numbers(*(run.executors for run in runs)),
        "seconds a run": _numbers(*(run.seconds for run in runs)),
        "Glue a month": _span(*glue),
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
