"""Fewer Gaussians for a coarser level of detail: neighbors are merged, not dropped.

Dropping Gaussians makes surfaces thin; a merged one keeps the mean, the covariance and the color
of its two parts, weighted by how much each covers.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from captures.rotations import quats_to_rotmats, rotmats_to_quats

from ..gaussians import Gaussians
from .hilbert import hilbert_order

MAX_OPACITY = 0.999
_COLOR_WEIGHT = 1.0  # squared size over which two Gaussians may differ for one unit of color
_ROWS_AT_ONCE = 1 << 16


def merge_to(gaussians: Gaussians, count: int) -> Gaussians:
    """At most `count` Gaussians that look alike from afar.

    In each pass, Gaussians are strung along a Hilbert curve; pairs of neighbors that are cheaper
    to merge than the pairs on both sides of them are candidates, and the cheapest are merged. Axes
    take turns as the curve's first, so that other Gaussians become neighbors.

    Args:
        gaussians: Finite, on the CPU.
        count: At least 1.

    Raises:
        ValueError: `count` is less than 1.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1, got {count}.")
    axes = [0, 1, 2]
    while len(gaussians) > count:
        axes = axes[1:] + axes[:1]
        order = torch.from_numpy(hilbert_order(gaussians.means[:, axes].numpy()))
        gaussians = gaussians[order]
        firsts = _cheapest_pairs(_costs(gaussians), len(gaussians) - count)
        kept = torch.ones(len(gaussians), dtype=torch.bool)
        kept[firsts] = kept[firsts + 1] = False
        parts = [gaussians[kept]]
        parts += [
            _merged(gaussians[rows], gaussians[rows + 1]) for rows in firsts.split(_ROWS_AT_ONCE)
        ]
        gaussians = _concatenated(parts)
    return gaussians


def coverage(gaussians: Gaussians) -> Float[Tensor, "N"]:
    """Opacity times the squared geometric mean of the standard deviations, float64."""
    sizes = gaussians.log_scales.double().clamp(-30, 30).mean(1)
    return gaussians.logit_opacities.double().sigmoid() * (2 * sizes).exp()


def _costs(gaussians: Gaussians) -> Float[Tensor, "M"]:
    """What merging each Gaussian with the next would change."""
    mass = coverage(gaussians).clamp(min=1e-30)
    spreads = gaussians.log_scales.double().clamp(-30, 30).mul(2).exp().sum(1)
    gaps = gaussians.means.double().diff(dim=0).square().sum(1)
    colors = gaussians.sh0[:, 0].double().diff(dim=0).square().sum(1)
    shared = mass[1:] * mass[:-1] / (mass[1:] + mass[:-1])
    return shared * (gaps / (spreads[1:] + spreads[:-1]) + _COLOR_WEIGHT * colors)


def _cheapest_pairs(costs: Tensor, wanted: int) -> Tensor:
    """First members of disjoint pairs, at most `wanted`, at least one."""
    walled = torch.nn.functional.pad(costs, (1, 1), value=math.inf)
    lowest = (costs < walled[:-2]) & (costs <= walled[2:])
    firsts = lowest.nonzero()[:, 0] if bool(lowest.any()) else torch.zeros(1, dtype=torch.int64)
    chosen = costs[firsts].argsort(stable=True)[:wanted]
    return firsts[chosen].sort().values


def _merged(a: Gaussians, b: Gaussians) -> Gaussians:
    """One Gaussian for each pair, by matching moments.

    Reference: Kerbl et al., "A Hierarchical 3D Gaussian Representation for Real-Time Rendering of
    Very Large Datasets", 2024, section 4.1 (weights by opacity and surface).
    """
    masses = torch.stack([coverage(a), coverage(b)]).clamp(min=1e-30)
    weights = masses / masses.sum(0)
    wa, wb = weights[0][:, None], weights[1][:, None]
    means = wa * a.means.double() + wb * b.means.double()
    covariances = torch.zeros(len(a), 3, 3, dtype=torch.float64)
    for part, weight in ((a, weights[0]), (b, weights[1])):
        offsets = part.means.double() - means
        axes = _axes(part)
        covariances += weight[:, None, None] * (
            axes @ axes.mT + offsets[:, :, None] * offsets[:, None, :]
        )
    variances, directions = torch.linalg.eigh(covariances)
    directions[:, :, 0] *= torch.linalg.det(directions).sign()[:, None]
    log_scales = variances.clamp(min=1e-26).log() / 2
    opacities = masses.sum(0) / (2 * log_scales.mean(1)).exp()
    return Gaussians(
        means=means.float(),
        quats=rotmats_to_quats(directions).float(),
        log_scales=log_scales.float(),
        logit_opacities=torch.logit(opacities.clamp(1e-6, MAX_OPACITY)).float(),
        sh0=(wa[..., None] * a.sh0 + wb[..., None] * b.sh0).float(),
        shN=(wa[..., None] * a.shN + wb[..., None] * b.shN).float(),
    )


def _axes(gaussians: Gaussians) -> Float[Tensor, "N 3 3"]:
    """R S: the standard deviations along the axes of each Gaussian, in columns, float64."""
    quats = gaussians.quats.double()
    quats[:, 0] += (quats == 0).all(1)
    return quats_to_rotmats(quats) * gaussians.log_scales.double().clamp(-30, 30).exp()[:, None]


def half_extents(gaussians: Gaussians) -> Float[Tensor, "N 3"]:
    """Half the sides of the box around each Gaussian's box of one standard deviation, float64."""
    return _axes(gaussians).abs().sum(2)


def _concatenated(parts: list[Gaussians]) -> Gaussians:
    names = ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN")
    return Gaussians(*(torch.cat([getattr(part, name) for part in parts]) for name in names))
