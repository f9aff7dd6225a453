"""Job arguments, as `awsglue.utils` resolves them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

BOOKMARK_OPTIONS = ("job-bookmark-enable", "job-bookmark-pause", "job-bookmark-disable")
_RANGE_OPTIONS = ("job-bookmark-from", "job-bookmark-to")
_RESERVED = ("job-bookmark-option", *_RANGE_OPTIONS, "JOB_ID", "JOB_RUN_ID", "SECURITY_CONFIGURATION")
_TEMPORARY_FOLDERS = ("RedshiftTempDir", "TempDir")


class GlueArgumentError(Exception):
    """A required job argument is missing, or an argument has a value that Glue does not allow."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise GlueArgumentError(message)


def getResolvedOptions(args: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    """The values of the named job arguments, and of those that Glue itself passes.

    `args` is `sys.argv`; `--KEY value` and `--KEY=value` are both read, and unknown arguments are ignored.
    The result also holds `job_bookmark_option` and its kin, which `Job.init` looks at.

    Raises GlueArgumentError for a missing argument, RuntimeError for a reserved name among `options` and for
    a bookmark range that is incomplete or given without job-bookmark-pause.
    """
    parser = _Parser(add_help=False)
    for name in _RESERVED:
        if name in options:
            raise RuntimeError(f"Using reserved arguments --{name}")
    parser.add_argument("--job-bookmark-option", choices=BOOKMARK_OPTIONS, default="job-bookmark-disable")
    for name in (*_RESERVED[1:], *_TEMPORARY_FOLDERS):
        parser.add_argument(f"--{name}")
    for name in options:
        if name not in _TEMPORARY_FOLDERS:
            parser.add_argument(f"--{name}", required=True)

    parsed, _ = parser.parse_known_args(list(args[1:]))
    resolved = vars(parsed)
    resolved["TempDir"] = resolved["RedshiftTempDir"] = resolved["TempDir"] or resolved["RedshiftTempDir"]
    _check_range(resolved)
    return resolved


def _check_range(resolved: dict[str, Any]) -> None:
    """A bookmark range has both ends, and belongs to job-bookmark-pause."""
    missing = [f"--{name}" for name in _RANGE_OPTIONS if resolved[name.replace("-", "_")] is None]
    if resolved["job_bookmark_option"] == "job-bookmark-pause":
        if len(missing) == 1:
            raise RuntimeError(f"Missing option or value for {missing[0]}")
    elif not missing:
        raise RuntimeError(f"Invalid option(s) --{' --'.join(_RANGE_OPTIONS)}")
