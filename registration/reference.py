"""The kernels of `registration._native` in plain NumPy: what defines them, and what runs without
a compiler.

Names and arguments are those of `_native.pyi`. Neighbors come in another order, and sums are taken
in float64, so that results agree to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

_BINS = 11
_FLAT = 1e-3  # thickness of a surface patch relative to its extent, squared
_REFITS = 4


class KdTree:
    """A k-d tree over points [n, 3]."""

    def __init__(self, points: NDArray[np.float32]) -> None:
        self._tree = KDTree(points.astype(np.float64))

    def nearest(
        self, queries: NDArray[np.float32], reach: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(indices, squared distances) of the nearest point closer than `reach`, else -1."""
        indices, squared = self.nearest_few(queries, 1, reach)
        return indices[:, 0], squared[:, 0]

    def nearest_few(
        self, queries: NDArray[np.float32], k: int, reach: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(indices, squared distances) [n, k], nearest first, then -1."""
        ranks: Any = list(range(1, k + 1))  # even of one neighbor a column comes back
        distances, indices = self._tree.query(
            queries.astype(np.float64), ranks, distance_upper_bound=reach
        )
        missing = ~np.isfinite(distances)
        squared = np.where(missing, reach**2, distances**2).astype(np.float32)
        return np.where(missing, -1, indices).astype(np.int32), squared

    def within(
        self, queries: NDArray[np.float32], radius: float, limit: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(offsets, indices, squared distances) of all points closer than `radius`."""
        found = self._tree.query_ball_point(
            queries.astype(np.float64), np.nextafter(radius, 0), return_sorted=True
        )
        lists = [
            np.asarray(item)[np.arange(min(limit, len(item))) * len(item) // max(1, min(
                limit, len(item)))].astype(np.int32)
            for item in found
        ]  # fmt: skip
        sizes = [len(item) for item in lists]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        indices = np.concatenate([*lists, np.zeros(0, np.int32)]).astype(np.int32)
        gaps = self._tree.data[indices] - np.repeat(queries.astype(np.float64), sizes, axis=0)
        return offsets, indices, (gaps**2).sum(1).astype(np.float32)


def voxel_groups(
    points: NDArray[np.float32], origin: NDArray[np.float32], size: float
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """(order, starts, around): points by voxel, and how many lie in the 27 around each."""
    cells = _cells(points, origin, size)
    voxels, labels, counts = np.unique(
        cells[:, ::-1], axis=0, return_inverse=True, return_counts=True
    )
    order = np.argsort(labels.ravel(), kind="stable").astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    tree = KDTree(voxels.astype(np.float64))
    around = [int(counts[near].sum()) for near in tree.query_ball_point(voxels, 1.5, p=np.inf)]
    return order, starts, np.array(around, np.int32)


def _cells(
    points: NDArray[np.float32], origin: NDArray[np.float32], size: float
) -> NDArray[np.int64]:
    return ((points - origin) * np.float32(1 / np.float32(size))).astype(np.int64)


def voxel_counts(
    points: NDArray[np.float32],
    origin: NDArray[np.float32],
    finest: float,
    needed: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Voxels of 2^k times the finest size that hold at least needed[k] points."""
    cells = _cells(points, origin, finest)
    counts = [
        int((np.unique(cells >> level, axis=0, return_counts=True)[1] >= least).sum())
        for level, least in enumerate(needed)
    ]
    return np.array(counts, np.int32)


def normals(
    points: NDArray[np.float32],
    offsets: NDArray[np.int64],
    indices: NDArray[np.int32],
    squared: NDArray[np.float32],
    radius: float,
) -> NDArray[np.float32]:
    """Unit normals [n, 3] of the points within `radius`, away from the neighborhood's mass."""
    count = len(points)
    owners = np.repeat(np.arange(count), np.diff(offsets))
    gaps = points[indices].astype(np.float64) - points[owners]
    masses = _sums(owners, gaps, count)
    inside = squared <= np.float32(radius) ** 2
    own, part = owners[inside], gaps[inside]
    sizes = np.bincount(own, minlength=count).astype(np.float64)
    safe = np.maximum(sizes, 1)[:, None]
    means = _sums(own, part, count) / safe
    outer = (part[:, :, None] * part[:, None, :]).reshape(-1, 9)
    products = _sums(own, outer, count).reshape(-1, 3, 3) / safe[:, :, None]
    vectors = np.linalg.eigh(products - means[:, :, None] * means[:, None, :])[1]
    found = np.where(sizes[:, None] >= 3, vectors[:, :, 0], 0.0)
    found[(found * masses).sum(1) > 0] *= -1
    return found.astype(np.float32)


def _sums(owners: NDArray[np.int64], rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """[count, columns] sums of the rows of each owner."""
    columns = [np.bincount(owners, column, count) for column in rows.T]
    return np.stack(columns, axis=1).astype(np.float64)


def histograms(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    offsets: NDArray[np.int64],
    indices: NDArray[np.int32],
    squared: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Fast point-feature histograms [n, 33], square roots of shares.

    Reference: Rusu et al., ICRA 2009, equation 1 and the weights of section III.
    """
    owners = np.repeat(np.arange(len(points)), np.diff(offsets))
    other = squared > 0
    own, index = owners[other], indices[other]
    distance = np.sqrt(squared[other].astype(np.float64))
    d = (points[index].astype(np.float64) - points[own]) / distance[:, None]
    u, n = normals[own].astype(np.float64), normals[index].astype(np.float64)
    v = np.cross(d, u)
    length = np.linalg.norm(v, axis=1)
    usable = length >= 1e-6
    v[usable] /= length[usable, None]
    w = np.cross(u, v)
    alpha, phi = (v * n).sum(1), (u * d).sum(1)
    theta = np.arctan2((w * n).sum(1), (u * n).sum(1))
    simple = np.zeros((len(points), 3 * _BINS))
    positions = ((theta + np.pi) / (2 * np.pi), (alpha + 1) / 2, (phi + 1) / 2)
    for third, position in enumerate(positions):
        place = np.clip(_BINS * position - 0.5, 0, _BINS - 1)[usable]
        low = place.astype(int)
        high = np.minimum(low + 1, _BINS - 1)
        np.add.at(simple, (own[usable], third * _BINS + low), 1 - (place - low))
        np.add.at(simple, (own[usable], third * _BINS + high), place - low)
    counts = np.bincount(own[usable], minlength=len(points))
    simple /= np.maximum(counts, 1)[:, None]
    pooled = _sums(own, simple[index] / distance[:, None], len(points))
    totals = np.bincount(own, 1 / distance, len(points))
    pooled = simple + pooled / np.where(totals > 0, totals, 1)[:, None]
    thirds = pooled.reshape(len(points), 3, _BINS)
    sums = thirds.sum(2, keepdims=True)
    shares = thirds / np.where(sums > 0, sums, 1)
    return np.sqrt(shares).reshape(len(points), -1).astype(np.float32)


def match(
    table: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(index of the nearest row of `table`, squared distances of the two nearest)."""
    best = np.zeros(len(queries), np.int32)
    scores = np.full((len(queries), 2), 6e38, np.float32)
    norms = (table.astype(np.float64) ** 2).sum(1)
    for begin in range(0, len(queries), 1024):
        block = queries[begin : begin + 1024].astype(np.float64)
        squared = (block**2).sum(1)[:, None] - 2 * block @ table.T + norms
        best[begin : begin + 1024] = squared.argmin(1)
        lowest = np.sort(np.partition(squared, min(1, len(table) - 1), axis=1)[:, :2], axis=1)
        scores[begin : begin + 1024, : lowest.shape[1]] = np.maximum(lowest, 0)
    return best, scores


def consensus(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    bound: float,
    min_length: float,
    seeds: int,
    members: int,
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Poses [k, 13] on which correspondences agree, and their seeds.

    Reference: Chen et al., "SC^2-PCR", CVPR 2022, equations 5 and 6.
    """
    p, q = source.astype(np.float64), target.astype(np.float64)
    lengths = [np.linalg.norm(x[:, None] - x[None], axis=2) for x in (p, q)]
    graph = (np.abs(lengths[0] - lengths[1]) < bound) & (np.minimum(*lengths) > min_length)
    common = (graph.astype(np.float32) @ graph.astype(np.float32)).astype(np.int64)
    scores = (common * graph).sum(1)
    chosen: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if len(chosen) == seeds or scores[i] == 0:
            break
        if all(max(lengths[0][i, j], lengths[1][i, j]) >= min_length for j in chosen):
            chosen.append(int(i))
    poses = [_pose_from_seed(p, q, graph[i], common[i], i, bound, members) for i in chosen]
    return np.array(poses).reshape(-1, 13), np.array(chosen, np.int32)


def _pose_from_seed(
    p: NDArray[np.float64],
    q: NDArray[np.float64],
    linked: NDArray[np.bool_],
    common: NDArray[np.int64],
    seed: int,
    bound: float,
    members: int,
) -> NDArray[np.float64]:
    neighbors = np.flatnonzero(linked)
    if len(neighbors) < 2:
        return np.zeros(13)
    taken = neighbors[np.argsort(-common[neighbors], kind="stable")[:members]]
    weights = np.concatenate([[common[taken[0]] + 1], common[taken] + 1e-3])
    rows = np.concatenate([[seed], taken])
    rotation, shift = _best_motion(p[rows], q[rows], weights)
    inliers = 0.0
    for refit in range(_REFITS + 1):
        squared = ((p @ rotation.T + shift - q) ** 2).sum(1)
        inliers = float(np.maximum(1 - squared / bound**2, 0).sum())
        reach = bound**2 * (4 if refit < 2 else 1)
        near = squared < reach
        weights = (1 - squared[near] / reach) ** 2
        if refit == _REFITS or weights.sum() < 2:
            break
        rotation, shift = _best_motion(p[near], q[near], weights)
    return np.concatenate([rotation.ravel(), shift, [inliers]])


def _best_motion(
    p: NDArray[np.float64], q: NDArray[np.float64], weights: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation of least weighted squares (Kabsch)."""
    w = weights / weights.sum()
    a, b = w @ p, w @ q
    u, _, vt = np.linalg.svd((q - b).T @ ((p - a) * w[:, None]))
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    return rotation, b - rotation @ a


class NearestGrid:
    """Nearest points within reach of a place; the native one knows those of its cells' centers."""

    def __init__(
        self,
        points: NDArray[np.float32],
        normals: NDArray[np.float32],
        cell: float,
        reach: float,
    ) -> None:
        self.points, self.normals = points.astype(np.float64), normals.astype(np.float64)
        self._tree, self._reach = KdTree(points), reach + cell

    def find(self, queries: NDArray[np.float32]) -> NDArray[np.int32]:
        """Index of a near point for each query, -1 where none."""
        return self._tree.nearest(queries, self._reach)[0]


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
    """(pose [13], Hessian [7, 7], [cost, pairs, weights]) of generalized ICP.

    Reference: Segal, Haehnel and Thrun, RSS 2009, equation 2, with Geman and McClure's kernel.
    """
    rotation, shift, scale = start[:9].reshape(3, 3), start[9:12].copy(), float(start[12])
    size = 7 if with_scale else 6
    hessian, sums = np.zeros((7, 7)), np.zeros(3)
    for reach, width in gates.astype(np.float64):
        pairs = [_forward_pairs(points, normals, target, rotation, shift, scale)]
        if source is not None and back_points is not None and back_normals is not None:
            backward = _backward_pairs(back_points, back_normals, source, rotation, shift, scale)
            pairs.append(backward)
        placed, q, m, n = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        hessian, gradient, sums = _equations(placed, q, m, n, reach, width, size)
        diagonal = np.diag(hessian)[:size]
        if sums[1] < 6 or np.any(diagonal <= 0):
            break
        damped = hessian[:size, :size] + 1e-9 * np.diag(diagonal)
        step = np.zeros(7)
        step[:size] = -np.linalg.solve(damped, gradient[:size])
        angle = float(np.linalg.norm(step[:3]))
        step /= max(1.0, angle / 0.5, abs(step[6]) / 0.2)
        factor, turn = float(np.exp(step[6])), _rotation_of(step[:3])
        rotation, scale = turn @ rotation, scale * factor
        shift = step[3:6] + factor * turn @ shift
        last = width == gates[-1, 1]
        small = max(angle, abs(step[6])) < tolerance
        if last and small and np.linalg.norm(step[3:6]) < 10 * tolerance * width:
            break
    return np.concatenate([rotation.ravel(), shift, [scale]]), hessian, sums


_Pairs = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _forward_pairs(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    grid: NearestGrid,
    rotation: NDArray[np.float64],
    shift: NDArray[np.float64],
    scale: float,
) -> _Pairs:
    """(placed sources, targets, turned source normals, target normals)."""
    placed = scale * points.astype(np.float64) @ rotation.T + shift
    found = grid.find(placed.astype(np.float32))
    near = found >= 0
    turned = normals[near].astype(np.float64) @ rotation.T
    return placed[near], grid.points[found[near]], turned, grid.normals[found[near]]


def _backward_pairs(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    grid: NearestGrid,
    rotation: NDArray[np.float64],
    shift: NDArray[np.float64],
    scale: float,
) -> _Pairs:
    """The same for target points that look for source points, by the inverse pose."""
    inverse = (rotation.T, -shift @ rotation / scale, 1 / scale)
    back, found, n, m = _forward_pairs(points, normals, grid, *inverse)
    placed, q = (scale * x @ rotation.T + shift for x in (found, back))
    return placed, q, m @ rotation.T, n @ rotation.T


def _equations(
    placed: NDArray[np.float64],
    q: NDArray[np.float64],
    m: NDArray[np.float64],
    n: NDArray[np.float64],
    reach: float,
    width: float,
    size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Hessian [7, 7], gradient [7] and (cost, pairs, weights)."""
    e = q - placed
    near = (e**2).sum(1) < reach**2
    e, x, m, n = e[near], placed[near], m[near], n[near]
    outer = n[:, :, None] * n[:, None, :] + m[:, :, None] * m[:, None, :]
    inverse = np.linalg.inv(2 * np.eye(3) - (1 - _FLAT) * outer)
    we = np.einsum("kij,kj->ki", inverse, e)
    squared = 2 * _FLAT * (e * we).sum(1)
    kernel = width**2 / (width**2 + squared)
    jacobian = np.zeros((len(x), 3, 7))
    jacobian[:, 0, 1], jacobian[:, 0, 2] = -x[:, 2], x[:, 1]
    jacobian[:, 1, 0], jacobian[:, 1, 2] = x[:, 2], -x[:, 0]
    jacobian[:, 2, 0], jacobian[:, 2, 1] = -x[:, 1], x[:, 0]
    jacobian[:, :, 3:6] = -np.eye(3)
    jacobian[:, :, 6] = -x
    jacobian[:, :, size:] = 0
    weighted = inverse @ jacobian * (kernel**2)[:, None, None]
    hessian = np.einsum("kia,kib->ab", jacobian, weighted)
    gradient = np.einsum("kia,ki->a", weighted, e)
    cost = (width**2 * squared / (width**2 + squared)).sum()
    return hessian, gradient, np.array([cost, len(x), (kernel**2).sum()])


def _rotation_of(omega: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(omega).as_matrix()


def score_poses(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    target: NearestGrid,
    poses: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float32]:
    """How much of the cloud lies on the target under each pose [k, 13]."""
    scores = np.zeros(len(poses), np.float32)
    for k, pose in enumerate(poses):
        pairs = _forward_pairs(
            points, normals, target, pose[:9].reshape(3, 3), pose[9:12], float(pose[12])
        )
        squared = ((pairs[0] - pairs[1]) ** 2).sum(1)
        near = np.maximum(1 - squared / radius**2, 0)
        scores[k] = (near * np.abs((pairs[2] * pairs[3]).sum(1))).sum()
    return scores


def set_num_threads(count: int) -> None:
    """NumPy's own threads are left alone."""
