"""A batch of cameras: poses, intrinsics, image size and lens model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .checks import ensure_shape

CameraModel = Literal["pinhole", "ortho", "fisheye"]


@dataclass(frozen=True)
class Cameras:
    """C cameras that share one projection model; see docs/conventions.md for the frames."""

    viewmats: Float[Tensor, "C 4 4"]
    """World-to-camera matrices, OpenCV axes (x right, y down, z forward), float64."""
    Ks: Float[Tensor, "C 3 3"]
    """Intrinsics in pixels, float64; pixel centres lie at +0.5."""
    width: int
    """Width in pixels of the canvas that fits every image."""
    height: int
    """Height in pixels of the canvas that fits every image."""
    model: CameraModel = "pinhole"
    """Projection model after undistortion."""
    distortion: Float[Tensor, "C D"] | None = None
    """OpenCV distortion (k1, k2, p1, p2[, k3..k6]; fisheye: k1..k4); None once undistorted."""
    sizes: Int[Tensor, "C 2"] | None = None
    """Each image's own (width, height) where they differ from the canvas, top-left aligned."""

    def __post_init__(self) -> None:
        ensure_shape("viewmats", self.viewmats, ("C", 4, 4), "append the row 0 0 0 1.")
        ensure_shape("Ks", self.Ks, (len(self.viewmats), 3, 3))
        if not torch.isfinite(self.viewmats).all():
            bad = (
                (~torch.isfinite(self.viewmats).flatten(1).all(dim=1)).nonzero().flatten().tolist()
            )
            raise ValueError(
                f"`viewmats` must be finite, got NaN or infinity in cameras {bad[:10]}."
            )

    def __len__(self) -> int:
        return len(self.viewmats)

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Cameras:
        """The chosen cameras; a single one (int) has exactly its own image's size."""
        if isinstance(index, int):
            index = index % len(self)  # negative indices count from the end
            width, height = self.size(index)
            chosen = self[[index]]
            return replace(chosen, width=width, height=height, sizes=None)
        return replace(
            self,
            viewmats=self.viewmats[index],
            Ks=self.Ks[index],
            distortion=None if self.distortion is None else self.distortion[index],
            sizes=None if self.sizes is None else self.sizes[index],
        )

    def size(self, index: int) -> tuple[int, int]:
        """(width, height) in pixels of one camera's image."""
        if self.sizes is None:
            return self.width, self.height
        width, height = self.sizes[index].tolist()
        return width, height

    @property
    def camtoworlds(self) -> Float[Tensor, "C 4 4"]:
        """Camera-to-world matrices, the inverses of `viewmats`."""
        return torch.linalg.inv(self.viewmats)

    @property
    def positions(self) -> Float[Tensor, "C 3"]:
        """Camera centres in world coordinates."""
        return self.camtoworlds[:, :3, 3]

    def resized(self, width: int, height: int) -> Cameras:
        """The same views on a canvas of another size; intrinsics scale with it."""
        scale = torch.tensor([width / self.width, height / self.height, 1.0], dtype=self.Ks.dtype)
        sizes = self.sizes
        if sizes is not None:
            sizes = (sizes * scale[:2]).round().to(sizes.dtype).clamp(min=1)
        return replace(self, Ks=self.Ks * scale[:, None], width=width, height=height, sizes=sizes)
