"""A graph of relative rotations of real RGB-D frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from registration.averaging import RotationGraph

_GAPS = (1, 2, 4, 8, 16)
_INTRINSICS = (525.0, 525.0, 319.5, 239.5)
_VOXEL = 0.05


def frame_graph(folder: Path, *, every: int = 1) -> tuple[RotationGraph, np.ndarray]:
    """Rotations between frames 1, 2, 4, 8 and 16 apart by GICP from the identity, and the truth.

    Args:
        folder: `rgbd/livingroom1_micro`: every fourth frame of a sequence with its trajectory.
        every: Take each n-th frame only.
    """
    import small_gicp

    files = sorted((folder / "depth").glob("*.png"))[::every]
    numbers = [int(path.stem) for path in files]
    trajectory = read_trajectory(folder / "trajectory_estimated.log")
    truth = np.stack([trajectory[number][:3, :3] for number in numbers])
    u, _, vt = np.linalg.svd(truth)  # as stored they are rounded
    points = [depth_points(path) for path in files]
    clouds = [small_gicp.preprocess_points(part, _VOXEL, num_threads=1) for part in points]
    edges, rotations = [], []
    for gap in _GAPS:
        for i in range(len(files) - gap):
            target, tree = clouds[i]
            result = small_gicp.align(
                target, clouds[i + gap][0], tree, max_correspondence_distance=0.3, num_threads=1
            )
            edges.append((i, i + gap))
            rotations.append(np.asarray(result.T_target_source)[:3, :3])
    v, _, wt = np.linalg.svd(np.array(rotations))
    return RotationGraph(len(files), np.array(edges), v @ wt), u @ vt


def depth_points(path: Path) -> np.ndarray:
    """[N, 3] of every third pixel of a depth image, meters, in the frame of the camera."""
    depth = np.asarray(Image.open(path), np.float64)[::3, ::3] / 1000
    rows, columns = np.nonzero((depth > 0.1) & (depth < 5))
    fx, fy, cx, cy = _INTRINSICS
    z = depth[rows, columns]
    return np.stack([(3 * columns - cx) / fx * z, (3 * rows - cy) / fy * z, z], axis=1)


def read_trajectory(path: Path) -> list[np.ndarray]:
    """[4, 4] camera to world for each frame of a .log file."""
    lines = path.read_text().splitlines()
    return [
        np.array([[float(word) for word in line.split()] for line in lines[n + 1 : n + 5]])
        for n in range(0, len(lines) - 4, 5)
    ]
