"""Gaussians as integers on uniform grids, without the freedoms that no picture shows.

Means lie on a cubic lattice. Axes are sorted by size and turned so that the rotation is at most
120 degrees from the identity (`vq.transforms.gauge`), which leaves x/w, y/w, z/w in [-1, 1] to
store. Opacities are rounded as logits, scales as logarithms, the color as the coefficient sh0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from vq.transforms.gauge import canonical_frames

from ..gaussians import Gaussians
from .fwa_grading import COLORS, HARMONICS, OPACITY, ROTATIONS, GradedSteps, Grading, KernelRule

LOG_SCALE_RANGE = (-30.0, 30.0)
LOGIT_RANGE = (-12.0, 12.0)
"""Opacities of 6e-6 and 1 - 6e-6: beyond, nothing that is drawn changes."""
MAX_LATTICE_BITS = 28
"""The farthest coordinate is at most 2 to this many steps, finer than its float32."""
SH_STEP_SHARE = 1.5
SMALLEST_SH_STEP, LARGEST_SH_STEP = 1 / 128, 1 / 14
UNGRADED: list[KernelRule] = [(0, 0, 0, [])] * 10
"""Rules of the columns of a set whose Gaussians all have the same steps."""

_GRADED_BY_OTHERS = {
    "logit_opacities": OPACITY,
    "colors": COLORS[0],
    "rotations": ROTATIONS[0],
}
_ROWS = 1 << 16  # the 24 descriptions of a rotation are compared in pieces of so many


@dataclass(frozen=True)
class Steps:
    """Distance of neighboring values of each attribute."""

    position: float
    """Of the lattice, world units."""
    log_scale: float
    """Of the natural log of the standard deviations."""
    rotation: float
    """Of x/w, y/w, z/w; near the identity half the angle in radians."""
    logit_opacity: float
    """Of the opacity before the sigmoid."""
    color: float
    """Of the degree-0 coefficient; a step of an 8-bit image is 0.0139."""
    grading: Grading | None = None
    """How steps follow what a Gaussian shows; None: all have these."""

    @cached_property
    def graded(self) -> GradedSteps | None:
        """The rules that decoders follow; None where all Gaussians have the same steps."""
        if self.grading is None:
            return None
        return GradedSteps(
            self.log_scale, self.rotation, self.logit_opacity, self.color, self.grading
        )

    @property
    def of_integers(self) -> Steps:
        """What `Integers` are multiples of."""
        graded = self.graded
        if graded is None:
            return self
        size, rotation, opacity, color = (step / graded.finest for step in graded.steps)
        return Steps(self.position, size, rotation, opacity, color)


@dataclass(frozen=True)
class Values:
    """N Gaussians as what is rounded; spherical harmonics above degree 0 aside."""

    positions: Float[Tensor, "N 3"]
    """World units."""
    log_scales: Float[Tensor, "N 3"]
    """Descending."""
    rotations: Float[Tensor, "N 3"]
    """x/w, y/w, z/w."""
    logit_opacities: Float[Tensor, "N 1"]
    """Opacities before the sigmoid."""
    colors: Float[Tensor, "N 3"]
    """Coefficients of degree 0."""


@dataclass(frozen=True)
class Integers:
    """`Values` on the grids of some `Steps`, in units of `Steps.of_integers`."""

    positions: Int64[Tensor, "N 3"]
    """Position 0 is the world's origin."""
    log_scales: Int64[Tensor, "N 3"]
    """Descending."""
    rotations: Int64[Tensor, "N 3"]
    logit_opacities: Int64[Tensor, "N 1"]
    colors: Int64[Tensor, "N 3"]

    def __getitem__(self, index: Tensor) -> Integers:
        """Some of the Gaussians."""
        return Integers(**{name: value[index] for name, value in vars(self).items()})

    def harmonics_octaves(self, steps: Steps) -> Float[Tensor, "N"]:
        """log2 of each Gaussian's step of harmonics over the usual one."""
        if steps.graded is None:
            return torch.zeros(len(self.positions), device=self.positions.device)
        k = steps.graded.coarseness(HARMONICS, self.log_scales, self.logit_opacities)
        return (k[:, 0] - steps.graded.usual_coarseness).float()

    def coarseness(self, steps: Steps, kind: str) -> Int64[Tensor, "N 1"] | None:
        """How many lower bits of "logit_opacities", "colors" or "rotations" are zero; None where
        steps are not graded and for other fields, whose bits tell."""
        column = _GRADED_BY_OTHERS.get(kind)
        if steps.graded is None or column is None:
            return None
        opacities = None if column == OPACITY else self.logit_opacities
        return steps.graded.coarseness(column, self.log_scales, opacities)

    def values(self, steps: Steps) -> Values:
        """What the integers stand for, in float64."""
        units = steps.of_integers
        return Values(
            positions=self.positions.double() * units.position,
            log_scales=self.log_scales.double() * units.log_scale,
            rotations=self.rotations.double() * units.rotation,
            logit_opacities=self.logit_opacities.double() * units.logit_opacity,
            colors=self.colors.double() * units.color,
        )


def canonical_values(gaussians: Gaussians) -> Values:
    """Gaussians by the one description of each ellipsoid; clamped to the stated ranges."""
    count = len(gaussians)
    quats = gaussians.quats.double().numpy()
    log_scales = gaussians.log_scales.numpy().clip(*LOG_SCALE_RANGE)
    vectors, ordered = np.empty((count, 3)), np.empty((count, 3))
    for start in range(0, count, _ROWS):
        part = slice(start, start + _ROWS)
        frames = canonical_frames(_nonzero(quats[part]), log_scales[part])
        vectors[part] = frames.quats[:, 1:] / frames.quats[:, :1]
        ordered[part] = frames.log_scales
    return Values(
        positions=gaussians.means.double(),
        log_scales=torch.from_numpy(ordered),
        rotations=torch.from_numpy(vectors),
        logit_opacities=gaussians.logit_opacities.double()[:, None].clamp(*LOGIT_RANGE),
        colors=gaussians.sh0[:, 0].double(),
    )


def quantize(gaussians: Gaussians, steps: Steps) -> Integers:
    """The nearest integers of every attribute; values beyond the stated ranges are clamped."""
    return on_grids(canonical_values(gaussians), steps)


def on_grids(values: Values, steps: Steps) -> Integers:
    """The nearest integers of every attribute. What lies on the grids stays where it is."""
    units = steps.of_integers
    positions = (values.positions.double() / units.position).round().long()
    numbers = torch.cat(
        [
            values.log_scales.double() / units.log_scale,
            values.logit_opacities.double() / units.logit_opacity,
            values.colors.double() / units.color,
            values.rotations.double() / units.rotation,
        ],
        dim=1,
    )
    graded = steps.graded
    found = numbers.round().long() if graded is None else graded.integers(numbers)
    return Integers(
        positions,
        log_scales=found[:, :3],
        rotations=found[:, 7:],
        logit_opacities=found[:, 3:4],
        colors=found[:, 4:7],
    )


def choose_position_step(gaussians: Gaussians, *, share: float) -> float:
    """A power of two near `share` of the size of the smaller Gaussians.

    The size of a Gaussian is the standard deviation along its middle axis, which is how far a flat
    one extends in its plane; a tenth of all are smaller than what counts here.
    """
    if len(gaussians) == 0:
        return 1.0
    middle = gaussians.log_scales.numpy().clip(*LOG_SCALE_RANGE).astype(np.float64)
    middle = np.sort(middle, axis=1)[:, 1]
    wanted = np.log2(share) + np.quantile(middle, 0.1) / np.log(2)
    farthest = max(float(gaussians.means.abs().max()), 1e-30)
    coarsest = np.log2(farthest) - MAX_LATTICE_BITS
    return float(2.0 ** np.ceil(max(wanted, coarsest)))


def choose_sh_step(gaussians: Gaussians) -> float:
    """A step at which the harmonics above degree 0 keep their character.

    Errors of rounding average out over the Gaussians that a pixel sees, but harmonics that all
    round to zero are missed: so the step is in proportion to their standard deviation, and at most
    one that shows in scenes of strong harmonics.
    """
    rows = gaussians.shN.flatten(1)
    if not rows.numel():
        return LARGEST_SH_STEP
    deviation = float((rows - rows.mean(dim=0)).square().mean().sqrt())
    return min(max(SH_STEP_SHARE * deviation, SMALLEST_SH_STEP), LARGEST_SH_STEP)


def _nonzero(quats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero quaternions, which renderers take for no rotation, as the identity."""
    return np.where((quats == 0).all(axis=1, keepdims=True), [1.0, 0.0, 0.0, 0.0], quats)
