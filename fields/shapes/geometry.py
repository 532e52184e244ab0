"""Riemannian geometry of latent spaces: metrics, geodesics and sampling.

Two metrics. `PosteriorMetric` needs only the posteriors of a KL bottleneck. The pulled-back metric
J^T J of the decoder needs only the decoder and so serves every bottleneck; here it appears through
the energy of curves, whose discrete form is a sum of squared differences of decoded values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Energy = Callable[[Float[Tensor, "k d"]], Float[Tensor, ""]]
"""Energy of a curve through k latents."""


@dataclass(frozen=True)
class PosteriorMetric:
    """G(z) = Σ_i Σ_i^-1 exp(-(z - μ_i)^T Σ_i^-1 (z - μ_i) / T²) + λ I, with diagonal Σ_i.

    Large near the codes of known shapes, where the encoder is sure, and λ far from all of them.

    Reference: Chadebec and Allassonnière, "A Geometric Perspective on Variational Autoencoders",
    NeurIPS 2022, equation 9.
    """

    means: Float[Tensor, "n d"]
    """Posterior means μ_i of n shapes."""
    variances: Float[Tensor, "n d"]
    """Diagonals of Σ_i, positive."""
    temperature: float = 0.3
    """T, how far a code reaches, in standard deviations."""
    floor: float = 1e-4
    """λ."""

    def __post_init__(self) -> None:
        if self.means.shape != self.variances.shape or not (self.variances > 0).all():
            raise ValueError(
                f"`variances` must be positive and [n, d] as `means` {list(self.means.shape)}, "
                f"got {list(self.variances.shape)}."
            )

    def diagonal(self, z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """G(z), which is diagonal where the posteriors are."""
        precision = 1 / self.variances
        gap = ((z[..., None, :] - self.means).square() * precision).sum(-1)
        weight = torch.exp(-gap / self.temperature**2)
        return weight @ precision + self.floor

    def log_volume(self, z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b"]:
        """log sqrt(det G(z)): the unnormalized log density of uniform sampling on the manifold."""
        return 0.5 * self.diagonal(z).log().sum(-1)

    def energy(self, curve: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
        """Σ (z_{i+1} - z_i)^T G(middle) (z_{i+1} - z_i), times the number of pieces."""
        steps = curve.diff(dim=0)
        middle = 0.5 * (curve[1:] + curve[:-1])
        return len(steps) * (steps.square() * self.diagonal(middle)).sum()


def pulled_back(decode: Callable[[Float[Tensor, "k d"]], Float[Tensor, "k q"]]) -> Energy:
    """The energy of a curve under J^T J, J the Jacobian of `decode`.

    The length of dz is that of the change it makes to the decoded values, so the energy of a curve
    is the sum of squared differences along it; no Jacobian is formed.

    Args:
        decode: Latents to whatever is to change evenly, such as distances at fixed points.
    """

    def energy(curve: Float[Tensor, "k d"]) -> Float[Tensor, ""]:
        decoded = decode(curve)
        return (len(curve) - 1) * decoded.diff(dim=0).square().sum()

    return energy


def straight(
    start: Float[Tensor, "d"], end: Float[Tensor, "d"], count: int
) -> Float[Tensor, "k d"]:
    """`count` latents on the straight line, ends included."""
    share = torch.linspace(0, 1, count, dtype=start.dtype)[:, None]
    return (1 - share) * start + share * end


def geodesic(
    start: Float[Tensor, "d"],
    end: Float[Tensor, "d"],
    energy: Energy,
    *,
    count: int = 9,
    iterations: int = 50,
) -> Float[Tensor, "k d"]:
    """The curve of least energy between two latents, ends included.

    Minimizes over the inner points by L-BFGS from the straight line; the result never has more
    energy than that line.
    """
    if count < 3:
        raise ValueError(f"`count` must be at least 3, got {count}.")
    line = straight(start, end, count).detach()
    inner = line[1:-1].clone().requires_grad_()
    first = float(energy(line))
    scale = 1 / max(first, 1e-12)
    optimizer = torch.optim.LBFGS(
        [inner], max_iter=iterations, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = scale * energy(torch.cat([line[:1], inner, line[-1:]]))
        value.backward()
        return value

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    curve = torch.cat([line[:1], inner.detach(), line[-1:]])
    return curve if float(energy(curve)) <= first else line


def hamiltonian_samples(
    log_density: Callable[[Float[Tensor, "c d"]], Float[Tensor, "c"]],
    start: Float[Tensor, "c d"],
    *,
    steps: int = 100,
    leapfrogs: int = 10,
    step_size: float = 0.01,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "c d"], float]:
    """Samples of a density by Hamiltonian Monte Carlo, one chain per row of `start`.

    With `PosteriorMetric.log_volume` and chains that start at codes of training shapes this is the
    generative procedure of Chadebec and Allassonnière, section 4.2: no prior, no second model.

    Returns:
        The last states and the share of accepted proposals.
    """
    z, accepted = start.clone(), 0.0

    def value_and_gradient(at: Tensor) -> tuple[Tensor, Tensor]:
        at = at.detach().requires_grad_()
        with torch.enable_grad():
            value = log_density(at)
            [gradient] = torch.autograd.grad(value.sum(), at)
        return value.detach(), gradient

    value, gradient = value_and_gradient(z)
    for _ in range(steps):
        momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        proposal, moved, slope, proposed_value = z, momentum, gradient, value
        for _ in range(leapfrogs):
            moved = moved + 0.5 * step_size * slope
            proposal = proposal + step_size * moved
            proposed_value, slope = value_and_gradient(proposal)
            moved = moved + 0.5 * step_size * slope
        change = proposed_value - value
        change = change - 0.5 * (moved.square().sum(1) - momentum.square().sum(1))
        drawn = torch.rand(len(z), generator=generator, dtype=z.dtype)
        take = drawn.log() < change
        z = torch.where(take[:, None], proposal, z)
        gradient = torch.where(take[:, None], slope, gradient)
        value = torch.where(take, proposed_value, value)
        accepted += float(take.float().mean())
    return z, accepted / max(steps, 1)


def fitted_variances(codes: Float[Tensor, "n d"], *, neighbors: int = 5) -> Float[Tensor, "n d"]:
    """A local covariance for bottlenecks without a posterior: per code, the mean squared difference
    to its nearest codes, number by number, shrunk half-way to its mean over numbers.

    Raises:
        ValueError: Fewer than two codes.
    """
    if len(codes) < 2:
        raise ValueError(f"`codes` must hold at least 2 codes, got {len(codes)}.")
    gaps = torch.cdist(codes, codes) + torch.diag(codes.new_full((len(codes),), math.inf))
    rows = gaps.topk(min(neighbors, len(codes) - 1), largest=False).indices
    squared = (codes[rows] - codes[:, None]).square().mean(1)
    return 0.5 * squared + 0.5 * squared.mean(1, keepdim=True).clamp(min=1e-12)
