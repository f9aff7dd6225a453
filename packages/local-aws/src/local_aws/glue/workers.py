"""Forks Spark's Python workers as `pyspark.daemon` does, with the installed PySpark and none of its archives.

Started by Spark as `python -m local_aws.glue.workers`; not for use by hand. Spark puts pyspark.zip, that of
py4j and one of its own jars before all else that a worker can import. Python compiles what it finds there
anew for each run, and reads the contents of all three before tasks: half a second of CPU for a short run.
What workers import with it beforehand costs each of them a quarter of a second less.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Serve Spark until it ends."""
    sys.path[:] = [one for one in sys.path if not one.startswith(f"{os.environ['SPARK_HOME']}/")]
    # Now, once, instead of in each worker: most need both.
    import boto3  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from pyspark import daemon

    daemon.manager()


if __name__ == "__main__":
    main()
