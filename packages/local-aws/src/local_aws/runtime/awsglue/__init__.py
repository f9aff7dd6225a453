"""The part of AWS Glue's `awsglue` library that our ETL script uses, for Spark without AWS's JVM library.

Same names and signatures as the real one. What is not here is not reproduced: an option that would read
differently on AWS is refused with `NotReproduced`, never ignored.

It needs two things around it, which the embedded AWS's job runner provides and a test can provide as well:

- the session's Hadoop configuration says what s3:// is (`local_aws.glue.spark.s3_on_s3a(endpoint_url)` or
  `s3_on_folders({"bucket": folder})` give the settings);
- the environment variable LOCAL_AWS_GLUE_BOOKMARKS names the SQLite file that keeps job bookmarks (only
  read when a job runs with --job-bookmark-option job-bookmark-enable or job-bookmark-pause).
"""
