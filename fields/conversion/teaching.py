"""A scene as a capture of its own renders, from which other representations learn.

Reference: for teaching one radiance field by another Fang et al., "One is All: Bridging the Gap
Between Neural Radiance Fields Architectures with Progressive Volume Distillation", 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from captures import Cameras, Capture, Renderable, View
from captures.normalize import normalizing_similarity
from splats import Gaussians, rasterization
from splats.scene import near_plane
from splats.sh import num_sh_bases
from splats.training.kernels import one_torch_thread
from splats.training.losses import photometric_loss
from splats.training.optimizer import SelectiveAdam
from splats.training.parameters import NAMES, Parameters

from .loss import Pictures, render_pictures

Progress = Callable[[float], None]
"""Called with the share of the work that is done."""

_RATES = {
    "means": 2e-2,
    "quats": 1e-3,
    "log_scales": 5e-3,
    "logit_opacities": 2e-2,
    "sh0": 5e-3,
    "shN": 2.5e-4,
}
"""Learning rates; that of the means in median standard deviations."""
_FINAL = 0.05


def rendered_capture(scene: Renderable, cameras: Cameras) -> Capture:
    """A capture in its own normalized frame whose photos are renders with alpha."""
    pictures = render_pictures(scene, cameras)
    views = [
        View(color, alpha[..., 0].clamp(0, 1))
        for color, alpha in zip(pictures.colors, pictures.alphas, strict=True)
    ]
    if all(float(alpha.min()) > 0.99 for alpha in pictures.alphas):
        views = [View(view.image) for view in views]
    similarity = normalizing_similarity(cameras)
    return Capture(
        source=Path("renders"),
        cameras=similarity.apply_to_cameras(cameras),
        image_names=tuple(f"{index:04d}" for index in range(len(views))),
        train=tuple(range(len(views))),
        test=(),
        split="all",
        load_view=views.__getitem__,
        T_source_capture=similarity.inverse(),
    )


def taught_splats(
    start: Gaussians,
    pictures: Pictures,
    cameras: Cameras,
    *,
    steps: int,
    sh_degree: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
) -> Gaussians:
    """Gaussians moved, shaped and colored until their renders look like `pictures`.

    Their number stays. Over a random color in each step, so that the silhouette counts.

    Args:
        start: Where they begin, in the frame of the cameras.
        pictures: What to look like, from `cameras`, over black.
        cameras: Pinhole.
        steps: One picture each; 0 returns `start`.
        sh_degree: Of the view dependence that is learned.
        seed: Of the order and the backgrounds.
        progress: Told how far it is.
    """
    if steps == 0:
        return start
    start = Gaussians(
        **{name: getattr(start, name) for name in NAMES if name != "shN"},
        shN=torch.zeros(len(start), num_sh_bases(sh_degree) - 1, 3),
    )
    params = Parameters(start)
    size = float(start.log_scales.exp().amax(1).median())
    rates = _RATES | {"means": _RATES["means"] * size}
    groups = [{"params": [params[name]], "lr": rates[name]} for name in NAMES]
    optimizer = SelectiveAdam(groups, eps=1e-15)
    random = torch.Generator().manual_seed(seed)
    near, order = near_plane(start), torch.empty(0, dtype=torch.long)
    with one_torch_thread():
        for step in range(steps):
            if len(order) == 0:
                order = torch.randperm(len(cameras), generator=random)
            index, order = int(order[0]), order[1:]
            for group, name in zip(optimizer.param_groups, NAMES, strict=True):
                group["lr"] = rates[name] * _FINAL ** (step / steps)
            background = torch.rand(3, generator=random)
            image, _, meta = rasterization(
                params["means"],
                params["quats"],
                params["log_scales"].exp(),
                params["logit_opacities"].sigmoid(),
                params["sh0"],
                cameras.viewmats[index : index + 1].float(),
                cameras.Ks[index : index + 1].float(),
                cameras.width,
                cameras.height,
                sh_degree=sh_degree,
                sh_rest=params["shN"],
                near_plane=near,
                backgrounds=background[None],
            )
            truth = pictures.colors[index] + (1 - pictures.alphas[index]) * background
            photometric_loss(image.squeeze(0), truth, ssim_weight=0.2).loss.backward()
            optimizer.step(meta["radii"][0, :, 0] > 0)
            optimizer.zero_grad(set_to_none=True)
            if progress is not None:
                progress((step + 1) / steps)
    return Gaussians(**{name: params[name].detach() for name in NAMES})
