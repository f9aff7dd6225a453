"""The five questions, asked of gold, of silver and of raw JSON: time, and bytes that have to be read.

Bytes are those of the column chunks that a question names, from the Parquet footers of the objects (of raw
JSON, whole objects): computed here, and not taken from the embedded Athena's own statistic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import sqlglot
from sqlglot import exp

from benchmarks import drawing
from benchmarks.harness import (
    FIRST_PERIOD,
    OURS,
    Bench,
    BenchmarkError,
    Pipeline,
    deploy,
    median_figure,
    progress,
)
from benchmarks.results import ROOT, Figure, Result
from capstone_pipeline import Query, check_source_data, read_queries

TITLE = "Queries"

FILES = 24
"""One an hour, so that a day of the gold tables is complete."""

COUNTS = """
SELECT product_id, {category} AS category,
    count_if(event_type = 'page_view') AS views,
    count_if(event_type = 'add_to_cart') AS add_to_carts,
    count_if(event_type = 'purchase') AS purchases
FROM {events}
WHERE product_id IS NOT NULL
GROUP BY 1, 2"""
WITHOUT_GOLD = {
    "conversion_funnel": f"""
SELECT *,
    round(CAST(add_to_carts AS double) / nullif(views, 0), 4),
    round(CAST(purchases AS double) / nullif(views, 0), 4),
    round(CAST(purchases AS double) / nullif(add_to_carts, 0), 4)
FROM ({COUNTS})
WHERE views + add_to_carts + purchases > 0
ORDER BY views DESC, product_id, category""",
    "hourly_revenue": """
SELECT {date}, {hour}, sum({price} * {quantity}), count(*)
FROM {events}
WHERE event_type = 'purchase'
GROUP BY 1, 2
ORDER BY 1 DESC, 2 DESC""",
    "top_products": """
SELECT row_number() OVER (ORDER BY count(*) DESC, product_id, {category}), product_id, {category}, count(*)
FROM {events}
WHERE event_type = 'page_view' AND product_id IS NOT NULL
GROUP BY product_id, {category}
ORDER BY 1
LIMIT 10""",
    "category_performance": """
SELECT {date}, {category}, count(*)
FROM {events}
GROUP BY 1, 2
ORDER BY 1 DESC, 3 DESC, 2""",
    "user_activity": """
SELECT {date}, count(DISTINCT user_id), count(DISTINCT session_id)
FROM {events}
GROUP BY 1
ORDER BY 1 DESC""",
}
"""The same answers without gold; the names in braces are what SILVER and RAW call them."""

SILVER = {
    "events": "events_cleaned",
    "category": "coalesce(category, 'uncategorized')",
    "date": "event_date",
    "hour": "event_hour",
    "price": "price",
    "quantity": "quantity",
}
RAW = {
    "events": "raw_events",
    "category": "coalesce(category, 'uncategorized')",
    "date": "date(try_cast(substr(timestamp, 1, 10) AS date))",
    "hour": "substr(timestamp, 12, 2)",
    "price": "coalesce(try_cast(price AS decimal(10,2)), 0)",
    "quantity": "coalesce(try_cast(quantity AS integer), 0)",
}
_SUFFIXES = ("", "_silver", "_raw")
"""Of the figures' names, in the order gold, silver, raw."""
RAW_DATABASE = "benchmark_raw"


@dataclass(frozen=True)
class Question:
    """One question to one layer."""

    sql: str
    database: str
    scanned_bytes: int


def measure(bench: Bench) -> tuple[dict[str, Figure], dict[str, Any]]:
    """A day of data is taken in by one run; then the layers are asked in turns."""
    pipeline = deploy(bench, "queries", OURS)
    midnight = FIRST_PERIOD.replace(hour=0)
    batches = bench.batches(bench.scale.events // FILES, interval_minutes=60, start=midnight)
    files = [batches[number] for number in range(1, FILES + 1)]
    pipeline.deliver(*files)
    pipeline.run()
    questions = _questions(bench, pipeline)
    seconds: dict[str, dict[str, list[float]]] = {
        name: {layer: [] for layer in layers} for name, layers in questions.items()
    }
    with progress(TITLE, bench.scale.repeats * len(questions)) as bar:
        for _ in range(bench.scale.repeats):
            for name, layers in questions.items():
                answers = {}
                for layer, question in layers.items():
                    duration, answers[layer] = pipeline.ask(question.sql, question.database)
                    seconds[name][layer].append(duration)
                _check_equal(name, answers["gold"], answers["silver"])
                bar.update()
    figures = {"events": Figure(sum(file.lines for file in files), "count", "lines of a day, in 24 files")}
    for name, layers in questions.items():
        for layer, question in layers.items():
            suffix = "" if layer == "gold" else f"_{layer}"
            figures[f"{name}_seconds{suffix}"] = median_figure(
                seconds[name][layer], "s", f"{name} from {layer}, start to answer"
            )
            figures[f"{name}_scanned_bytes{suffix}"] = Figure(
                question.scanned_bytes, "B", f"{name} from {layer}, bytes of the columns read"
            )
    return figures, {"seconds": seconds, "sql": {n: layers["silver"].sql for n, layers in questions.items()}}


def _questions(bench: Bench, pipeline: Pipeline) -> dict[str, dict[str, Question]]:
    stack, folder = pipeline.stack, bench.folder / "queries"
    silver_files = pipeline.fetch("silver/", folder)
    raw_bytes = _create_raw_table(bench, pipeline)
    questions = {}
    for query in read_queries(ROOT / "queries.sql"):
        name = _table_of(query)
        gold_files = pipeline.fetch(f"gold/{name}/", folder)
        silver_sql = silver_question(name)
        raw_sql = WITHOUT_GOLD[name].format(**RAW).strip()
        questions[name] = {
            "gold": Question(query.sql, stack.gold_database_name, scanned_bytes(query.sql, gold_files)),
            "silver": Question(
                silver_sql, stack.silver_database_name, scanned_bytes(silver_sql, silver_files)
            ),
            "raw": Question(raw_sql, RAW_DATABASE, raw_bytes),
        }
    return questions


def silver_question(name: str) -> str:
    """The SQL that answers a question, known by its gold table, from silver."""
    return WITHOUT_GOLD[name].format(**SILVER).strip()


def scanned_bytes(sql: str, files: Iterable[Path]) -> int:
    """The bytes of the column chunks that a statement names, in Parquet files of the one table it reads."""
    names = {column.name for column in sqlglot.parse_one(sql, dialect="athena").find_all(exp.Column)}
    total = 0
    for path in files:
        footer = pq.read_metadata(path)
        for group in range(footer.num_row_groups):
            chunks = [footer.row_group(group).column(index) for index in range(footer.num_columns)]
            total += sum(chunk.total_compressed_size for chunk in chunks if chunk.path_in_schema in names)
    return total


def _check_equal(name: str, gold: list[list[str | None]], silver: list[list[str | None]]) -> None:
    """What silver answers must be what gold answers, or their times could not be compared."""
    if len(gold) != len(silver) or not all(map(_same_row, gold, silver)):
        raise BenchmarkError(f"{name}: silver and gold do not answer alike")


def _same_row(one: list[str | None], other: list[str | None]) -> bool:
    return all(a == b or (a and b and _is_near(a, b)) for a, b in zip(one, other, strict=True))


def _is_near(one: str, other: str) -> bool:
    """Ratios are floating point in silver's query and decimals in gold."""
    try:
        return abs(float(one) - float(other)) <= 1e-4
    except ValueError:
        return False


def _create_raw_table(bench: Bench, pipeline: Pipeline) -> int:
    """A table over the raw objects; returns their bytes."""
    glue, stack = bench.aws.client("glue"), pipeline.stack
    bronze = glue.get_table(DatabaseName=stack.bronze_database_name, Name="events")["Table"]
    fields = [column["Name"] for column in bronze["StorageDescriptor"]["Columns"]]
    fields.remove("source_file")
    glue.create_database(DatabaseInput={"Name": RAW_DATABASE})
    glue.create_table(
        DatabaseName=RAW_DATABASE,
        TableInput={
            "Name": RAW["events"],
            "TableType": "EXTERNAL_TABLE",
            "StorageDescriptor": {
                "Columns": [{"Name": name, "Type": "string"} for name in fields],
                "Location": stack.raw_events_location,
                "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
                "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                "SerdeInfo": {
                    "SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe",
                    "Parameters": {"ignore.malformed.json": "true"},
                },
            },
        },
    )
    return check_source_data(bench.aws, stack).size_bytes


def _table_of(query: Query) -> str:
    (table,) = sqlglot.parse_one(query.sql, dialect="athena").find_all(exp.Table)
    return table.name


def table(result: Result) -> str:
    """Gold beside silver beside raw."""
    figures, rows = result.figures, []
    for name in WITHOUT_GOLD:
        times = [str(figures[f"{name}_seconds{suffix}"]) for suffix in ("", "_silver")]
        scanned = [str(figures[f"{name}_scanned_bytes{suffix}"]) for suffix in _SUFFIXES]
        rows.append([name.replace("_", " "), *times, *scanned])
    return drawing.table(("Question", "gold", "silver", "gold reads", "silver reads", "raw JSON reads"), rows)
