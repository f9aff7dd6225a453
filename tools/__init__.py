"""What generates documents, pictures and committed outputs. Not for running the pipeline."""
