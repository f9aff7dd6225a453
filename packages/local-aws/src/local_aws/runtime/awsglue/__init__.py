"""The part of AWS Glue's `awsglue` library that DataFrame-minded scripts use, thin over Spark, without AWS's
JVM library.

Same names and signatures as the real one. What is not here is not reproduced: an option that would read
differently on AWS is refused with `NotReproduced`, which says what to use instead, and never ignored.

    context          GlueContext: reading, writing, purge_s3_path, get_logger
    dynamicframe     DynamicFrame
    transforms       ApplyMapping and its kin
    job, utils       Job, getResolvedOptions
    bookmarks        what a job has processed
    session_catalog  --enable-glue-datacatalog

    sources, sinks   S3 and tables of the catalog, to read from and to write to
    formats, lines   readers of files, which fail where Glue's fail
    records, shapes, fields, catalog, objects, exclusions, refusals: what these are made of

It needs two things around it, which the embedded AWS's job runner provides and a test can provide as well:

- the session's Hadoop configuration says what s3:// is (`local_aws.glue.spark.s3_on_s3a(endpoint_url)` gives
  the settings), and boto3 finds the same AWS by its environment variables;
- the environment variable LOCAL_AWS_GLUE_BOOKMARKS names the SQLite file that keeps job bookmarks (only
  read when a job runs with --job-bookmark-option job-bookmark-enable or job-bookmark-pause).
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`from awsglue import DynamicFrame`; not imported before, as reading bookmarks needs no Spark."""
    if name == "DynamicFrame":
        from .dynamicframe import DynamicFrame

        return DynamicFrame
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
