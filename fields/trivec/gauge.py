"""Components without their freedoms: unit vectors, a weight, and an order.

A component is an outer product of four vectors: one per axis, and its weights in density and
colours. Scale and sign can move between them, and components can change places, without changing
the field; fixed, they cost no bits, and the weight says what a component is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from .field import TrivecField


@dataclass(frozen=True)
class Components:
    """All components of N leaves, the weightiest of each leaf first."""

    axes: Float[Tensor, "N R 3 D"]
    """Unit vectors of x, y and z, the entry of largest magnitude positive; 0 where not in use."""
    channels: Float[Tensor, "N R C"]
    """Unit vectors of the weights: density, then the harmonics of the colours (K, 3)."""
    weights: Float[Tensor, "N R"]
    """Product of the four lengths, descending."""


def canonical_components(field: TrivecField) -> Components:
    """The components of a field in canonical form; `vq.transforms.gauge` has it for one tensor."""
    axes = field.vectors.detach().permute(0, 3, 1, 2).double()
    parts = [field.densities.detach()[:, None], field.colors.detach().flatten(1, 2)]
    channels = torch.cat(parts, dim=1).permute(0, 2, 1).double()
    used = torch.arange(field.rank) < field.ranks[:, None]
    lengths, size = axes.norm(dim=-1), channels.norm(dim=-1)
    weights = lengths.prod(dim=-1) * size * used
    axes = axes / lengths.clamp(min=1e-30)[..., None]
    largest = axes.gather(-1, axes.abs().argmax(-1, keepdim=True)).squeeze(-1)
    signs = torch.where(largest < 0, -1.0, 1.0).double()
    axes = axes * signs[..., None] * (weights > 0)[..., None, None]
    channels = channels / size.clamp(min=1e-30)[..., None] * signs.prod(-1)[..., None]
    channels = channels * (weights > 0)[..., None]
    order = torch.argsort(weights, dim=1, descending=True, stable=True)
    rows = torch.arange(len(field))[:, None]
    return Components(
        axes[rows, order].float(), channels[rows, order].float(), weights[rows, order].float()
    )


def with_components(field: TrivecField, components: Components, ranks: Tensor) -> TrivecField:
    """`field` with the first `ranks` [N] components of each leaf instead of its own."""
    rank = -(-max(8, int(ranks.max())) // 8) * 8
    used = torch.arange(components.weights.shape[1]) < ranks[:, None]
    weights = (components.weights * used)[:, :rank]
    pad = rank - weights.shape[1]
    axes = torch.nn.functional.pad(components.axes[:, :rank], (0, 0, 0, 0, 0, max(pad, 0)))
    channels = torch.nn.functional.pad(components.channels[:, :rank], (0, 0, 0, max(pad, 0)))
    weights = torch.nn.functional.pad(weights, (0, max(pad, 0)))
    # The weight in equal shares, so that one learning rate suits all four.
    share = weights.pow(0.25)
    axes = axes * share[..., None, None]
    channels = channels * share[..., None]
    bases = field.colors.shape[1]
    return replace(
        field,
        vectors=axes.permute(0, 2, 3, 1).contiguous(),
        densities=channels[..., 0].contiguous(),
        colors=channels[..., 1:].permute(0, 2, 1).reshape(-1, bases, 3, rank).contiguous(),
        ranks=(-(-ranks.clamp(min=1) // 8) * 8).byte(),
    )
