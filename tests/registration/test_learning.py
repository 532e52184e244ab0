"""Training of point networks: better than before, exactly resumable, and judged rightly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from registration.averaging import so3
from registration.learning import (
    ColorsConfig,
    ColorsMethod,
    train_classifier,
    train_outlier_detector,
)
from registration.learning.matching_score import matching_score
from registration.learning.outliers import distance_scores, ranking_accuracy, with_outliers
from registration.learning.solids import SOLIDS, sample_solids, turned
from registration.learning.spans import moment_bases, span_distances
from runs import Trainee, WatchableTrainee

CONFIG = ColorsConfig(points=400, channels=8, backbone="deep-sets")


def clouds(count: int, points: int = 400, seed: int = 0) -> list[np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    return list(sample_solids(count, points, generator)[0].double().numpy())


def test_solids_have_their_shapes() -> None:
    generator = torch.Generator().manual_seed(0)
    sphere = SOLIDS["sphere"](200, generator)
    assert torch.allclose(sphere.norm(dim=1), torch.ones(200), atol=1e-5)
    box = SOLIDS["box"](200, generator)
    assert torch.allclose(box.abs().amax(dim=1), torch.ones(200))
    tetrahedron = SOLIDS["tetrahedron"](200, generator)
    faces = tetrahedron @ torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).T
    assert torch.allclose(faces.amin(dim=1), -torch.ones(200), atol=1e-4)
    pairs = sample_solids(3, 50, generator)[0]
    moved = turned(pairs, generator)
    assert torch.allclose(pairs.norm(dim=2), moved.norm(dim=2), atol=1e-5)
    assert torch.allclose(pairs @ pairs.mT, moved @ moved.mT, atol=1e-4)


def test_colors_resume_to_the_same_bits() -> None:
    made = clouds(4)
    straight, first = (ColorsMethod(CONFIG, made, seed=0) for _ in range(2))
    assert isinstance(straight, Trainee) and not isinstance(straight, WatchableTrainee)
    for step in range(4):
        straight.step(step, step / 4)
    for step in range(2):
        first.step(step, step / 4)
    second = ColorsMethod(CONFIG, made, seed=9)
    second.load_state_dict(first.state_dict())
    for step in range(2, 4):
        second.step(step, step / 4)
    untouched = ColorsMethod(CONFIG, made, seed=0)
    weights = [list(method.coloring.parameters()) for method in (straight, second, untouched)]
    assert all(torch.equal(a, b) for a, b in zip(*weights[:2], strict=True))
    assert not all(torch.equal(a, c) for a, c in zip(weights[0], weights[2], strict=True))


def test_training_clouds_are_checked() -> None:
    with pytest.raises(ValueError, match="at least one cloud"):
        ColorsMethod(CONFIG, [], seed=0)
    with pytest.raises(ValueError, match="smallest of 9"):
        ColorsMethod(CONFIG, [np.zeros((9, 3))], seed=0)


def test_score_is_one_for_perfect_colors_and_chance_for_none() -> None:
    rng = np.random.default_rng(0)
    surface = rng.uniform(-1, 1, (4000, 3)) * [1, 1, 0.2]
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = so3.random(1, rng)[0], [3, 1, 2]
    source, target = surface[:2000], surface[2000:] @ pose[:3, :3].T + pose[:3, 3]
    anchors = rng.uniform(-1, 1, (24, 3)) * [1, 1, 0.2]

    def place(cloud: np.ndarray, frame: np.ndarray) -> np.ndarray:
        own = (cloud - frame[:3, 3]) @ frame[:3, :3]
        return np.exp(-4 * ((own[:, None] - anchors) ** 2).sum(axis=2))

    seen: list[np.ndarray] = [np.eye(4), pose]
    score = matching_score(
        lambda cloud: place(cloud, seen.pop(0)), source, target, pose, radius=0.5,
        num_keypoints=100,
    )  # fmt: skip
    nothing = matching_score(
        lambda cloud: rng.uniform(0.4, 0.6, (len(cloud), 8)), source, target, pose, radius=0.5,
        num_keypoints=100,
    )  # fmt: skip
    assert score > 0.9 and nothing < 0.4


def test_ranking_accuracy_is_the_share_of_ordered_pairs() -> None:
    scores = torch.tensor([0.1, 0.4, 0.35, 0.8])
    wild = torch.tensor([False, False, True, True])
    assert ranking_accuracy(scores, wild) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="some points"):
        ranking_accuracy(scores, torch.zeros(4, dtype=torch.bool))


def test_outliers_are_as_many_as_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = sample_solids(1, 4000, generator)[0]
    points, wild = with_outliers(cloud, generator, share=0.25)
    assert abs(float(wild.float().mean()) - 0.25) < 0.03
    assert torch.equal(points[~wild], cloud[~wild])
    assert ranking_accuracy(distance_scores(points)[0], wild[0]) > 0.8


@pytest.mark.slow
def test_networks_name_turned_solids_and_coordinates_cannot() -> None:
    _, plain = train_classifier(None, steps=100)
    _, invariant = train_classifier("deep-sets", steps=100)
    assert invariant.turned > 0.6 > 0.4 > plain.turned
    assert abs(invariant.turned - invariant.canonical) < 0.05


@pytest.mark.slow
def test_learned_outliers_beat_distances() -> None:
    detector = train_outlier_detector(steps=120)
    generator = torch.Generator().manual_seed(77)
    ours, usual = [], []
    for _ in range(5):
        points, wild = with_outliers(sample_solids(1, 1000, generator)[0], generator, share=0.3)
        with torch.no_grad():
            ours.append(ranking_accuracy(detector(points)[0], wild[0]))
        usual.append(ranking_accuracy(distance_scores(points)[0], wild[0]))
    assert np.mean(ours) > np.mean(usual)


@pytest.mark.slow
def test_verb_trains_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("registration.clouds", reason="reading clouds is not installed")
    from registration.networks import Coloring
    from scripts.main import main

    files = []
    for number, cloud in enumerate(clouds(2)):
        files.append(tmp_path / f"{number}.npy")
        np.save(files[-1], cloud)
    out = tmp_path / "run"
    command = ["learn-colors", *map(str, files), "--out", str(out), "--points", "150", "--json"]
    assert main([*command, "--max-steps", "3"]) == 0
    assert main([*command, "--max-steps", "6", "--resume"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["steps"] == 6
    assert Coloring.load(Path(summary["output"])).name == "shape"
    aligned = ["align", str(files[0]), str(files[0]), str(tmp_path / "pose.json"), "--json"]
    assert main([*aligned, "--colors", summary["output"]]) == 0
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"nothing")
    assert main([*aligned, "--colors", str(broken), "--overwrite"]) == 1


def test_span_distance_is_that_of_the_projectors_and_blind_to_affine_maps() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 3))
    colors = torch.from_numpy(rng.uniform(size=(300, 8)))
    keypoints = np.argsort(np.linalg.norm(points, axis=1))[:5]  # with neighbors all around
    a = moment_bases(points, colors, keypoints, 1.0)
    b = moment_bases(points, colors.flip(1), keypoints, 1.0)
    projectors = [x @ x.mT for x in (a, b)]
    direct = (projectors[0][:, None] - projectors[1][None]).flatten(2).norm(dim=2) / 2**0.5
    assert torch.allclose(span_distances(a, b), direct, atol=1e-9)
    rotation = so3.random(1, rng)[0]
    moved = moment_bases(2 * points @ rotation.T + 5.0, colors, keypoints, 2.0)
    assert span_distances(a, moved).diagonal().max() < 2e-3  # the floor under the root is 1e-3


def test_shape_colors_begin_at_clusters_and_learn() -> None:
    made = clouds(4, points=300)
    method = ColorsMethod(ColorsConfig(points=200, channels=8), made, seed=0)
    x = torch.from_numpy(made[0]).float()
    before = method.coloring.colors(x)
    assert torch.allclose(before.sum(dim=1), torch.ones(300), atol=1e-5)
    rotation = torch.from_numpy(so3.random(1, np.random.default_rng(0))[0]).float()
    assert (method.coloring.colors(x @ rotation.T + 3) - before).abs().max() < 1e-3
    for step in range(3):
        assert np.isfinite(float(method.step(step, step / 3)["loss"]))
    assert (method.coloring.colors(x) - before).abs().max() > 1e-3
    assert all(p.grad is not None for p in method.coloring.parameters())
