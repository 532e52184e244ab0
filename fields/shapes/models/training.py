"""Training an auto-encoder of shapes, as a `runs.Trainee`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..metrics import near_accuracy, volume_iou
from ..samples import ShapeSamples
from .augmentation import Symmetry
from .autoencoder import TRUNCATION, ShapeAutoEncoder
from .batch import ShapeBatch, batch_of
from .config import ModelConfig
from .family import Query
from .weights import save_model

_PREVIEW_SHAPES = 4
_PREVIEW_POINTS = 4096
_SIGN_SHARPNESS = 20.0
"""Logits per unit of truncation: the sign loss looks at the last twentieth of it."""


@dataclass(frozen=True)
class ShapeConfig:
    """How a shape auto-encoder is trained."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """The auto-encoder."""
    batch: int = 8
    """Shapes per step."""
    queries: int = 2048
    """Query points per shape and step, half of them near the surface."""
    learning_rate: float = 1e-3
    """Highest; reached after `warm_up` of the budget and lowered to a twentieth by a cosine."""
    warm_up: float = 0.03
    """Share of the budget."""
    weight_decay: float = 0.01
    """Of AdamW."""
    near_weight: float = 2.0
    """Of the loss at near points, against 1 in the volume."""
    sign_weight: float = 0.1
    """Of the cross-entropy of inside and outside."""
    test_every: int = 8
    """Every n-th shape is held out for previews."""


class ShapeMethod:
    """Trains one auto-encoder on prepared shapes; implements `runs.Trainee`.

    The loss is the mean |f - clamp(d / τ, -1, 1)| over volume and near points, plus a cross-entropy
    of the sign and what the bottleneck adds. Every random choice follows from the seed and the
    step, so a resumed run repeats bit for bit.
    """

    Config = ShapeConfig

    def __init__(
        self,
        config: ShapeConfig,
        shapes: list[ShapeSamples],
        *,
        device: torch.device,
        seed: int,
    ) -> None:
        """A fresh model.

        Args:
            config: Settings.
            shapes: Prepared shapes.
            device: Where to compute.
            seed: Of the weights and of every step.

        Raises:
            ValueError: There is nothing to train on.
        """
        held_out = set(range(config.test_every - 1, len(shapes), config.test_every))
        self.train_shapes = [shape for i, shape in enumerate(shapes) if i not in held_out]
        self.test_shapes = [shapes[i] for i in sorted(held_out)]
        if not self.train_shapes:
            raise ValueError("`shapes` must hold shapes to train on, got none.")
        self.config, self.device, self.seed = config, device, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = ShapeAutoEncoder(config.model).to(device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=config.weight_decay,
        )

    def step(self, step: int, progress: float) -> dict[str, float | Tensor]:
        """One batch."""
        rng = np.random.default_rng((self.seed, step))
        torch.manual_seed(int(rng.integers(1 << 31)))  # the noise of a KL bottleneck
        batch, points, target = self._draw(rng)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(progress)
        self.model.train()
        predicted, squeezed = self.model(batch, points)
        weights = torch.ones_like(target)
        weights[:, self.config.queries // 2 :] = self.config.near_weight
        distance = (weights * (predicted - target).abs()).mean()
        sign = F.binary_cross_entropy_with_logits(
            -_SIGN_SHARPNESS * predicted, (target < 0).float(), weight=weights
        )
        neck = torch.stack([part.loss for part in squeezed]).sum()
        loss = distance + self.config.sign_weight * sign + neck
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return {
            "loss": loss.detach(),
            "distance": distance.detach() * TRUNCATION,
            "neck": neck.detach(),
        }

    def _rate(self, progress: float) -> float:
        """Linear warm-up, then a cosine down to a twentieth."""
        config = self.config
        if progress < config.warm_up:
            return config.learning_rate * (0.05 + 0.95 * progress / config.warm_up)
        share = (progress - config.warm_up) / (1 - config.warm_up)
        return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))

    def _draw(
        self, rng: np.random.Generator
    ) -> tuple[ShapeBatch, Float[Tensor, "B Q 3"], Float[Tensor, "B Q"]]:
        """Shapes under random symmetries, query points and their distances in truncation units."""
        rows = rng.integers(0, len(self.train_shapes), self.config.batch)
        half = self.config.queries // 2
        shapes, points, distances = [], [], []
        for row in rows:
            shape = self.train_shapes[row]
            symmetry = Symmetry.random(rng)
            volume = rng.integers(0, len(shape.volume), half)
            near = rng.integers(0, len(shape.near), self.config.queries - half)
            found = np.concatenate([shape.volume[volume], shape.near[near]]).astype(np.float32)
            points.append(torch.from_numpy(symmetry.points(found)))
            values = np.concatenate([shape.volume_sdf[volume], shape.near_sdf[near]])
            distances.append(torch.from_numpy(values.astype(np.float32)))
            shapes.append(symmetry.seen(shape))
        batch = batch_of(shapes, self.config.model.num_points, rng=rng)
        target = (torch.stack(distances) / TRUNCATION).clamp(-1, 1)
        return batch.to(self.device), torch.stack(points).to(self.device), target.to(self.device)

    @property
    def num_primitives(self) -> int:
        """Floats per latent."""
        return self.model.layout.floats

    @torch.no_grad()
    def preview(self) -> dict[str, float]:
        """Volumetric IoU, and accuracy at the finer near points, of a few held-out shapes."""
        self.model.eval()
        ious, accuracies = [], []
        for shape in self.test_shapes[:_PREVIEW_SHAPES]:
            batch = batch_of([shape], self.config.model.num_points).to(self.device)
            fields = self.model.decode([part.values for part in self.model.encode(batch)])

            def asked(points: np.ndarray, query: Query = fields.query) -> np.ndarray:
                found = torch.from_numpy(points.astype(np.float32))
                return query(found[None].to(self.device))[0].cpu().numpy()

            every = slice(None, None, max(1, len(shape.volume) // _PREVIEW_POINTS))
            ious.append(volume_iou(shape.volume_sdf[every], asked(shape.volume[every])))
            every = slice(None, None, max(1, len(shape.near) // _PREVIEW_POINTS))
            found = near_accuracy(
                shape.near_sdf[every], asked(shape.near[every]), shape.near_sigma[every]
            )
            accuracies.append(found[0])
        if not ious:
            return {}
        return {"iou": float(np.mean(ious)), "near_accuracy": float(np.mean(accuracies))}

    def renderable(self) -> Any:
        """The first held-out (or training) shape as the model decodes it now."""
        from ..scene import scene_of
        from .coding import decode, encode_shape

        shape = (self.test_shapes or self.train_shapes)[0]
        self.model.eval()
        latent = encode_shape(self.model, shape)
        return scene_of(decode(self.model, latent, resolution=64))

    def save_scene(self, path: Path) -> Path:
        """Write the model as safetensors."""
        return save_model(self.model, path.with_suffix(".safetensors"))

    def state_dict(self) -> dict[str, Any]:
        """Weights and optimizer; random numbers follow from seed and step."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def load_shapes(folder: Path) -> list[ShapeSamples]:
    """Every prepared shape in a folder, by name.

    Raises:
        FileNotFoundError: No folder, or no samples in it.
    """
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no prepared shapes; make some with `fieldwright shape prepare`."
        )
    return [ShapeSamples.load(file) for file in files]
