"""What a rasterization backend implements: four steps, each differentiable through autograd.

The front (`rasterization.py`) checks arguments, flattens batch dimensions and chooses render
modes; a backend only ever sees one set of N Gaussians and C cameras, with checked shapes and
one dtype and device. `reference.py` defines the mathematics of every step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int32
from torch import Tensor

CameraModel = Literal["pinhole", "ortho", "fisheye"]

ALPHA_THRESHOLD = 1 / 255
"""A Gaussian whose alpha at a pixel is below this is skipped there."""
MAX_ALPHA = 0.99
"""Alphas are clamped to this, so that transmittance never becomes zero."""
MIN_TRANSMITTANCE = 1e-4
"""A pixel stops before the first Gaussian that would bring its transmittance to this or below."""
MAX_EXTENT = 3.33
"""Largest half-size of a Gaussian's box in standard deviations: sqrt(2 ln 255), rounded up."""
MIN_COMPENSATION = 1e-6
"""Floor of the anti-aliasing factor, which bounds its gradient for degenerate covariances."""
MAX_CHANNELS = 4
"""Most channels the front hands to one `Backend.composite` call."""


@dataclass(frozen=True, slots=True)
class Projection:
    """N Gaussians on the image planes of C cameras; all rows of culled ones are zero."""

    radii: Int32[Tensor, "C N 2"]
    """Half-sizes (x, y) in whole pixels of the box where alpha can reach 1/255; 0 if culled."""
    means2d: Float[Tensor, "C N 2"]
    """Projected centres, pixels; pixel centres are at +0.5."""
    depths: Float[Tensor, "C N"]
    """Depth along the camera's z axis, world units."""
    conics: Float[Tensor, "C N 3"]
    """(a, b, c) of the inverse 2-D covariance [[a, b], [b, c]], per square pixel."""
    compensations: Float[Tensor, "C N"] | None
    """sqrt(det(cov) / det(cov + eps2d I)), at least 1e-6; only for anti-aliased rendering."""


@runtime_checkable
class Backend(Protocol):
    """The steps of rasterization in the order in which the front calls them."""

    def project(
        self,
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"] | None,
        scales: Float[Tensor, "N 3"] | None,
        covars: Float[Tensor, "N 3 3"] | None,
        opacities: Float[Tensor, "N"],
        viewmats: Float[Tensor, "C 4 4"],
        Ks: Float[Tensor, "C 3 3"],
        width: int,
        height: int,
        *,
        eps2d: float,
        near_plane: float,
        far_plane: float,
        radius_clip: float,
        antialiased: bool,
        camera_model: CameraModel,
    ) -> Projection:
        """Project and cull. Either `covars` is given, or `quats` (any length) and `scales` are.

        The half-size is ceil(min(3.33, sqrt(2 ln(255 o))) sqrt(cov_ii)) with o the opacity, times
        the compensation if `antialiased`. Culled (radii 0, all else 0) are Gaussians with o below
        1/255, z outside [near_plane, far_plane], a covariance that is not positive definite,
        non-finite values, both half-sizes <= `radius_clip`, or a box that misses the image.
        Gradients reach means, quats, scales or covars, opacities (through nothing here) and
        `viewmats` (rows 0 to 2), not `Ks`.
        """
        ...

    def spherical_harmonics(
        self,
        degree: int,
        means: Float[Tensor, "N 3"],
        viewmats: Float[Tensor, "C 4 4"],
        coefficients: Float[Tensor, "*C N K 3"],
        rest: Float[Tensor, "N rest 3"] | None,
        radii: Int32[Tensor, "C N 2"],
    ) -> Float[Tensor, "C N 3"]:
        """Colours max(0, 0.5 + SH(direction)), zero for culled Gaussians.

        The direction runs from the camera centre -R^T t (`viewmats` are rigid) to the mean.
        `coefficients` are [N, K, 3] for all cameras or [C, N, K, 3]; of the K >= (degree + 1)^2
        only the first (degree + 1)^2 are used. Where `rest` is given it holds those from degree 1
        on and `coefficients` are [N, 1, 3]. Gradients reach means, viewmats and coefficients.
        """
        ...

    def bin(
        self,
        means2d: Float[Tensor, "C N 2"],
        conics: Float[Tensor, "C N 3"],
        opacities: Float[Tensor, "C N"],
        depths: Float[Tensor, "C N"],
        radii: Int32[Tensor, "C N 2"],
        width: int,
        height: int,
        *,
        tile_size: int,
        tile_masks: Bool[Tensor, "C tile_height tile_width"] | None,
    ) -> Any:
        """Whatever `composite` shares between channel chunks: depth order, tile lists, sizes.

        Opaque to the front, without gradients. The order is ascending depth, ties by index.
        `tile_masks` has one entry per `tile_size` x `tile_size` pixels; False leaves only the
        background. A backend may use tiles of another size inside.
        """
        ...

    def composite(
        self,
        bins: Any,
        means2d: Float[Tensor, "C N 2"],
        conics: Float[Tensor, "C N 3"],
        colors: Float[Tensor, "C N D"],
        opacities: Float[Tensor, "C N"],
        *,
        background: Float[Tensor, "C D"] | None,
        absgrad: Float[Tensor, "C N 2"] | None,
    ) -> tuple[Float[Tensor, "C H W D"], Float[Tensor, "C H W 1"]]:
        """Blend D <= 4 channels front to back; images (background included) and alphas.

        `absgrad`, if given, is a buffer to which backward adds, per Gaussian, the sum over pixels
        of |d loss / d means2d|. Gradients reach means2d, conics, colors, opacities, background.
        `colors` and `opacities` may be expanded views (stride 0).
        """
        ...
