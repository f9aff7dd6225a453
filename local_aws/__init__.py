"""The embedded AWS: MiniStack in one loopback process, extended with Spark Glue jobs and real Athena.

Only the Makefile and the tests start it; everything else reaches it through AWS_ENDPOINT_URL, exactly as
it would reach AWS. Not for production use, and never reachable from another machine.
"""
