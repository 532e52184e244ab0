"""The schedule shows what is affordable first and the full frame once the camera rests."""

from __future__ import annotations

import pytest

from viewer.render_loop import RenderLimits, RenderSchedule, fit_inside

LIMITS = RenderLimits(max_size=1000)


def schedule(*, browser: bool, seconds_per_pixel: float = 1e-8) -> RenderSchedule:
    result = RenderSchedule(LIMITS, browser_draws_motion=browser)
    result._full.seconds_per_pixel = result._small.seconds_per_pixel = seconds_per_pixel
    return result


def test_nothing_is_rendered_while_the_browser_draws_motion() -> None:
    loop = schedule(browser=True)
    loop.camera_moved(10.0, 2000, 1000)
    assert loop.next_request(10.1) is None
    assert loop.seconds_until_due(10.1) == pytest.approx(0.05)
    request = loop.next_request(10.2)
    assert request is not None and request.full
    assert (request.width, request.height) == (1000, 500)
    loop.frame_done(request, 0.01)
    assert loop.next_request(11.0) is None and loop.seconds_until_due(11.0) is None


def test_slow_scene_gets_small_frame_then_full_one_in_strips() -> None:
    loop = schedule(browser=False, seconds_per_pixel=4e-6)
    loop.camera_moved(0.0, 1000, 500)
    small = loop.next_request(0.01)
    assert small is not None and not small.full
    assert small.width * small.height * 4e-6 <= LIMITS.moving_seconds
    loop.frame_done(small, 0.1)
    assert loop.next_request(0.05) is None  # the same view needs no second small frame
    full = loop.next_request(0.2)
    assert full is not None and full.full
    assert full.strips == 8  # 2 s in pieces of a quarter


def test_movement_makes_a_full_frame_stale_and_a_small_one_acceptable() -> None:
    loop = schedule(browser=False)
    loop.camera_moved(0.0, 100, 100)
    small = loop.next_request(0.0)
    full = loop.next_request(1.0)
    assert small is not None and full is not None
    loop.camera_moved(1.1, 100, 100)
    assert not loop.is_current(full, 1.1)
    assert loop.is_current(small, 1.1)


def test_failed_frame_is_not_retried_until_something_changes() -> None:
    loop = schedule(browser=False)
    loop.camera_moved(0.0, 100, 100)
    request = loop.next_request(1.0)
    assert request is not None
    loop.frame_failed(request)
    assert loop.next_request(2.0) is None
    loop.content_changed(preview=True)
    assert loop.next_request(2.0) is not None


def test_training_update_replaces_full_frame_without_a_small_one() -> None:
    loop = schedule(browser=True, seconds_per_pixel=4e-6)
    loop.camera_moved(0.0, 1000, 500)
    loop.content_changed(preview=False)
    request = loop.next_request(5.0)
    assert request is not None and request.full


def test_fit_inside_keeps_proportions() -> None:
    assert fit_inside(1920, 1080, 960) == (960, 540)
    assert fit_inside(300, 200, 960) == (300, 200)
