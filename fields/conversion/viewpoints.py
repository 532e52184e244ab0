"""Cameras for conversions: those of the capture, or some all around."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras, Capture, Renderable
from captures.paths import look_at
from splats.formats.cameras import automatic_cameras
from splats.scene import SplatScene

_FOV_DEG = 45.0
HELD_OUT_EVERY = 8
"""Every so many-th camera is kept for measuring the loss."""


def viewpoints(
    scene: Renderable, capture: Capture | None, *, count: int, width: int, height: int
) -> Cameras:
    """Pinhole cameras that see a scene, in its frame.

    Args:
        scene: What to look at.
        capture: Where it comes from: its cameras are taken, at their size; None takes automatic
            ones for splats, and for meshes and fields cameras all around their bounds.
        count: Number of cameras where there is no capture.
        width: Their width in pixels.
        height: Their height in pixels.
    """
    if capture is not None:
        return capture.T_source_capture.apply_to_cameras(capture.cameras)
    if isinstance(scene, SplatScene):
        return automatic_cameras(scene, count, width=width, height=height)
    return cameras_on_sphere(scene.bounds(), count, width=width, height=height)


def cameras_on_sphere(
    bounds: Float[Tensor, "2 3"], count: int, *, width: int, height: int
) -> Cameras:
    """Cameras on a sphere around a box, evenly spread (Fibonacci lattice), that see all of it."""
    low, high = bounds.double().cpu()
    center, radius = (low + high) / 2, float((high - low).norm()) / 2 or 1.0
    focal = 0.5 * min(width, height) / math.tan(math.radians(_FOV_DEG) / 2)
    distance = 1.02 * radius / math.sin(math.radians(_FOV_DEG) / 2)
    place = torch.arange(count, dtype=torch.float64)
    z = 1 - (2 * place + 1) / count
    turn = place * math.pi * (3 - math.sqrt(5))
    ring = (1 - z**2).sqrt()
    away = torch.stack([ring * turn.cos(), ring * turn.sin(), z], dim=1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    K = torch.tensor(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64
    )
    viewmats = look_at(center + distance * away, center, up)
    return Cameras(viewmats, K.repeat(count, 1, 1), width, height)


def split(cameras: Cameras) -> tuple[Cameras, Cameras]:
    """Those to convert with, and those to measure with: every eighth, at least one."""
    test = list(range(0, len(cameras), HELD_OUT_EVERY))
    train = [index for index in range(len(cameras)) if index not in test] or test
    return cameras[train], cameras[test]
