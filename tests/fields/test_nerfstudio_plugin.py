"""The plug-in against a stand-in with nerfstudio's names, as far as the plug-in relies on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from captures import Cameras
from fields import nerfstudio_plugin
from fields.conversion.viewpoints import cameras_on_sphere
from runs import METHODS, list_plugins

AXES = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))


def opengl(cameras: Cameras) -> SimpleNamespace:
    """Our cameras in nerfstudio's form, moved and scaled as a dataparser would."""
    poses = cameras.camtoworlds @ AXES
    poses[:, :3, 3] = 0.25 * poses[:, :3, 3] + 1.0
    Ks = cameras.Ks
    return SimpleNamespace(
        camera_to_worlds=poses[:, :3].float(),
        fx=Ks[:, 0, 0:1],
        fy=Ks[:, 1, 1:2],
        cx=Ks[:, 0, 2:3],
        cy=Ks[:, 1, 2:3],
        width=torch.full((len(Ks), 1), cameras.width),
        height=torch.full((len(Ks), 1), cameras.height),
        distortion_params=torch.zeros(len(Ks), 6),
    )


class Dataset:
    """Eight gray images of nothing much."""

    def __init__(self) -> None:
        bounds = torch.tensor([[-1.0] * 3, [1.0] * 3])
        self.cameras = opengl(cameras_on_sphere(bounds, 8, width=24, height=20))

    def get_image_float32(self, index: int) -> torch.Tensor:
        return torch.full((20, 24, 3), 0.1 * index)


class FakePipeline:
    def __init__(self, config: Any, device: str, **options: Any) -> None:
        del device, options
        self.config = config
        self.datamanager = SimpleNamespace(train_dataset=Dataset())
        self.model = config.model._target(config.model)


class FakeModel(torch.nn.Module):
    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.populate_modules()

    def populate_modules(self) -> None:
        raise NotImplementedError


@dataclass
class FakeConfig:
    _target: Any = None


@dataclass
class FakeTrainerConfig:
    method_name: str
    max_num_iterations: int
    pipeline: Any
    optimizers: dict[str, Any]
    vis: str


@dataclass
class FakeSpecification:
    config: Any
    description: str


@dataclass
class FakeOptimizer:
    lr: float = field(default=1.0)


@pytest.fixture
def nerfstudio(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "nerfstudio": {},
        "nerfstudio.engine": {},
        "nerfstudio.engine.optimizers": {"AdamOptimizerConfig": FakeOptimizer},
        "nerfstudio.engine.trainer": {"TrainerConfig": FakeTrainerConfig},
        "nerfstudio.models": {},
        "nerfstudio.models.base_model": {"Model": FakeModel, "ModelConfig": FakeConfig},
        "nerfstudio.pipelines": {},
        "nerfstudio.pipelines.base_pipeline": {
            "VanillaPipeline": FakePipeline,
            "VanillaPipelineConfig": FakeConfig,
        },
        "nerfstudio.plugins": {},
        "nerfstudio.plugins.types": {"MethodSpecification": FakeSpecification},
    }
    for name, values in content.items():
        module = ModuleType(name)
        for key, value in values.items():
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)


def test_every_installed_method_has_a_specification(nerfstudio: None) -> None:
    for method in list_plugins(METHODS):
        found = getattr(nerfstudio_plugin, f"fieldwright_{method}")
        assert isinstance(found, FakeSpecification)
        assert found.config.method_name == f"fieldwright-{method}"
        assert found.config.pipeline.method == method


def test_a_pipeline_trains_and_shows_the_scene_in_the_datasets_units(nerfstudio: None) -> None:
    config = nerfstudio_plugin.fieldwright_splats.config.pipeline
    pipeline = config._target(config, "cpu")
    before = pipeline.trainee.gaussians().means.clone()
    _, losses, _ = pipeline.get_train_loss_dict(0)
    losses["loss"].backward()  # as nerfstudio's trainer does
    assert not torch.equal(before, pipeline.trainee.gaussians().means)
    camera = SimpleNamespace(**vars(Dataset().cameras))
    camera.camera_to_worlds = camera.camera_to_worlds[:1]
    for name in ("fx", "fy", "cx", "cy"):
        setattr(camera, name, getattr(camera, name)[:1])
    outputs = pipeline.model.get_outputs_for_camera(camera)
    assert outputs["rgb"].shape == (20, 24, 3) and outputs["depth"].shape == (20, 24, 1)
    metrics, _ = pipeline.model.get_image_metrics_and_images(
        outputs, {"image": torch.zeros(20, 24, 3)}
    )
    assert metrics["psnr"] > 0


def test_cameras_come_back_in_our_axes() -> None:
    cameras = cameras_on_sphere(torch.tensor([[-1.0] * 3, [1.0] * 3]), 5, width=24, height=20)
    found = nerfstudio_plugin.house_cameras(opengl(cameras))
    torch.testing.assert_close(found.positions, 0.25 * cameras.positions + 1.0, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        found.viewmats[:, :3, :3], cameras.viewmats[:, :3, :3], atol=1e-6, rtol=0
    )
    torch.testing.assert_close(found.Ks, cameras.Ks)


def test_without_nerfstudio_the_plugin_says_what_to_do() -> None:
    with pytest.raises(ImportError, match="use `fieldwright train`"):
        nerfstudio_plugin.specification("splats")
    with pytest.raises(AttributeError, match="no attribute"):
        _ = nerfstudio_plugin.fieldwright_nothing


def test_distorted_datasets_are_refused() -> None:
    dataset = Dataset()
    dataset.cameras.distortion_params[0, 0] = 0.1
    with pytest.raises(ValueError, match="undistort"):
        nerfstudio_plugin.capture_of(dataset)
