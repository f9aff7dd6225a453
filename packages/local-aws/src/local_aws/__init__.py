"""The embedded AWS: MiniStack in one loopback process, extended with Spark Glue jobs and real Athena.

The command `local-aws` starts and stops it, `running_server` does so for the length of a `with` block. All
else reaches it through AWS_ENDPOINT_URL, exactly as it would reach AWS. Not for production use, and never
reachable from another machine.
"""

from local_aws.server import BYTES_READ, DEFAULT_REGION, LocalAws, LocalAwsError, running_server

__all__ = ["BYTES_READ", "DEFAULT_REGION", "LocalAws", "LocalAwsError", "running_server"]
