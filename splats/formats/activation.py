"""Between what `Gaussians` hold and the activated values of scene files: both ways, always finite.

Scene files (glTF, USD) hold standard deviations, opacities in [0, 1] and unit quaternions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians
from .contract import Source

_SMALLEST = torch.finfo(torch.float32).tiny
_LARGEST = torch.finfo(torch.float32).max
_ALMOST_ONE = 1 - 2.0**-25  # its float32 is 1, its logit 17.3


def log_scales_of(scales: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Natural logs, float32, of standard deviations >= 0; zero gives -87.3, flat at any scale."""
    return scales.double().clamp(min=_SMALLEST).log().float()


def logits_of(opacities: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Logits, float32, of opacities in [0, 1]; zero and one give -87.3 and 17.3."""
    values = opacities.double().clamp(_SMALLEST, _ALMOST_ONE)
    return (values.log() - (-values).log1p()).float()


def scales_of(gaussians: Gaussians) -> Float[Tensor, "N 3"]:
    """Standard deviations, float32, finite."""
    return gaussians.log_scales.double().exp().clamp(max=_LARGEST).float()


def opacities_of(gaussians: Gaussians) -> Float[Tensor, "N"]:
    """Opacities in [0, 1], float32."""
    return gaussians.logit_opacities.double().sigmoid().float()


def unit_quats_of(gaussians: Gaussians) -> Float[Tensor, "N 4"]:
    """Unit quaternions (w, x, y, z), float32; zero-length ones become the identity."""
    quats = gaussians.quats.double()
    lengths = quats.norm(dim=1, keepdim=True)
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    return torch.where(lengths > 0, quats / lengths.clamp(min=1e-300), identity).float()


def require_finite(gaussians: Gaussians, *, start: int) -> None:
    """Refuse what no scene file holds; infinite logits and log scales of minus infinity pass.

    Args:
        gaussians: Some rows of a scene.
        start: Number of the first row, for the message.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    parts = {
        "means": gaussians.means,
        "quats": gaussians.quats,
        "log_scales": gaussians.log_scales.clamp(min=-1e3),
        "logit_opacities": gaussians.logit_opacities.clamp(-1e3, 1e3),
        "sh0": gaussians.sh0,
        "shN": gaussians.shN,
    }
    for name, values in parts.items():
        rows = ~values.isfinite().flatten(1 if values.ndim > 1 else 0)
        rows = rows.any(dim=1) if rows.ndim > 1 else rows
        if bool(rows.any()):
            row = start + int(rows.nonzero()[0])
            raise ValueError(
                f"`{name}` of Gaussian {row} must be finite; remove such rows before writing."
            )


def tags_of(source: Source) -> dict[str, bool | str]:
    """What scene formats have no word for and viewers need, as custom metadata."""
    tags: dict[str, bool | str] = {}
    if source.antialiased:
        tags["antialiased"] = True
    if source.model != "3dgs":
        tags["model"] = source.model
    return tags


def bounds_of(source: Source) -> Float[Tensor, "2 3"]:
    """Smallest and largest means, from one pass that also refuses NaN and infinity.

    Raises:
        ValueError: See `require_finite`.
    """
    low, high, row = torch.full((3,), torch.inf), torch.full((3,), -torch.inf), 0
    for chunk in source.chunks():
        require_finite(chunk, start=row)
        row += len(chunk)
        low = torch.minimum(low, chunk.means.amin(dim=0))
        high = torch.maximum(high, chunk.means.amax(dim=0))
    return torch.stack([low, high])
