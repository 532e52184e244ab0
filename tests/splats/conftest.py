"""Scenes of random Gaussians, and how to compare two backends around discontinuities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

from splats import rasterization


@dataclass(frozen=True)
class Scene:
    """Arguments of `rasterization`."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    backgrounds: Tensor | None = None
    sh_degree: int | None = None

    def render(self, **options: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """`rasterization` of this scene."""
        arguments = {field.name: getattr(self, field.name) for field in fields(self)}
        return rasterization(**{**arguments, **options})

    def map(self, function: Any) -> Scene:
        """The scene with `function` applied to every tensor."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(
            self, **{name: function(v) for name, v in values.items() if isinstance(v, Tensor)}
        )

    def leaves(self) -> dict[str, Tensor]:
        """The floating-point tensors that get gradients, by name."""
        names = ("means", "quats", "scales", "opacities", "colors", "viewmats", "backgrounds")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def with_gradients(self) -> Scene:
        """Fresh leaves of autograd."""
        return self.map(lambda t: t.detach().clone().requires_grad_(t is not self.Ks))


@pytest.fixture(scope="session")
def make_scene() -> Any:
    """Function that builds a `Scene`; see `build_scene`."""
    return build_scene


def build_scene(
    count: int = 60,
    *,
    cameras: int = 1,
    size: tuple[int, int] = (40, 29),
    channels: int = 3,
    sh_degree: int | None = None,
    background: bool = True,
    scale: float = 0.25,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Scene:
    """Gaussians around the point (0, 0, 3), a few of them behind or beside the cameras."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    width, height = size
    means = randn(count, 3) * torch.tensor([0.9, 0.7, 0.8], dtype=torch.float64)
    means[:, 2] += 3
    means[::17, 2] -= 4  # behind the cameras
    twist = 0.1 * randn(cameras, 3, 3)
    viewmats = torch.eye(4, dtype=torch.float64).repeat(cameras, 1, 1)
    viewmats[:, :3, :3] = torch.linalg.matrix_exp(twist - twist.mT)
    viewmats[:, :3, 3] = 0.1 * randn(cameras, 3)
    Ks = torch.tensor(
        [[width * 0.9, 0, width * 0.48], [0, width * 0.95, height * 0.53], [0, 0, 1]],
        dtype=torch.float64,
    ).repeat(cameras, 1, 1)
    if sh_degree is None:
        colors = rand(count, channels)
    else:
        colors, channels = 0.5 * randn(count, (sh_degree + 1) ** 2, 3), 3
    scene = Scene(
        means=means,
        quats=randn(count, 4),
        scales=scale * (0.2 + rand(count, 3)),
        opacities=0.05 + 0.94 * rand(count),
        colors=colors,
        viewmats=viewmats,
        Ks=Ks,
        width=width,
        height=height,
        backgrounds=rand(cameras, channels) if background else None,
        sh_degree=sh_degree,
    )
    return scene.map(lambda tensor: tensor.to(dtype))


@pytest.fixture
def without_type_checks() -> Iterator[None]:
    """Turn the run-time checks of annotations off, to reach the messages that users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
