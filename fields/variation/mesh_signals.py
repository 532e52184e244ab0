"""Noise taken off the colors and the shape of meshes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ..meshes.files import vertex_colors
from ..meshes.mesh import Mesh, sum_rows, unit_rows
from .elements import Variation, edge_neighbors, face_variation, vertex_variation
from .solver import Denoised, denoise

_VERTEX_STEPS = 40
_BISECTIONS = 12
_TOLERANCE = 1e-3


def denoised_colors(mesh: Mesh, *, noise: float | None = None) -> Mesh:
    """The mesh with vertex colors whose noise is gone and whose edges are not.

    Args:
        mesh: With vertex colors, or a texture, which is read at the vertices.
        noise: Standard deviation to take off, sRGB in [0, 1]; None estimates it.

    Raises:
        ValueError: A mesh without colors.
    """
    colors = vertex_colors(mesh)
    if colors is None:
        raise ValueError("`mesh` has no colors to denoise.")
    ends = np.unique(np.sort(_edges(mesh), axis=1), axis=0)
    level = noise_level(colors, ends) if noise is None else noise
    found = denoise_by(colors.astype(np.float64), vertex_variation(mesh), level)
    clean = found.signal.clip(0, 1).astype(np.float32)
    return replace(mesh, colors=clean, uvs=None, texture=None)


def denoised_shape(mesh: Mesh, *, noise: float | None = None) -> Mesh:
    """The mesh with its vertices moved to where face normals without noise want them.

    Normals are denoised as a piecewise constant signal, which keeps creases sharp; then vertices
    slide along them until the faces agree (Sun et al., "Fast and effective feature-preserving mesh
    denoising", 2007, section 4).

    Args:
        mesh: Any; colors and texture places stay with their vertices and corners.
        noise: Standard deviation of the normals to take off, in radians; None estimates it.
    """
    pairs, _ = edge_neighbors(mesh.faces)
    normals = unit_rows(mesh.area_vectors())
    level = noise_level(normals, pairs) if noise is None else noise
    found = denoise_by(normals, face_variation(mesh), level)
    return replace(mesh, vertices=_follow(mesh, unit_rows(found.signal)))


def denoise_by(
    signal: Float[np.ndarray, "N C"], variation: Variation, noise: float
) -> Denoised:
    """The solution that lies `noise` away from the signal, in root mean square per channel.

    Morozov's discrepancy principle: what is taken off is as large as the noise is. The distance
    grows with the strength, so bisection finds it; if even a constant lies nearer, that is taken.
    """
    channels = signal.shape[1]
    total = variation.masses.sum() * channels

    def removed(found: Denoised) -> float:
        squares = (found.signal - signal) ** 2
        return float(np.sqrt(variation.masses @ squares.sum(1) / total))

    constant = signal - variation.mean(signal)
    spread = float(np.sqrt(variation.masses @ (constant**2).sum(1) / total))
    if noise <= 0 or spread <= noise:
        return denoise(signal, variation, strength=0.0) if noise <= 0 else _constant(signal, variation)
    # A strength that takes off all of the noise at once is not far from noise times spacing.
    length = float(np.sqrt(variation.masses.mean()))
    low, high = 0.0, noise * length
    found = denoise(signal, variation, strength=high, tolerance=_TOLERANCE)
    while removed(found) < noise:
        low, high = high, 2 * high
        found = denoise(signal, variation, strength=high, tolerance=_TOLERANCE)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        found = denoise(signal, variation, strength=middle, tolerance=_TOLERANCE)
        distance = removed(found)
        if abs(distance - noise) < 0.01 * noise:
            break
        low, high = (middle, high) if distance < noise else (low, middle)
    return found


def noise_level(signal: Float[np.ndarray, "N C"], pairs: np.ndarray) -> float:
    """Standard deviation of independent noise, from the differences between neighbors.

    The median is taken, as edges make few differences large; in a signal with slopes it is an
    upper bound.
    """
    if not len(pairs):
        return 0.0
    differences = np.abs(signal[pairs[:, 0]] - signal[pairs[:, 1]])
    return float(np.median(differences) / 0.6745 / np.sqrt(2))


def _constant(signal: np.ndarray, variation: Variation) -> Denoised:
    mean = np.broadcast_to(variation.mean(signal), signal.shape).copy()
    energy = 0.5 * float(variation.masses @ ((signal - mean) ** 2).sum(1))
    return Denoised(mean, energy, 0.0, 0)


def _edges(mesh: Mesh) -> np.ndarray:
    return np.stack([mesh.faces, np.roll(mesh.faces, -1, axis=1)], 2).reshape(-1, 2)


def _follow(mesh: Mesh, normals: np.ndarray) -> np.ndarray:
    """Vertices after sliding towards the planes through their faces' centers."""
    vertices = mesh.vertices.copy()
    counts = np.maximum(np.bincount(mesh.faces.reshape(-1), minlength=len(vertices)), 1)[:, None]
    for _ in range(_VERTEX_STEPS):
        corners = vertices[mesh.faces]
        offsets = corners.mean(1, keepdims=True) - corners
        along = np.einsum("fcd,fd->fc", offsets, normals)
        moves = (along[:, :, None] * normals[:, None]).reshape(-1, 3)
        vertices = vertices + sum_rows(moves, mesh.faces.reshape(-1), len(vertices)) / counts
    return vertices
