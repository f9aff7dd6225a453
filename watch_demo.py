"""Watch answers come up to date while events are delivered: `make watch`.

Creates the stack as `demo.py` does if there is none, delivers raw objects of a made-up shop at a pace of your
choice, and leaves job and page to `capstone_pipeline.watch`. It works the same on AWS, where it costs two
workers for as long as it runs. A stack that exists is left as it is.

    python watch_demo.py --student-id demo --events 5000 --every 10
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from capstone_pipeline import (
    Connection,
    PipelineError,
    Shop,
    StackNotFound,
    StackOutputs,
    connect,
    read_stack,
)
from capstone_pipeline.errors import own_errors
from capstone_pipeline.watch import LOOK_SECONDS, Deliveries, watch
from demo import TEMPLATE, deploy_stack
from generate_sample_data import Period, Settings, SettingsError, Visitors, relative_path

VISITS = timedelta(minutes=5)
"""Of so long the visits of an object are: in less, most of them would be cut off before they buy."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        settings = Settings(num_files=1, events_per_file=options.events, seed=time.time_ns())
    except SettingsError as error:
        parser.error(str(error))
    try:
        aws = connect(options.region)
        stack = stack_of(aws, options.student_id)
        deliver = deliverer(aws, stack, settings)
        print(f"Stack {stack.stack_name}: {options.events:,} events every {options.every:g} s", flush=True)
        return watch(
            Shop(aws, stack),
            port=options.port,
            look_seconds=options.look_every,
            deliveries=Deliveries(options.every, deliver),
            open_browser=options.open,
        )
    except PipelineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def stack_of(aws: Connection, student_id: str) -> StackOutputs:
    """The student's stack, created as the demo does where there is none. Raises StackNotReady."""
    try:
        return read_stack(aws, f"capstone-{student_id}")
    except StackNotFound:
        parameters = {"StudentId": student_id, "GeneratorState": "DISABLED"}
        return deploy_stack(aws, f"capstone-{student_id}", TEMPLATE.read_text(encoding="utf-8"), parameters)[
            1
        ]


def deliverer(aws: Connection, stack: StackOutputs, settings: Settings) -> Callable[[], str]:
    """A function that puts one object with events of the last minutes, and returns its name."""
    visitors, s3 = Visitors(settings), aws.client("s3")

    def deliver() -> str:
        arrival = datetime.now(UTC)
        period = Period(arrival - VISITS, arrival)
        lines = [line for batch in visitors.batches(period) for line in batch.lines]
        # A lone surrogate stands for a byte that is not UTF-8.
        body = gzip.compress(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
        path = relative_path(arrival)
        with own_errors(f"delivering {path.name} to {stack.raw_events_location}"):
            key = f"{stack.raw_events_location}{path.as_posix()}".partition(f"{stack.source_bucket_name}/")[2]
            s3.put_object(Bucket=stack.source_bucket_name, Key=key, Body=body)
        return path.name

    return deliver


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="watch_demo.py",
        description="Deliver events, keep the job watching, and show the answers live.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--student-id", default="demo", help="whose stack; it is created if there is none")
    add("--region", default="us-west-2", help="where")
    add("--events", type=int, default=5_000, help="lines of each object")
    add("--every", type=_pace, default=10.0, metavar="SECONDS", help="from object to object, at least 1")
    add("--look-every", type=int, default=LOOK_SECONDS, metavar="SECONDS", help="how often the job looks")
    add("--port", type=int, default=0, help="of the page on 127.0.0.1; 0 takes a free one")
    add("--open", action="store_true", help="open the page in a browser")
    return parser


def _pace(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("an object's name has its second: from 1 to 3,600 seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
