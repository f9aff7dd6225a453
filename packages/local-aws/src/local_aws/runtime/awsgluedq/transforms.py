"""Glue Data Quality's transforms, which are refused by name."""

from awsglue.refusals import refusing

_ADVICE = "check with Spark or Athena, and raise an exception: rulesets (DQDL) are not evaluated here"

__getattr__ = refusing("awsgluedq.transforms", {"EvaluateDataQuality": _ADVICE})
