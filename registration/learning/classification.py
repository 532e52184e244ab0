"""Naming solids: every backbone as a classifier that has never seen a turned cloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..networks import BACKBONES, BackboneName, DeepSet
from .solids import SOLIDS, sample_solids, turned


class PointClassifier(nn.Module):
    """A backbone's features and the cloud's spread as a set; one logit per class."""

    def __init__(self, name: BackboneName | None, num_classes: int, *, channels: int = 24) -> None:
        super().__init__()
        self.backbone = None if name is None else BACKBONES[name](channels)
        self.head = DeepSet(3 if name is None else channels + 1, num_classes, width=channels)

    def forward(self, points: Float[Tensor, "B n 3"]) -> Float[Tensor, "B L"]:
        """Logits; without a backbone the coordinates themselves are the set."""
        centered = points - points.mean(dim=-2, keepdim=True)
        if self.backbone is None:
            return self.head(centered)
        distance = centered.norm(dim=-1, keepdim=True)
        return self.head(torch.cat([self.backbone(points), distance], dim=-1))


@dataclass(frozen=True)
class ClassifierScores:
    """Shares of held-out clouds that were named correctly."""

    canonical: float
    """In the pose of the training clouds."""
    turned: float
    """Under random rotations, none of which was trained on."""


def train_classifier(
    name: BackboneName | None,
    *,
    steps: int = 150,
    batch: int = 24,
    points: int = 96,
    seed: int = 0,
    solids: dict[str, Callable[[int, torch.Generator], Tensor]] | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> tuple[PointClassifier, ClassifierScores]:
    """Train on clouds in their canonical pose and score on unseen ones, turned and not.

    Args:
        name: Backbone; None classifies by coordinates, which no turn can be kept from changing.
        steps: Optimization steps.
        batch: Clouds per step.
        points: Points per cloud.
        seed: Seed of weights and clouds.
        solids: Classes; None takes the eight of `SOLIDS`.
        on_step: Told the step and its loss.
    """
    solids = solids or SOLIDS
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = PointClassifier(name, len(solids))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for step in range(steps):
        clouds, labels = sample_solids(batch, points, generator, solids=solids)
        loss = nn.functional.cross_entropy(model(clouds), labels)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))
    held_out = torch.Generator().manual_seed(seed + 1_000_003)
    clouds, labels = sample_solids(160, points, held_out, solids=solids)
    with torch.no_grad():
        plain, moved = (
            float((model(x).argmax(dim=1) == labels).float().mean())
            for x in (clouds, turned(clouds, held_out))
        )
    return model, ClassifierScores(plain, moved)
