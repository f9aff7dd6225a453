"""Athena for the embedded AWS: Trino SQL, translated by sqlglot and run by DuckDB over the Glue catalog.

    api         Athena's operations, answered in MiniStack's place
    workgroups, prepared   a workgroup's settings, and its prepared statements
    statements  what a statement asks for
    definitions SHOW, DESCRIBE, DDL
    creation, writing      CREATE TABLE AS, INSERT INTO, UNLOAD, CREATE VIEW; rows as objects
    engine      one query in a DuckDB database of its own
    planner     names resolved, types inferred, table references planned
    inference, lambdas     Trino's types, also of the parameters of x -> ...
    dialect, names              SQL as it is written, and which functions are served
    rewrite, functions, casts, unnest, patterns, macros, trees
                where Trino and DuckDB mean different things by the same SQL
    scan, text  a table reference as a DuckDB view; fields of delimited text
    catalog, partitions, storage   the Glue catalog, partitions of a table, objects of S3
    results, types, errors      texts, column types and messages as Athena has them

MiniStack keeps its workgroups, named queries and data catalogs. What differs from AWS, knowingly: a syntax
error makes the query FAILED, where AWS refuses the request; DELETE, UPDATE, MERGE, EXPLAIN ANALYZE,
information_schema, Iceberg, Avro and buckets fail as not supported; EXPLAIN shows DuckDB's plan; how
results are to be encrypted is told and not done; functions that were not
checked against Trino's documentation, patterns of dates beyond strftime's, and time zones other than UTC
where they would be shown or compared are refused; a group of a regular expression that takes no part gives
an empty text, not NULL; DuckDB's leniency shows where Trino would refuse an implicit cast that no rule knows.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core.concurrency import run_reentrant
from ministack.core.responses import error_response_json
from ministack.services import athena as ministack_athena

from local_aws.athena import api


def install() -> None:
    """Answer `api.OPERATIONS` in MiniStack's place, and end queries that a former server left unfinished."""
    original_handler = ministack_athena.handle_request
    original_loader = ministack_athena.load_persisted_state

    async def handle_request(
        method: str, path: str, headers: dict[str, str], body: bytes, query_params: dict[str, Any]
    ) -> api.Response:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action not in api.OPERATIONS:
            return await original_handler(method, path, headers, body, query_params)
        try:
            request = json.loads(body or b"{}")
        except ValueError:
            return error_response_json("SerializationException", "Invalid JSON", 400)
        return await run_reentrant(api.answer, action, request, thread_name="athena-api")

    def load_persisted_state(data: dict[str, Any]) -> None:
        original_loader(data)
        api.fail_interrupted()

    ministack_athena.handle_request = handle_request
    ministack_athena.load_persisted_state = load_persisted_state
