"""Says in a line or two why a script failed: its own exception, or the one of Spark's causes that means
something."""

from __future__ import annotations

import re
import traceback

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors.exceptions.captured import CapturedException

_LIMIT = 2_000
_UNKNOWN_BUCKET = re.compile(r"initialize target File System for URI : s3a?://(?P<bucket>[^/]+)")
_STAGE_FAILURE = re.compile(r"most recent failure: Lost task .*?\): (?P<reason>.+)")


def describe(error: BaseException) -> str:
    """The message for a job run's ErrorMessage, such as "ValueError: no such column"."""
    if isinstance(error, SystemExit):
        text = f"SystemExit: {error.code}"
    elif isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg} (line {error.lineno})"
    elif isinstance(error, Py4JJavaError):
        text = _java_reason(error)
    elif isinstance(error, CapturedException):
        text = f"{type(error).__name__}: {_essence(str(error))}"
    else:
        text = "".join(traceback.format_exception_only(error)).strip()
    return text if len(text) <= _LIMIT else f"{text[:_LIMIT]} ..."


def _java_reason(error: Py4JJavaError) -> str:
    """Class and message of the innermost Java exception that says something."""
    try:
        reason = None
        throwable = error.java_exception
        while throwable is not None:
            message = throwable.getMessage()
            if throwable.getClass().getName().endswith(".UnknownStoreException"):  # S3A's, of a URI
                return f"The bucket of {message} does not exist"
            if message or reason is None:
                reason = (throwable.getClass().getName(), message or "")
            throwable = throwable.getCause()
        assert reason is not None
        name, message = reason
    except Py4JError:  # The JVM is gone.
        return _essence(str(error))
    if unknown_bucket := _UNKNOWN_BUCKET.search(message):
        return (
            f"There is no bucket {unknown_bucket['bucket']}, or neither the job's arguments nor its script "
            "name it in full (Spark is only given the buckets that they name)"
        )
    if failed_task := _STAGE_FAILURE.search(message):
        return _essence(failed_task["reason"])
    essence = _essence(message)
    return essence if name.endswith(".PythonException") else f"{name.rpartition('.')[2]}: {essence}"


def _essence(message: str) -> str:
    """The message without stack traces; of a Python worker's traceback, its last line."""
    lines = [line for line in message.strip().splitlines() if line.strip()]
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        python_lines = [line for line in lines if not line.startswith(("\t", " "))]
        return python_lines[-1].strip() if python_lines else lines[-1].strip()
    kept = []
    for line in lines:
        if re.match(r"\s+at |JVM stacktrace|Driver stacktrace", line):
            break
        kept.append(line.rstrip())
    return "\n".join(kept) or message.strip()
