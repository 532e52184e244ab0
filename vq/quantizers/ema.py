"""Vector quantization whose codes are running means of the vectors they stand for."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contract import Quantized
from ..nearest import nearest
from .base import RowQuantizer, mean_square
from .gradients import straight_through
from .lloyd import cell_means, fit_codebook
from .rotation import rotate


class VectorQuantizer(RowQuantizer):
    """K codes, nearest one wins; the codes follow the batches by exponential averages.

    The code k is m_k / ñ_k, where n_k and m_k are averages of each cell's share of the batch and
    of the sum over it, and ñ_k = (n_k + ε) / (1 + Kε) is the share with Laplace smoothing
    (van den Oord et al., "Neural Discrete Representation Learning", appendix A.1). A code that
    was never used stays where it is, or is revived.
    """

    codebook: Tensor
    """The codes, [K, dim]."""
    mass: Tensor
    """n_k, [K]: average share of each code in a batch."""
    sums: Tensor
    """m_k, [K, dim]."""

    def __init__(
        self,
        dim: int,
        num_codes: int,
        *,
        decay: float = 0.99,
        commitment: float = 0.25,
        smoothing: float = 1e-4,
        revive_below: float = 0.03,
        rotation_trick: bool = False,
        iterations: int = 20,
        seed: int = 0,
    ) -> None:
        """A quantizer with codes drawn from N(0, 1).

        Args:
            dim: Length of the vectors.
            num_codes: K.
            decay: Of the averages; 0.99 follows about a hundred batches.
            commitment: β of the loss β mean((x - sg q)²); 0.25 in the paper.
            smoothing: ε as a share of a code's fair share 1/K.
            revive_below: A code whose share falls below this part of 1/K moves onto a random vector
                of the batch; 0 never revives.
            rotation_trick: Pass gradients by `rotate` instead of straight through; see there where
                not to.
            iterations: Lloyd steps of `fit`.
            seed: Of the initial codes, of `fit` and of revival.
        """
        super().__init__(dim, (num_codes,), decay=decay, seed=seed)
        self.commitment, self.smoothing, self.revive_below = commitment, smoothing, revive_below
        self.rotation_trick, self.iterations = rotation_trick, iterations
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("codebook", torch.randn(num_codes, dim, generator=generator))
        self.register_buffer("mass", torch.zeros(num_codes))
        self.register_buffer("sums", torch.zeros(num_codes, dim))

    def assign(self, x: Float[Tensor, "n dim"]) -> Int[Tensor, "n"]:
        """The code of each vector while training; the nearest, unless a subclass says otherwise."""
        return nearest(x, self.codebook)[0]

    def _quantize(self, x: Tensor) -> Quantized:
        indices = self.assign(x.detach()) if self.training else self._encode(x)[:, 0]
        values = self.codebook[indices]
        if self.training and len(x):
            self._follow(x.detach(), indices)
        through = rotate if self.rotation_trick else straight_through
        return Quantized(
            values=through(x, values),
            indices=indices[:, None],
            loss=self.commitment * mean_square(x, values),
            bits=self._counted_bits(indices[:, None]),
        )

    def _encode(self, x: Tensor) -> Tensor:
        return nearest(x, self.codebook)[0][:, None]

    def _decode(self, indices: Tensor) -> Tensor:
        return self.codebook[indices[:, 0]]

    def _fit(self, x: Tensor, weights: Tensor) -> None:
        self.codebook.copy_(
            fit_codebook(
                x,
                len(self.codebook),
                weights=weights,
                iterations=self.iterations,
                seed=self.seed,
            )
        )
        self._restart(x, nearest(x, self.codebook)[0], weights)

    def _restart(self, x: Tensor, indices: Tensor, weights: Tensor) -> None:
        """Let the averages stand for `codebook` as it is, with the shares of `indices`."""
        _, mass = cell_means(x, indices, weights, self.codebook)
        self.mass.copy_(mass / mass.sum())
        self.sums.copy_(self.mass[:, None] * self.codebook)

    @torch.no_grad()
    def _follow(self, x: Tensor, indices: Tensor) -> None:
        """Move the averages and codes towards one batch, and revive what nobody uses."""
        means, mass = cell_means(x, indices, torch.ones_like(x[:, 0]), self.codebook)
        share = mass / len(x)
        weight = 1 - self.decay if self.mass.any() else 1.0
        self.mass.lerp_(share, weight)
        self.sums.lerp_(share[:, None] * means, weight)
        size, total = len(self.codebook), self.mass.sum()
        epsilon = self.smoothing / size
        smooth = (self.mass + epsilon) / (total + size * epsilon) * total
        used = self.mass > epsilon
        self.codebook.copy_(torch.where(used[:, None], self.sums / smooth[:, None], self.codebook))
        self._revive(x)

    def _revive(self, x: Tensor) -> None:
        """Move dead codes onto vectors of the batch, each with a fair share to start from."""
        size = len(self.codebook)
        dead = (self.mass < self.revive_below / size).nonzero()[:, 0]
        rows = torch.randperm(len(x), generator=self._generator(torch.device("cpu")))[: len(dead)]
        dead = dead[: len(rows)]
        self.codebook[dead] = x[rows.to(x.device)]
        self.mass[dead] = 1 / size
        self.sums[dead] = self.codebook[dead] / size
