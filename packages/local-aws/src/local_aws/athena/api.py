"""Athena's API operations that MiniStack answers otherwise than AWS: queries, results, workgroups.

Each operation takes the request's JSON and returns MiniStack's response triple. They run in threads of their
own, as they call S3 and Glue of this same server; the event loop must stay free to answer.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from ministack.core.concurrency import spawn_background
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, new_uuid
from ministack.services import athena as ministack_athena
from ministack.services import s3 as ministack_s3

from local_aws.athena import results, statements
from local_aws.athena.catalog import CATALOG_NAME, Catalog
from local_aws.athena.engine import Cancellation, Session
from local_aws.athena.errors import QueryCancelled, QueryFailed
from local_aws.athena.partitions import Location
from local_aws.athena.results import Cell, Result
from local_aws.athena.storage import ObjectStore, StoredObject
from local_aws.athena.types import ResultColumn
from local_aws.session import LocalSession

Request = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Execution = dict[str, Any]

ENGINE = "Athena engine version 3"
MAX_PAGE = 1000

_FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")
_MAX_REASON = 2000
_RESULTS_KEPT = 8

logger = logging.getLogger("local_aws.athena")

_cancellations: dict[str, Cancellation] = {}
_request_tokens: dict[tuple[str, str, str], tuple[str, str]] = {}
_recent_rows: OrderedDict[str, list[tuple[Cell, ...]]] = OrderedDict()
_lock = threading.Lock()


class _Refused(Exception):
    """A request that AWS refuses with InvalidRequestException."""


def start_query_execution(request: Request) -> Response:
    """StartQueryExecution: checks what AWS checks at once, and runs the query in a thread."""
    name = request.get("WorkGroup") or "primary"
    workgroup = _workgroup(name)
    if workgroup.get("State") == "DISABLED":
        raise _Refused(f"WorkGroup {name} is disabled.")
    query = request.get("QueryString") or ""
    if not query.strip():
        raise _Refused("QueryString must not be empty.")
    output = _output_location(request, workgroup)
    token = (get_account_id(), get_region(), request.get("ClientRequestToken") or new_uuid())
    execution = _new_execution(request, name, output)
    query_id = execution["QueryExecutionId"]
    with _lock:
        known_id, known_query = _request_tokens.setdefault(token, (query_id, query))
        if known_id == query_id:
            ministack_athena._executions[query_id] = execution
            _cancellations[query_id] = Cancellation()
    if known_query != query:
        raise _Refused("Idempotent parameters do not match")
    if known_id == query_id:
        limit = _configuration(workgroup).get("BytesScannedCutoffPerQuery")
        parameters = request.get("ExecutionParameters") or []
        spawn_background(_run, execution, parameters, output, limit, thread_name=f"athena-{query_id[:8]}")
    return json_response({"QueryExecutionId": known_id})


def stop_query_execution(request: Request) -> Response:
    """StopQueryExecution: a query that has ended stays as it is."""
    execution = _execution(request)
    cancellation = _cancellations.get(execution["QueryExecutionId"])
    if cancellation is not None:
        cancellation.request()
    return json_response({})


def get_query_execution(request: Request) -> Response:
    """GetQueryExecution."""
    return json_response({"QueryExecution": ministack_athena._execution_out(_execution(request))})


def list_query_executions(request: Request) -> Response:
    """ListQueryExecutions: the newest first."""
    name = request.get("WorkGroup") or "primary"
    _workgroup(name)
    executions = [e for e in ministack_athena._executions.values() if e["WorkGroup"] == name]
    executions.sort(key=lambda execution: execution["Status"]["SubmissionDateTime"], reverse=True)
    ids = [execution["QueryExecutionId"] for execution in executions]
    start = _page_start(request)
    end = start + int(request.get("MaxResults") or 50)
    response: dict[str, Any] = {"QueryExecutionIds": ids[start:end]}
    if end < len(ids):
        response["NextToken"] = str(end)
    return json_response(response)


def get_query_results(request: Request) -> Response:
    """GetQueryResults: pages of the result object; the first row of a SELECT's first page is its header."""
    execution = _execution(request)
    state = execution["Status"]["State"]
    if state in ("FAILED", "CANCELLED"):
        raise _Refused(f"Query did not finish successfully. Final query state: {state}")
    if state != "SUCCEEDED":
        raise _Refused(f"Query has not yet finished. Current state: {state}")
    page_size = int(request.get("MaxResults") or MAX_PAGE)
    if not 1 <= page_size <= MAX_PAGE:
        raise _Refused(f"MaxResults is more than maximum allowed length {MAX_PAGE}.")
    rows = _rows(execution)
    start = _page_start(request)
    end = start + page_size
    columns = [ResultColumn(**column) for column in execution["_columns"]]
    response: dict[str, Any] = {
        "UpdateCount": execution["_update_count"],
        "ResultSet": {
            "Rows": [_row(row) for row in rows[start:end]],
            "ResultSetMetadata": {"ColumnInfo": [column.column_info() for column in columns]},
        },
    }
    if end < len(rows):
        response["NextToken"] = str(end)
    return json_response(response)


def get_work_group(request: Request) -> Response:
    """GetWorkGroup, with the settings that AWS fills in where none were given."""
    workgroup = _workgroup(request.get("WorkGroup") or "")
    return json_response({"WorkGroup": {**workgroup, "Configuration": _configuration(workgroup)}})


OPERATIONS: dict[str, Callable[[Request], Response]] = {
    "StartQueryExecution": start_query_execution,
    "StopQueryExecution": stop_query_execution,
    "GetQueryExecution": get_query_execution,
    "ListQueryExecutions": list_query_executions,
    "GetQueryResults": get_query_results,
    "GetWorkGroup": get_work_group,
}


def answer(action: str, request: Request) -> Response:
    """Run one of OPERATIONS; what it refuses becomes InvalidRequestException."""
    ministack_athena._ensure_default_workgroup()
    ministack_athena._ensure_default_data_catalog()
    try:
        return OPERATIONS[action](request)
    except _Refused as error:
        return error_response_json("InvalidRequestException", str(error), 400)


def fail_interrupted() -> None:
    """Give queries that ran when the server last ended an end: nothing runs them any more."""
    for execution in ministack_athena._executions._data.values():
        if execution["Status"]["State"] not in _FINAL_STATES:
            _set_state(execution, "FAILED", "The embedded AWS ended while the query ran. Start it again.")


def _run(execution: Execution, parameters: list[str], output: Location, limit: int | None) -> None:
    """Run a query to its end, and record how it ended."""
    query_id = execution["QueryExecutionId"]
    began = time.time()
    _set_state(execution, "RUNNING")
    try:
        session = _session(execution, limit)
        result = statements.run(execution["Query"], parameters, session, query_id, output)
        ended = time.time()
        _store(execution, result, output, session.store)
    except QueryCancelled as error:
        _set_state(execution, "CANCELLED", str(error))
    except QueryFailed as error:
        _set_state(execution, "FAILED", str(error))
    except Exception as error:
        logger.exception("Query %s failed within the embedded Athena", query_id)
        _set_state(execution, "FAILED", f"GENERIC_INTERNAL_ERROR: {type(error).__name__}: {error}")
    else:
        statistics = execution["Statistics"]
        statistics["EngineExecutionTimeInMillis"] = int((ended - began) * 1000)
        statistics["ServiceProcessingTimeInMillis"] = int((time.time() - ended) * 1000)
        _set_state(execution, "SUCCEEDED")
    finally:
        _cancellations.pop(query_id, None)


def _session(execution: Execution, limit: int | None) -> Session:
    state_dir = Path(os.environ["LOCAL_AWS_STATE_DIR"])
    context = execution["QueryExecutionContext"]
    return Session(
        database=context["Database"].strip('`"').lower(),
        catalog=Catalog(_client("glue")),
        store=ObjectStore(_client("s3"), _read_object, state_dir / "athena-cache"),
        temporary=state_dir / "tmp",
        scan_limit=limit,
        cancellation=_cancellations[execution["QueryExecutionId"]],
    )


def _read_object(item: StoredObject) -> bytes | None:
    """An object's content, straight from MiniStack: over HTTP, hundreds of small files would take seconds."""
    return ministack_s3._get_object_data(item.bucket, item.key)


def _store(execution: Execution, result: Result, output: Location, store: ObjectStore) -> None:
    """Write the result object and its metadata, and describe them in the execution."""
    query_id = execution["QueryExecutionId"]
    execution["Statistics"]["DataScannedInBytes"] = result.bytes_scanned
    execution["_columns"] = [asdict(column) for column in result.columns]
    execution["_update_count"] = result.update_count
    if result.manifest is not None:
        tables = Location(output.bucket, f"{output.prefix}tables/")
        store.put(tables, f"{query_id}-manifest.csv", result.manifest.encode(), "text/csv")
        store.put(
            tables, f"{query_id}.metadata", results.metadata_content(result.columns), "application/json"
        )
        manifest = f"s3://{tables.bucket}/{tables.prefix}{query_id}-manifest.csv"
        execution["Statistics"]["DataManifestLocation"] = manifest
        return
    if statements.classify(execution["Query"]).has_csv:
        name, content, kind = f"{query_id}.csv", results.csv_content(result.columns, result.rows), "text/csv"
    else:
        name, content, kind = f"{query_id}.txt", results.text_content(result.rows), "text/plain"
    store.put(output, name, content, kind)
    store.put(output, f"{name}.metadata", results.metadata_content(result.columns), "application/json")


def _rows(execution: Execution) -> list[tuple[Cell, ...]]:
    """All rows of a result, read back from its object: with the object gone the result is gone, as on AWS."""
    query_id = execution["QueryExecutionId"]
    if execution["Statistics"].get("DataManifestLocation"):
        return []
    with _lock:
        if query_id in _recent_rows:
            return _recent_rows[query_id]
    url = execution["ResultConfiguration"]["OutputLocation"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    try:
        content = _client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        raise _Refused(f"Could not find results: {url} ({error.response['Error']['Code']})") from error
    read = results.csv_rows if url.endswith(".csv") else results.text_content_rows
    rows = list(read(content))
    with _lock:
        _recent_rows[query_id] = rows
        while len(_recent_rows) > _RESULTS_KEPT:
            _recent_rows.popitem(last=False)
    return rows


def _row(cells: tuple[Cell, ...]) -> dict[str, Any]:
    """A row of GetQueryResults: a NULL is a datum without a value."""
    return {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in cells]}


def _new_execution(request: Request, workgroup: str, output: Location) -> Execution:
    query_id = new_uuid()
    query = request["QueryString"]
    kind = statements.classify(query)
    context = request.get("QueryExecutionContext") or {}
    url = f"s3://{output.bucket}/{output.prefix}"
    name = f"{query_id}.csv" if kind.has_csv else f"{query_id}.txt"
    if kind.substatement_type == "CREATE_TABLE_AS_SELECT":
        name = f"tables/{query_id}"
    return {
        "QueryExecutionId": query_id,
        "Query": query,
        "StatementType": kind.statement_type,
        "SubstatementType": kind.substatement_type,
        "ResultConfiguration": {"OutputLocation": url + name},
        "QueryExecutionContext": {
            "Database": context.get("Database") or "default",
            "Catalog": (context.get("Catalog") or CATALOG_NAME).lower(),
        },
        "Status": {"State": "QUEUED", "SubmissionDateTime": time.time()},
        "Statistics": {"DataScannedInBytes": 0},
        "WorkGroup": workgroup,
        "EngineVersion": {"SelectedEngineVersion": ENGINE, "EffectiveEngineVersion": ENGINE},
        "_columns": [],
        "_update_count": 0,
    }


def _set_state(execution: Execution, state: str, reason: str | None = None) -> None:
    """Move an execution to a state; the status is replaced whole, as other threads read it."""
    status = {**execution["Status"], "State": state}
    now = time.time()
    if state == "RUNNING":
        execution["Statistics"]["QueryQueueTimeInMillis"] = int((now - status["SubmissionDateTime"]) * 1000)
    if state in _FINAL_STATES:
        status["CompletionDateTime"] = now
        execution["Statistics"]["TotalExecutionTimeInMillis"] = int(
            (now - status["SubmissionDateTime"]) * 1000
        )
    if reason is not None:
        status["StateChangeReason"] = reason[:_MAX_REASON]
    if state == "FAILED":
        # Category 2: the statement's fault, not Athena's.
        message = status["StateChangeReason"]
        status["AthenaError"] = {"ErrorCategory": 2, "Retryable": False, "ErrorMessage": message}
    execution["Status"] = status


def _execution(request: Request) -> Execution:
    query_id = request.get("QueryExecutionId") or ""
    execution = ministack_athena._executions.get(query_id)
    if execution is None:
        raise _Refused(f"QueryExecution {query_id} was not found")
    return execution


def _workgroup(name: str) -> dict[str, Any]:
    workgroup = ministack_athena._workgroups.get(name)
    if workgroup is None:
        raise _Refused(f"WorkGroup {name} is not found.")
    return workgroup


def _configuration(workgroup: dict[str, Any]) -> dict[str, Any]:
    """A workgroup's settings with AWS's defaults; a template may have given booleans and numbers as text."""
    given = workgroup.get("Configuration") or {}
    configuration = {
        "EnforceWorkGroupConfiguration": workgroup["Name"] != "primary",
        "PublishCloudWatchMetricsEnabled": False,
        "RequesterPaysEnabled": False,
        **given,
        "EngineVersion": {
            "SelectedEngineVersion": (given.get("EngineVersion") or {}).get("SelectedEngineVersion")
            or "AUTO",
            "EffectiveEngineVersion": ENGINE,
        },
    }
    for key, value in configuration.items():
        if isinstance(value, str) and value.lower() in ("true", "false"):
            configuration[key] = value.lower() == "true"
    if configuration.get("BytesScannedCutoffPerQuery"):
        configuration["BytesScannedCutoffPerQuery"] = int(configuration["BytesScannedCutoffPerQuery"])
    return configuration


def _output_location(request: Request, workgroup: dict[str, Any]) -> Location:
    """Where the results go: the workgroup's location when it is enforced or the request has none."""
    configuration = _configuration(workgroup)
    own = (configuration.get("ResultConfiguration") or {}).get("OutputLocation")
    asked = (request.get("ResultConfiguration") or {}).get("OutputLocation")
    url = own if own and (configuration["EnforceWorkGroupConfiguration"] or not asked) else asked
    if not url:
        raise _Refused(
            "No output location provided. An output location is required either through the Workgroup result "
            "configuration setting or as an API input."
        )
    try:
        location = Location.parse(url, "ResultConfiguration")
    except QueryFailed as error:
        raise _Refused(f"outputLocation is not a valid S3 path: {url}") from error
    try:
        _client("s3").head_bucket(Bucket=location.bucket)
    except ClientError as error:
        raise _Refused(f"Unable to verify/create output bucket {location.bucket}") from error
    return location


def _page_start(request: Request) -> int:
    token = request.get("NextToken") or "0"
    if not token.isdigit():
        raise _Refused("Invalid NextToken")
    return int(token)


def _client(service: str) -> Any:
    """A client of this same server, as the account and region of the current request."""
    return _client_of(service, get_account_id(), get_region())


@functools.cache
def _client_of(service: str, account_id: str, region: str) -> Any:
    session = LocalSession(os.environ["AWS_ENDPOINT_URL"], access_key=account_id, region=region)
    return session.client(service, config=Config(max_pool_connections=16, retries={"max_attempts": 2}))
