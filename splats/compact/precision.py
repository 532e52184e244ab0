"""The steps of all attributes together, and what Gaussians look like on their grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vq.transforms.klt import principal_directions

from ..formats.fwa_quantization import Steps, choose_position_step, choose_sh_step, quantize
from ..gaussians import Gaussians

ATTRIBUTES: tuple[str, ...] = (
    "position",
    "log_scale",
    "rotation",
    "logit_opacity",
    "color",
    "harmonics",
)
"""What has a step of its own; names of the fields of `Precision`."""
OF_ALL = ("position", "harmonics")
"""Whose grids all Gaussians share, as contexts rest on them."""
OF_GROUPS = tuple(name for name in ATTRIBUTES if name not in OF_ALL)
"""Whose grids may differ between groups of Gaussians."""
THIN = 2.0
"""See `Steps.thin`: measured, the smallest scale's rounding shows 6 dB less on fox."""
TRADE = 0.1
"""Squared steps that the file coder gives up for a bit, see `vq.plan.fit`."""


@dataclass(frozen=True)
class Precision:
    """Distance of neighboring values of each attribute, see `Steps`."""

    position: float
    """World units."""
    log_scale: float
    """Of the natural log of the standard deviations."""
    rotation: float
    """About half an angle, radians."""
    logit_opacity: float
    """Of the opacity before the sigmoid."""
    color: float
    """Of the degree-0 coefficient."""
    harmonics: float
    """Of the coefficients above degree 0, in the directions of their variance."""

    @property
    def steps(self) -> Steps:
        """All but the harmonics' step."""
        return Steps(
            self.position,
            self.log_scale,
            self.rotation,
            self.logit_opacity,
            self.color,
            thin=THIN,
        )

    def with_step(self, attribute: str, step: float) -> Precision:
        """One of `ATTRIBUTES` changed."""
        return replace(self, **{attribute: step})

    def finer(self, factor: float) -> Precision:
        """Every step divided by `factor`."""
        return Precision(*(getattr(self, name) / factor for name in ATTRIBUTES))


def usual_precision(gaussians: Gaussians) -> Precision:
    """Where a search begins: loses little, is near the best trade of no scene."""
    return Precision(
        position=choose_position_step(gaussians, share=1 / 4),
        log_scale=1 / 8,
        rotation=1 / 20,
        logit_opacity=1 / 3,
        color=1 / 10,
        harmonics=choose_sh_step(gaussians),
    )


@dataclass(frozen=True)
class Rounded:
    """Gaussians on the grids of a precision."""

    gaussians: Gaussians
    """As a file would give them back, harmonics as nearly as a plain dead zone does."""
    bits: dict[str, float]
    """Entropy of each attribute's integers, bits in all, without contexts; 0 where not rounded."""


def rounded(
    gaussians: Gaussians, precision: Precision, attributes: tuple[str, ...] = ATTRIBUTES
) -> Rounded:
    """`gaussians` with some attributes on their grids and the others untouched.

    Rounded scales and rotations come together in the canonical description of the ellipsoid, of
    which the one that is not in `attributes` stays exact.
    """
    bits: dict[str, float] = dict.fromkeys(ATTRIBUTES, 0.0)
    parts: dict[str, Tensor] = {}
    chosen = {name: 1e-6 for name in ("log_scale", "rotation") if name not in attributes}
    steps = replace(precision.steps, **chosen)
    if set(attributes) - {"harmonics"}:
        integers = quantize(gaussians, steps)
        grids = {
            "position": (integers.positions, "means"),
            "log_scale": (integers.log_scales, "log_scales"),
            "rotation": (integers.rotations, "quats"),
            "logit_opacity": (integers.logit_opacities, "logit_opacities"),
            "color": (integers.colors, "sh0"),
        }
        ellipsoids = {"log_scale", "rotation"} & set(attributes)
        for name, (units, field) in grids.items():
            if name in attributes:
                bits[name] = entropy(units)
            elif not (ellipsoids and name in ("log_scale", "rotation")):
                continue
            step = steps.log_scales if name == "log_scale" else getattr(steps, name)
            values = (units * np.asarray(step)).astype(np.float32)
            if name == "rotation":
                values = np.concatenate([np.ones_like(values[:, :1]), values], axis=1)
            parts[field] = torch.from_numpy(values).reshape(getattr(gaussians, field).shape)
    if "harmonics" in attributes and gaussians.shN.numel():
        parts["shN"], bits["harmonics"] = _rounded_harmonics(gaussians.shN, precision.harmonics)
    return Rounded(replace(gaussians, **parts), bits)


def rounded_in_groups(
    gaussians: Gaussians, groups: Int64[Tensor, "N"], precisions: Sequence[Precision]
) -> Rounded:
    """`gaussians`, each on the grids of its group; their positions and harmonics are on those of
    the first, which all groups share."""
    if len(precisions) == 1:
        return rounded(gaussians, precisions[0])
    common = rounded(gaussians, precisions[0], OF_ALL)
    found, bits = common.gaussians, dict(common.bits)
    for number, precision in enumerate(precisions):
        rows = (groups == number).nonzero().flatten()
        part = rounded(found[rows], precision, OF_GROUPS)
        found = with_rows(found, rows, part.gaussians)
        for name in OF_GROUPS:
            bits[name] += part.bits[name]
    return Rounded(found, bits)


def with_rows(gaussians: Gaussians, index: Tensor, rows: Gaussians) -> Gaussians:
    """`gaussians` with the rows `index`, which ascend, replaced."""
    if len(index) == len(gaussians):
        return rows
    values = {}
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN"):
        old, new = getattr(gaussians, name), getattr(rows, name)
        values[name] = old if new is old else old.index_copy(0, index, new)
    return Gaussians(**values)


def entropy(units: NDArray[np.integer]) -> float:
    """Bits of integer columns [N, c], each at the entropy of its own frequencies."""
    total = 0.0
    for column in units.T:
        low = int(column.min(initial=0))
        span = int(column.max(initial=0)) - low
        if span < 1 << 22:
            counts = np.bincount(column.astype(np.int64) - low)
            counts = counts[counts > 0]
        else:
            counts = np.unique(column, return_counts=True)[1]
        total -= float((counts * np.log2(counts / max(len(column), 1))).sum())
    return total


def _rounded_harmonics(
    shN: Float[Tensor, "N rest 3"], step: float
) -> tuple[Float[Tensor, "N rest 3"], float]:
    rows = shN.flatten(1)
    mean = rows.mean(dim=0)
    covariance = np.cov((rows - mean).numpy().T.astype(np.float64), bias=True)
    directions = torch.from_numpy(
        principal_directions(np.atleast_2d(covariance)).astype(np.float32)
    )
    units = dead_zone((rows - mean) @ directions.T / step)
    used = units.any(dim=0)
    bits = entropy(units[:, used].int().numpy())
    return (units @ directions * step + mean).reshape(shN.shape), bits


def dead_zone(x: Float[Tensor, "N d"]) -> Float[Tensor, "N d"]:
    """Nearest integers, but zero where the error of zero costs less than the bits of one.

    The coder of the file rounds so, one number after the other; here a column's share p of numbers
    that are not zero stands for what it has learned, with which a one costs log2((1 - p) / p) bits
    more than a zero, and its sign another.
    """
    size, edge = x.abs(), x.new_tensor(0.5)
    for _ in range(2):
        share = (size > edge).float().mean(dim=0).clamp(1e-6, 0.5)
        edge = 0.5 + 0.5 * TRADE * (((1 - share) / share).log2() + 1)
    return torch.where(size < edge, torch.zeros_like(x), x.round())
