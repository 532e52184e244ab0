"""A cloud without symmetry that needs no files."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation


@pytest.fixture(scope="session")
def room() -> NDArray[np.float64]:
    """60,000 points on the floor, two walls and the furniture of a room, meters."""
    rng = np.random.default_rng(0)
    boxes = [
        ((0, 0, -0.1), (4, 3, 0)),
        ((-0.1, 0, 0), (0, 3, 2.4)),
        ((0, -0.1, 0), (4, 0, 2.4)),
        ((0.3, 0.2, 0), (1.5, 0.9, 0.75)),
        ((2.4, 1.8, 0), (2.9, 2.3, 1.1)),
        ((3.2, 0.2, 0), (3.8, 1.4, 0.45)),
        ((0.6, 0.3, 0.75), (0.9, 0.6, 1.15)),
        ((1.5, 2.1, 0), (1.8, 2.7, 0.3)),
    ]
    parts = []
    for corner, high in boxes:
        low, size = np.array(corner), np.subtract(high, corner)
        count = int(3000 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])) + 300
        points = low + rng.uniform(size=(count, 3)) * size
        axis = rng.integers(0, 3, count)
        side = rng.integers(0, 2, count)
        points[np.arange(count), axis] = (low + side[:, None] * size)[np.arange(count), axis]
        parts.append(points)
    ball = rng.normal(size=(3000, 3))
    parts.append([2.2, 0.9, 0.35] + 0.35 * ball / np.linalg.norm(ball, axis=1, keepdims=True))
    points = np.concatenate(parts)
    return (
        points[rng.permutation(len(points))][:60_000]
        + rng.normal(0, 0.002, (60_000, 3))[: min(60_000, len(points))]
    )


def motion(seed: int, *, reach: float = 5.0, scale: float = 1.0) -> NDArray[np.float64]:
    """[4, 4] random similarity."""
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.random(rng=rng).as_matrix()
    matrix[:3, 3] = rng.uniform(-reach, reach, 3)
    return matrix


def moved(points: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """`points` after a 4x4 transform."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def degrees_between(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Angle between the rotations of two similarities [4, 4]."""
    a, b = (m[:3, :3] / np.cbrt(np.linalg.det(m[:3, :3])) for m in (a, b))
    return float(np.degrees(2 * np.arcsin(min(1.0, np.linalg.norm(a - b) / np.sqrt(8)))))
