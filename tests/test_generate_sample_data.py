"""The generated events look like a shop's, come out the same every time, and have the defects asked for."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import generate_sample_data
from generate_sample_data import DAMAGES, FileSummary, Settings, SettingsError, catalogue, generate, main
from tests.oracle import (
    COLUMNS,
    Expected,
    Rejected,
    arrival_minute,
    delivered_lines,
    expected_tables,
    parse_line,
)

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "generate_sample_data.py"
SAMPLE_DATA = ROOT / "sample-data"

CLEAN = {"duplicate_rate": 0.0, "late_rate": 0.0, "malformed_rate": 0.0}


class Sample(NamedTuple):
    """Generated files, by their path below the output folder, and what the generator says about them."""

    objects: dict[str, bytes]
    summaries: list[FileSummary]

    def lines(self) -> list[bytes]:
        return [line for data in self.objects.values() for line in delivered_lines(data)]

    def events(self) -> list[dict[str, Any]]:
        """The accepted lines as JSON."""
        return [json.loads(line) for line in self.lines() if reason(line) is None]

    def tables(self) -> Expected:
        return expected_tables({f"s3://raw/events/{path}": data for path, data in self.objects.items()})


@pytest.fixture
def sample(tmp_path: Path) -> Callable[..., Sample]:
    """Generates with the given settings into a new folder."""

    def make(**settings: Any) -> Sample:
        folder = tmp_path / f"sample-{len(list(tmp_path.iterdir()))}"
        summaries = list(generate(Settings(**settings), folder))
        return Sample(read_objects(folder), summaries)

    return make


def read_objects(folder: Path) -> dict[str, bytes]:
    files = sorted(folder.rglob("*.jsonl.gz"))
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def reason(line: bytes) -> str | None:
    try:
        parse_line(line)
    except Rejected as rejection:
        return rejection.reason
    return None


def arrival_of(path: str) -> datetime:
    year, month, day, hour, minute = arrival_minute("/" + path)
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def moment(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["timestamp"]).astimezone(UTC)


def share(part: int, whole: int) -> float:
    return part / whole


# --- Files -----------------------------------------------------------------------------------------------


def test_a_file_every_ten_minutes_lies_under_the_minute_of_its_arrival(sample: Callable[..., Sample]) -> None:
    made = sample(num_files=3, events_per_file=50, start=datetime(2024, 12, 31, 23, 45, tzinfo=UTC))
    assert list(made.objects) == [
        "year=2024/month=12/day=31/hour=23/minute=55/events-20241231-235500.jsonl.gz",
        "year=2025/month=01/day=01/hour=00/minute=05/events-20250101-000500.jsonl.gz",
        "year=2025/month=01/day=01/hour=00/minute=15/events-20250101-001500.jsonl.gz",
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 500, 2048, 2049, 5000])
def test_a_file_has_exactly_the_lines_asked_for(sample: Callable[..., Sample], count: int) -> None:
    made = sample(num_files=2, events_per_file=count, duplicate_rate=0.3, malformed_rate=0.3, late_rate=0.3)
    assert [len(delivered_lines(data)) for data in made.objects.values()] == [count, count]
    assert [summary.lines for summary in made.summaries] == [count, count]


def test_a_file_holds_the_events_of_the_minutes_before_it(sample: Callable[..., Sample]) -> None:
    made = sample(num_files=3, events_per_file=3000, interval_minutes=7, **CLEAN)
    for path, data in made.objects.items():
        arrival = arrival_of(path)
        moments = [moment(json.loads(line)) for line in delivered_lines(data)]
        assert arrival - timedelta(minutes=7) <= min(moments)
        assert max(moments) < arrival
        assert max(moments) - min(moments) > timedelta(minutes=6)


def test_the_start_may_have_any_offset(sample: Callable[..., Sample]) -> None:
    west = datetime.fromisoformat("2025-11-17T15:00:00-08:00")
    assert (
        sample(num_files=1, events_per_file=10, start=west)[0] == sample(num_files=1, events_per_file=10)[0]
    )


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(generate(Settings(num_files=1, events_per_file=10), tmp_path, on_lines=stop))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_progress_is_told_in_lines(tmp_path: Path) -> None:
    counts: list[int] = []
    list(generate(Settings(num_files=2, events_per_file=3000), tmp_path, on_lines=counts.append))
    assert sum(counts) == 6000
    assert len(counts) > 2


# --- The same settings, the same bytes -------------------------------------------------------------------


def test_the_same_settings_give_the_same_bytes_and_another_seed_gives_others(
    sample: Callable[..., Sample],
) -> None:
    first, again, other = (sample(num_files=2, events_per_file=500, seed=seed) for seed in (1, 1, 2))
    assert first.objects == again.objects
    assert first.objects != other.objects


def test_bytes_depend_neither_on_the_hash_seed_nor_on_the_time_zone(tmp_path: Path) -> None:
    results = []
    for hash_seed, zone in (("0", "UTC"), ("12345", "Asia/Kolkata")):
        folder = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, SCRIPT, "--num-files=2", "--events-per-file=500", f"--output-dir={folder}"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "TZ": zone},
            check=True,
            capture_output=True,
        )
        results.append(read_objects(folder))
    assert results[0] == results[1]


def test_the_gzip_header_tells_neither_time_nor_name(sample: Callable[..., Sample]) -> None:
    (data,) = sample(num_files=1, events_per_file=10).objects.values()
    flags, modified = data[3], data[4:8]
    assert flags == 0
    assert modified == b"\0\0\0\0"


def test_more_files_continue_what_fewer_files_began(sample: Callable[..., Sample]) -> None:
    few, many = sample(num_files=2, events_per_file=500), sample(num_files=4, events_per_file=500)
    assert few.objects.items() < many.objects.items()


# --- A shop ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Forty thousand clean events in two files, at the busy hour at which the default sample begins."""
    folder = tmp_path_factory.mktemp("shop")
    summaries = list(generate(Settings(num_files=2, events_per_file=20_000, **CLEAN), folder))  # type: ignore[arg-type]
    return Sample(read_objects(folder), summaries)


def test_a_clean_sample_has_neither_copies_nor_rejected_lines(shop: Sample) -> None:
    tables = shop.tables()
    assert len(tables["bronze.events"]) == len(tables["silver.events_cleaned"]) == 40_000
    assert {(file.duplicates, file.late, file.malformed) for file in shop.summaries} == {(0, 0, 0)}


def test_each_event_type_has_the_fields_of_the_contract(shop: Sample) -> None:
    for event in shop.events():
        is_search = event["event_type"] == "search"
        has_price = event["event_type"] in {"add_to_cart", "remove_from_cart", "purchase"}
        assert list(event) == list(COLUMNS["bronze.events"][:9])
        assert (event["search_query"] is not None) == is_search
        assert (event["product_id"] is None) == (event["category"] is None) == is_search
        assert (event["quantity"] is not None) == (event["price"] is not None) == has_price


def test_visitors_view_more_than_they_add_and_add_more_than_they_buy(shop: Sample) -> None:
    counts = Counter(event["event_type"] for event in shop.events())
    assert 0.08 < share(counts["add_to_cart"], counts["page_view"]) < 0.20
    assert 0.25 < share(counts["purchase"], counts["add_to_cart"]) < 0.50
    assert 0.05 < share(counts["remove_from_cart"], counts["add_to_cart"]) < 0.20
    assert 0.10 < share(counts["search"], counts["page_view"]) < 0.35


def test_within_a_visit_only_what_was_viewed_is_added_and_only_what_was_added_is_bought(shop: Sample) -> None:
    visits: dict[str, list[dict[str, Any]]] = {}
    for event in shop.events():
        visits.setdefault(event["session_id"], []).append(event)
    assert len(visits) > 4_000
    for visit in visits.values():
        visit.sort(key=moment)
        assert len({event["user_id"] for event in visit}) == 1
        viewed: set[str] = set()
        cart: Counter[str] = Counter()
        for event in visit:
            product, quantity = event["product_id"], event["quantity"]
            match event["event_type"]:
                case "page_view":
                    viewed.add(product)
                case "add_to_cart":
                    assert product in viewed
                    cart[product] += quantity
                case "remove_from_cart":
                    cart[product] -= quantity
                    assert cart[product] >= 0
                case "purchase":
                    assert quantity == cart[product]


def test_some_visits_go_on_in_the_next_file_and_some_visitors_come_again(shop: Sample) -> None:
    first, second = ([json.loads(line) for line in delivered_lines(data)] for data in shop.objects.values())
    assert {e["session_id"] for e in first} & {e["session_id"] for e in second}
    sessions, users = ({e[name] for e in shop.events()} for name in ("session_id", "user_id"))
    assert len(users) < len(sessions)


def test_a_few_products_get_most_views(shop: Sample) -> None:
    views = Counter(event["product_id"] for event in shop.events() if event["event_type"] == "page_view")
    ordered = sorted(views.values(), reverse=True)
    assert share(sum(ordered[:50]), views.total()) > 0.5  # a tenth of the products
    assert 1.5 < share(ordered[0], ordered[4]) < 5  # Zipf's law
    assert len(views) > 400


def test_price_and_category_belong_to_the_product_for_every_seed(
    shop: Sample, sample: Callable[..., Sample]
) -> None:
    prices: dict[str, set[Any]] = {}
    categories: dict[str, set[str]] = {}
    for event in (
        shop.events() + sample(num_files=1, events_per_file=5000, seed=7, products=50, **CLEAN).events()
    ):
        if event["product_id"] is not None:
            categories.setdefault(event["product_id"], set()).add(event["category"])
            if event["price"] is not None:
                prices.setdefault(event["product_id"], set()).add(event["price"])
    assert max(len(values) for values in categories.values()) == 1
    assert max(len(values) for values in prices.values()) == 1
    assert len({category for (category,) in categories.values()}) == 8


def test_a_product_is_the_same_in_a_smaller_catalogue() -> None:
    def described(count: int) -> dict[str, tuple[str, str]]:
        return {product.product_id: (product.category, product.price) for product in catalogue(count)}

    assert described(20).items() <= described(1000).items()
    assert len(described(20)) == 20


def test_both_spellings_of_timestamps_and_a_local_offset_occur(shop: Sample) -> None:
    spellings = Counter(re.sub(r"\d", "0", event["timestamp"]) for event in shop.events())
    assert set(spellings) == {
        "0000-00-00T00:00:00.000Z",
        "0000-00-00T00:00:00.000000+00:00",
        "0000-00-00T00:00:00.000000-00:00",
    }
    assert min(spellings.values()) > 1_000


def test_evenings_are_busier_than_nights(sample: Callable[..., Sample]) -> None:
    day = sample(
        num_files=1,
        events_per_file=20_000,
        interval_minutes=1440,
        start=datetime(2025, 11, 18, 8, tzinfo=UTC),  # midnight at the shop
        **CLEAN,
    ).events()
    by_hour = Counter((moment(event) - timedelta(hours=8)).hour for event in day)
    assert by_hour[20] > 3 * by_hour[3]
    assert len(by_hour) == 24


def test_people_buy_more_readily_when_the_shop_is_busy(sample: Callable[..., Sample]) -> None:
    def purchases(hour: int) -> int:
        start = datetime(2025, 11, 19, hour, tzinfo=UTC)
        events = sample(num_files=1, events_per_file=20_000, start=start, **CLEAN).events()
        return sum(event["event_type"] == "purchase" for event in events)

    assert purchases(4) > 1.2 * purchases(11)  # 20:00 and 3:00 at the shop


def test_lines_come_roughly_in_the_order_of_time(shop: Sample) -> None:
    for data in shop.objects.values():
        moments = [moment(json.loads(line)) for line in delivered_lines(data)]
        assert sum(a <= b for a, b in pairwise(moments)) > 0.95 * len(moments)


# --- Defects ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Defects:
    """What an independent look at the files finds."""

    copies_in_same_file: int
    copies_in_later_file: int
    late: int
    late_of_previous_day: int
    reasons: Counter[str]

    @property
    def copies(self) -> int:
        return self.copies_in_same_file + self.copies_in_later_file


def find_defects(objects: dict[str, bytes], interval: timedelta = timedelta(minutes=10)) -> Defects:
    first_file: dict[bytes, str] = {}
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for path, data in sorted(objects.items()):
        begin = arrival_of(path) - interval
        for line in delivered_lines(data):
            why = reason(line)
            if why is not None:
                reasons[why] += 1
            elif line in first_file:
                counts["same" if first_file[line] == path else "later"] += 1
            else:
                first_file[line] = path
                happened = parse_line(line).identity.event_timestamp
                counts["late"] += happened < begin
                counts["previous day"] += happened < begin and happened.date() < begin.date()
    return Defects(counts["same"], counts["later"], counts["late"], counts["previous day"], reasons)


def test_the_generator_counts_its_defects_right(sample: Callable[..., Sample]) -> None:
    made = sample(num_files=4, events_per_file=3000, duplicate_rate=0.2, late_rate=0.1, malformed_rate=0.1)
    found = find_defects(made.objects)
    assert sum(file.duplicates for file in made.summaries) == found.copies
    assert sum(file.late for file in made.summaries) == found.late
    assert sum(file.malformed for file in made.summaries) == found.reasons.total()
    tables = made.tables()
    assert found.copies == len(tables["bronze.events"]) - len(tables["silver.events_cleaned"])
    assert found.reasons.total() == len(tables["bronze.events_rejected"])


def test_each_rate_sets_the_share_of_its_defect(sample: Callable[..., Sample]) -> None:
    made = sample(num_files=4, events_per_file=5000, duplicate_rate=0.1, late_rate=0.05, malformed_rate=0.02)
    found = find_defects(made.objects)
    assert share(found.copies, 20_000) == pytest.approx(0.1, rel=0.1)
    assert share(found.reasons.total(), 20_000) == pytest.approx(0.02, rel=0.2)
    assert share(found.late, 20_000) == pytest.approx(0.05 * 0.88, rel=0.2)


def test_copies_come_in_the_same_file_and_in_later_ones(sample: Callable[..., Sample]) -> None:
    found = find_defects(sample(num_files=3, events_per_file=3000, duplicate_rate=0.1).objects)
    assert found.copies_in_same_file > 100
    assert found.copies_in_later_file > 100


def test_late_events_are_of_the_hours_before_and_of_the_previous_day_after_midnight(
    sample: Callable[..., Sample],
) -> None:
    start = datetime(2025, 11, 18, tzinfo=UTC)
    made = sample(num_files=1, events_per_file=3000, start=start, late_rate=0.1)
    delays = [start - moment(event) for event in made.events() if moment(event) < start]
    assert find_defects(made.objects).late_of_previous_day > 100
    assert timedelta(0) < min(delays) < timedelta(minutes=10)
    assert timedelta(hours=1) < max(delays) < timedelta(hours=4)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_each_kind_of_damage_is_rejected_for_its_reason(damage: generate_sample_data.Damage) -> None:
    for event in (
        '{"timestamp":"2025-11-18T14:23:45.123Z","user_id":"u_1","session_id":"s_1","event_type":"page_view",'
        '"product_id":"p_1","quantity":null,"price":null,"category":"toys","search_query":null}',
        '{"timestamp":"2025-11-18T06:23:45.123456-08:00","user_id":"u_1","session_id":"s_1","event_type":"search",'
        '"product_id":null,"quantity":null,"price":null,"category":null,"search_query":"crème"}',
    ):
        line = damage.apply(json.loads(event)).encode("utf-8", "surrogateescape")
        assert reason(line) == damage.reason
        assert b"\n" not in line


def test_every_kind_of_damage_occurs_equally_often(sample: Callable[..., Sample]) -> None:
    made = sample(num_files=1, events_per_file=2000, malformed_rate=0.5, duplicate_rate=0)
    kinds = Counter(damage.reason for damage in DAMAGES)
    found = find_defects(made.objects).reasons
    rounds = found.total() // len(DAMAGES)
    assert set(found) == set(kinds)
    for why, count in kinds.items():
        assert rounds * count <= found[why] <= (rounds + 1) * count


@pytest.mark.parametrize(
    "rates",
    [
        {"duplicate_rate": 1.0, "malformed_rate": 0.0},
        {"malformed_rate": 1.0, "duplicate_rate": 0.0},
        {"malformed_rate": 0.5, "duplicate_rate": 0.5},
        {"late_rate": 1.0, "duplicate_rate": 0.0, "malformed_rate": 0.0},
    ],
)
@pytest.mark.parametrize("count", [1, 2, 500])
def test_extreme_rates_are_possible(
    sample: Callable[..., Sample], rates: dict[str, float], count: int
) -> None:
    made = sample(num_files=2, events_per_file=count, **rates)
    found = find_defects(made.objects)
    assert sum(file.duplicates for file in made.summaries) == found.copies
    assert sum(file.late for file in made.summaries) == found.late
    assert sum(file.malformed for file in made.summaries) == found.reasons.total()
    if rates.get("malformed_rate") == 1:
        assert found.reasons.total() == 2 * count
    if rates.get("duplicate_rate") == 1:
        assert found.copies == 2 * count - 1
    if rates.get("late_rate") == 1:
        assert found.late == 2 * count


# --- Cost ------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_events(tmp_path: Path) -> None:
    def peak(events: int) -> int:
        """The greatest resident size in KB while a process makes this many events."""
        code = (
            "import resource, sys, generate_sample_data\n"
            "generate_sample_data.main(sys.argv[1:])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = ["--num-files=1", f"--events-per-file={events}", f"--output-dir={tmp_path}"]
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        return int(done.stdout.split()[-1])

    assert peak(250_000) < peak(20_000) + 10_000


# --- Command line ----------------------------------------------------------------------------------------


def test_the_command_says_what_it_made_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--num-files=2", "--events-per-file=1000", "--start=2025-11-18T14:00:00Z"]
    options += ["--duplicate-rate=0.1", "--late-rate=0.1", "--malformed-rate=0.1"]
    assert main([*options, f"--output-dir={tmp_path}"]) == 0
    found = find_defects(read_objects(tmp_path))
    printed = dict(re.findall(r"^(\w+) +(.*)$", capsys.readouterr().out, re.MULTILINE))
    assert printed.pop("files").startswith("2 (0.4 MB of JSON, ")
    assert printed == {
        "events": "2,000 lines",
        "duplicates": f"{found.copies}",
        "late": f"{found.late}",
        "malformed": f"{found.reasons.total()}",
        "period": "2025-11-18 14:00 to 2025-11-18 14:20 UTC",
        "where": str(tmp_path),
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--num-files=0", "--num-files must be a whole number from 1 to 100,000, not 0"),
        ("--num-files=many", "argument --num-files: invalid int value: 'many'"),
        ("--events-per-file=-5", "--events-per-file must be a whole number from 1 to 100,000,000, not -5"),
        ("--interval-minutes=0", "--interval-minutes must be a whole number from 1 to 1,440, not 0"),
        ("--products=0", "--products must be a whole number from 1 to 100,000, not 0"),
        ("--duplicate-rate=1.5", "--duplicate-rate must be a share from 0 to 1, not 1.5"),
        ("--late-rate=-0.1", "--late-rate must be a share from 0 to 1, not -0.1"),
        ("--malformed-rate=nan", "--malformed-rate must be a share from 0 to 1, not nan"),
        (
            "--malformed-rate=0.995",
            "--duplicate-rate and --malformed-rate together must not exceed 1: they are 0.01 and 0.995",
        ),
        ("--start=yesterday", "'yesterday' is not an ISO 8601 time such as 2025-11-18T14:00:00Z"),
        ("--start=2020-01-01", "--start must be 2020-01-02 or later"),
        ("--start=2039-12-31", "2039-12-31 or earlier"),
    ],
)
def test_a_wrong_option_is_refused_with_its_range(
    option: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([option, f"--output-dir={tmp_path}"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_settings_without_a_time_zone_are_refused() -> None:
    with pytest.raises(SettingsError, match="time zone"):
        Settings(start=datetime(2025, 11, 18))


def test_a_place_that_cannot_be_written_to_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("a file, not a folder")
    assert main(["--events-per-file=10", f"--output-dir={occupied}"]) == 1
    assert f"Make {occupied} a folder" in capsys.readouterr().err


def test_an_interrupted_command_says_that_its_files_are_complete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> list[FileSummary]:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate_sample_data, "generate", interrupted)
    assert main([f"--output-dir={tmp_path}"]) == 130
    assert "complete" in capsys.readouterr().err


# --- The committed sample --------------------------------------------------------------------------------


def test_the_documented_command_makes_the_committed_sample(tmp_path: Path) -> None:
    readme = (SAMPLE_DATA / "README.md").read_text()
    (command,) = re.findall(r"^python (generate_sample_data\.py .*)$", readme, re.MULTILINE)
    subprocess.run(
        [sys.executable, ROOT / command.split()[0], *command.split()[1:]], cwd=tmp_path, check=True
    )
    made, committed = read_objects(tmp_path / "sample-data"), read_objects(SAMPLE_DATA)
    assert {path: gzip.decompress(data) for path, data in made.items()} == {
        path: gzip.decompress(data) for path, data in committed.items()
    }
    # zlib-ng, which some systems put in zlib's place, compresses the same text to other bytes.
    if "zlib-ng" not in zlib.ZLIB_RUNTIME_VERSION:
        assert made == committed


def test_the_readme_counts_what_is_in_the_committed_sample() -> None:
    objects = read_objects(SAMPLE_DATA)
    found = find_defects(objects)
    lines = sum(len(delivered_lines(data)) for data in objects.values())
    accepted = lines - found.reasons.total()
    expected = {
        "files": len(objects),
        "lines": lines,
        "accepted lines": accepted,
        "different events": accepted - found.copies,
        "copies": found.copies,
        "copies in the same file": found.copies_in_same_file,
        "copies in a later file": found.copies_in_later_file,
        "late events": found.late,
        "late events of the previous day": found.late_of_previous_day,
        "rejected lines": found.reasons.total(),
        **{f"`{why}`": count for why, count in found.reasons.items()},
    }
    readme = (SAMPLE_DATA / "README.md").read_text()
    documented = {
        label: int(count.replace(",", ""))
        for label, count in re.findall(r"^\| (.+?) \| ([\d,]+) \|", readme, re.M)
    }
    assert documented == expected


def test_the_committed_sample_has_every_defect_and_two_days() -> None:
    found = find_defects(read_objects(SAMPLE_DATA))
    assert set(found.reasons) == {damage.reason for damage in DAMAGES}
    assert min(found.copies_in_same_file, found.copies_in_later_file, found.late_of_previous_day) > 20
    tables = Sample(read_objects(SAMPLE_DATA), []).tables()
    assert len(tables["gold.user_activity"]) == 2
    assert len(tables["gold.hourly_revenue"]) >= 3
    assert len(tables["gold.top_products"]) == 10
