"""Procedural streets as a spinning scanner sees them, with known positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HEIGHT = 1.7  # of the scanner above the street, meters
_ROWS, _COLUMNS = 64, 1000
_ELEVATIONS = np.radians(np.linspace(-24.8, 2.0, _ROWS))
_RANGE = 80.0
_RANGE_NOISE = 0.02


@dataclass(frozen=True)
class Street:
    """Boxes on and beside a plane at height 0; the street runs along x."""

    centers: NDArray[np.float64]
    """[n, 3]."""
    halves: NDArray[np.float64]
    """[n, 3] half sides along the boxes' own axes."""
    yaws: NDArray[np.float64]
    """[n] turns about z, radians."""


@dataclass(frozen=True)
class Scan:
    """One turn of the scanner."""

    points: NDArray[np.float64]
    """[N, 3] in the frame of the street."""
    along: float
    """Position of the scanner on x."""


def street(rng: np.random.Generator) -> Street:
    """Houses with gaps and bays on both sides, parked cars, poles, hedges and tree crowns."""
    boxes: list[tuple[float, ...]] = []
    for side in (-1.0, 1.0):
        x = -90.0 + rng.uniform(0, 8)
        while x < 90:
            width, depth, height = rng.uniform(6, 18), rng.uniform(6, 12), rng.uniform(4, 12)
            back = rng.uniform(8, 13)
            y, yaw = side * (back + depth / 2), rng.normal(0, 0.04)
            boxes.append((x + width / 2, y, height / 2, width / 2, depth / 2, height / 2, yaw))
            bay = side * back
            boxes.append((x + rng.uniform(1, width - 1), bay, 1.3, 0.8, 0.6, 1.3, yaw))
            x += width + rng.choice([0.0, rng.uniform(2, 14)])
        for _ in range(rng.integers(8, 14)):  # cars: a body and a cabin
            x, y, yaw = rng.uniform(-80, 80), side * rng.uniform(3.8, 4.6), rng.normal(0, 0.05)
            boxes.append((x, y, 0.65, 2.1, 0.85, 0.45, yaw))
            boxes.append((x - 0.2, y, 1.2, 1.1, 0.75, 0.3, yaw))
        for _ in range(rng.integers(6, 12)):  # poles, some with a crown
            x, y = rng.uniform(-80, 80), side * rng.uniform(5.5, 7)
            boxes.append((x, y, 2.5, 0.12, 0.12, 2.5, 0.0))
            if rng.random() < 0.6:
                yaw = rng.uniform(0, 3)
                boxes.append((x, y, 4.5, rng.uniform(0.8, 2), rng.uniform(0.8, 2), 1.3, yaw))
        for _ in range(rng.integers(3, 7)):
            hedge = (rng.uniform(-80, 80), side * rng.uniform(6.5, 8), 0.6)
            boxes.append((*hedge, rng.uniform(1, 4), 0.4, 0.6, rng.normal(0, 0.1)))
    table = np.array(boxes)
    return Street(table[:, :3], table[:, 3:6], table[:, 6])


def scan(scene: Street, along: float, rng: np.random.Generator) -> Scan:
    """What the scanner sees from the middle of the street, with noise along its rays."""
    eye = np.array([along, rng.uniform(-1.5, 1.5), _HEIGHT])
    azimuths = 2 * np.pi * (np.arange(_COLUMNS) + rng.random()) / _COLUMNS
    elevation, azimuth = np.meshgrid(_ELEVATIONS, azimuths)  # [columns, rows]
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=2)
    with np.errstate(divide="ignore"):
        nearest = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
    for center, half, yaw in zip(scene.centers, scene.halves, scene.yaws, strict=True):
        toward, reach = center[:2] - eye[:2], float(np.linalg.norm(half[:2]))
        if (distance := float(np.linalg.norm(toward))) > _RANGE + reach:
            continue
        apart = np.abs(np.angle(np.exp(1j * (azimuths - np.arctan2(toward[1], toward[0])))))
        near = np.flatnonzero(apart <= np.arcsin(min(1.0, reach / max(distance, 1e-9))) + 1e-3)
        if distance <= reach:
            near = np.arange(_COLUMNS)
        lengths = _to_box(eye - center, rays[near].reshape(-1, 3), half, yaw)
        nearest[near] = np.minimum(nearest[near], lengths.reshape(len(near), _ROWS))
    rays, nearest = rays.reshape(-1, 3), nearest.ravel()
    hit = nearest < _RANGE
    lengths = nearest[hit] + rng.normal(0, _RANGE_NOISE, int(hit.sum()))
    return Scan(eye + lengths[:, None] * rays[hit], along)


def _to_box(
    eye: NDArray[np.float64], rays: NDArray[np.float64], half: NDArray[np.float64], yaw: float
) -> NDArray[np.float64]:
    """[N] lengths of rays to a box about the origin, infinite where they miss it (slab method)."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    start, directions = turn @ eye, rays @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - start) / directions, (half - start) / directions
    enter = np.minimum(one, two).max(axis=1)
    leave = np.maximum(one, two).min(axis=1)
    return np.where((enter > 0) & (enter < leave), enter, np.inf)
