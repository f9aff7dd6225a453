"""Hadoop's S3A connector, the one that serves s3:// on Glue: where its jars are, and how they get there.

PyPI has them inside the source distribution of `sagemaker_pyspark`. `python -m local_aws.glue.s3a` downloads
that once (`make venv` does so) and keeps two jars of it. Spark's settings are in `local_aws.glue.spark`.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from local_aws.glue.cache import cache_dir

JARS = {
    "hadoop-aws-3.3.1.jar": "6be50ad8a8b445d2802381b085b2a3ede5c29d353450a6a21f16b2fefa962b6e",
    "aws-java-sdk-bundle-1.11.901.jar": "b87175b32a16544cc1b37cf40390eb375833e62bed67f8ce6cde4b7ad6429ead",
}
"""SHA-256 of what lies on the class path after Spark's own jars."""

_SOURCE = "sagemaker_pyspark==1.4.5"
_SOURCE_SHA256 = "05ca2d5081d7138ce29a8fb0a9cba077f28c825288ed07aed46a82e63c0bf1fb"
_ADVICE = "Without it no job can run. Then run `python -m local_aws.glue.s3a` again."


class S3ANotInstalled(Exception):
    """The jars are not there and could not be downloaded; the message says why and what to do."""


def jar_paths() -> list[Path]:
    """Where the connector's jars are, once they are there."""
    return [cache_dir() / "jars" / name for name in JARS]


def s3a_jars() -> list[Path]:
    """The connector's jars, downloaded unless they are there. Raises S3ANotInstalled."""
    jars = jar_paths()
    if not all(jar.exists() for jar in jars):
        folder = jars[0].parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "download.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not all(jar.exists() for jar in jars):  # Another process may have been faster.
                    _download(folder)
        except (OSError, tarfile.TarError) as error:
            message = f"The S3A connector could not be put into {folder}: {error}. {_ADVICE}"
            raise S3ANotInstalled(message) from error
    return jars


def _download(folder: Path) -> None:
    """Take the jars out of the source distribution, which pip fetches from whatever index it is set to."""
    print(f"Downloading Spark's S3A connector, once (180 MB), into {folder} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as temporary:
        requirement = Path(temporary) / "requirements.txt"
        requirement.write_text(f"{_SOURCE} --hash=sha256:{_SOURCE_SHA256}\n")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "sagemaker_pyspark"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", temporary]
        pip = subprocess.run(
            [*command, "--requirement", requirement], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if pip.returncode:
            said = pip.stdout.decode(errors="replace").strip()
            raise S3ANotInstalled(
                f"pip could not download {_SOURCE}, for the S3A connector:\n{said}\n{_ADVICE}"
            )
        (source,) = Path(temporary).glob("*.tar.gz")
        _unpack(source, folder, Path(temporary))


def _unpack(source: Path, folder: Path, temporary: Path) -> None:
    with tarfile.open(source) as archive:
        for member in archive:
            name = Path(member.name).name
            content = archive.extractfile(member) if name in JARS else None
            if content is None:
                continue
            staged = temporary / name
            with content, staged.open("w+b") as file:
                shutil.copyfileobj(content, file)
                file.seek(0)
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != JARS[name]:
                raise S3ANotInstalled(f"{name} of {_SOURCE} has SHA-256 {found}, not {JARS[name]}. {_ADVICE}")
            staged.replace(folder / name)


if __name__ == "__main__":
    try:
        s3a_jars()
    except S3ANotInstalled as error:
        sys.exit(f"local_aws.glue.s3a: {error}")
