"""The cost model: sums made by hand for round measurements, periods as the template has them."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from cfnlint.decode import decode

from capstone_pipeline.accept import bounds
from tests import template
from tests.docs.commands import ROOT
from tools import cost
from tools.__main__ import main
from tools.cost import HIGH, KINDS, LOW, POINTS, PRICES, Measurements, MeasurementsMissing

ROUND = Measurements(
    machine="a calculator",
    events=Decimal(600_000),
    cold_seconds=Decimal(100),
    cold_start_seconds=Decimal(10),
    warm_seconds=Decimal(40),
    warm_start_seconds=Decimal(4),
    json_bytes=Decimal(200),
    gzip_bytes=Decimal(20),
    bronze_bytes=Decimal(10),
    silver_bytes=Decimal(10),
    gold_bytes_per_day=Decimal(0),
    lambda_seconds=Decimal(20),
    scanned_bytes=(Decimal(1000),) * 5,
    requests={point: {"LIST": 100, "PUT": 100, "GET": 500, "HEAD": 500, "DELETE": 9} for point in POINTS},
)


def cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


def result_file(folder: Path, figures: dict[str, float], part: str) -> None:
    document = {
        "part": part,
        "title": part,
        "measured": "2026-11-24",
        "machine": {"cpus": 2, "memory_gib": 8},
        "figures": {
            name: {"value": value, "unit": "number", "what": name} for name, value in figures.items()
        },
        "details": {},
    }
    (folder / f"{part}.json").write_text(json.dumps(document))


def all_results(folder: Path) -> None:
    for part in ("one_batch", "storage", "generator", "queries"):
        names = [name for name in (*cost.FIGURES.values(), *cost.SCANNED) if name.startswith(f"{part}.")]
        result_file(folder, {name.split(".")[1]: 2.5 for name in names}, part)


# --- The sums -----------------------------------------------------------------------------------------------


def test_a_run_is_bootstrap_and_a_cold_jvms_work_without_its_start() -> None:
    # 20 s and 90 s on two workers; 40 s and 1.5 x 90 s on three.
    low, high = (cost.run_of(ROUND, case, 1) for case in (LOW, HIGH))
    assert (low.seconds, low.dpu_seconds) == (110, 220)
    assert (high.seconds, high.dpu_seconds) == (175, 525)
    # 8,640 runs x 220 DPU-seconds = 528 DPU-hours, at 0.44 each.
    assert cents(cost.monthly_costs(ROUND, LOW)["Glue"]) == Decimal("232.32")


def test_a_run_shorter_than_a_minute_is_billed_as_a_minute() -> None:
    short = replace(ROUND, cold_seconds=Decimal(25))
    # 8,640 runs x 60 s x 2 DPU = 288 DPU-hours.
    assert cents(cost.monthly_costs(short, LOW)["Glue"]) == Decimal("126.72")


def test_the_jvm_is_warm_for_all_objects_but_the_first() -> None:
    # 20 s, 90 s, and 287 deliveries x 36 s of work on two executors.
    run = cost.run_of(ROUND, LOW, 288)
    assert (run.executors, run.seconds, run.dpu_seconds) == (2, 110 + 5166, 3 * 5276)


def test_a_run_waits_for_s3_as_long_as_was_measured() -> None:
    waiting = replace(ROUND, waiting_seconds={"batch_1": Decimal(7), "day_30": Decimal(30)})
    assert cost.run_of(waiting, LOW, 1).seconds == 117
    assert cost.run_of(waiting, HIGH, 1).seconds == 205


def test_a_run_that_watches_is_billed_all_day_and_lists_in_every_round() -> None:
    costs = cost.watch_costs(ROUND, LOW)
    # 720 hours on two workers. 518,400 rounds of two lists, 2,880 of nine, and 8,640 objects as ever.
    assert cents(costs["Glue"]) == Decimal("633.60")
    lists = 518_400 * 2 + 2_880 * 9
    assert costs["S3 requests"] == cost.request_cost(ROUND, LOW, 8640, 1) + lists * Decimal("0.000005")
    assert costs.keys() == cost.monthly_costs(ROUND, LOW).keys()
    # 5 s until the round begins, 36 s of work; at the high end 54 s.
    row = cost.frequency_table(ROUND).splitlines()[-1]
    assert row.startswith("| one that watches, every 5 seconds | 32 | 36 – 54 a round | 2 | $633.60 |")
    assert row.endswith("| 0.7 – 1.0 |")


@pytest.mark.parametrize("case", [LOW, HIGH], ids=lambda case: case.name)
def test_fewer_runs_cost_less(case: cost.Case) -> None:
    totals = [sum(cost.monthly_costs(ROUND, case, minutes).values()) for minutes in cost.INTERVALS]
    assert totals == sorted(totals, reverse=True)


def test_no_cost_is_lower_at_the_high_end() -> None:
    for minutes in cost.INTERVALS:
        low, high = (cost.monthly_costs(ROUND, case, minutes) for case in (LOW, HIGH))
        assert all(low[name] <= high[name] for name in low)


def test_the_generator_costs_its_gigabyte_seconds_and_requests() -> None:
    # 20 s on a core are 34.55 s on 1,024 / 1,769 of one: 8,640 x (34.55 GB-s x 0.0000166667 + 0.0000002)
    assert cents(cost.monthly_costs(ROUND, LOW)["Lambda (generator)"]) == Decimal("4.98")


def test_a_small_query_is_billed_as_ten_megabytes_and_a_large_one_by_its_bytes() -> None:
    assert cost.query_cost(Decimal(1)) == Decimal(5) * 10 / 2**20
    assert cost.query_cost(Decimal(2**40)) == 5
    # 5 queries x 24 a day x 30 days x 10 MB = 36,000 MB
    assert cents(cost.monthly_costs(ROUND, LOW)["Athena"]) == cents(Decimal(5) * 36000 / 2**20)


def test_storage_holds_raw_for_its_days_and_the_lake_for_all_months() -> None:
    a_day = 600_000 * 288
    assert cost.stored_bytes(ROUND, 8640, 1) == a_day * (20 * 37 + 20 * 30)
    assert cost.stored_bytes(ROUND, 8640, 12) == a_day * (20 * 37 + 20 * 360)


@pytest.mark.parametrize(
    ("tebibytes", "usd"),
    [(1, "23.55"), (50, "1177.60"), (51, "1200.13"), (500, "11315.20"), (501, "11336.70")],
)
def test_storage_gets_cheaper_by_tiers(tebibytes: int, usd: str) -> None:
    assert cents(cost.storage_cost(Decimal(tebibytes * 2**40))) == Decimal(usd)


def test_requests_go_by_their_kinds_price_and_deletions_are_free() -> None:
    a_run = 200 * Decimal("0.000005") + 1000 * Decimal("0.0000004")
    assert cost.request_cost(ROUND, LOW, 8640, 1) == 8640 * a_run
    assert cost.request_cost(ROUND, HIGH, 720, 11) == 720 * a_run * 2


def test_ten_times_the_volume_needs_the_executors_that_keep_up() -> None:
    # 9 x 36 s of warm work in the 190 s that remain of five minutes: 2 executors, 162 s each; at the high end
    # 9 x 54 s in 125 s: 4 executors, 121.5 s each.
    shown = cost.scaling_table(ROUND, [10])
    assert "| executors to keep up | 2 – 4 |" in shown
    assert "| seconds a run | 272 – 296 |" in shown
    assert "| events per five minutes | 6,000,000 |" in shown
    assert "| shuffled by a run, at most | 1.20 GB |" in shown


def test_money_is_never_a_binary_fraction() -> None:
    amounts = [*cost.monthly_costs(ROUND, HIGH).values(), *(price.amount for price in PRICES.values())]
    assert {type(amount) for amount in amounts} == {Decimal}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("1234.565", "$1,234.57"),
        ("0.05", "$0.05"),
        ("0.00477", "$0.0048"),
        ("0.00004768", "$0.000048"),
        ("0", "$0.00"),
    ],
)
def test_an_amount_is_shown_in_cents_or_finer_where_a_cent_is_too_coarse(amount: str, text: str) -> None:
    assert cost.usd(Decimal(amount)) == text


# --- Where the numbers come from ----------------------------------------------------------------------------


def test_each_price_names_a_page_of_aws_and_the_month_of_the_copy() -> None:
    for price in PRICES.values():
        assert price.source.startswith("https://aws.amazon.com/")
        assert 2024 <= int(price.seen[:4]) <= 2026
        assert price.amount > 0


def test_the_periods_are_those_of_the_template() -> None:
    buckets = template.resources("AWS::S3::Bucket").values()
    rules = [rule for b in buckets for rule in b["Properties"]["LifecycleConfiguration"]["Rules"]]
    old_versions = {
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in rules
        if "NoncurrentVersionExpiration" in rule
    }
    assert old_versions == {cost.OLD_VERSION_DAYS}
    assert template.content()["Parameters"]["RawRetentionDays"]["Default"] == cost.RAW_DAYS
    generator = template.content()["Resources"]["GeneratorFunction"]["Properties"]
    assert generator["MemorySize"] == cost.LAMBDA_MIB
    schedule = template.content()["Resources"]["GeneratorSchedule"]["Properties"]["ScheduleExpression"]
    assert schedule == f"rate({cost.DELIVERY_MINUTES} minutes)"


def test_the_monitoring_is_that_of_the_operations_template() -> None:
    operations, _ = decode(str(ROOT / "capstone-operations.cfn.yaml"))
    resources = operations["Resources"].values()
    filters = [r["Properties"] for r in resources if r["Type"] == "AWS::Logs::MetricFilter"]
    assert {
        "metric": len({f["MetricTransformations"][0]["MetricName"] for f in filters}),
        "alarm": [r["Type"] for r in resources].count("AWS::CloudWatch::Alarm"),
        "key": [r["Type"] for r in resources].count("AWS::KMS::Key"),
    } == cost.MONITORING


def test_a_run_that_watches_is_as_the_operations_template_starts_it() -> None:
    operations, _ = decode(str(ROOT / "capstone-operations.cfn.yaml"))
    target = operations["Resources"]["WatchSchedule"]["Properties"]["Target"]
    started = json.loads(target["Input"]["Fn::Sub"])
    assert started["NumberOfWorkers"] == cost.WATCH_WORKERS
    assert int(started["Arguments"]["--WATCH_MINUTES"]) == 60 * cost.WATCH_RUN_HOURS < started["Timeout"]


def test_the_measurements_are_read_by_their_names(tmp_path: Path) -> None:
    all_results(tmp_path)
    measured = cost.read_measurements(tmp_path)
    assert measured.events == Decimal("2.5")
    assert measured.scanned_bytes == (Decimal("2.5"),) * 5
    assert measured.machine == "2 CPUs, 8 GiB, on 2026-11-24"


def test_requests_are_assumed_until_they_are_measured_and_then_read(tmp_path: Path) -> None:
    all_results(tmp_path)
    assert "| requests to S3, assumed |" in cost.request_table(cost.read_measurements(tmp_path))
    counted = {f"{point}_{kind.lower()}": 7.0 for point in POINTS for kind in KINDS}
    result_file(tmp_path, counted | {"day_30_waiting_seconds": 12.0}, "requests")
    measured = cost.read_measurements(tmp_path)
    assert measured.requests == {point: dict.fromkeys(KINDS, 7) for point in POINTS}
    assert measured.waiting_seconds == {"day_30": 12}
    assert "| requests to S3, measured |" in cost.request_table(measured)
    del counted["batch_288_head"]
    result_file(tmp_path, counted, "requests")
    with pytest.raises(MeasurementsMissing, match=r"no figure requests\.batch_288_head\."):
        cost.read_measurements(tmp_path)


def test_the_first_run_of_a_lake_is_assumed_to_ask_as_often_as_an_acceptance_allows() -> None:
    allowed, assumed = bounds.REQUESTS_OF_A_RUN, cost.REQUESTS_UNTIL_MEASURED["batch_1"]
    assert assumed["PUT"] == allowed["PUT"] + allowed["COPY"]
    assert assumed["DELETE"] == allowed["DELETE"] + allowed["DELETE MANY"]
    assert all(assumed[kind] == allowed[kind] for kind in ("LIST", "GET", "HEAD"))


def test_without_results_the_command_says_what_is_missing_and_how_to_measure_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_results(tmp_path)
    (tmp_path / "generator.json").unlink()
    with pytest.raises(MeasurementsMissing, match=r"no figure generator\.lambda_seconds\."):
        cost.read_measurements(tmp_path)
    read = cost.read_measurements
    monkeypatch.setattr(cost, "read_measurements", lambda: read(tmp_path / "empty"))
    assert main(["cost"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("MeasurementsMissing: The costs cannot be computed")
    assert "one_batch.events" in said
    assert "make bench" in said


def test_the_command_prints_the_months_the_frequencies_the_prices_and_what_is_assumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_results(tmp_path)
    measured = cost.read_measurements(tmp_path)
    monkeypatch.setattr(cost, "read_measurements", lambda: measured)
    assert main(["cost"]) == 0
    said = capsys.readouterr().out
    for name in (*cost.monthly_costs(measured, LOW), *cost.INTERVALS.values(), *cost.KNOWN, *cost.ASSUMED):
        assert name in said
    assert said.count("https://aws.amazon.com/") == len(PRICES)
