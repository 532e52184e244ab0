"""Lenses: from a ray in front of the camera to the pixel of the original, distorted photo."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LensModel = Literal["opencv", "fisheye", "fov"]

_NUM_COEFFICIENTS: dict[LensModel, int] = {"opencv": 8, "fisheye": 8, "fov": 1}


@dataclass(frozen=True)
class Lens:
    """Intrinsics of one photo. Pixel centres lie at +0.5."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    fx: float
    """Focal length in pixels."""
    fy: float
    """Focal length in pixels."""
    cx: float
    """Principal point in pixels from the left edge."""
    cy: float
    """Principal point in pixels from the top edge."""
    model: LensModel = "opencv"
    """Which formula `distort` uses."""
    coefficients: tuple[float, ...] = (0.0,) * 8
    """opencv: k1 k2 p1 p2 k3 k4 k5 k6; fisheye: k1 k2 k3 k4 p1 p2 sx1 sy1; fov: omega.
    Missing trailing ones are zero."""

    def __post_init__(self) -> None:
        missing = _NUM_COEFFICIENTS[self.model] - len(self.coefficients)
        object.__setattr__(self, "coefficients", (*self.coefficients, *(0.0,) * missing))
        values = (self.fx, self.fy, self.cx, self.cy, *self.coefficients)
        if not all(map(math.isfinite, values)) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                f"camera intrinsics must be finite with positive focal lengths, "
                f"got fx {self.fx}, fy {self.fy}, cx {self.cx}, cy {self.cy}, "
                f"distortion {self.coefficients}."
            )

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines stay straight, so that nothing has to be undistorted."""
        return self.model == "opencv" and not any(self.coefficients)

    def K(self) -> Float[Tensor, "3 3"]:
        """Intrinsic matrix, float64."""
        rows = [[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]]
        return torch.tensor(rows, dtype=torch.float64)

    def resized(self, width: int, height: int) -> Lens:
        """The lens of the same photo resampled to another size."""
        across, down = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * across,
            fy=self.fy * down,
            cx=self.cx * across,
            cy=self.cy * down,
        )

    def undistorted(self) -> Lens:
        """The pinhole of the same size and intrinsics."""
        return replace(self, model="opencv", coefficients=())

    def distort(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Image-plane points (x / z, y / z) as the lens displaces them, in focal lengths.

        Reference: OpenCV, "Camera Calibration and 3D Reconstruction" (opencv) and "Fisheye camera
        model"; COLMAP `models.h` (thin-prism terms); Devernay and Faugeras, "Straight lines have
        to be straight", 2001, equation 13 (fov).
        """
        if self.model == "opencv":
            return self._distort_opencv(points)
        if self.model == "fisheye":
            return self._distort_fisheye(points)
        (omega,) = self.coefficients
        radius = points.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        # omega = 0 is the pinhole, the limit of the formula.
        bent = torch.atan(radius * 2 * math.tan(omega / 2)) / omega if omega else radius
        return points * bent / radius

    def _distort_opencv(self, points: Tensor) -> Tensor:
        k1, k2, p1, p2, k3, k4, k5, k6 = self.coefficients
        x, y = points.unbind(-1)
        r2 = x * x + y * y
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        return torch.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            ],
            dim=-1,
        )

    def _distort_fisheye(self, points: Tensor) -> Tensor:
        k1, k2, k3, k4, p1, p2, sx1, sy1 = self.coefficients
        radius = points.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        x, y = (points * torch.atan(radius) / radius).unbind(-1)
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
        return torch.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + sx1 * r2,
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + sy1 * r2,
            ],
            dim=-1,
        )

    def largest_radius(self) -> float:
        """The image-plane radius up to which the radial profile grows; infinite for most lenses.

        Beyond it a fitted polynomial folds back and would show the same content twice.
        """
        corner = math.hypot(self.width / self.fx, self.height / self.fy)
        radii = torch.linspace(0, corner, 2049, dtype=torch.float64)
        radial_only = replace(self, coefficients=self._radial_coefficients())
        along_x = torch.stack([radii, torch.zeros_like(radii)], dim=-1)
        shrinking = (radial_only.distort(along_x)[:, 0].diff() <= 0).nonzero()
        return float(radii[shrinking[0, 0]]) if len(shrinking) else math.inf

    def _radial_coefficients(self) -> tuple[float, ...]:
        c = self.coefficients
        if self.model == "opencv":
            return (c[0], c[1], 0.0, 0.0, *c[4:])
        return c[:4] if self.model == "fisheye" else c


def source_grid(lens: Lens) -> tuple[Float[Tensor, "H W 2"], Bool[Tensor, "H W"]]:
    """Where each pixel of the undistorted image lies in the original photo of the same size.

    Returns:
        Pixel coordinates (x, y), float32, centres at +0.5, and True where they fall into the photo.
    """
    y, x = torch.meshgrid(
        (torch.arange(lens.height, dtype=torch.float64) + 0.5 - lens.cy) / lens.fy,
        (torch.arange(lens.width, dtype=torch.float64) + 0.5 - lens.cx) / lens.fx,
        indexing="ij",
    )
    rays = torch.stack([x, y], dim=-1)
    distorted = lens.distort(rays)
    pixels = torch.stack(
        [distorted[..., 0] * lens.fx + lens.cx, distorted[..., 1] * lens.fy + lens.cy], dim=-1
    )
    size = torch.tensor([lens.width, lens.height], dtype=torch.float64)
    inside = ((pixels >= 0) & (pixels <= size)).all(dim=-1)
    inside &= rays.norm(dim=-1) < lens.largest_radius()
    return pixels.float(), inside
