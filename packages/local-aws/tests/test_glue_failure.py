"""What a run's ErrorMessage says of an exception."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from local_aws.glue.failure import describe


class OwnError(Exception):
    """An exception of a script's own."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(2), "SystemExit: 2"),
        (OwnError(), f"{__name__}.OwnError"),
        (ValueError("x" * 5_000), f"ValueError: {'x' * 1_988} ..."),
    ],
)
def test_python_exceptions_are_told_as_python_tells_them(error: BaseException, message: str) -> None:
    assert describe(error) == message


def test_a_syntax_error_names_its_line() -> None:
    with pytest.raises(SyntaxError) as raised:
        compile("x = 1\ny = (", "script.py", "exec")
    assert describe(raised.value) == "SyntaxError: '(' was never closed (line 2)"


def test_an_analysis_error_is_one_line(spark: SparkSession) -> None:
    with pytest.raises(Exception) as raised:
        spark.range(1).select("nothing").collect()
    assert describe(raised.value).startswith("AnalysisException: [UNRESOLVED_COLUMN")
    assert "\tat " not in describe(raised.value)


def test_a_failed_task_gives_its_innermost_cause(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(os.urandom(100_000))[:50_000])
    with pytest.raises(Exception) as raised:
        spark.read.text(str(tmp_path / "cut.gz")).write.mode("overwrite").parquet(str(tmp_path / "out"))
    assert describe(raised.value) == "EOFException: Unexpected end of input stream"


def test_an_error_in_a_python_function_is_pythons(spark: SparkSession) -> None:
    def fails(value: int) -> int:
        raise ValueError(f"cannot use {value}")

    with pytest.raises(Exception) as raised:
        spark.range(1).select(F.udf(fails)("id")).collect()
    assert describe(raised.value) == "PythonException: ValueError: cannot use 0"
