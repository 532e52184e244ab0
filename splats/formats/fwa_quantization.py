"""Gaussians as integers on uniform grids, without the freedoms that no picture shows.

Means lie on a cubic lattice. Axes are sorted by size and turned so that the rotation is at most
120 degrees from the identity (`vq.transforms.gauge`), which leaves x/w, y/w, z/w in [-1, 1] to
store. Opacities are rounded as logits, scales as logarithms, the color as the coefficient sh0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vq.transforms.gauge import canonical_frames

from ..gaussians import Gaussians

LOG_SCALE_RANGE = (-30.0, 30.0)
LOGIT_RANGE = (-12.0, 12.0)
"""Opacities of 6e-6 and 1 - 6e-6: beyond, nothing that is drawn changes."""
MAX_LATTICE_BITS = 21
"""Bits per axis of the lattice; a larger scene gets a coarser one."""

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


@dataclass(frozen=True)
class Integers:
    """N Gaussians on the grids of some `Steps`, spherical harmonics above degree 0 aside."""

    positions: Int[np.ndarray, "N 3"]
    """uint32; the lowest of each axis is 0."""
    origin: Float[np.ndarray, "3"]
    """Where position 0 lies, world units, float64."""
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
    means = gaussians.means.double().numpy()
    origin = means.min(axis=0) if len(means) else np.zeros(3)
    quats = gaussians.quats.double().numpy()
    log_scales = gaussians.log_scales.numpy().clip(*LOG_SCALE_RANGE)
    vectors, ordered = np.empty((len(means), 3)), np.empty((len(means), 3))
    for start in range(0, len(means), _ROWS):
        part = slice(start, start + _ROWS)
        frames = canonical_frames(_nonzero(quats[part]), log_scales[part])
        vectors[part] = frames.quats[:, 1:] / frames.quats[:, :1]
        ordered[part] = frames.log_scales
    logits = gaussians.logit_opacities.numpy()[:, None].clip(*LOGIT_RANGE)
    return Integers(
        positions=np.rint((means - origin) / steps.position).astype(np.uint32),
        origin=origin,
        log_scales=_rounded(ordered, steps.log_scale),
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
    means = gaussians.means.double().numpy()
    extent = float((means.max(axis=0) - means.min(axis=0)).max())
    coarsest = np.log2(max(extent, 1e-30) / ((1 << MAX_LATTICE_BITS) - 1))
    return float(2.0 ** np.ceil(max(wanted, coarsest)))


def _nonzero(quats: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zero quaternions, which renderers take for no rotation, as the identity."""
    return np.where((quats == 0).all(axis=1, keepdims=True), [1.0, 0.0, 0.0, 0.0], quats)


def _rounded(values: NDArray[np.floating], step: float) -> NDArray[np.int32]:
    return np.rint(values.astype(np.float64) / step).astype(np.int32)
