"""Training on CUDA: as on the CPU at the start, as good at the end, in files that both read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captures import Capture, psnr
from fields.scene_files import open_scene
from splats.compact.c3dgs import C3dgsConfig, C3dgsMethod
from splats.compact.compact3d import Compact3dConfig, Compact3dMethod
from splats.compact.compact_config import CompactConfig
from splats.compact.compact_method import CompactMethod
from splats.training.config import SplatsConfig
from splats.training.method import SplatsMethod

from .test_compact_methods import cameras, capture, image  # noqa: F401  a fixture

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
STEPS = 200
METHODS = {
    "splats": (SplatsMethod, SplatsConfig, {}),
    "splats, default strategy": (SplatsMethod, SplatsConfig, {"strategy": "default"}),
    "c3dgs": (C3dgsMethod, C3dgsConfig, {"grid_levels": 4}),
    "compact3d": (Compact3dMethod, Compact3dConfig, {"codes": 64, "codes_sh": 16}),
    "compact": (CompactMethod, CompactConfig, {}),
}


def held_out_psnr(scene: object, capture: Capture) -> float:  # noqa: F811
    """Mean over the test views, in decibels."""
    found = []
    for index in capture.test:
        view = capture.view(index)
        found.append(psnr(image(scene, cameras()[index]).cpu(), view.image))
    return sum(found) / len(found)


@pytest.mark.parametrize("name", list(METHODS))
def test_cuda_trains_what_the_cpu_trains(capture: Capture, name: str, tmp_path: Path) -> None:  # noqa: F811
    """Equal first losses; random numbers and sums differ after that, quality does not."""
    kind, config, own = METHODS[name]
    settings = config(num_init=300, max_gaussians=400, init="random", background="black", **own)
    first, reached = {}, {}
    for device in ("cpu", "cuda"):
        trainee = kind.create(settings, capture, device=torch.device(device), seed=1)
        losses = [trainee.step(step, step / STEPS)["loss"] for step in range(STEPS)]
        first[device] = float(losses[0])
        reached[device] = held_out_psnr(trainee.renderable(), capture)
    assert first["cuda"] == pytest.approx(first["cpu"], rel=1e-4)
    assert reached["cuda"] > reached["cpu"] - 1.0
    moved = capture.T_source_capture.apply_to_cameras(capture.cameras)
    trainee.save_scene(tmp_path / "scene.ply")
    for file in tmp_path.glob("*.fwa"):
        for device in ("cpu", "cuda"):
            scene = open_scene(file, device=torch.device(device))
            shown = image(scene, moved[0]).cpu()
            assert psnr(shown, image(trainee.renderable(), cameras()[0]).cpu()) > 40
