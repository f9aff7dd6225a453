"""What `data_quality.ipynb` measures: rejected lines, copies, late events, freshness, each against a limit.

All of it is read from bronze and silver through Athena, for the newest days of arrival. A limit that is
passed turns red; nothing is repaired here.
"""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd

from capstone_pipeline.answers import partition_filter
from capstone_pipeline.errors import NotRunYet, PipelineError
from capstone_pipeline.job import last_successful_run
from capstone_pipeline.raw_objects import arrival_of, list_raw_objects
from capstone_pipeline.render import Panel, Shown, age, badge, block, data_table, plural, when
from capstone_pipeline.shop import Shop
from notebooks.plots import bar_plot

SAMPLE_LINES = 12


class QualityLimitPassed(PipelineError):
    """A measure of data quality is above its limit."""


@dataclass(frozen=True)
class Limits:
    """From where on a measure is red. Percent are of the lines, or of the events, of the days looked at."""

    rejected_percent: float = 1.0
    copies_percent: float = 2.0
    late_percent: float = 2.0
    late_minutes: int = 60
    age_minutes: float = 15.0


@dataclass(frozen=True)
class Deliveries:
    """What each raw object of the days looked at brought.

    files: source_file, arrival, accepted, rejected, events (in silver, under its name), late.
    rejects: source_file, reason, line_count, example.
    """

    files: pd.DataFrame
    rejects: pd.DataFrame
    newest_event: datetime
    newest_arrival: datetime
    last_run: datetime


@dataclass(frozen=True)
class Measure:
    """A figure with its limit, in the same unit."""

    name: str
    value: float
    limit: float
    shown: str
    shown_limit: str

    @property
    def state(self) -> str:
        """ "within" the limit or "above" it."""
        return "above" if self.value > self.limit else "within"


@dataclass(frozen=True, repr=False)
class Measures(Shown):
    """All measures, as the table at the top of the notebook."""

    measures: tuple[Measure, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{m.name}: {m.shown}, {m.state} the limit of {m.shown_limit}" for m in self.measures
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr{' class=red' if m.state == 'above' else ''}><td>{badge(m.state)}</td>"
            f'<td class="wrap">{html.escape(m.name)}</td><td class="num">{html.escape(m.shown)}</td>'
            f'<td class="num">{html.escape(m.shown_limit)}</td></tr>'
            for m in self.measures
        )
        head = '<tr><th></th><th>Measure</th><th class="num">Value</th><th class="num">Limit</th></tr>'
        return block(f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>")

    def require_within(self) -> None:
        """Stop the notebook when a measure is above its limit.

        Raises
        ------
        QualityLimitPassed
        """
        above = [measure for measure in self.measures if measure.state == "above"]
        if above:
            raise QualityLimitPassed(
                "\n".join(f"{m.name}: {m.shown}, the limit is {m.shown_limit}." for m in above),
                "look at the raw objects that the sections of data_quality.ipynb name; change a limit in its "
                "parameters cell.",
            )


def read_deliveries(shop: Shop, days_shown: int, limits: Limits) -> Deliveries:
    """Ask bronze and silver what the raw objects of the newest days brought.

    Raises
    ------
    NotRunYet
        When the job has not taken in anything.
    """
    last_run = last_successful_run(shop.aws, shop.stack)
    raw = {item.uri: item.arrival for item in list_raw_objects(shop.aws, shop.stack)}
    days = set(sorted({arrival.date() for arrival in raw.values()})[-days_shown:])
    accepted, rejects, silver = _ask_layers(shop, days)
    if silver.empty:
        raise NotRunYet(
            f"{shop.stack.silver_database_name}.events_cleaned holds no event of the newest days.",
            "run build_pipeline.ipynb first (`make report`, or `make demo` on the embedded AWS).",
        )
    files = accepted.merge(
        rejects.groupby("source_file", as_index=False)["line_count"].sum(), on="source_file", how="outer"
    )
    # Of objects that have expired meanwhile, the key is all that there is.
    raw |= {uri: arrival_of(uri) for uri in {*files["source_file"], *silver["source_file"]} - raw.keys()}
    files = files.merge(_events_by_file(silver, raw, limits.late_minutes), on="source_file", how="left")
    files.columns = pd.Index(["source_file", "accepted", "rejected", "events", "late"])
    files = files.fillna(0).astype(dict.fromkeys(("accepted", "rejected", "events", "late"), int))
    files["arrival"] = files["source_file"].map(raw)
    return Deliveries(
        files=files[[arrival.date() in days for arrival in files["arrival"]]].sort_values("arrival"),
        rejects=rejects,
        newest_event=silver["minute"].max().to_pydatetime().replace(tzinfo=UTC),
        newest_arrival=max(raw.values()).replace(tzinfo=UTC),
        last_run=last_run,
    )


def measure(deliveries: Deliveries, limits: Limits, as_of: datetime | None = None) -> Measures:
    """Every measure against its limit; `as_of` is the moment from which ages count, by default now."""
    files, now = deliveries.files, as_of or datetime.now(UTC)
    accepted, rejected = int(files["accepted"].sum()), int(files["rejected"].sum())
    events, late = int(files["events"].sum()), int(files["late"].sum())
    seconds = (now - deliveries.newest_event).total_seconds()
    return Measures(
        (
            _percent("Rejected lines", rejected, accepted + rejected, limits.rejected_percent),
            _percent("Copies of events delivered before", accepted - events, accepted, limits.copies_percent),
            _percent(f"Events later than {limits.late_minutes} min", late, events, limits.late_percent),
            Measure(
                "Age of the newest event",
                seconds / 60,
                limits.age_minutes,
                age(seconds),
                f"{limits.age_minutes:g} min",
            ),
        )
    )


def rejected_lines(deliveries: Deliveries, limits: Limits) -> Panel:
    """Which reasons, in which objects, with sample lines; an object above the limit is red in the plot."""
    rejects, files = deliveries.rejects, deliveries.files
    if rejects.empty:
        return Panel("<div>No line was rejected.</div>", "No line was rejected.")
    by_reason = rejects.groupby("reason", as_index=False).agg(
        line_count=("line_count", "sum"), example=("example", "max")
    )
    by_reason = by_reason.sort_values(["line_count", "reason"], ascending=[False, True])
    share = {
        _short(row.source_file): 100 * row.rejected / max(row.accepted + row.rejected, 1)
        for row in files.sort_values("rejected", ascending=False).head(SAMPLE_LINES).itertuples()
    }
    worst = rejects.sort_values(["line_count", "source_file", "reason"], ascending=[False, True, True])
    samples = worst.head(SAMPLE_LINES).assign(source_file=worst["source_file"].map(_short))
    words = f"{int(by_reason['line_count'].sum()):,} rejected lines, for {plural(len(by_reason), 'reason')}."
    plot = bar_plot("Rejected lines by raw object", "percent of its lines", share, limits.rejected_percent)
    content = (
        f"<div>{words}</div>{_wide(by_reason)}"
        + f'<div class="plot">{plot}</div>'
        + f"<div>Where most of one kind come from, with a sample line:</div>{_wide(samples)}"
    )
    return Panel(content, words)


def copies(deliveries: Deliveries, limits: Limits) -> Panel:
    """Copies of events that an earlier line had delivered, by day of arrival."""
    by_day = _by_day(deliveries)
    table = pd.DataFrame(
        {
            "day of arrival": by_day.index,
            "accepted lines": by_day["accepted"].to_numpy(),
            "copies": (by_day["accepted"] - by_day["events"]).to_numpy(),
        }
    )
    table["share"] = [_share(row[2], row[1]) for row in table.itertuples(index=False, name=None)]
    return _by_day_panel("Copies of events", "percent of accepted lines", table, limits.copies_percent)


def late_events(deliveries: Deliveries, limits: Limits) -> Panel:
    """Events that arrived later than the limit allows, by day of arrival."""
    by_day = _by_day(deliveries)
    table = pd.DataFrame(
        {
            "day of arrival": by_day.index,
            "events": by_day["events"].to_numpy(),
            "late": by_day["late"].to_numpy(),
        }
    )
    table["share"] = [_share(row[2], row[1]) for row in table.itertuples(index=False, name=None)]
    return _by_day_panel(
        f"Events later than {limits.late_minutes} min", "percent of events", table, limits.late_percent
    )


def freshness(deliveries: Deliveries, as_of: datetime | None = None) -> Panel:
    """How old the newest event, the newest raw object and the last successful run are."""
    now = as_of or datetime.now(UTC)
    rows = [
        (name, when(moment), age((now - moment).total_seconds()))
        for name, moment in (
            ("newest event in silver", deliveries.newest_event),
            ("newest raw object", deliveries.newest_arrival),
            ("last successful run", deliveries.last_run),
        )
    ]
    table = pd.DataFrame(rows, columns=["what", "when", "age"])
    content = data_table(table, show_names=False) + f'<div class="note">as of {when(now)}</div>'
    return Panel(content, "\n".join(f"{name}: {moment}, {since} ago" for name, moment, since in rows))


# --- Asking -------------------------------------------------------------------------------------------------


def _ask_layers(shop: Shop, days: set[date]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Accepted lines by object, rejected ones by object and reason, events by object and minute."""
    (bronze, silver, _), where = shop.stack.database_names, partition_filter(days)
    accepted = shop.ask(
        f"SELECT source_file, count(*) AS accepted FROM {bronze}.events "
        f"WHERE {partition_filter(days, injected=True)} GROUP BY source_file",
        "accepted lines by object",
    )
    rejects = shop.ask(
        "SELECT source_file, reason, count(*) AS line_count, max(raw_line) AS example "
        f"FROM {bronze}.events_rejected WHERE {where} GROUP BY source_file, reason",
        "rejected lines by object",
    )
    # An event may be days older than the object that brings it.
    before = {day - timedelta(days=back) for day in days for back in (0, 1, 2)}
    events = shop.ask(
        "SELECT source_file, date_trunc('minute', event_timestamp) AS minute, count(*) AS events "
        f"FROM {silver}.events_cleaned WHERE {partition_filter(before)} "
        "GROUP BY source_file, date_trunc('minute', event_timestamp)",
        "events by object and minute",
    )
    return accepted, rejects, events


def _events_by_file(silver: pd.DataFrame, arrivals: dict[str, datetime], late_minutes: int) -> pd.DataFrame:
    """Events, and events later than `late_minutes`, of each object."""
    events: Counter[str] = Counter()
    late: Counter[str] = Counter()
    for row in silver.itertuples():
        events[row.source_file] += row.events
        if arrivals[row.source_file] - row.minute > timedelta(minutes=late_minutes):
            late[row.source_file] += row.events
    return pd.DataFrame(
        [(name, count, late[name]) for name, count in events.items()],
        columns=["source_file", "events", "late"],
    )


# --- Showing ------------------------------------------------------------------------------------------------


def _by_day(deliveries: Deliveries) -> pd.DataFrame:
    files = deliveries.files
    days = files["arrival"].map(lambda arrival: str(arrival.date()))
    return files[["accepted", "events", "late"]].groupby(days).sum()


def _by_day_panel(title: str, unit: str, table: pd.DataFrame, limit: float) -> Panel:
    percents = {str(row[0]): float(row[3]) * 100 for row in table.itertuples(index=False, name=None)}
    plot = bar_plot(title, unit, percents, limit)
    words = "\n".join(f"{title} on {day}: {percent:.2f} %" for day, percent in percents.items())
    left = f"<div>{data_table(table, 31, show_names=False)}</div>"
    return Panel(f'<div class="pair">{left}<div class="plot">{plot}</div></div>', words)


def _wide(table: pd.DataFrame) -> str:
    return f'<div class="lines examples">{data_table(table, SAMPLE_LINES + 8, show_names=False)}</div>'


def _percent(name: str, part: int, whole: int, limit: float) -> Measure:
    value = float(_share(part, whole)) * 100
    return Measure(name, value, limit, f"{value:.2f} %  ({part:,} of {whole:,})", f"{limit:g} %")


def _share(part: int, whole: int) -> Decimal:
    return Decimal(int(part)) / Decimal(int(whole)) if whole else Decimal(0)


def _short(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]
