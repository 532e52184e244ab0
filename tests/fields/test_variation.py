"""Total variation with finite elements: known minima, certificates, and what it does to meshes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from fields.meshes.files import load_mesh
from fields.meshes.mesh import Mesh
from fields.variation import (
    Variation,
    cell_variation,
    denoise,
    face_variation,
    vertex_variation,
)
from fields.variation.elements import octree_neighbors
from fields.variation.mesh_signals import denoised_colors, denoised_shape


def square(cells: int, *, seed: int | None = None) -> Mesh:
    """The unit square in triangles; inner vertices shaken where a seed is given."""
    line = np.linspace(0, 1, cells + 1)
    x, y = np.meshgrid(line, line, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
    if seed is not None:
        inner = (points[:, :2] > 0).all(1) & (points[:, :2] < 1).all(1)
        inner &= points[:, 0] != 0.5
        shake = np.random.default_rng(seed).uniform(-0.3, 0.3, (inner.sum(), 2)) / cells
        points[inner, :2] += shake
    corner = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    a, b = corner[:-1, :-1].ravel(), corner[1:, :-1].ravel()
    c, d = corner[1:, 1:].ravel(), corner[:-1, 1:].ravel()
    return Mesh(points, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))


def cube(cells: int, split: int) -> tuple[np.ndarray, np.ndarray]:
    """An octree of a cube with `cells` cells along each side, the first `split` layers halved."""
    grid = 2 * np.stack(np.meshgrid(*[np.arange(cells)] * 3, indexing="ij"), -1).reshape(-1, 3)
    small = grid[:, 0] < 2 * split
    offsets = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    halves = (grid[small][:, None] + offsets).reshape(-1, 3)
    corners = np.concatenate([grid[~small], halves])
    sizes = np.concatenate([np.full((~small).sum(), 2), np.ones(len(halves), int)])
    return corners, sizes


def spaces() -> dict[str, Variation]:
    mesh = square(6, seed=1)
    corners, sizes = cube(3, 1)
    return {
        "faces": face_variation(mesh),
        "vertices": vertex_variation(mesh),
        "octree": cell_variation(corners, sizes),
    }


@pytest.mark.parametrize("name", ["faces", "vertices", "octree"])
def test_the_gap_bounds_the_distance_to_a_slow_convex_reference(name: str) -> None:
    variation = spaces()[name]
    signal = np.random.default_rng(0).normal(size=(variation.size, 2))
    found = denoise(signal, variation, strength=0.05, tolerance=1e-9, max_iterations=20000)
    mass = variation.masses[:, None]

    def energy(flat: np.ndarray) -> float:
        u = flat.reshape(signal.shape)
        smooth = np.sqrt((variation.terms(u) ** 2).sum(1) + 1e-12)
        return 0.5 * float((mass * (u - signal) ** 2).sum()) + 0.05 * variation.weights @ smooth

    def slope(flat: np.ndarray) -> np.ndarray:
        u = flat.reshape(signal.shape)
        terms = variation.terms(u)
        length = np.sqrt((terms**2).sum(1, keepdims=True) + 1e-12)
        pull = variation.weights[:, None] * terms / length
        back = variation.operator.T @ pull.reshape(-1, signal.shape[1])
        return (mass * (u - signal) + 0.05 * back).reshape(-1)

    options = {"maxiter": 20000, "maxfun": 200000, "ftol": 1e-15, "gtol": 1e-9}
    slow = minimize(energy, signal.reshape(-1), jac=slope, method="L-BFGS-B", options=options)
    # The reference is smoothed: its energy is above the true one by at most 5e-8 and its own error.
    assert found.energy <= slow.fun + 1e-6
    assert slow.fun - found.energy <= found.gap + 1e-4
    distance = 0.5 * float((mass * (slow.x.reshape(signal.shape) - found.signal) ** 2).sum())
    assert distance <= found.gap + (slow.fun - found.energy) + 1e-6


@pytest.mark.parametrize("name", ["faces", "octree"])
def test_two_constant_regions_approach_by_perimeter_over_area(name: str) -> None:
    """The exact minimum for a straight edge: each side moves by strength * length / mass."""
    if name == "faces":
        mesh = square(8, seed=2)  # the line x = 1/2 stays straight
        variation = face_variation(mesh)
        left = mesh.corners().mean(1)[:, 0] < 0.5
        facet = 1.0
    else:
        corners, sizes = cube(4, 2)  # large and small cells meet at the jump
        variation = cell_variation(corners, sizes)
        left = corners[:, 0] < 4
        facet = 64.0
    signal = np.where(left, 1.0, 0.0)[:, None]
    half = variation.masses[left].sum()
    strength = 0.1 * half / facet
    found = denoise(signal, variation, strength=strength, tolerance=1e-12, max_iterations=50000)
    assert variation.value(signal) == pytest.approx(facet)
    np.testing.assert_allclose(found.signal, np.where(left, 0.9, 0.1)[:, None], atol=2e-5)


def test_a_linear_signal_has_its_slope_times_the_area_as_variation() -> None:
    mesh = square(5, seed=3)
    signal = mesh.vertices[:, :2] @ np.array([[3.0, 0.0], [4.0, 0.0]])
    assert vertex_variation(mesh).value(signal) == pytest.approx(5.0)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    moved = Mesh(mesh.vertices @ turn.T, mesh.faces)
    assert vertex_variation(moved).value(signal) == pytest.approx(5.0)


def test_the_mean_stays_and_strong_denoising_leaves_nothing_else() -> None:
    for variation in spaces().values():
        signal = np.random.default_rng(5).normal(size=(variation.size, 3))
        found = denoise(signal, variation, strength=1e4, tolerance=1e-10, max_iterations=20000)
        expected = np.broadcast_to(variation.mean(signal), signal.shape)
        np.testing.assert_allclose(found.signal, expected, atol=1e-3)
        weak = denoise(signal, variation, strength=1e-3)
        np.testing.assert_allclose(variation.mean(weak.signal), variation.mean(signal), atol=1e-9)


def test_octree_facets_tile_the_surfaces_between_cells() -> None:
    corners, sizes = cube(3, 1)
    pairs, areas = octree_neighbors(corners, sizes)
    facets = np.zeros(len(sizes))
    for side in (0, 1):
        np.add.at(facets, pairs[:, side], areas)
    low, high = corners.min(0), (corners + sizes[:, None]).max(0)
    outside = ((corners == low).sum(1) + (corners + sizes[:, None] == high).sum(1)) * sizes**2
    np.testing.assert_array_equal(facets + outside, 6 * sizes**2)
    assert len(np.unique(np.sort(pairs, 1), axis=0)) == len(pairs)


def test_edges_of_color_survive_while_noise_goes() -> None:
    mesh = square(40)
    clean = np.where(mesh.vertices[:, :1] < 0.5, [0.8, 0.2, 0.1], [0.1, 0.3, 0.9])
    random = np.random.default_rng(6)
    noisy = np.clip(clean + 0.05 * random.normal(size=clean.shape), 0, 1).astype(np.float32)
    found = denoised_colors(Mesh(mesh.vertices, mesh.faces, noisy)).colors
    assert found is not None
    before, after = (float(np.sqrt(((c - clean) ** 2).mean())) for c in (noisy, found))
    # Measured: 0.048 to 0.008.
    assert after < before / 4
    across = np.abs(mesh.vertices[:, 0] - 0.5) < 0.04
    assert np.abs(found[across] - clean[across]).mean() < 0.06


def test_a_noisy_machine_part_comes_closer_to_its_true_shape(shared_data: Path) -> None:
    """Fandisk, the usual test of feature-preserving denoising: smooth patches, sharp creases."""
    true = load_mesh(shared_data / "meshes/common/fandisk.obj")
    edge = np.linalg.norm(np.diff(true.vertices[true.faces[:, :2]], axis=1), axis=2).mean()
    shift = 0.2 * edge * np.random.default_rng(7).normal(size=(len(true.vertices), 1))
    noisy = Mesh(true.vertices + shift * true.vertex_normals(), true.faces)
    found = denoised_shape(noisy)

    def normal_error(mesh: Mesh) -> float:
        first, second = mesh.area_vectors(), true.area_vectors()
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        cosine = (first * second).sum(1) / lengths
        return float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())

    before, after = normal_error(noisy), normal_error(found)
    offset = np.linalg.norm(found.vertices - true.vertices, axis=1).mean()
    # Measured: 18.6 to 2.7 degrees, and 0.40 of the shift.
    assert after < before / 5, (before, after)
    assert offset < 0.6 * np.abs(shift).mean(), (offset, np.abs(shift).mean())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signal": np.zeros((3, 1))}, "one row per unknown"),
        ({"signal": np.full((72, 1), np.nan)}, "must be finite"),
        ({"strength": -1.0}, "0 or more"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    variation = face_variation(square(6))
    values = {"signal": np.zeros((72, 1)), "strength": 1.0} | change
    with pytest.raises(ValueError, match=message):
        denoise(values["signal"], variation, strength=values["strength"])


def test_cells_off_their_lattice_are_refused() -> None:
    with pytest.raises(ValueError, match="powers of two"):
        cell_variation(np.zeros((1, 3), int), np.array([3]))
    with pytest.raises(ValueError, match="multiples"):
        cell_variation(np.ones((1, 3), int), np.array([2]))
