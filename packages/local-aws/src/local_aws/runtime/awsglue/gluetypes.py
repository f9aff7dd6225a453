"""Glue's own types, which are refused by name: schemas are in Spark's types here."""

from .refusals import NotReproduced

raise NotReproduced("awsglue.gluetypes is not reproduced outside AWS Glue. Instead: pyspark.sql.types")
