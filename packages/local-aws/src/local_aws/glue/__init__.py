"""AWS Glue jobs in the embedded AWS: scripts run on a real Spark, with bookmarks, logs and S3.

    api        the Glue API's job actions, patched into MiniStack
    runner     a run: its process, how it ended
    s3a        Spark's connector to S3: its jars
    logs       log files -> CloudWatch Logs
    runs       the memory of runs
    driver     the process of a run
    workers    Spark's Python workers, without Spark's archives
    jvms       Spark's JVMs, one kept warm from run to run
    spark      how a JVM is started, connected to and made as good as new
    archive    its loaded classes, kept to start it faster
    recording  how they are kept, in the background
    cache      where they and the jars are kept
    failure    why a script failed, in a line or two

What scripts import, and job bookmarks, are in `local_aws.runtime.awsglue`. The Data Catalog is MiniStack's.
"""


def install() -> None:
    """Patch MiniStack in this process, before it serves. Raises MiniStackChanged when an upgrade moved it."""
    from local_aws.glue import api  # Not at import: the driver process has no use for the server's side.

    api.install()
