"""The parts of the benchmark, each of which can run alone.

A part is a module with TITLE, `measure(bench)` (its figures and details) and `table(result)` (Markdown); one
that has plots adds `plots(result)` (by file name). A new part goes into PARTS.
"""

from __future__ import annotations

from types import ModuleType

from benchmarks.parts import (
    backlog,
    compaction,
    generator,
    history,
    one_batch,
    queries,
    requests,
    scale_out,
    storage,
    watch,
)

PARTS: dict[str, ModuleType] = {
    "one_batch": one_batch,
    "history": history,
    "backlog": backlog,
    "watch": watch,
    "requests": requests,
    "storage": storage,
    "queries": queries,
    "compaction": compaction,
    "generator": generator,
    "scale_out": scale_out,
}
"""In the order of the document."""
