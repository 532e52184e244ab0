"""The protocol between representations and everything that looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras

Channel = Literal["rgb", "alpha", "depth"]


@dataclass(frozen=True)
class RenderOutput:
    """Images of C cameras, float32; a channel that was not asked for is None."""

    rgb: Float[Tensor, "C H W 3"] | None = None
    """sRGB colour over the background, nominally in [0, 1] but not clamped."""
    alpha: Float[Tensor, "C H W 1"] | None = None
    """Coverage in [0, 1]."""
    depth: Float[Tensor, "C H W 1"] | None = None
    """Expected z-depth in world units, 0 where nothing is hit."""

    def channel(self, name: Channel) -> Float[Tensor, "C H W D"]:
        """A channel that was asked for; ValueError if the scene did not render it."""
        found = getattr(self, name)
        if found is None:
            raise ValueError(
                f"The scene rendered no {name}, which was asked for; its class must return every "
                "channel that `channels` names."
            )
        return found


@runtime_checkable
class Renderable(Protocol):
    """Anything that can be looked at: splats, fields, decoded assets, meshes."""

    def render(
        self,
        cameras: Cameras,
        *,
        channels: Sequence[Channel] = ("rgb", "alpha", "depth"),
        background: Float[Tensor, "3"] | None = None,
    ) -> RenderOutput:
        """Images from `cameras` over `background` (black when None)."""
        ...

    def bounds(self) -> Float[Tensor, "2 3"]:
        """Corners (min, max) of the region that holds the visible content, world units."""
        ...

    @property
    def num_bytes(self) -> int:
        """Size of the parameters in bytes as held, or of the file they came from."""
        ...
