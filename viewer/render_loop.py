"""When to render what at which resolution. Pure logic: no threads, no browser, time is passed in.

While a camera moves, the browser draws splats itself and nothing is rendered here; scenes that the
browser cannot draw get frames small enough for `RenderLimits.moving_seconds`. Once the camera
rests, a small frame comes first where the full one would keep the user waiting, then the full one,
in strips so that a new movement is noticed between two of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RenderLimits:
    """What one frame may cost."""

    max_size: int = 1280
    """Longest side of a full frame in pixels."""
    min_size: int = 96
    """Longest side below which no frame is shrunk."""
    moving_seconds: float = 0.1
    """Aimed-at time of a small frame."""
    patience_seconds: float = 0.3
    """A full frame that takes longer is preceded by a small one."""
    strip_seconds: float = 0.25
    """Aimed-at time of one strip of a full frame."""
    settle_seconds: float = 0.15
    """A camera rests once it has not moved for this long."""

    def __post_init__(self) -> None:
        if self.max_size < self.min_size:
            raise ValueError(
                f"`max_size` must be at least {self.min_size} pixels, got {self.max_size}."
            )


@dataclass(frozen=True)
class FrameRequest:
    """One frame to render."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    strips: int
    """In how many pieces, top to bottom."""
    full: bool
    """Whether it is the final resolution."""
    version: int
    """Of the view that it shows; see `RenderSchedule.is_current`."""


class CostModel:
    """Seconds of a frame as a running estimate per pixel."""

    def __init__(self, seconds_per_pixel: float = 1e-6) -> None:
        self.seconds_per_pixel = seconds_per_pixel

    def predict(self, pixels: int) -> float:
        """Expected seconds of a frame with that many pixels."""
        return pixels * self.seconds_per_pixel

    def record(self, pixels: int, seconds: float) -> None:
        """Learn from a finished frame; the newest one weighs one half."""
        self.seconds_per_pixel = 0.5 * (self.seconds_per_pixel + seconds / max(pixels, 1))


class RenderSchedule:
    """What one browser needs next."""

    def __init__(self, limits: RenderLimits, *, browser_draws_motion: bool) -> None:
        self.limits = limits
        """What frames may cost."""
        self.browser_draws_motion = browser_draws_motion
        """Whether the browser shows the scene by itself while the camera moves."""
        self._small = CostModel()  # apart: fixed costs make small frames dearer per pixel
        self._full = CostModel()
        self._viewport = (0, 0)
        self._moved_at = -math.inf
        self._version = 0
        self._small_done = -1
        self._full_done = -1

    def camera_moved(self, now: float, width: int, height: int) -> None:
        """The camera or the canvas (pixels) changed at time `now` (seconds)."""
        self._moved_at = now
        self._viewport = (width, height)
        self._version += 1

    def content_changed(self, *, preview: bool) -> None:
        """Something else changed, such as the scene or a setting.

        Args:
            preview: Show a small frame first if the full one is slow. Without it the last full
                frame stays until the next one is ready, which does not flicker.
        """
        self._version += 1
        if not preview:
            self._small_done = self._version

    def is_moving(self, now: float) -> bool:
        """Whether the camera moved a moment ago."""
        return now - self._moved_at < self.limits.settle_seconds

    def is_current(self, request: FrameRequest, now: float) -> bool:
        """Whether `request` is still worth finishing and showing."""
        if request.version == self._version:
            return True
        # A frame of a moment ago beats none while the camera moves on and only we can draw.
        return not request.full and not self.browser_draws_motion and self.is_moving(now)

    def next_request(self, now: float) -> FrameRequest | None:
        """The frame to render now, if any."""
        width, height = self._full_size()
        if width == 0 or self._full_done == self._version:
            return None
        if self.is_moving(now):
            if self.browser_draws_motion or self._small_done == self._version:
                return None
            return self._small_request()
        seconds = self._full.predict(width * height)
        if self._small_done != self._version and seconds > self.limits.patience_seconds:
            return self._small_request()
        strips = min(max(1, round(seconds / self.limits.strip_seconds)), max(1, height // 32))
        return FrameRequest(width, height, strips, True, self._version)

    def seconds_until_due(self, now: float) -> float | None:
        """How long to wait before asking `next_request` again; None: until something changes."""
        if self._viewport[0] == 0 or self._full_done == self._version:
            return None
        if self.next_request(now) is not None:
            return 0.0
        return max(0.0, self._moved_at + self.limits.settle_seconds - now)

    def frame_done(self, request: FrameRequest, seconds: float) -> None:
        """`request` was rendered completely in that time (seconds)."""
        pixels = request.width * request.height
        if request.full:
            self._full.record(pixels, seconds)
            self._full_done = max(self._full_done, request.version)
        else:
            self._small.record(pixels, seconds)
            self._small_done = max(self._small_done, request.version)

    def frame_failed(self, request: FrameRequest) -> None:
        """`request` raised an error: nothing more is tried until something changes."""
        self._small_done = max(self._small_done, request.version)
        self._full_done = max(self._full_done, request.version)

    def _full_size(self) -> tuple[int, int]:
        return fit_inside(*self._viewport, self.limits.max_size)

    def _small_request(self) -> FrameRequest:
        width, height = self._full_size()
        affordable = self.limits.moving_seconds / self._small.seconds_per_pixel
        shrink = min(1.0, math.sqrt(affordable / (width * height)))
        size = max(self.limits.min_size, int(shrink * max(width, height)))
        return FrameRequest(*fit_inside(width, height, size), 1, False, self._version)


def fit_inside(width: int, height: int, size: int) -> tuple[int, int]:
    """(width, height) shrunk in proportion until no side is longer than `size` pixels."""
    longest = max(width, height)
    if longest <= size:
        return width, height
    return max(1, round(width * size / longest)), max(1, round(height * size / longest))
