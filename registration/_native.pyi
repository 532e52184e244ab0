"""CPU kernels of registration, compiled from registration/csrc; missing without a compiler.

`registration.reference` has the same names in NumPy and says what each computes.
"""

import numpy as np
from numpy.typing import NDArray

def set_num_threads(count: int) -> None:
    """Threads the kernels use, the caller included; 0 means one per available core."""

def num_threads() -> int:
    """Threads in use."""

def set_isa(name: str) -> None:
    """Instruction set: auto, portable, avx2 or avx512."""

def isa() -> str:
    """Name of the instruction set in use."""

class KdTree:
    """A k-d tree over points [n, 3]."""

    def __init__(self, points: NDArray[np.float32]) -> None: ...
    def nearest(
        self, queries: NDArray[np.float32], reach: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(indices, squared distances) of the nearest point closer than `reach`, else -1."""

    def nearest_few(
        self, queries: NDArray[np.float32], k: int, reach: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(indices, squared distances) [n, k] of the nearest, nearest first, then -1."""

    def within(
        self, queries: NDArray[np.float32], radius: float, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(offsets, indices, squared distances) of all points closer than `radius`."""

class NearestGrid:
    """Nearest points by one look-up."""

    def __init__(
        self,
        points: NDArray[np.float32],
        normals: NDArray[np.float32],
        cell: float,
        reach: float,
    ) -> None: ...
    def find(self, queries: NDArray[np.float32]) -> NDArray[np.int32]:
        """Index of a near point for each query, -1 where none."""

def voxel_groups(
    points: NDArray[np.float32], origin: NDArray[np.float32], size: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """(order, starts, around): points by voxel, and how many lie in the 27 around each."""

def voxel_counts(
    points: NDArray[np.float32],
    origin: NDArray[np.float32],
    finest: float,
    needed: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Voxels of 2^k times the finest size that hold at least needed[k] points."""

def normals(
    points: NDArray[np.float32],
    offsets: NDArray[np.int64],
    indices: NDArray[np.int32],
    squared: NDArray[np.float32],
    radius: float,
) -> NDArray[np.float32]:
    """Unit normals [n, 3] of the points within `radius`, away from the neighborhood's mass."""

def histograms(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    offsets: NDArray[np.int64],
    indices: NDArray[np.int32],
    squared: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Fast point-feature histograms [n, 33], square roots of shares."""

def match(
    table: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(index of the nearest row of `table`, squared distances of the two nearest)."""

def consensus(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    bound: float,
    min_length: float,
    seeds: int,
    members: int,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Poses [k, 13] on which correspondences agree, and their seeds."""

def refine(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    target: NearestGrid,
    start: NDArray[np.float64],
    gates: NDArray[np.float32],
    with_scale: bool,
    tolerance: float,
    back_points: NDArray[np.float32] | None,
    back_normals: NDArray[np.float32] | None,
    source: NearestGrid | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(pose [13], Hessian [7, 7], [cost, pairs, weights])."""

def score_poses(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    target: NearestGrid,
    poses: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float32]:
    """How much of the cloud lies on the target under each pose [k, 13]."""
