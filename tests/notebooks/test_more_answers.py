"""more_answers.ipynb: its answers equal those from the raw lines, of any events and from the job's tables.

Any events: their tables are written without the job, from the witness, so that an example takes a second.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlglot import exp

from capstone_pipeline import InvalidSetting, NotRunYet, Query, Shop, read_queries
from capstone_pipeline.raw_objects import RawObject
from demo import deploy_stack
from generate_sample_data import Settings, generate
from glue_scripts.capstone_etl import TABLES
from local_aws import LocalAws
from notebooks import more_answers, recompute
from notebooks.more_answers import QUESTIONS, MoreAnswer, MoreAnswers
from notebooks.recompute import Recomputed
from tests.names import AWKWARD_NAMES
from tests.notebooks.conftest import ROOT
from tests.notebooks.test_validate_results import changed
from tests.sample import embedded

# awswrangler calls pandas in a way that pandas 4 will not know.
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")

QUERIES = list(read_queries(more_answers.QUERIES))
every_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)
every_question = pytest.mark.parametrize("number", QUESTIONS)
ARRIVAL = datetime(2025, 3, 2, tzinfo=UTC)


# --- The statements -----------------------------------------------------------------------------------------


def parsed(query: Query, first: date, last: date) -> exp.Query:
    (statement,) = sqlglot.parse(more_answers.statement(query, first, last), dialect="athena")
    assert isinstance(statement, exp.Query)
    return statement


def test_the_file_goes_on_where_the_five_queries_end() -> None:
    assert [query.number for query in QUERIES] == list(QUESTIONS) == [6, 7, 8, 9, 10, 11, 12]
    assert all("?" in query.comment for query in QUERIES)


@every_query
def test_a_statement_reads_one_table_of_one_layer(query: Query) -> None:
    statement = parsed(query, date(2025, 2, 28), date(2025, 3, 1))
    own = {name.alias for name in statement.find_all(exp.CTE)}
    (read,) = {table.name for table in statement.find_all(exp.Table)} - own - {"searched"}
    assert f"{'silver' if read == 'events_cleaned' else 'gold'}.{read}" in TABLES


@every_query
def test_a_statement_on_silver_opens_the_folders_of_one_day_only(query: Query) -> None:
    statement = parsed(query, date(2025, 2, 27), date(2025, 3, 1))
    reads = [table for table in statement.find_all(exp.Table) if table.name == "events_cleaned"]
    for table in reads:
        select = table.find_ancestor(exp.Select)
        assert select is not None
        assert "year IN (2025) AND month IN (3) AND day IN (1)" in select.args["where"].sql("athena")
    assert len(reads) <= 1


# --- Any events: a lake without the job ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty_shop(aws: LocalAws) -> Shop:
    """A stack without events."""
    with embedded(aws) as connection:
        template = (ROOT / "capstone-starter.cfn.yaml").read_text()
        parameters = {"StudentId": "more", "GeneratorState": "DISABLED"}
        _, stack = deploy_stack(connection, "capstone-more", template, parameters)
        return Shop(connection, stack)


def recomputed_from(events: list[dict[str, Any]]) -> Recomputed:
    """What the witness makes of these events."""
    lines = [json.dumps(event, default=str) for event in events]
    item = RawObject("s3://raw/events/x.jsonl", ARRIVAL, ARRIVAL)
    database = recompute.compute([(item, "\n".join(lines).encode())])
    return Recomputed(database, (item,), (), (), None, ARRIVAL)


def fill(shop: Shop, expected: Recomputed) -> None:
    """Make the tables that the questions read those of these events, a file a day, for visitors two."""
    s3, bucket = shop.aws.client("s3"), shop.stack.analytics_bucket_name
    old = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    if old:
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": one["Key"]} for one in old]})
    visitors = (
        "SELECT DISTINCT event_date, unnest(['user', 'session']) AS visitor_type, "
        "unnest([user_id, session_id]) AS visitor_id FROM events"
    )
    relations = {
        "silver.events_cleaned": "SELECT *, sources[1] AS source_file FROM events",
        "gold.event_cube": "SELECT * FROM event_cube",
        "gold.daily_visitors": visitors,
        "gold.hourly_revenue": "SELECT * FROM hourly_revenue",
        "gold.user_activity": "SELECT * FROM user_activity",
    }
    for name, sql in relations.items():
        table, columns = TABLES[name], TABLES[name].arrow
        rows = expected.database.sql(sql).to_arrow_table().select(columns.names)
        if pa.types.is_timestamp(rows.schema[0].type):
            columns = columns.set(0, pa.field("event_timestamp", pa.timestamp("us")))
        rows = rows.cast(columns)
        days = sorted(set(rows["event_date"].to_pylist())) if table.partitions else [None]
        for day in days:
            part = rows if day is None else rows.filter(pc.equal(rows["event_date"], day))
            buffer = io.BytesIO()
            pq.write_table(part, buffer)
            folder = table.location if day is None else table.day(str(day))
            for run in ("a", "b") if name == "gold.daily_visitors" else ("a",):
                s3.put_object(Bucket=bucket, Key=f"{folder}/run={run}/x.parquet", Body=buffer.getvalue())


def rows_of(answer: MoreAnswer) -> list[tuple[Any, ...]]:
    assert answer.check.state == "passed", str(answer.check)
    assert "<script>" not in answer._repr_html_()
    return list(answer.frame.itertuples(index=False, name=None))


def event(
    session: str, user: str, moment: str, kind: str, product: str | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "timestamp": f"{moment}Z",
        "user_id": user,
        "session_id": session,
        "event_type": kind,
        "product_id": product,
        **more,
    }


DAY_BEFORE, DAY = date(2025, 2, 28), date(2025, 3, 1)
A_CAR = {"quantity": 2, "price": Decimal("10.00"), "category": "toys"}
A_BOOK = {"quantity": 1, "price": Decimal("5.01"), "category": "books"}
TWO_DAYS = [
    # Over midnight: put into the cart before it, bought after it.
    event("s0", "u1", "2025-02-28T23:58:00", "page_view", "p1", category="toys"),
    event("s0", "u1", "2025-02-28T23:59:00", "add_to_cart", "p1", **A_CAR),
    event("s0", "u1", "2025-03-01T00:01:00", "purchase", "p1", **A_CAR),
    event("s1", "u2", "2025-02-28T12:00:00", "purchase", "p2", **A_BOOK | {"price": Decimal("5.00")}),
    # Searches, then buys; Athena's milliseconds make 29.9996 seconds 30.
    event("s2", "u2", "2025-03-01T12:00:00", "page_view", "p2", category="books"),
    event("s2", "u2", "2025-03-01T12:00:10", "search", search_query="lego"),
    event("s2", "u2", "2025-03-01T12:00:11", "search", search_query="lego"),
    event("s2", "u2", "2025-03-01T12:00:20", "add_to_cart", "p2", **A_BOOK),
    event("s2", "u2", "2025-03-01T12:00:29.9996", "purchase", "p2", **A_BOOK),
    # Leaves two of three cars, and something without a category.
    event("s3", "u3", "2025-03-01T13:00:00", "add_to_cart", "p1", **A_CAR | {"quantity": 3}),
    event("s3", "u3", "2025-03-01T13:00:01", "remove_from_cart", "p1", **A_CAR | {"quantity": 1}),
    event("s3", "u3", "2025-03-01T13:00:02", "add_to_cart", "p3", quantity=1, price=Decimal("0.50")),
    event("s3", "u3", "2025-03-01T13:00:03", "search", search_query="n/a"),
    # Takes everything out again: no cart.
    event("s4", "u4", "2025-03-01T14:00:00", "add_to_cart", "p1", **A_CAR),
    event("s4", "u4", "2025-03-01T14:00:01", "remove_from_cart", "p1", **A_CAR),
    event("s5", "u5", "2025-03-01T15:00:00", "search", search_query="lego"),
    event("s6", "u1", "2025-03-01T16:00:00", "page_view", "p1", category="toys"),
]
BY_HAND: dict[int, list[tuple[Any, ...]]] = {
    6: [
        (DAY, "toys", 2, 1, Decimal("20.00")),
        (DAY, "books", 1, 1, Decimal("5.01")),
        (DAY, "uncategorized", 1, 0, Decimal("0.00")),
        (DAY_BEFORE, "books", 0, 1, Decimal("5.00")),
        (DAY_BEFORE, "toys", 1, 0, Decimal("0.00")),
    ],
    7: [
        (None, 2, 3, Decimal("25.01"), Decimal("12.51"), Decimal("1.50")),
        (1, 2, 3, Decimal("25.01"), Decimal("12.51"), Decimal("1.50")),
    ],
    8: [
        (None, 2, 1, Decimal("0.5000"), 3, Decimal("20.50")),
        ("toys", 1, 1, Decimal("1.0000"), 2, Decimal("20.00")),
        ("uncategorized", 1, 1, Decimal("1.0000"), 1, Decimal("0.50")),
        ("books", 1, 0, Decimal("0.0000"), 0, Decimal("0.00")),
    ],
    9: [("30 s to 1 min", 1, Decimal("0.5000")), ("not seen before", 1, Decimal("0.5000"))],
    10: [
        (True, None, 4, 3, 1, Decimal("0.3333")),
        (False, None, 0, 3, 1, Decimal("0.3333")),
        (True, "lego", 3, 2, 1, Decimal("0.5000")),
        (True, "(no text)", 1, 1, 0, Decimal("0.0000")),
    ],
    11: [(DAY_BEFORE, 2, 2, Decimal("1.0000"))],
    12: [
        (DAY, None, Decimal("25.01"), Decimal("5.00"), Decimal("5.00"), Decimal("4.0020")),
        (DAY_BEFORE, None, Decimal("5.00"), Decimal("0.00"), Decimal("0.00"), None),
        (DAY, 0, Decimal("20.00"), Decimal("0.00"), Decimal("0.00"), None),
        (DAY, 12, Decimal("5.01"), Decimal("5.00"), Decimal("5.00"), Decimal("0.0020")),
    ],
}


@pytest.fixture
def two_days(empty_shop: Shop) -> MoreAnswers:
    expected = recomputed_from(TWO_DAYS)
    fill(empty_shop, expected)
    return more_answers.about(empty_shop, expected)


@pytest.fixture(scope="module")
def of_two_days(empty_shop: Shop) -> dict[int, MoreAnswer]:
    """The answers, asked for once: other tests fill the shop with other events."""
    fill(empty_shop, expected := recomputed_from(TWO_DAYS))
    more = more_answers.about(empty_shop, expected)
    assert (more.first, more.last) == (DAY_BEFORE, DAY)
    return {number: more.answer(number) for number in QUESTIONS}


@every_question
def test_the_answers_are_those_worked_out_by_hand(of_two_days: dict[int, MoreAnswer], number: int) -> None:
    assert rows_of(of_two_days[number]) == BY_HAND[number]


SENTENCES = {
    6: "On 2025-03-01, toys earns 20.00 USD, 80.0 % of the day's revenue, and is bought most often, too.",
    7: "An order is worth 12.51 USD and holds 1.50 items on average; 100.0 % of 2 orders are of one product "
    "only.",
    8: "1 of 2 carts (50.0 %) are left, with goods for 20.50 USD in them; toys has the largest part of it "
    "(20.00 USD).",
    9: "From the first view of a product to its purchase it typically takes 30 s to 1 min; 1 purchase had no "
    "view before on that day.",
    10: "Most is searched for “lego” (3 times). Of sessions that search, 33.3 % buy, of the others 33.3 %.",
    11: "Of 2 users of 2025-02-28, 2 have come again on the next day, 100.0 %.",
    12: "2025-03-01 sold 25.01 USD, the day before 5.00; up to the hour of the last purchase it had sold "
    "5.00: a change of +400.2 %.",
}


@every_question
def test_the_sentence_on_an_answer_has_its_figures(of_two_days: dict[int, MoreAnswer], number: int) -> None:
    answer = of_two_days[number]
    assert str(answer).splitlines()[0] == answer.insight == SENTENCES[number]


def test_where_there_is_nothing_to_compare_the_sentences_say_so(empty_shop: Shop) -> None:
    bought = event("s", "u", "2025-03-01T12:00:00", "purchase", "p", **A_BOOK)
    expected = recomputed_from([bought])
    fill(empty_shop, expected)
    more = more_answers.about(empty_shop, expected)
    said = {number: more.answer(number).insight for number in QUESTIONS}
    assert said[8] == said[11] == "There is nothing to tell of these days."
    assert said[9] == "No purchase followed a view; 1 purchase had no view before on that day."
    assert said[10] == "Nobody searched; 100.0 % of the sessions bought something."
    assert said[12].endswith("the day before had sold nothing to compare with.")
    fill(empty_shop, filled := recomputed_from([bought | {"event_type": "add_to_cart"}]))
    sales = more_answers.about(empty_shop, filled).answer(6)
    assert sales.insight == "On 2025-03-01, carts were filled, but nothing was bought."


def test_a_day_that_goes_on_is_compared_up_to_its_last_purchase(empty_shop: Shop) -> None:
    sold = {"2025-02-28T09": 1, "2025-02-28T20": 5, "2025-03-01T09": 3}
    expected = recomputed_from(
        [
            event("s", "u", f"{hour}:00:00", "purchase", "p", **A_BOOK | {"quantity": n})
            for hour, n in sold.items()
        ]
    )
    fill(empty_shop, expected)
    (day, *_) = rows_of(more_answers.about(empty_shop, expected).answer(12))
    assert day == (DAY, None, *map(Decimal, ("15.03", "30.06", "5.01", "2.0000")))


MOMENTS = [
    datetime(2025, 2, 27, 23, 59, 59, 999_499),  # rounds to the last millisecond of the day
    datetime(2025, 2, 28, 23, 59, 59, 999_700),  # rounds to midnight, which is another day
    datetime(2025, 2, 28, 12),
    datetime(2025, 3, 1),
    datetime(2025, 3, 1, 0, 0, 29, 999_500),
    datetime(2025, 3, 1, 0, 1, 59, 999_499),
    datetime(2025, 3, 1, 12),
    datetime(2025, 3, 1, 12, 59, 59, 999_999),
    datetime(2025, 3, 3, 1),  # the second of March is without events
]
A_THIRD = [Decimal("0.00"), Decimal("0.01"), Decimal("3.33"), Decimal("99999999.99")]


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event of few sessions, products and texts, so that sessions get long and rows tie."""
    kind = draw(st.sampled_from(("page_view", "add_to_cart", "remove_from_cart", "purchase", "search")))
    moment = draw(st.sampled_from(MOMENTS)) + timedelta(seconds=draw(st.sampled_from((0, 0, 1, 29, 60))))
    drawn = event(
        draw(st.sampled_from(("s1", "s2", "s3", "s4"))),
        draw(st.sampled_from(("u1", "u2"))),
        moment.isoformat(),
        kind,
    )
    if kind == "search":
        return drawn | {"search_query": draw(st.sampled_from(("a", "b", "A", "電", None)))}
    drawn |= {"product_id": draw(st.sampled_from(("p1", "p2", "p3")))}
    drawn |= {"category": draw(st.sampled_from(("toys", "books", None)))}
    if kind == "page_view":
        return drawn
    return drawn | {"quantity": draw(st.integers(1, 3)), "price": draw(st.sampled_from(A_THIRD))}


@settings(max_examples=5)
@given(drawn=st.lists(events(), min_size=1, max_size=40), days_shown=st.integers(1, 4))
def test_of_any_events_athena_and_the_raw_lines_give_the_same_answers(
    empty_shop: Shop, drawn: list[dict[str, Any]], days_shown: int
) -> None:
    expected = recomputed_from(drawn)
    fill(empty_shop, expected)
    more = more_answers.about(empty_shop, expected, days_shown=days_shown)
    for number in QUESTIONS:
        rows_of(more.answer(number))
    expected.database.close()


def test_names_from_events_do_no_harm_in_an_answer(empty_shop: Shop) -> None:
    # Athena's result is CSV, of which pandas reads a carriage return as a line feed.
    names = [name for name in AWKWARD_NAMES if name.strip() and "\r" not in name]
    drawn = [
        one
        for number, name in enumerate(names)
        for one in (
            event(f"s{number}", "u", "2025-03-01T00:00:00", "search", search_query=name),
            event(
                f"s{number}", "u", "2025-03-01T00:00:00", "add_to_cart", name, **A_CAR | {"category": name}
            ),
            event(f"t{number}", "u", "2025-03-01T00:00:00", "purchase", name, **A_CAR | {"category": name}),
        )
    ]
    expected = recomputed_from(drawn)
    fill(empty_shop, expected)
    more = more_answers.about(empty_shop, expected)
    for number in QUESTIONS:
        rows_of(more.answer(number))


def test_a_shop_without_events_is_told_to_run_the_job(empty_shop: Shop) -> None:
    expected = recomputed_from([])
    fill(empty_shop, expected)
    with pytest.raises(NotRunYet, match="The tables of gold_more are empty"):
        more_answers.about(empty_shop, expected)


def test_a_day_without_events_is_answered_with_days_that_have_some(
    two_days: MoreAnswers, empty_shop: Shop
) -> None:
    for day in ("2025-03-02", "tomorrow"):
        with pytest.raises(InvalidSetting, match=f"no events of the day '{day}'[^$]*2025-02-28, 2025-03-01"):
            more_answers.about(empty_shop, two_days.expected, day)


def test_days_whose_raw_objects_have_expired_are_not_compared(two_days: MoreAnswers) -> None:
    expired = Recomputed(two_days.expected.database, (), (), ("s3://raw/old",), DAY_BEFORE, ARRIVAL)
    more = MoreAnswers(two_days.shop, expired, DAY_BEFORE, DAY)
    states = {number: more.answer(number).check.state for number in QUESTIONS}
    assert {number for number, state in states.items() if state == "skipped"} == {6, 11, 12}
    assert "Not compared: raw objects of 2025-02-28 have expired." in str(more.answer(6))


# --- The job's tables ---------------------------------------------------------------------------------------


def test_the_notebook_passes_over_the_sample_data(executed: Callable[[str], Path]) -> None:
    page = executed("more_answers").with_suffix(".html").read_text()
    assert "7 checks passed, 0 skipped." in page
    assert page.count(">passed<") == 7 + 7 + 1


@pytest.fixture(scope="module")
def of_samples(shop: Shop, recomputed: Recomputed) -> MoreAnswers:
    return more_answers.about(shop, recomputed)


@every_question
def test_a_fault_in_its_table_turns_an_answer_red(of_samples: MoreAnswers, number: int) -> None:
    def without_half(table: pa.Table) -> pa.Table:
        return table.take(list(range(0, len(table), 2)))

    day = "year=2025/month=11/day=18/"
    places = {6: f"gold/event_cube/{day}", 11: f"gold/daily_visitors/{day}", 12: "gold/hourly_revenue/"}
    with changed(of_samples.shop, places.get(number, f"silver/events_cleaned/{day}"), without_half):
        answer = of_samples.answer(number)
    assert answer.check.state == "failed"
    assert "The raw lines give another answer." in str(answer)
    assert "Rows that differ" in answer._repr_html_()


def test_rows_in_another_order_are_another_answer(of_samples: MoreAnswers) -> None:
    frame = of_samples.answer(6).frame
    check = more_answers.compare("Sales", frame, frame.iloc[::-1].reset_index(drop=True))
    assert [figure.name for figure in check.figures if not figure.passed] == ["order of the rows"]


@every_question
def test_no_answer_reads_more_than_a_day_of_silver(of_samples: MoreAnswers, number: int) -> None:
    """Nor more of gold than is there of the two days."""
    s3, stack = of_samples.shop.aws.client("s3"), of_samples.shop.stack

    def size(prefix: str) -> int:
        listed = s3.list_objects_v2(Bucket=stack.analytics_bucket_name, Prefix=prefix)["Contents"]
        return sum(one["Size"] for one in listed)

    places = {6: "gold/event_cube/", 11: "gold/daily_visitors/", 12: "gold/hourly_revenue/"}
    scanned = of_samples.answer(number).asked.scanned_bytes
    of_a_day = size("silver/events_cleaned/year=2025/month=11/day=18/")
    # Query 12 reads its table of one object twice.
    most = size(places[number]) * (2 if number == 12 else 1) if number in places else of_a_day
    assert 0 < scanned <= most


@pytest.fixture(scope="module")
def batches(aws: LocalAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Recomputed]]:
    """24 batches over three days, taken in by the job in two runs."""
    folder = tmp_path_factory.mktemp("batches")
    start = datetime(2025, 2, 27, 3, tzinfo=UTC)
    made = list(generate(Settings(24, 1000, start, interval_minutes=150, seed=24), folder))
    with embedded(aws) as connection:
        template = (ROOT / "capstone-starter.cfn.yaml").read_text()
        parameters = {"StudentId": "batches", "GeneratorState": "DISABLED"}
        _, stack = deploy_stack(connection, "capstone-batches", template, parameters)
        shop = Shop(connection, stack)
        shop.upload()
        shop.set_up_job()
        s3 = connection.client("s3")
        for some in (made[::2], made[1::2]):
            for one in some:
                key = f"events/{one.path.relative_to(folder).as_posix()}"
                s3.put_object(Bucket=stack.source_bucket_name, Key=key, Body=one.path.read_bytes())
            shop.run(poll_seconds=0.5, show=lambda _: None)
        expected = recompute.recompute(shop)
    yield shop, expected
    expected.database.close()


@pytest.mark.long  # The job's tables are the witness's after any runs (tests/etl); of those, see any events.
def test_over_24_batches_every_answer_of_every_day_is_that_of_the_raw_lines(
    batches: tuple[Shop, Recomputed],
) -> None:
    shop, expected = batches
    assert len(expected.objects) == 24
    days = shop.ask("SELECT event_date FROM user_activity ORDER BY event_date", "days")["event_date"]
    assert len(days) >= 3
    for day in days:
        more = more_answers.about(shop, expected, str(day), days_shown=3)
        answers = {number: rows_of(more.answer(number)) for number in QUESTIONS}
        assert all(rows for number, rows in answers.items() if number != 11 or day != days[0])
