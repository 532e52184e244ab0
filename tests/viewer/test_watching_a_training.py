"""`fieldwright train splats --view` with a browser on it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Page, wait_for
from PIL import Image

pytest.importorskip("viser", reason="viser is not installed")

from captures import SparsePoints, write_colmap
from captures.paths import cameras_around, orbit_path

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = "train splats --data photos --out run --max-steps 99999 --num-threads 1 --view --port 8195"


@pytest.mark.slow
def test_browser_shows_the_training_which_outlives_it(page: Page, tmp_path: Path) -> None:
    write_red_photos(tmp_path / "photos")
    training = subprocess.Popen(
        [sys.executable, "-u", "-m", "scripts.main", *TRAIN.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert training.stdout is not None
    try:
        url = next(filter(None, (re.search(r"Open (http\S+)", line) for line in training.stdout)))
        page.call("Page.navigate", url=url.group(1))
        wait_for(lambda: re.search(r"Step [1-9]", page.text()) is not None)

        def shows_red() -> bool:
            image = page.picture().astype(int)
            # Low and left of the panel: notices of viser cover the upper left.
            pixel = image[image.shape[0] * 3 // 4, image.shape[1] // 3]
            return bool(pixel[0] > 150 and pixel[1:].max() < 90)

        wait_for(shows_red)
        page.call("Page.close")
        training.send_signal(signal.SIGTERM)
        rest, _ = training.communicate(timeout=60)
    finally:
        training.kill()
        training.wait()
    assert training.returncode == 0 and "Trained" in rest
    assert (tmp_path / "run" / "scene.ply").is_file()


def write_red_photos(folder: Path) -> None:
    """A capture of nine red photos around the unit cube, with points on a ball in it."""
    (folder / "images").mkdir(parents=True)
    names = [f"{index}.png" for index in range(9)]
    for name in names:
        Image.new("RGB", (64, 48), (220, 20, 20)).save(folder / "images" / name)
    around = cameras_around(torch.tensor([[-1.0] * 3, [1.0] * 3]), width=64, height=48)
    directions = np.random.default_rng(0).normal(size=(1500, 3))
    positions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    red = torch.tensor([0.8, 0.1, 0.1]).expand(1500, 3)
    points = SparsePoints(torch.from_numpy(positions).float(), red)
    write_colmap(folder, orbit_path(around, 9), names, points)
