"""`make accept`: prove on an account, in one go, that everything works, and leave nothing but a report.

On whatever AWS the shell points to, a stack of its own is created, taken through a scenario and removed
again, after a failure or Ctrl-C too. `scenario` is what is done, `promises` what is held against it,
`deliveries` the raw objects and what they must come to, `site` the stack.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from capstone_pipeline.accept import bounds
from capstone_pipeline.accept.promises import (
    BROKEN,
    KEPT,
    NOT_CHECKED,
    PROMISES,
    Finding,
    examine,
    figures,
    sentence,
)
from capstone_pipeline.accept.report import Report
from capstone_pipeline.accept.scenario import Scenario
from capstone_pipeline.accept.site import Site, own_id, refuse_if_occupied, take_down
from capstone_pipeline.interrupts import interrupts
from capstone_pipeline.stack import Connection, connect

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a shell."""
NOTHING_IS_LEFT = "Taken down, nothing is left: no stack, bucket, job, database, function or log group."


def accept(
    student_id: str,
    region: str,
    output_dir: Path,
    *,
    is_agreed: bool = False,
    lab_role_arn: str = "",
) -> int:
    """Examine the promises and write accept.html and accept.json; returns the exit code.

    It is 1 when a promise is broken or nobody agreed to the cost, else 130 after Ctrl-C, else 0.

    Parameters
    ----------
    is_agreed
        Whether the cost has been agreed to; otherwise the terminal is asked.
    lab_role_arn
        The template's LabRoleArn, where roles may not be created.

    Raises
    ------
    StackExists
        When there is something under the acceptance's id already.
    NoCredentials, EndpointUnreachable, InvalidSetting
    """
    own, aws = own_id(student_id), connect(region)
    began = time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        print(f"{minutes:3d}:{seconds:02d}  {text}", flush=True)

    def explain() -> None:
        print(
            f"\nStill taking {site.stack_name} down. One more Ctrl-C leaves it there, to be removed by hand:"
            f"\n{site.removal}",
            file=sys.stderr,
            flush=True,
        )

    with interrupts(explain) as handling:
        site = Site(aws, own, say, handling, lab_role_arn)
        refuse_if_occupied(site)
        if not is_agreed and not _agree(site):
            return 1
        scenario, started = Scenario(site, output_dir / "accept"), datetime.now(UTC)
        findings, is_interrupted = _work(site, scenario)
        findings.append(_tidy(site))
    report = Report(
        stack_name=site.stack_name,
        where=_where(aws),
        began=f"{started:%Y-%m-%d %H:%M} UTC",
        minutes=(time.monotonic() - began) / 60,
        dollars=_cost(aws, scenario),
        findings=tuple(findings),
        runs=tuple(figures(name, run) for name, run in scenario.runs),
    )
    print(f"{report.verdict}. Report: {report.save(output_dir)}")
    if report.is_broken:
        return 1
    return INTERRUPTED if is_interrupted else 0


def _work(site: Site, scenario: Scenario) -> tuple[list[Finding], bool]:
    """Look at the promises until they are through or Ctrl-C comes: what was found, and whether it came."""
    findings: list[Finding] = []
    is_interrupted = False
    try:
        try:
            for finding in examine(scenario):
                findings.append(finding)
                _show(site, finding)
        finally:
            site.interrupts.be_patient()
    except KeyboardInterrupt:
        is_interrupted = True
        site.say("interrupted")
    for function in PROMISES[len(findings) :]:
        findings.append(Finding(sentence(function), NOT_CHECKED, "interrupted before"))
    return findings, is_interrupted


def _tidy(site: Site) -> Finding:
    """Take everything down, whatever happens."""
    try:
        left = take_down(site)
        evidence = f"left: {', '.join(left)}. Remove it by hand:\n{site.removal}" if left else site.stack_name
        finding = Finding(NOTHING_IS_LEFT, BROKEN if left else KEPT, evidence)
    except KeyboardInterrupt:
        finding = Finding(NOTHING_IS_LEFT, BROKEN, f"broken off. Remove it by hand:\n{site.removal}")
    except Exception as error:  # Whatever it is, the commands have to be told, and the report written.
        finding = Finding(NOTHING_IS_LEFT, BROKEN, f"{error}\nRemove it by hand:\n{site.removal}")
    _show(site, finding)
    return finding


def _show(site: Site, finding: Finding) -> None:
    site.say(f"{finding.state}: {finding.promise}")
    if finding.state != KEPT:
        site.say(f"    {finding.evidence}")


def _agree(site: Site) -> bool:
    """Say what is going to be done and what it costs, and ask."""
    print(
        f"This creates stack {site.stack_name} in account {site.aws.account}, {site.aws.region}, runs its "
        f"job seven times, and removes it again.\nOn AWS that takes about twenty minutes and costs about a "
        f"dollar: ${bounds.expected_dollars():.2f} at most for Glue, cents for all else.\n{_where(site.aws)}"
    )
    if not sys.stdin.isatty():
        print("Nobody is there to agree to that: --yes does.", file=sys.stderr)
        return False
    try:
        return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print()
        return False


def _where(aws: Connection) -> str:
    if aws.endpoint_url:
        return (
            f"Everything goes to {aws.endpoint_url}, which is not AWS: no second and no dollar here is AWS's."
        )
    return f"On AWS, account {aws.account}, {aws.region}."


def _cost(aws: Connection, scenario: Scenario) -> str:
    used = sum(run.dpu_seconds for _, run in scenario.runs)
    words = f"{used:,.0f} DPU seconds, at AWS's list price ${bounds.dollars(used):.2f}."
    return f"{words} {_where(aws)}" if aws.endpoint_url else words
