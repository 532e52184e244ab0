"""What a change of a scene does to pictures of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from captures import Cameras, Capture

from ..formats.cameras import automatic_cameras
from ..formats.rendered import render_pictures
from ..gaussians import Gaussians
from ..scene import SplatScene, near_plane
from .contribution import apparent_area, blending_weights, halved

_LARGE = 300_000
_VIEWS, _VIEWS_LARGE = 6, 2
_WIDTH, _HEIGHT = 360, 270
_MARGIN = 0.65
"""The scene fills the pictures, as it fills photos: seen from farther off, rounding shows less than
it does in photos."""
SMALLEST_ERROR = 1e-5
"""Of photos: 50 dB, which is beyond what photos can tell."""


class Judge:
    """Compares variants of a scene with the scene by rendering both."""

    def __init__(
        self, scene: SplatScene, cameras: Cameras, *, weighed: Cameras | None = None
    ) -> None:
        """
        Args:
            scene: What is right.
            cameras: In its frame; at least one.
            weighed: Cameras beyond which nothing matters, such as all of a capture, by which
                Gaussians are weighed; None where there are none.
        """
        near = near_plane(scene.gaussians) if scene.near is None else scene.near
        self.scene, self.cameras, self.weighed = replace(scene, near=near), cameras, weighed
        self._truth = render_pictures(self.scene, cameras)

    def error(self, gaussians: Gaussians) -> float:
        """Mean squared difference of pictures, with colors in [0, 1] over black."""
        images = render_pictures(replace(self.scene, gaussians=gaussians), self.cameras)
        return float((images - self._truth).square().mean(dtype=torch.float64))

    def weights(self) -> Float[Tensor, "N"]:
        """How much each Gaussian contributes to pictures; where no cameras are known to be all,
        to those from anywhere about the scene's middle, were nothing hidden."""
        if self.weighed is not None:
            return blending_weights(self.scene.gaussians, halved(self.weighed))
        return apparent_area(self.scene.gaussians)


def judge_without_photos(scene: SplatScene) -> Judge:
    """A judge with automatically placed cameras."""
    return Judge(scene, close_cameras(scene))


def close_cameras(scene: SplatScene) -> Cameras:
    """Views that the scene fills, few for large scenes."""
    count = _VIEWS_LARGE if len(scene.gaussians) > _LARGE else _VIEWS
    return automatic_cameras(scene, count, width=_WIDTH, height=_HEIGHT, margin=_MARGIN)


def error_of_loss(loss: float, *, error: float) -> float:
    """The error between two scenes that costs `loss` dB against photos.

    Errors of rounding are independent of what a scene misses of its photos, so that their squares
    add up: loss = 10 log10((error + e) / error).

    Args:
        loss: Decibels of PSNR, positive.
        error: Mean squared difference of the scene from photos.
    """
    return error * (10 ** (loss / 10) - 1)


def photo_error(
    scene: SplatScene, capture: Capture, indices: Sequence[int], cameras: Cameras
) -> float:
    """Mean squared difference of renders over black from photos, where their masks let it count.

    The geometric mean over photos, as scores average decibels: one photo of another light or a
    wrong pose, whose error is many times that of the others, says little of what rounding may add.

    Args:
        scene: In the frame of `cameras`.
        capture: The photos.
        indices: Which photos.
        cameras: All of the capture's, in any frame.
    """
    black, logs = torch.zeros(3), []
    for index in indices:
        view = capture.view(index)
        image = scene.render(cameras[[index]], channels=("rgb",), background=black).rgb
        assert image is not None
        squared = (image[0].clamp(0, 1) - view.over(black)).square().mean(dim=-1)
        counted = squared if view.mask is None else squared[view.mask]
        if counted.numel():
            logs.append(math.log(max(float(counted.mean()), SMALLEST_ERROR)))
    return math.exp(sum(logs) / len(logs)) if logs else SMALLEST_ERROR


def decibels(error: float) -> float:
    """PSNR of a mean squared error, at most 100."""
    return min(100.0, -10 * math.log10(max(error, 1e-10)))


def best_growth(
    judge: Judge, gaussians: Gaussians, rows: Int64[Tensor, "M"], choices: tuple[float, ...]
) -> float:
    """The factor on all scales at which some Gaussians alone look most like the scene."""
    return min(choices, key=_error_when_grown(judge, gaussians[rows]))


def _error_when_grown(judge: Judge, gaussians: Gaussians) -> Callable[[float], float]:
    def error(growth: float) -> float:
        return judge.error(grown(gaussians, growth))

    return error


def grown(gaussians: Gaussians, growth: float) -> Gaussians:
    """With all standard deviations multiplied by `growth`."""
    return Gaussians(
        gaussians.means,
        gaussians.quats,
        gaussians.log_scales + math.log(growth),
        gaussians.logit_opacities,
        gaussians.sh0,
        gaussians.shN,
    )
