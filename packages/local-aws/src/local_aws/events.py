"""EventBridge and Glue, brought together: schedules and events start job runs, and their ends are events.

MiniStack's EventBridge delivers neither to Scheduler's universal targets nor to Glue workflows, its Glue
drops a trigger's EventBatchingCondition, starts nothing by any trigger and sends no events, and its
CloudFormation knows no AWS::Glue::Workflow.
Of universal targets, only Glue's StartJobRun is served. Of triggers, those by an event of their workflow and
those on demand, whose actions are jobs; others are refused. A workflow's runs are not listed.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ministack.core import responses
from ministack.core.arn import parse_arn
from ministack.services import eventbridge, glue
from ministack.services.cloudformation import provisioners

from local_aws.glue.runs import RunRecord
from local_aws.refusals import REFUSED, refusal

START_JOB_RUN = "aws-sdk:glue:startJobRun"
ENDED_WITH_EVENT = ("SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED")
DEFAULT_BATCH_SIZE = 1
DEFAULT_BATCH_WINDOW_SECONDS = 900

_WORKFLOW_PROPERTIES = ("Description", "DefaultRunProperties", "MaxConcurrentRuns")

logger = logging.getLogger("local_aws.events")

WorkflowKey = tuple[str, str, str]
"""Account, region and name of a workflow."""
Action = Callable[[dict[str, Any]], Any]
"""A function of MiniStack's Glue: request in, HTTP answer out."""

_INSTEAD_OF_TRIGGERS = {
    "SCHEDULED": (
        "Let EventBridge Scheduler start the job: a schedule with the target "
        f"arn:aws:scheduler:::{START_JOB_RUN}."
    ),
    "CONDITIONAL": (
        'Let an EventBridge rule on "Glue Job State Change" invoke what starts the next job: a workflow with '
        "an EVENT trigger, or a Lambda function."
    ),
}


def install() -> None:
    """Patch MiniStack in this process. Raises AttributeError when an upgrade has moved the ground."""
    batches = _Batches()
    invoke_target = eventbridge._invoke_target

    def invoke(target: dict[str, Any], event: dict[str, Any], rule: Any, view: Any = None) -> None:
        arn = target.get("Arn", "")
        if arn.endswith(f":scheduler:::{START_JOB_RUN}"):
            start_job_run(json.loads(target.get("Input") or "{}"))
        elif ":glue:" in arn and ":workflow/" in arn:
            workflow = parse_arn(arn)
            batches.add((workflow.account_id, workflow.region, workflow.resource.removeprefix("workflow/")))
        else:
            invoke_target(target, event, rule, view)

    eventbridge._invoke_target = invoke
    create, update = glue._create_trigger, glue._update_trigger
    glue._create_trigger = _refusing(_keeping_batching(create, lambda data: data), _trigger_refusal)
    glue._update_trigger = _refusing(
        _keeping_batching(update, _trigger_update), lambda data: _change_refusal(_trigger_update(data))
    )
    glue._start_trigger = _starting_jobs(glue._start_trigger)
    for name in ("_create_crawler", "_update_crawler"):
        setattr(glue, name, _refusing(getattr(glue, name), _crawler_refusal))
    provisioners._GLUE_TRIGGER_DEFAULTS["EventBatchingCondition"] = {}
    provisioners._RESOURCE_HANDLERS["AWS::Glue::Workflow"] = {
        "create": _create_workflow,
        "update": _update_workflow,
        "delete": lambda name, properties: glue._delete_workflow({"Name": name}),
    }


def start_job_run(request: dict[str, Any]) -> None:
    """StartJobRun for a caller that does not wait: a refusal is logged, and not repeated."""
    status, _headers, body = glue._start_job_run(request)
    if status >= 400:
        logger.warning("No run of job %s started: %s", request.get("JobName"), body.decode())


def job_run_ended(record: RunRecord, state: str, message: str) -> None:
    """Send the event "Glue Job State Change" of a run that has ended."""
    if state not in ENDED_WITH_EVENT:
        return
    detail = {
        "jobName": record.job.name,
        "severity": "INFO" if state in ("SUCCEEDED", "STOPPED") else "ERROR",
        "state": state,
        "jobRunId": record.id,
        "message": message or f"Job run {state.lower()}",
    }
    entry = {"Source": "aws.glue", "DetailType": "Glue Job State Change", "Detail": json.dumps(detail)}
    with _scope(record.job.account, record.job.region):
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)


class _Batches:
    """Events that wait for enough others, or for their time, by workflow. They are lost with the server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[WorkflowKey, int] = {}
        self._timers: dict[WorkflowKey, threading.Timer] = {}

    def add(self, workflow: WorkflowKey) -> None:
        """Take in one event; the one that completes its batch starts the workflow's jobs."""
        condition = next(iter(_triggers(workflow)), {}).get("EventBatchingCondition") or {}
        with self._lock:
            self._waiting[workflow] = self._waiting.get(workflow, 0) + 1
            complete = self._waiting[workflow] >= int(condition.get("BatchSize", DEFAULT_BATCH_SIZE))
            if not complete and workflow not in self._timers:
                window = int(condition.get("BatchWindow", DEFAULT_BATCH_WINDOW_SECONDS))
                timer = threading.Timer(window, self._fire, [workflow])
                timer.daemon = True
                self._timers[workflow] = timer
                timer.start()
        if complete:
            self._fire(workflow)

    def _fire(self, workflow: WorkflowKey) -> None:
        with self._lock:
            events = self._waiting.pop(workflow, 0)
            timer = self._timers.pop(workflow, None)
        if timer is not None:
            timer.cancel()
        if not events:
            return
        account, region, name = workflow
        with _scope(account, region):
            logger.info("Workflow %s starts after %d events", name, events)
            for trigger in _triggers(workflow):
                _start_jobs(trigger)


def _triggers(workflow: WorkflowKey) -> list[dict[str, Any]]:
    """The event triggers of a workflow, but for those that were stopped."""
    account, region, name = workflow
    with _scope(account, region):
        return [
            trigger
            for trigger in glue._triggers.values()
            if (trigger["Type"], trigger["WorkflowName"]) == ("EVENT", name)
            and trigger["State"] != "DEACTIVATED"
        ]


def _start_jobs(trigger: Mapping[str, Any]) -> None:
    """Start the job of each action of a trigger, in whose account and region we act."""
    workflow = {"--WORKFLOW_NAME": trigger["WorkflowName"]} if trigger["WorkflowName"] else {}
    for action in trigger["Actions"]:
        options = {name: action[name] for name in ("Timeout",) if name in action}
        arguments = {**action.get("Arguments", {}), **workflow}
        start_job_run({"JobName": action["JobName"], "Arguments": arguments, **options})


def _starting_jobs(start: Action) -> Action:
    """StartTrigger: one on demand starts its jobs at once and stays as it is, others become active."""

    def wrapped(data: dict[str, Any]) -> Any:
        trigger = glue._triggers.get(data.get("Name"))
        if trigger is None or trigger["Type"] != "ON_DEMAND":
            return start(data)
        _start_jobs(trigger)
        return glue.json_response({"Name": trigger["Name"]})

    return wrapped


def _refusing(action: Action, reason: Callable[[dict[str, Any]], str | None]) -> Action:
    """A Glue action that refuses requests for which there is a reason."""

    def wrapped(data: dict[str, Any]) -> Any:
        message = reason(data)
        return glue.error_response_json("InvalidInputException", message, 400) if message else action(data)

    return wrapped


def _trigger_refusal(data: dict[str, Any]) -> str | None:
    """Why a trigger with these members cannot be had; None when it can."""
    kind = data.get("Type")
    instead = _INSTEAD_OF_TRIGGERS.get(str(kind))
    if instead:
        return refusal(f"Glue triggers of type {kind}", instead)
    if kind == "EVENT" and not data.get("WorkflowName"):
        return "A trigger of type EVENT needs a WorkflowName: events are sent to a workflow"
    return _change_refusal(data)


def _change_refusal(data: Mapping[str, Any]) -> str | None:
    """Why a trigger's schedule, predicate or actions cannot be served; None when they can."""
    for member, kind in (("Schedule", "SCHEDULED"), ("Predicate", "CONDITIONAL")):
        if data.get(member):
            return refusal(f"a Glue trigger's {member}", _INSTEAD_OF_TRIGGERS[kind])
    if any("JobName" not in action for action in data.get("Actions", [])):
        return refusal("actions of Glue triggers that start a crawler", "Name a JobName in each action.")
    return None


def _crawler_refusal(data: Mapping[str, Any]) -> str | None:
    """A crawler can be described, but not run."""
    if data.get("Schedule"):
        return refusal("a crawler's Schedule", REFUSED["glue"]["StartCrawler"])
    return None


def _trigger_update(data: Mapping[str, Any]) -> dict[str, Any]:
    return dict(data.get("TriggerUpdate") or {})


def _keeping_batching(original: Action, settings: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Action:
    """CreateTrigger or UpdateTrigger, keeping the member that MiniStack drops."""

    def wrapped(data: dict[str, Any]) -> Any:
        answer = original(data)
        condition = settings(data).get("EventBatchingCondition")
        if answer[0] < 400 and condition is not None:
            glue._triggers[data["Name"]]["EventBatchingCondition"] = condition
        return answer

    return wrapped


def _create_workflow(logical_id: str, properties: Mapping[str, Any], stack_name: str) -> tuple[str, dict]:
    name = properties.get("Name") or provisioners._physical_name(stack_name, logical_id, max_len=255)
    settings = {key: properties[key] for key in _WORKFLOW_PROPERTIES if key in properties}
    provisioners._glue_call(
        glue._create_workflow, {"Name": name, **settings}, "AWS::Glue::Workflow", "create"
    )
    return name, {}


def _update_workflow(
    physical_id: str, old: Mapping[str, Any], new: Mapping[str, Any], stack_name: str
) -> tuple[str, dict]:
    """Description and limits change in place; MiniStack itself replaces a resource whose name changed."""
    settings = {key: new[key] for key in _WORKFLOW_PROPERTIES if key in new}
    provisioners._glue_call(
        glue._update_workflow, {"Name": physical_id, **settings}, "AWS::Glue::Workflow", "update"
    )
    return physical_id, {}


@contextmanager
def _scope(account: str, region: str) -> Iterator[None]:
    """Act as an account in a region, as MiniStack does for a request."""
    before = responses.get_account_id(), responses.get_region()
    responses.set_request_account_id(account)
    responses.set_request_region(region)
    try:
        yield
    finally:
        responses.set_request_account_id(before[0])
        responses.set_request_region(before[1])
