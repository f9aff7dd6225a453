"""What only the notebooks beside this file need: charts, figures, checks, and the job's witness.

The steps of `build_pipeline.ipynb` are in `capstone_pipeline`, which these modules build on.
"""
