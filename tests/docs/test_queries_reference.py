"""QUERIES_REFERENCE.md: samples are what a run on sample-data gives, statements run, claims hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd
import pytest
import sqlglot
from sqlglot import exp

import capstone_pipeline as pipeline
from capstone_pipeline import Connection, Query, QueryFailed, Shop, StackOutputs
from glue_scripts.capstone_etl import TABLES
from local_aws import LocalAws
from notebooks import more_answers
from tests.docs.commands import ROOT, Block, blocks, document, section
from tests.sample import environment_of
from tools.documents import answer_blocks, block, block_names, block_of, table_of

REFERENCE = "docs/QUERIES_REFERENCE.md"
QUERIES = pipeline.read_queries(ROOT / "queries.sql")
MORE_QUERIES = list(pipeline.read_queries(more_answers.QUERIES))
DOCUMENTS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
STATEMENTS = [statement for name in DOCUMENTS for statement in blocks(name, "sql")]
SECTIONS = {
    number: re.search(rf"^## {number}\. (.*)$", document(REFERENCE), re.MULTILINE) for number in range(1, 13)
}

# awswrangler calls pandas in a way that pandas 4 will not know.
pytestmark = pytest.mark.filterwarnings("ignore:The copy keyword is deprecated")


@dataclass(frozen=True)
class Sample:
    """A stack that holds sample-data."""

    aws: Connection
    stack: StackOutputs

    def ask(self, sql: str) -> pd.DataFrame:
        """The answer of Athena, in the database of the tables that the statement reads."""
        tables = {table.name for table in sqlglot.parse_one(sql, dialect="athena").find_all(exp.Table)}
        layers = {name.split(".")[0] for name in TABLES if name.split(".")[1] in tables}
        assert len(layers) == 1, f"{sql} reads tables of {layers or 'no layer'}"
        database = getattr(self.stack, f"{layers.pop()}_database_name")
        return pipeline.run_query(self.aws, self.stack, Query(0, "of a document", "", sql), database).frame


@pytest.fixture(scope="module")
def sample(aws: LocalAws, shop: Shop) -> Iterator[Sample]:
    with environment_of(aws):
        yield Sample(shop.aws, shop.stack)


def test_the_sample_of_each_answer_is_what_a_run_gives(sample: Sample) -> None:
    text = document(REFERENCE)
    assert block_names(text) == [*map(table_of, QUERIES), *map(block_of, MORE_QUERIES)]
    for table, content in answer_blocks("demo", "us-west-2").items():
        assert block(text, table) == f"{content}\n", "run: python -m tools docs --answers-of demo"


def described(number: int) -> dict[str, str]:
    """The columns of a section's table, with their types."""
    heading = SECTIONS[number]
    assert heading is not None
    rows = re.findall(
        r"^\| (`[a-z_`, ]+`) \| ([^|`]+) \|", section(document(REFERENCE), heading[0][3:]), re.MULTILINE
    )
    found: dict[str, str] = {}
    for names, types in rows:
        columns, kinds = re.findall(r"`(\w+)`", names), re.findall(r"\w+(?:\(\d+,\d+\))?", types)
        found |= dict(
            zip(columns, kinds if len(kinds) == len(columns) else kinds * len(columns), strict=True)
        )
    return found


@pytest.mark.parametrize("number", range(1, 6))
def test_each_column_is_described_with_the_type_that_it_has(number: int) -> None:
    schema = TABLES[f"gold.{table_of(QUERIES[number])}"].columns
    assert described(number) == {field.name: field.dataType.simpleString() for field in schema}


@pytest.mark.parametrize("query", MORE_QUERIES, ids=lambda query: query.title)
def test_each_column_of_a_further_answer_is_described_with_the_type_that_athena_gives(
    sample: Sample, query: Query
) -> None:
    (sql,) = blocks(REFERENCE, "sql", block(document(REFERENCE), block_of(query)))
    sample.ask(sql.code)
    athena = sample.aws.client("athena")
    (newest, *_) = athena.list_query_executions(WorkGroup=sample.stack.athena_workgroup_name, MaxResults=1)[
        "QueryExecutionIds"
    ]
    columns = athena.get_query_results(QueryExecutionId=newest)["ResultSet"]["ResultSetMetadata"][
        "ColumnInfo"
    ]
    names = {"varchar": "string", "integer": "int"}
    assert list(described(query.number).items()) == [
        (
            one["Name"],
            f"decimal({one['Precision']},{one['Scale']})"
            if one["Type"] == "decimal"
            else names.get(one["Type"], one["Type"]),
        )
        for one in columns
    ]


@pytest.mark.parametrize("table", ["gold.event_cube", "gold.daily_visitors", "silver.events_cleaned"])
def test_the_columns_for_questions_of_ones_own_are_those_of_the_table(table: str) -> None:
    (cells,) = re.findall(rf"^\| `{table.split('.')[1]}` \|.*\| (.*) \|$", document(REFERENCE), re.MULTILINE)
    assert re.findall(r"`(\w+)`", cells) == TABLES[table].columns.names


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.place)
def test_a_statement_of_the_documents_gives_rows(sample: Sample, statement: Block) -> None:
    assert len(sample.ask(statement.code)) > 0


def answer_to(sample: Sample, beginning: str) -> pd.DataFrame:
    """The answer to the one statement of the reference that contains this text."""
    (statement,) = [block for block in blocks(REFERENCE, "sql") if beginning in block.code]
    return sample.ask(statement.code)


def test_the_funnel_of_a_day_comes_from_the_cube_as_the_table_of_all_days_does(sample: Sample) -> None:
    (statement,) = [
        block for block in blocks(REFERENCE, "sql") if "FROM event_cube\nWHERE year = 2025" in block.code
    ]
    all_days = statement.code.replace("year = 2025 AND month = 11 AND day = 18 AND ", "")
    funnel = sample.ask("SELECT * FROM conversion_funnel WHERE views + add_to_carts + purchases > 0")
    keys = ["product_id", "category"]
    counts = [*keys, "views", "add_to_carts", "purchases"]
    computed = sample.ask(all_days).sort_values(keys)[counts].values.tolist()
    assert computed == funnel.sort_values(keys)[counts].values.tolist()


def test_the_whole_day_has_24_hours_and_the_revenue_of_the_table(sample: Sample) -> None:
    day = answer_to(sample, "sequence(0, 23)")
    table = sample.ask("SELECT total_revenue FROM hourly_revenue WHERE event_date = DATE '2025-11-17'")
    assert list(day.event_hour) == list(range(24))
    assert sum(day.total_revenue) == sum(table.total_revenue)


def test_the_shares_of_a_day_are_percent_with_decimals(sample: Sample) -> None:
    shares = answer_to(sample, "percent_of_day")
    assert all(value.as_tuple().exponent <= -2 for value in shares.percent_of_day)
    totals = shares.groupby("event_date").percent_of_day.sum()
    assert all(abs(total - 100) < Decimal("0.1") for total in totals)


# --- Troubleshooting: each row of the table -----------------------------------------------------------------


def test_a_query_in_the_wrong_database_is_refused_by_the_name_of_its_table(sample: Sample) -> None:
    query = Query(0, "of a document", "", "SELECT count(*) FROM events_cleaned")
    with pytest.raises(QueryFailed, match=r"capstone-demo, database gold_demo.*\n.*events_cleaned"):
        pipeline.run_query(sample.aws, sample.stack, query)


def test_an_hour_without_purchases_is_no_row(sample: Sample) -> None:
    hours = set(
        sample.ask("SELECT event_hour FROM hourly_revenue WHERE event_date = DATE '2025-11-17'").event_hour
    )
    events = sample.ask(
        "SELECT DISTINCT event_hour FROM event_cube WHERE year = 2025 AND month = 11 AND day = 17"
    )
    assert hours < set(events.event_hour) | {0}
    assert 0 not in hours


def test_a_conversion_is_null_where_its_denominator_is_zero_and_nowhere_else(sample: Sample) -> None:
    counts = sample.ask(
        "SELECT count_if(add_to_carts = 0) AS without_carts, count_if(conversion IS NULL) AS nulls, "
        "count_if(add_to_carts = 0 AND conversion IS NULL) AS agreed FROM (SELECT add_to_carts, "
        "cart_to_purchase_conversion AS conversion FROM conversion_funnel)"
    ).iloc[0]
    assert counts.without_carts == counts.nulls == counts.agreed > 0


def test_distinct_users_do_not_add_up_over_days(sample: Sample) -> None:
    both_days = answer_to(sample, "day BETWEEN 17 AND 18").iloc[0]
    by_day = sample.ask("SELECT * FROM user_activity")
    assert len(by_day) == 2
    assert max(by_day.unique_users) < both_days.unique_users < sum(by_day.unique_users)


def test_a_share_without_a_cast_has_no_decimals(sample: Sample) -> None:
    shares = sample.ask("SELECT sum(unique_users) / sum(unique_sessions) AS share FROM user_activity")
    assert list(shares.share) == [0]
