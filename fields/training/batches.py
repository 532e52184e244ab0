"""Random rays through the training photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from captures import Capture, View
from captures.cameras import CameraModel

from ..rays import Rays, lens_rays
from .hull import spread

_MARGIN = 0.04
"""Rays pass the silhouettes of photos with alpha by up to this share of their height."""
_ANYWHERE = 0.05
"""Share of the rays that are drawn from whole photos even so."""


@dataclass(frozen=True)
class Batch:
    """R rays and what the photos show there."""

    rays: Rays
    """In the capture's frame."""
    colors: Float[Tensor, "R 3"]
    """sRGB in [0, 1], premultiplied by `alphas`."""
    alphas: Float[Tensor, "R"] | None
    """Opacity of the photos; None for opaque ones."""
    images: Int64[Tensor, "R"]
    """Position of each ray's photo among the training photos."""

    def over(self, background: Float[Tensor, "*rays 3"]) -> Float[Tensor, "R 3"]:
        """What the photos show over a background."""
        if self.alphas is None:
            return self.colors
        return self.colors + (1 - self.alphas)[:, None] * background


class RayBatches:
    """Rays drawn evenly from all pixels that count, in 8 bits: 3 or 4 bytes per pixel.

    Of photos with alpha, nearly all rays pass the silhouette or close by it: others see nothing.
    """

    def __init__(self, capture: Capture, count: int, *, seed: int) -> None:
        """
        Args:
            capture: Its training photos.
            count: Rays per batch.
            seed: Of the choice.

        Raises:
            ValueError: No training photo has a pixel that may be compared.
        """
        self._count = count
        self._generator = torch.Generator().manual_seed(seed)
        cameras = capture.cameras[list(capture.train)]
        self._model: CameraModel = cameras.model
        self._camtoworlds, self._Ks = cameras.camtoworlds.float(), cameras.Ks.float()
        pixels, near, sizes = [], [], []
        for index in capture.train:
            view = capture.view(index)
            pixels.append(_stored(view))
            near.append(_interesting(view))
            sizes.append((view.image.shape[0], view.image.shape[1]))
        self._pixels: UInt8[Tensor, "P 4"] = torch.cat(pixels)
        self._has_alpha = self._pixels.shape[1] == 4
        self._widths = torch.tensor([width for _, width in sizes])
        areas = torch.tensor([height * width for height, width in sizes])
        self._ends = areas.cumsum(0)
        self._starts = self._ends - areas
        valid = torch.cat([_valid(capture.view(index)) for index in capture.train])
        self._anywhere = None if bool(valid.all()) else valid.nonzero().flatten().int()
        self._near = (torch.cat(near) & valid).nonzero().flatten().int()
        if len(self._near) == 0:
            raise ValueError(
                f"{capture.source} has no training pixel to compare: all photos are fully "
                "transparent or masked."
            )

    def next(self) -> Batch:
        """The next batch."""
        few = round(self._count * _ANYWHERE) if self._has_alpha else 0
        near = torch.randint(len(self._near), (self._count - few,), generator=self._generator)
        total = len(self._pixels) if self._anywhere is None else len(self._anywhere)
        other = torch.randint(total, (few,), generator=self._generator)
        other = other if self._anywhere is None else self._anywhere[other].long()
        return self._at(torch.cat([self._near[near].long(), other]))

    def _at(self, chosen: Int64[Tensor, "R"]) -> Batch:
        image = torch.searchsorted(self._ends, chosen, right=True)
        inside = chosen - self._starts[image]
        width = self._widths[image]
        at = torch.stack([inside % width, inside // width], dim=1) + 0.5
        rays = lens_rays(self._model, self._camtoworlds[image], self._Ks[image], at)
        values = self._pixels[chosen].float() / 255
        return Batch(rays, values[:, :3], values[:, 3] if self._has_alpha else None, image)

    def state_dict(self) -> dict[str, Any]:
        """The random state."""
        return {"random": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken."""
        self._generator.set_state(state["random"])


def _stored(view: View) -> UInt8[Tensor, "P channels"]:
    channels = (
        view.image if view.alpha is None else torch.cat([view.image, view.alpha[..., None]], -1)
    )
    return (channels.flatten(0, 1) * 255).round().clamp(0, 255).byte()


def _valid(view: View) -> Bool[Tensor, "P"]:
    height, width = view.image.shape[:2]
    if view.mask is None:
        return torch.ones(height * width, dtype=torch.bool)
    return view.mask.flatten()


def _interesting(view: View) -> Bool[Tensor, "P"]:
    height, width = view.image.shape[:2]
    if view.alpha is None:
        return torch.ones(height * width, dtype=torch.bool)
    radius = max(2, round(_MARGIN * height))
    return spread(view.alpha > 0, radius).flatten()


def random_background(
    kind: str, batch: Batch, *, generator: torch.Generator
) -> Float[Tensor, "R 3"]:
    """What is behind the field on each ray of a batch.

    Args:
        kind: "black", "white", "random", or "auto": random behind photos with alpha, else black.
        batch: The rays.
        generator: Of random colors.
    """
    count = len(batch.rays)
    if kind == "random" or (kind == "auto" and batch.alphas is not None):
        return torch.rand(count, 3, generator=generator)
    return torch.full((count, 3), float(kind == "white"))
