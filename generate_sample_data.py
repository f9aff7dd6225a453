"""Write the raw events of a made-up shop: Hive-partitioned, gzip-compressed JSON Lines, any amount.

For: `sample-data/`, tests and benchmarks, wherever input like the generator Lambda's is needed without AWS.
Not for: the generator Lambda itself (it lives in capstone-starter.cfn.yaml) or for uploading anything.

    python generate_sample_data.py --num-files 12 --events-per-file 5000

writes two hours of events, a file every ten minutes, under `sample-data/`. Each file holds exactly the number
of lines asked for; these are the events of the minutes before it, among them

- copies: exact repetitions of lines of the same file or of an earlier one (`--duplicate-rate`),
- late events: a visitor was offline, so that a whole visit of an earlier time arrives here (`--late-rate`),
- malformed lines: an event damaged in one of the ways of `DAMAGES`, each in turn (`--malformed-rate`).

The same settings give the same bytes on every machine and at any time. For that, randomness comes only from
`Random.random` and `Random.getrandbits`, whose sequences Python keeps stable between its versions (the
compressed bytes additionally depend on the zlib that Python was built with).
"""

import argparse
import gzip
import json
import sys
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

SECOND = 1_000_000  # times are whole microseconds since 1970-01-01 UTC
HOUR = 3_600 * SECOND

BATCH_LINES = 2_048  # lines made, ordered and written at a time: memory depends on this, not on the amount
MAX_CARRIED = 1_000  # events of visits that go on after their file; they are delivered in the next one
MAX_REMEMBERED = 4_096  # lines of earlier batches that may be delivered once more
REMEMBERED_PER_BATCH = 64
MAX_STEPS = 60  # events of one visit
MAX_LATENESS = 3 * HOUR

# ---------------------------------------------------------------------------------------------------------
# Settings


class SettingsError(ValueError):
    """A setting is out of its range; the message names the command line option and the range."""


@dataclass(frozen=True)
class Settings:
    """What to generate. The defaults are those of the committed `sample-data/`.

    `start` is the beginning of the first file's period (UTC): that file arrives `interval_minutes` later.
    `duplicate_rate` and `malformed_rate` are shares of all lines, `late_rate` is a share of visits.
    Raises SettingsError when a value is out of range.
    """

    num_files: int = 12
    events_per_file: int = 5_000
    start: datetime = datetime(
        2025, 11, 17, 23, tzinfo=UTC
    )  # two days in two hours: midnight is in the middle
    interval_minutes: int = 10
    products: int = 500
    duplicate_rate: float = 0.01
    late_rate: float = 0.01
    malformed_rate: float = 0.002
    seed: int = 20251118

    def __post_init__(self) -> None:
        for name, upper in (
            ("num_files", 100_000),
            ("events_per_file", 100_000_000),
            ("interval_minutes", 24 * 60),
            ("products", 100_000),
        ):
            if not 1 <= getattr(self, name) <= upper:
                raise SettingsError(
                    f"{_option(name)} must be a whole number from 1 to {upper:,}, not {getattr(self, name):,}"
                )
        for name in ("duplicate_rate", "late_rate", "malformed_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{_option(name)} must be a share from 0 to 1, not {getattr(self, name)}")
        if self.duplicate_rate + self.malformed_rate > 1:
            raise SettingsError(
                "--duplicate-rate and --malformed-rate together must not exceed 1: "
                f"they are {self.duplicate_rate} and {self.malformed_rate}"
            )
        if self.start.tzinfo is None:
            raise SettingsError("--start must have a time zone: use datetime(..., tzinfo=UTC)")
        # The pipeline accepts events of 2020 to 2039; late events lie up to a few hours before the start.
        length = timedelta(minutes=self.num_files * self.interval_minutes)
        last = datetime(2039, 12, 31, tzinfo=UTC)
        if not datetime(2020, 1, 2, tzinfo=UTC) <= self.start <= last - length:
            raise SettingsError(
                f"--start must be 2020-01-02 or later, and the last file ({length} after the start) "
                f"2039-12-31 or earlier; --start is {self.start.isoformat()}"
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


# ---------------------------------------------------------------------------------------------------------
# Writing files


@dataclass(frozen=True)
class FileSummary:
    """What one written file holds; `lines` counts all of them, the other counts are among these."""

    path: Path
    lines: int
    duplicates: int
    late: int
    malformed: int
    json_bytes: int


def relative_path(arrival: datetime) -> Path:
    """The path of the object that arrives at `arrival` (UTC), as the Lambda names it under `events/`."""
    folder = arrival.strftime("year=%Y/month=%m/day=%d/hour=%H/minute=%M")
    return Path(folder) / arrival.strftime("events-%Y%m%d-%H%M%S.jsonl.gz")


def generate(
    settings: Settings, output_dir: Path, on_lines: Callable[[int], object] = lambda count: None
) -> Iterator[FileSummary]:
    """Write the files of `settings` under `output_dir`, one for each step of the iterator.

    A file appears under its name only when it is complete; a file that is already there is replaced.
    `on_lines` is told the number of lines after each batch. Raises OSError when a file cannot be written.
    """
    visitors = Visitors(settings)
    interval = timedelta(minutes=settings.interval_minutes)
    for number in range(settings.num_files):
        begin = settings.start.astimezone(UTC) + number * interval
        path = output_dir / relative_path(begin + interval)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield _write_file(path, visitors.batches(Period(begin, begin + interval)), on_lines)


@dataclass(frozen=True)
class Batch:
    """Consecutive lines of one file, and how many of them are what."""

    lines: list[str]
    duplicates: int
    late: int
    malformed: int


def _write_file(path: Path, batches: Iterator[Batch], on_lines: Callable[[int], object]) -> FileSummary:
    unfinished = path.with_name(path.name + ".unfinished")
    lines = duplicates = late = malformed = json_bytes = 0
    try:
        # No name and no time in the gzip header: the bytes depend on the events alone.
        with (
            unfinished.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as compressed,
        ):
            for batch in batches:
                text = "\n".join(batch.lines) + "\n"
                # A lone surrogate stands for a byte that is not UTF-8 (see _not_utf8).
                json_bytes += compressed.write(text.encode("utf-8", "surrogateescape"))
                lines += len(batch.lines)
                duplicates += batch.duplicates
                late += batch.late
                malformed += batch.malformed
                on_lines(len(batch.lines))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return FileSummary(path, lines, duplicates, late, malformed, json_bytes)


# ---------------------------------------------------------------------------------------------------------
# The shop: products, and when people come. The same for every seed, so that batches fit together.


@dataclass(frozen=True, eq=False)
class Product:
    """A product with its category and its price for ever, and the JSON that its events end with."""

    product_id: str
    category: str
    price: str
    cart_odds: float  # the probability that one who views it puts it into the cart
    view: str

    def priced(self, event_type: str, quantity: int) -> str:
        """The rest of a cart or purchase event's line, from its event_type on."""
        return (
            f'"event_type":"{event_type}","product_id":"{self.product_id}","quantity":{quantity},'
            f'"price":{self.price},"category":"{self.category}","search_query":null}}'
        )


# The lowest and the highest price in cents, and the odds that a product that is viewed goes into the cart.
CATEGORIES: dict[str, tuple[int, int, float]] = {
    "electronics": (1_999, 149_900, 0.08),
    "clothing": (999, 14_900, 0.14),
    "home": (799, 39_900, 0.11),
    "books": (499, 4_900, 0.18),
    "sports": (1_299, 44_900, 0.10),
    "beauty": (399, 8_900, 0.16),
    "toys": (599, 12_900, 0.13),
    "grocery": (99, 2_900, 0.24),
}

SEARCHES = (
    "wireless headphones",
    "running shoes size 9",
    "gift for dad",
    '4k monitor 27"',
    "usb-c cable 2m",
    "yoga mat",
    "coffee grinder",
    "kids' puzzle 100 pieces",
    "sunscreen spf 50",
    "cast iron skillet",
    "science fiction novels",
    "winter jacket women",
    "board games for 2",
    "crème brûlée torch",
    "olive oil 1l",
    "desk lamp",
    "lego",
    "電池 aa",
    "hiking backpack 40l",
    "black friday deals",
)
SEARCH_ENDINGS = tuple(
    '"event_type":"search","product_id":null,"quantity":null,"price":null,"category":null,'
    f'"search_query":{json.dumps(text, ensure_ascii=False)}}}'
    for text in SEARCHES
)

SHOP_UTC_OFFSET = -8 * HOUR  # the shop's customers live on the west coast; summer time is left out
TRAFFIC_BY_HOUR = (
    *(0.35, 0.22, 0.15, 0.12, 0.12, 0.18, 0.32, 0.50),  # 00:00 to 07:59, local time
    *(0.68, 0.80, 0.88, 0.95, 1.05, 1.00, 0.95, 0.95),
    *(1.00, 1.10, 1.25, 1.45, 1.50, 1.35, 1.00, 0.62),
)
TRAFFIC_BY_WEEKDAY = (1.00, 0.97, 0.98, 1.00, 1.08, 1.25, 1.30)  # Monday to Sunday, local time

USERS = 60_000
SEARCH_ODDS = 0.22  # before looking at a product
QUANTITY_ODDS = (0.80, 0.94, 0.98)  # of at most 1, 2, 3 pieces; otherwise it is 4
REMOVE_ODDS = 0.12  # after adding a product
LEAVE_ODDS = 0.24  # after looking at a product
CHECKOUT_ODDS = 0.45  # with something in the cart
SPELLINGS = ("Z", "+00:00", "-08:00")  # how a visit's timestamps end: web site, app, tills of the stores
SPELLING_ODDS = (0.70, 0.95)


def catalogue(count: int) -> list[Product]:
    """`count` products of the shop, the most popular one first.

    A product has the same category, price and odds in every catalogue that it is in.
    """
    random, rank = Random("catalogue").random, Random("popularity").random
    names = list(CATEGORIES)
    products = []
    for number in range(count):
        category = names[int(random() * len(names))]
        low, high, cart_odds = CATEGORIES[category]
        # Most products are cheap for their category; prices end in .99, .49 or .00, a few are reduced.
        cents = low + int((high - low) * random() ** 3)
        ending = random()
        if ending < 0.9:
            cents = cents // 100 * 100 + (99 if ending < 0.6 else 49 if ending < 0.8 else 0)
        product_id, price = f"p_{1000 + number}", str(max(cents, low) / 100)
        view = (
            f'"event_type":"page_view","product_id":"{product_id}","quantity":null,"price":null,'
            f'"category":"{category}","search_query":null}}'
        )
        products.append(Product(product_id, category, price, cart_odds * (0.5 + random()), view))
    return sorted(products, key=lambda product: rank())


def traffic(moment: int) -> float:
    """How busy the shop is at a time (microseconds UTC): 1 is an ordinary hour of a Monday."""
    local = datetime.fromtimestamp((moment + SHOP_UTC_OFFSET) // SECOND, UTC)
    return TRAFFIC_BY_HOUR[local.hour] * TRAFFIC_BY_WEEKDAY[local.weekday()]


class Period:
    """The minutes whose events one file holds, with the traffic that flows in them."""

    def __init__(self, begin: datetime, end: datetime) -> None:
        self.begin = int(begin.timestamp()) * SECOND
        self.end = int(end.timestamp()) * SECOND
        # Cut at full hours: within one hour the traffic is even.
        hours = range(self.begin // HOUR * HOUR + HOUR, self.end, HOUR)
        self._cuts = [self.begin, *hours, self.end]
        amounts = [traffic(a) * (b - a) for a, b in pairwise(self._cuts)]
        total = sum(amounts)
        self._shares = [0.0, *(amount / total for amount in accumulate(amounts))]

    def moment(self, share: float) -> int:
        """The time before which `share` (from 0 up to 1) of the period's traffic has come."""
        piece = min(bisect(self._shares, share), len(self._shares) - 1) - 1
        begin, end = self._cuts[piece], self._cuts[piece + 1]
        low, high = self._shares[piece], self._shares[piece + 1]
        return begin + int((share - low) / (high - low) * (end - begin))


# ---------------------------------------------------------------------------------------------------------
# The visitors: an endless stream of visits, cut into the lines of files


@dataclass
class Delivery:
    """An event on its way to a file: `at` orders the lines of a batch, `late` events are older than that."""

    at: int
    line: str
    late: bool = False


class Visitors:
    """Visits to the shop as lines of JSON, file after file, in memory that does not grow.

    One object makes the files of one run in order, because visits go on from one file to the next and
    because a file may repeat what an earlier one delivered.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source = Random(settings.seed)
        self._random = self._source.random
        self._products = catalogue(settings.products)
        # Zipf's law, flattened at the top: the n-th product is viewed about 1/n as often as the first.
        self._popularity = list(accumulate((rank + 2.7) ** -1.05 for rank in range(settings.products)))
        self._carried: list[tuple[int, str]] = []
        self._remembered: list[str] = []
        self._damages = 0
        self._seconds: dict[int, str] = {}

    def batches(self, period: Period) -> Iterator[Batch]:
        """The lines of the next file, roughly in the order of time."""
        lines = self._settings.events_per_file
        waiting = self._take_carried(period)
        for begin in range(0, lines, BATCH_LINES):
            end = min(begin + BATCH_LINES, lines)
            yield self._batch(period, begin / lines, end / lines, end - begin, waiting)
        # What still waits are the last steps of one visit: that visitor has left instead.

    def _take_carried(self, period: Period) -> list[Delivery]:
        waiting = [Delivery(at, line) for at, line in self._carried if at < period.end]
        self._carried = [(at, line) for at, line in self._carried if at >= period.end]
        return waiting

    def _batch(self, period: Period, begin: float, end: float, size: int, waiting: list[Delivery]) -> Batch:
        """`size` lines of the visits that begin between two shares of the period; `waiting` is used first."""
        random, settings = self._random, self._settings
        copies = sum(random() < settings.duplicate_rate for _ in range(size))
        if not self._remembered:
            copies = min(copies, size - 1)  # the first line of all has nothing to repeat
        while len(waiting) < size - copies:
            self._visit(period, begin + (end - begin) * random(), waiting)
        events = waiting[: size - copies]
        del waiting[: size - copies]
        events.sort(key=lambda event: event.at)

        # The malformed share is one of all lines, but only originals are damaged.
        damage_odds = settings.malformed_rate * size / max(len(events), 1)
        good: list[str] = []
        lines: list[str] = []
        late = 0
        for event in events:
            is_needed = copies > 0 and not good and not self._remembered  # as the first line to repeat
            if random() < damage_odds and not is_needed:
                lines.append(self._damage(event.line))
            else:
                good.append(event.line)
                lines.append(event.line)
                late += event.late
        malformed = len(lines) - len(good)
        self._add_copies(lines, good, copies)
        self._remember(good)
        return Batch(lines, copies, late, malformed)

    def _visit(self, period: Period, share: float, waiting: list[Delivery]) -> None:
        """Add one visit's events to `waiting`; those after the period are carried to the next file."""
        random = self._random
        start = period.moment(share)
        steps = self._steps(eagerness=0.7 + 0.3 * traffic(start))
        duration = steps[-1][0]
        is_late = random() < self._settings.late_rate
        delivered = start
        if is_late:
            start = period.begin - 1 - int(MAX_LATENESS * random() ** 3) - duration
        elif start + duration >= period.end and len(self._carried) >= self._carry_limit:
            # No room to carry the rest: the visit comes earlier, so that it fits into the period.
            start = max(period.begin, period.end - 1 - duration)

        user = 10_000 + int(USERS * random() ** 2)  # some come often
        who = f'"user_id":"u_{user}","session_id":"s_{self._source.getrandbits(48):012x}",'
        spelling = SPELLINGS[bisect(SPELLING_ODDS, random())]
        for offset, ending in steps:
            moment = start + offset
            line = f'{{"timestamp":"{self._timestamp(moment, spelling)}",{who}{ending}'
            if moment < period.end:
                waiting.append(Delivery(delivered + offset if is_late else moment, line, is_late))
            elif len(self._carried) < self._carry_limit:
                self._carried.append((moment, line))

    def _steps(self, eagerness: float) -> list[tuple[int, str]]:
        """What one visitor does: (microseconds since the visit began, the line from event_type on)."""
        random = self._random
        steps: list[tuple[int, str]] = []
        cart: dict[Product, int] = {}
        clock = 0
        last = len(self._products) - 1

        def do(ending: str) -> None:
            nonlocal clock
            steps.append((clock, ending))
            clock += 2 * SECOND + int(40 * SECOND * random() ** 2)

        while len(steps) < MAX_STEPS:
            if random() < SEARCH_ODDS:
                do(SEARCH_ENDINGS[int(len(SEARCH_ENDINGS) * random())])
            product = self._products[bisect(self._popularity, random() * self._popularity[-1], hi=last)]
            do(product.view)
            if random() < product.cart_odds * eagerness:
                quantity = 1 + bisect(QUANTITY_ODDS, random())
                do(product.priced("add_to_cart", quantity))
                if random() < REMOVE_ODDS:
                    do(product.priced("remove_from_cart", quantity))
                else:
                    cart[product] = cart.get(product, 0) + quantity
            if random() < LEAVE_ODDS:
                break
        if cart and random() < CHECKOUT_ODDS * eagerness:
            # One purchase event for each product, all at the moment of the checkout.
            steps += [(clock, product.priced("purchase", quantity)) for product, quantity in cart.items()]
        return steps

    @property
    def _carry_limit(self) -> int:
        return min(MAX_CARRIED, self._settings.events_per_file // 10)

    def _timestamp(self, moment: int, spelling: str) -> str:
        """ISO 8601 of a time: milliseconds and Z, or microseconds and an offset as Python writes it."""
        second, fraction = divmod(moment + (SHOP_UTC_OFFSET if spelling == "-08:00" else 0), SECOND)
        text = self._seconds.get(second)
        if text is None:
            if len(self._seconds) >= 10_000:
                self._seconds.clear()
            text = self._seconds[second] = datetime.fromtimestamp(second, UTC).isoformat()[:19]
        return f"{text}.{fraction // 1000:03d}Z" if spelling == "Z" else f"{text}.{fraction:06d}{spelling}"

    def _damage(self, line: str) -> str:
        damage = DAMAGES[self._damages % len(DAMAGES)]
        self._damages += 1
        return damage.apply(json.loads(line))

    def _add_copies(self, lines: list[str], good: list[str], copies: int) -> None:
        """Insert copies of this batch's good lines and of remembered ones, each at any place."""
        random = self._random
        for _ in range(copies):
            source = good if not self._remembered or (good and random() < 0.5) else self._remembered
            lines.insert(int((len(lines) + 1) * random()), source[int(len(source) * random())])

    def _remember(self, good: list[str]) -> None:
        random = self._random
        for line in good[:: max(len(good) // REMEMBERED_PER_BATCH, 1)]:
            if len(self._remembered) < MAX_REMEMBERED:
                self._remembered.append(line)
            else:
                self._remembered[int(MAX_REMEMBERED * random())] = line


# ---------------------------------------------------------------------------------------------------------
# Damage: how malformed lines come about


@dataclass(frozen=True)
class Damage:
    """One way to make an event unacceptable, and the reason for which the pipeline rejects it."""

    name: str
    reason: str
    apply: Callable[[dict[str, Any]], str]


def _json(event: object) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _with(**fields: Any) -> Callable[[dict[str, Any]], str]:
    return lambda event: _json(event | fields)


def _in_cart(**fields: Any) -> Callable[[dict[str, Any]], str]:
    """Damage of a field that only cart events must have: the event becomes one of these first."""
    cart = {
        "event_type": "add_to_cart",
        "product_id": "p_1000",
        "quantity": 1,
        "price": 9.99,
        "category": "home",
    }
    return lambda event: _json(event | cart | {"search_query": None} | fields)


def _cut_off(event: dict[str, Any]) -> str:
    line = _json(event)
    return line[: len(line) // 2]


def _not_utf8(event: dict[str, Any]) -> str:
    """A lone surrogate, which the encoder of the file turns into the byte FF (see surrogateescape)."""
    return _json(event | {"user_id": event["user_id"] + "\udcff"})


def _without_timestamp(event: dict[str, Any]) -> str:
    return _json({name: value for name, value in event.items() if name != "timestamp"})


def _on_february_30(event: dict[str, Any]) -> str:
    return _json(event | {"timestamp": event["timestamp"][:5] + "02-30" + event["timestamp"][10:]})


DAMAGES = (
    Damage("line cut off in the middle", "malformed_json", _cut_off),
    Damage("line of a log", "malformed_json", lambda event: f"WARN retrying event of {event['user_id']}"),
    Damage("empty line", "malformed_json", lambda event: ""),
    Damage("price NaN", "malformed_json", lambda event: _in_cart(price=float("nan"))(event)),
    Damage("array instead of an object", "malformed_json", lambda event: _json([event])),
    Damage("single quotes", "malformed_json", lambda event: str(event)),
    Damage("byte that is not UTF-8", "malformed_json", _not_utf8),
    Damage("no timestamp", "missing_field:timestamp", _without_timestamp),
    Damage("user_id null", "missing_field:user_id", _with(user_id=None)),
    Damage("session_id blank", "missing_field:session_id", _with(session_id=" ")),
    Damage("event_type N/A", "missing_field:event_type", _with(event_type="N/A")),
    Damage(
        "page view of no product", "missing_field:product_id", _with(event_type="page_view", product_id=None)
    ),
    Damage("cart event without quantity", "missing_field:quantity", _in_cart(quantity=None)),
    Damage("cart event without price", "missing_field:price", _in_cart(price=None)),
    Damage("30 February", "invalid_value:timestamp", _on_february_30),
    Damage("local date format", "invalid_value:timestamp", _with(timestamp="11/18/2025 2:23 PM")),
    Damage("user_id an object", "invalid_value:user_id", _with(user_id={"id": 42})),
    Damage("quantity 0", "invalid_value:quantity", _in_cart(quantity=0)),
    Damage("quantity 1.5", "invalid_value:quantity", _in_cart(quantity=1.5)),
    Damage("negative price", "invalid_value:price", _in_cart(price=-9.99)),
    Damage("price of three decimals", "invalid_value:price", _in_cart(price=29.999)),
    Damage("category an array", "invalid_value:category", _with(category=["toys", "books"])),
    Damage("event_type unheard of", "unknown_event_type", _with(event_type="wishlist_add")),
    Damage("event_type in capitals", "unknown_event_type", lambda event: _with(event_type="PURCHASE")(event)),
)

# ---------------------------------------------------------------------------------------------------------
# Command line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2: wrong options, 1: files cannot be written)."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    output_dir: Path = options.pop("output_dir")
    try:
        settings = Settings(**options)
    except SettingsError as error:
        parser.error(str(error))
    total = settings.num_files * settings.events_per_file
    try:
        # Shown only in a terminal, and only when it takes longer than a moment.
        with tqdm(total=total, unit=" events", unit_scale=True, delay=1, disable=None) as bar:
            files = list(generate(settings, output_dir, on_lines=bar.update))
    except OSError as error:
        print(
            f"{parser.prog}: error: cannot write: {error}. Make {output_dir} a folder that can be written "
            "to, with space left, or choose another --output-dir.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; the files under {output_dir} are complete", file=sys.stderr)
        return 130
    print(_summary(settings, output_dir, files))
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="generate_sample_data.py",
        description="Write events of a made-up shop as Hive-partitioned events-*.jsonl.gz files. "
        "The same options give the same bytes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--num-files", type=int, default=defaults.num_files, metavar="N", help="how many files")
    add(
        "--events-per-file",
        type=int,
        default=defaults.events_per_file,
        metavar="N",
        help="lines of each file",
    )
    add(
        "--output-dir",
        type=Path,
        default=Path("sample-data"),
        metavar="DIR",
        help="where the folders begin; other files in it stay",
    )
    add("--seed", type=int, default=defaults.seed, metavar="N", help="other events for another seed")
    add(
        "--start",
        type=_moment,
        default=defaults.start.isoformat(),
        metavar="TIME",
        help="begin of the first file's period, ISO 8601; UTC unless it has an offset",
    )
    add(
        "--interval-minutes",
        type=int,
        default=defaults.interval_minutes,
        metavar="N",
        help="from file to file",
    )
    add("--products", type=int, default=defaults.products, metavar="N", help="how many products the shop has")
    add(
        "--duplicate-rate",
        type=float,
        default=defaults.duplicate_rate,
        metavar="X",
        help="share of lines: copies",
    )
    add(
        "--late-rate",
        type=float,
        default=defaults.late_rate,
        metavar="X",
        help="share of visits that arrive late",
    )
    add(
        "--malformed-rate",
        type=float,
        default=defaults.malformed_rate,
        metavar="X",
        help="share of bad lines",
    )
    return parser


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an ISO 8601 time such as 2025-11-18T14:00:00Z"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _summary(settings: Settings, output_dir: Path, files: list[FileSummary]) -> str:
    lines = sum(file.lines for file in files)
    json_mb = sum(file.json_bytes for file in files) / 1e6
    gzip_mb = sum(file.path.stat().st_size for file in files) / 1e6
    begin = settings.start.astimezone(UTC)
    end = begin + timedelta(minutes=settings.num_files * settings.interval_minutes)
    return "\n".join(
        [
            f"files       {len(files):,} ({json_mb:,.1f} MB of JSON, {gzip_mb:,.1f} MB compressed)",
            f"events      {lines:,} lines",
            f"duplicates  {sum(file.duplicates for file in files):,}",
            f"late        {sum(file.late for file in files):,}",
            f"malformed   {sum(file.malformed for file in files):,}",
            f"period      {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
            f"where       {output_dir}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
