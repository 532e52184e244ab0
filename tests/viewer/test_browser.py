"""The whole viewer in headless Chromium."""

from __future__ import annotations

import time

import pytest
from browser import Page, wait_for
from scenes import RaySphere

pytest.importorskip("viser", reason="viser is not installed")

from viewer import LiveViewer, NamedScene, SceneViewer


@pytest.mark.slow
def test_our_frame_reaches_the_screen_upright(page: Page) -> None:
    with SceneViewer([NamedScene("sphere", RaySphere())], port=8190) as viewer:
        page.call("Page.navigate", url=viewer.url)
        wait_for(lambda: "ms" in page.text())

        # Up is world -y, so the top of the sphere has the normal (0, -1, 0): no green there.
        def upright() -> bool:
            image = page.picture().astype(int)
            column = image[:, image.shape[1] // 2]
            ball = column[column.sum(1) > 60]
            return len(ball) > 50 and ball[5, 1] < 100 < 150 < ball[-5, 1]

        wait_for(upright)


@pytest.mark.slow
def test_render_error_is_shown_and_viewing_goes_on(page: Page) -> None:
    scene = RaySphere()
    scene.fails = True
    with SceneViewer([NamedScene("sphere", scene)], port=8191) as viewer:
        page.call("Page.navigate", url=viewer.url)
        wait_for(lambda: "no more light" in page.text())
        scene.fails = False
        viewer.set_scene("sphere", scene)
        wait_for(lambda: "ms" in page.text())
        page.call("Page.close")  # leaving the page would only put it into the back-forward cache
        wait_for(lambda: viewer.num_browsers == 0)


def test_update_is_free_without_a_browser() -> None:
    with LiveViewer(None, RaySphere, port=8192) as viewer:
        start = time.perf_counter()
        for step in range(1000):
            viewer.update(step)
        assert time.perf_counter() - start < 1.0  # 1 ms per step
