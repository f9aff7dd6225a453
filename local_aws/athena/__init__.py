"""Athena for the embedded AWS: Trino SQL, translated by sqlglot and run by DuckDB over the Glue catalog.

MiniStack keeps its workgroups, named queries and data catalogs; starting queries, their results and the
settings of workgroups are answered here. What differs from AWS: a syntax error makes the query FAILED instead
of refusing the request, and there is no information_schema, INSERT or Iceberg.
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
