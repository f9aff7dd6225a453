"""Athena's API operations that MiniStack answers otherwise than AWS: queries, results, workgroups.

Each operation takes the request's JSON and returns MiniStack's response triple. They run in threads of their
own, as they call S3 and Glue of this same server; the event loop must stay free to answer.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from botocore.config import Config
from ministack.core.concurrency import spawn_background
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, new_uuid
from ministack.services import athena as ministack_athena

from local_aws import bodies
from local_aws.athena import prepared, results, statements, workgroups
from local_aws.athena.catalog import CATALOG_NAME, Catalog
from local_aws.athena.engine import Cancellation, Session
from local_aws.athena.errors import QueryCancelled, QueryFailed, RequestRefused
from local_aws.athena.partitions import Location
from local_aws.athena.results import Cell, Page, Result
from local_aws.athena.storage import ObjectStore, StoredObject
from local_aws.athena.types import ResultColumn
from local_aws.session import LocalSession

Request = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Execution = dict[str, Any]

MAX_PAGE = 1000

_FINAL_STATES = ("SUCCEEDED", "FAILED", "CANCELLED")
_MAX_REASON = 2000

logger = logging.getLogger("local_aws.athena")

_cancellations: dict[str, Cancellation] = {}
_request_tokens: dict[tuple[str, str, str], tuple[str, str]] = {}
_lock = threading.Lock()


def start_query_execution(request: Request) -> Response:
    """StartQueryExecution: checks what AWS checks at once, and runs the query in a thread."""
    name = request.get("WorkGroup") or "primary"
    workgroup = workgroups.workgroup(name)
    if workgroup.get("State") == "DISABLED":
        raise RequestRefused(f"WorkGroup {name} is disabled.")
    query = request.get("QueryString") or ""
    if not query.strip():
        raise RequestRefused("QueryString must not be empty.")
    settings = workgroups.configuration(workgroup)
    chosen = workgroups.result_configuration(request, settings)
    is_managed = workgroups.has_managed_results(settings)
    output = None if is_managed else workgroups.output_location(chosen, _client("s3"))
    text, parameters = _resolved(query, request.get("ExecutionParameters") or [], name)
    token = (get_account_id(), get_region(), request.get("ClientRequestToken") or new_uuid())
    execution = _new_execution(request, name, text, output, settings if is_managed else chosen)
    query_id = execution["QueryExecutionId"]
    with _lock:
        known_id, known_query = _request_tokens.setdefault(token, (query_id, query))
        if known_id == query_id:
            ministack_athena._executions[query_id] = execution
            _cancellations[query_id] = Cancellation()
    if known_query != query:
        raise RequestRefused("Idempotent parameters do not match")
    if known_id == query_id:
        limit = settings.get("BytesScannedCutoffPerQuery")
        previous = _reusable(execution)
        if previous is not None:
            _reuse(previous, execution)
            return json_response({"QueryExecutionId": known_id})
        arguments = (execution, text, parameters, output, limit)
        spawn_background(_run, *arguments, thread_name=f"athena-{query_id[:8]}")
    return json_response({"QueryExecutionId": known_id})


def stop_query_execution(request: Request) -> Response:
    """StopQueryExecution: returns at once, the query ends soon after; one that has ended stays as it is."""
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
    workgroups.workgroup(name)
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
        raise RequestRefused(f"Query did not finish successfully. Final query state: {state}")
    if state != "SUCCEEDED":
        raise RequestRefused(f"Query has not yet finished. Current state: {state}")
    page_size = int(request.get("MaxResults") or MAX_PAGE)
    if not 1 <= page_size <= MAX_PAGE:
        raise RequestRefused(f"MaxResults is more than maximum allowed length {MAX_PAGE}.")
    page = _page(execution, _page_start(request), page_size)
    columns = [ResultColumn(**column) for column in execution["_columns"]]
    response: dict[str, Any] = {
        "UpdateCount": execution["_update_count"],
        "ResultSet": {
            "Rows": [_row(row) for row in page.rows],
            "ResultSetMetadata": {"ColumnInfo": [column.column_info() for column in columns]},
        },
    }
    if page.next_offset is not None:
        response["NextToken"] = str(page.next_offset)
    return json_response(response)


def get_work_group(request: Request) -> Response:
    """GetWorkGroup, with the settings that AWS fills in where none were given."""
    workgroup = workgroups.workgroup(request.get("WorkGroup") or "")
    settings = workgroups.configuration(workgroup)
    return json_response({"WorkGroup": {**workgroup, "Configuration": settings}})


def update_work_group(request: Request) -> Response:
    """UpdateWorkGroup."""
    workgroups.update(request)
    return ministack_athena._update_workgroup(request)


def update_prepared_statement(request: Request) -> Response:
    """UpdatePreparedStatement."""
    name, workgroup = request.get("StatementName") or "", request.get("WorkGroup") or "primary"
    prepared.update(name, workgroup, request.get("QueryStatement") or "", request.get("Description"))
    return json_response({})


def get_query_runtime_statistics(request: Request) -> Response:
    """GetQueryRuntimeStatistics: times, bytes and rows; the engine has no stages to tell of."""
    execution = _execution(request)
    statistics = execution["Statistics"]
    timeline = {key: value for key, value in statistics.items() if key.endswith("InMillis")}
    rows = {"InputBytes": statistics["DataScannedInBytes"], **execution.get("_output", {})}
    return json_response({"QueryRuntimeStatistics": {"Timeline": timeline, "Rows": rows}})


OPERATIONS: dict[str, Callable[[Request], Response]] = {
    "StartQueryExecution": start_query_execution,
    "StopQueryExecution": stop_query_execution,
    "GetQueryExecution": get_query_execution,
    "ListQueryExecutions": list_query_executions,
    "GetQueryResults": get_query_results,
    "GetQueryRuntimeStatistics": get_query_runtime_statistics,
    "GetWorkGroup": get_work_group,
    "UpdateWorkGroup": update_work_group,
    "UpdatePreparedStatement": update_prepared_statement,
}


def answer(action: str, request: Request) -> Response:
    """Run one of OPERATIONS; what it refuses becomes InvalidRequestException."""
    ministack_athena._ensure_default_workgroup()
    ministack_athena._ensure_default_data_catalog()
    _ensure_default_database(get_account_id(), get_region())
    try:
        return OPERATIONS[action](request)
    except RequestRefused as error:
        return error_response_json("InvalidRequestException", str(error), 400)
    except prepared.NotPrepared as error:
        return error_response_json("ResourceNotFoundException", str(error), 400)


@functools.cache
def _ensure_default_database(account_id: str, region: str) -> None:
    """The database `default` is there as soon as Athena is used: queries without a database run in it."""
    glue = _client_of("glue", account_id, region)
    with contextlib.suppress(glue.exceptions.AlreadyExistsException):
        glue.create_database(DatabaseInput={"Name": "default"})


def fail_interrupted() -> None:
    """Give queries that ran when the server last ended an end: nothing runs them any more."""
    for execution in ministack_athena._executions._data.values():
        if execution["Status"]["State"] not in _FINAL_STATES:
            _set_state(execution, "FAILED", "The embedded AWS ended while the query ran. Start it again.")


def _run(
    execution: Execution, text: str, parameters: list[str], output: Location | None, limit: int | None
) -> None:
    """Run a query to its end, and record how it ended; `text` is the statement to run."""
    query_id = execution["QueryExecutionId"]
    began = time.time()
    _set_state(execution, "RUNNING")
    try:
        session = _session(execution, limit)
        result = prepared.run(statements.without_comments(text), execution["WorkGroup"]) or statements.run(
            text, parameters, session, query_id, output
        )
        ended = time.time()
        _store(execution, text, result, output, session.store)
        if result.file is not None:  # A statement that has changed something is not undone by a late stop.
            session.cancellation.check()
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


def _read_object(item: StoredObject) -> Any:
    """An object's content, straight from MiniStack: over HTTP, hundreds of small files would take seconds."""
    return bodies.content(item.bucket, item.key)


def _store(
    execution: Execution, text: str, result: Result, output: Location | None, store: ObjectStore
) -> None:
    """Write the result object and its metadata, and describe them in the execution."""
    query_id = execution["QueryExecutionId"]
    execution["Statistics"]["DataScannedInBytes"] = result.bytes_scanned
    execution["_columns"] = [asdict(column) for column in result.columns]
    execution["_update_count"] = result.update_count
    kind = statements.classify(text)
    metadata = results.metadata_content(result.columns)
    if result.manifest is not None:
        execution["_output"] = {"OutputRows": result.update_count}
        if output is None:
            return
        folder = "tables/" if kind.substatement_type == "CREATE_TABLE_AS_SELECT" else ""
        place = Location(output.bucket, output.prefix + folder)
        store.put(place, f"{query_id}-manifest.csv", result.manifest.encode(), "text/csv")
        store.put(place, f"{query_id}.metadata", metadata, "application/json")
        manifest = f"s3://{place.bucket}/{place.prefix}{query_id}-manifest.csv"
        execution["Statistics"]["DataManifestLocation"] = manifest
        return
    name = kind.result_name(query_id)
    if result.file is not None:
        execution["_output"] = {"OutputRows": result.file_rows, "OutputBytes": result.file.stat().st_size}
        if output is None:
            result.file.replace(_managed_result(query_id))
            return
        try:
            store.put(output, name, result.file, "text/csv")
        finally:
            result.file.unlink()
        store.put(output, f"{name}.metadata", metadata, "application/json")
        return
    if kind.has_csv:
        content = results.csv_content(result.columns, result.rows)
    else:
        content = results.text_content(result.rows)
    execution["_output"] = {"OutputRows": len(result.rows), "OutputBytes": len(content)}
    if output is None:
        _managed_result(query_id).write_bytes(content)
        return
    store.put(output, name, content, "text/csv" if kind.has_csv else "text/plain")
    store.put(output, f"{name}.metadata", metadata, "application/json")


def _managed_result(query_id: str) -> Path:
    """The file of a result that Athena keeps itself."""
    folder = Path(os.environ["LOCAL_AWS_STATE_DIR"]) / "athena-results"
    folder.mkdir(exist_ok=True)
    return folder / query_id


def _page(execution: Execution, offset: int, limit: int) -> Page:
    """Rows of a result, read back from its object."""
    if execution["SubstatementType"] in statements.WRITING:
        return Page([], None)
    is_csv = execution["StatementType"] == "DML"
    return results.read_page(_result_path(execution), offset, limit, is_csv=is_csv)


def _result_path(execution: Execution) -> Path:
    """The result object's file. Raises RequestRefused when it is gone: then the result is, as on AWS."""
    if "ResultConfiguration" not in execution:
        return _managed_result(execution["_result_of"])
    url = execution["ResultConfiguration"]["OutputLocation"]
    bucket, _, key = url.removeprefix("s3://").partition("/")
    path = bodies.object_path(bucket, key)
    if path is None:
        raise RequestRefused(f"Could not find results: {url} (NoSuchKey)")
    return path


def _row(cells: tuple[Cell, ...]) -> dict[str, Any]:
    """A row of GetQueryResults: a NULL is a datum without a value."""
    return {"Data": [{} if cell is None else {"VarCharValue": cell} for cell in cells]}


def _resolved(query: str, parameters: list[str], workgroup: str) -> tuple[str, list[str]]:
    """The statement to run and its parameters: EXECUTE stands for the statement that it names."""
    try:
        return prepared.resolve(statements.without_comments(query), parameters, workgroup) or (
            query,
            parameters,
        )
    except QueryFailed as error:
        raise RequestRefused(str(error)) from error


def _new_execution(
    request: Request, workgroup: str, text: str, output: Location | None, settings: dict[str, Any]
) -> Execution:
    """The execution of a request for `text`.

    `settings` are the workgroup's where there is no `output`, else those of the result.
    """
    query_id = new_uuid()
    kind = statements.classify(text)
    context = request.get("QueryExecutionContext") or {}
    execution = {
        "QueryExecutionId": query_id,
        "Query": request["QueryString"],
        "StatementType": kind.statement_type,
        "SubstatementType": kind.substatement_type,
        "QueryExecutionContext": {
            "Database": context.get("Database") or "default",
            "Catalog": (context.get("Catalog") or CATALOG_NAME).lower(),
        },
        "Status": {"State": "QUEUED", "SubmissionDateTime": time.time()},
        "Statistics": {
            "DataScannedInBytes": 0,
            "ResultReuseInformation": {"ReusedPreviousResult": False},
        },
        "WorkGroup": workgroup,
        "EngineVersion": {
            "SelectedEngineVersion": workgroups.ENGINE,
            "EffectiveEngineVersion": workgroups.ENGINE,
        },
        "_result_of": query_id,
        "_text": text,
        "_columns": [],
        "_update_count": 0,
    }
    if output is None:
        execution["ManagedQueryResultsConfiguration"] = settings["ManagedQueryResultsConfiguration"]
    else:
        url = f"s3://{output.bucket}/{output.prefix}{kind.result_name(query_id)}"
        execution["ResultConfiguration"] = {**settings, "OutputLocation": url}
    for key in ("ExecutionParameters", "ResultReuseConfiguration"):
        if request.get(key):
            execution[key] = request[key]
    return execution


def _reusable(execution: Execution) -> Execution | None:
    """An earlier execution whose result serves, when the request allows for it; the latest one.

    https://docs.aws.amazon.com/athena/latest/ug/reusing-query-results.html
    """
    settings = (execution.get("ResultReuseConfiguration") or {}).get("ResultReuseByAgeConfiguration") or {}
    if not settings.get("Enabled") or execution["SubstatementType"] != "SELECT":
        return None
    oldest = time.time() - 60 * settings.get("MaxAgeInMinutes", 60)
    earlier = [
        other
        for other in ministack_athena._executions.values()
        if other["Status"]["State"] == "SUCCEEDED"
        and other["Status"]["CompletionDateTime"] >= oldest
        and not _is_reused(other)
        and _question(other) == _question(execution)
    ]
    earlier.sort(key=lambda other: other["Status"]["CompletionDateTime"], reverse=True)
    return next((other for other in earlier if _has_result(other)), None)


def _has_result(execution: Execution) -> bool:
    """Whether the result object is still there."""
    try:
        return _result_path(execution).exists()
    except RequestRefused:
        return False


def _is_reused(execution: Execution) -> bool:
    return execution.get("_result_of") != execution["QueryExecutionId"]


def _question(execution: Execution) -> tuple[Any, ...]:
    """What has to be the same for a result to be reused."""
    configuration = dict(execution.get("ResultConfiguration") or {})
    configuration["OutputLocation"] = configuration.get("OutputLocation", "").rpartition("/")[0]
    names = ("_text", "Query", "ExecutionParameters", "QueryExecutionContext", "WorkGroup")
    return (*(execution.get(name) for name in names), configuration)


def _reuse(previous: Execution, execution: Execution) -> None:
    """End an execution with the result of another one."""
    for name in ("ResultConfiguration", "_result_of", "_columns", "_update_count", "_output"):
        if name in previous:
            execution[name] = previous[name]
    execution["Statistics"]["ResultReuseInformation"] = {"ReusedPreviousResult": True}
    execution["Statistics"]["EngineExecutionTimeInMillis"] = 0
    _cancellations.pop(execution["QueryExecutionId"], None)
    _set_state(execution, "RUNNING")
    _set_state(execution, "SUCCEEDED")


def _set_state(execution: Execution, state: str, reason: str | None = None) -> None:
    """Move an execution to a state; the status is replaced whole, as other threads read it."""
    status = {**execution["Status"], "State": state}
    now = time.time()
    if state == "RUNNING":
        execution["Statistics"]["QueryQueueTimeInMillis"] = max(
            1, int((now - status["SubmissionDateTime"]) * 1000)
        )
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
        raise RequestRefused(f"QueryExecution {query_id} was not found")
    return execution


def _page_start(request: Request) -> int:
    token = request.get("NextToken") or "0"
    if not token.isdigit():
        raise RequestRefused("Invalid NextToken")
    return int(token)


def _client(service: str) -> Any:
    """A client of this same server, as the account and region of the current request."""
    return _client_of(service, get_account_id(), get_region())


@functools.cache
def _client_of(service: str, account_id: str, region: str) -> Any:
    session = LocalSession(os.environ["AWS_ENDPOINT_URL"], access_key=account_id, region=region)
    return session.client(service, config=Config(max_pool_connections=16, retries={"max_attempts": 2}))
