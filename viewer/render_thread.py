"""The thread that renders for all browsers, one frame at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from .render_loop import FrameRequest
from .session import ClientSession

_IDLE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class RenderThread:
    """Asks the sessions in turn what they need and renders it; an error never ends the thread."""

    def __init__(
        self,
        sessions: Callable[[], Sequence[ClientSession]],
        render: Callable[[ClientSession, FrameRequest], bool],
    ) -> None:
        """Start the thread.

        Args:
            sessions: The browsers connected now.
            render: Renders and shows one frame; False if it gave up because the view had changed.
                What it raises is logged and shown in the browser.
        """
        self._sessions = sessions
        self._render = render
        self._wake = threading.Event()
        self._closed = False
        self._turn = 0
        self._thread = threading.Thread(target=self._run, name="viewer-render", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look at the sessions again at once."""
        self._wake.set()

    def close(self) -> None:
        """Stop after the frame being rendered."""
        self._closed = True
        self._wake.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._closed:
            self._wake.clear()
            job = self._next_job()
            if job is not None:
                self._do(*job)
                continue
            now = time.monotonic()
            waits = [session.seconds_until_due(now) for session in self._sessions()]
            shortest = min((wait for wait in waits if wait is not None), default=_IDLE_SECONDS)
            self._wake.wait(timeout=shortest)

    def _next_job(self) -> tuple[ClientSession, FrameRequest] | None:
        sessions = self._sessions()
        self._turn += 1  # so that one busy browser does not starve the others
        for offset in range(len(sessions)):
            session = sessions[(self._turn + offset) % len(sessions)]
            now = time.monotonic()
            session.tick(now)
            with session.lock:
                request = session.schedule.next_request(now)
            if request is not None:
                return session, request
        return None

    def _do(self, session: ClientSession, request: FrameRequest) -> None:
        start = time.monotonic()
        try:
            completed = self._render(session, request)
        except Exception as error:  # whatever a renderer raises, training and viewing go on
            logger.exception("Rendering for a browser failed.")
            session.report("Rendering failed", error)
            with session.lock:
                session.schedule.frame_failed(request)
            return
        if not completed:
            return
        with session.lock:
            session.schedule.frame_done(request, time.monotonic() - start)
