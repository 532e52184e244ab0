"""Gaussians as integers on uniform grids, without the freedoms that no picture shows.

Means lie on a cubic lattice. Axes are sorted by size and turned so that the rotation is at most
120 degrees from the identity (`vq.transforms.gauge`), which leaves x/w, y/w, z/w in [-1, 1] to
store. Opacities are rounded as logits, scales as logarithms, the color as the coefficient sh0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from vq.transforms.gauge import canonical_frames

from ..gaussians import Gaussians

LOG_SCALE_RANGE = (-30.0, 30.0)
LOGIT_RANGE = (-12.0, 12.0)
"""Opacities of 6e-6 and 1 - 6e-6: beyond, nothing that is drawn changes."""
MAX_LATTICE_BITS = 28
"""The farthest coordinate is at most 2 to this many steps, finer than its float32."""
SH_STEP_SHARE = 1.5
SMALLEST_SH_STEP, LARGEST_SH_STEP = 1 / 128, 1 / 14

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
    thin: float = 1.0
    """How many times coarser the smallest of the three scales is rounded, which shows least."""

    @property
    def log_scales(self) -> tuple[float, float, float]:
        """Steps of the three log scales, the largest first."""
        return self.log_scale, self.log_scale, self.thin * self.log_scale


@dataclass(frozen=True)
class Integers:
    """N Gaussians on the grids of some `Steps`, spherical harmonics above degree 0 aside."""

    positions: Int[np.ndarray, "N 3"]
    """int32; position 0 is the world's origin."""
    log_scales: Int[np.ndarray, "N 3"]
    """int32, descending."""
    rotations: Int[np.ndarray, "N 3"]
    """int32."""
    logit_opacities: Int[np.ndarray, "N 1"]
    """int32."""
    colors: Int[np.ndarray, "N 3"]
    """int32."""


def quantize(gaussians: Gaussians, steps: Steps) -> Integers:
    """The nearest integers of every attribute; values beyond the stated ranges are clamped."""
    count = len(gaussians)
    quats = gaussians.quats.double().numpy()
    log_scales = gaussians.log_scales.numpy().clip(*LOG_SCALE_RANGE)
    vectors, ordered = np.empty((count, 3)), np.empty((count, 3))
    for start in range(0, count, _ROWS):
        part = slice(start, start + _ROWS)
        frames = canonical_frames(_nonzero(quats[part]), log_scales[part])
        vectors[part] = frames.quats[:, 1:] / frames.quats[:, :1]
        ordered[part] = frames.log_scales
    logits = gaussians.logit_opacities.numpy()[:, None].clip(*LOGIT_RANGE)
    sizes = _rounded(ordered, np.array(steps.log_scales))
    # Rounded more coarsely, the smallest could overtake the next, and axes would change names.
    sizes[:, 2] = np.minimum(sizes[:, 2], np.floor(sizes[:, 1] / steps.thin))
    return Integers(
        positions=_rounded(gaussians.means.numpy(), steps.position),
        log_scales=sizes,
        rotations=_rounded(vectors, steps.rotation),
        logit_opacities=_rounded(logits, steps.logit_opacity),
        colors=_rounded(gaussians.sh0[:, 0].numpy(), steps.color),
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


def _rounded(values: NDArray[np.floating], step: float | NDArray[np.floating]) -> NDArray[np.int32]:
    units = np.rint(values.astype(np.float64) / step)
    if np.abs(units).max(initial=0) >= 1 << 31:
        raise ValueError(
            f"a step of {np.min(step):g} is too small for values up to {np.abs(values).max():g}: "
            "at most 2^31 steps fit; use a larger one."
        )
    return units.astype(np.int32)
