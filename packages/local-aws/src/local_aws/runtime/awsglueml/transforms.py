"""Glue's machine learning transforms, which are refused by name."""

from awsglue.refusals import refusing

_INSTEAD = {
    "EntityDetector": "a function over toDF() with regular expressions",
    "FillMissingValues": "toDF().fillna(...)",
    "FindMatches": "dropDuplicates, or a join on toDF()",
    "FindIncrementalMatches": "dropDuplicates, or a join on toDF()",
}

__getattr__ = refusing("awsglueml.transforms", _INSTEAD)
