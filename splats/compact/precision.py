"""The steps of all attributes together, and what Gaussians look like on their grids."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from vq.transforms.klt import principal_directions

from ..formats.fwa_grading import Grading
from ..formats.fwa_quantization import (
    LOG_SCALE_RANGE,
    Integers,
    Steps,
    Values,
    canonical_values,
    choose_position_step,
    choose_sh_step,
    on_grids,
)
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
    grading: Grading | None = None
    """See `Steps.grading`."""

    @cached_property
    def steps(self) -> Steps:
        """All but the harmonics' step."""
        return Steps(
            self.position,
            self.log_scale,
            self.rotation,
            self.logit_opacity,
            self.color,
            grading=self.grading,
        )

    def with_step(self, attribute: str, step: float) -> Precision:
        """One of `ATTRIBUTES` changed."""
        return replace(self, **{attribute: step})

    def finer(self, factor: float) -> Precision:
        """Every step divided by `factor`."""
        return replace(self, **{name: getattr(self, name) / factor for name in ATTRIBUTES})

    def state_dict(self) -> dict[str, Any]:
        """As plain numbers."""
        return asdict(self)

    @staticmethod
    def from_state_dict(state: dict[str, Any]) -> Precision:
        """What `state_dict` gave."""
        steps: dict[str, Any] = {name: state[name] for name in ATTRIBUTES}
        grading = state["grading"]
        return Precision(**steps, grading=None if grading is None else Grading(**grading))

    def moved(self, scale: float) -> Precision:
        """The same in a frame whose unit is 1 / `scale` of this one's."""
        grading = self.grading and replace(self.grading, area=self.grading.area * scale**2)
        return replace(self, position=self.position * scale, grading=grading)


def usual_precision(gaussians: Gaussians) -> Precision:
    """Where a search begins: loses little, is near the best trade of no scene."""
    return Precision(
        position=choose_position_step(gaussians, share=1 / 4),
        log_scale=1 / 8,
        rotation=1 / 20,
        logit_opacity=1 / 3,
        color=1 / 10,
        harmonics=choose_sh_step(gaussians),
        grading=Grading(usual_area(gaussians)),
    )


def usual_area(gaussians: Gaussians) -> float:
    """The geometric mean of the products of the two larger standard deviations."""
    if len(gaussians) == 0:
        return 1.0
    sizes = gaussians.log_scales.double().clamp(*LOG_SCALE_RANGE)
    return math.exp(float(sizes.topk(2, dim=1).values.sum(dim=1).mean()))


@dataclass(frozen=True)
class Rounded:
    """Gaussians on the grids of a precision."""

    gaussians: Gaussians
    """As a file would give them back, harmonics as nearly as a plain dead zone does."""
    bits: dict[str, float]
    """Entropy of each attribute's integers, bits in all, without contexts; 0 where not rounded."""


_KINDS = {
    "position": ("positions", "means"),
    "log_scale": ("log_scales", "log_scales"),
    "rotation": ("rotations", "quats"),
    "logit_opacity": ("logit_opacities", "logit_opacities"),
    "color": ("colors", "sh0"),
}
"""Fields of `Values` and of `Gaussians` by attribute."""


def rounded(
    gaussians: Gaussians,
    precision: Precision,
    attributes: tuple[str, ...] = ATTRIBUTES,
    *,
    exact: Values | None = None,
) -> Rounded:
    """`gaussians` with some attributes on their grids and the others untouched.

    Rounded scales and rotations come together in the canonical description of the ellipsoid, of
    which the one that is not in `attributes` stays exact. `exact` are the `canonical_values`, for
    callers that round the same Gaussians again and again.
    """
    bits: dict[str, float] = dict.fromkeys(ATTRIBUTES, 0.0)
    parts: dict[str, Tensor] = {}
    steps, ellipsoids = precision.steps, {"log_scale", "rotation"}
    exact = canonical_values(gaussians) if exact is None else exact
    integers = on_grids(exact, steps)
    found, spent = integers.values(steps), bits_of(integers, steps, attributes)
    for name, (kind, field) in _KINDS.items():
        if name in attributes:
            bits[name] = spent[name]
        elif not (name in ellipsoids and ellipsoids & set(attributes)):
            continue
        values = getattr(found if name in attributes else exact, kind).float()
        if name == "rotation":
            values = torch.cat([torch.ones_like(values[:, :1]), values], dim=1)
        parts[field] = values.reshape(getattr(gaussians, field).shape)
    if "harmonics" in attributes and gaussians.shN.numel():
        grid = HarmonicsGrid.of(
            gaussians.shN, precision.harmonics, integers.harmonics_octaves(steps)
        )
        units = grid.coefficients(gaussians.shN)
        bits["harmonics"] = grid.bits(units)
        parts["shN"] = grid.rows(dead_zone(units), gaussians.shN)
    return Rounded(replace(gaussians, **parts), bits)


def with_rows(gaussians: Gaussians, index: Tensor, rows: Gaussians) -> Gaussians:
    """`gaussians` with the rows `index`, which ascend, replaced."""
    if len(index) == len(gaussians):
        return rows
    values = {}
    for name in ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN"):
        old, new = getattr(gaussians, name), getattr(rows, name)
        values[name] = old if new is old else old.index_copy(0, index, new)
    return Gaussians(**values)


def bits_of(
    integers: Integers, steps: Steps, attributes: tuple[str, ...] = ATTRIBUTES
) -> dict[str, float]:
    """Entropy of attributes, but for the harmonics, bits in all, without contexts; where steps
    are graded, of the integers given their step."""
    found = {}
    for name, (kind, _) in _KINDS.items():
        if name not in attributes:
            continue
        units = getattr(integers, kind)
        k = integers.coarseness(steps, kind)
        if k is None:
            found[name] = entropy(units.cpu().numpy())
            continue
        found[name] = sum(
            entropy((units[(k == number)[:, 0]] >> number).cpu().numpy())
            for number in k.unique().tolist()
        )
    return found


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


@dataclass(frozen=True)
class HarmonicsGrid:
    """The higher harmonics, each Gaussian's in steps of its own, in the directions of their
    variance."""

    mean: Float[Tensor, "d"]
    """Of the rows."""
    directions: Float[Tensor, "d d"]
    """Orthonormal rows."""
    widths: Float[Tensor, "N 1"]
    """Of the cells."""

    @classmethod
    def of(
        cls, shN: Float[Tensor, "N rest 3"], step: float, octaves: Float[Tensor, "N"]
    ) -> HarmonicsGrid:
        """The directions of some harmonics whose steps are 2^`octaves` times `step`."""
        widths = step * torch.exp2(octaves)[:, None].to(shN)
        rows = shN.flatten(1) / widths
        mean = rows.mean(dim=0)
        centered = rows - mean
        covariance = (centered.T @ centered / max(len(rows), 1)).double().cpu().numpy()
        directions = principal_directions(covariance).astype(np.float32)
        return cls(mean, torch.from_numpy(np.ascontiguousarray(directions)).to(shN), widths)

    def coefficients(self, shN: Float[Tensor, "N rest 3"]) -> Float[Tensor, "N d"]:
        """In steps."""
        return (shN.flatten(1) / self.widths - self.mean) @ self.directions.T

    def rows(self, coefficients: Float[Tensor, "N d"], like: Tensor) -> Float[Tensor, "N rest 3"]:
        """The harmonics of coefficients."""
        return ((coefficients @ self.directions + self.mean) * self.widths).reshape(like.shape)

    def bits(self, coefficients: Float[Tensor, "N d"]) -> float:
        """Entropy of the rounded coefficients."""
        units = dead_zone(coefficients)
        return entropy(units[:, units.any(dim=0)].int().cpu().numpy())


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
