"""For tests of Glue jobs: uploads scripts, starts jobs and waits for them, over HTTP as any client does."""

from __future__ import annotations

import textwrap
import time
from typing import Any

import psutil

from local_aws.server import LocalAws

FINAL_STATES = ("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT")


class GlueBench:
    """A pair of buckets and the jobs of one test module, set apart by `name`."""

    def __init__(self, aws: LocalAws, name: str) -> None:
        self.glue: Any = aws.client("glue")
        self.s3: Any = aws.client("s3")
        self.logs: Any = aws.client("logs")
        self.source, self.target = f"{name}-source", f"{name}-target"
        for bucket in (self.source, self.target):
            self.s3.create_bucket(
                Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
            )

    def create_job(self, name: str, script: str, arguments: dict[str, str] | None = None, **job: Any) -> None:
        """Create a job; its script is uploaded as scripts/<name>.py."""
        self.upload_script(name, script)
        self.glue.create_job(
            Name=name,
            Role="arn:aws:iam::000000000000:role/glue",
            Command={"Name": "glueetl", "ScriptLocation": f"s3://{self.target}/scripts/{name}.py"},
            GlueVersion="5.1",
            DefaultArguments={
                "--SOURCE_BUCKET": self.source,
                "--TARGET_BUCKET": self.target,
                "--custom-logGroup-prefix": f"/aws-glue/jobs/{name}",
                **(arguments or {}),
            },
            **job,
        )

    def upload_script(self, name: str, script: str) -> None:
        self.s3.put_object(
            Bucket=self.target, Key=f"scripts/{name}.py", Body=textwrap.dedent(script).encode()
        )

    def start(self, job: str, **arguments: str) -> str:
        """Start a run; `arguments` are given as ARGUMENT="value"."""
        names = {f"--{name}": value for name, value in arguments.items()}
        return str(self.glue.start_job_run(JobName=job, Arguments=names)["JobRunId"])

    def get(self, job: str, run_id: str) -> dict[str, Any]:
        return dict(self.glue.get_job_run(JobName=job, RunId=run_id)["JobRun"])

    def wait(self, job: str, run_id: str, *states: str, timeout: float = 120) -> dict[str, Any]:
        """The run once it is in one of these states (by default: has ended)."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            run = self.get(job, run_id)
            if run["JobRunState"] in (states or FINAL_STATES):
                return run
            assert run["JobRunState"] not in FINAL_STATES, f"{run}\n{self.output(job, run_id)}"
            time.sleep(0.2)  # To ask takes a hundredth of a second of CPU.
        raise AssertionError(f"{job} is still {run['JobRunState']} after {timeout} s")

    def run(self, job: str, **arguments: str) -> dict[str, Any]:
        """Start a run and wait for its end."""
        return self.wait(job, self.start(job, **arguments))

    def succeed(self, job: str, **arguments: str) -> dict[str, Any]:
        """Start a run that must succeed."""
        run = self.run(job, **arguments)
        assert run["JobRunState"] == "SUCCEEDED", f"{run.get('ErrorMessage')}\n{self.output(job, run['Id'])}"
        return run

    def output(self, job: str, run_id: str, kind: str = "output", prefix: str | None = None) -> list[str]:
        """The run's log lines."""
        group = f"{prefix or f'/aws-glue/jobs/{job}'}/{kind}"
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=group, logStreamNames=[run_id]
        )
        return [event["message"] for page in pages for event in page["events"]]

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """The keys of a bucket."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, bucket: str, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def spark_jvms(aws: LocalAws) -> list[psutil.Process]:
    """The JVMs of a server: those of its active runs, and an idle one."""
    return [child for child in psutil.Process(aws.pid).children() if "java" in child.name()]
