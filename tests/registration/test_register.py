"""Whole registrations: right where there is a pose, a stated refusal where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from captures import Similarity
from registration import as_cloud, register
from registration.belief import WEIGHTS
from registration.kernels import native_kernels
from registration.networks import Coloring, ShapeBackbone
from registration.pairwise import Search
from registration.preparation import Prepared
from registration.units import measure
from registration.verification import FEATURES
from splats.formats import load

from .conftest import degrees_between, motion, moved


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.inv(matrix).astype(np.float64)


pytestmark = pytest.mark.skipif(
    native_kernels() is None, reason="the native kernels were not built"
)


@pytest.mark.parametrize("seed", range(3))
def test_two_scans_of_a_room(room: NDArray[np.float64], seed: int) -> None:
    """Different points, 70 % of the room each, any rotation: within 0.3 degrees and 1 cm."""
    truth = motion(seed)
    source = moved(room[::2][room[::2, 0] < 2.8], inverse(truth))
    target = room[1::2][room[1::2, 0] > 1.2]
    found = register(source, target)
    assert found.converged, found.reason
    assert degrees_between(found.T_target_source, truth) < 0.3
    gap = moved(source.mean(0)[None], found.T_target_source) - moved(source.mean(0)[None], truth)
    assert np.linalg.norm(gap) < 0.01
    assert 0.2 < found.overlap < 0.9 and found.inlier_ratio > 0.7
    assert found.hypotheses[0].score >= found.hypotheses[-1].score
    np.testing.assert_allclose(found.similarity.matrix().numpy(), found.T_target_source)


def test_learned_colors_propose_poses(room: NDArray[np.float64], tmp_path: Path) -> None:
    """A saved coloring matches the neighborhoods of a turned room where features propose nothing,
    and is what `register` asks where features do not suffice."""
    coloring = Coloring("shape", radius=0.3)
    assert isinstance(coloring.backbone, ShapeBackbone)
    sample = room[::20] / np.ptp(room, axis=0).max()
    coloring.backbone.fit([sample])
    colors = Coloring.load(coloring.save(tmp_path / "coloring.npz")).of_cloud
    truth = motion(9)
    source, target = moved(room[::2], inverse(truth)), room[1::2]

    class MomentsOnly(Search):
        def _feature_poses(self, level: Any) -> NDArray[np.float64]:
            return np.zeros((0, 13))

    search = MomentsOnly((measure(source), measure(target)), colors=colors)
    best = search.run()
    assert best is not None and best.origin == "ume"
    assert degrees_between(search.answer(best).T_target_source, truth) < 0.3
    asked: list[int] = []

    def counted(cloud: Prepared) -> NDArray[np.float32]:
        asked.append(len(cloud.points))
        return colors(cloud)

    low, high = room[room[:, 0] < 1.5], room[room[:, 0] > 2.3]
    assert not register(moved(low, motion(2)), high, colors=counted).converged
    assert len(asked) == 2


def test_no_evidence_speaks_against_a_pose() -> None:
    """The fitted weights are those of the features, and none is negative."""
    assert tuple(WEIGHTS) == FEATURES
    assert min(WEIGHTS.values()) >= 0


def test_a_pose_that_another_rivals_is_believed_less(room: NDArray[np.float64]) -> None:
    """The right pose of a room stands alone; near copies of it are no rivals."""
    truth = motion(4)
    search = Search((measure(moved(room[::2], inverse(truth))), measure(room[1::2])))
    best = search.run()
    assert best is not None
    evidence = best.evidence
    assert evidence.support > 10 * evidence.rival_support
    rivaled = replace(evidence, rival_support=evidence.support)
    lead = evidence.features[FEATURES.index("lead")]
    assert rivaled.features[FEATURES.index("lead")] == 0
    assert evidence.log_odds - rivaled.log_odds == pytest.approx(WEIGHTS["lead"] * lead)


def test_the_same_bits_every_time(room: NDArray[np.float64]) -> None:
    """At any number of threads."""
    native = native_kernels()
    assert native is not None
    source = moved(room[::4], motion(5))
    chosen, found = native.num_threads(), []
    for count in (1, 2, 3):
        native.set_num_threads(count)
        found.append(register(source, room[1::4]).T_target_source)
    native.set_num_threads(chosen)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("scale", [0.1, 7.0])
def test_scale_is_found_where_asked_for(room: NDArray[np.float64], scale: float) -> None:
    """0.1 to 10 times as large; without the flag the units are called different or it fails."""
    truth = motion(7, scale=scale)
    source = moved(room[::2], inverse(truth))
    found = register(source, room[1::2], with_scale=True)
    assert found.converged, found.reason
    assert abs(found.scale / scale - 1) < 0.005
    assert degrees_between(found.T_target_source, truth) < 0.3
    assert not register(source, room[1::2]).converged


def test_a_mirrored_room_is_not_aligned(room: NDArray[np.float64]) -> None:
    """Spans and distances are blind to reflections; the answer must not be."""
    assert not register(room[::2] * [1, 1, -1], room[1::2]).converged


def furnished(rng: np.random.Generator, count: int = 40_000) -> NDArray[np.float64]:
    """A box of a room with a bed, a wardrobe, a table and a chest."""
    boxes = [
        ((0, 0, 0), (6, 4, 2.6), count),
        ((0.2, 0.2, 0), (2, 1, 0.8), count // 10),
        ((4.6, 0, 0), (6, 0.6, 2), count // 10),
        ((3, 2.6, 0), (4.4, 3.4, 0.75), count // 10),
        ((5.2, 1.8, 0), (5.9, 2.6, 1), count // 10),
    ]
    parts = []
    for low, high, number in boxes:
        size = np.subtract(high, low)
        areas = np.repeat(size.prod() / size, 2)
        face = rng.choice(6, number, p=areas / areas.sum())
        points = np.asarray(low) + rng.uniform(size=(number, 3)) * size
        points[np.arange(number), face // 2] = np.where(
            face % 2, np.asarray(high)[face // 2], np.asarray(low)[face // 2]
        )
        parts.append(points)
    return np.concatenate(parts) + rng.normal(scale=0.005, size=(sum(b[2] for b in boxes), 3))


@pytest.mark.parametrize("seed", range(2))
def test_furniture_tells_a_room_from_its_mirror_image(seed: int) -> None:
    """Walls, floor and ceiling alone would fit."""
    rng = np.random.default_rng(seed)
    first, second = furnished(rng), furnished(rng)
    assert register(second, first).converged
    found = register(second * [1, -1, 1], first)
    assert not found.converged and "mirror" in found.reason


def test_different_places_are_not_aligned(room: NDArray[np.float64]) -> None:
    """The best guess is returned with a reason."""
    low = room[room[:, 0] < 1.5]
    high = room[room[:, 0] > 2.3]
    found = register(moved(low, motion(2)), high)
    assert not found.converged and found.reason


def test_millimeters_and_meters(room: NDArray[np.float64]) -> None:
    """Units that differ are named with what to do about it."""
    found = register(1000 * room[::4], room[1::4])
    assert not found.converged
    assert "units differ" in found.reason and "--with-scale" in found.reason


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        (np.zeros((2, 3)), "at least 3"),
        (np.full((50, 3), np.nan), "no finite points"),
        (np.ones((50, 3)), "same point"),
        (np.zeros((4, 2)), r"\[N, 3\]"),
        (np.zeros((0, 3)), "no finite points"),
    ],
)
def test_no_cloud_no_registration(room: NDArray[np.float64], cloud: NDArray, message: str) -> None:
    """Clear errors that name the argument."""
    with pytest.raises(ValueError, match=message):
        register(cloud, room[::20])
    with pytest.raises(ValueError, match="target"):
        register(room[::20], cloud)


def test_lines_planes_and_few_points(room: NDArray[np.float64]) -> None:
    """Shapes that fix no pose get a stated answer."""
    rng = np.random.default_rng(0)
    line = np.outer(rng.uniform(size=500), [1.0, 2.0, 3.0])
    plane = np.column_stack([rng.uniform(size=(5000, 2)), np.zeros(5000)])
    assert "one line" in register(line, room[::20]).reason
    assert "one plane" in register(room[::20], plane).reason
    for few in (room[:3], room[:20], np.repeat(room[:10], 30, axis=0)):
        found = register(few, room[::20])
        assert not found.converged and found.reason


def test_nan_rows_and_duplicates_change_little(room: NDArray[np.float64]) -> None:
    """As in organized depth images, and in clouds that were concatenated twice."""
    truth = motion(11)
    source = moved(room[::3], inverse(truth))
    source = np.concatenate([source, source, np.full((500, 3), np.nan)])
    found = register(source, room[1::3])
    assert found.converged and degrees_between(found.T_target_source, truth) < 0.3


def test_a_symmetric_box_is_ambiguous() -> None:
    """A cube fits itself in 24 ways, none of which is the answer."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (20_000, 3))
    axis = rng.integers(0, 3, len(points))
    points[np.arange(len(points)), axis] = rng.choice([-1.0, 1.0], len(points))
    assert not register(moved(points[::2], motion(3)), points[1::2]).converged


@pytest.mark.parametrize("name", ["kitti", "bunny"])
def test_real_scans(shared_data: Path, name: str) -> None:
    """Strict success from a random start: 1 degree, and 10 cm or 5 mm."""
    folder = shared_data / "registration"
    if name == "kitti":
        folder, files, limit = folder / "kitti_pair", ("source.ply", "target.ply"), 0.1
        truth = np.loadtxt(folder / "T_target_source.txt")
    else:
        folder, files, limit = folder / "stanford_bunny", ("bun045.ply", "bun000.ply"), 0.005
        truth = np.loadtxt(folder / "T_bun045_to_bun000.txt")
    source, target = (as_cloud(folder / file).points for file in files)
    start = motion(1, reach=float(np.ptp(target, axis=0).max()))
    found = register(moved(source, start), target)
    assert found.converged, found.reason
    assert degrees_between(found.T_target_source @ start, truth) < 1
    assert np.linalg.norm((found.T_target_source @ start - truth)[:3, 3]) < limit


def test_halves_of_a_trained_scene(shared_data: Path) -> None:
    """Disjoint Gaussians, unknown scale: within 0.5 degrees and 0.5 %."""
    gaussians = load(shared_data / "splats/toy-cat/scene.compressed.ply")
    order = torch.randperm(len(gaussians), generator=torch.Generator().manual_seed(0))
    matrix = torch.from_numpy(motion(4))
    truth = Similarity(3.7, matrix[:3, :3], matrix[:3, 3])
    source = gaussians[order[::2]].transformed(truth.inverse())
    found = register(source, gaussians[order[1::2]], with_scale=True)
    assert found.converged, found.reason
    assert abs(found.scale / 3.7 - 1) < 0.005
    assert degrees_between(found.T_target_source, truth.matrix().numpy()) < 0.5
