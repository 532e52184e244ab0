"""Fieldwright's training methods inside an installed nerfstudio: `ns-train fieldwright-nerfacto`.

nerfstudio finds the attributes of this module through the entry points `nerfstudio.method_configs`
and imports it itself; nothing here needs nerfstudio before. Data, viewer and checkpoints are
nerfstudio's, a training step is one of our `runs.Trainee`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from captures import Cameras, Capture, View
from captures.normalize import normalizing_similarity
from runs import METHODS, list_plugins, load_plugin

_PREFIX = "fieldwright_"
_AXES = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
"""OpenGL camera axes from OpenCV ones."""


def __getattr__(name: str) -> Any:
    """`fieldwright_METHOD`: the `MethodSpecification` of an installed method."""
    if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) in list_plugins(METHODS):
        return specification(name.removeprefix(_PREFIX))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def specification(method: str) -> Any:
    """What `ns-train fieldwright-METHOD` runs.

    Raises:
        ImportError: nerfstudio is not installed.
        ValueError: There is no such method.
    """
    load_plugin(METHODS, method)
    ns = _nerfstudio()
    pipeline = _pipeline_config(ns)
    config = ns.TrainerConfig(
        method_name=f"fieldwright-{method}",
        max_num_iterations=7000,
        pipeline=pipeline(method=method),
        optimizers={"unused": {"optimizer": ns.AdamOptimizerConfig(lr=0.0), "scheduler": None}},
        vis="viewer",
    )
    return ns.MethodSpecification(config=config, description=f"Fieldwright's {method}.")


def _nerfstudio() -> SimpleNamespace:
    try:
        from nerfstudio.engine.optimizers import (  # pyright: ignore[reportMissingImports]
            AdamOptimizerConfig,
        )
        from nerfstudio.engine.trainer import (  # pyright: ignore[reportMissingImports]
            TrainerConfig,
        )
        from nerfstudio.models.base_model import (  # pyright: ignore[reportMissingImports]
            Model,
            ModelConfig,
        )
        from nerfstudio.pipelines.base_pipeline import (  # pyright: ignore[reportMissingImports]
            VanillaPipeline,
            VanillaPipelineConfig,
        )
        from nerfstudio.plugins.types import (  # pyright: ignore[reportMissingImports]
            MethodSpecification,
        )
    except ImportError as error:
        raise ImportError(
            f"the plug-in is for an installed nerfstudio, which cannot be imported: {error}; "
            "without it use `fieldwright train`."
        ) from error
    return SimpleNamespace(**{name: value for name, value in locals().items() if name[0].isupper()})


def _pipeline_config(ns: SimpleNamespace) -> Any:
    """Config classes derived from nerfstudio's, which exist only once it is imported."""

    class TraineeModel(ns.Model):
        """Shows the scene of the trainee to nerfstudio's viewer, evaluation and export."""

        trainee: Any = None
        to_capture: Any = None

        def populate_modules(self) -> None:
            self.unused = nn.Parameter(torch.zeros(1))

        def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
            return {"unused": [self.unused]}

        def get_outputs_for_camera(self, camera: Any, obb_box: Any = None) -> dict[str, Tensor]:
            del obb_box
            return scene_outputs(self.trainee, self.to_capture, camera)

        get_outputs = get_outputs_for_camera

        def get_metrics_dict(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
            del outputs, batch
            return {}

        def get_loss_dict(self, outputs: Any, batch: Any, metrics_dict: Any = None) -> Any:
            del outputs, batch, metrics_dict
            return {}

        def get_image_metrics_and_images(self, outputs: Any, batch: Any) -> tuple[Any, Any]:
            truth = batch["image"][..., :3].to(outputs["rgb"])
            error = (outputs["rgb"] - truth).square().mean()
            pictures = {"img": torch.cat([truth, outputs["rgb"]], dim=1)}
            return {"psnr": float(-10 * error.clamp(min=1e-10).log10())}, pictures

    @dataclass
    class TraineeModelConfig(ns.ModelConfig):
        _target: type = field(default_factory=lambda: TraineeModel)

    class TraineePipeline(ns.VanillaPipeline):
        """Steps a trainee on nerfstudio's training images."""

        def __init__(self, config: Any, device: str, **options: Any) -> None:
            super().__init__(config, device, **options)
            capture = capture_of(self.datamanager.train_dataset)
            method = load_plugin(METHODS, config.method)
            self.trainee = method.create(
                method.Config(), capture, device=torch.device(device), seed=0
            )
            self.model.trainee = self.trainee
            self.model.to_capture = capture.T_source_capture.inverse()
            self.num_steps = config.num_steps

        def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Tensor], Any]:
            found = self.trainee.step(step, min(step / self.num_steps, 0.999999))
            scalars = {key: torch.as_tensor(value).detach() for key, value in found.items()}
            # The trainee has descended; nerfstudio's own optimizer gets a loss without slope.
            loss = scalars.pop("loss") + 0 * self.model.unused.sum()
            return {}, {"loss": loss}, scalars

    @dataclass
    class TraineePipelineConfig(ns.VanillaPipelineConfig):
        _target: type = field(default_factory=lambda: TraineePipeline)
        method: str = "nerfacto"
        num_steps: int = 7000
        model: Any = field(default_factory=TraineeModelConfig)

    return TraineePipelineConfig


def capture_of(dataset: Any) -> Capture:
    """A capture, normalized like all others, of a nerfstudio dataset with pinhole cameras.

    Args:
        dataset: With `cameras` (OpenGL camera to world) and `get_image_float32(index)`.

    Raises:
        ValueError: Distorted cameras, which nerfstudio's undistorted outputs do not have.
    """
    if getattr(dataset.cameras, "distortion_params", None) is not None:
        distortion = torch.as_tensor(dataset.cameras.distortion_params)
        if bool((distortion != 0).any()):
            raise ValueError(
                "`dataset` has distorted cameras; run ns-process-data, or undistort the images."
            )
    cameras = house_cameras(dataset.cameras)
    similarity = normalizing_similarity(cameras)
    views = [_view(dataset.get_image_float32(index)) for index in range(len(cameras))]
    return Capture(
        source=Path("nerfstudio"),
        cameras=similarity.apply_to_cameras(cameras),
        image_names=tuple(f"{index:06d}" for index in range(len(views))),
        train=tuple(range(len(views))),
        test=(),
        split="nerfstudio's training images",
        load_view=views.__getitem__,
        T_source_capture=similarity.inverse(),
    )


def house_cameras(cameras: Any) -> Cameras:
    """World-to-camera matrices with OpenCV axes from nerfstudio's cameras."""
    poses = torch.eye(4, dtype=torch.float64).repeat(len(cameras.camera_to_worlds), 1, 1)
    poses[:, :3] = cameras.camera_to_worlds.double().cpu()
    Ks = torch.eye(3, dtype=torch.float64).repeat(len(poses), 1, 1)
    for (i, j), name in {(0, 0): "fx", (1, 1): "fy", (0, 2): "cx", (1, 2): "cy"}.items():
        Ks[:, i, j] = getattr(cameras, name).double().cpu().reshape(-1)
    width, height = (int(torch.as_tensor(getattr(cameras, n)).max()) for n in ("width", "height"))
    return Cameras(torch.linalg.inv(poses @ _AXES), Ks, width, height)


def scene_outputs(trainee: Any, to_capture: Any, camera: Any) -> dict[str, Tensor]:
    """The images that nerfstudio's viewer and `ns-export` look for, in the dataset's units."""
    moved = to_capture.apply_to_cameras(house_cameras(camera))
    output = trainee.renderable().render(moved)
    return {
        "rgb": output.channel("rgb")[0].clamp(0, 1),
        "accumulation": output.channel("alpha")[0],
        "depth": output.channel("depth")[0] / to_capture.scale,
    }


def _view(image: Tensor) -> View:
    image = image.cpu()
    if image.shape[-1] == 3:
        return View(image)
    alpha = image[..., 3]
    return View(image[..., :3] * alpha[..., None], alpha)


