"""The seven invariants of the pipeline."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.etl.workbench import Workbench


def test_sample_data(workbench: Workbench) -> None:
    import time
    root = Path("sample-data")
    objects = {f"s3://raw/events/{path.relative_to(root)}": path.read_bytes() for path in sorted(root.rglob("*.gz"))}
    workbench.upload(objects)
    for i in range(2):
        t = time.time()
        print(workbench.run(), time.time() - t)
    workbench.assert_holds(objects)
    for i in range(5):
        workbench.clear()
        some = dict(list(objects.items())[:2])
        some = {k: gzip.compress(b"\n".join(gzip.decompress(v).split(b"\n")[:20]) + b"\n") for k, v in some.items()}
        workbench.upload(some)
        t = time.time()
        print(workbench.run(), time.time() - t)
        workbench.assert_holds(some)
