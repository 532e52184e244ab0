"""Scores of a scene on the photos of a capture.

As in the evaluation of the 3DGS literature, render and photo are clamped and rounded to 8 bits
before they are compared, and means are taken over per-image values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras
from .capture import Capture, View
from .metrics import lpips_or_none, psnr, ssim
from .renderable import Renderable, RenderOutput

Background = Literal["black", "white"]
BACKGROUNDS: dict[Background, tuple[float, float, float]] = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}
"""sRGB colors that scenes are scored on."""


@dataclass(frozen=True)
class ImageScore:
    """One photo against its render."""

    name: str
    """Name of the photo."""
    psnr: float
    """Decibels."""
    ssim: float
    """At most 1."""
    lpips: float | None
    """Lower is better; None without its weights."""
    seconds: float
    """Wall time of rendering the colours."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a scene on a set of photos, and what they were measured on."""

    images: tuple[ImageScore, ...]
    """One per photo, in the order of the capture."""
    num_bytes: int
    """Size of the scene's file."""
    num_primitives: int | None
    """Gaussians or other parts; None for scenes that have none."""
    split: str
    """How the photos were chosen, in words."""
    resolution: str
    """How the photos were resampled, in words."""
    size: tuple[int, int]
    """Width and height in pixels of the canvas that fits every photo."""

    @property
    def psnr(self) -> float:
        """Mean over the images, decibels."""
        return fmean(image.psnr for image in self.images)

    @property
    def ssim(self) -> float:
        """Mean over the images."""
        return fmean(image.ssim for image in self.images)

    @property
    def lpips(self) -> float | None:
        """Mean over the images, None without the weights."""
        values = [image.lpips for image in self.images if image.lpips is not None]
        return fmean(values) if values else None

    @property
    def frames_per_second(self) -> float:
        """From the median time of an image; the first, which warms up, does not count."""
        seconds = [image.seconds for image in self.images]
        return 1 / max(median(seconds[1:] or seconds), 1e-9)

    @property
    def bits_per_primitive(self) -> float | None:
        """File bits by primitives."""
        return 8 * self.num_bytes / self.num_primitives if self.num_primitives else None


def evaluate(
    renderable: Renderable,
    capture: Capture,
    indices: Sequence[int] | None = None,
    *,
    frame: Literal["source", "capture"] = "source",
    background: Float[Tensor, "3"] | None = None,
    on_image: Callable[[int, View, RenderOutput], None] | None = None,
) -> Evaluation:
    """Render the cameras of some photos and compare.

    Args:
        renderable: The scene.
        capture: The photos; pixels outside their masks do not count.
        indices: Which photos; the held-out ones by default.
        frame: Frame of the scene: that of the capture's source, as in every written file, or the
            capture's own, as during training.
        background: sRGB behind the scene and behind transparent photos; black when None.
        on_image: Called with the index, the photo and a render of all channels, all on the CPU.

    Raises:
        ValueError: There is no photo to compare with.
    """
    chosen = list(capture.test if indices is None else indices)
    if not chosen:
        raise ValueError(
            "`indices` must name at least one image, got none; the capture holds out no image. "
            "Choose a smaller --test-every."
        )
    cameras = capture.cameras
    if frame == "source":
        cameras = capture.T_source_capture.apply_to_cameras(cameras)
    backdrop = torch.zeros(3) if background is None else background.cpu()
    scores = []
    for index in chosen:
        view = capture.view(index)
        seconds, rgb = _timed_render(renderable, cameras[index], backdrop)
        truth = to_8_bit(view.over(backdrop))[None]
        image = to_8_bit(rgb)[None]
        mask = None if view.mask is None else view.mask[None]
        perceptual = lpips_or_none(image, truth) if mask is None else None
        scores.append(
            ImageScore(
                name=capture.image_names[index],
                psnr=float(psnr(image, truth, mask=mask)),
                ssim=float(ssim(image, truth, mask=mask)),
                lpips=None if perceptual is None else float(perceptual),
                seconds=seconds,
            )
        )
        if on_image is not None:
            output = renderable.render(cameras[index], background=backdrop)
            on_image(index, view, _on_cpu(output))
    return Evaluation(
        images=tuple(scores),
        num_bytes=renderable.num_bytes,
        num_primitives=getattr(renderable, "num_primitives", None),
        split=capture.split,
        resolution=capture.resolution,
        size=(capture.cameras.width, capture.cameras.height),
    )


def preview_scores(
    renderable: Renderable, capture: Capture, *, setting: str | None = None, views: int = 4
) -> dict[str, float]:
    """Mean PSNR over the first held-out photos, cheap enough for a progress bar.

    Args:
        renderable: In the capture's own frame.
        capture: The photos.
        setting: What the scene is trained on, see `choose_background`.
        views: Most photos looked at.

    Returns:
        "psnr" in decibels; nothing where no photo is held out.
    """
    background = torch.tensor(BACKGROUNDS[choose_background(capture, setting)])
    scores = []
    for index in capture.test[:views]:
        view, camera = capture.view(index), capture.cameras[index]
        output = renderable.render(camera, channels=("rgb",), background=background)
        image = output.channel("rgb")[0].cpu()
        scores.append(float(psnr(image, view.over(background), mask=view.mask)))
    return {"psnr": fmean(scores)} if scores else {}


def choose_background(capture: Capture, setting: str | None = None) -> Background:
    """What a scene is scored on: the setting it was trained with where that is one color.

    Otherwise white behind photos with alpha, as the literature scores NeRF-synthetic, and black
    behind opaque ones, where it shows only through holes in the scene.

    Args:
        capture: The photos.
        setting: "black", "white", or anything else (random, auto) that leaves the choice open.
    """
    for name in BACKGROUNDS:
        if setting == name:
            return name
    held_out = capture.test or capture.train
    transparent = any(capture.view(index).alpha is not None for index in held_out[:1])
    return "white" if transparent else "black"


def to_8_bit(image: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Values clamped to [0, 1] and rounded to multiples of 1/255, as a PNG file holds them."""
    return (image.clamp(0, 1) * 255 + 0.5).floor() / 255


def _timed_render(
    renderable: Renderable, camera: Cameras, background: Tensor
) -> tuple[float, Tensor]:
    """Seconds and colours [H, W, 3] on the CPU; waiting for a GPU is part of the time."""
    started = time.perf_counter()
    output = renderable.render(camera, channels=("rgb",), background=background)
    rgb = output.channel("rgb")[0].cpu()
    return time.perf_counter() - started, rgb


def _on_cpu(output: RenderOutput) -> RenderOutput:
    parts = (output.rgb, output.alpha, output.depth)
    return RenderOutput(*(None if part is None else part.cpu() for part in parts))
