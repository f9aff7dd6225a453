"""Watches how much memory the processes of one run have together."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

import psutil

from local_aws import LocalAws

_INTERVAL_SECONDS = 0.25


@contextlib.contextmanager
def peak_memory(server: LocalAws, peak: dict[str, int]) -> Iterator[None]:
    """Fill `peak` with the bytes (RSS) of `jvm`, `workers` and `driver` when they had most together.

    Counted are the processes that began below the server meanwhile: it is for runs in a cold JVM. What
    forked Python workers share counts once for each of them.
    """
    parent, ended = psutil.Process(server.pid), threading.Event()
    others = {process.pid for process in parent.children(recursive=True)}

    def watch() -> None:
        while not ended.wait(_INTERVAL_SECONDS):
            now = _memory(parent, others)
            if now.total() > sum(peak.values()):
                peak.clear()
                peak.update(now)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def memory_now(server: LocalAws) -> int:
    """Bytes (RSS) of all processes below the server: of its one run, while that has the only JVM."""
    return _memory(psutil.Process(server.pid), set()).total()


def _memory(parent: psutil.Process, others: set[int]) -> Counter[str]:
    used = Counter[str]()
    for process in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.pid not in others:
                used[_kind(process)] += process.memory_info().rss
    return used


def _kind(process: psutil.Process) -> str:
    if process.name() == "java":
        return "jvm"
    return "workers" if "pyspark.daemon" in process.cmdline() else "driver"
