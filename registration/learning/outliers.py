"""Points that are not of the surface: Deep Sets trained on clouds with planted outliers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..networks import OutlierDetector
from ..networks.neighborhoods import nearest, relative
from .solids import sample_solids, turned


def with_outliers(
    clouds: Float[Tensor, "B n 3"], generator: torch.Generator, *, share: float = 0.15
) -> tuple[Float[Tensor, "B n 3"], Bool[Tensor, "B n"]]:
    """A share of the points replaced by uniform ones in the box of the cloud, and which."""
    wild = torch.rand(clouds.shape[:2], generator=generator) < share
    low, high = clouds.amin(1, True), clouds.amax(1, True)
    anywhere = low + (high - low) * torch.rand(clouds.shape, generator=generator)
    return torch.where(wild[..., None], anywhere, clouds), wild


def train_outlier_detector(
    *,
    steps: int = 200,
    batch: int = 8,
    points: int = 384,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> OutlierDetector:
    """A detector trained on procedural solids with outliers, ready for any surface cloud."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = OutlierDetector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for step in range(steps):
        clouds, _ = sample_solids(batch, points, generator, noise=0.01)
        share = 0.05 + 0.35 * float(torch.rand((), generator=generator))
        clouds, wild = with_outliers(turned(clouds, generator), generator, share=share)
        loss = nn.functional.binary_cross_entropy_with_logits(model(clouds), wild.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step, float(loss.detach()))
    return model.eval()


def distance_scores(points: Float[Tensor, "*batch n 3"], k: int = 16) -> Float[Tensor, "*batch n"]:
    """Mean distance to the nearest neighbors: the usual statistical outlier filter."""
    return relative(points, nearest(points, k), None).norm(dim=-1).mean(dim=-1)


def ranking_accuracy(scores: Float[Tensor, "n"], wild: Bool[Tensor, "n"]) -> float:
    """Chance that an outlier scores above another point (area under the ROC curve)."""
    ranks = torch.empty_like(scores, dtype=torch.float64)
    ranks[scores.argsort()] = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    bad, good = int(wild.sum()), int((~wild).sum())
    if bad == 0 or good == 0:
        raise ValueError("`wild` must mark some points and leave others, got one kind only.")
    return float((ranks[wild].sum() - bad * (bad + 1) / 2) / (bad * good))
