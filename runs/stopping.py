"""Stopping a run between two steps when Ctrl-C or SIGTERM arrives."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked the run to stop, and how."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        """True once a signal has arrived."""
        return self.signal is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second Ctrl-C raises KeyboardInterrupt.

    The former handlers come back at the end. A signal that the process ignores (as under nohup)
    stays ignored. Off the main thread, where Python allows no handlers, the request never comes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    caught = {n: h for n, h in former.items() if h is not None and h is not signal.SIG_IGN}
    try:
        for number in caught:
            signal.signal(number, request._handle)
        yield request
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
