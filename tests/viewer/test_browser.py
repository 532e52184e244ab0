"""The whole viewer in headless Chromium."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scenes import RaySphere

pytest.importorskip("viser", reason="viser is not installed")

from viewer import LiveViewer, NamedScene, SceneViewer

FLAGS = (
    "--headless=new --no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader "
    "--disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --remote-debugging-port=0 --window-size=800,500"
).split()


class Page:
    """One browser page over the DevTools protocol."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        with urllib.request.urlopen(f"http://{address}/json") as answer:
            pages = [item for item in json.load(answer) if item["type"] == "page"]
        self._socket = connect(pages[0]["webSocketDebuggerUrl"], max_size=None)
        self._calls = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._calls:
                return message["result"]

    def picture(self) -> np.ndarray:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def text(self) -> str:
        result = self.call("Runtime.evaluate", expression="document.body.innerText")
        return str(result["result"].get("value", ""))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            found = re.search(r"DevTools listening on ws://([^/]+)/", line)
            if found:
                break
        else:
            pytest.skip("chromium did not start")
        yield Page(found.group(1))
    finally:
        process.terminate()
        process.wait()


def wait_for(condition: Any, seconds: float = 40) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the browser did not show it in time"
        time.sleep(0.3)


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
