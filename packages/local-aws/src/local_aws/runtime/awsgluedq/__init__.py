"""Glue Data Quality, which is refused by name."""
