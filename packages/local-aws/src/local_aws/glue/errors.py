"""Error answers of the Glue API."""

from __future__ import annotations


class ApiError(Exception):
    """An error answer: its code, such as EntityNotFoundException, and its message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
