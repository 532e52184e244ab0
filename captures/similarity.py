"""Similarity transforms: rotation, translation and one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras


def _eye() -> Tensor:
    return torch.eye(3, dtype=torch.float64)


def _zero() -> Tensor:
    return torch.zeros(3, dtype=torch.float64)


@dataclass(frozen=True)
class Similarity:
    """x_target = scale * rotation @ x_source + translation, float64."""

    scale: float = 1.0
    """Length in the target frame of one source unit, > 0."""
    rotation: Float[Tensor, "3 3"] = field(default_factory=_eye)
    """Proper rotation matrix."""
    translation: Float[Tensor, "3"] = field(default_factory=_zero)
    """Where the source origin lies in the target frame."""

    def apply(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """`points` moved from the source to the target frame, in their own dtype."""
        rotation = self.rotation.to(points)
        return self.scale * points @ rotation.T + self.translation.to(points)

    def inverse(self) -> Similarity:
        """The transform from the target back to the source frame."""
        rotation = self.rotation.T
        return Similarity(1 / self.scale, rotation, -(rotation @ self.translation) / self.scale)

    def compose(self, inner: Similarity) -> Similarity:
        """`self` after `inner`."""
        return Similarity(
            self.scale * inner.scale,
            self.rotation @ inner.rotation,
            self.apply(inner.translation),
        )

    def matrix(self) -> Float[Tensor, "4 4"]:
        """Homogeneous matrix with the scale inside its upper left block."""
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3] = self.scale * self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    def apply_to_cameras(self, cameras: Cameras) -> Cameras:
        """The same cameras seen from the target frame; images are unchanged."""
        rotations = cameras.viewmats[:, :3, :3] @ self.rotation.T
        viewmats = cameras.viewmats.clone()
        viewmats[:, :3, :3] = rotations
        viewmats[:, :3, 3] = self.scale * cameras.viewmats[:, :3, 3] - rotations @ self.translation
        return replace(cameras, viewmats=viewmats)

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the headers of files."""
        return {
            "scale": self.scale,
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Similarity:
        """What `to_json` wrote.

        Raises:
            ValueError: A part is missing, or of another shape.
        """
        try:
            rotation = torch.tensor(value["rotation"], dtype=torch.float64)
            translation = torch.tensor(value["translation"], dtype=torch.float64)
            scale = float(value["scale"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"no similarity, `scale`, `rotation`, `translation`: {error}."
            ) from None
        if rotation.shape != (3, 3) or translation.shape != (3,):
            raise ValueError(
                "a similarity must hold a 3 x 3 `rotation` and 3 numbers of `translation`, got "
                f"{list(rotation.shape)} and {list(translation.shape)}."
            )
        return cls(scale, rotation, translation)
