"""The same work in one process without Spark, S3 or increments: how fast it could be at most.

`python -m benchmarks.duckdb_limit FILE FOLDER` reads one raw file and writes bronze, silver, the cube and the
five gold tables as Parquet. Prints the seconds that it took, without Python's start.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import duckdb

_READ = """
CREATE TABLE bronze AS
SELECT * FROM read_json(
    $file, format = 'newline_delimited', compression = 'gzip', ignore_errors = true, columns = {
    timestamp: 'VARCHAR', user_id: 'VARCHAR', session_id: 'VARCHAR', event_type: 'VARCHAR',
    product_id: 'VARCHAR', quantity: 'INTEGER', price: 'DECIMAL(10,2)', category: 'VARCHAR',
    search_query: 'VARCHAR'})
"""

_CLEAN = """
CREATE TABLE silver AS
WITH typed AS (
    SELECT CAST(TRY_CAST(timestamp AS TIMESTAMPTZ) AS TIMESTAMP) AS event_timestamp, * EXCLUDE (timestamp)
    FROM bronze
    WHERE event_type IN ('page_view', 'add_to_cart', 'remove_from_cart', 'purchase', 'search')
        AND user_id IS NOT NULL AND trim(session_id) <> ''
)
SELECT *, CAST(event_timestamp AS DATE) AS event_date, hour(event_timestamp) AS event_hour
FROM typed
WHERE event_timestamp IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY user_id, session_id, event_type, product_id, search_query, event_timestamp
    ORDER BY price DESC NULLS LAST) = 1
"""

_TABLES = {
    "event_cube": """
SELECT event_date, event_hour, product_id, category, event_type, count(*) AS event_count,
    sum(quantity) AS quantity, sum(price * quantity) FILTER (event_type = 'purchase') AS revenue
FROM silver GROUP BY ALL""",
    "conversion_funnel": """
SELECT product_id, category,
    count(*) FILTER (event_type = 'page_view') AS views,
    count(*) FILTER (event_type = 'add_to_cart') AS add_to_carts,
    count(*) FILTER (event_type = 'purchase') AS purchases,
    add_to_carts / nullif(views, 0) AS view_to_cart_conversion,
    purchases / nullif(views, 0) AS view_to_purchase_conversion,
    purchases / nullif(add_to_carts, 0) AS cart_to_purchase_conversion
FROM silver WHERE product_id IS NOT NULL GROUP BY ALL""",
    "hourly_revenue": """
SELECT event_date, event_hour, sum(price * quantity) AS total_revenue, count(*) AS transaction_count
FROM silver WHERE event_type = 'purchase' GROUP BY ALL""",
    "top_products": """
SELECT product_id, category, count(*) AS view_count
FROM silver WHERE event_type = 'page_view' GROUP BY ALL ORDER BY view_count DESC, product_id LIMIT 10""",
    "category_performance": "SELECT event_date, category, count(*) AS event_count FROM silver GROUP BY ALL",
    "user_activity": """
SELECT event_date, count(DISTINCT user_id) AS unique_users, count(DISTINCT session_id) AS unique_sessions
FROM silver GROUP BY ALL""",
}


_FORMAT = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"


def do_the_work(file: Path, folder: Path) -> int:
    """Read `file`, write all tables into `folder`; returns how many events silver has."""
    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(_READ, {"file": str(file)})
    connection.execute(_CLEAN)
    for table in ("bronze", "silver"):
        connection.execute(f"COPY {table} TO '{folder / table}.parquet' ({_FORMAT})")
    for table, query in _TABLES.items():
        connection.execute(f"COPY ({query}) TO '{folder / table}.parquet' ({_FORMAT})")
    (count,) = connection.execute("SELECT count(*) FROM silver").fetchone() or (0,)
    return int(count)


if __name__ == "__main__":
    began = time.perf_counter()
    events = do_the_work(Path(sys.argv[1]), Path(sys.argv[2]))
    print(time.perf_counter() - began, events)
