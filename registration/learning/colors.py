"""Contrastive training of invariant colors on clouds: equal places equal, other places not.

Reference: Haitman, Efraim and Francos, "UMERegRobust", ECCV 2024: what is contrasted are the spans
of the moments of whole neighborhoods. The clouds are two samplings of one surface, so that only the
place and not the sampling is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from torch import Tensor, nn

from ..networks import BackboneName, Coloring, ShapeBackbone
from .spans import moment_bases, span_distances, span_loss


@dataclass(frozen=True, kw_only=True)
class ColorsConfig:
    """How colors are trained."""

    backbone: BackboneName = "shape"
    """What is trained; shape begins at the untrained colors, the networks from nothing."""
    channels: int = 24
    """Colors per point."""
    radius: float = 0.3
    """Of neighborhoods, in the largest extent of the cloud."""
    keypoints: int = 160
    """Neighborhoods that are contrasted in a step."""
    points: int = 1500
    """Points of the denser of the two samplings in a step."""
    temperature: float = 0.1
    """Of the contrastive softmax."""
    learning_rate: float = 3e-3
    """Of Adam, falling to a tenth."""
    noise: float = 0.005
    """Largest noise on points, in diameters of the cloud."""


class ColorsMethod:
    """Trains a `Coloring` on clouds; implements `runs.Trainee`."""

    def __init__(
        self, config: ColorsConfig, clouds: Sequence[Float[np.ndarray, "_ 3"]], *, seed: int
    ) -> None:
        if not clouds or min(map(len, clouds)) < 100:
            smallest = min(map(len, clouds)) if clouds else 0
            raise ValueError(
                "`clouds` must be at least one cloud of at least 100 points, got "
                f"{len(clouds)}, the smallest of {smallest}."
            )
        torch.manual_seed(seed)
        self.config, self.clouds = config, [_unit(cloud) for cloud in clouds]
        radius = config.radius if config.backbone == "shape" else None
        self.coloring = Coloring(config.backbone, channels=config.channels, radius=radius)
        if isinstance(self.coloring.backbone, ShapeBackbone):
            self.coloring.backbone.fit([cloud[:3000] for cloud in self.clouds[:6]])
        self.optimizer = torch.optim.AdamW(self.coloring.parameters(), lr=config.learning_rate)
        self._rng = np.random.default_rng(seed)
        self._recent = 0.0

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """Two samplings of one cloud: matched points against all others."""
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * 0.1**progress
        a, b = self._samplings()
        matched, away = _matches(a, b, self.config)
        if len(matched) < 16:
            return {"loss": 0.0, "accuracy": self._recent}
        bases = [
            moment_bases(x, self.coloring(torch.from_numpy(x).float()), rows, self.config.radius)
            for x, rows in ((a, matched[:, 0]), (b, matched[:, 1]))
        ]
        loss, hits = span_loss(span_distances(*bases), away, temperature=self.config.temperature)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.coloring.parameters(), 1.0)
        self.optimizer.step()
        self._recent = float(hits)
        return {"loss": loss.detach(), "accuracy": hits}

    def _samplings(self) -> tuple[np.ndarray, np.ndarray]:
        """Two noisy samplings of part of one cloud; the second is up to three times sparser."""
        cloud = self.clouds[int(self._rng.integers(len(self.clouds)))]
        n = min(self.config.points, len(cloud))
        m = max(int(n * self._rng.uniform(1 / 3, 1)), 64)
        noise = self.config.noise * self._rng.uniform(0, 1, 2)
        parts = []
        for count, sigma in zip((n, m), noise, strict=True):
            chosen = cloud[self._rng.choice(len(cloud), count, replace=False)]
            parts.append(chosen + sigma * self._rng.normal(size=chosen.shape))
        direction = self._rng.normal(size=3)
        heights = parts[1] @ (direction / np.linalg.norm(direction))
        parts[1] = parts[1][heights <= np.quantile(heights, self._rng.uniform(0.6, 1.0))]
        return parts[0], parts[1]

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizer and the state of the sampler."""
        return {
            "weights": self.coloring.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sampler": str(self._rng.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        import ast

        self.coloring.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._rng.bit_generator.state = ast.literal_eval(state["sampler"])

    def save_scene(self, path: Path) -> Path:
        """Write the coloring beside the proposed file, as .npz."""
        return self.coloring.save(path.with_name("coloring.npz"))

    @property
    def num_primitives(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.coloring.parameters())

    def preview(self) -> dict[str, float]:
        """Share of matched points that found each other in the last step."""
        return {"accuracy": self._recent}


def _unit(cloud: np.ndarray) -> np.ndarray:
    cloud = cloud[np.isfinite(cloud).all(axis=1)]
    return (cloud - cloud.mean(axis=0)) / max(float(np.ptp(cloud, axis=0).max()), 1e-12)


def _matches(a: np.ndarray, b: np.ndarray, config: ColorsConfig) -> tuple[np.ndarray, Tensor]:
    """Mutual nearest points of both, and which of them are far enough apart to be others."""
    to_b = np.asarray(KDTree(b).query(a)[1])
    distances, to_a = (np.asarray(found) for found in KDTree(a).query(b))
    mutual = np.flatnonzero(to_b[to_a] == np.arange(len(b)))
    close = mutual[distances[mutual] < 0.2 * config.radius][: config.keypoints]
    matched = np.stack([to_a[close], close], axis=1)
    places = torch.from_numpy(b[close])
    away = torch.cdist(places, places) > 0.5 * config.radius
    away.fill_diagonal_(True)
    return matched, away
