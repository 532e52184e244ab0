"""Points picked on scenes, and what is done with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scenes import RaySphere
from scipy.spatial.transform import Rotation

pytest.importorskip("viser", reason="viser is not installed")

from captures import Similarity
from splats import Gaussians
from splats.scene import SplatScene
from viewer import NamedScene, SceneViewer
from viewer.camera import look_at_pose
from viewer.placing import Pick, Placement, placed, surface_point


def similarity() -> Similarity:
    rotation = torch.from_numpy(Rotation.from_rotvec([0.3, -1.0, 0.7]).as_matrix())
    return Similarity(2.5, rotation, torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))


def picks(scene: str, points: np.ndarray, eye: tuple = (0.0, -5.0, 0.0)) -> list[Pick]:
    return [Pick(scene, point, np.array(eye)) for point in points]


def gaussians(count: int = 50) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    return Gaussians(
        means=torch.randn(count, 3, generator=generator),
        log_scales=torch.full((count, 3), -3.0),
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        logit_opacities=torch.full((count,), 3.0),
        sh0=torch.zeros(count, 1, 3),
        shN=torch.zeros(count, 0, 3),
    )


@pytest.mark.parametrize("aspect", [0.5, 1.0, 1.8])
def test_a_click_finds_the_surface(aspect: float) -> None:
    """To a pixel of the depth image; beside the sphere there is nothing."""
    eye, middle = torch.tensor([[3.0, -1.0, 2.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    up = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    pose = look_at_pose(eye, middle, up, 0.8)
    point = surface_point(RaySphere(), pose, aspect, (0.5, 0.5))
    assert (point - eye / eye.norm()).norm() < 0.02
    point = surface_point(RaySphere(), pose, aspect, (0.5, 0.4))
    assert abs(float(point.norm()) - 1) < 1e-5
    assert point @ up > eye @ up / eye.norm()  # above the middle of the picture
    with pytest.raises(ValueError, match="no surface"):
        surface_point(RaySphere(), pose, aspect, (0.02, 0.02))


def test_three_points_of_the_ground_make_it_level() -> None:
    """Whatever their order, with the eye above, about the last point."""
    tilt = Rotation.from_rotvec([0.4, 0.2, -0.3])
    ground = np.array([[0.0, 2, 0], [1, 2, 0], [0, 2, 1]])
    for order in ([0, 1, 2], [2, 1, 0]):
        placement = Placement()
        placement.picks = picks("a", tilt.apply(ground)[order], tuple(tilt.apply([0.0, -1, 0])))
        found = placement.upright("a")
        level = found.apply(torch.from_numpy(tilt.apply(ground))).numpy()
        assert np.ptp(level[:, 1]) < 1e-12
        assert found.apply(torch.from_numpy(placement.picks[-1].eye))[1] < level[0, 1]
        last = torch.from_numpy(placement.picks[-1].point)
        torch.testing.assert_close(found.apply(last), last)
    with pytest.raises(ValueError, match="three points"):
        placement.upright("b")
    placement.picks = picks("a", np.outer([0.0, 1, 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="one line"):
        placement.upright("a")


def test_a_length_a_second_scene_and_the_file() -> None:
    """Moves add up, the picks go along, and the saved matrix carries the file to where it is."""
    rng = np.random.default_rng(0)
    points, truth = rng.normal(size=(4, 3)), similarity()
    placement = Placement()
    with pytest.raises(ValueError, match="moved"):
        placement.to_json()
    placement.picks = picks("b", truth.apply(torch.from_numpy(points)).numpy())
    placement.picks += picks("a", points)
    found, rmse = placement.onto("a", "b", with_scale=True)
    torch.testing.assert_close(found.matrix(), truth.matrix())
    assert rmse < 1e-12
    placement.move("a", found)
    np.testing.assert_allclose(placement.points_on("a"), placement.points_on("b"))
    placement.move("a", placement.metric("a", 4.0))
    a, b = placement.points_on("a")[-2:]
    assert np.linalg.norm(a - b) == pytest.approx(4.0)
    matrix = np.array(json.loads(placement.to_json())["a"]["T_target_source"])
    there = points @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(there, placement.points_on("a"))
    with pytest.raises(ValueError, match="another scene"):
        placement.onto("a", "a", with_scale=True)
    with pytest.raises(ValueError, match="two ends"):
        placement.metric("c", 1.0)


def test_the_viewer_moves_its_scenes() -> None:
    """Through the panel, without a browser; other scenes than splats say that they cannot."""
    first, second = SplatScene(gaussians()), SplatScene(gaussians().transformed(similarity()))
    scenes = [NamedScene("a", first), NamedScene("b", second)]
    with SceneViewer(scenes, port=8193) as viewer:
        for name, scene in (("a", first), ("b", second)):
            for pick in picks(name, scene.gaussians.means[:4].double().numpy()):
                viewer.placing.add(pick)
        assert viewer.placing.status.content == "Points on a: 4, b: 4"
        found, _ = viewer.placing.placement.onto("a", "b", with_scale=True)
        viewer.placing._move("a", found)
        shown = viewer._scenes["a"]
        assert isinstance(shown, SplatScene)
        torch.testing.assert_close(
            shown.gaussians.means, second.gaussians.means, atol=1e-5, rtol=1e-5
        )
        torch.testing.assert_close(
            shown.gaussians.log_scales, second.gaussians.log_scales, atol=1e-5, rtol=1e-5
        )
    with pytest.raises(ValueError, match="Gaussians"):
        placed(RaySphere(), similarity())
