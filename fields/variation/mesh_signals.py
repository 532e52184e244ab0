"""Noise taken off the colors and the shape of meshes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ..meshes.files import vertex_colors
from ..meshes.mesh import Mesh, sum_rows, unit_rows
from .elements import Variation, face_variation, vertex_variation
from .solver import Denoised, denoise

_VERTEX_STEPS = 40
_TRIALS = 20
_CLOSE = 0.02
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
    normals = unit_rows(mesh.area_vectors())
    level = normal_noise(mesh) if noise is None else noise
    found = denoise_by(normals, face_variation(mesh), level)
    return replace(mesh, vertices=_follow(mesh, unit_rows(found.signal)))


def denoise_by(signal: Float[np.ndarray, "N C"], variation: Variation, noise: float) -> Denoised:
    """The solution that lies `noise` away from the signal, in root mean square per channel.

    Morozov's discrepancy principle: what is taken off is as large as the noise is. The distance
    grows with the strength, so the strength is found by interpolation between one that takes off
    too little and one that takes off too much. Where even a constant lies nearer, a strength that
    leaves little more is taken.
    """
    total = variation.masses.sum() * signal.shape[1]

    def distance(values: np.ndarray) -> float:
        return float(np.sqrt(variation.masses @ ((values - signal) ** 2).sum(1) / total))

    wanted = min(noise, 0.95 * distance(variation.mean(signal)[None]))
    if wanted <= 0:
        return denoise(signal, variation, strength=0.0)
    # About the strength that moves a single cell by the noise.
    strength = wanted * float(np.sqrt(np.median(variation.masses)))
    below, above, found = (0.0, 0.0), (np.inf, np.inf), None
    for _ in range(_TRIALS):
        found = denoise(signal, variation, strength=strength, tolerance=_TOLERANCE, start=found)
        reached = distance(found.signal)
        if abs(reached - wanted) < _CLOSE * wanted:
            break
        if reached < wanted:
            below = (strength, reached)
        else:
            above = (strength, reached)
        if not np.isfinite(above[0]):
            strength *= 2
        else:
            share = (wanted - below[1]) / (above[1] - below[1])
            strength = below[0] + min(max(share, 0.1), 0.9) * (above[0] - below[0])
    assert found is not None
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


def normal_noise(mesh: Mesh, *, seed: int = 0) -> float:
    """Standard deviation of each coordinate of the face normals that noise of the vertices causes.

    Normals of neighbors share vertices and so their noise, which `noise_level` would miss. So the
    noise of the vertices is estimated from how far each stands out from its neighbors' mean, and
    its effect on the normals is found by shaking the mesh as much once more, by `seed`. The same
    random numbers as those of the noise would shake along with it and show too little.
    """
    ends = np.unique(np.sort(_edges(mesh), axis=1), axis=0)
    both = np.concatenate([ends, ends[:, ::-1]])
    degrees = np.bincount(both[:, 0], minlength=len(mesh.vertices))
    means = sum_rows(mesh.vertices[both[:, 1]], both[:, 0], len(mesh.vertices))
    normals, used = mesh.vertex_normals(), degrees > 0
    offsets = mesh.vertices[used] - means[used] / degrees[used, None]
    heights = (offsets * normals[used]).sum(1) / np.sqrt(1 + 1 / degrees[used])
    height = np.median(np.abs(heights)) / 0.6745
    shake = height * np.random.default_rng(seed).normal(size=(len(normals), 1))
    shaken = replace(mesh, vertices=mesh.vertices + shake * normals)
    change = unit_rows(shaken.area_vectors()) - unit_rows(mesh.area_vectors())
    areas = np.linalg.norm(mesh.area_vectors(), axis=1)
    return float(np.sqrt(areas @ (change**2).sum(1) / (3 * max(areas.sum(), 1e-300))))


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
