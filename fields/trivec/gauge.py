"""Components without their freedoms: unit vectors, a weight, and an order.

A component is an outer product of four vectors: one per axis, and its weights in density and
colours. Scale and sign can move between them, and components can change places, without changing
the field; fixed, they cost no bits, and the weight says what a component is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
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
    order: Int64[Tensor, "N R"]
    """Where each component was in the field."""


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
        axes[rows, order].float(),
        channels[rows, order].float(),
        weights[rows, order].float(),
        order,
    )


def with_components(
    field: TrivecField, components: Components, keep: Bool[Tensor, "N R"]
) -> TrivecField:
    """`field` with the chosen ones of its canonical components, in as few ranks as they fill.

    Weights are shared evenly between the four vectors, so that one learning rate suits all.
    """
    order = torch.argsort((~keep).int(), dim=1, stable=True)
    rows = torch.arange(len(keep))[:, None]
    counts = keep.sum(1)
    rank = -(-max(1, int(counts.max())) // 8) * 8
    share = (components.weights * keep)[rows, order][:, :rank].pow(0.25)
    axes = components.axes[rows, order][:, :rank] * share[..., None, None]
    channels = components.channels[rows, order][:, :rank] * share[..., None]
    bases = field.colors.shape[1]
    return replace(
        field,
        vectors=axes.permute(0, 2, 3, 1).contiguous(),
        densities=channels[..., 0].contiguous(),
        colors=channels[..., 1:].permute(0, 2, 1).reshape(-1, bases, 3, rank).contiguous(),
        ranks=(-(-counts.clamp(min=1) // 8) * 8).byte(),
    )
