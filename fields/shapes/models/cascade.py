"""Diffusion of latents, one stage per level, each given the coarser ones (LaGeM, section 3.4).

Every stage is a denoiser in the preconditioned form of Karras et al. ("Elucidating the Design Space
of Diffusion-Based Generative Models", NeurIPS 2022, section 5); samples come from Heun's method on
their noise schedule. Normalized latents have unit variance, which is what σ_data = 1 says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .blocks import Attention, FeedForward
from .layouts import Layout, Part

SIGMA_DATA = 1.0
_LOG_SIGMA = (-1.2, 1.2)
"""Mean and deviation of the log noise level in training (Karras et al., table 1)."""

Denoiser = Callable[[Float[Tensor, "B M c"], Float[Tensor, "B"]], Float[Tensor, "B M c"]]
"""Noisy latents and their noise levels to clean ones."""


@dataclass(frozen=True)
class Schedule:
    """Noise levels of sampling, from `largest` to `smallest`, then 0."""

    steps: int = 18
    """Steps of Heun's method."""
    smallest: float = 0.01
    """Last level before 0."""
    largest: float = 40.0
    """First level."""
    rho: float = 7.0
    """Higher spends more steps at low noise."""

    def levels(self) -> Float[Tensor, "n"]:
        """All levels, `steps` + 1 of them."""
        share = torch.arange(self.steps) / max(self.steps - 1, 1)
        high, low = self.largest ** (1 / self.rho), self.smallest ** (1 / self.rho)
        return torch.cat([(high + share * (low - high)) ** self.rho, torch.zeros(1)])


class Stage(nn.Module):
    """The denoiser of one level: attention among its tokens and to the coarser levels.

    Without positions, a set's tokens may come in any order: the stage is equivariant.
    """

    def __init__(self, part: Part, coarser: Sequence[Part], *, width: int, blocks: int) -> None:
        super().__init__()
        self.part = part
        self.enter = nn.Linear(part.channels, width)
        self.place = (
            nn.Parameter(0.02 * torch.randn(part.tokens, width)) if part.kind != "set" else None
        )
        self.noise = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.contexts = nn.ModuleList(nn.Linear(other.channels, width) for other in coarser)
        self.own = nn.ModuleList(Attention(width, 4) for _ in range(blocks))
        self.cross = nn.ModuleList(
            Attention(width, 4, context_width=width) for _ in range(blocks if coarser else 0)
        )
        self.feed = nn.ModuleList(FeedForward(width) for _ in range(blocks))
        self.leave = nn.Linear(width, part.channels)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self,
        noisy: Float[Tensor, "B M c"],
        sigma: Float[Tensor, "B"],
        coarser: Sequence[Tensor],
    ) -> Float[Tensor, "B M c"]:
        """The clean latents that `noisy` most likely came from.

        D(x) = c_skip x + c_out F(c_in x, σ); before training F = 0, which is right for N(0, 1).
        """
        s = sigma[:, None, None]
        total = s**2 + SIGMA_DATA**2
        made = self._network(noisy / total.sqrt(), sigma, coarser)
        return noisy * SIGMA_DATA**2 / total + s * SIGMA_DATA / total.sqrt() * made

    def _network(self, x: Tensor, sigma: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        scales = torch.exp(torch.linspace(0, math.log(1000), 16, device=x.device))
        angles = 0.25 * sigma.log()[:, None] * scales
        tokens = self.enter(x) + self.noise(torch.cat([angles.sin(), angles.cos()], 1))[:, None]
        if self.place is not None:
            tokens = tokens + self.place
        context = None
        if len(self.contexts):
            parts = zip(self.contexts, coarser, strict=True)
            context = torch.cat([linear(part) for linear, part in parts], dim=1)
        for i, (own, feed) in enumerate(zip(self.own, self.feed, strict=True)):
            tokens = own(tokens)
            if context is not None:
                tokens = self.cross[i](tokens, context)
            tokens = feed(tokens)
        return self.leave(tokens)


class CascadedDiffusion(nn.Module):
    """Stages for all parts of a layout, coarse to fine."""

    def __init__(self, layout: Layout, *, width: int = 128, blocks: int = 4) -> None:
        super().__init__()
        parts = layout.parts
        self.stages = nn.ModuleList(
            Stage(part, parts[i + 1 :], width=width, blocks=blocks) for i, part in enumerate(parts)
        )

    def loss(self, latents: Sequence[Tensor], *, generator: torch.Generator) -> Float[Tensor, ""]:
        """Weighted denoising error of latents [B, tokens, channels] per part, mean over the
        stages; coarser levels are given without noise.

        The weight makes every noise level count alike, so the error of D = c_skip x on unit
        Gaussian data is 1.
        """
        total = []
        for i, (stage, clean) in enumerate(zip(self.stages, latents, strict=True)):
            drawn = torch.randn(len(clean), generator=generator)
            sigma = (_LOG_SIGMA[0] + _LOG_SIGMA[1] * drawn).exp()
            noise = torch.randn(clean.shape, generator=generator)
            s = sigma[:, None, None]
            denoised = stage(clean + s * noise, sigma, latents[i + 1 :])
            weight = (s**2 + SIGMA_DATA**2) / (s * SIGMA_DATA) ** 2
            total.append((weight * (denoised - clean).square()).mean())
        return torch.stack(total).mean()

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        generator: torch.Generator,
        schedule: Schedule | None = None,
        coarsest: Sequence[Tensor] = (),
    ) -> list[Tensor]:
        """New latents, fine to coarse as in the layout.

        Args:
            count: How many.
            generator: Randomness.
            schedule: Noise levels.
            coarsest: Given parts, fine to coarse, that end the list: details are drawn for them.
        """
        latents = list(coarsest)
        for stage in reversed(list(self.stages)[: len(self.stages) - len(latents)]):
            assert isinstance(stage, Stage)
            shape = (count, stage.part.tokens, stage.part.channels)
            context = tuple(latents)

            def denoise(
                x: Tensor, sigma: Tensor, stage: Stage = stage, context: tuple = context
            ) -> Tensor:
                return stage(x, sigma, context)

            noise = torch.randn(shape, generator=generator)
            latents.insert(0, heun(denoise, noise, schedule or Schedule()))
        return latents


def heun(
    denoise: Denoiser, noise: Float[Tensor, "B M c"], schedule: Schedule
) -> Float[Tensor, "B M c"]:
    """Follow dx/dσ = (x - D(x, σ)) / σ from unit noise to a sample (Karras et al., algorithm 1)."""
    levels = schedule.levels().to(noise)
    x = noise * levels[0]
    for high, low in pairwise(levels):
        slope = (x - denoise(x, high.expand(len(x)))) / high
        moved = x + (low - high) * slope
        if low > 0:
            other = (moved - denoise(moved, low.expand(len(x)))) / low
            moved = x + (low - high) * 0.5 * (slope + other)
        x = moved
    return x


def fit_cascade(
    cascade: CascadedDiffusion,
    latents: Sequence[Tensor],
    *,
    steps: int,
    batch: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> list[float]:
    """Train on the latents of n shapes; returns the loss of each step."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(cascade.parameters(), lr=learning_rate)
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1.0, (step + 1) / 50) * (1 - step / (steps + 1))
        rows = torch.randint(0, len(latents[0]), (batch,), generator=generator)
        loss = cascade.loss([part[rows] for part in latents], generator=generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(cascade.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses
