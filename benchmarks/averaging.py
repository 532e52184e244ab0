"""Rotation averaging by flag medians beside L1-IRLS and Shonan, and sets of real scans."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from registration.averaging import RotationGraph, average_rotations, so3
from registration.averaging.synthetic import choose_outliers, random_graph
from registration.multiscan import LEAST_TURN

from .averaging_rivals import colmap, shonan
from .command import fieldwright, real_data
from .metric import Metric
from .timing import compare

RATES = (0.0, 0.1, 0.2, 0.3, 0.4)
NOISES_DEG = (1.0, 2.0, 5.0, 10.0)

Solver = Callable[[RotationGraph], "np.ndarray | None"]

OURS: dict[str, Callable[..., np.ndarray]] = {
    "flag median": lambda graph, **options: average_rotations(graph, **options).rotations,
    "flag median, not polished": lambda graph, **options: (
        average_rotations(graph, polish=False, **options).rotations
    ),
}
RIVALS: dict[str, Solver] = {
    "L1-IRLS": lambda graph: average_rotations(graph, method="l1-irls").rotations,
    "COLMAP's L1-IRLS": colmap,
    "Shonan": shonan,
    "Shonan with Huber": lambda graph: shonan(graph, huber=True),
}
_EQUAL = 1.01  # ratios up to this count as equal: the spread of means over the seeds


def run(*, quick: bool) -> Iterator[Metric]:
    """Synthetic graphs by outlier rate and by noise, real graphs, sets of real scans, time."""
    seeds = range(2 if quick else 12)
    for rate in RATES[::2] if quick else RATES:
        name = f"100 rotations, degree 10, noise 3 deg, {rate:.0%} outliers"
        yield from _synthetic(name, 3.0, rate, seeds)
    for noise in NOISES_DEG[1:2] if quick else NOISES_DEG:
        name = f"100 rotations, degree 10, noise {noise:g} deg, 20% outliers"
        yield from _synthetic(name, noise, 0.2, seeds)
    yield from _real(quick=quick)
    yield from _scan_sets()
    yield from _times()


def _synthetic(name: str, noise_deg: float, rate: float, seeds: range) -> Iterator[Metric]:
    graphs = [
        random_graph(100, degree=10.0, noise_deg=noise_deg, outlier_rate=rate, seed=seed)
        for seed in seeds
    ]
    pairs = [(made.graph, made.truth) for made in graphs]
    yield from _compared(name, pairs)


def _compared(
    name: str, pairs: list[tuple[RotationGraph, np.ndarray]], least_noise: float = 0.0
) -> Iterator[Metric]:
    errors = {}
    ours = {key: partial(solver, least_noise=least_noise) for key, solver in OURS.items()}
    for solver_name, solver in (ours | RIVALS).items():
        found = [_error_deg(solver(graph), truth) for graph, truth in pairs]
        found = [error for error in found if error is not None]
        if found:  # a rival is judged by the graphs that it solves
            errors[solver_name] = float(np.mean(found))
            yield Metric(f"{name}: {solver_name}, mean error", errors[solver_name], "deg", "lower",
                         0.05)  # fmt: skip
    rival = min(errors[key] for key in RIVALS if key in errors)
    ratio = errors["flag median"] / rival
    yield Metric(f"{name}: flag median over the best rival", ratio, "x", "lower", 0.02, _EQUAL)


def _error_deg(found: np.ndarray | None, truth: np.ndarray) -> float | None:
    if found is None:
        return None
    return float(np.degrees(so3.angles(so3.align(found, truth), truth)).mean())


def _real(*, quick: bool) -> Iterator[Metric]:
    """Frames of a living room, registered by GICP from no start at all: far pairs go wrong."""
    folder = real_data("rgbd/livingroom1_micro")
    if folder is None:
        return
    from .averaging_frames import frame_graph

    graph, truth = frame_graph(folder, every=2 if quick else 1)
    own = np.degrees(
        so3.angles(truth[graph.edges[:, 0]] @ graph.rotations, truth[graph.edges[:, 1]])
    )
    name = f"{graph.num_nodes} frames of livingroom1, {len(graph.edges)} pairs by GICP"
    yield Metric(f"{name}: pairs off by more than 5 deg", float((own > 5).mean()), "of all")
    # Registrations of scans are averaged with the least noise that `register_many` gives them.
    least_noise = float(LEAST_TURN)
    yield from _compared(f"{name}, as they are", [(graph, truth)], least_noise)
    for rate in (0.2, 0.4):
        pairs = [(_with_outliers(graph, own > 5, rate, seed), truth) for seed in range(3)]
        yield from _compared(f"{name}, {rate:.0%} wrong", pairs, least_noise)


def _with_outliers(
    graph: RotationGraph, wrong: np.ndarray, rate: float, seed: int
) -> RotationGraph:
    """Random rotations in place of good pairs until a share `rate` is wrong in all."""
    rng = np.random.default_rng(seed)
    outliers = choose_outliers(graph.num_nodes, graph.edges, wrong, rate, rng) & ~wrong
    rotations = graph.rotations.copy()
    rotations[outliers] = so3.random(int(outliers.sum()), rng)
    return RotationGraph(graph.num_nodes, graph.edges, rotations)


def _scan_sets() -> Iterator[Metric]:
    """`fieldwright register` on sets of real scans, as a user runs it."""
    import tempfile

    kitchen = real_data("registration/3dmatch_redkitchen_0_4_6")
    kinect = real_data("registration/pcl_kinect_sequence")
    with tempfile.TemporaryDirectory() as temporary:
        if kitchen is not None:
            scans = [kitchen / f"cloud_bin_{n}.ply" for n in (0, 4, 6)]
            summary = fieldwright("register", *scans, Path(temporary) / "kitchen.ply")
            yield from _against_truth(kitchen, scans, summary)
        if kinect is not None:
            scans = sorted(kinect.glob("*.pcd"))
            summary = fieldwright("register", *scans, Path(temporary) / "kinect.ply")
            name = f"register, {len(scans)} Kinect clouds"
            share = summary["num_aligned"] / len(scans)
            yield Metric(f"{name}: aligned", share, "of all", "higher", 0.0, 1.0)
            closing = summary["median_cycle_error_deg"]
            if closing is not None:
                yield Metric(f"{name}: median cycle error", closing, "deg", "lower", 0.2)


def _against_truth(folder: Path, scans: list[Path], summary: dict) -> Iterator[Metric]:
    truth = json.loads((folder / "gt.json").read_text())["pairs"]
    poses = [summary["T_world_scan"][str(scan)] for scan in scans]
    aligned = sum(pose is not None for pose in poses)
    name = "register, 3 fragments of a kitchen"
    yield Metric(f"{name}: aligned", aligned / len(scans), "of all", "higher", 0.0, 1.0)
    turns, shifts = [], []
    numbers = {0: 0, 4: 1, 6: 2}
    for pair, entry in truth.items():
        i, j = (numbers[int(part)] for part in pair.split("_"))
        if poses[i] is None or poses[j] is None:
            continue
        off = np.linalg.inv(np.array(entry["T"])) @ np.linalg.inv(poses[i]) @ np.array(poses[j])
        turn = so3.project(off[None, :3, :3])
        turns.append(float(np.degrees(so3.angles(turn, np.eye(3)[None])[0])))
        shifts.append(float(np.linalg.norm(off[:3, 3])))
    if turns:
        yield Metric(f"{name}: largest rotation error", max(turns), "deg", "lower", 0.2)
        yield Metric(f"{name}: largest translation error", max(shifts), "m", "lower", 0.2)


def _times() -> Iterator[Metric]:
    graph = random_graph(100, degree=10.0, noise_deg=3.0, outlier_rate=0.2, seed=0).graph
    calls = {"flag median": OURS["flag median"], "L1-IRLS": RIVALS["L1-IRLS"]}
    timed = compare({name: lambda s=s: s(graph) for name, s in calls.items()}, rounds=5)
    for name, timing in timed.items():
        yield Metric(f"100 rotations: {name}, time", timing.best, "s", "lower", 0.3)
