"""How the S3A connector gets here. What it does is in test_glue_jobs.py."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from local_aws.glue import s3a
from local_aws.glue.cache import CACHE_VARIABLE
from local_aws.glue.spark import spark_jars


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path


def test_jars_that_are_there_are_not_downloaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    (cache / "jars").mkdir()
    for jar in s3a.jar_paths():
        jar.touch()
    assert s3a.s3a_jars() == s3a.jar_paths() == spark_jars()[-2:]


def test_without_a_network_the_error_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(
        s3a.S3ANotInstalled, match=r"(?s)sagemaker_pyspark==1.4.5.*python -m local_aws.glue.s3a"
    ):
        s3a.s3a_jars()
    assert [path.name for path in (cache / "jars").iterdir()] == ["download.lock"]


def test_a_jar_that_is_not_the_pinned_one_is_refused(cache: Path) -> None:
    source = cache / "source.tar.gz"
    with tarfile.open(source, "w:gz") as packed:
        for name in s3a.JARS:
            packed.addfile(tarfile.TarInfo(f"sagemaker_pyspark-1.4.5/deps/jars/{name}"), io.BytesIO())
    with pytest.raises(s3a.S3ANotInstalled, match="SHA-256"):
        s3a._unpack(source, cache, cache)
    assert not [jar for jar in s3a.jar_paths() if jar.exists()]
