"""Makes Spark start faster: an archive of its loaded classes (Java's class-data sharing).

Loading some 15,000 classes is most of what a short Spark job costs; Java can map them from an archive. Java
checks it against the jars itself and goes on without it when they differ, so it is only ever an accelerator.
`local_aws.glue.recording` makes it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from local_aws.glue.cache import cache_dir
from local_aws.java import java_home

QUIET = ("-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr")
"""Without these Java tells on stdout of every class that it could not archive."""


def archive_options(jars: Sequence[Path]) -> list[str]:
    """JVM options that use the archive for this class path; none while there is no archive."""
    if not all(jar.exists() for jar in jars):
        return []
    archives = archive_files(jars)
    if not all(archive.exists() for archive in archives):
        return []
    return [f"-XX:SharedArchiveFile={os.pathsep.join(map(os.fspath, archives))}", *QUIET]


def archive_files(jars: Sequence[Path]) -> tuple[Path, Path]:
    """The archives of Java's and of Spark's classes, named by what they were made from."""
    release = (Path(java_home()) / "release").read_bytes()
    stamps = [(os.fspath(jar), jar.stat().st_size, jar.stat().st_mtime_ns) for jar in jars]
    fingerprint = hashlib.sha256(release + json.dumps(stamps).encode()).hexdigest()[:16]
    return cache_dir() / f"java-{fingerprint}.jsa", cache_dir() / f"spark-{fingerprint}.jsa"
