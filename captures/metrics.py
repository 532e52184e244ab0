"""How close an image is to another: PSNR, SSIM and, where its weights are present, LPIPS."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d

from .checks import ensure_shape

_logger = logging.getLogger(__name__)


def psnr(
    image: Float[Tensor, "*batch H W 3"],
    target: Float[Tensor, "*batch H W 3"],
    *,
    mask: Bool[Tensor, "*batch H W"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB per image; infinite for equal images.

    Args:
        image: Values are clamped to [0, 1] before the comparison.
        target: Likewise.
        mask: True where a pixel counts; the mean is over those. All-False gives NaN.

    Raises:
        ValueError: if the shapes differ.
    """
    image, target, weights = _prepare(image, target, mask)
    error = _masked_mean((image - target) ** 2, weights)
    return -10 * torch.log10(error)


def ssim(
    image: Float[Tensor, "*batch H W 3"],
    target: Float[Tensor, "*batch H W 3"],
    *,
    mask: Bool[Tensor, "*batch H W"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Mean structural similarity per image, at most 1, as the splat literature computes it.

    An 11x11 Gaussian window of sigma 1.5 per channel, zeros beyond the border, C1 = 0.01^2 and
    C2 = 0.03^2 for values in [0, 1].

    Args:
        image: Values are clamped to [0, 1] before the comparison.
        target: Likewise.
        mask: True where a pixel counts. Masked pixels of `image` are replaced by the target's
            before windows are taken, and the mean is over the others. All-False gives NaN.

    Raises:
        ValueError: if the shapes differ.

    Reference: Wang et al., "Image Quality Assessment: From Error Visibility to Structural
    Similarity", 2004, eq. 13.
    """
    x, y, weights = _prepare(image, target, mask)
    if mask is not None:
        x = torch.where(mask[..., None], x, y)
    mu_x, mu_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y])).unbind(0)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mu_x * mu_y + c1) / (mu_x**2 + mu_y**2 + c1)
    structure = (2 * (xy - mu_x * mu_y) + c2) / (xx - mu_x**2 + yy - mu_y**2 + c2)
    return _masked_mean(luminance * structure, weights)


def lpips_or_none(
    image: Float[Tensor, "*batch H W 3"], target: Float[Tensor, "*batch H W 3"]
) -> Float[Tensor, "*batch"] | None:
    """LPIPS (AlexNet, version 0.1) per image, lower is better, or None where it cannot be had.

    It needs the package `lpips` and the AlexNet weights in torch's local cache; nothing is ever
    downloaded. The first call without them logs why.

    Raises:
        ValueError: if the shapes differ.

    Reference: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric", 2018.
    """
    image, target, _ = _prepare(image, target, None)
    network = _lpips_network()
    if network is None:
        return None
    batch = image.shape[:-3]
    with torch.no_grad():
        pair = (_to_planes(item).float().cpu() for item in (image, target))
        return network(*pair, normalize=True).reshape(batch).to(image)


@cache
def _lpips_network() -> Any | None:
    """The LPIPS network, or None with one log line that says what is missing."""
    weights = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        import lpips  # pyright: ignore[reportMissingImports]
    except ImportError:
        _logger.warning('LPIPS is left out; for it, run: pip install "fieldwright[lpips]"')
        return None
    if not any(weights.glob("alexnet-*.pth")):
        _logger.warning("LPIPS is left out: put the AlexNet weights alexnet-*.pth into %s", weights)
        return None
    return lpips.LPIPS(net="alex", version="0.1", verbose=False).eval()


def _prepare(
    image: Tensor, target: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Both images clamped to [0, 1], the mask as weights [..., H, W, 1]; shapes are checked."""
    ensure_shape("image", image, ("...", "H", "W", 3))
    ensure_shape("target", target, tuple(image.shape), "resize it to the image.")
    if mask is None:
        return image.clamp(0, 1), target.clamp(0, 1), None
    ensure_shape("mask", mask, tuple(image.shape[:-1]), "one flag per pixel.")
    return image.clamp(0, 1), target.clamp(0, 1), mask[..., None].to(image)


def _masked_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over the last three dimensions, weighted by [..., H, W, 1]."""
    if weights is None:
        return values.mean(dim=(-3, -2, -1))
    total = (values * weights).sum(dim=(-3, -2, -1))
    return total / (weights.sum(dim=(-3, -2, -1)) * values.shape[-1])


def _to_planes(images: Tensor) -> Tensor:
    """[..., H, W, 3] to [B, 3, H, W]."""
    return images.reshape(-1, *images.shape[-3:]).movedim(-1, 1)


def _blur(images: Tensor) -> Tensor:
    """Weighted mean over the 11x11 Gaussian window, zero padded, per channel; same shape."""
    offset = torch.arange(11, dtype=torch.float64) - 5
    window = torch.exp(-(offset**2) / (2 * 1.5**2))
    window = (window / window.sum()).to(images)
    planes = _to_planes(images).flatten(0, 1)[:, None]
    planes = conv2d(planes, window[None, None, :, None], padding=(5, 0))
    planes = conv2d(planes, window[None, None, None, :], padding=(0, 5))
    blurred = planes[:, 0].unflatten(0, (-1, 3)).movedim(1, -1)
    return blurred.reshape(images.shape)
