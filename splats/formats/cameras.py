"""Cameras for scenes that come without any: around objects, inside rooms."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from captures import Cameras
from captures.paths import look_at

from ..gaussians import Gaussians
from ..scene import SplatScene
from .importance import visible_importance

_FOV_DEG = 50.0
_CORE_SHARE = 0.7  # of the importance lies in what the cameras frame
_ELEVATIONS_DEG = (12.0, 35.0)
_MARGIN = 1.3
_PROBE_SIZE = 48
_CLEAR = 0.6  # of the way to the middle of the scene must be free
_STEPS_INWARD = 5
_SAMPLE = 200_000
_GOLDEN_TURN = math.pi * (3 - math.sqrt(5))


def automatic_cameras(
    scene: SplatScene, num_cameras: int, *, width: int, height: int, margin: float = _MARGIN
) -> Cameras:
    """Cameras around what matters in a scene with axes RDF (up is -y).

    They stand on two rings around the part that holds most of the importance (opacity times area,
    at most the median), so that neither a far background nor stray Gaussians push them away. Where
    walls or foliage hide that part, a camera moves in until its view is clear; one that never
    finds a clear view stands in the middle and looks outwards, as in a room.

    Args:
        scene: With at least one Gaussian.
        num_cameras: One or more.
        width: Image width in pixels.
        height: Image height in pixels.
        margin: Radius of the ball that fits into a picture, over that of the part that matters;
            above 1 a picture shows what lies around it.
    """
    center, radius = core(scene.gaussians)
    focal = 0.5 * max(width, height) / math.tan(math.radians(_FOV_DEG) / 2)
    distance = margin * radius / math.sin(math.atan(0.5 * min(width, height) / focal))
    up = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    viewmats = []
    for index in range(num_cameras):
        azimuth = index * _GOLDEN_TURN
        elevation = math.radians(_ELEVATIONS_DEG[index % len(_ELEVATIONS_DEG)])
        away = torch.tensor(
            [
                math.cos(elevation) * math.sin(azimuth),
                -math.sin(elevation),
                -math.cos(elevation) * math.cos(azimuth),
            ],
            dtype=torch.float64,
        )
        viewmats.append(_clear_view(scene, center, away, distance, radius, up))
    K = torch.tensor(
        [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64
    )
    return Cameras(torch.stack(viewmats), K.repeat(num_cameras, 1, 1), width, height)


def core(gaussians: Gaussians) -> tuple[Float[Tensor, "3"], float]:
    """Center and radius of the ball that holds most of a scene's importance, float64."""
    step = max(1, len(gaussians) // _SAMPLE)
    sample = gaussians[::step]
    means = sample.means.detach().double().cpu()
    weights = visible_importance(sample).detach().double().cpu()
    # A background is drawn with few but huge Gaussians, which shall not outweigh the rest.
    weights = weights.clamp(max=float(weights.median()))
    if float(weights.sum()) <= 0:
        weights = torch.ones_like(weights)
    center = torch.stack([_weighted_quantile(means[:, i], weights, 0.5) for i in range(3)])
    radius = float(_weighted_quantile((means - center).norm(dim=1), weights, _CORE_SHARE))
    return center, radius or float(sample.log_scales.exp().max()) or 1.0


def _weighted_quantile(
    values: Float[Tensor, "N"], weights: Float[Tensor, "N"], share: float
) -> Float[Tensor, ""]:
    order = values.argsort()
    place = torch.searchsorted(weights[order].cumsum(0), share * weights.sum())
    return values[order[min(int(place), len(values) - 1)]]


def _clear_view(
    scene: SplatScene,
    center: Float[Tensor, "3"],
    away: Float[Tensor, "3"],
    distance: float,
    radius: float,
    up: Float[Tensor, "3"],
) -> Float[Tensor, "4 4"]:
    reach = distance
    for _ in range(_STEPS_INWARD):
        viewmat = look_at((center + reach * away)[None], center, up)[0]
        seen = _median_depth(scene, viewmat)
        if seen is None or seen > _CLEAR * (reach - radius) or reach <= radius:
            return viewmat
        reach *= 0.7
    return look_at(center[None], center + radius * away, up)[0]


def _median_depth(scene: SplatScene, viewmat: Float[Tensor, "4 4"]) -> float | None:
    """Median depth of what a small image shows; None where it shows next to nothing."""
    focal = 0.5 * _PROBE_SIZE / math.tan(math.radians(_FOV_DEG) / 2)
    half = _PROBE_SIZE / 2
    K = torch.tensor([[[focal, 0, half], [0, focal, half], [0, 0, 1]]], dtype=torch.float64)
    cameras = Cameras(viewmat[None], K, _PROBE_SIZE, _PROBE_SIZE)
    output = scene.render(cameras, channels=("alpha", "depth"))
    if output.alpha is None or output.depth is None:
        return None
    solid = output.alpha[..., 0] > 0.5
    return float(output.depth[..., 0][solid].median()) if bool(solid.any()) else None
