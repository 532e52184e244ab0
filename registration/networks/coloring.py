"""Point networks as invariant colors of a cloud, saved and loaded without pickle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from runs.files import replacing

from ..preparation import Prepared
from ..ume import RADIUS
from .deep_sets import DeepSetsBackbone
from .gatr import GatrBackbone
from .geometric_attention import GeometricAttentionBackbone
from .ponita import PonitaBackbone
from .shape_backbone import ShapeBackbone

BackboneName = Literal["shape", "deep-sets", "geometric-attention", "gatr", "ponita"]
"""What can color a cloud: kinds of local shape, or one of the networks."""

BACKBONES: dict[str, Callable[..., nn.Module]] = {
    "deep-sets": DeepSetsBackbone,
    "geometric-attention": GeometricAttentionBackbone,
    "gatr": GatrBackbone,
    "ponita": PonitaBackbone,
}
"""The networks by name: (channels, *, radius) -> module of points to features."""


class Coloring(nn.Module):
    """Non-negative colors of points that stay when the cloud is turned and shifted."""

    def __init__(
        self, name: BackboneName = "shape", *, channels: int = 24, radius: float | None = None
    ) -> None:
        super().__init__()
        if name not in get_args(BackboneName):
            raise ValueError(
                f"`name` must be one of {', '.join(get_args(BackboneName))}, got {name!r}."
            )
        self.name, self.num_channels, self.radius = name, channels, radius
        constructor = ShapeBackbone if name == "shape" else BACKBONES[name]
        self.backbone = constructor(channels, radius=radius)
        # A network's features begin at the size of one; what makes a firm color is learned.
        self.sharpness = nn.Parameter(torch.tensor(1.0 if name == "shape" else 4.0))

    def forward(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n C"]:
        """Soft membership of each point in each channel: positive, rows sum to 1.

        Args:
            points: Any frame; in the units of `radius` if there is one.
        """
        features = self.backbone(points.to(self.sharpness.dtype))
        if self.name != "shape":
            features = nn.functional.layer_norm(features, features.shape[-1:])
        return (self.sharpness * features).softmax(dim=-1)

    def colors(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n C"]:
        """`forward` without gradients."""
        with torch.no_grad():
            return self(points)

    def of_cloud(self, cloud: Prepared) -> NDArray[np.float32]:
        """The colors by which `registration.register` matches moments, if passed as `colors`.

        The radius that was trained with becomes that of the neighborhoods that are matched.
        """
        unit = (self.radius or 1.0) / (RADIUS * cloud.voxel)
        return self.colors(torch.from_numpy(cloud.points * np.float32(unit))).numpy()

    def save(self, path: Path) -> Path:
        """Write weights and settings as .npz of plain arrays."""
        settings = {"name": self.name, "channels": self.num_channels, "radius": self.radius}
        arrays = {
            f"weights/{key}": value.detach().numpy() for key, value in self.state_dict().items()
        }
        with replacing(path) as file:
            text = np.frombuffer(json.dumps(settings).encode(), np.uint8)
            np.savez(file, settings=text, **arrays)
        return path

    @classmethod
    def load(cls, path: Path) -> Coloring:
        """What `save` wrote.

        Raises:
            ValueError: The file is no coloring, or its weights do not fit its settings.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                settings = json.loads(stored["settings"].tobytes().decode())
                weights = {
                    key.removeprefix("weights/"): torch.from_numpy(stored[key])
                    for key in stored.files
                    if key != "settings"
                }
            coloring = cls(
                settings["name"], channels=settings["channels"], radius=settings["radius"]
            )
            coloring.load_state_dict(weights)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"{path} holds no saved coloring: {error}.") from error
        return coloring
