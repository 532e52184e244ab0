"""CUDA tensors through gsplat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .arguments import Inputs, Options


def render_with_gsplat(inputs: Inputs, options: Options) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """`gsplat.rasterization` on the same arguments, unpacked unless gradients are sparse.

    Raises:
        ImportError: if gsplat is not installed.
    """
    try:
        import gsplat  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            'Rendering splats on CUDA needs gsplat: pip install "fieldwright[cuda]"'
        ) from error
    image, alpha, meta = gsplat.rasterization(
        inputs.means,
        inputs.quats,
        inputs.scales,
        inputs.opacities,
        inputs.coefficients,
        inputs.viewmats,
        inputs.Ks,
        options.width,
        options.height,
        near_plane=options.near_plane,
        far_plane=options.far_plane,
        radius_clip=options.radius_clip,
        eps2d=options.eps2d,
        sh_degree=options.sh_degree,
        packed=options.sparse_grad,
        tile_size=options.tile_size,
        backgrounds=inputs.backgrounds,
        render_mode=options.render_mode,
        sparse_grad=options.sparse_grad,
        absgrad=options.absgrad,
        rasterize_mode=options.rasterize_mode,
        channel_chunk=options.channel_chunk,
        camera_model=options.camera_model,
        covars=inputs.covars,
    )
    if inputs.masks is not None:
        image, alpha = _mask_tiles(image, alpha, inputs, options)
    return image, alpha, {**meta, "backend": "gsplat"}


def _mask_tiles(
    image: Tensor, alpha: Tensor, inputs: Inputs, options: Options
) -> tuple[Tensor, Tensor]:
    """Replace masked-off tiles, which gsplat's top-level call does not know, by the background."""
    assert inputs.masks is not None
    shown = inputs.masks.repeat_interleave(options.tile_size, dim=-2)[..., : options.height, :]
    shown = shown.repeat_interleave(options.tile_size, dim=-1)[..., : options.width, None]
    empty = torch.zeros_like(image[..., :1, :1, :])
    if inputs.backgrounds is not None and options.with_colors:
        channels = inputs.backgrounds.shape[-1]
        empty[..., :channels] = inputs.backgrounds[..., None, None, :]
    return torch.where(shown, image, empty), torch.where(shown, alpha, 0)
