"""`rasterization`: gsplat's call contract in front of this project's backends."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .arguments import Inputs, Options, RasterizeMode, RenderMode, refuse_unsupported
from .backend import MAX_CHANNELS, Backend, CameraModel, Projection
from .selection import BackendName, choose_backend, load_backend


def rasterization(
    means: Float[Tensor, "... N 3"],
    quats: Float[Tensor, "... N 4"] | None,
    scales: Float[Tensor, "... N 3"] | None,
    opacities: Float[Tensor, "... N"],
    colors: Float[Tensor, "..."],
    viewmats: Float[Tensor, "... C 4 4"],
    Ks: Float[Tensor, "... C 3 3"],
    width: int,
    height: int,
    *,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    radius_clip: float = 0.0,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    packed: bool = True,
    tile_size: int = 16,
    backgrounds: Float[Tensor, "... C D"] | None = None,
    render_mode: RenderMode = "RGB",
    sparse_grad: bool = False,
    absgrad: bool = False,
    rasterize_mode: RasterizeMode = "classic",
    channel_chunk: int = 32,
    camera_model: CameraModel = "pinhole",
    covars: Float[Tensor, "... N 3 3"] | None = None,
    masks: Bool[Tensor, "... C tile_height tile_width"] | None = None,
    sh_rest: Float[Tensor, "... N rest 3"] | None = None,
    backend: BackendName = "auto",
    **gsplat_only: Any,
) -> tuple[Float[Tensor, "... C H W X"], Float[Tensor, "... C H W 1"], dict[str, Any]]:
    """Render N Gaussians into C cameras, differentiably, as `gsplat.rasterization` does.

    All tensors share dtype, device and the batch dimensions `...`; nothing is broadcast.

    Args:
        means: Centres, world units.
        quats: Rotations (w, x, y, z) of any non-zero length. Ignored if `covars` is given.
        scales: Standard deviations, world units. Ignored if `covars` is given.
        opacities: In [0, 1].
        colors: Values [..., (C,) N, D], or SH coefficients [..., (C,) N, K, 3] with `sh_degree`.
        viewmats: World to camera, OpenCV axes, rigid.
        Ks: Intrinsics in pixels; pixel centres are at +0.5. They get no gradient.
        width: Image width in pixels.
        height: Image height in pixels.
        near_plane: Gaussians nearer than this z-depth are culled.
        far_plane: Gaussians farther than this z-depth are culled.
        radius_clip: Gaussians whose half-size on screen is at most this many pixels are culled.
        eps2d: Variance in square pixels added to every projected Gaussian.
        sh_degree: 0 to 4; the colour is then max(0, 0.5 + SH) in the direction of view.
        packed: Accepted for compatibility; results and the shapes in `meta` do not depend on it.
        tile_size: Side in pixels of the tiles of `masks`.
        backgrounds: Colour behind the Gaussians; depth channels have background 0.
        render_mode: Colours (RGB), accumulated (D) or expected depth (ED = D / alpha), or both.
        sparse_grad: Sparse gradients, with gsplat only.
        absgrad: Gather sums over pixels of absolute gradients in `meta["means2d"].absgrad`
            (AbsGS). The buffer is zero until backward and adds up like `.grad`; with more than
            4 channels the absolute value is taken per chunk of 4.
        rasterize_mode: `antialiased` scales opacities by sqrt(det cov / det (cov + eps2d I))
            (Mip-Splatting).
        channel_chunk: Most channels rendered at once; the native kernels take at most 4.
        camera_model: pinhole, ortho (focal lengths in pixels per world unit) or fisheye
            (equidistant).
        covars: Covariances, world units squared, instead of `quats` and `scales`.
        masks: False for tiles that show the background only.
        sh_rest: SH coefficients from degree 1 on, where `colors` holds degree 0 alone; joining
            them costs a trainer several copies per step. Not in gsplat.
        backend: `auto` runs CUDA tensors on gsplat and CPU tensors on the native kernels, or on
            the torch reference where those are not built.
        **gsplat_only: gsplat's remaining options, refused unless they are off.

    Returns:
        Images, alphas, and `meta`: radii [..., C, N, 2] (0 = culled), means2d, depths, conics,
        opacities (each [..., C, N, ...]), width, height, tile_size, tile_width, tile_height,
        n_cameras, n_batches and backend. Call `meta["means2d"].retain_grad()` for the
        densification gradient.

    Raises:
        ValueError: for a wrong shape, dtype, device or option, by name.

    Reference: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", 2023.
    """
    if gsplat_only:
        refuse_unsupported(gsplat_only)
    options = Options(
        width=width,
        height=height,
        near_plane=near_plane,
        far_plane=far_plane,
        radius_clip=radius_clip,
        eps2d=eps2d,
        sh_degree=sh_degree,
        tile_size=tile_size,
        render_mode=render_mode,
        sparse_grad=sparse_grad,
        absgrad=absgrad,
        rasterize_mode=rasterize_mode,
        channel_chunk=channel_chunk,
        camera_model=camera_model,
    )
    inputs = Inputs(
        means, quats, scales, opacities, colors, viewmats, Ks, covars, backgrounds, masks, sh_rest
    )
    inputs.check(options)
    name = choose_backend(backend, means)
    if name == "gsplat":
        from .cuda import render_with_gsplat

        return render_with_gsplat(inputs, options)
    if sparse_grad:
        raise ValueError(
            f"`sparse_grad` must be False for backend {name!r}, whose gradients are dense; "
            f"use it with gsplat on CUDA tensors."
        )
    image, alpha, meta = _render(load_backend(name), inputs, options)
    meta["backend"] = name
    return image, alpha, meta


def _render(
    backend: Backend, inputs: Inputs, options: Options
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Project every scene of the batch, gather `meta`, then composite every scene."""
    batch = _Batch(inputs.means.shape[:-2])
    scenes = batch.split_inputs(inputs)
    projections = [_project(backend, scene, options) for scene in scenes]
    # The joined means2d are what the user retains the gradient of, so compositing starts there.
    means2d = batch.join([projection.means2d for projection, _ in projections])
    absgrads = None
    if options.absgrad:
        absgrads = torch.zeros_like(means2d)
        means2d.absgrad = absgrads  # pyright: ignore[reportAttributeAccessIssue]
    rendered = [
        _composite(backend, scene, options, projection, opacities, scene_means2d, absgrad)
        for scene, (projection, opacities), scene_means2d, absgrad in zip(
            scenes, projections, batch.split(means2d), batch.split(absgrads), strict=True
        )
    ]
    meta = {
        "batch_ids": None,
        "camera_ids": None,
        "gaussian_ids": None,
        "radii": batch.join([projection.radii for projection, _ in projections]),
        "means2d": means2d,
        "depths": batch.join([projection.depths for projection, _ in projections]),
        "conics": batch.join([projection.conics for projection, _ in projections]),
        "opacities": batch.join([opacities for _, opacities in projections]),
        "width": options.width,
        "height": options.height,
        "tile_size": options.tile_size,
        "tile_width": options.tile_width,
        "tile_height": options.tile_height,
        "n_cameras": inputs.viewmats.shape[-3],
        "n_batches": batch.count,
    }
    image = batch.join([image for image, _ in rendered])
    return image, batch.join([alpha for _, alpha in rendered]), meta


def _project(backend: Backend, scene: Inputs, options: Options) -> tuple[Projection, Tensor]:
    """The projection of one scene and its opacities [C, N], compensated if anti-aliased."""
    projection = backend.project(
        scene.means,
        scene.quats if scene.covars is None else None,
        scene.scales if scene.covars is None else None,
        scene.covars,
        scene.opacities,
        scene.viewmats,
        scene.Ks,
        options.width,
        options.height,
        eps2d=options.eps2d,
        near_plane=options.near_plane,
        far_plane=options.far_plane,
        radius_clip=options.radius_clip,
        antialiased=options.rasterize_mode == "antialiased",
        camera_model=options.camera_model,
    )
    if projection.compensations is None:
        if len(scene.viewmats) == 1:
            return projection, scene.opacities[None]  # what expand does, without a sum in backward
        return projection, scene.opacities.expand(len(scene.viewmats), -1)
    return projection, scene.opacities * projection.compensations


def _composite(
    backend: Backend,
    scene: Inputs,
    options: Options,
    projection: Projection,
    opacities: Float[Tensor, "C N"],
    means2d: Float[Tensor, "C N 2"],
    absgrad: Float[Tensor, "C N 2"] | None,
) -> tuple[Float[Tensor, "C H W X"], Float[Tensor, "C H W 1"]]:
    """Image and alpha of one scene, a few channels at a time."""
    conics, depths = projection.conics, projection.depths
    colors, background = _channels(backend, scene, options, projection)
    bins = backend.bin(
        means2d.detach(),
        conics.detach(),
        opacities.detach(),
        depths.detach(),
        projection.radii,
        options.width,
        options.height,
        tile_size=options.tile_size,
        tile_masks=scene.masks,
    )
    chunk = min(options.channel_chunk, MAX_CHANNELS)
    images, alphas = [], []
    for start in range(0, colors.shape[-1], chunk):
        part = slice(start, start + chunk)
        image, alpha = backend.composite(
            bins,
            means2d,
            conics,
            colors[..., part],
            opacities,
            background=None if background is None else background[..., part],
            absgrad=absgrad,
        )
        images.append(image)
        alphas.append(alpha)
    image = images[0] if len(images) == 1 else torch.cat(images, dim=-1)
    if options.depth_mode == "ED":
        depth = image[..., -1:] / alphas[0].clamp_min(1e-10)
        image = torch.cat([image[..., :-1], depth], dim=-1)
    return image, alphas[0]


def _channels(
    backend: Backend, scene: Inputs, options: Options, projection: Projection
) -> tuple[Float[Tensor, "C N X"], Float[Tensor, "C X"] | None]:
    """What is blended, colours and depth as the render mode asks, and its background."""
    depths = projection.depths[..., None]
    if not options.with_colors:
        return depths, None
    if options.sh_degree is None:
        colors = scene.colors.expand(len(scene.viewmats), -1, -1)
    else:
        colors = backend.spherical_harmonics(
            options.sh_degree,
            scene.means,
            scene.viewmats,
            scene.colors,
            scene.sh_rest,
            projection.radii,
        )
    background = scene.backgrounds
    if options.depth_mode:
        colors = torch.cat([colors, depths], dim=-1)
        if background is not None:
            background = torch.cat([background, torch.zeros_like(background[:, :1])], dim=-1)
    return colors, background


class _Batch:
    """Splits tensors along flattened batch dimensions and joins them again."""

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape
        self.count = shape.numel()

    def split(self, tensor: Tensor | None) -> list[Any]:
        """One tensor (or None) per scene, without batch dimensions."""
        if tensor is None or not self.shape:
            return [tensor] * self.count
        return list(tensor.flatten(0, len(self.shape) - 1).unbind(0))

    def split_inputs(self, inputs: Inputs) -> list[Inputs]:
        """One set of inputs per scene."""
        if not self.shape:
            return [inputs]
        columns = [self.split(getattr(inputs, name)) for name in Inputs.__slots__]
        return [Inputs(*row) for row in zip(*columns, strict=True)]

    def join(self, tensors: list[Tensor]) -> Tensor:
        """The scenes' tensors with the batch dimensions in front."""
        if not self.shape:
            return tensors[0]
        return torch.stack(tensors).unflatten(0, self.shape)
