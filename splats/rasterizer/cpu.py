"""The CPU backend: each step of rasterization as one autograd function over native kernels.

Memory beyond the tensors that the front returns: 32 bytes per visible Gaussian and 8 bytes per
(tile, Gaussian) pair while the graph lives, and (6 + D) * 4 bytes per pair during backward, for
tiles of 8 x 8 pixels and D channels. Results are the same bits for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from splats import _native

from .backend import CameraModel, Projection
from .projection import covariances
from .projection import project as project_in_torch


class CpuBackend:
    """Implements `backend.Backend` for float32 CPU tensors."""

    def project(
        self,
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"] | None,
        scales: Float[Tensor, "N 3"] | None,
        covars: Float[Tensor, "N 3 3"] | None,
        opacities: Float[Tensor, "N"],
        viewmats: Float[Tensor, "C 4 4"],
        Ks: Float[Tensor, "C 3 3"],
        width: int,
        height: int,
        *,
        eps2d: float,
        near_plane: float,
        far_plane: float,
        radius_clip: float,
        antialiased: bool,
        camera_model: CameraModel,
    ) -> Projection:
        """See `Backend.project`. Given covariances and rare lenses go through the torch twin."""
        if covars is None and (quats is None or scales is None):
            raise ValueError(
                "Either `covars` or both `quats` and `scales` must be given, got neither."
            )
        if quats is None or scales is None or camera_model != "pinhole":
            if covars is None:
                assert quats is not None and scales is not None
                covars = covariances(quats, scales)
            return project_in_torch(
                means,
                covars,
                opacities,
                viewmats,
                Ks,
                width,
                height,
                eps2d=eps2d,
                near_plane=near_plane,
                far_plane=far_plane,
                radius_clip=radius_clip,
                antialiased=antialiased,
                camera_model=camera_model,
            )
        limits = (width, height, eps2d, near_plane, far_plane, radius_clip)
        radii, means2d, depths, conics, compensations = _Project.apply(
            means, quats, scales, opacities, viewmats, Ks, limits, antialiased
        )
        return Projection(radii, means2d, depths, conics, compensations)

    def spherical_harmonics(
        self,
        degree: int,
        means: Float[Tensor, "N 3"],
        viewmats: Float[Tensor, "C 4 4"],
        coefficients: Float[Tensor, "*C N K 3"],
        rest: Float[Tensor, "N rest 3"] | None,
        radii: Int32[Tensor, "C N 2"],
    ) -> Float[Tensor, "C N 3"]:
        """See `Backend.spherical_harmonics`."""
        return _SphericalHarmonics.apply(degree, means, viewmats, coefficients, rest, radii)

    def bin(
        self,
        means2d: Float[Tensor, "C N 2"],
        conics: Float[Tensor, "C N 3"],
        opacities: Float[Tensor, "C N"],
        depths: Float[Tensor, "C N"],
        radii: Int32[Tensor, "C N 2"],
        width: int,
        height: int,
        *,
        tile_size: int,
        tile_masks: Bool[Tensor, "C tile_height tile_width"] | None,
    ) -> list[_native.Bins]:
        """See `Backend.bin`; one object per camera."""
        pixel_masks: Sequence[Tensor | None] = [None] * len(means2d)
        if tile_masks is not None:
            pixel_masks = [
                mask.repeat_interleave(tile_size, 0)
                .repeat_interleave(tile_size, 1)[:height, :width]
                .to(torch.uint8)
                .contiguous()
                for mask in tile_masks
            ]
        means2d, conics, opacities, depths, radii = (
            tensor.contiguous() for tensor in (means2d, conics, opacities, depths, radii)
        )
        return [
            _native.bin(
                means2d.shape[1],
                width,
                height,
                *(_row(tensor, camera) for tensor in (means2d, conics, opacities, depths, radii)),
                _address(pixel_mask),
            )
            for camera, pixel_mask in enumerate(pixel_masks)
        ]

    def composite(
        self,
        bins: list[_native.Bins],
        means2d: Float[Tensor, "C N 2"],
        conics: Float[Tensor, "C N 3"],
        colors: Float[Tensor, "C N D"],
        opacities: Float[Tensor, "C N"],
        *,
        background: Float[Tensor, "C D"] | None,
        absgrad: Float[Tensor, "C N 2"] | None,
    ) -> tuple[Float[Tensor, "C H W D"], Float[Tensor, "C H W 1"]]:
        """See `Backend.composite`."""
        return _Composite.apply(bins, means2d, conics, colors, opacities, background, absgrad)


def _address(tensor: Tensor | None) -> int:
    """Where a dense tensor's values begin; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def _row(tensor: Tensor | None, index: int) -> int:
    """Where row `index` of a dense tensor begins; 0 for None."""
    if tensor is None:
        return 0
    return tensor.data_ptr() + index * tensor.stride(0) * tensor.element_size()


def _viewmat_gradient(v_view: Tensor, viewmats: Tensor) -> Tensor:
    """Gradient [C, 4, 4] from the kernels' [C, 12] sums (dL/dR, then dL/dt)."""
    gradient = torch.zeros_like(viewmats)
    gradient[:, :3, :3] = v_view[:, :9].reshape(-1, 3, 3)
    gradient[:, :3, 3] = v_view[:, 9:]
    return gradient


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        means: Tensor,
        quats: Tensor,
        scales: Tensor,
        opacities: Tensor,
        viewmats: Tensor,
        Ks: Tensor,
        limits: tuple[int, int, float, float, float, float],
        antialiased: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        means, quats, scales, opacities, viewmats, Ks = (
            tensor.contiguous() for tensor in (means, quats, scales, opacities, viewmats, Ks)
        )
        shape = (len(viewmats), len(means))
        radii = torch.empty(*shape, 2, dtype=torch.int32)
        means2d, depths = means.new_empty(*shape, 2), means.new_empty(shape)
        conics = means.new_empty(*shape, 3)
        compensations = means.new_empty(shape) if antialiased else None
        for camera in range(len(viewmats)):
            _native.project(
                len(means),
                _row(viewmats, camera),
                _row(Ks, camera),
                *limits,
                *(_address(tensor) for tensor in (means, quats, scales, opacities)),
                *(_row(t, camera) for t in (radii, means2d, depths, conics, compensations)),
            )
        ctx.save_for_backward(means, quats, scales, viewmats, Ks, radii)
        ctx.limits = limits
        ctx.mark_non_differentiable(radii)
        ctx.set_materialize_grads(False)
        return radii, means2d, depths, conics, compensations

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        means, quats, scales, viewmats, Ks, radii = ctx.saved_tensors
        _, v_means2d, v_depths, v_conics, v_compensations = gradients
        shape = radii.shape[:2]
        v_means2d = means.new_zeros(*shape, 2) if v_means2d is None else v_means2d.contiguous()
        v_conics = means.new_zeros(*shape, 3) if v_conics is None else v_conics.contiguous()
        v_depths = None if v_depths is None else v_depths.contiguous()
        v_compensations = None if v_compensations is None else v_compensations.contiguous()
        v_means, v_quats, v_scales = (torch.zeros_like(t) for t in (means, quats, scales))
        v_view = None
        if ctx.needs_input_grad[4]:
            v_view = torch.zeros(len(viewmats), 12, dtype=torch.float64)
        width, height, eps2d = ctx.limits[:3]
        for camera in range(len(viewmats)):
            _native.project_backward(
                len(means),
                _row(viewmats, camera),
                _row(Ks, camera),
                width,
                height,
                eps2d,
                *(_address(tensor) for tensor in (means, quats, scales)),
                *(
                    _row(tensor, camera)
                    for tensor in (radii, v_means2d, v_depths, v_conics, v_compensations)
                ),
                *(_address(tensor) for tensor in (v_means, v_quats, v_scales)),
                _row(v_view, camera),
            )
        v_viewmats = None if v_view is None else _viewmat_gradient(v_view, viewmats)
        return v_means, v_quats, v_scales, None, v_viewmats, None, None, None


class _SphericalHarmonics(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        degree: int,
        means: Tensor,
        viewmats: Tensor,
        coefficients: Tensor,
        rest: Tensor | None,
        radii: Tensor,
    ) -> Tensor:
        means, viewmats, coefficients, radii = (
            tensor.contiguous() for tensor in (means, viewmats, coefficients, radii)
        )
        rest = None if rest is None else rest.contiguous()
        colors = means.new_empty(len(viewmats), len(means), 3)
        for camera in range(len(viewmats)):
            _native.sh_colors(
                len(means),
                degree,
                _row(viewmats, camera),
                _address(means),
                *_split_rows(coefficients, rest, camera),
                _row(radii, camera),
                _row(colors, camera),
            )
        ctx.save_for_backward(means, viewmats, coefficients, rest, radii, colors)
        ctx.degree = degree
        return colors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        means, viewmats, coefficients, rest, radii, colors = ctx.saved_tensors
        v_colors = gradients[0].contiguous()
        v_coefficients = torch.empty_like(coefficients)
        v_rest = None if rest is None else torch.empty_like(rest)
        v_view = None
        if ctx.needs_input_grad[2]:
            v_view = torch.zeros(len(viewmats), 12, dtype=torch.float64)
        v_means = torch.zeros_like(means)
        for camera in range(len(viewmats)):
            v_head, _, v_tail, _, _ = _split_rows(v_coefficients, v_rest, camera)
            first_use = camera == 0 or coefficients.dim() == 4
            _native.sh_colors_backward(
                len(means),
                ctx.degree,
                _row(viewmats, camera),
                _address(means),
                *_split_rows(coefficients, rest, camera),
                *(_row(tensor, camera) for tensor in (radii, colors, v_colors)),
                not first_use,
                _address(v_means),
                v_head,
                v_tail,
                _row(v_view, camera),
            )
        v_viewmats = None if v_view is None else _viewmat_gradient(v_view, viewmats)
        return None, v_means, v_viewmats, v_coefficients, v_rest, None


def _split_rows(
    coefficients: Tensor, rest: Tensor | None, camera: int
) -> tuple[int, int, int, int, int]:
    """(address, row stride in floats) of degree 0 and of the rest, and how many the rest has."""
    if rest is not None:
        return _address(coefficients), 3, _address(rest), 3 * rest.shape[-2], rest.shape[-2]
    first = _row(coefficients, camera) if coefficients.dim() == 4 else _address(coefficients)
    bases = coefficients.shape[-2]
    return first, 3 * bases, first + 3 * coefficients.element_size(), 3 * bases, bases - 1


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        bins: list[_native.Bins],
        means2d: Tensor,
        conics: Tensor,
        colors: Tensor,
        opacities: Tensor,
        background: Tensor | None,
        absgrad: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        colors = colors.contiguous()
        background = None if background is None else background.contiguous()
        channels = colors.shape[-1]
        width, height = bins[0].width, bins[0].height
        image = colors.new_empty(len(bins), height, width, channels)
        alpha = colors.new_empty(len(bins), height, width, 1)
        transmittance = colors.new_empty(len(bins), height, width)
        used = torch.empty(len(bins), bins[0].num_tiles, dtype=torch.int32)
        buffers = (colors, background, image, alpha, transmittance, used)
        for camera, camera_bins in enumerate(bins):
            _native.blend(camera_bins, channels, *(_row(buffer, camera) for buffer in buffers))
        ctx.save_for_backward(*buffers)
        ctx.bins, ctx.absgrad = bins, absgrad
        return image, alpha

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        buffers = ctx.saved_tensors
        colors, background = buffers[:2]
        v_image, v_alpha = (gradient.contiguous() for gradient in gradients)
        cameras, count, channels = colors.shape
        v_means2d, v_conics = (
            colors.new_empty(cameras, count, 2),
            colors.new_empty(cameras, count, 3),
        )
        v_colors, v_opacities = torch.empty_like(colors), colors.new_empty(cameras, count)
        v_background = None
        if background is not None and ctx.needs_input_grad[5]:
            v_background = torch.zeros(background.shape, dtype=torch.float64)
        for camera, camera_bins in enumerate(ctx.bins):
            _native.blend_backward(
                camera_bins,
                channels,
                *(_row(buffer, camera) for buffer in buffers),
                _row(v_image, camera),
                _row(v_alpha, camera),
                count,
                *(_row(v, camera) for v in (v_means2d, v_conics, v_colors, v_opacities)),
                _row(ctx.absgrad, camera),
                _row(v_background, camera),
            )
        if v_background is not None:
            v_background = v_background.to(colors)
        return None, v_means2d, v_conics, v_colors, v_opacities, v_background, None
