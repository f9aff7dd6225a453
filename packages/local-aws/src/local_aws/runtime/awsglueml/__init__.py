"""Glue's machine learning transforms, which are refused by name."""
