"""What a job's Python finds on its path besides Spark: this folder is put on `sys.path`, as on AWS Glue."""
