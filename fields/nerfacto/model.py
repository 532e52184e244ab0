"""Rays through the field: two proposals, then samples where they point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..contraction import spacing, unspacing
from ..rays import Rays
from ..samplers import ProposalSampler
from ..samples import Samples
from ..volume import RayColors
from .config import NerfactoConfig
from .network import NerfactoField, ProposalDensity


@dataclass(frozen=True)
class Level:
    """What one round of sampling found on R rays, K samples each."""

    edges: Float[Tensor, "R E"]
    """Ends of the samples in the coordinate of `fields.contraction.spacing`."""
    weights: Float[Tensor, "R K"]
    """Share of the pixel that each sample has."""


class Nerfacto(nn.Module):
    """Field and proposals; a `fields.RayRenderer` in the capture's frame."""

    def __init__(
        self,
        config: NerfactoConfig,
        num_images: int,
        *,
        opaque: bool,
        generator: torch.Generator | None = None,
    ) -> None:
        """
        Args:
            config: Sizes.
            num_images: Training photos that the field has looks for.
            opaque: Continue the last sample of a ray to infinity, as for photos without alpha.
            generator: Draws the start; None draws one that a file shall replace.
        """
        super().__init__()
        generator = generator or torch.Generator()
        self.config, self.num_images, self.opaque = config, num_images, opaque
        self.field = NerfactoField(config, num_images, generator)
        proposals = [ProposalDensity(finest, generator) for finest in config.proposal_finest]
        self.proposals = nn.ModuleList(proposals)

    def sampler(self, *, trained: bool, anneal: float = 1.0) -> ProposalSampler:
        """Rounds of sampling; without `trained`, proposals are asked without gradients."""

        def asked(proposal: nn.Module) -> Callable[[Tensor], Tensor]:
            def density(points: Tensor) -> Tensor:
                with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
                    return proposal(points)

            return density

        config = self.config
        sampler = ProposalSampler(
            [asked(proposal) for proposal in self.proposals],
            counts=(*config.proposal_samples, config.samples),
            near=config.near,
            far=config.far,
            spacing=(spacing, unspacing),
        )
        sampler.anneal = anneal
        return sampler

    def trace(
        self,
        rays: Rays,
        *,
        images: Int64[Tensor, "R"] | None = None,
        trained: bool = False,
        anneal: float = 1.0,
        jitter: torch.Generator | None = None,
    ) -> tuple[RayColors, list[Level]]:
        """Colors along rays, and the levels of sampling, the field's last.

        Args:
            rays: Differentiable.
            images: Training photos whose look the colors have; -1 and None take the mean look.
            trained: Whether the proposals shall learn from this call.
            anneal: See `ProposalSampler`.
            jitter: Shifts samples, for training.
        """
        held = Rays(rays.origins.detach(), rays.directions.detach(), rays.depth_scales)
        rounds = self.sampler(trained=trained, anneal=anneal).rounds(held, jitter=jitter)
        levels = [
            Level(_edges(samples, len(rays)), weights.view(len(rays), -1))
            for samples, weights in rounds
            if weights is not None
        ]
        samples = rounds[-1][0]
        shape = (len(rays), self.config.samples)
        middles, lengths = samples.middles.view(shape), samples.lengths.view(shape)
        points = rays.origins[:, None] + middles[..., None] * rays.directions[:, None]
        directions = rays.directions[:, None].expand_as(points)
        looks = None if images is None else images[:, None].expand(shape)
        density, color = self.field.density_and_color(points, directions, looks)
        weights = dense_weights(density, lengths)
        levels.append(Level(_edges(samples, len(rays)), weights))
        return self._blended(weights, color, middles), levels

    def _blended(self, weights: Tensor, color: Tensor, middles: Tensor) -> RayColors:
        opacity = weights.sum(dim=1)
        seen = (weights[..., None] * color).sum(dim=1)
        distance = (weights * middles).sum(dim=1)
        reached = weights.cumsum(dim=1) >= 0.5 * opacity[:, None]
        median = middles.gather(1, reached.to(torch.uint8).argmax(dim=1, keepdim=True))[:, 0]
        if self.opaque:
            rest = 1 - opacity
            seen, distance = seen + rest[:, None] * color[:, -1], distance + rest * middles[:, -1]
            opacity = torch.ones_like(opacity)
        return RayColors(seen, opacity, distance, median.detach())

    # ------------------------------------------------------------------------ as a RayRenderer

    def bounds(self) -> Float[Tensor, "2 3"]:
        """The cube around the cameras that the contraction leaves as it is."""
        return torch.tensor([[-1.0] * 3, [1.0] * 3])

    @property
    def num_bytes(self) -> int:
        """Size of the parameters."""
        return sum(parameter.nbytes for parameter in self.parameters())

    @property
    def num_primitives(self) -> int:
        """Entries of the field's hash grid."""
        return self.field.grid.layout.num_entries

    @torch.no_grad()
    def render_rays(self, rays: Rays) -> RayColors:
        """See `RayRenderer`; some thousand rays at a time."""
        parts = [self.trace(rays[i : i + _AT_ONCE])[0] for i in range(0, len(rays), _AT_ONCE)]
        return RayColors.joined(parts)


_AT_ONCE = 4096
"""Rays whose samples stay in the cache."""


def dense_weights(
    densities: Float[Tensor, "R K"], lengths: Float[Tensor, "R K"]
) -> Float[Tensor, "R K"]:
    """`fields.volume.render_weights` for rays with equally many samples."""
    optical = densities * lengths
    before = optical.cumsum(dim=1) - optical
    return (-before).exp() * -torch.expm1(-optical)


def _edges(samples: Samples, rays: int) -> Tensor:
    """Ends [R, K + 1] of equally many consecutive samples, in the coordinate of `spacing`."""
    ends = samples.ends.view(rays, -1)
    return spacing(torch.cat([samples.starts.view(rays, -1)[:, :1], ends], dim=1))
