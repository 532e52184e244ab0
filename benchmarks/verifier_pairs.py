"""Pairs to fit the verifier on, none of which any suite reports: views of meshes, fragments of a
room, and scans of procedural streets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .averaging_frames import depth_points, read_trajectory
from .command import real_data
from .registration_pairs import Pair, moved
from .street_scans import scan, street

MESHES = (
    "beast", "beetle", "cheburashka", "cow", "fandisk", "homer", "ogre", "rocker-arm", "spot",
    "suzanne", "teapot",
)  # fmt: skip
"""All solids of the collection with faces but the bunny, whose scans are reported."""
_MESH_SAMPLES = 300_000
_VIEW_CELLS = 400  # per axis of a depth image
_FRAMES = 6  # that make a fragment of the room
_FRAGMENT_POINTS = 50_000
_STREETS = 6


@dataclass(frozen=True)
class Example:
    """A pair and whether there is any right pose between its clouds."""

    pair: Pair
    """The clouds; the identity as motion where none is right."""
    related: bool
    """False for clouds of different things and for mirror images."""
    group: str
    """What it was made from; a fit is tested on groups that it has not seen."""
    mirrored: bool = False
    """Whether one cloud is a mirror image."""


def examples(seed: int = 0) -> Iterator[Example]:
    """All pairs, the same for the same seed and files."""
    rng = np.random.default_rng(seed)
    yield from _objects(rng)
    yield from _rooms(rng)
    yield from _streets(rng)


def _objects(rng: np.random.Generator) -> Iterator[Example]:
    """Depth images of one mesh from directions 20 to 80 degrees apart, and of two meshes."""
    folder = real_data("meshes/common")
    if folder is None:
        return
    surfaces = {name: _surface(folder / f"{name}.obj") for name in MESHES}
    for number, (name, points) in enumerate(surfaces.items()):
        for _ in range(4):
            first, second = _directions(rng, rng.uniform(20, 80))
            pair = _pair(name, depth_view(points, second), depth_view(points, first))
            yield Example(pair, True, name)
        other = surfaces[MESHES[(number + 1) % len(MESHES)]]
        for _ in range(2):
            first, second = _directions(rng, 40)
            pair = _pair(f"{name}, other", depth_view(other, second), depth_view(points, first))
            yield Example(pair, False, name)


def _pair(name: str, source: np.ndarray, target: np.ndarray, limit: float = 0.02) -> Pair:
    return Pair(name, source, target, np.eye(4), limit=limit, noise=limit / 8)


def _surface(path: Path) -> NDArray[np.float64]:
    """Points on a mesh whose largest side is 1."""
    import trimesh

    mesh = trimesh.load(str(path), force="mesh")
    points = np.asarray(trimesh.sample.sample_surface(mesh, _MESH_SAMPLES, seed=0)[0])
    return (points - points.mean(axis=0)) / np.ptp(points, axis=0).max()


def _directions(rng: np.random.Generator, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Two random unit vectors with that angle."""
    first, across = rng.normal(size=(2, 3))
    first /= np.linalg.norm(first)
    across -= first * (first @ across)
    across /= np.linalg.norm(across)
    angle = np.radians(degrees)
    return first, np.cos(angle) * first + np.sin(angle) * across


def depth_view(points: NDArray[np.float64], direction: np.ndarray) -> NDArray[np.float64]:
    """The points that a distant camera sees: the nearest in each cell of its image."""
    turn = Rotation.align_vectors([[0.0, 0.0, 1.0]], [direction])[0].as_matrix()
    seen = points @ turn.T
    cells = ((seen[:, :2] - seen[:, :2].min(axis=0)) * _VIEW_CELLS).astype(np.int64)
    keys = cells[:, 0] * 10_000 + cells[:, 1]
    order = np.lexsort((-seen[:, 2], keys))
    return points[order[np.unique(keys[order], return_index=True)[1]]]


def _rooms(rng: np.random.Generator) -> Iterator[Example]:
    """Fragments of six depth frames each, any two of them, and their mirror images."""
    folder = real_data("rgbd/livingroom1_micro")
    if folder is None:
        return
    trajectory = read_trajectory(folder / "trajectory_estimated.log")
    files = sorted((folder / "depth").glob("*.png"))
    fragments = []
    for begin in range(0, len(files) - _FRAMES + 1, _FRAMES):
        part = files[begin : begin + _FRAMES]
        points = np.concatenate([moved(depth_points(f), trajectory[int(f.stem)]) for f in part])
        fragments.append(points[rng.choice(len(points), _FRAGMENT_POINTS, replace=False)])
    for i, j in combinations(range(len(fragments)), 2):
        pair = _pair(f"room {i}_{j}", fragments[j], fragments[i], 0.1)
        yield Example(pair, True, f"room {min(i, j) // 4}")
    for i, fragment in enumerate(fragments):
        mirrored = fragments[(i + 1) % len(fragments)] * np.array([-1.0, 1.0, 1.0])
        pair = _pair(f"room {i} mirrored", mirrored, fragment, 0.1)
        yield Example(pair, False, f"room {i // 4}", mirrored=True)


def _streets(rng: np.random.Generator) -> Iterator[Example]:
    """Spinning scans 4 to 16 m apart on one street, on two, and of a mirrored street."""
    scenes = [street(np.random.default_rng([7, number])) for number in range(_STREETS)]
    for number, scene in enumerate(scenes):
        group = f"street {number}"
        for _ in range(4):
            first = scan(scene, rng.uniform(-5, 5), rng)
            second = scan(scene, first.along + rng.choice([-1, 1]) * rng.uniform(4, 16), rng)
            pair = _pair(group, second.points, first.points, 0.1)
            yield Example(pair, True, group)
        here = scan(scene, rng.uniform(-5, 5), rng).points
        other = scan(scenes[(number + 1) % _STREETS], rng.uniform(-5, 5), rng).points
        yield Example(_pair(f"{group}, other", other, here, 0.1), False, group)
        mirrored = scan(scene, rng.uniform(-5, 5), rng).points * np.array([1.0, -1.0, 1.0])
        pair = _pair(f"{group}, mirrored", mirrored, here, 0.1)
        yield Example(pair, False, group, mirrored=True)
