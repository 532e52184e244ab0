"""Clouds of procedural solids: eight classes, each with random proportions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor


def _sphere(n: int, g: torch.Generator) -> Tensor:
    x = torch.randn(n, 3, generator=g)
    return x / x.norm(dim=1, keepdim=True)


def _box(n: int, g: torch.Generator) -> Tensor:
    x = 2 * torch.rand(n, 3, generator=g) - 1
    side = torch.randint(3, (n,), generator=g)
    x[torch.arange(n), side] = torch.sign(x[torch.arange(n), side])
    return x


def _tube(n: int, g: torch.Generator, *, tip: float, caps: bool) -> Tensor:
    """A cylinder whose radius falls to `tip` at the top, with or without end faces."""
    u, v = torch.rand(n, generator=g), torch.rand(n, generator=g)
    radius = 1 + (tip - 1) * u
    height = 2 * u - 1
    if caps:
        on_cap = torch.rand(n, generator=g) < 0.35
        radius = torch.where(on_cap, torch.rand(n, generator=g).sqrt(), radius)
        top = torch.rand(n, generator=g) < (0.5 if tip > 0 else 0.0)
        height = torch.where(on_cap, torch.where(top, 1.0, -1.0), height)
    angle = 2 * math.pi * v
    return torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=1)


def _torus(n: int, g: torch.Generator) -> Tensor:
    u, v = 2 * math.pi * torch.rand(2, n, generator=g)
    ring = 1 + 0.35 * v.cos()
    return torch.stack([ring * u.cos(), ring * u.sin(), 0.35 * v.sin()], dim=1)


def _tetrahedron(n: int, g: torch.Generator) -> Tensor:
    corners = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    weights = -torch.rand(n, 3, generator=g).clamp_min(1e-6).log()
    weights = weights / weights.sum(dim=1, keepdim=True)
    left_out = torch.randint(4, (n,), generator=g)
    faces = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[left_out]
    return (corners[faces] * weights[..., None]).sum(dim=1)


def _helix(n: int, g: torch.Generator) -> Tensor:
    u = 4 * math.pi * torch.rand(n, generator=g)
    return torch.stack([u.cos(), u.sin(), u / (2 * math.pi) - 1], dim=1)


SOLIDS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "sphere": _sphere,
    "box": _box,
    "cylinder": lambda n, g: _tube(n, g, tip=1.0, caps=True),
    "pipe": lambda n, g: _tube(n, g, tip=1.0, caps=False),
    "cone": lambda n, g: _tube(n, g, tip=0.0, caps=True),
    "torus": _torus,
    "tetrahedron": _tetrahedron,
    "helix": _helix,
}
"""Samplers of the classes."""


def sample_solids(
    count: int,
    points: int,
    generator: torch.Generator,
    *,
    noise: float = 0.02,
    solids: dict[str, Callable[[int, torch.Generator], Tensor]] | None = None,
) -> tuple[Float[Tensor, "B n 3"], Int[Tensor, "B"]]:
    """Clouds in their canonical pose, stretched by up to 20 percent per axis, and their classes."""
    samplers = list((solids or SOLIDS).values())
    labels = torch.randint(len(samplers), (count,), generator=generator)
    clouds = torch.stack([samplers[label](points, generator) for label in labels.tolist()])
    stretch = 1 + 0.4 * (torch.rand(count, 1, 3, generator=generator) - 0.5)
    clouds = clouds * stretch + noise * torch.randn(clouds.shape, generator=generator)
    return clouds, labels


def turned(clouds: Float[Tensor, "B n 3"], generator: torch.Generator) -> Tensor:
    """Each cloud under its own uniformly random rotation."""
    from captures.rotations import quats_to_rotmats

    quats = torch.randn(len(clouds), 4, generator=generator, dtype=torch.float64)
    return clouds @ quats_to_rotmats(quats).to(clouds.dtype).mT
