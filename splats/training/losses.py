"""The photometric loss of splat training: L1 and SSIM, fused with its gradient on the CPU."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d

from captures import ensure_shape

from .kernels import native_kernels_for

WINDOW_SIZE = 11
"""Side of the SSIM window in pixels."""
WINDOW_SIGMA = 1.5
"""Standard deviation of the SSIM window in pixels."""
C1, C2 = 0.01**2, 0.03**2
"""Stabilizers of luminance and contrast (Wang et al. 2004, K1 = 0.01, K2 = 0.03, range 1)."""


class PhotometricLoss(NamedTuple):
    """Scalars of one comparison; only `loss` carries a gradient."""

    loss: Float[Tensor, ""]
    """(1 - w) * l1 + w * (1 - ssim)."""
    l1: Float[Tensor, ""]
    """Mean absolute difference over the valid values."""
    ssim: Float[Tensor, ""]
    """Mean structural similarity over the valid values, at most 1."""


def photometric_loss(
    image: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    *,
    ssim_weight: float = 0.2,
    mask: Bool[Tensor, "H W"] | None = None,
) -> PhotometricLoss:
    """How far a render is from a photo: (1 - w) * L1 + w * (1 - SSIM).

    On the CPU in float32 one native pass computes the loss and its gradient, with the same bits
    for any number of threads; elsewhere `ssim_l1_reference`, which defines it, runs. On CUDA that
    needs `torch.backends.cudnn.allow_tf32 = False`, which the command line sets: SSIM subtracts
    blurred squares, of which 10-bit mantissas leave nothing.

    Args:
        image: The render, nominally in [0, 1]; differentiable.
        target: The photo; treated as a constant.
        ssim_weight: w in [0, 1].
        mask: True where a pixel counts. Masked pixels of `image` are replaced by the target's, so
            they have no gradient, and the means are taken over the others; all-False gives 0.

    Raises:
        ValueError: if a shape differs from `image`'s or `ssim_weight` is outside [0, 1].

    Reference: Kerbl et al., "3D Gaussian Splatting", 2023, eq. 7; Wang et al., "Image Quality
    Assessment", 2004, for SSIM.
    """
    height, width = image.shape[0], image.shape[1]
    ensure_shape("image", image, ("H", "W", 3))
    ensure_shape("target", target, (height, width, 3), "resize the photo to the render.")
    if mask is not None:
        ensure_shape("mask", mask, (height, width))
    if not 0 <= ssim_weight <= 1:
        raise ValueError(f"`ssim_weight` must be in [0, 1], got {ssim_weight}.")
    if native_kernels_for(image, target) is None:
        return ssim_l1_reference(image, target, ssim_weight=ssim_weight, mask=mask)
    return PhotometricLoss(*_FusedLoss.apply(image, target, ssim_weight, mask))


def ssim_l1_reference(
    image: Float[Tensor, "H W 3"],
    target: Float[Tensor, "H W 3"],
    *,
    ssim_weight: float = 0.2,
    mask: Bool[Tensor, "H W"] | None = None,
) -> PhotometricLoss:
    """`photometric_loss` in plain torch, any device and float dtype: the definition."""
    target = target.detach()
    if mask is not None:
        image = torch.where(mask[..., None], image, target)
    l1 = _masked_mean((image - target).abs(), mask)
    dissimilarity = _masked_mean(1 - _ssim_map(image, target), mask)
    loss = (1 - ssim_weight) * l1 + ssim_weight * dissimilarity
    ssim = 1 - dissimilarity
    return PhotometricLoss(loss, l1.detach(), ssim.detach())


def _masked_mean(values: Float[Tensor, "H W 3"], mask: Bool[Tensor, "H W"] | None) -> Tensor:
    """Mean over the pixels of `mask`, 0 where it has none; never waits for the device."""
    if mask is None:
        return values.mean()
    return (values * mask[..., None]).sum() / (3 * mask.sum()).clamp(min=1)


def _ssim_map(x: Float[Tensor, "H W 3"], y: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """SSIM of every value, with zeros beyond the border as in the 3DGS literature."""
    moments = _blur(torch.stack([x, y, x * x + y * y, x * y]))
    mu_x, mu_y, squares, product = moments.unbind(0)
    cross, energy = mu_x * mu_y, mu_x * mu_x + mu_y * mu_y
    luminance = (2 * cross + C1) / (energy + C1)
    structure = (2 * (product - cross) + C2) / (squares - energy + C2)
    return luminance * structure


@cache
def _window(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "11"]:
    """Weights of the window, kept per device: copying them there would wait for it."""
    offset = torch.arange(WINDOW_SIZE, dtype=torch.float64) - WINDOW_SIZE // 2
    window = torch.exp(-(offset**2) / (2 * WINDOW_SIGMA**2))
    return (window / window.sum()).to(dtype=dtype, device=device)


def _blur(images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B H W 3"]:
    """Weighted mean over the 11x11 Gaussian window, zero padded, per channel."""
    window = _window(images.dtype, images.device)
    planes = images.movedim(-1, 1).flatten(0, 1)[:, None]
    planes = conv2d(planes, window[None, None, :, None], padding=(WINDOW_SIZE // 2, 0))
    planes = conv2d(planes, window[None, None, None, :], padding=(0, WINDOW_SIZE // 2))
    return planes[:, 0].unflatten(0, (len(images), 3)).movedim(1, -1)


class _FusedLoss(torch.autograd.Function):
    """The native kernel: the gradient is computed with the loss and kept for backward."""

    @staticmethod
    def forward(
        ctx: Any, image: Tensor, target: Tensor, ssim_weight: float, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        native = native_kernels_for(image, target)
        assert native is not None  # checked by the caller
        gradient = torch.empty(image.shape)
        scalars = native.photometric_loss(
            image.detach().contiguous(),
            target.detach().contiguous(),
            None if mask is None else mask.contiguous().view(torch.uint8),
            gradient,
            ssim_weight,
        )
        loss, l1, ssim = (torch.tensor(value, dtype=torch.float32) for value in scalars)
        ctx.save_for_backward(gradient)
        ctx.mark_non_differentiable(l1, ssim)
        return loss, l1, ssim

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad_loss: Tensor, *_: Tensor
    ) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        # Almost always exactly 1; the product would touch the whole image once more.
        return (gradient if grad_loss.item() == 1 else gradient * grad_loss), None, None, None
