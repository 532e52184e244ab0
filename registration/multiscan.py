"""Sets of scans into one frame: pairwise registration, cycle checks, averaging, refinement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from .averaging import so3
from .averaging.cycles import Triangles, triangles
from .averaging.graph import RotationGraph
from .averaging.pose_graph import PoseGraph, optimize_poses
from .averaging.rotations import RotationMethod
from .averaging.single import average_motion
from .ume import ColorFunction

ALL_PAIRS_LIMIT = 16
"""Up to this many scans, all pairs are registered (120 pairs)."""
LEAST_TURN = np.radians(0.5)
"""Noise of good registrations, radians: real scans are not rigid to less, and far ones that share a
bias agree with each other better than with the truth."""

_AGREEING_TURN = np.radians(5.0)  # of two unsure registrations that confirm each other
_AGREEING_SHIFT = 0.05  # the same, in diameters of the scan
_LEAST_SHIFT = 0.005  # noise of good registrations, in diameters


@runtime_checkable
class PairwiseResult(Protocol):
    """What `register_many` reads of a pairwise registration; `Registration` is one."""

    @property
    def T_target_source(self) -> Float[np.ndarray, "4 4"]:
        """p_target = T_target_source @ p_source, the scale inside."""
        ...

    @property
    def converged(self) -> bool:
        """Whether the two are called aligned."""
        ...

    @property
    def overlap(self) -> float:
        """Share of the source that the target shows as well."""
        ...


Registrar = Callable[[Any, Any], PairwiseResult]
"""Called with (source, target), two of the scans."""

Progress = Callable[[int, int], None]
"""Called with the pairs done and the pairs in all."""


@dataclass(frozen=True)
class ScanPair:
    """One pairwise registration and its role in the set."""

    source: int
    """Number of the source scan."""
    target: int
    """Number of the target scan."""
    registration: PairwiseResult
    """What the registrar returned."""
    used: bool
    """True where the poses rest on it: it agrees with the rest."""
    verified: bool
    """True where it is used and lies on a cycle of used pairs, so that others confirm it."""
    rotation_residual: float
    """Angle from the final poses in radians; NaN where one of the scans is not aligned."""
    translation_residual: float
    """Distance from the final poses in target units; NaN as above."""


@dataclass(frozen=True)
class MultiRegistration:
    """Poses of a set of scans."""

    T_world_scan: Float[np.ndarray, "N 4 4"]
    """p_world = T_world_scan @ p_scan; the world is the frame of `reference`. Scans that are not
    aligned have the identity."""
    aligned: np.ndarray
    """Which scans are in the world frame, [N] bool."""
    reference: int
    """The scan whose frame the world is: the first of the largest connected part."""
    pairs: tuple[ScanPair, ...]
    """All registrations that were tried."""
    cycles: Triangles
    """Triangles of the registrations that were called aligned, and how well their rotations close;
    edge numbers count those registrations in the order of `pairs`."""

    @property
    def converged(self) -> bool:
        """True where every scan is aligned."""
        return bool(self.aligned.all())

    def scale(self, scan: int) -> float:
        """Length in the world of one unit of a scan."""
        return float(np.cbrt(np.linalg.det(self.T_world_scan[scan, :3, :3])))


def register_many(
    scans: Sequence[Any],
    *,
    registrar: Registrar | None = None,
    pairs: Iterable[tuple[int, int]] | None = None,
    with_scale: bool = False,
    colors: ColorFunction | None = None,
    method: RotationMethod = "flag-median",
    progress: Progress | None = None,
) -> MultiRegistration:
    """Poses of all scans that can be aligned, in the frame of one of them.

    Pairs that the registrar calls aligned make a graph; `optimize_poses` averages it and leaves out
    what the majority contradicts. A scan left over joins if two unsure registrations propose the
    same pose for it, within 5 degrees and a twentieth of its size.

    Args:
        scans: Whatever the registrar takes; arrays of points [N, 3] always do.
        registrar: Registers (source, target); None takes `registration.register`.
        pairs: (source, target) numbers to try. None tries all pairs of up to `ALL_PAIRS_LIMIT`
            scans; of more, neighbors at distances of powers of two, then pairs between parts that
            stayed unconnected.
        with_scale: Estimate a scale per scan; the registrar then has to find them.
        colors: Passed on to `registration.register`.
        method: How rotations are averaged.
        progress: Told after every pair.

    Raises:
        ValueError: No scans, or a pair that names no two different scans.
    """
    if len(scans) == 0:
        raise ValueError("`scans` must hold at least one scan, got none.")
    registrar = registrar or _default_registrar(with_scale=with_scale, colors=colors)
    runner = _Pairs(scans, registrar, progress)
    if pairs is not None:
        runner.run(_checked(pairs, len(scans)))
    else:
        runner.run(default_pairs(len(scans)))
        for more in _bridging_rounds(len(scans), runner):
            runner.run(more)
    return _solve(scans, runner, with_scale=with_scale, method=method)


def default_pairs(count: int) -> list[tuple[int, int]]:
    """All pairs (source, target) of few scans; of many, those 1, 2, 4, 8, ... apart in order."""
    if count <= ALL_PAIRS_LIMIT:
        return [(j, i) for i, j in combinations(range(count), 2)]
    offsets = [2**k for k in range((count - 1).bit_length()) if 2**k < count]
    return [(i + offset, i) for offset in offsets for i in range(count - offset)]


class _Pairs:
    """Registrations of pairs, each tried once."""

    def __init__(self, scans: Sequence[Any], registrar: Registrar, progress: Progress | None):
        self.scans, self.registrar, self.progress = scans, registrar, progress
        self.found: dict[tuple[int, int], PairwiseResult] = {}

    def run(self, pairs: Sequence[tuple[int, int]]) -> None:
        fresh = [pair for pair in dict.fromkeys(pairs) if pair not in self.found]
        total = len(self.found) + len(fresh)
        for source, target in fresh:
            result = self.registrar(self.scans[source], self.scans[target])
            _check_result(result, source, target)
            self.found[source, target] = result
            if self.progress is not None:
                self.progress(len(self.found), total)

    def graph(self, count: int, chosen: Sequence[tuple[int, int]]) -> PoseGraph:
        """Edges (target, source) of the chosen pairs."""
        edges = np.array([(t, s) for s, t in chosen], np.int64).reshape(-1, 2)
        results = [self.found[pair] for pair in chosen]
        transforms = np.array([r.T_target_source for r in results], np.float64)
        weights = np.array([min(max(float(r.overlap), 0.05), 1.0) for r in results])
        return PoseGraph(count, edges, transforms.reshape(-1, 4, 4), weights)

    @property
    def sure(self) -> list[tuple[int, int]]:
        return [pair for pair, result in self.found.items() if result.converged]


def _default_registrar(*, with_scale: bool, colors: ColorFunction | None) -> Registrar:
    from functools import partial

    from . import register  # pyright: ignore[reportAttributeAccessIssue]

    return partial(register, with_scale=with_scale, colors=colors)


def _checked(pairs: Iterable[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    found = [(int(source), int(target)) for source, target in pairs]
    for source, target in found:
        if source == target or not (0 <= source < count and 0 <= target < count):
            raise ValueError(
                f"`pairs` must name two different scans from 0 to {count - 1}, got "
                f"({source}, {target})."
            )
    return found


def _check_result(result: PairwiseResult, source: int, target: int) -> None:
    matrix = np.asarray(result.T_target_source)
    if result.converged and (matrix.shape != (4, 4) or not np.isfinite(matrix).all()):
        raise ValueError(
            f"`registrar` must return a finite T_target_source [4, 4] where it has converged; for "
            f"scans {source} and {target} it returned shape {list(matrix.shape)}."
        )


def _bridging_rounds(count: int, runner: _Pairs) -> Iterable[list[tuple[int, int]]]:
    """While the graph has parts, untried pairs between the largest and the others, near first."""
    if count <= ALL_PAIRS_LIMIT:
        return
    while True:
        labels = runner.graph(count, runner.sure).components()
        untried = [
            (max(i, j), min(i, j))
            for i in np.flatnonzero(labels == 0).tolist()
            for j in np.flatnonzero(labels != 0).tolist()
            if (max(i, j), min(i, j)) not in runner.found
        ]
        if not untried:
            return
        yield sorted(untried, key=lambda pair: (pair[0] - pair[1], pair))[:ALL_PAIRS_LIMIT]


def _solve(
    scans: Sequence[Any], runner: _Pairs, *, with_scale: bool, method: RotationMethod
) -> MultiRegistration:
    count, used = len(scans), runner.sure
    graph = runner.graph(count, used)
    relative = graph.relative()
    cycles = triangles(RotationGraph(count, graph.edges, relative.rotations))
    size = float(np.median([_diameter(scan) for scan in scans]))
    options = {
        "with_scale": with_scale,
        "method": method,
        "least_noise": (float(LEAST_TURN), _LEAST_SHIFT * size),
    }
    solved = optimize_poses(graph, **options)
    confirmed = _confirmed(scans, runner, solved.T_world_node, solved.components == 0)
    if confirmed:
        used = [*used, *confirmed]
        solved = optimize_poses(runner.graph(count, used), **options)
    aligned = solved.components == 0
    # One scan is aligned to nothing unless it is the only one.
    if count > 1 and aligned.sum() == 1:
        aligned = np.zeros(count, bool)
    reference = int(np.flatnonzero(solved.components == 0)[0])
    poses = np.where(aligned[:, None, None], solved.T_world_node, np.eye(4))
    facts = {
        pair: (bool(solved.confidence[e] > 0.5), not solved.unverified[e])
        for e, pair in enumerate(used)
    }
    listed = tuple(
        _scan_pair(pair, result, poses, aligned, *facts.get(pair, (False, False)))
        for pair, result in runner.found.items()
    )
    return MultiRegistration(poses, aligned, reference, listed, cycles)


def _scan_pair(
    pair: tuple[int, int], result: PairwiseResult, poses: np.ndarray, aligned: np.ndarray,
    used: bool, verified: bool,
) -> ScanPair:  # fmt: skip
    source, target = pair
    turn = shift = float("nan")
    if aligned[source] and aligned[target] and np.isfinite(result.T_target_source).all():
        expected = np.linalg.inv(poses[target]) @ poses[source]
        turn, shift = _difference(expected, np.asarray(result.T_target_source))
    used = bool(used and aligned[source] and aligned[target])
    return ScanPair(source, target, result, used, bool(used and verified), turn, shift)


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Angle and distance between two poses."""
    turns = so3.project(np.stack([a[:3, :3], b[:3, :3]]))
    shift = float(np.linalg.norm(a[:3, 3] - b[:3, 3]))
    return float(so3.angles(turns[:1], turns[1:])[0]), shift


def _confirmed(
    scans: Sequence[Any], runner: _Pairs, poses: np.ndarray, aligned: np.ndarray
) -> list[tuple[int, int]]:
    """Unsure pairs that agree with another about where a scan that is left over belongs."""
    accepted: list[tuple[int, int]] = []
    for scan in np.flatnonzero(~aligned).tolist():
        proposals: list[tuple[tuple[int, int], np.ndarray]] = []
        for pair, result in runner.found.items():
            matrix = np.asarray(result.T_target_source)
            other = pair[1] if pair[0] == scan else pair[0]
            if result.converged or scan not in pair or not aligned[other]:
                continue
            if not np.isfinite(matrix).all() or not np.linalg.det(matrix[:3, :3]) > 0:
                continue
            inward = matrix if pair[0] == scan else np.linalg.inv(matrix)
            proposals.append((pair, poses[other] @ inward))
        if len(proposals) < 2:
            continue
        size = _diameter(scans[scan])
        stack = np.stack([matrix for _, matrix in proposals])
        rigid = stack.copy()
        rigid[:, :3, :3] = so3.project(stack[:, :3, :3])
        # Each proposal is a candidate; the largest agreeing group decides, its median the pose.
        groups = [[k for k in range(len(rigid)) if _agree(a, rigid[k], size)] for a in rigid]
        best = max(groups, key=len)
        center = average_motion(rigid[best], length=max(size, 1e-12))
        members = [k for k in range(len(rigid)) if _agree(center, rigid[k], size)]
        if len(members) >= 2:
            accepted += [proposals[k][0] for k in members]
    return accepted


def _agree(a: np.ndarray, b: np.ndarray, size: float) -> bool:
    turn, shift = _difference(a, b)
    return bool(turn <= _AGREEING_TURN and shift <= _AGREEING_SHIFT * size)


def _diameter(scan: Any) -> float:
    points = points_of(scan)
    low, high = np.quantile(points, [0.02, 0.98], axis=0)
    return float(np.linalg.norm(high - low))


def points_of(scan: Any) -> Float[np.ndarray, "N 3"]:
    """The finite points of a scan of any kind that `registration.register` takes."""
    if isinstance(scan, np.ndarray):
        points = np.asarray(scan[:, :3], np.float64)
        return points[np.isfinite(points).all(axis=1)]
    from .clouds import as_cloud  # pyright: ignore[reportMissingImports]

    return as_cloud(scan).points
