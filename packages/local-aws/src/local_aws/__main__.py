"""Command line of the embedded AWS: `local-aws up|down|clean|status|env|requests|serve`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from local_aws import server

EPILOG = """\
environment:
  LOCAL_AWS_PORT       port on 127.0.0.1 (default 4566)
  LOCAL_AWS_STATE_DIR  where state is kept (default .local-aws in the current folder)
  LOCAL_AWS_WARM_JVM_SECONDS
                       how long Spark's JVM waits, warm, for the next job run (default 600; 0: not at all)
  LOCAL_AWS_SPARK_CONF Spark settings of all job runs, in the form of Glue's --conf: "a=b --conf c=d"
  LOCAL_AWS_S3_DELAY_MS
                       milliseconds that each request to S3 waits, as for a distant S3 (default 0)

point any AWS tool of this shell at it:
  eval "$(local-aws up)"
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Only what a shell should evaluate goes to stdout."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except server.LocalAwsError as error:
        print(f"local-aws: {error}", file=sys.stderr)
        return 1


def up(options: argparse.Namespace) -> int:
    """Start it in the background if it is not running, and print the exports."""
    record = server.start(_state_dir(options), _port(options), progress=_say)
    _print_exports(record.endpoint_url)
    return 0


def down(options: argparse.Namespace) -> int:
    """Stop it with every process that it started; its state stays."""
    _say("Stopped; its state is kept" if server.stop(_state_dir(options)) else "Not running")
    return 0


def clean(options: argparse.Namespace) -> int:
    """Stop it and remove its state."""
    state_dir = _state_dir(options)
    _say(f"Removed {state_dir}" if server.clean(state_dir) else "Nothing to remove")
    return 0


def status(options: argparse.Namespace) -> int:
    """Say whether it runs, where, and since when; exit code 1 when it does not."""
    state_dir = _state_dir(options)
    record = server.find(state_dir)
    if record is None:
        print(f"stopped    (state directory {state_dir})")
        return 1
    since = datetime.fromtimestamp(record.started).strftime("%Y-%m-%d %H:%M:%S")
    is_healthy = server.is_healthy(record)
    print("running" if is_healthy else "not answering")
    print(f"endpoint   {record.endpoint_url}")
    print(f"process    {record.pid}, since {since}")
    print(f"state      {state_dir}")
    print(f"log        {server.StatePaths(state_dir).log}")
    return 0 if is_healthy else 1


def env(options: argparse.Namespace) -> int:
    """Print the exports of the running server."""
    _print_exports(_running(options).endpoint_url)
    return 0


def requests(options: argparse.Namespace) -> int:
    """Tell how many requests S3 has had, by bucket and folder and by kind."""
    counts = server.requests(_running(options).endpoint_url, reset=options.reset)
    kinds = sorted({kind for row in counts.values() for kind in row})
    total = {kind: sum(row.get(kind, 0) for row in counts.values()) for kind in kinds}
    width = max(map(len, counts), default=0) + 2
    print(" " * width + "  ".join(kinds))
    for folder, row in [*sorted(counts.items()), ("total", total)]:
        print(folder.ljust(width) + "  ".join(f"{row.get(kind, 0):{len(kind)}}" for kind in kinds))
    return 0


def serve(options: argparse.Namespace) -> int:
    """Run it in the foreground, its log on the terminal, until Ctrl-C."""
    from local_aws import process  # Late, so that the other commands need none of the server's imports.

    return process.serve(_state_dir(options), _port(options), until_stdin_closes=options.until_stdin_closes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="local-aws",
        description="The embedded AWS: Glue, Athena and what they need, on 127.0.0.1, with state on disk.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in (up, down, clean, status, env, requests, serve):
        _add(commands, command)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    command: Callable[[argparse.Namespace], int],
) -> None:
    summary = (command.__doc__ or "").rstrip(".")
    parser = commands.add_parser(command.__name__, help=summary, description=command.__doc__)
    parser.add_argument("--state-dir", type=Path, help="instead of LOCAL_AWS_STATE_DIR")
    if command in (up, serve):
        parser.add_argument("--port", type=int, help="instead of LOCAL_AWS_PORT")
    if command is requests:
        parser.add_argument("--reset", action="store_true", help="count from 0 afterwards")
    if command is serve:
        parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=command)


def _running(options: argparse.Namespace) -> server.ServerRecord:
    record = server.find(_state_dir(options))
    if record is None:
        raise server.ServerNotRunning("The embedded AWS is not running. Start it: local-aws up")
    return record


def _state_dir(options: argparse.Namespace) -> Path:
    return options.state_dir.expanduser().resolve() if options.state_dir else server.configured_state_dir()


def _port(options: argparse.Namespace) -> int:
    return server.configured_port() if options.port is None else options.port


def _print_exports(endpoint_url: str) -> None:
    for name, value in server.environment_for(endpoint_url).items():
        print(f"export {name}={shlex.quote(value)}")


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
