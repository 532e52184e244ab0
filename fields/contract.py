"""What a radiance field offers, and what renders one along rays.

A field is a function of position (and direction) with named channels; where samples lie on a ray
and how they blend is not its business. Whatever draws a picture is a `RayRenderer`: the general one
in `fields.rendering` joins any field to any sampler, and a field with a faster way of its own (all
steps in one kernel) offers that instead.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from .rays import Rays
from .volume import RayColors

Channel = Literal["density", "color", "sdf"]


@runtime_checkable
class Field(Protocol):
    """A volume of density and colour. All lengths are in world units."""

    @property
    def channels(self) -> frozenset[Channel]:
        """What can be asked of it: "density" and "color" always, "sdf" where there is a surface."""
        ...

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners (min, max) of the box outside of which the density is zero, world units."""
        ...

    def density(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Density per world unit of length, non-negative; 0 outside of `bounds`."""
        ...

    def color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> Float[Tensor, "*batch 3"]:
        """sRGB in [0, 1] seen at `points` along the unit `directions` (from the camera away)."""
        ...

    def density_and_color(
        self, points: Float[Tensor, "*batch 3"], directions: Float[Tensor, "*batch 3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch 3"]]:
        """Both at once, which shares most of the work."""
        ...


@runtime_checkable
class SurfaceField(Field, Protocol):
    """A field with the channel "sdf"."""

    def sdf(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Signed distance to the surface, world units, negative inside."""
        ...


@runtime_checkable
class RayRenderer(Protocol):
    """Colours along rays."""

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners of the box with the visible content, world units."""
        ...

    @property
    def num_bytes(self) -> int:
        """Size of the parameters as held."""
        ...

    @property
    def num_primitives(self) -> int:
        """Leaves, tensors, table entries or whatever the field is made of."""
        ...

    def render_rays(self, rays: Rays) -> RayColors:
        """Premultiplied colours, opacities and distances of rays; differentiable for training."""
        ...
