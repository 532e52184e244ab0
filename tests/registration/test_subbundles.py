"""Principal subbundles: exact on flat data, better than the noise, robust to bad input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from registration.subbundles import PrincipalSubbundle, reconstruct


def test_on_a_plane_geodesics_are_straight_and_of_unit_speed() -> None:
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    points = rng.uniform(-1, 1, (2000, 2)) @ frame[:2] + 5.0
    bundle = PrincipalSubbundle(points, width=0.1)
    paths = bundle.geodesics(
        np.full((2, 3), 5.0), frame[:2].copy(), length=0.5, num_steps=10, level=False
    )
    expected = 5.0 + np.linspace(0.05, 0.5, 10)[None, :, None] * frame[:2, None]
    assert np.abs(paths - expected).max() < 1e-9


def test_circles_are_followed_around() -> None:
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    bundle = PrincipalSubbundle(circle, k=1, width=0.1)
    start = bundle.on_ridge(circle[:1])
    paths = bundle.geodesics(start, np.array([[0.0, 1.0]]), length=np.pi, num_steps=200)
    radius = np.linalg.norm(paths[0], axis=1)
    assert np.ptp(radius) < 2e-3 and abs(radius.mean() - 1) < 0.02
    assert np.linalg.norm(paths[0, -1] - [-1, 0]) < 0.05


def test_curve_and_surface_are_nearer_the_truth_than_the_noisy_points() -> None:
    rng = np.random.default_rng(0)
    u = rng.uniform(0, 4 * np.pi, 800)
    helix = np.stack([np.cos(u), np.sin(u), u / 6], axis=1)
    noisy = helix + 0.04 * rng.normal(size=helix.shape)
    fine = np.linspace(0, 4 * np.pi, 4000)
    truth = KDTree(np.stack([np.cos(fine), np.sin(fine), fine / 6], axis=1))
    curve = reconstruct(noisy, k=1, width=0.15)
    assert truth.query(curve.vertices)[0].mean() < 0.4 * truth.query(noisy)[0].mean()
    x = rng.normal(size=(1500, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    noisy = x + 0.04 * rng.normal(size=x.shape)
    surface = reconstruct(noisy, width=0.16, rays=12, rings=4)
    off = np.abs(np.linalg.norm(surface.vertices, axis=1) - 1)
    assert off.mean() < 0.8 * np.abs(np.linalg.norm(noisy, axis=1) - 1).mean()
    gaps = KDTree(surface.vertices).query(x)[0]
    assert gaps.max() < 0.2  # no hole
    assert surface.faces.max() < len(surface.vertices) and np.isfinite(surface.vertices).all()


def test_result_moves_with_the_cloud() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 3)) * [1, 1, 0.02]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    shift = np.array([3.0, -2, 1])
    bundle = PrincipalSubbundle(points, width=0.3)
    moved = PrincipalSubbundle(points @ turn.T + shift, width=0.3)
    start, along = bundle.on_ridge(points[:5]), np.tile([1.0, 0, 0], (5, 1))
    plain = bundle.geodesics(start, along, length=0.5, num_steps=5)
    other = moved.geodesics(start @ turn.T + shift, along @ turn.T, length=0.5, num_steps=5)
    assert np.allclose(plain @ turn.T + shift, other, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize(
    ("points", "k", "message"),
    [
        (np.full((40, 3), np.nan), 2, "finite"),
        (np.zeros((5, 3)), 2, "at least 12"),
        (np.zeros((40, 3)), 2, "all points equal"),
        (np.random.default_rng(0).normal(size=(40, 3)), 3, "`k`"),
    ],
)
def test_bad_input_is_refused(points: np.ndarray, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reconstruct(points, k=k) if k < 3 else PrincipalSubbundle(points, k=k)
