"""Where training starts: Gaussians from sparse points, from agreeing photos or at random."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from captures import Capture, SparsePoints

from ..gaussians import Gaussians
from ..sh import SH_C0, num_sh_bases
from .config import SplatsConfig

_MIN_POINTS = 1000
"""Fewer sparse points than this leave most of a scene empty."""
_SWEEP_WIDTH = 160
"""Width in pixels of the images that the sweep compares: large enough for texture, small enough
to blur what a pose error or a specular highlight would shift."""
_SWEEP_DEPTHS = 48
_SWEEP_VIEWS = 6

logger = logging.getLogger(__name__)


def initial_gaussians(capture: Capture, config: SplatsConfig, *, seed: int) -> Gaussians:
    """Gaussians at the points that `config.init` asks for, isotropic, as wide as their spacing."""
    kind = config.init
    if kind == "auto":
        enough = capture.points is not None and len(capture.points.positions) >= _MIN_POINTS
        kind = "points" if enough else "photos"
    generator = torch.Generator().manual_seed(seed)
    if kind == "points":
        if capture.points is None:
            raise ValueError(
                f"`init` is 'points' but {capture.source} holds none; use --init photos."
            )
        points = capture.points
    elif kind == "photos":
        points = points_from_photos(capture, config.num_init, generator=generator)
    elif kind != "random":
        points = points_from_file(Path(kind), capture)
    else:
        positions = (torch.rand(config.num_init, 3, generator=generator) * 2 - 1) * capture.extent
        points = SparsePoints(positions, torch.rand(config.num_init, 3, generator=generator))
    logger.info("Starting from %d points (%s).", len(points.positions), kind)
    opacity = 0.5 if config.strategy == "mcmc" else 0.1
    return gaussians_at(points, sh_degree=config.sh_degree, opacity=opacity)


def points_from_file(path: Path, capture: Capture) -> SparsePoints:
    """The points, or the centers and colors of the Gaussians, of a file in the source's frame.

    Dense points of a field that was trained on the same photos give small models a head start
    (Shin et al., "Locality-aware Gaussian Compression", 2025, section 3.2).

    Raises:
        ValueError: No such file, a malformed or an empty one.
    """
    from ..formats import load

    if not path.is_file():
        raise ValueError(
            f"`init` must be auto, points, photos, random or a file that exists, got {path}."
        )
    gaussians = load(path).transformed(capture.T_source_capture.inverse())
    if not len(gaussians):
        raise ValueError(f"`init`: {path} holds no points.")
    colors = (0.5 + SH_C0 * gaussians.sh0[:, 0]).clamp(0, 1)
    return SparsePoints(gaussians.means, colors)


def gaussians_at(points: SparsePoints, *, sh_degree: int, opacity: float) -> Gaussians:
    """One round Gaussian per point; its scale is the mean distance of the 3 nearest others."""
    from scipy.spatial import KDTree

    positions = points.positions.float()
    num = len(positions)
    neighbours = min(4, num)
    distances, _ = KDTree(positions.numpy()).query(positions.numpy(), k=neighbours)
    others = np.square(distances.reshape(num, -1)[:, 1:])
    # A lone point has no spacing; a hundredth of the normalized scene is as good as any.
    spacing = np.sqrt(others.mean(axis=1)) if num > 1 else np.full(1, 0.01)
    # By numpy: torch's first logarithm in two threads may give half of them other last digits, and
    # the same seed another scene.
    log_scales = torch.from_numpy(np.log(spacing.clip(min=1e-6))).float()
    return Gaussians(
        means=positions.clone(),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(num, 1),
        log_scales=log_scales[:, None].repeat(1, 3),
        logit_opacities=torch.full((num,), float(torch.logit(torch.tensor(opacity)))),
        sh0=((points.colors.float() - 0.5) / SH_C0)[:, None, :],
        shN=torch.zeros(num, num_sh_bases(sh_degree) - 1, 3),
    )


def points_from_photos(capture: Capture, count: int, *, generator: torch.Generator) -> SparsePoints:
    """`count` points where neighbouring training photos show the same color.

    A sparse plane sweep: for random pixels, depths spaced evenly in inverse depth are projected
    into the nearest views, and the depth with the least disagreement is kept (Collins, "A
    space-sweep approach to true multi-image matching", CVPR 1996). Pixels without opacity or
    outside the mask start nothing, and a point that falls on a transparent pixel disagrees.
    """
    images, cover = _small_images(capture)
    cameras = capture.cameras[list(capture.train)]
    viewmats, positions = cameras.viewmats.float(), cameras.positions.float()
    height, width = images.shape[-2:]
    scale = torch.tensor([width / cameras.width, height / cameras.height, 1.0])
    Ks = cameras.Ks.float() * scale[:, None]
    per_view = -(-count // len(images))
    # The frame is normalized: what the cameras look at lies around the origin.
    typical = float(positions.norm(dim=1).median().clamp(min=1e-3))
    inverse_depths = torch.linspace(1 / (20 * typical), 1 / (0.15 * typical), _SWEEP_DEPTHS)
    found_points, found_colors = [], []
    for view in range(len(images)):
        near = _neighbours(positions, viewmats, view)
        pixels = _random_pixels(cover[view], per_view, generator)
        if len(pixels) == 0:
            continue
        jitter = torch.rand(len(pixels), 1, generator=generator) / _SWEEP_DEPTHS
        depths = 1 / (inverse_depths[None] + jitter * (inverse_depths[-1] - inverse_depths[0]))
        rays = torch.cat([pixels, torch.ones(len(pixels), 1)], 1) @ torch.linalg.inv(Ks[view]).T
        local = rays[:, None] * depths[..., None]  # [P, depths, 3]
        world = (local - viewmats[view, :3, 3]) @ viewmats[view, :3, :3]
        color = _sample(images[view], pixels[:, None])[:, 0]
        cost = _disagreement(world, color, images[near], cover[near], viewmats[near], Ks[near])
        best = cost.argmin(dim=1)
        rows = torch.arange(len(pixels))
        found_points.append(world[rows, best])
        found_colors.append(color)
    if not found_points:
        raise ValueError(f"Every training image of {capture.source} is fully masked or empty.")
    chosen = torch.randperm(sum(map(len, found_points)), generator=generator)[:count]
    return SparsePoints(torch.cat(found_points)[chosen], torch.cat(found_colors)[chosen])


def _small_images(capture: Capture) -> tuple[Float[Tensor, "V 3 h w"], Float[Tensor, "V 1 h w"]]:
    """Training images on one small canvas, and where they show something (0 to 1)."""
    cameras = capture.cameras
    width = min(_SWEEP_WIDTH, cameras.width)
    height = max(1, round(cameras.height * width / cameras.width))
    images, cover = [], []
    for index in capture.train:
        view = capture.view(index)
        shown = torch.ones(view.image.shape[:2]) if view.alpha is None else view.alpha.clone()
        if view.mask is not None:
            shown *= view.mask
        stacked = torch.cat([view.image, shown[..., None]], -1).movedim(-1, 0)[None]
        padding = (0, cameras.width - stacked.shape[3], 0, cameras.height - stacked.shape[2])
        stacked = torch.nn.functional.pad(stacked, padding)
        small = interpolate(stacked, (height, width), mode="area")[0]
        images.append(small[:3])
        cover.append(small[3:])
    return torch.stack(images), torch.stack(cover)


def _neighbours(positions: Tensor, viewmats: Tensor, view: int) -> Tensor:
    """The views nearest in place that look the same way within 60 degrees."""
    distances = (positions - positions[view]).norm(dim=1)
    turned = (viewmats[:, 2, :3] @ viewmats[view, 2, :3]) < 0.5
    distances = distances + 1e6 * turned
    distances[view] = torch.inf
    return distances.argsort(stable=True)[: min(_SWEEP_VIEWS, len(positions) - 1)]


def _random_pixels(
    cover: Float[Tensor, "1 h w"], count: int, generator: torch.Generator
) -> Float[Tensor, "P 2"]:
    """Up to `count` distinct pixel positions (x, y), jittered, where the image shows something."""
    ys, xs = (cover[0] > 0.5).nonzero(as_tuple=True)
    chosen = torch.randperm(len(ys), generator=generator)[:count]
    jitter = torch.rand(len(chosen), 2, generator=generator)
    return torch.stack([xs[chosen], ys[chosen]], dim=1).float() + jitter


def _sample(image: Float[Tensor, "D h w"], pixels: Float[Tensor, "P S 2"]) -> Tensor:
    """[P, S, D] values at pixel positions, zero outside."""
    size = torch.tensor([image.shape[2], image.shape[1]], dtype=torch.float32)
    grid = pixels / size * 2 - 1
    return grid_sample(image[None], grid[None], align_corners=False)[0].movedim(0, -1)


def _disagreement(
    world: Float[Tensor, "P S 3"],
    color: Float[Tensor, "P 3"],
    images: Float[Tensor, "V 3 h w"],
    cover: Float[Tensor, "V 1 h w"],
    viewmats: Float[Tensor, "V 4 4"],
    Ks: Float[Tensor, "V 3 3"],
) -> Float[Tensor, "P S"]:
    """Mean over the better half of the views of the color difference; 1 where a view sees nothing.

    Only the better half counts, so that a point hidden in some views can still agree.
    """
    costs = []
    for image, shown, viewmat, K in zip(images, cover, viewmats, Ks, strict=True):
        local = world @ viewmat[:3, :3].T + viewmat[:3, 3]
        z = local[..., 2:].clamp(min=1e-6)
        pixels = (local / z) @ K.T
        values = _sample(torch.cat([image, shown]), pixels[..., :2])
        difference = (values[..., :3] - color[:, None]).abs().mean(dim=-1)
        blind = (values[..., 3] < 0.5) | (local[..., 2] < 1e-6)
        costs.append(torch.where(blind, 1.0, difference))
    if not costs:
        return torch.rand(world.shape[:2], generator=torch.Generator().manual_seed(0))
    ordered = torch.stack(costs).sort(dim=0).values
    return ordered[: (len(costs) + 1) // 2].mean(dim=0)
