"""Where Spark's class archive and the S3A connector are kept, once per virtual environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "LOCAL_AWS_CACHE_DIR"


def cache_dir() -> Path:
    """LOCAL_AWS_CACHE_DIR, else a folder of this virtual environment, else one at home."""
    if configured := os.environ.get(CACHE_VARIABLE):
        return Path(configured)
    in_environment = sys.prefix != sys.base_prefix
    return (Path(sys.prefix) / "var" / "cache" if in_environment else Path.home() / ".cache") / "local-aws"
