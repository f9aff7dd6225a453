"""`python -m capstone_pipeline watch`: the job in watch mode, and a page on loopback with its answers, live.

On whatever AWS the shell points to. The job's run is started here, started again when it ends for whatever
reason, and stopped at the end. `keeper` is the run, `figures` what Athena answers, `page` how that looks. Who
delivers raw objects is none of its business, but for `Deliveries`, which `watch_demo.py` brings along.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from capstone_pipeline.errors import PipelineError
from capstone_pipeline.interrupts import SIGNALS, interrupts
from capstone_pipeline.shop import Shop
from capstone_pipeline.watch.figures import Figures
from capstone_pipeline.watch.keeper import JobKeeper
from capstone_pipeline.watch.page import Delivered, LivePage

LOOK_SECONDS = 2
"""How often the job looks for new objects, unless the caller says otherwise."""
_STEP_SECONDS = 1.0
_JOIN_SECONDS = 10.0


@dataclass(frozen=True)
class Deliveries:
    """Raw objects that come while we watch: `deliver` puts one and returns its name."""

    every_seconds: float
    deliver: Callable[[], str]


def watch(
    shop: Shop,
    *,
    port: int = 0,
    look_seconds: int = LOOK_SECONDS,
    deliveries: Deliveries | None = None,
    open_browser: bool = False,
) -> int:
    """Keep the job watching, and its page served, until Ctrl-C; returns the exit code.

    It is 0 after Ctrl-C (or SIGTERM, or the end of the terminal), 1 when the run could not be stopped.

    Parameters
    ----------
    port
        Of the page, on 127.0.0.1; 0 takes a free one.
    look_seconds
        How often the job looks for new objects.

    Raises
    ------
    PortTaken, JobBusy, NoCredentials, EndpointUnreachable, AccessDenied
    """

    def explain() -> None:
        say(
            f"Still stopping run {keeper.state.run_id}. One more Ctrl-C leaves that to you:\n"
            f"{keeper.stop_command}"
        )

    with interrupts(explain, (*SIGNALS, signal.SIGHUP)) as handling:
        keeper = JobKeeper(shop.aws, shop.stack, look_seconds, say, handling)
        keeper.refuse_if_busy()
        figures, delivered = Figures(shop), Delivered()
        ended = threading.Event()
        with LivePage(port, shop.stack.stack_name, keeper, figures, delivered) as page:
            shop.upload()
            shop.set_up_job()
            loops = [_thread(ended, _STEP_SECONDS, figures.renew)]
            if deliveries:
                loops.append(
                    _thread(ended, deliveries.every_seconds, lambda: _deliver(deliveries, delivered))
                )
            try:
                keeper.start()
                for loop in loops:
                    loop.start()
                say(f"The page: {page.url}   Ctrl-C ends it, the run{' and deliveries' * bool(deliveries)}")
                if open_browser:
                    webbrowser.open(page.url)
                while True:
                    keeper.look()
                    time.sleep(_STEP_SECONDS)
            except KeyboardInterrupt:
                say("Stopping ...")
            finally:
                handling.be_patient()
                ended.set()
                is_stopped = _stop(keeper)
                for loop in loops:
                    if loop.is_alive():
                        loop.join(_JOIN_SECONDS)
    return 0 if is_stopped else 1


def say(text: str) -> None:
    """A line on the terminal, which may be gone."""
    with contextlib.suppress(OSError):
        print(f"{datetime.now(UTC):%H:%M:%S}  {text}", flush=True)


def _thread(ended: threading.Event, seconds: float, step: Callable[[], None]) -> threading.Thread:
    """A thread that takes a step every so many seconds, as far as it can keep up, until the end."""

    def loop() -> None:
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            step()
            due = max(due + seconds, time.monotonic())

    return threading.Thread(target=loop, daemon=True)


def _deliver(deliveries: Deliveries, delivered: Delivered) -> None:
    try:
        delivered.add(deliveries.deliver())
    except PipelineError as error:
        if not delivered.trouble:
            say(f"Nothing was delivered: {error.what}")
        delivered.trouble = error.what


def _stop(keeper: JobKeeper) -> bool:
    """Stop the run; whether it has ended. Says what to do where it has not."""
    try:
        return keeper.stop()
    except PipelineError as error:
        say(f"Run {keeper.state.run_id} could not be stopped: {error.what}\nStop it:\n{keeper.stop_command}")
    except KeyboardInterrupt:
        say(f"Run {keeper.state.run_id} was left to end by itself. Stop it:\n{keeper.stop_command}")
    return False
