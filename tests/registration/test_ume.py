"""The closed form and the subspace distance of universal manifold embedding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from registration.ume import _vectors, solve

from .conftest import motion, moved


def moments(points: NDArray[np.float64], colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """F = [m0 | m1], [1, channels, 4]."""
    homogeneous = np.concatenate([np.ones((len(points), 1)), points], axis=1)
    return (colors.T @ homogeneous)[None]


@pytest.fixture
def patch() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and non-negative colors."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 3)), rng.uniform(size=(300, 12))


@pytest.mark.parametrize("scale", [1.0, 0.4, 2.5])
def test_closed_form_is_exact(patch: tuple, scale: float) -> None:
    """Rotation, translation and scale of identical colors to rounding."""
    points, colors = patch
    truth = motion(1, scale=scale)
    rotation, shift, found, valid = solve(
        moments(moved(points, truth), colors), moments(points, colors)
    )
    assert valid[0]
    np.testing.assert_allclose(found[0], scale, rtol=1e-10)
    np.testing.assert_allclose(found[0] * rotation[0], truth[:3, :3], atol=1e-10)
    np.testing.assert_allclose(shift[0], truth[:3, 3], atol=1e-9)


def test_spans_are_invariant_to_affine_maps(patch: tuple) -> None:
    """A sheared, scaled and moved copy has distance 0; another patch has not."""
    points, colors = patch
    rng = np.random.default_rng(1)
    affine = np.eye(4)
    affine[:3] = rng.normal(size=(3, 4))
    other = moments(rng.normal(size=points.shape), colors)
    rows = [moments(points, colors), moments(moved(points, affine), colors), other]
    spans = [_vectors(np.linalg.qr(row)[0])[0] for row in rows]
    assert np.linalg.norm(spans[0] - spans[1]) < 1e-5
    assert np.linalg.norm(spans[0] - spans[2]) > 0.1


def test_mirror_images_are_refused(patch: tuple) -> None:
    """They have the same span, so that only the determinant tells them."""
    points, colors = patch
    mirror = np.diag([1.0, 1.0, -1.0, 1.0])
    *_, valid = solve(moments(moved(points, mirror), colors), moments(points, colors))
    assert not valid[0]
