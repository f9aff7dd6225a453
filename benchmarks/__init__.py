"""Measures the pipeline: `make bench` runs every part and writes `results/`."""
