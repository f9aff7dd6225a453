"""Ctrl-C and SIGTERM while there is something to be taken down: the first ends the work, not the tidying."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What becomes of each Ctrl-C.

    While the work goes on, it raises KeyboardInterrupt, once. From then on, or from `be_patient` on, one is
    answered with `explain`, and only the next raises again.
    """

    def __init__(self, explain: Callable[[], None]) -> None:
        self._explain, self._is_patient, self._is_explained = explain, False, False
        self._is_held, self._is_pending = False, False

    def be_patient(self) -> None:
        """The work has ended."""
        self._is_patient = True

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a Ctrl-C wait until the block has ended: a request that is broken off may have been obeyed."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_pending:
            self._is_pending = False
            self._react()

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._is_pending = True
        else:
            self._react()

    def _react(self) -> None:
        if self._is_patient and not self._is_explained:
            self._is_explained = True
            self._explain()
        else:
            self._is_patient = True
            raise KeyboardInterrupt


@contextmanager
def interrupts(
    explain: Callable[[], None], signals: Iterable[signal.Signals] = SIGNALS
) -> Iterator[Interrupts]:
    """Handle Ctrl-C, or these signals, in this way for the length of a `with` block, in the main thread."""
    handling = Interrupts(explain)
    before = {number: signal.signal(number, handling._received) for number in signals}
    try:
        yield handling
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
