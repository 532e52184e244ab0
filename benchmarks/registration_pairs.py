"""Pairs of clouds with known poses, and how a benchmark makes them harder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from registration import as_cloud

from .command import real_data

CONDITIONS = ("full", "crop 60 %", "crop 40 %", "thinned 4x", "50 % outliers", "noise")
DISJOINT = "crop 0 %"
"""Windows that share nothing: whatever is called aligned is wrong."""


@dataclass(frozen=True)
class Pair:
    """Two clouds and the motion between them."""

    name: str
    """As in the rows."""
    source: NDArray[np.float64]
    """[N, 3]."""
    target: NDArray[np.float64]
    """[M, 3]."""
    T_target_source: NDArray[np.float64]
    """[4, 4] ground truth."""
    limit: float
    """Translation error of a strict success; 10 cm for rooms and streets."""
    noise: float
    """Standard deviation of added noise."""
    upright: bool = False
    """Cut by vertical planes only, as the view of a spinning scanner would be."""


def real_pairs(*, refined: bool = False) -> Iterator[Pair]:
    """The pairs under `shared/data/registration`; nothing where they are missing.

    Args:
        refined: Take as the truth of the kitchen what small_gicp makes of the stated poses: those
            lie up to 1.2 degrees and 10 cm from where any refinement of the surfaces ends, ours,
            small_gicp's and Open3D's alike, and chains of the refined close within half a degree.
    """
    folder = real_data("registration")
    if folder is None:
        return
    kitti = folder / "kitti_pair"
    truth = np.loadtxt(kitti / "T_target_source.txt")
    source, target = (as_cloud(kitti / f"{name}.ply").points for name in ("source", "target"))
    yield Pair("KITTI", source, target, truth, limit=0.1, noise=0.05, upright=True)
    kitchen = folder / "3dmatch_redkitchen_0_4_6"
    truths = json.loads((kitchen / "gt.json").read_text())["pairs"]
    for key, entry in truths.items():
        first, second = (as_cloud(kitchen / f"cloud_bin_{i}.ply").points for i in key.split("_"))
        pose = np.array(entry["T"])
        pair = Pair(f"kitchen {key}", second, first, pose, limit=0.1, noise=0.01)
        yield replace(pair, T_target_source=_refined(pair)) if refined else pair
    bunny = folder / "stanford_bunny"
    truth = np.loadtxt(bunny / "T_bun045_to_bun000.txt")
    source, target = (as_cloud(bunny / f"{name}.ply").points for name in ("bun045", "bun000"))
    # 10 cm in a room of 4 m are 2.5 % of its size; so are 5 mm of the bunny's 20 cm.
    yield Pair("bunny", source, target, truth, limit=0.005, noise=0.0005)


def _refined(pair: Pair) -> NDArray[np.float64]:
    """The pose where small_gicp's generalized ICP ends that starts at the stated one."""
    import small_gicp

    done = small_gicp.align(
        pair.target, pair.source, pair.T_target_source, downsampling_resolution=0.02,
        max_correspondence_distance=0.05, num_threads=1,
    )  # fmt: skip
    return np.array(done.T_target_source)


def random_motion(rng: np.random.Generator, reach: float) -> NDArray[np.float64]:
    """[4, 4] with a rotation uniform on SO(3) and a shift of up to `reach` on each axis."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    motion = np.eye(4)
    motion[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    motion[:3, 3] = rng.uniform(-reach, reach, 3)
    return motion


def moved(points: NDArray[np.float64], motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """`points` after a 4x4 transform."""
    return points @ motion[:3, :3].T + motion[:3, 3]


def harder(pair: Pair, condition: str, seed: int) -> tuple[Pair, NDArray[np.float64]]:
    """The pair under one condition with its source moved at random, and that motion."""
    rng = np.random.default_rng([seed, (*CONDITIONS, DISJOINT).index(condition)])
    source, target = pair.source, pair.target
    if condition.startswith("crop"):
        source, target = _crop(pair, float(condition.split()[1]) / 100, rng)
    elif condition.startswith("thinned"):
        source = source[rng.permutation(len(source))[: len(source) // 4]]
    elif condition.endswith("outliers"):
        source, target = (_with_clutter(points, rng) for points in (source, target))
    elif condition == "noise":
        source = source + rng.normal(0, pair.noise, source.shape)
        target = target + rng.normal(0, pair.noise, target.shape)
    motion = random_motion(rng, float(np.ptp(target, axis=0).max()) / 4)
    truth = pair.T_target_source @ np.linalg.inv(motion)
    changed = replace(pair, source=moved(source, motion), target=target, T_target_source=truth)
    return changed, motion


def _crop(
    pair: Pair, shared: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Windows across both clouds along a random direction that share that part of their widths."""
    direction = rng.normal(size=3)
    if pair.upright:
        direction[2] = 0
    direction /= np.linalg.norm(direction)
    along = moved(pair.source, pair.T_target_source) @ direction
    along_target = pair.target @ direction
    places = np.sort(np.concatenate([along, along_target]))
    width = 1 / (2 - shared)
    high = places[int(width * (len(places) - 1))]
    low = places[int((1 - shared) * width * (len(places) - 1))]
    return pair.source[along <= high], pair.target[along_target >= low]


def _with_clutter(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """As many uniform points in the box as there are points."""
    clutter = rng.uniform(points.min(axis=0), points.max(axis=0), points.shape)
    return np.concatenate([points, clutter])


@dataclass(frozen=True)
class PoseError:
    """How far a pose is from the truth."""

    degrees: float
    """Angle of the remaining rotation."""
    length: float
    """Difference of the translations in the frames of the original files."""

    def strict(self, pair: Pair) -> bool:
        """Within 1 degree and the pair's translation limit."""
        return self.degrees < 1 and self.length < pair.limit


def pose_error(found: NDArray[np.float64], pair: Pair, motion: NDArray[np.float64]) -> PoseError:
    """Error of a pose of the moved source; the angle by 2 asin(|R - R'| / 2 sqrt 2)."""
    original, truth = found @ motion, pair.T_target_source @ motion
    scale = np.cbrt(np.linalg.det(original[:3, :3]))
    gap = np.linalg.norm(original[:3, :3] / scale - truth[:3, :3])
    degrees = np.degrees(2 * np.arcsin(min(1.0, gap / np.sqrt(8))))
    return PoseError(float(degrees), float(np.linalg.norm(original[:3, 3] - truth[:3, 3])))
