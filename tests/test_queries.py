"""queries.sql: five statements that Athena can run, each saying what it answers, all on gold tables."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from capstone_pipeline import InvalidQueryFile, Query, read_queries
from glue_scripts.capstone_etl import TABLES

QUERIES_FILE = Path(__file__).parent.parent / "queries.sql"
TABLE_OF_QUERY = {
    1: "conversion_funnel",
    2: "hourly_revenue",
    3: "top_products",
    4: "category_performance",
    5: "user_activity",
}

QUERIES = list(read_queries(QUERIES_FILE))
every_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.title)


def test_the_file_holds_the_five_queries_in_order() -> None:
    assert [query.number for query in QUERIES] == [1, 2, 3, 4, 5]


def test_splitting_the_file_at_its_semicolons_gives_the_same_five_statements() -> None:
    pieces = [piece.strip() for piece in QUERIES_FILE.read_text().split(";")]
    assert pieces.pop() == ""
    assert len(pieces) == 5
    for piece, query in zip(pieces, QUERIES, strict=True):
        assert piece.startswith(f"-- query {query.number}, {query.title}\n")
        assert piece.endswith(query.sql)


@every_query
def test_a_query_says_which_question_it_answers(query: Query) -> None:
    assert "?" in query.comment


@every_query
def test_a_query_is_one_select_that_athena_can_parse(query: Query) -> None:
    (statement,) = sqlglot.parse(query.sql, dialect="athena")
    assert isinstance(statement, exp.Select)


@every_query
def test_a_query_reads_its_gold_table_and_leaves_the_database_to_the_caller(query: Query) -> None:
    tables = list(sqlglot.parse_one(query.sql, dialect="athena").find_all(exp.Table))
    assert [table.name for table in tables] == [TABLE_OF_QUERY[query.number]]
    assert not tables[0].db


@every_query
def test_a_query_returns_all_columns_of_its_table_in_the_documented_order(query: Query) -> None:
    (statement,) = sqlglot.parse(query.sql, dialect="athena")
    assert isinstance(statement, exp.Select)
    columns = statement.named_selects
    assert columns == TABLES[f"gold.{TABLE_OF_QUERY[query.number]}"].columns.names


@every_query
def test_a_query_orders_its_rows_completely(query: Query) -> None:
    order = sqlglot.parse_one(query.sql, dialect="athena").args["order"]
    keys = {
        1: {"product_id", "category"},
        2: {"event_date", "event_hour"},
        3: {"rank"},
        4: {"event_date", "category"},
        5: {"event_date"},
    }
    assert {column.name for column in order.find_all(exp.Column)} >= keys[query.number]


def write(folder: Path, text: str) -> Path:
    path = folder / "queries.sql"
    path.write_text(text)
    return path


def test_title_comment_and_statement_are_told_apart(tmp_path: Path) -> None:
    path = write(tmp_path, "-- query 7, a title\n-- Why?\n-- Because.\nSELECT ';' -- inline\nFROM t;\n")
    assert read_queries(path)[7] == Query(7, "a title", "Why? Because.", "SELECT ';' -- inline\nFROM t")


def test_an_unknown_number_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "-- query 1, a\nSELECT 1;\n-- query 2, b\nSELECT 2;\n")
    with pytest.raises(InvalidQueryFile, match="no query 3, only 1, 2"):
        read_queries(path)[3]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1;\n", "found no such line"),
        ("-- query 1, a\nSELECT 1;\n-- query 1, b\nSELECT 2;\n", r"found the numbers \[1, 1\]"),
        ("-- query 1, a\nSELECT 1\n", "does not end with a semicolon"),
        ("-- query 1, a\nSELECT 1;\n\n-- query 2, b\n", "Query 2, b, .* does not end with a semicolon"),
    ],
)
def test_a_file_in_another_form_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InvalidQueryFile, match=complaint):
        read_queries(write(tmp_path, text))


def test_a_missing_file_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidQueryFile, match=r"missing\.sql"):
        read_queries(tmp_path / "missing.sql")
