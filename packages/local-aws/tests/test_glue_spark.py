"""How Spark's JVM is started: its options, and the archive of its classes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from local_aws.glue import archive
from local_aws.glue.cache import CACHE_VARIABLE
from local_aws.glue.driver import end_of_process
from local_aws.glue.spark import class_path, java_options
from local_aws.java import java_home


def test_java_comes_from_its_wheel_and_is_17() -> None:
    java = Path(java_home()) / "bin" / "java"
    version = subprocess.run([java, "-version"], capture_output=True, text=True, check=True).stderr
    assert 'version "17.' in version


def test_memory_is_what_is_set_else_a_share_of_the_machine() -> None:
    assert any(option.startswith("-Xmx") and option.endswith("m") for option in java_options({}))
    assert "-Xmx5g" in java_options({"spark.driver.memory": "5g"})


def test_the_jobs_own_java_options_come_last_and_so_win() -> None:
    options = java_options({"spark.driver.extraJavaOptions": "-Xss4m -Da='b c'"})
    assert options[-2:] == ["-Xss4m", "-Da=b c"]


def test_without_an_archive_java_starts_as_usual_and_with_one_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    jars = class_path({})
    assert archive.archive_options(jars) == []
    files = archive.archive_files(jars)
    for file in files:
        file.touch()
    shared, *_ = archive.archive_options(jars)
    assert shared == f"-XX:SharedArchiveFile={os.pathsep.join(map(str, files))}"
    assert archive.archive_options(jars[1:]) == [], "an archive of other jars"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (3, "Spark ended with exit code 3"),
        (-9, "Spark was ended by SIGKILL: the machine's memory ran out, or somebody killed it"),
        (-11, "Spark was ended by SIGSEGV"),
    ],
)
def test_the_end_of_a_process_is_told(code: int, said: str) -> None:
    assert end_of_process("Spark", code) == said
