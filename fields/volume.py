"""Volume rendering of packed samples: the plain torch that defines it.

With densities σ and interval lengths δ along a ray, T_i = exp(-Σ_{j<i} σ_j δ_j) is what reaches
sample i and w_i = T_i (1 - exp(-σ_i δ_i)) its share of the pixel (Max, "Optical models for direct
volume rendering", 1995; Mildenhall et al., "NeRF", 2020, eq. 3). Optical depths are summed in
float64, so that nothing is lost on rays behind millions of other samples. `fields.kernels` has the
same functions as native code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .samples import Samples


@dataclass(frozen=True)
class RayColors:
    """What R rays see."""

    colors: Float[Tensor, "R 3"]
    """Premultiplied by the opacity: add (1 - opacity) times the background."""
    opacities: Float[Tensor, "R"]
    """In [0, 1]."""
    distances: Float[Tensor, "R"]
    """Expected distance Σ w t, not divided by the opacity."""
    median_distances: Float[Tensor, "R"] | None = None
    """Where the transmittance falls below one half; 0 where it never does."""
    distortions: Float[Tensor, "R"] | None = None
    """Distortion loss of each ray, where it was asked for."""

    def over(self, background: Float[Tensor, "*rays 3"]) -> Float[Tensor, "R 3"]:
        """Colours over a background, one for all rays or one for each."""
        return self.colors + (1 - self.opacities)[:, None] * background

    @classmethod
    def joined(cls, parts: Sequence[RayColors]) -> RayColors:
        """The rays of several parts, one after the other; without distortions."""
        medians = [part.median_distances for part in parts if part.median_distances is not None]
        return cls(
            torch.cat([part.colors for part in parts]),
            torch.cat([part.opacities for part in parts]),
            torch.cat([part.distances for part in parts]),
            torch.cat(medians) if len(medians) == len(parts) else None,
        )


def composite(
    densities: Float[Tensor, "S"],
    colors: Float[Tensor, "S 3"],
    samples: Samples,
    *,
    early_stop: float = 0.0,
    distortion: bool = False,
) -> RayColors:
    """Blend samples front to back; differentiable in `densities` and `colors`.

    Args:
        densities: Per world unit.
        colors: sRGB.
        samples: Where they are.
        early_stop: Samples that less than this share of the light reaches are left out.
        distortion: Also compute the distortion loss.
    """
    weights = render_weights(densities, samples, early_stop=early_stop)
    return RayColors(
        colors=accumulate(weights, colors, samples),
        opacities=accumulate(weights, None, samples),
        distances=accumulate(weights, samples.middles[:, None], samples)[:, 0],
        median_distances=median_distances(weights, samples),
        distortions=distortion_losses(weights, samples) if distortion else None,
    )


def render_weights(
    densities: Float[Tensor, "S"], samples: Samples, *, early_stop: float = 0.0
) -> Float[Tensor, "S"]:
    """Each sample's share of its pixel; 0 where less than `early_stop` of the light arrives."""
    optical = densities * samples.lengths
    arriving = (-exclusive_sums(optical, samples)).exp()
    weights = arriving * -torch.expm1(-optical)
    return torch.where(arriving >= early_stop, weights, 0.0)


def exclusive_sums(values: Float[Tensor, "S"], samples: Samples) -> Float[Tensor, "S"]:
    """Sum of the values before each sample on its ray."""
    if len(values) == 0:
        return values
    running = values.double().cumsum(0) - values.double()
    counts = samples.offsets.diff()
    first = running[samples.offsets[:-1].clamp(max=len(values) - 1)]
    return (running - first.repeat_interleave(counts, output_size=len(values))).to(values.dtype)


def accumulate(
    weights: Float[Tensor, "S"], values: Float[Tensor, "S D"] | None, samples: Samples
) -> Tensor:
    """Weighted sum of `values` [S, D] along each ray, [R, D]; of ones, [R], when None."""
    source = weights if values is None else weights[:, None] * values
    total = source.new_zeros(samples.num_rays, *source.shape[1:])
    return total.index_add(0, samples.ray_indices, source)


@torch.no_grad()
def median_distances(weights: Float[Tensor, "S"], samples: Samples) -> Float[Tensor, "R"]:
    """Middle of the first sample behind which less than half of the light is left; 0 if none."""
    reached = exclusive_sums(weights, samples) + weights >= 0.5
    first = reached & (exclusive_sums(reached.float(), samples) == 0)
    return accumulate(first.to(weights), samples.middles[:, None], samples)[:, 0]


def distortion_losses(weights: Float[Tensor, "S"], samples: Samples) -> Float[Tensor, "R"]:
    """Σ_ij w_i w_j |t_i - t_j| + ⅓ Σ_i w_i² δ_i of each ray, in O(S).

    The double sum is 2 Σ_i w_i (t_i W_i - M_i) with the sums W, M of w and w t before sample i, as
    the t are sorted. Reference: Barron et al., "Mip-NeRF 360", 2022, eq. 15.
    """
    middles = samples.middles
    before = exclusive_sums(weights, samples)
    moments = exclusive_sums(weights * middles, samples)
    pairs = 2 * weights * (middles * before - moments)
    return accumulate(pairs + weights**2 * samples.lengths / 3, None, samples)
